"""Networks with a backbone of torchvision's or timm's, to which a new head of one linear layer is fitted."""

from dataclasses import replace
from itertools import pairwise, takewhile

import torch
import torchvision
from torch import nn

from fer_helpers.faces import EMOTIONS, Preprocess

IMAGENET = Preprocess(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# Where each of a backbone's five stages begins, and the layer whose maps Grad-CAM takes
CUTS = {"resnet18": (0, 4, 5, 6, 7), "vgg16": (0, 5, 10, 17, 24)}
CAM_LAYERS = {"resnet18": "5", "vgg16": "22"}
TIMM = {"efficientnet_lite0": "tf_efficientnet_lite0"}  # what timm calls it; all others go by timm's own names
TOPS = ("global_pool", "head", "head_drop", "fc_norm", "fc", "classifier")  # where timm's networks leave the grid


def from_timm(backbone: str, **how) -> nn.Module:
    """A network of timm's zoo as timm makes it. ImportError without timm, ValueError for a name that it lacks."""
    try:
        import timm  # takes a second, and most who load a model of ours have none of timm's
    except ImportError as error:
        advice = 'pip install -e ".[pretrained]" brings it'
        raise ImportError(f"The network {backbone} is one of the package timm: {advice} ({error}).") from None
    name = TIMM.get(backbone, backbone)
    if not timm.is_model(name):
        offer = ", ".join([*CUTS, *TIMM])
        raise ValueError(f"There is no backbone '{backbone}' here: choose {offer}, or a name from timm.list_models().")
    return timm.create_model(name, **how)


def whole_network(backbone: str) -> nn.Module:
    """A network as it was built for ImageNet, with random weights."""
    return torchvision.models.get_model(backbone, weights=None) if backbone in CUTS else from_timm(backbone)


def convolutions(whole: nn.Module) -> nn.Sequential:
    """All of a network that keeps a grid, block by block: up to the last stage's maps, (N, C, h, w)."""
    if hasattr(whole, "forward_features"):  # timm's
        children = takewhile(lambda child: child[0] not in TOPS, whole.named_children())
        blocks = [part if isinstance(part, nn.Sequential) else [part] for _, part in children]
        return nn.Sequential(*(block for row in blocks for block in row))
    return whole.features if hasattr(whole, "features") else nn.Sequential(*list(whole.children())[:-2])


@torch.no_grad()
def cuts_of(whole: nn.Module, features: nn.Sequential) -> tuple[int, ...]:
    """Where the stages of timm's network begin: at each block that makes the grid coarser.

    Raises ValueError where its blocks, one after the other, are not what the network itself computes.
    """
    whole.eval()  # they share their blocks
    maps, cuts, wrong = torch.zeros(1, 3, 64, 64), [0], None
    try:
        wanted = whole.forward_features(maps)
        for place, block in enumerate(features):
            before, maps = maps, block(maps)
            cuts += [place] if place and maps.shape[-1] < before.shape[-1] else []
        wrong = "" if maps.ndim == 4 and torch.allclose(maps, wanted) else "other answers"
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:  # what blocks say to input of a wrong shape
        wrong = str(error).split("\n")[0] or type(error).__name__  # a bare assert says nothing
    whole.train()
    if wrong:
        raise ValueError(f"It is no plain row of convolutions ({wrong}), as ResNets, EfficientNets and ConvNeXts are.")
    return tuple(cuts)


class Transfer(nn.Module):
    """A backbone of torchvision's or timm's with a new head of one linear layer.

    backbone: resnet18, vgg16 (its convolutions alone; its three dense layers of 124 million weights go),
    efficientnet_lite0, or a convolutional network by its name in timm's zoo.
    size: side in pixels to which faces are enlarged; grey is repeated to three channels. pretrained: for the record,
    whether it began as ImageNet's.
    forward: (N, 3, size, size) float, mean and deviation as on ImageNet -> (N, 7) logits.
    """

    def __init__(self, *, backbone: str = "resnet18", size: int = 48, pretrained: bool = False):
        super().__init__()
        whole = whole_network(backbone)
        self.preprocess = replace(IMAGENET, size=size)
        self.backbone, self.pretrained = backbone, pretrained
        self.features = convolutions(whole)
        self.cuts = CUTS.get(backbone) or cuts_of(whole, self.features)
        if backbone not in CUTS:  # timm's networks were trained with means and deviations of their own
            own = {name: tuple(whole.pretrained_cfg[name]) for name in ("mean", "std")}
            self.preprocess = replace(self.preprocess, **own)
        self.head = nn.Linear(512 if backbone in CUTS else whole.num_features, len(EMOTIONS))
        self.unfrozen = len(self.cuts)  # stages that are trained beside the head

    @property
    def cam_layer(self) -> nn.Module:
        """The last stage whose maps are still a grid: 6×6 at 48 pixels (timm's: at 96), the end has 3×3 or less."""
        return self.features.get_submodule(CAM_LAYERS.get(self.backbone, str(self.cuts[-1] - 1)))

    @property
    def stages(self) -> list[nn.Module]:
        """The stages (mostly five) from the first to the last, then the head: what is trained at rates of its own."""
        return [*(self.features[start:end] for start, end in pairwise((*self.cuts, None))), self.head]

    def unfreeze(self, count: int) -> "Transfer":
        """Train the head and the last `count` of the stages; the others stay as they are, batch norm too."""
        self.unfrozen = count
        for k, stage in enumerate(self.stages):
            stage.requires_grad_(k >= len(self.cuts) - count)
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
        for stage in self.stages[: len(self.cuts) - self.unfrozen]:
            maps = stage(maps)
        return maps if self.unfrozen else maps.mean(dim=(2, 3), keepdim=True)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(faces).mean(dim=(2, 3)))


class Head(nn.Module):
    """A Transfer's own unfrozen stages and head, for training on stored maps in place of images: it trains them.

    forward: (N, C, h, w), what Transfer.frozen_maps gives -> (N, 7) logits.
    """

    views = 1  # maps have no mirror image

    def __init__(self, model: Transfer):
        super().__init__()
        self.recipe = {"architecture": "head", "arguments": {"backbone": model.backbone, "count": model.unfrozen}}
        *stages, self.head = model.stages
        self.features = nn.Sequential(*stages[len(stages) - model.unfrozen :])

    def preprocess(self, maps: torch.Tensor) -> torch.Tensor:
        """Stored maps are only widened to float32."""
        return maps.float()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(maps).mean(dim=(2, 3)))
