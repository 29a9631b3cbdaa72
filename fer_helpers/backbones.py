"""Networks with a backbone of torchvision's, to which a new head of one linear layer is fitted."""

from dataclasses import replace
from itertools import pairwise

import torch
import torchvision
from torch import nn

from fer_helpers.faces import EMOTIONS, Preprocess

IMAGENET = Preprocess(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
GREY = Preprocess(channels=1, mean=(0.449,), std=(0.226,))  # the means of ImageNet's three
# Where each stage of a backbone begins, and the layer whose maps Grad-CAM takes
CUTS = {"resnet18": (0, 4, 5, 6, 7), "vgg16": (0, 5, 10, 17, 24)}
CAM_LAYERS = {"resnet18": "5", "vgg16": "22"}


class Transfer(nn.Module):
    """A torchvision backbone with a new head of one linear layer.

    backbone: resnet18 or vgg16 (its convolutions alone; its three dense layers of 124 million weights go).
    size: side in pixels to which faces are enlarged. channels: of the first convolution, 3, to which grey is repeated,
    or 1. pretrained: for the record, whether it began as ImageNet's.
    forward: (N, channels, size, size) float, ImageNet's mean and deviation -> (N, 7) logits.
    """

    def __init__(self, *, backbone: str = "resnet18", size: int = 48, channels: int = 3, pretrained: bool = False):
        super().__init__()
        if backbone not in CUTS:
            raise ValueError(f"There is no backbone '{backbone}' here: choose {' or '.join(CUTS)}.")
        self.preprocess = replace({1: GREY, 3: IMAGENET}[channels], size=size)
        self.backbone, self.pretrained, self.width = backbone, pretrained, 512
        whole = torchvision.models.get_model(backbone, weights=None)
        # up to the last stage's maps
        self.features = whole.features if backbone == "vgg16" else nn.Sequential(*list(whole.children())[:-2])
        if channels == 1:
            first = self.features[0]
            self.features[0] = nn.Conv2d(
                1, first.out_channels, first.kernel_size, first.stride, first.padding, bias=first.bias is not None
            )
        self.head = nn.Linear(self.width, len(EMOTIONS))
        self.unfrozen = 5  # stages that learn beside the head

    @property
    def cam_layer(self) -> nn.Module:
        """The last stage whose maps are still a grid: 6×6 at 48 pixels, where the end has 2×2 or 1×1."""
        return self.features.get_submodule(CAM_LAYERS[self.backbone])

    @property
    def stages(self) -> list[nn.Module]:
        """The five stages from the first to the last, then the head: what learns at rates of its own."""
        cuts = [*CUTS[self.backbone], len(self.features)]
        return [*(self.features[start:end] for start, end in pairwise(cuts)), self.head]

    def unfreeze(self, count: int) -> "Transfer":
        """Let the head and the last `count` of the five stages learn; the others stay as they are, batch norm too."""
        self.unfrozen = count
        for k, stage in enumerate(self.stages):
            stage.requires_grad_(k >= 5 - count)
        return self

    def train(self, mode: bool = True) -> "Transfer":
        """As torch does, but batch norm that doesn't learn goes on using the statistics that it has."""
        super().train(mode)
        for part in self.features.modules():
            if isinstance(part, nn.BatchNorm2d) and not part.weight.requires_grad:
                part.eval()
        return self

    def trunk(self, faces: torch.Tensor, count: int) -> torch.Tensor:
        """What all but the last `count` stages make of (N, channels, size, size) faces; with 0 the maps' means."""
        maps = faces
        for stage in self.stages[: 5 - count]:
            maps = stage(maps)
        return maps if count else maps.mean(dim=(2, 3), keepdim=True)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(faces).mean(dim=(2, 3)))


class Head(nn.Module):
    """The last stages and the head of a Transfer alone: what learns where the rest stays frozen and is passed once.

    forward: (N, C, h, w), what Transfer.trunk gives, in place of images -> (N, 7) logits.
    """

    def __init__(self, *, backbone: str = "resnet18", count: int = 0):
        super().__init__()
        *stages, self.head = Transfer(backbone=backbone).stages
        self.features = nn.Sequential(*stages[5 - count :])
        self.preprocess, self.count = Maps(), count

    def take(self, model: Transfer) -> "Head":
        """Begin with the weights of this network's last stages and head."""
        self._pairs(model, lambda mine, its: mine.load_state_dict(its.state_dict()))
        return self

    def give(self, model: Transfer) -> Transfer:
        """Put what was learnt back into the network."""
        self._pairs(model, lambda mine, its: its.load_state_dict(mine.state_dict()))
        return model

    def _pairs(self, model, do) -> None:
        for mine, its in zip([*self.features, self.head], model.stages[5 - self.count :], strict=True):
            do(mine, its)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(maps).mean(dim=(2, 3)))


class Maps(nn.Module):
    """In place of `Preprocess`: stored feature maps are only widened to float32, and have no mirror image."""

    mirrored = False

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.float()
