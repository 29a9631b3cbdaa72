"""Networks with a backbone of torchvision's, to which a new head of one linear layer is fitted."""

from dataclasses import replace
from itertools import pairwise

import torch
import torchvision
from torch import nn

from fer_helpers.faces import EMOTIONS, Preprocess

IMAGENET = Preprocess(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
GREY = Preprocess(channels=1, mean=(0.449,), std=(0.226,))  # the means of ImageNet's three
# Where each of a backbone's five stages begins, and the layer whose maps Grad-CAM takes
CUTS = {"resnet18": (0, 4, 5, 6, 7), "vgg16": (0, 5, 10, 17, 24)}
CAM_LAYERS = {"resnet18": "5", "vgg16": "22"}


def convolutions(whole: nn.Module) -> nn.Sequential:
    """All of a torchvision network that keeps a grid: up to the last stage's maps, (N, 512, h, w)."""
    return whole.features if hasattr(whole, "features") else nn.Sequential(*list(whole.children())[:-2])


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
        self.backbone, self.pretrained = backbone, pretrained
        self.features = convolutions(torchvision.models.get_model(backbone, weights=None))
        if channels == 1:
            first = self.features[0]
            shape = (first.out_channels, first.kernel_size, first.stride, first.padding)
            self.features[0] = nn.Conv2d(1, *shape, bias=first.bias is not None)
        self.head = nn.Linear(512, len(EMOTIONS))
        self.unfrozen = 5  # stages that are trained beside the head

    @property
    def cam_layer(self) -> nn.Module:
        """The last stage whose maps are still a grid: 6×6 at 48 pixels, where the end has 2×2 or 1×1."""
        return self.features.get_submodule(CAM_LAYERS[self.backbone])

    @property
    def stages(self) -> list[nn.Module]:
        """The five stages from the first to the last, then the head: what is trained at rates of its own."""
        return [*(self.features[start:end] for start, end in pairwise((*CUTS[self.backbone], None))), self.head]

    def unfreeze(self, count: int) -> "Transfer":
        """Train the head and the last `count` of the five stages; the others stay as they are, batch norm too."""
        self.unfrozen = count
        for k, stage in enumerate(self.stages):
            stage.requires_grad_(k >= 5 - count)
        return self

    def train(self, mode: bool = True) -> "Transfer":
        """As torch does, but frozen batch norm goes on using the statistics that it has."""
        super().train(mode)
        for part in self.features.modules():
            if isinstance(part, nn.BatchNorm2d) and not part.weight.requires_grad:
                part.eval()
        return self

    def frozen_maps(self, faces: torch.Tensor) -> torch.Tensor:
        """(N, channels, size, size) -> (N, C, h, w), the frozen stages' maps; their means where all are frozen."""
        maps = faces
        for stage in self.stages[: 5 - self.unfrozen]:
            maps = stage(maps)
        return maps if self.unfrozen else maps.mean(dim=(2, 3), keepdim=True)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(faces).mean(dim=(2, 3)))


class Head(nn.Module):
    """The last `count` stages and the head of a Transfer alone, for training on stored maps in place of images.

    forward: (N, C, h, w), what Transfer.frozen_maps gives -> (N, 7) logits.
    """

    views = 1  # maps have no mirror image

    def __init__(self, *, backbone: str = "resnet18", count: int = 0):
        super().__init__()
        self.count = count
        self.share(Transfer(backbone=backbone))

    def share(self, model: Transfer) -> "Head":
        """Take this network's own last stages and head: training here trains it."""
        *stages, self.head = model.stages
        self.features = nn.Sequential(*stages[5 - self.count :])
        return self

    def preprocess(self, maps: torch.Tensor) -> torch.Tensor:
        """Stored maps are only widened to float32."""
        return maps.float()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(maps).mean(dim=(2, 3)))
