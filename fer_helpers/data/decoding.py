"""From the bytes of image files to 48×48 grey levels, on all cores; what can't be decoded is named."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
from PIL import Image

from fer_helpers import images
from fer_helpers.faces import SIDE

BLOCK = 512  # images that a thread reads at a time; handing them over one by one costs more than decoding


def decode(entries, fetch, problems):
    """(N, 48, 48) uint8 images and (N,) bool, False where a file couldn't be read or decoded.

    entries: things with a `name`. fetch: entry -> its bytes. problems: kind -> (name, reason), added to.
    """
    blocks = (entries[at : at + BLOCK] for at in range(0, len(entries), BLOCK))
    faces, good = np.zeros((len(entries), SIDE, SIDE), np.uint8), np.zeros(len(entries), bool)
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # half of what one photograph may have
        decoded = pool.map(lambda block: [_decoded(fetch, entry) for entry in block], blocks)
        for row, (face, note) in enumerate(chain.from_iterable(decoded)):
            if face is not None:
                faces[row], good[row] = face, True
            if note:
                kind = "Files that can't be decoded, left out" if face is None else "Images converted to 48×48 grey"
                problems[kind].append((entries[row].name, note))
    return faces, good


def _decoded(fetch, entry):
    """The face, (48, 48) uint8, and what was unusual about its file; or None and why it can't be decoded."""
    try:
        picture = images.read(fetch(entry))
    except Exception as error:  # of images.read, or whatever a disk or a damaged zip makes its readers raise
        return None, str(error) if isinstance(error, ValueError) else images.reason(error)
    (width, height), mode = picture.size, picture.mode
    usual = mode == "L" and (width, height) == (SIDE, SIDE)
    mode = "16-bit grey" if mode.startswith("I") else {"L": "grey"}.get(mode, mode)
    return images.grey_square(picture.image), "" if usual else f"{width}×{height} {mode}"
