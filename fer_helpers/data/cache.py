"""Faces that were read once, kept with their keys in .cache: a second reading decodes nothing."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fer_helpers import identity, images, paths
from fer_helpers.data import keys, layouts
from fer_helpers.emotions import FEWER
from fer_helpers.faces import Faces, pixel_sha256

# Raised by hand when the same files are read as other faces, labels or splits: then no cache from before is used.
READER = 3
KEPT = 3
ZIP_END = 16_000_000  # bytes; a zip ends with its directory (names, check sums, sizes): 3 MB for FER-2013


def fingerprint(path: Path, layout: str) -> str:
    """Names the cache of what lies at `path`, without decoding it; a file that was moved keeps it.

    zip: its size and its end. csv, tar: the file. folder: names, sizes and times of change. Beside that the formats
    that can be read here, and which fewer emotions must be there: what they let pass may stop all seven.
    """
    reader = READER, images.formats(), layout, *FEWER
    if layout == "folder":
        entries = sorted((entry.name, entry.size, entry.changed) for entry in layouts.folder_entries(path))
        return identity.digest_settings(*reader, entries)
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - ZIP_END) if layout == "zip" else 0)
        return identity.digest_settings(*reader, size, hashlib.file_digest(stream, "sha256").hexdigest())


def with_keys(people: Faces) -> Faces:
    """The faces with `key` and `pixels` in their source, see keys.of; soft labels count as labels do."""
    digests, labels = pixel_sha256(people.images.numpy()), people.labels.tolist()
    if people.soft_labels is not None:
        labels = [f"{label} {shares}" for label, shares in zip(labels, people.soft_labels.half().tolist(), strict=True)]
    both = keys.of(digests, labels, people.split.tolist(), people.names.tolist())
    return replace(people, source={**people.source, **both})


def read(path: Path, layout: str) -> tuple[Faces, list[str]]:
    """What layouts.read gives, with keys and from the cache if it is there; and sentences about the cache."""
    file, notes = paths.ROOT / ".cache" / f"faces-{fingerprint(path, layout)}.npz", []
    if file.exists():
        try:
            with np.load(file) as kept:
                pixels, labels = torch.from_numpy(kept["images"]), torch.from_numpy(kept["labels"])
                people = Faces(pixels, labels, kept["split"], kept["names"], json.loads(str(kept["source"])))
            with suppress(OSError):
                os.utime(file)  # the caches that were used last are kept
            return people, notes
        except Exception as error:  # whatever a damaged file makes its readers raise
            notes.append(f"The cache {file.name} is damaged and is made again ({type(error).__name__}).")
    people = with_keys(layouts.read(path, layout))
    arrays = {name: np.asarray(getattr(people, name)) for name in ("images", "labels", "split", "names")}
    try:
        with paths.whole(file) as temporary:
            np.savez(temporary, **arrays, source=json.dumps(people.source))
        for old in sorted(file.parent.glob("faces-*.npz"), key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        notes.append(f"The faces couldn't be kept in {file.parent.name} for the next time: {error.strerror or error}.")
    return people, notes
