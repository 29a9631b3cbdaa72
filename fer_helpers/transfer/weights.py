"""Where ImageNet's weights come from, and how a network of ours takes them."""

import socket
from pathlib import Path

import torch
import torchvision
from torch import nn

from fer_helpers import models
from fer_helpers.transfer.backbones import GREY, IMAGENET, Transfer, convolutions

SILENCE = 10.0  # seconds after which a silent download is given up


def imagenet_weights(backbone: str) -> dict:
    """ImageNet's weights of a backbone: torchvision's file from its cache folder, else downloaded.

    Raises ConnectionError that names the file and the folder to put it in; ValueError for a file that is damaged.
    """
    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)  # torch.hub sets no time limit of its own
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


def pretrained(backbone: str, *, size: int = 48, channels: int = 3) -> Transfer:
    """A Transfer network whose backbone holds ImageNet's weights; the errors of `imagenet_weights` pass through.

    channels: 1 sums the first convolution over the colours, which for grey faces gives the same (see `summed`).
    """
    source = torchvision.models.get_model(backbone, weights=None)
    state = imagenet_weights(backbone)
    try:
        source.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"The ImageNet file of {backbone} holds other weights than {backbone}'s: {error}") from error
    model = models.build("transfer", backbone=backbone, size=size, channels=channels, pretrained=True)
    features = convolutions(source)
    if channels == 1:
        summed(features)
    model.features.load_state_dict(features.state_dict())
    return model


@torch.no_grad()
def summed(features: nn.Sequential) -> None:
    """Make the first convolution take one grey channel, scaled by GREY, in place of three, scaled by IMAGENET.

    Of a grey face the three differ by a factor and a constant: the factor goes into the weights, the constant into the
    bias or into the mean of the batch norm that follows. Only near the border, where zeros stand for what lies outside,
    the result is a little different.
    """
    first, mean, std = features[0], torch.tensor(IMAGENET.mean), torch.tensor(IMAGENET.std)
    factor, constant = GREY.std[0] / std, (GREY.mean[0] - mean) / std  # (3,) each
    more = (first.weight.sum(dim=(2, 3)) * constant).sum(dim=1)  # (out,)
    first.weight = nn.Parameter((first.weight * factor.view(1, 3, 1, 1)).sum(dim=1, keepdim=True))
    first.in_channels = 1
    if first.bias is not None:
        first.bias += more
    else:
        features[1].running_mean -= more
