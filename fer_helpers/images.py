"""One door for every picture: a file, bytes, a stream, a PIL image or an array becomes an upright 8-bit image."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fer_helpers.faces import SIDE

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")  # PIL's others are rare, or call other programs
SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"])


class Picture(NamedTuple):
    """A picture as detectors and networks take it.

    image: a PIL image, L or RGB, upright. size: (width, height) in pixels and mode: PIL's, both of what was read.
    notes: what was unusual about it, in words.
    """

    image: Image.Image
    size: tuple[int, int]
    mode: str
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """Pixels of what was read to one pixel of `image`: 1, or more where it was made smaller."""
        return max(self.size) / max(self.image.size)


def read(source, longest: int | None = None) -> Picture:
    """A picture upright after its EXIF, with alpha on white, 8 of 16 bits, and the first frame of several.

    source: a path; the bytes of an image file, or a stream of them; a PIL image; an array (H, W), (H, W, 1), (H, W, 3)
    or (H, W, 4), uint8 0 to 255 or float 0 to 1. longest: pixels that its longer side may have, else it is made
    smaller; a baseline JPEG while it is decoded, so that 100 megapixels take little memory.

    Raises ValueError with the reason, fit to stand after a name and a colon; FileNotFoundError for a missing file.
    PIL's limits of pixels hold: its error always, its warning where the caller turns warnings into errors.
    """
    if isinstance(source, Image.Image):
        return _upright(source.copy(), longest)  # the caller's own isn't changed
    if isinstance(source, bytes):
        if not source:
            raise ValueError("empty file")
        source = io.BytesIO(source)
    if not (isinstance(source, str | Path) or hasattr(source, "read")):
        return _upright(Image.fromarray(_eight_bits(np.asarray(source))), longest)
    try:
        with Image.open(source, formats=FORMATS) as picture:
            return _upright(picture, longest)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {source}.") from None
    except UnidentifiedImageError:
        raise ValueError(f"not an image of a kind that can be read ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError("too many pixels, make it smaller first") from None
    except ValueError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise ValueError(f"damaged ({reason(error)})") from error


def reason(error: Exception) -> str:
    """The first line of an error, 80 characters at most; without the path on this machine."""
    text = getattr(error, "strerror", None) or str(error)
    return text.split("\n")[0][:80] or type(error).__name__


def grey_square(image: Image.Image, side: int = SIDE) -> np.ndarray:
    """(side, side) uint8, 0 black to 255 white: the centre square of an upright L or RGB image, resized."""
    short, (width, height) = min(image.size), image.size
    left, top = (width - short) // 2, (height - short) // 2
    square = image.crop((left, top, left + short, top + short)).convert("L")
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def _upright(picture: Image.Image, longest: int | None) -> Picture:
    size, mode, frames = picture.size, picture.mode, getattr(picture, "n_frames", 1)
    if mode == "F":
        raise ValueError("its pixels are fractions, save it with 8 or 16 bits")
    turned = picture.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    if longest:
        picture.draft(None, (longest, longest))
    if mode.startswith("I"):  # 16 bits: keep the upper 8, PIL's own conversion would clip
        picture = ImageOps.exif_transpose(picture)  # now: an array has no EXIF
        picture = Image.fromarray((np.asarray(picture, dtype=np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if longest:
        picture.thumbnail((longest, longest))
    if turned:
        picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if picture.mode != "L":
        picture = picture.convert("RGB")
    picture.load()  # while its file is open
    notes = {
        f"{size[0] * size[1] / 1e6:.0f} megapixels, made smaller": max(picture.size) < max(size),
        "turned upright after its EXIF": turned,
        "CMYK": mode == "CMYK",
        "16 bits": mode.startswith("I"),
        f"the first of {frames} frames": frames > 1,
    }
    return Picture(picture, size, mode, tuple(note for note, holds in notes.items() if holds))


def _eight_bits(array: np.ndarray) -> np.ndarray:
    """An image array as (H, W), (H, W, 3) or (H, W, 4) uint8. Raises ValueError where it isn't one."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise ValueError(f"an image array has shape (H, W), (H, W, 3) or (H, W, 4), this one {array.shape}")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("a float image holds values from 0 to 1, this one doesn't; give uint8 for 0 to 255")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an image array is uint8 (0 to 255) or float (0 to 1), this one {array.dtype}")
    return array
