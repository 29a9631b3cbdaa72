"""The networks, which layer Grad-CAM looks at, and the model file."""

import json
import socket
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from safetensors import SafetensorError, safe_open
from torch import nn

from fer_helpers import paths
from fer_helpers.faces import EMOTIONS, Preprocess

IMAGENET = Preprocess(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Dropout(nn.Module):
    """nn.Dropout, a few times faster on CPUs: a byte decides about a unit, where torch draws a float for each.

    share: of the units silenced in training, rounded to 1/256; the others are scaled up, so that their sum stays.
    """

    def __init__(self, share: float = 0.5):
        super().__init__()
        self.share = share

    def extra_repr(self) -> str:
        return f"{self.share}"

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        silenced = round(256 * self.share)
        if not self.training or not silenced:
            return maps
        if maps.device.type != "cpu":
            return F.dropout(maps, self.share)
        words = torch.empty(-(-maps.numel() // 8), dtype=torch.int64).random_(-(2**63), None)  # 8 random bytes each
        stays = words.view(torch.uint8)[: maps.numel()].as_strided(maps.shape, maps.stride()) >= silenced
        return maps * stays.to(maps.dtype).mul_(256 / (256 - silenced))


class Baseline(nn.Module):
    """The plain CNN that most FER-2013 tutorials describe: three convolutions, one hidden layer.

    filters: of the three 3×3 convolutions (no padding), each followed by 2×2 max pooling and ReLU; the other way
    round, as most write it, the result is the same and takes longer.
    hidden: units of the hidden layer. dropout: before and after it. 1,145,351 weights by default.
    forward: (N, 1, 48, 48) float -> (N, 7) logits (no softmax; the loss adds it).
    """

    def __init__(self, *, filters: tuple = (32, 64, 128), hidden: int = 512, dropout: float = 0.5):
        super().__init__()
        self.preprocess = Preprocess()
        stages, channels, side = [], 1, self.preprocess.size
        for wide in filters:
            stages += [nn.Conv2d(channels, wide, 3), nn.MaxPool2d(2), nn.ReLU()]
            channels, side = wide, (side - 2) // 2  # 48 -> 23 -> 10 -> 4
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(),
            Dropout(dropout),
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(hidden, len(EMOTIONS)),
        )

    @property
    def cam_layer(self) -> nn.Module:
        """The last convolution: 8×8 maps, before the pooling that leaves 4×4."""
        return self.stages[-3]

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        maps = self.stages(faces)  # (N, 1, 48, 48) -> (N, 128, 4, 4)
        return self.head(maps)


class Transfer(nn.Module):
    """A torchvision backbone with a new head of one linear layer.

    backbone: resnet18 or vgg16 (its convolutions alone; its three dense layers of 124 million weights go).
    size: side in pixels to which faces are enlarged. pretrained: for the record, whether it began as ImageNet's.
    forward: (N, 3, size, size) float, ImageNet's mean and deviation -> (N, 7) logits.
    """

    def __init__(self, *, backbone: str = "resnet18", size: int = 48, pretrained: bool = False):
        super().__init__()
        self.preprocess = Preprocess(size, IMAGENET.channels, IMAGENET.mean, IMAGENET.std)
        self.pretrained = pretrained
        whole = torchvision.models.get_model(backbone, weights=None)
        if backbone == "resnet18":
            self.features = nn.Sequential(*list(whole.children())[:-2])  # up to the last stage's maps
            self.width, self._cam = whole.fc.in_features, "5"
        elif backbone == "vgg16":
            self.features = whole.features
            self.width, self._cam = 512, "22"
        else:
            raise ValueError(f"There is no backbone '{backbone}' here: choose resnet18 or vgg16.")
        self.head = nn.Linear(self.width, len(EMOTIONS))

    @property
    def cam_layer(self) -> nn.Module:
        """The last stage whose maps are still a grid: 6×6 at 48 pixels, where the end has 2×2 or 1×1."""
        return self.features.get_submodule(self._cam)

    def pooled(self, faces: torch.Tensor) -> torch.Tensor:
        """(N, 3, size, size) -> (N, 512), the mean of each feature map: what a frozen backbone hands to the head."""
        return self.features(faces).mean(dim=(2, 3))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled(faces))


class Head(nn.Module):
    """The new head of a Transfer network alone, for a backbone that stays frozen and is passed only once.

    forward: (N, width, 1, 1) float, the backbone's pooled features in place of images -> (N, 7) logits.
    """

    def __init__(self, *, width: int = 512):
        super().__init__()
        self.preprocess = nn.Identity()
        self.linear = nn.Linear(width, len(EMOTIONS))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(features.flatten(1))


ARCHITECTURES = {"baseline": Baseline, "transfer": Transfer, "head": Head}


def build(architecture: str, **arguments) -> nn.Module:
    """A network by name; it remembers how it was built, so that a model file can say so."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"There is no architecture '{architecture}': choose one of {', '.join(ARCHITECTURES)}.")
    model = ARCHITECTURES[architecture](**arguments)
    model.recipe = {"architecture": architecture, "arguments": arguments}
    return model


def probabilities(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a network answers: the mean of its probabilities for a face and for the mirrored face.

    Scores and `predict` both come from here. Mirroring changes no emotion, and the two answers' mean is the better one.
    images: (N, 48, 48) uint8 on the model's device, or what else its `preprocess` takes. returns: (N, 7) float32.
    """
    faces = model.preprocess(images).contiguous(memory_format=torch.channels_last)
    both = [model(view).float().softmax(1) for view in (faces, faces.flip(-1))]
    return (both[0] + both[1]) / 2


def weight_count(model: nn.Module) -> int:
    """Number of weights."""
    return sum(part.numel() for part in model.parameters())


def imagenet_weights(backbone: str, *, seconds: float = 10.0) -> dict:
    """ImageNet's weights of a backbone: torchvision's file from its cache folder, else downloaded.

    seconds: how long the network may be silent before the download is given up.
    Raises ConnectionError that names the file and the folder to put it in; ValueError for a file that is damaged.
    """
    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)  # torch.hub sets no time limit of its own
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        if file.exists():
            raise ValueError(f"{file} could not be read ({error}). Delete it and run again.") from error
        raise ConnectionError(
            f"ImageNet weights of {backbone} could not be downloaded ({error}). "
            f"On a machine with internet get {weights.url} and put it into {file.parent}."
        ) from error
    except Exception as error:  # a truncated or foreign file shows as any of a dozen exceptions in torch.load
        raise ValueError(
            f"{file} is not a complete weights file of {backbone} ({type(error).__name__}). "
            f"Delete it and run again, or put {weights.url} there."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def pretrained(backbone: str, *, size: int = 48) -> Transfer:
    """A Transfer network whose backbone holds ImageNet's weights; the errors of `imagenet_weights` pass through."""
    source = torchvision.models.get_model(backbone, weights=None)
    state = imagenet_weights(backbone)
    try:
        source.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"The ImageNet file of {backbone} holds other weights than {backbone}'s: {error}") from error
    model = build("transfer", backbone=backbone, size=size, pretrained=True)
    part = source.features if backbone == "vgg16" else nn.Sequential(*list(source.children())[:-2])
    model.features.load_state_dict(part.state_dict())
    return model


def save(model: nn.Module, path: str | Path, *, half: bool = False, **card) -> None:
    """Write weights and what is needed to use them into one safetensors file.

    half: store float16 (for giving away). card: anything JSON-ready that should travel along (metrics, run, data).
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        state = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    card |= {"emotions": EMOTIONS, "input": vars(model.preprocess), **model.recipe}
    with paths.whole(path) as temporary:
        safetensors.torch.save_file(state, temporary, metadata={"fer": json.dumps(card)})


def read_card(path: str | Path) -> dict:
    """What a model file says of itself: architecture, arguments, emotions, input, metrics, run."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file {path}. Train one with notebook 03, or name another.")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}). Train or copy it again.") from error
    if "fer" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not of this workbook: its metadata say no architecture.")
    return json.loads(metadata["fer"])


def load(path: str | Path) -> nn.Module:
    """The network in a model file, in eval mode, on the CPU, float32; nothing in the file is executed.

    The file's card is kept as `model.card`. Raises FileNotFoundError or ValueError with a sentence.
    """
    card = read_card(path)
    if tuple(card["emotions"]) != EMOTIONS:
        raise ValueError(
            f"{path} names its outputs {card['emotions']}, this workbook {list(EMOTIONS)}: train it again."
        )
    model = build(card["architecture"], **card["arguments"])
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path} holds weights of another network than '{card['architecture']}': {first}") from error
    model.preprocess = Preprocess(**{key: tuple(v) if isinstance(v, list) else v for key, v in card["input"].items()})
    model.card = card
    return model.eval()
