"""MobileNet v1 that has learnt to tell people apart, on other faces than FER-2013's: where a network may begin."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from fer_helpers import models, paths
from fer_helpers.faces import EMOTIONS, Preprocess

STAGES = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)  # filters of the blocks
HALVED = (1, 3, 5, 11)  # blocks that make the maps half as large
# Grey levels as these weights want them: from 0 to 255, less ImageNet's means (blue, green, red), as Keras does it
KERAS = {"channels": 3, "mean": (103.939 / 255, 116.779 / 255, 123.68 / 255), "std": (1 / 255,) * 3}
# Not paths.REFERENCE: that is another folder for fewer emotions, and these weights know none
START = paths.ROOT / "outputs" / "reference" / "08_record" / "runs" / "face_recognition.safetensors"


class MobileNet(nn.Module):
    """MobileNet v1 with a head of one linear layer; 3,214,151 weights. (Howard et al., "MobileNets", 2017)

    size: side in pixels to which faces are enlarged, a multiple of 32; grey is repeated to three channels. width: of
    every layer, as a share of the original's. dropout: before the last layer. pretrained: for the record, whether it
    began with the weights of face recognition.
    forward: (N, 3, size, size) float, as KERAS says -> (N, 7) logits.
    """

    def __init__(self, *, size: int = 160, width: float = 1.0, dropout: float = 0.3, pretrained: bool = False):
        super().__init__()
        if size % 32 or size < 32:
            raise ValueError(f"size is {size}: a MobileNet halves it five times, so give a multiple of 32.")
        self.preprocess, self.pretrained = Preprocess(size=size, **KERAS), pretrained
        channels = max(1, round(32 * width))
        layers = self._convolution(3, channels, 3, halves=True)
        for k, full in enumerate(STAGES):
            wide = max(1, round(full * width))
            layers += self._convolution(channels, channels, 3, halves=k in HALVED, groups=channels)
            layers += self._convolution(channels, wide, 1)
            channels = wide
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, len(EMOTIONS)))

    @staticmethod
    def _convolution(channels: int, wide: int, side: int, *, halves: bool = False, groups: int = 1) -> list:
        padded = [nn.ZeroPad2d((0, 1, 0, 1))] if halves else []  # as TensorFlow does it, in which it was trained
        where = {"stride": 2} if halves else {"padding": side // 2}
        convolution = nn.Conv2d(channels, wide, side, groups=groups, bias=False, **where)
        return [*padded, convolution, nn.BatchNorm2d(wide), nn.ReLU6()]

    @property
    def cam_layer(self) -> nn.Module:
        """The last ReLU: 5×5 maps at 160 pixels."""
        return self.features[-1]

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(faces).mean(dim=(2, 3)))


def begin(model: MobileNet) -> None:
    """Put the weights of face recognition in the place of random ones; the head's stay random."""
    if not START.is_file():
        raise FileNotFoundError(f"There are no weights of face recognition in {START}: git restores the file.")
    model.features.load_state_dict(safetensors.torch.load_file(START))


@torch.no_grad()
def convert(topology: str | Path, images: torch.Tensor) -> MobileNet:
    """The network in a file of TensorFlow.js, whose batch norms were folded into its convolutions, with them again.

    Each takes over the mean and the deviation that its convolution has on these faces, and gives them back: so the
    answers are the file's own, and the network can be trained on like any other.
    topology: a .json beside its .bin. images: (N, 48, 48) uint8, a few hundred.
    """
    model = models.build("mobilenet", pretrained=True).eval()
    maps, folded = model.preprocess(images), iter(_folded(Path(topology)))
    for layer, following in zip(model.features, chain(model.features[1:], [None]), strict=True):
        if isinstance(layer, nn.Conv2d):
            kernel, bias = next(folded)
            layer.weight.copy_(kernel)
            mean, deviation = (part(layer(maps), (0, 2, 3)) for part in (torch.mean, torch.std))
            following.running_mean.copy_(mean)
            following.running_var.copy_(deviation**2)
            following.weight.copy_((deviation**2 + following.eps).sqrt())
            following.bias.copy_(bias + mean)
        maps = layer(maps)
    return model


def _folded(topology: Path) -> list:
    """Each convolution's kernel, as torch orders it, and bias, from the first to the last."""
    file, stored = json.loads(topology.read_text(encoding="utf-8")), topology.with_suffix(".bin").read_bytes()
    weights, place = {}, 0
    for each in (each for group in file["weightsManifest"] for each in group["weights"]):
        kind = np.dtype(each.get("quantization", each)["dtype"])
        if kind.kind == "u":
            raise ValueError(f"{topology} keeps its weights as {kind}: give a file that has them in floating point.")
        values = np.frombuffer(stored, kind, int(np.prod(each["shape"])), place)
        weights[each["name"]] = torch.from_numpy(values.astype(np.float32).reshape(each["shape"]))
        place += values.nbytes
    nodes, folded = file["modelTopology"]["node"], []
    reader = {name.split(":")[0]: node for node in nodes for name in node.get("input", [])}
    for node in nodes:
        if node["op"] in ("Conv2D", "DepthwiseConv2dNative"):
            kernel = weights[node["input"][1]].permute((3, 2, 0, 1) if node["op"] == "Conv2D" else (2, 3, 0, 1))
            following = reader[node["name"]]
            if following["op"] == "Mul":
                scale = next(weights[name] for name in following["input"] if name in weights)
                kernel = kernel * scale.view(-1, 1, 1, 1)
                following = reader[following["name"]]
            folded.append((kernel, next(weights[name] for name in following["input"] if name in weights).flatten()))
    return folded
