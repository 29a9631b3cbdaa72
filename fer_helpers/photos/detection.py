"""Faces in a photograph: detected by a cascade, cropped as FER-2013 is cropped, their expressions recognised."""

import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from skimage import data, feature

from fer_helpers import images, models, predict, results
from fer_helpers.emotions import FEWER
from fer_helpers.faces import EMOTIONS

LONGEST = 1600  # pixels: larger pictures are made smaller at once; a face in them is still larger than 48×48
WINDOW = 24  # side of the cascade's own window: a smaller face can't be detected
MIN_FACE = 0.06  # side of the smallest face that is looked for, as a share of the picture's longer side
SCALE_FACTOR = 1.1  # growth of the cascade's window from one pass to the next
MIN_NEIGHBOURS = 4  # windows that must lie on one another to be a face
FRAME_IN_WINDOWS = 1.06  # FER-2013's frame in sides of the cascade's window: median of pasted val faces, see `framing`


class Box(NamedTuple):
    """A square bounding box in pixels; it may reach over the picture's edge."""

    left: float
    top: float
    side: float

    def scaled(self, factor: float) -> "Box":
        """The square about the same centre with `factor` times the side."""
        grown = (factor - 1) * self.side
        return Box(self.left - grown / 2, self.top - grown / 2, factor * self.side)


class Face(NamedTuple):
    """A face of a picture, and the answer to it."""

    box: Box
    image: np.ndarray  # (48, 48) uint8, what the network sees
    probabilities: np.ndarray  # (7,) float32, order of EMOTIONS

    def enlarged(self, scale: float) -> "Face":
        """The same face in a picture that is so many times as large."""
        return self._replace(box=Box(*(round(scale * value) for value in self.box)))

    @property
    def likeliest(self) -> str:
        """The likeliest emotion's name."""
        return EMOTIONS[int(self.probabilities.argmax())]

    def label(self, threshold: float) -> str:
        """The likeliest emotion, or "not sure" if its probability is below the confidence threshold."""
        return self.likeliest if self.probabilities.max() >= threshold else "not sure"


def largest(items: list):
    """The largest of some Boxes or Faces."""
    return max(items, key=lambda each: getattr(each, "box", each).side)


def load(path: str | Path, accuracy: float) -> tuple[torch.nn.Module, dict | None]:
    """A network trained on photographs, and its metrics.confidence_threshold for this accuracy, if known and reached.

    That is from the val answers beside the file, else from the table in its card. Raises ValueError.
    """
    model = models.load(path)
    metrics = model.card.get("metrics") or {}
    if (metrics.get("data") or {}).get("demonstration", True):
        said = f"{path} doesn't say that it was trained on photographs of faces"
        if not FEWER:
            raise ValueError(f"{said}: name a model that was.")
        print(f"careful: {said}, and no other model knows {', '.join(FEWER)} alone: its answers mean nothing.")
    if not 0.5 <= accuracy <= 0.99:
        raise ValueError(f"The share of right answers that is wanted lies between 0.5 and 0.99, not at {accuracy}.")
    table = results.confidence_table(Path(path)) or metrics.get("confidence_thresholds", [])
    return model, next((each for each in table if each["accuracy"] >= accuracy - 1e-9), None)


def threshold_of(confidence: dict | None) -> float:
    """The probability below which the answer is "not sure"; 0 where none is known."""
    return confidence["threshold"] if confidence else 0.0


def threshold_sentence(confidence: dict | None) -> str:
    """The confidence threshold that `load` gives, in a sentence."""
    if not confidence:
        return 'No confidence threshold is known of this model, so every face gets an answer and none a "not sure".'
    return (
        f"From a probability of {confidence['threshold']:.2f} on an answer is given: {confidence['coverage']:.0%} of "
        f'val\'s faces, {confidence["right"]:.0%} of these answers right. Below it stands "not sure".'
    )


def read(source) -> images.Picture:
    """A photograph, RGB, LONGEST pixels at most, else a ValueError that says why not; `source` as in images.read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of 89 megapixels; of 179 the error stays
            photo = images.read(source, LONGEST)
    except FileNotFoundError as error:
        raise ValueError("there is no such file") from error
    if min(photo.image.size) < WINDOW:
        raise ValueError(f"{photo.size[0]}×{photo.size[1]} pixels, too small or too narrow for a face")
    return photo._replace(image=photo.image.convert("RGB"))


@cache
def _cascade() -> feature.Cascade:
    return feature.Cascade(data.lbp_frontal_face_cascade_filename())  # takes a third of a second to read


def windows(grey: np.ndarray, min_side: int, scale_factor: float = SCALE_FACTOR) -> np.ndarray:
    """(N, 3): centre column, centre row, side of every window of (H, W) uint8 that the cascade predicts as a face."""
    if min(grey.shape) < min_side:
        return np.zeros((0, 3))
    options = {"min_neighbor_number": 0, "intersection_score_threshold": 2.0}  # none is merged with another
    options |= {"min_size": (min_side,) * 2, "max_size": (min(grey.shape),) * 2}
    hits = _cascade().detect_multi_scale(grey, scale_factor=scale_factor, step_ratio=1.0, **options)
    rows = [(each["c"] + each["width"] / 2, each["r"] + each["height"] / 2, each["width"]) for each in hits]
    return np.array(rows, dtype=float).reshape(-1, 3)


def merge_windows(hits: np.ndarray) -> np.ndarray:
    """(K, 3): the mean of each cluster of windows, the largest cluster first; what lies on a larger one goes with it.

    hits: (N, 3) of `windows`. scikit-image's own merging leaves boxes in one another and depends on the windows' order.
    """
    faces = []
    while len(hits):
        far = np.hypot(*(hits[:, None, :2] - hits[None, :, :2]).transpose(2, 0, 1))  # (N, N) pixels apart
        one, other = hits[:, None, 2], hits[None, :, 2]
        near = (far < 0.35 * np.minimum(one, other)) & (np.maximum(one, other) < 1.6 * np.minimum(one, other))
        first = near.sum(axis=1).argmax()
        cluster = hits[near[first]]
        if len(cluster) < MIN_NEIGHBOURS:
            break
        mean = np.array([*cluster[:, :2].mean(axis=0), np.exp(np.log(cluster[:, 2]).mean())])
        faces.append(mean)
        apart = np.hypot(*(hits[:, :2] - mean[:2]).T) > 0.6 * np.maximum(hits[:, 2], mean[2])
        hits = hits[apart & ~near[first]]
    return np.array(faces).reshape(-1, 3)


def detect(image: Image.Image, min_face: float = MIN_FACE) -> list[Box]:
    """The faces of a picture, from left to right, each as a square like FER-2013's frame.

    min_face: side of the smallest face looked for, as a share of the longer side; half of it takes four times as long.
    """
    scale = max(min_face * max(image.size) / WINDOW, 1.0)  # so that the smallest face fills the smallest window
    size = [max(round(side / scale), 1) for side in image.size]
    grey = image.convert("L").resize(size, Image.Resampling.BILINEAR)
    faces = merge_windows(windows(np.asarray(grey), WINDOW)) * scale
    return sorted(Box(x - side / 2, y - side / 2, side).scaled(FRAME_IN_WINDOWS) for x, y, side in faces)


def crop(image: Image.Image, box: Box) -> np.ndarray:
    """(48, 48) uint8: the square of a picture as training's images are; beyond the edge its last pixels go on."""
    left, top, side = (round(value) for value in box)
    pixels, along = np.asarray(image.convert("L")), np.arange(max(side, 1))
    rows, columns = (top + along).clip(0, image.height - 1), (left + along).clip(0, image.width - 1)
    return images.grey_square(Image.fromarray(pixels[np.ix_(rows, columns)]))


def recognise(model, image: Image.Image, min_face: float = MIN_FACE, views: int | None = None) -> list[Face]:
    """The answer to each face of a picture, from left to right; none where none is found. views: None, the model's."""
    boxes = detect(image, min_face)
    if not boxes:
        return []
    grey = image.convert("L")  # once for all faces
    crops = np.stack([crop(grey, box) for box in boxes])
    answers = zip(boxes, crops, predict.probabilities(model, crops, views), strict=True)
    return [Face(*answer) for answer in answers]
