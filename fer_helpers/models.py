"""Networks by name, ImageNet's weights, and the model file."""

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
from fer_helpers.backbones import GREY, IMAGENET, Head, Transfer
from fer_helpers.faces import EMOTIONS, Preprocess
from fer_helpers.networks import Baseline, Ensemble, SmallCNN

ARCHITECTURES = {"baseline": Baseline, "small_cnn": SmallCNN, "ensemble": Ensemble, "transfer": Transfer, "head": Head}

VIEWS, TTA_SHIFT = (1, 2, 10), 2


def build(architecture: str, **arguments) -> nn.Module:
    """A network by name; it remembers how it was built, so that a model file can say so."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"There is no architecture '{architecture}': choose one of {', '.join(ARCHITECTURES)}.")
    model = ARCHITECTURES[architecture](**arguments)
    model.recipe = {"architecture": architecture, "arguments": arguments}
    return model


def probabilities(model: nn.Module, images: torch.Tensor, views: int | None = None) -> torch.Tensor:
    """What a network answers: the mean of its probabilities over views of a face (test-time augmentation, TTA).

    views: 1, the face alone; 2, the mirrored face too: mirroring changes no emotion, and the mean is the better answer;
    10, both also moved by TTA_SHIFT pixels to the four corners; None for the model's own, or 2.
    images: (N, 48, 48) uint8 on the model's device, or what else its `preprocess` takes. returns: (N, 7) float32.
    """
    views = views or getattr(model, "views", 2)
    if views not in VIEWS:
        raise ValueError(f"views is {views}: choose {', '.join(map(str, VIEWS))}.")
    faces = model.preprocess(images)
    seen = [faces]
    if views > 1 and getattr(model.preprocess, "mirrored", True):
        moved = _moved(faces, TTA_SHIFT) if views == 10 else [faces]
        seen = [view for each in moved for view in (each, each.flip(-1))]
    answers = (model(view.contiguous(memory_format=torch.channels_last)).float().softmax(1) for view in seen)
    return sum(answers) / len(seen)


def _moved(faces: torch.Tensor, by: int) -> list[torch.Tensor]:
    """The faces (N, C, H, W), and these moved towards each corner; what comes in repeats the edge."""
    high, wide = faces.shape[-2:]
    padded = F.pad(faces, (by, by, by, by), mode="replicate")
    corners = [(y, x) for y in (0, 2 * by) for x in (0, 2 * by)]
    return [faces, *(padded[..., y : y + high, x : x + wide] for y, x in corners)]


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
    model = build("transfer", backbone=backbone, size=size, channels=channels, pretrained=True)
    part = source.features if backbone == "vgg16" else nn.Sequential(*list(source.children())[:-2])
    if channels == 1:
        summed(part)
    model.features.load_state_dict(part.state_dict())
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


def save(model: nn.Module, path: str | Path, *, half: bool = False, views: int | None = None, **card) -> None:
    """Write weights and what is needed to use them into one safetensors file.

    half: store float16 (for giving away). views: see `probabilities`; None for the model's own, or 2.
    card: anything JSON-ready that should travel along (metrics, run, data).
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        state = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    card |= {"emotions": EMOTIONS, "input": vars(model.preprocess), **model.recipe}
    card |= {"views": views or getattr(model, "views", 2)}
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
    model.card, model.views = card, card["views"]
    return model.eval()
