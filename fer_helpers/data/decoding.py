"""From the bytes of image files to 48×48 grey levels, on all cores; what can't be decoded is named."""

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
from PIL import Image, UnidentifiedImageError

from fer_helpers.faces import SIDE, grey_square

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
BLOCK = 512  # images that a thread decodes at a time; handing them over one by one costs more than decoding


def decode(entries, fetch, problems):
    """(N, 48, 48) uint8 images and (N,) bool, False where a file couldn't be read or decoded.

    entries: things with a `name`. fetch: entry -> its bytes. problems: kind -> names, added to.
    """
    blocks = ([_fetched(fetch, entry) for entry in entries[at : at + BLOCK]] for at in range(0, len(entries), BLOCK))
    images, good = np.zeros((len(entries), SIDE, SIDE), np.uint8), np.zeros(len(entries), bool)
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        decoded = pool.map(lambda block: [_decoded(content) for content in block], blocks)
        for row, (image, said) in enumerate(chain.from_iterable(decoded)):
            if image is not None:
                images[row], good[row] = image, True
            if said:
                kind = "Files that can't be decoded, left out" if image is None else "Images converted to 48×48 grey"
                problems[kind].append(f"{entries[row].name} ({said})")
    return images, good


def _fetched(fetch, entry):
    """The file's bytes, or the error that came instead."""
    try:
        return fetch(entry)
    except Exception as error:
        return error


def _decoded(content):
    """The image, (48, 48) uint8, and what was unusual about it; or None and why it can't be decoded."""
    try:
        if isinstance(content, Exception):
            raise content
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            usual = picture.mode == "L" and picture.size == (SIDE, SIDE)
            mode = "16-bit grey" if picture.mode.startswith("I") else {"L": "grey"}.get(picture.mode, picture.mode)
            return grey_square(picture), "" if usual else f"{picture.width}×{picture.height} {mode}"
    except UnidentifiedImageError:
        return None, "not an image" if content else "empty file"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return None, "too many pixels"
    except Exception as error:  # damaged files make decoders raise nearly anything
        said = getattr(error, "strerror", None) or str(error)  # strerror: without the path on this machine
        return None, said.split("\n")[0][:80] or type(error).__name__
