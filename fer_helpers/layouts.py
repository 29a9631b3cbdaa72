"""Reading the data in every layout that people have it in: folders of images, the same as a zip, CSV.

What can't be used is left out and named; the reading stops only where nothing usable is left.
"""

import csv
import hashlib
import io
import os
import re
import struct
import warnings
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from fer_helpers.faces import EMOTIONS, SIDE, SPLIT_TITLES, Faces, grey_square, pixel_sha256

EXPECTED = "Expected is a folder or zip with train/<emotion>/ and test/<emotion>/, or fer2013.csv"
FOLDERS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
USAGES = {title.lower(): split for split, title in SPLIT_TITLES.items()}
CSV_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FIRST = ("fer2013.csv", "icml_face_data.csv", "archive.zip", "fer2013.zip")  # where a folder holds several files
DEPTH = 2  # folders that may lie around the data, as in archive/fer2013/train
LARGEST = 20_000_000  # bytes of one image file; FER-2013's have 2,000
NAMED = 20  # files that a problem names; of more it tells the number
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
BLOCK = 512  # images that a thread decodes at once; one by one, handing over costs more than decoding


class Entry(NamedTuple):
    """A file, or a folder if its name ends with a slash. place: path, or entry of the zip. stamp: time of change."""

    name: str
    size: int
    place: str | zipfile.ZipInfo
    stamp: int


class Problems(defaultdict):
    """Kind of problem -> the files or rows that have it."""

    def __init__(self):
        super().__init__(list)

    def sentences(self) -> list[str]:
        """A sentence for each kind, with the number and the first names."""
        told = []
        for kind, names in self.items():
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            told.append(f"{kind} ({len(names):,}): {', '.join(names[:NAMED])}{more}.")
        return told


def look(path: Path) -> tuple[Path, str] | None:
    """Where the data lies, at `path` or up to DEPTH folders below, and its layout (folder, zip or csv), or None."""
    if path.is_file():
        layout = path.suffix.lower().removeprefix(".")
        return (path, layout) if layout in ("zip", "csv") else None
    level = [path]
    for _ in range(DEPTH + 1):
        below = []
        for folder in level:
            inside = sorted(item for item in folder.iterdir() if not _ignored(item.name))
            folders = [item for item in inside if item.is_dir()]
            if any(item.name.lower() in FOLDERS for item in folders):
                return folder, "folder"
            files = [item for item in inside if item.is_file() and _promising(item)]
            if files:
                file = min(files, key=lambda item: (_rank(item.name), item.name))
                return file, file.suffix.lower().removeprefix(".")
            below += folders
        level = below
    return None


def _rank(name):
    return FIRST.index(name.lower()) if name.lower() in FIRST else len(FIRST)


def _promising(file):
    """A zip, or a CSV with a column of pixels."""
    if file.suffix.lower() != ".csv" or file.name.lower() in FIRST:
        return file.suffix.lower() in (".zip", ".csv")
    with file.open(encoding="utf-8", errors="replace") as stream:
        return "pixels" in stream.readline(10_000)


def _ignored(name):
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini")


def content_hash(path: Path, layout: str) -> str:
    """SHA-256 of what tells this data from other data, without decoding it.

    zip: its directory (names, check sums, sizes). csv: the file. folder: names, sizes, times of change.
    Raises ValueError for a broken zip.
    """
    if layout == "csv":
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if layout == "zip":
        return hashlib.sha256(_directory(path)).hexdigest()
    told = sorted((entry.name, entry.size, entry.stamp) for entry in _in_folder(path))
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _directory(path):
    """The end of a zip with the directory of its files; in zipfile's hands the same takes a quarter of a second."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        start = max(0, size - 65_557)  # the end record and the longest comment
        stream.seek(start)
        tail = stream.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) < at + 22:
            raise _broken(path, "its end is missing")
        (length,) = struct.unpack_from("<I", tail, at + 12)
        stream.seek(max(0, start + at - length - 128))  # 128: the records of the 64-bit variant stand in between
        return stream.read()


def _broken(path, reason):
    return ValueError(f"{path.name} is a broken zip ({reason}). Download or copy it again: {path}")


def read(path: Path, layout: str) -> Faces:
    """The faces at `path`, as `look` found it; sorted by name, those of a CSV in the order of its rows.

    source has `layout`, `official_split` and `problems`, a sentence for each kind of problem.
    Raises ValueError if nothing usable is left, or a file is broken as a whole.
    """
    problems = Problems()
    if layout == "folder":
        people = _read_images(_in_folder(path), lambda entry: Path(entry.place).read_bytes(), problems)
    elif layout == "csv":
        with path.open("rb") as stream:
            people = _read_csv(stream, path.name, problems)
    else:
        people = _read_zip(path, problems)
    if "train" in people.split and "val" not in people.split:
        people = _cut_validation(people, problems)
    training = np.count_nonzero(people.part("train").counts())
    lacks = "no usable training face" if not training else "training faces of one emotion only" if training < 2 else ""
    lacks = lacks or ("" if "test" in people.split else "no usable test face")
    if lacks:
        noticed = " ".join(["", "What was noticed:", *problems.sentences()]) if problems else ""
        raise ValueError(f"{path.name} has {lacks}. {EXPECTED}; looked at: {path}.{noticed}")
    return replace(people, source={**people.source, "problems": problems.sentences()})


def _in_folder(path):
    """Entries of the folder's emotion folders, and what else lies in its split folders."""
    for split in os.scandir(path):
        if split.is_dir() and split.name.lower() in FOLDERS:
            for item in os.scandir(split.path):
                yield _entry(item, split.name)
                if item.is_dir():
                    yield from (_entry(file, f"{split.name}/{item.name}") for file in os.scandir(item.path))


def _entry(item, folder):
    status = item.stat() if item.is_dir() or item.is_file() else item.stat(follow_symlinks=False)  # a link to nowhere
    if item.is_dir():
        return Entry(f"{folder}/{item.name}/", 0, item.path, 0)
    return Entry(f"{folder}/{item.name}", status.st_size, item.path, status.st_mtime_ns)


def _read_zip(path, problems):
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [Entry(info.filename.replace("\\", "/"), info.file_size, info, 0) for info in archive.infolist()]
            inside = _below_prefix(entries)
            if inside:
                return _read_images(inside, lambda entry: archive.read(entry.place), problems, "zip of ")
            tables = [entry for entry in entries if entry.name.lower().endswith(".csv") and not _ignored(entry.name)]
            if not tables:
                raise ValueError(f"{path.name} holds nothing that looks like the data. {EXPECTED}; looked at: {path}.")
            table = min(tables, key=lambda entry: (_rank(entry.name.split("/")[-1]), entry.name))
            with archive.open(table.place) as stream:
                return _read_csv(stream, f"{table.name} in {path.name}", problems, "zip of ")
    except zipfile.BadZipFile as error:
        raise _broken(path, error) from error


def _below_prefix(entries):
    """The zip's entries from the split folders on, whatever folders lie around those; [] if there are none."""
    prefixes = set()
    for entry in entries:
        parts = entry.name.split("/")
        if not any(map(_ignored, parts[:-1])):
            depths = [depth for depth, part in enumerate(parts[:-1][: DEPTH + 1]) if part.lower() in FOLDERS]
            prefixes |= {"".join(f"{part}/" for part in parts[:depth]) for depth in depths[:1]}
    if not prefixes:
        return []
    prefix = min(prefixes, key=lambda text: (text.count("/"), text))
    inside = [entry._replace(name=entry.name.removeprefix(prefix)) for entry in entries if entry.name.startswith(prefix)]
    return [entry for entry in inside if entry.name.split("/")[0].lower() in FOLDERS or ".." in entry.name.split("/")]
