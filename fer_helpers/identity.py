"""What a data set or a training is, as one key: the same on every machine, Python and torch. Needs numpy alone."""

import hashlib
import json

import numpy as np

LENGTH = 16  # hexadecimal digits: short enough to compare by eye


def digest_arrays(*arrays) -> str:
    """Key of arrays by type, shape and content; their bytes taken little-endian on every machine."""
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(f"{array.dtype.kind}{array.dtype.itemsize} {array.shape}".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()[:LENGTH]


def digest_settings(*parts) -> str:
    """Key of settings, JSON-ready, whatever the order of their names."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:LENGTH]
