"""Where the faces come from: a path, the workbook's data folder, Kaggle, or drawn; read once, then kept in a cache."""

import ast
import hashlib
import json
import os
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch

from fer_helpers import faces, paths
from fer_helpers.cleaning import duplicates
from fer_helpers.data import csv_files, decoding, kaggle, layouts, synthetic
from fer_helpers.faces import EMOTIONS, SPLITS, Faces

KEPT_CACHES = 3
SAID_LINES, SAID_CHARACTERS = 10, 240  # of problems, on the screen; source["problems"] has more
SYNTHETIC = {"smoke": 700}  # faces drawn at a budget
SYNTHETIC_ELSE = 4000
FER2013 = {  # published counts, order of EMOTIONS
    "train": (3995, 436, 4097, 7215, 4965, 4830, 3171),
    "val": (467, 56, 496, 895, 607, 653, 415),
    "test": (491, 55, 528, 879, 626, 594, 416),
}


@dataclass(frozen=True)
class Found:
    """What will be read. path: None for synthetic faces. layout: folder, zip, csv or synthetic. why: for people."""

    path: Path | None
    layout: str
    why: str

    @property
    def name(self) -> str:
        """The file's or folder's name; of kagglehub's fer2013/versions/1 that of the data set."""
        if self.path is None:
            return "synthetic faces"
        path = self.path.resolve()
        return path.parents[1].name if path.parent.name == "versions" else path.name

    @property
    def given(self) -> str:
        """What finds the same data again, from any folder."""
        return str(self.path.resolve()) if self.path else "synthetic"


def _from_kaggle():
    folder = kaggle.fetch()
    if there := look(folder):
        return _found(*there, f"from Kaggle, {kaggle.HANDLE}")
    raise ConnectionError(f"What came from Kaggle holds no data set: {folder}. Give a path instead: DATA=archive.zip")


def find(data: str | Path = "auto") -> Found:
    """Which data `data` (a path, kaggle, synthetic or auto) means here, and why.

    auto: what FER_DATA says, or else the workbook's data folder, Kaggle, synthetic faces, in this order.
    Raises FileNotFoundError for a missing path, ValueError for one without data, ConnectionError where kaggle was
    asked for and doesn't give.
    """
    asked, name = str(data).strip() or "auto", "data"
    if asked.lower() == "auto" and (wish := os.environ.get("FER_DATA", "").strip()):
        asked, name = wish, "FER_DATA"
    if asked.lower() == "synthetic":
        return Found(None, "synthetic", f"synthetic faces ({name}={asked})")
    if asked.lower() == "kaggle":
        return _from_kaggle()
    if asked.lower() != "auto":
        return _given(asked, name)
    folder = paths.ROOT / "data"
    if folder.is_dir() and (there := look(folder)):
        return _found(*there, "in the workbook's data folder")
    try:
        return _from_kaggle()
    except ConnectionError as error:
        return Found(None, "synthetic", f"synthetic faces (the workbook's data folder holds no data set. {error})")


def _found(path, layout, why):
    return Found(path, layout, f"{Found(path, layout, '').name} ({why})")


def _given(asked, name):
    """What lies at a path that somebody typed; relative ones count from the current folder, then from the workbook."""
    places = dict.fromkeys(base / Path(asked).expanduser() for base in (Path.cwd(), paths.ROOT))
    path = next((place for place in places if place.exists()), None)
    if path is None:
        close = "".join(
            f"Did you mean {word}? " for word in get_close_matches(asked, ("auto", "kaggle", "synthetic"), 1)
        )
        raise FileNotFoundError(
            f"{name}={asked}: there is no {' and no '.join(map(str, places))}. {close}"
            f"Give the path of archive.zip, of fer2013.csv or of a folder with train and test, or data=synthetic."
        )
    if there := look(path):
        return _found(*there, f"named by {name}")
    if path.is_dir():
        state = "holds nothing that looks like the data" if any(path.iterdir()) else "is empty"
        raise ValueError(f"The folder {path} {state}. {layouts.EXPECTED}, at most {layouts.DEPTH} folders deep.")
    raise ValueError(f"{path} is neither a folder nor a .zip nor a .csv. {layouts.EXPECTED}; unpack other archives.")


def look(path: Path) -> tuple[Path, str] | None:
    """Where the data lies, at `path` or in folders below, and its layout; None where nothing looks like it."""
    if path.is_file():
        layout = path.suffix.lower().removeprefix(".")
        return (path, layout) if layout in ("zip", "csv") else None
    level = [path]
    for _ in range(layouts.DEPTH + 1):
        below = []
        for folder in level:
            inside = sorted(item for item in folder.iterdir() if not layouts.ignored(item.name))
            folders = [item for item in inside if item.is_dir()]
            if any(item.name.lower() in layouts.FOLDERS for item in folders):
                return folder, "folder"
            files = sorted((item for item in inside if _promising(item)), key=lambda item: layouts.rank(item.name))
            if files:
                return look(files[0])
            below += folders
        level = below
    return None


def _promising(item):
    """True for a zip, and for a CSV that has its usual name or a column of pixels."""
    if item.suffix.lower() != ".csv" or item.name.lower() in layouts.PREFERRED or not item.is_file():
        return item.suffix.lower() in (".zip", ".csv") and item.is_file()
    with item.open(encoding="utf-8", errors="replace") as stream:
        return "pixels" in stream.readline(1000)


def content_key(found: Found, budget: str = "quick") -> str:
    """Fingerprint of the data's content, found without decoding it; the same for the same data elsewhere.

    zip: size and end of the file. csv: the file. folder: names, sizes and times of change. drawn: number and program.
    """
    readers = (synthetic,) if found.layout == "synthetic" else (duplicates, decoding, layouts, csv_files)
    print_ = hashlib.sha256(found.layout.encode())
    for module in (faces, *readers):  # the same data read by another program is other data; comments don't count
        print_.update(ast.dump(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))).encode())
    if found.layout == "synthetic":
        print_.update(str(SYNTHETIC.get(budget, SYNTHETIC_ELSE)).encode())
    elif found.layout == "folder":
        entries = sorted((entry.name, entry.size, entry.changed) for entry in layouts.folder_entries(found.path))
        print_.update(repr(entries).encode())
    else:
        with found.path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            # A zip ends with its directory (names, check sums, sizes): 3 MB for FER-2013
            stream.seek(max(0, size - 16_000_000) if found.layout == "zip" else 0)
            print_.update(f"{size} ".encode())
            while block := stream.read(1 << 20):
                print_.update(block)
    return print_.hexdigest()[:16]


def load(data: str | Path = "auto", *, budget: str = "quick", log: Callable = print) -> Faces:
    """The faces that `data` means (see find), from the cache if they were read before.

    budget: at smoke fewer faces are drawn; data that was given is always read whole.
    source: `name`, `title` for figures, `kind` (fer2013, folder or synthetic), `layout`, `why`, `key`, `counts` (a list
    of 7 for each split), `official_split`, and `problems`: sentences about what was left out or looks odd.
    Says in one line what was taken and why, then what is wrong with it. Raises what find and layouts.read raise.
    """
    found = find(data)
    key = content_key(found, budget)
    if found.layout == "synthetic":
        # The same faces whatever the training's seed: seeds are compared on the same data
        people, notes = synthetic.draw(SYNTHETIC.get(budget, SYNTHETIC_ELSE), seed=0), []
        known = {"kind": "synthetic", "layout": "drawn", "official_split": True, "problems": []}
    else:
        people, notes = _cached(found, key)
        known = _compared(people)
    counts = {split: counts.tolist() for split, counts in _counts(people).items()}
    title = "FER-2013" if known["kind"] == "fer2013" else found.name
    known |= {"name": found.name, "title": title, "why": found.why, "key": key, "counts": counts}
    log(f"{found.why}: " + ", ".join(f"{sum(counts[split]):,} {split}" for split in SPLITS) + " faces")
    if found.layout == "synthetic":
        log("  These faces are drawn by the workbook: every result from here on is a DEMONSTRATION.")
    lines = notes + known["problems"]
    for line in lines[:SAID_LINES]:
        log("  " + textwrap.shorten(line, SAID_CHARACTERS, placeholder=" ..."))
    if len(lines) > SAID_LINES:
        log(f"  ... and {len(lines) - SAID_LINES} more kinds of problems: see source['problems']")
    return replace(people, source={**people.source, **known})


def _counts(people):
    """(7,) faces per emotion of each split."""
    labels = people.labels.numpy()
    return {split: np.bincount(labels[people.split == split], minlength=len(EMOTIONS)) for split in SPLITS}


def _compared(people):
    """`kind` and `problems` after a comparison with FER-2013's published counts."""
    source = people.source
    near, differences = source["official_split"], []
    for split, counts in _counts(people).items():
        published = FER2013[split]
        near &= bool((np.abs(counts - published) <= 0.02 * np.array(published)).all())
        each = [f"{EMOTIONS[at]} {n:,} for {published[at]:,}" for at, n in enumerate(counts) if n != published[at]]
        if each:
            differences.append(f"{split} has {counts.sum():,} faces for {sum(published):,} ({', '.join(each)})")
    problems = list(source["problems"])
    if differences and (source["layout"].endswith(".csv") or any(map(layouts.told_split, people.names))):
        problems.append(f"The counts aren't those of FER-2013: {'; '.join(differences)}.")
    return {**source, "kind": "fer2013" if near else "folder", "problems": problems}


def _cached(found, key):
    """The faces as `layouts.read` gives them, and notes about the cache."""
    file, notes = paths.ROOT / ".cache" / f"faces-{key}.npz", []
    if file.exists():
        try:
            people = _read_cache(file)
            with suppress(OSError):
                os.utime(file)  # the caches that were used last are kept
            return people, notes
        except Exception as error:  # whatever a damaged file makes its readers raise
            notes.append(f"The cache {file.name} is damaged and is made again ({type(error).__name__}).")
    people = layouts.read(found.path, found.layout)
    try:
        with paths.whole(file) as temporary:
            arrays = {"images": people.images.numpy(), "labels": people.labels.numpy()}
            np.savez(temporary, **arrays, split=people.split, names=people.names, source=json.dumps(people.source))
        caches = sorted(file.parent.glob("faces-*.npz"), key=lambda path: path.stat().st_mtime_ns)
        for old in caches[:-KEPT_CACHES]:
            old.unlink(missing_ok=True)
    except OSError as error:
        notes.append(f"The faces couldn't be kept in {file.parent.name} for the next time: {error.strerror or error}.")
    return people, notes


def _read_cache(file):
    with np.load(file) as kept:
        people = Faces(
            torch.from_numpy(kept["images"]),
            torch.from_numpy(kept["labels"]),
            kept["split"],
            kept["names"],
            json.loads(str(kept["source"])),
        )
    return people
