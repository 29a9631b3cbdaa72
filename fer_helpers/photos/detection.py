"""Faces in a person's own picture: opening it whatever it is, finding its faces, cutting them as FER-2013 is cut."""

import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from skimage import data, feature

from fer_helpers import models, results
from fer_helpers.data import decoding
from fer_helpers.faces import EMOTIONS, grey_square

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
LONGEST = 1600  # pixels: larger pictures are made smaller at once; a face in them is still larger than 48×48
WINDOW = 24  # side of the cascade's own window: a smaller face can't be found
SMALLEST = 0.06  # side of the smallest face that is looked for, as a share of the picture's longer side
STEP = 1.1  # growth of the cascade's window from one pass to the next
AGREEING = 4  # windows that must lie on one another to be called a face
WIDER = 1.06  # side of FER-2013's frame in sides of the cascade's window: median of pasted val faces, see `framing`


class Box(NamedTuple):
    """A square in a picture: its left, top and side in pixels; it may reach over the picture's edge."""

    left: float
    top: float
    side: float


class Photo(NamedTuple):
    """A picture, upright, RGB; `scale`: pixels of the file to one of its own; `notes`: what was unusual about it."""

    picture: Image.Image
    scale: float
    notes: str


class Face(NamedTuple):
    """What is said of one face: where it is, whether it was found there (or is the centre square), the answer.

    image: (48, 48) uint8, what the network saw. probabilities: (7,) float32, order of EMOTIONS.
    """

    box: Box
    found: bool
    image: np.ndarray
    probabilities: np.ndarray

    @property
    def likeliest(self) -> str:
        """The likeliest emotion's name."""
        return EMOTIONS[int(self.probabilities.argmax())]

    def label(self, least: float) -> str:
        """The likeliest emotion, or "not sure" if its probability is below `least`."""
        return self.likeliest if self.probabilities.max() >= least else "not sure"


def load(path: str | Path, accuracy: float) -> tuple[torch.nn.Module, dict | None]:
    """A network that learnt from photographs, and its `results.confidence_threshold`: below it, it isn't sure.

    Raises ValueError for a network that learnt from synthetic faces, whose answers about a photograph mean nothing.
    """
    model = models.load(path)
    if model.card.get("metrics", {}).get("data", {}).get("demonstration", True):
        raise ValueError(f"{path} doesn't say that it learnt from photographs of faces: name a model that did.")
    return model, results.confidence_threshold(path, model.card, accuracy)


def least(sure: dict | None) -> float:
    """The probability below which the answer is "not sure"; 0 where it isn't known: then every face gets an answer."""
    return sure["threshold"] if sure else 0.0


def told(sure: dict | None) -> str:
    """What `load` found about being sure, in a sentence."""
    if not sure:
        return 'When this model is sure enough isn\'t known, so every face gets an answer and none a "not sure".'
    return (
        f"From a probability of {sure['threshold']:.2f} on an answer is given: {sure['coverage']:.0%} of val's faces, "
        f'{sure["right"]:.0%} of these answers right. Below it stands "not sure".'
    )


def opened(source) -> Photo:
    """A picture file (a path or a stream) whatever its format, size and colours.

    An ordinary JPEG is made smaller while it is decoded, so that 100 megapixels take little memory; of other formats
    and of a progressive JPEG every pixel is held once. PIL's own limit of 179 megapixels is kept. Raises ValueError
    that says what is wrong with the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from 89 megapixels on; the error stays
            with Image.open(source, formats=decoding.FORMATS) as picture:
                return _small(picture)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except UnidentifiedImageError:
        raise ValueError(f"this is no picture of a kind that can be read ({', '.join(decoding.FORMATS)})") from None
    except Image.DecompressionBombError:
        raise ValueError("it has more than 179 megapixels: make it smaller first") from None
    except ValueError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"it is damaged ({said.splitlines()[0][:80]})") from error


def _small(picture: Image.Image) -> Photo:
    """A picture that was opened and not decoded yet, as a Photo."""
    size, mode, frames = picture.size, picture.mode, getattr(picture, "n_frames", 1)
    if min(size) * min(1, LONGEST / max(size)) < WINDOW:
        raise ValueError(f"it is {size[0]}×{size[1]} pixels, too small or too narrow for a face")
    turned = picture.getexif().get(0x0112, 1) not in (0, 1)
    picture.draft(None, (LONGEST, LONGEST))
    if mode.startswith("I"):  # 16 bits a pixel: the upper 8, as `faces.grey_square` does it
        picture = Image.fromarray((np.asarray(picture, dtype=np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if mode == "F":
        raise ValueError("its pixels are fractions: save it with 8 or 16 bits")
    picture.thumbnail((LONGEST, LONGEST))
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    scale = max(size) / max(picture.size)
    told = [f"{size[0] * size[1] / 1e6:.0f} megapixels, made smaller"] * (scale > 1)
    told += ["turned upright after its EXIF"] * turned + ["CMYK"] * (mode == "CMYK")
    told += ["16 bits"] * mode.startswith("I") + [f"the first of {frames} pictures"] * (frames > 1)
    return Photo(picture, scale, ", ".join(told))


@cache
def _cascade() -> feature.Cascade:
    """scikit-image's face cascade; it takes a third of a second to read."""
    return feature.Cascade(data.lbp_frontal_face_cascade_filename())


def windows(grey: np.ndarray, smallest: int, step: float = STEP) -> np.ndarray:
    """(N, 3) float: middle column, middle row and side of every window that the cascade takes for a face.

    grey: (H, W) uint8. smallest: side of the smallest window.
    """
    largest = min(grey.shape)
    if largest < smallest:
        return np.zeros((0, 3))
    options = {"min_neighbor_number": 0, "intersection_score_threshold": 2.0}  # none is merged with another
    span = {"min_size": (smallest, smallest), "max_size": (largest, largest)}
    found = _cascade().detect_multi_scale(grey, scale_factor=step, step_ratio=1.0, **span, **options)
    rows = [(each["c"] + each["width"] / 2, each["r"] + each["height"] / 2, each["width"]) for each in found]
    return np.array(rows, dtype=float).reshape(-1, 3)


def merged(found: np.ndarray, agreeing: int = AGREEING) -> np.ndarray:
    """(K, 3): the mean of each heap of windows, the largest heap first; what lies on a larger heap goes with it.

    found: (N, 3) of `windows`. agreeing: windows that make a heap. scikit-image's own merging leaves boxes that lie in
    one another, and its means depend on the order of the windows.
    """
    faces = []
    while len(found):
        far = np.hypot(*(found[:, None, :2] - found[None, :, :2]).transpose(2, 0, 1))  # (N, N) pixels apart
        one, other = found[:, None, 2], found[None, :, 2]
        near = (far < 0.35 * np.minimum(one, other)) & (np.maximum(one, other) < 1.6 * np.minimum(one, other))
        first = near.sum(axis=1).argmax()
        heap = found[near[first]]
        if len(heap) < agreeing:
            break
        middle = np.array([*heap[:, :2].mean(axis=0), np.exp(np.log(heap[:, 2]).mean())])
        faces.append(middle)
        apart = np.hypot(*(found[:, :2] - middle[:2]).T) > 0.6 * np.maximum(found[:, 2], middle[2])
        found = found[apart & ~near[first]]
    return np.array(faces).reshape(-1, 3)


def find(picture: Image.Image, smallest: float = SMALLEST) -> list[Box]:
    """The faces of a picture, from left to right, each as a square like FER-2013's frame.

    smallest: side of the smallest face that is looked for, as a share of the longer side; halving it takes four times
    as long.
    """
    scale = max(smallest * max(picture.size) / WINDOW, 1.0)  # so that the smallest face fills the smallest window
    size = [max(round(side / scale), 1) for side in picture.size]
    grey = picture.convert("L").resize(size, Image.Resampling.BILINEAR)
    faces = merged(windows(np.asarray(grey), WINDOW)) * scale
    boxes = [Box(x - WIDER * side / 2, y - WIDER * side / 2, WIDER * side) for x, y, side in faces]
    return sorted(boxes)


def centre(picture: Image.Image) -> Box:
    """The centre square, which stands for the face where none was found."""
    side = min(picture.size)
    return Box((picture.width - side) / 2, (picture.height - side) / 2, side)


def cut(picture: Image.Image, box: Box) -> np.ndarray:
    """(48, 48) uint8: the square of a picture as training's pictures are; beyond the edge its last pixels go on."""
    left, top, side = (round(value) for value in box)
    right, bottom = left + max(side, 1), top + max(side, 1)
    inside = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    around = ((inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2]))
    pixels = np.asarray(picture.crop(inside).convert("L"))
    return grey_square(Image.fromarray(np.pad(pixels, around, mode="edge")))


@torch.inference_mode()
def answers(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """(N, 7) float32 probabilities of (N, 48, 48) uint8 faces, by the very preprocessing of training."""
    device = next(model.parameters()).device
    parts = torch.from_numpy(np.ascontiguousarray(images)).to(device).split(128)
    return np.concatenate([models.probabilities(model.eval(), part).cpu().numpy() for part in parts])


def look(model: torch.nn.Module, picture: Image.Image, smallest: float = SMALLEST) -> list[Face]:
    """What the network says of each face of a picture, from left to right; of the centre square if there is none."""
    boxes = find(picture, smallest)
    places = boxes or [centre(picture)]
    images = np.stack([cut(picture, box) for box in places])
    return [
        Face(*each) for each in zip(places, [bool(boxes)] * len(places), images, answers(model, images), strict=True)
    ]
