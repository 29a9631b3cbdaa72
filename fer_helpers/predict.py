"""One picture, one answer; several, as many."""

import os
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fer_helpers import images, models, paths
from fer_helpers.emotions import FEWER, FOLDER
from fer_helpers.faces import EMOTIONS

# Weights in outputs/reference/ that users get before they trained any; the first that is there is the default
GIVEN_AWAY = (
    "08_record/distilled/small_cnn_distilled.safetensors",
    "03_baseline_cnn/small_cnn/small_cnn.safetensors",
    "08_record/single/record_single.safetensors",
    "08_record/nano/nano_cnn.safetensors",
)
BATCH = 128  # faces that pass the network at once
load_model = models.load  # the network in a model file, ready to predict; `.card` says where it comes from


class Prediction(NamedTuple):
    """`label`: the likeliest emotion's name. `probabilities`: name of each emotion -> probability."""

    label: str
    probabilities: dict


def given_away(out_root: str | Path = "outputs") -> Path:
    """The model file in outputs/reference/ that users get by default; its model card lies beside it.

    They know all seven emotions; of fewer, and where that folder is gone, it is the user's own in out_root, or
    FileNotFoundError.
    """
    own = (paths.ROOT / out_root, paths.ROOT / "outputs" / f"on_{FOLDER}")
    for root, name in product(own if FEWER else [paths.REFERENCE, own[0]], GIVEN_AWAY):
        if (root / name).exists():
            return root / name
    train = f'train one, make 03 EMOTIONS="{" ".join(EMOTIONS)}", or name its file'
    raise FileNotFoundError(f"No model in {own[0]} knows {', '.join(EMOTIONS)} alone: {train}.")


@torch.inference_mode()
def probabilities(model: torch.nn.Module, faces: np.ndarray, views: int | None = None) -> np.ndarray:
    """(N, 48, 48) uint8 faces -> (N, 7) float32, by the very preprocessing of training.

    views: of test-time augmentation, 1, 2 or 10, as in models.probabilities; None for the model's own.
    """
    device = next(model.parameters()).device
    batches = torch.from_numpy(np.array(faces)).to(device).split(BATCH)  # a copy: PIL's pixels are read-only
    return np.concatenate([models.probabilities(model.eval(), batch, views).cpu().numpy() for batch in batches])


def predict_emotion(model: torch.nn.Module, image, views: int | None = None, *, bgr: bool = False):
    """The emotion of one face picture: its centre square, grey, 48×48 pixels. returns: a Prediction.

    image, bgr, errors: as in images.read; each error carries the picture's name. A list of pictures, or a batch of
    them as one array (N, H, W, C) or (N, C, H, W), gives a list of Predictions, computed as one batch.
    views: as in `probabilities`.
    """
    several = isinstance(image, list | tuple) or getattr(image, "ndim", 0) == 4
    pictures = enumerate(image, 1) if several else [("", image)]
    faces = [_face(each, f"Picture {number}" if several else "The picture", bgr) for number, each in pictures]
    answers = probabilities(model, np.stack(faces), views) if faces else []
    predictions = [Prediction(EMOTIONS[int(p.argmax())], dict(zip(EMOTIONS, p.tolist(), strict=True))) for p in answers]
    return predictions if several else predictions[0]


def _face(image, called: str, bgr: bool) -> np.ndarray:
    """(48, 48) uint8 of a picture; `called` names one that has no name of its own."""
    try:
        return images.grey_square(images.read(image, bgr=bgr).image)
    except FileNotFoundError:
        raise
    except ValueError as error:
        name = image if isinstance(image, str | os.PathLike) else getattr(image, "name", called)
        raise ValueError(f"{name} can't be used: {error}.") from error
