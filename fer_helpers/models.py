"""Networks by name, their answers, and the model file."""

import json
import pkgutil
from itertools import product
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import nn

from fer_helpers import paths
from fer_helpers.emotions import SEVEN
from fer_helpers.faces import EMOTIONS, SIDE, Preprocess

ARCHITECTURES = {  # where each lies; looked up when it is built, since the core imports no wing
    "baseline": "fer_helpers.networks:Baseline",
    "small_cnn": "fer_helpers.networks:SmallCNN",
    "ensemble": "fer_helpers.networks:Ensemble",
    "transfer": "fer_helpers.transfer.backbones:Transfer",
    "mobilenet": "fer_helpers.transfer.mobilenet:MobileNet",
}

TTA_SHIFT = 2  # pixels of a stored face
CARD = ("architecture", "arguments", "emotions", "input", "views")  # what a model file's card can't do without
OTHERS = {  # first bytes of files that aren't ours, and what they are
    b"version https://git-lfs": "the pointer of Git LFS in place of the file: git lfs pull fetches that",
    b"PK": "a file of torch.save or Keras; this workbook reads its own .safetensors alone, make 03 trains one",
    b"\x80": "a file of torch.save; this workbook reads its own .safetensors alone, make 03 trains one",
    b"\x89HDF": "a file of Keras; this workbook reads its own .safetensors alone, make 03 trains one",
    b"<": "a web page, not the file that it offers: download that",
}


def build(architecture: str, **arguments) -> nn.Module:
    """A network by name; it remembers how it was built, so that a model file can say so."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"There is no architecture '{architecture}': choose one of {', '.join(ARCHITECTURES)}.")
    model = pkgutil.resolve_name(ARCHITECTURES[architecture])(**arguments)
    model.recipe = {"architecture": architecture, "arguments": arguments}
    return model


def probabilities(model: nn.Module, images: torch.Tensor, views: int | None = None) -> torch.Tensor:
    """What a network answers: the mean of its probabilities over views of a face (test-time augmentation, TTA).

    views: 1, the face alone; 2, the mirrored face too; 10, both also moved by TTA_SHIFT pixels to the four corners,
    where what comes in repeats the edge; None for the model's own, or 2.
    images: (N, 48, 48) uint8 on the model's device, or what else its `preprocess` takes. returns: (N, 7) float32.
    """
    views = views or getattr(model, "views", 2)
    if views not in (1, 2, 10):
        raise ValueError(f"views is {views}: choose 1, 2, 10.")
    seen = [model.preprocess(images)]
    if views == 10:
        high, wide = seen[0].shape[-2:]
        shift = round(TTA_SHIFT * wide / SIDE)  # of an enlarged face
        padded = F.pad(seen[0], [shift] * 4, mode="replicate")
        corners = product((0, 2 * shift), repeat=2)
        seen += [padded[..., y : y + high, x : x + wide] for y, x in corners]
    if views > 1:
        seen = [view for each in seen for view in (each, each.flip(-1))]
    answers = (model(view.contiguous(memory_format=torch.channels_last)).float().softmax(1) for view in seen)
    return sum(answers) / len(seen)


def start_from(model: nn.Module, path: str | Path, others: tuple = ()) -> bool:
    """Begin with the weights of a model file (fine-tuning); False where it is of one of the other architectures.

    Raises ValueError where the weights fit neither.
    """
    given = load(path)
    name, wanted = given.recipe["architecture"], model.recipe["architecture"]
    if name in others:
        return False
    try:
        model.load_state_dict(given.state_dict())
    except RuntimeError:
        raise ValueError(f"{path} holds another network ('{name}') than the {wanted} that begins with it.") from None
    model.preprocess = given.preprocess
    return True


def weight_count(model: nn.Module) -> int:
    """Number of weights."""
    return sum(part.numel() for part in model.parameters())


def save(model: nn.Module, path: str | Path, *, half: bool = False, views: int | None = None, **card) -> None:
    """Write weights and what is needed to use them into one safetensors file.

    half: store float16. views: see `probabilities`. card: what else should travel along, JSON-ready (metrics, run, …).
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        state = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    card |= {"emotions": EMOTIONS, "input": vars(model.preprocess), **model.recipe}
    card |= {"views": views or getattr(model, "views", 2)}
    with paths.whole(path) as temporary:
        content = safetensors.torch.save(state, metadata={"fer": json.dumps(card)})
        temporary.write_bytes(content)  # save_file makes private files, and its errors are no OSError


def export(model: nn.Module, target: str | Path, **how) -> Path:
    """Write a model as ONNX: see publishing.export.export, which the core doesn't import before it is needed."""
    return pkgutil.resolve_name("fer_helpers.publishing.export:export")(model, target, **how)


def read_card(path: str | Path) -> dict:
    """What a model file reports: architecture, arguments, emotions, input, metrics, run."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file {path}. Train one with notebook 03, or name another.")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
    except (SafetensorError, OSError) as error:
        with path.open("rb") as stream:
            head = stream.read(24)
        damaged = f"not a whole safetensors file ({error}). Train or copy it again"
        kind = next((kind for mark, kind in OTHERS.items() if head.startswith(mark)), damaged)
        raise ValueError(f"{path} is {kind}.") from None
    if "fer" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not of this workbook: its metadata say no architecture.")
    try:
        card = dict(json.loads(metadata["fer"]))
    except (ValueError, TypeError):
        raise ValueError(f"{path} has a damaged card: train or copy it again.") from None
    if missing := [key for key in CARD if key not in card]:
        raise ValueError(f"{path} has a damaged card, or one of another workbook: it lacks {', '.join(missing)}.")
    return card


def load(path: str | Path) -> nn.Module:
    """The network in a model file, in eval mode, on the CPU, float32; nothing in the file is executed.

    The file's card is kept as `model.card`. Raises FileNotFoundError or ValueError with a sentence.
    """
    card = read_card(path)
    if (names := [*(card["emotions"] or [])]) != [*EMOTIONS]:
        own = [each for each in SEVEN if each in names] == names and len(names) > 1  # fewer, or all of them, on purpose
        advice = f'use it with EMOTIONS="{" ".join(names)}" (in Python FER_EMOTIONS), or ' * own
        raise ValueError(f"{path} names its outputs {names}, here they are {[*EMOTIONS]}: {advice}train it again.")
    try:
        model = build(card["architecture"], **card["arguments"])
        steps = {key: tuple(value) if isinstance(value, list) else value for key, value in card["input"].items()}
        model.preprocess = Preprocess(**steps)
    except (TypeError, AttributeError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{path} has a damaged card, or one of another workbook: {first}.") from error
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path} holds weights of another network than '{card['architecture']}': {first}") from error
    model.card, model.views = card, card["views"]
    return model.eval()
