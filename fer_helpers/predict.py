"""One file, one image, one answer."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from fer_helpers import models, paths
from fer_helpers.faces import EMOTIONS, grey_square

# Weights in outputs/reference/ that users get before they trained any: the first that is there is the default
GIVEN_AWAY = (
    "08_record/distilled/small_cnn_distilled.safetensors",
    "03_baseline_cnn/small_cnn/small_cnn.safetensors",
    "08_record/single/record_single.safetensors",
)


class Prediction(NamedTuple):
    """`label`: the likeliest emotion's name. `probabilities`: name of each emotion -> probability."""

    label: str
    probabilities: dict


def load_model(path: str | Path) -> torch.nn.Module:
    """The network in a model file, ready to predict; `.card` says where it comes from. Errors as in models.load."""
    return models.load(path)


def given_away() -> Path:
    """The model file in outputs/reference/ that users get by default; its model card lies beside it."""
    return next(path for name in GIVEN_AWAY if (path := paths.REFERENCE / name).exists())


def as_face(image) -> np.ndarray:
    """A path, PIL image or array as (48, 48) uint8: grey, the centre square of it, resized.

    Arrays: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); uint8 0 to 255, or float 0 to 1. Raises ValueError otherwise.
    """
    if isinstance(image, str | Path):
        try:
            with Image.open(image) as picture:
                return grey_square(picture)
        except UnidentifiedImageError as error:
            raise ValueError(f"{image} is not an image that can be read.") from error
    if isinstance(image, Image.Image):
        return grey_square(image)
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise ValueError(f"An image array has shape (H, W), (H, W, 3) or (H, W, 4), this one {array.shape}.")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("A float image holds values from 0 to 1; this one doesn't. Give uint8 for 0 to 255.")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"An image array is uint8 (0 to 255) or float (0 to 1), this one {array.dtype}.")
    return grey_square(Image.fromarray(array))


@torch.inference_mode()
def predict_emotion(model: torch.nn.Module, image) -> Prediction:
    """The emotion of one face picture; `image` as in `as_face`. Preprocessing and answer are those of training."""
    device = next(model.parameters()).device
    face = torch.from_numpy(as_face(image).copy()).unsqueeze(0).to(device)  # (1, 48, 48)
    probs = models.probabilities(model.eval(), face)[0].cpu()
    return Prediction(EMOTIONS[int(probs.argmax())], dict(zip(EMOTIONS, probs.tolist(), strict=True)))
