"""One door for every picture: a file, bytes, a stream, a PIL image or an array becomes an upright 8-bit image."""

import io
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fer_helpers.faces import SIDE

# PIL's others are rare, or call other programs; TGA comes last, since its files begin with no mark
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "HEIF", "TGA")
CHANNELS = (1, 3, 4)
HEIC = b"heic heix heim heis hevc hevx mif1 msf1"  # brands, in bytes 8 to 12 of the files that begin with a `ftyp` box


class MissingPicture(FileNotFoundError, ValueError):
    """There is no such file: one of the pictures that can't be read, and a missing file."""


class Picture(NamedTuple):
    """A picture as detectors and networks take it, and what was read: size in pixels (width, height) and PIL's mode.

    image: a PIL image, L or RGB, upright. notes: what was unusual, in words.
    """

    image: Image.Image
    size: tuple[int, int]
    mode: str
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """Pixels of what was read to one pixel of `image`: 1, or more where it was made smaller."""
        return max(self.size) / max(self.image.size)


def read(source, longest: int | None = None, *, bgr: bool = False) -> Picture:
    """A picture upright after its EXIF, with alpha on white, 8 of 16 bits, and the first frame of several.

    source: a path; the bytes of an image file, or a stream of them; a PIL image; an array or tensor (H, W), (H, W, C)
    or (C, H, W): 8-bit, fractions from 0 to 1, or whole numbers up to 65535, scaled by the bits that they need.
    longest: pixels that its longer side may have; a baseline JPEG is made smaller while it is decoded, so that 100
    megapixels take little memory. bgr: an array's channels are blue, green, red, as OpenCV has them.
    Raises ValueError with the reason, fit to stand after a name and a colon; MissingPicture for a missing file.
    PIL's limits of pixels hold: its error always, its warning where the caller turns warnings into errors.
    """
    try:
        if source is None:
            raise ValueError("no image: OpenCV's imread gives None where there is no file, or none that it can read")
        if isinstance(source, Image.Image):
            return _upright(source.copy(), longest)  # the caller's own isn't changed
        if hasattr(source, "read"):
            with suppress(AttributeError, OSError):  # a stream of the web can't
                source.seek(0)
            source = source.read()
        if isinstance(source, bytes | bytearray | memoryview):
            source = io.BytesIO(source)
        if isinstance(source, str | os.PathLike | io.BytesIO):
            with Image.open(source, formats=formats()) as picture:
                return _upright(picture, longest)
        array, note = _eight_bits(_rows_first(source, bgr))
        photo = _upright(Image.fromarray(array), longest)
        return photo._replace(notes=(*photo.notes, *[note] * bool(note)))
    except FileNotFoundError:
        raise MissingPicture(f"There is no file {source}.") from None
    except UnidentifiedImageError:
        raise ValueError(_foreign(source)) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError("too many pixels, make it smaller first") from None
    except Exception as error:  # damaged files make decoders raise nearly anything
        if isinstance(error, ValueError):
            raise
        what = "can't be read" if getattr(error, "strerror", None) else "damaged"
        raise ValueError(f"{what} ({reason(error)})") from error


def reason(error: Exception) -> str:
    """The first line of an error, 80 characters at most; without the path on this machine."""
    text = getattr(error, "strerror", None) or str(error)
    return text.split("\n")[0][:80] or type(error).__name__


def grey_square(image: Image.Image) -> np.ndarray:
    """(48, 48) uint8, 0 black to 255 white: the centre square of an upright L or RGB image, resized."""
    short, (width, height) = min(image.size), image.size
    left, top = (width - short) // 2, (height - short) // 2
    square = image.crop((left, top, left + short, top + short)).convert("L")
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@cache
def formats() -> list[str]:
    """PIL's names of the image formats that are read; HEIF where pillow-heif is installed."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # AVIF came with Pillow 11.3


def _foreign(source) -> str:
    """Why a file (a path, or its bytes in memory) that PIL doesn't know is no picture, after its first bytes."""
    with Path(source).open("rb") if isinstance(source, str | os.PathLike) else source as stream:
        stream.seek(0)
        head = stream.read(12)
    if not head:
        return "empty file"
    if head[4:8] == b"ftyp" and head[8:] in HEIC.split():
        return 'HEIC: pip install pillow-heif (or the extra "photos") reads it, or export it as JPEG'
    if head[4:8] == b"ftyp" and head[8:] != b"avif":
        return "a film; make video VIDEO=... answers films"
    return f"not an image of a kind that can be read ({', '.join(formats())})"


def _upright(picture: Image.Image, longest: int | None) -> Picture:
    size, mode, frames, note = picture.size, picture.mode, getattr(picture, "n_frames", 1), ""
    deep = mode[0] not in "IF" and re.search(";16[BLN]", str(getattr(picture, "tile", "")))  # PIL keeps the upper 8
    turned = picture.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    if longest:
        picture.draft(None, (longest, longest))
    if mode[0] in "IF":  # 16 or 32 bits, or fractions: PIL's own conversion would clip them
        picture = ImageOps.exif_transpose(picture)  # now: an array has no EXIF
        pixels, note = _eight_bits(np.asarray(picture))
        picture = Image.fromarray(pixels)
    picture.thumbnail((longest or max(size),) * 2)
    if turned:
        picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture if picture.mode == "L" else picture.convert("RGB")
    if deep and not np.any(picture):
        raise ValueError("its 16 bits a channel hold no more than 255: save it with 8 bits")
    picture.load()  # while its file is open
    notes = {
        f"{size[0] * size[1] / 1e6:.0f} megapixels, made smaller": max(picture.size) < max(size),
        "turned upright after its EXIF": turned,
        "CMYK": mode == "CMYK",
        note: note,
        f"the first of {frames} frames": frames > 1,
    }
    return Picture(picture, size, mode, tuple(note for note, holds in notes.items() if holds))


def _rows_first(source, bgr: bool) -> np.ndarray:
    """An image array or tensor as (H, W), (H, W, 3) or (H, W, 4), red first. Raises ValueError where it isn't one."""
    if tensor := hasattr(source, "detach"):
        source = (source.float() if source.is_floating_point() else source).detach().cpu()  # NumPy has no bfloat16
    array = np.asarray(source)
    if array.ndim == 3 and array.shape[0] in CHANNELS and (tensor or array.shape[2] not in CHANNELS):
        array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,), (4,)) or 0 in array.shape:
        shapes = "(H, W), (H, W, C) or (C, H, W) with C 1, 3 or 4; of a batch (N, H, W, C) or (N, C, H, W)"
        raise ValueError(f"an image array has shape {shapes}; this one {array.shape}")
    return array[:, :, [2, 1, 0, 3][: array.shape[2]]] if bgr and array.ndim == 3 else array


def _eight_bits(array: np.ndarray) -> tuple[np.ndarray, str]:
    """Levels as uint8, by what the numbers are, and a note. Raises ValueError where that isn't clear."""
    if array.dtype == np.uint8:
        return array, ""
    if array.dtype.kind not in "buif":
        raise ValueError(f"an image array holds numbers, not {array.dtype}")
    low, high = array.min(), array.max()
    if low >= 0 and high <= 1:
        return (array * 255.0).round().astype(np.uint8), ""
    if not (low >= 0 and high <= 65535 and (array.dtype.kind != "f" or (array == array.round()).all())):
        advice = "give fractions from 0 to 1, or whole numbers from 0 to 255 (uint8) or to 65535"
        raise ValueError(f"its pixels are {array.dtype} from {low:.6g} to {high:.6g}: {advice}")
    bits = max(8, -(-int(high).bit_length() // 2) * 2)  # 8, 10, 12, 14 or 16, as cameras have them
    return (array.astype(np.uint32) >> bits - 8).astype(np.uint8), f"{bits} bits" if bits > 8 else ""
