"""Reading the data in every layout that people have it in: folders of images, the same as a zip, CSV.

What can't be used is left out and named; the reading stops only where nothing usable is left.
"""

import os
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fer_helpers.cleaning import duplicates
from fer_helpers.data import csv_files, decoding
from fer_helpers.data.vocabulary import EMOTION_FOLDERS, SPLIT_FOLDERS, split_in_name
from fer_helpers.faces import EMOTIONS, Faces, pixel_sha256

EXPECTED = "Expected is a folder or zip with train/<emotion>/ and test/<emotion>/, or fer2013.csv"
PREFERRED = ("fer2013.csv", "icml_face_data.csv", "archive.zip", "fer2013.zip")  # where several files lie together
DEPTH = 2  # folders that may lie around the data, as in archive/fer2013/train
LARGEST = 20_000_000  # bytes of one image file; FER-2013's have 2,000
LARGEST_ZIP = 10_000_000_000  # bytes of all that a zip holds, unpacked
LISTED = 1000  # files that a problem names; the others are counted


class Entry(NamedTuple):
    """A file below the data's root, or a folder if `name` ends with a slash; `place` is where to read it."""

    name: str
    size: int
    place: str | zipfile.ZipInfo
    changed: int = 0


def _sentences(problems: dict) -> list[str]:
    """What the problem is, how many files or rows have it, and the first of them: one sentence a kind."""
    sentences = []
    for kind, names in problems.items():
        more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
        sentences.append(f"{kind} ({len(names):,}): {', '.join(names[:LISTED])}{more}." if names else f"{kind}.")
    return sentences


def ignored(name: str) -> bool:
    """True for what systems leave behind: hidden files, __MACOSX, Thumbs.db."""
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini")


def rank(name: str) -> tuple:
    """Sorts files that lie together: the usual names of the data first."""
    file = name.rsplit("/", 1)[-1].lower()
    return (PREFERRED.index(file) if file in PREFERRED else len(PREFERRED)), name


def read(path: Path, layout: str) -> Faces:
    """The faces at `path`; sorted by name, those of a CSV in the order of its rows.

    layout: folder (`path` holds the split folders), zip or csv.
    source: `layout`, `official_split` and `problems`, a sentence for each kind of problem.
    Raises ValueError if a file is broken as a whole, or too little is left to train and test with.
    """
    problems = defaultdict(list)  # kind -> names of the files or rows that have it
    if layout == "folder":
        people = _read_images(folder_entries(path), lambda entry: Path(entry.place).read_bytes(), problems)
    elif layout == "zip":
        people = _read_zip(path, problems)
    else:
        with path.open("rb") as stream:
            people = csv_files.read(stream, path.name, problems)
    _refuse(people, path, problems)
    if "val" not in people.split:
        people = _cut_validation(people, path.name, problems)
        _refuse(people, path, problems)
    return replace(people, source={**people.source, "problems": _sentences(problems)})


def _refuse(people, path, problems):
    """Raise ValueError if there is no training or test face, or one emotion alone in training."""
    emotions = np.count_nonzero(people.part("train").counts())
    lacks = "no usable training faces" if not emotions else "training faces of one emotion only" if emotions < 2 else ""
    if lacks := lacks or ("" if "test" in people.split else "no usable test faces"):
        noticed = " ".join(["", "What was noticed:", *_sentences(problems)]) if problems else ""
        raise ValueError(f"{path.name} has {lacks}. {EXPECTED}; what was read is {path}.{noticed}")


def folder_entries(path: str | Path, above: str = "") -> Iterator[Entry]:
    """The split folders at `path`, and what lies in them and in their emotion folders. above: names begin with it."""
    for item in os.scandir(path):
        name = f"{above}{item.name}"
        if item.is_dir() and (above or name.lower() in SPLIT_FOLDERS):
            yield Entry(f"{name}/", 0, item.path)
            if name.count("/") < 2:
                yield from folder_entries(item.path, f"{name}/")
        elif above:
            status = item.stat(follow_symlinks=item.is_file())  # a link to nowhere has no status but its own
            yield Entry(name, status.st_size, item.path, status.st_mtime_ns)


def _read_zip(path, problems):
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := sum(info.file_size for info in archive.infolist())) > LARGEST_ZIP:
                raise ValueError(
                    f"{path} would unpack to {size / 1e9:,.0f} GB, FER-2013 to less than 1: not this file."
                )
            entries = [Entry(info.filename.replace("\\", "/"), info.file_size, info) for info in archive.infolist()]
            if inside := _below_prefix(entries):
                return _read_images(inside, lambda entry: archive.read(entry.place), problems, "zip of ")
            shown = [entry for entry in entries if not any(map(ignored, entry.name.split("/")))]
            tables = [entry for entry in shown if entry.name.lower().endswith(".csv")]
            if not tables:
                raise ValueError(f"{path.name} holds nothing that looks like the data. {EXPECTED}; looked in {path}.")
            table = min(tables, key=lambda entry: rank(entry.name))
            with archive.open(table.place) as stream:
                return csv_files.read(stream, f"{table.name} in {path.name}", problems, "zip of ")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is a broken zip ({error}). Download or copy it again.") from error


def _below_prefix(entries):
    """The entries from the split folders on, whatever folders lie around these; [] if there are no split folders."""
    prefixes = set()
    for *folders, _ in {tuple(entry.name.split("/")) for entry in entries}:
        depths = [depth for depth, folder in enumerate(folders[: DEPTH + 1]) if folder.lower() in SPLIT_FOLDERS]
        if depths and not any(map(ignored, folders)):
            prefixes.add("".join(f"{folder}/" for folder in folders[: depths[0]]))
    if not prefixes:
        return []
    prefix = min(prefixes, key=lambda text: (text.count("/"), text))
    below = [entry._replace(name=entry.name.removeprefix(prefix)) for entry in entries if entry.name.startswith(prefix)]
    outside = [entry for entry in entries if not entry.name.startswith(prefix) and ".." in entry.name.split("/")]
    return outside + [each for each in below if each.name.split("/")[0].lower() in SPLIT_FOLDERS or ".." in each.name]


def _read_images(entries, fetch: Callable, problems, wrap="") -> Faces:
    chosen, labels = _choose(entries, problems)
    images, good = decoding.decode(chosen, fetch, problems)
    names = np.array([entry.name for entry in chosen], dtype=str)[good]
    folder = np.array([SPLIT_FOLDERS[name.split("/")[0].lower()] for name in names], dtype="<U5")
    split, official = _official(names, folder, problems)
    layout = wrap + ("train/val/test folders" if "val" in folder else "train/test folders")
    labels = torch.tensor(labels, dtype=torch.int64)[torch.from_numpy(good)]
    return Faces(torch.from_numpy(images[good]), labels, split, names, {"layout": layout, "official_split": official})


def _choose(entries, problems):
    """The files in emotion folders, sorted by name, and their labels; all else is named in `problems`."""
    chosen, labels, unknown, files_in = [], [], {}, Counter()
    for entry in sorted(entries, key=lambda entry: entry.name):
        *folders, file = entry.name.split("/")
        emotion = folders[1].lower() if len(folders) > 1 else ""
        if ".." in folders or entry.size > LARGEST:
            reason = "'..' in its path" if ".." in folders else f"{entry.size / 1e6:,.0f} MB"
            problems["Files left out for their path or size"].append(f"{entry.name} ({reason})")
        elif any(map(ignored, filter(None, (*folders, file)))) or (len(folders) == 1 and not file):
            continue
        elif emotion and emotion not in EMOTION_FOLDERS:
            unknown[f"{folders[0]}/{folders[1]}"] = get_close_matches(emotion, EMOTION_FOLDERS, 1)
        elif len(folders) != 2:
            problems["Files outside the emotion folders, not read"].append(entry.name)
        else:
            label = EMOTION_FOLDERS[emotion]
            files_in[folders[0], label] += bool(file)
            if file and chosen and chosen[-1].name == entry.name:
                problems["Files of the same name, of which the first is read"].append(entry.name)
            elif file:
                chosen.append(entry)
                labels.append(label)
    for folder, close in unknown.items():
        hint = "".join(f" (did you mean {name}?)" for name in close)
        problems["Folders that aren't an emotion, not read"].append(folder + hint)
    for split in sorted({split for split, _ in files_in}):
        for label, emotion in enumerate(EMOTIONS):
            if not files_in[split, label]:
                state = "empty" if (split, label) in files_in else "missing"
                problems[f"Emotion folders that are {state}"].append(f"{split}/{emotion}")
    return chosen, labels


def _official(names, folder, problems):
    """(N,) split of each image, and whether that is the official one.

    The folder decides; where no folder is for validation, the names part test/ into PublicTest and PrivateTest.
    """
    stated = np.array([split_in_name(name) for name in names], dtype="<U5")
    split, of_test = folder, (folder == "test") & np.isin(stated, ("val", "test"))
    if "val" not in folder and 2 * of_test.sum() > (folder == "test").sum():  # too few would be no validation split
        split = np.where(of_test, stated, folder)
    unfit = names[stated != split]
    if len(unfit) and any(stated):
        kind = "Names that don't fit the official splits (Training_, PublicTest_, PrivateTest_); their folder decides"
        problems[kind] = unfit.tolist()
    return split, not len(unfit)


def _cut_validation(people, name, problems):
    """A fifth of the training faces as validation: emotions in proportion, exact and near-duplicates on one side."""
    from sklearn.model_selection import StratifiedGroupKFold

    train = np.flatnonzero(people.split == "train")
    labels, images = people.labels[train].numpy(), people.images[train].numpy()
    groups, _ = duplicates.find_duplicates(images, flat=duplicates.is_flat(images), sha256=pixel_sha256(images))
    if len(set(groups)) < 5 or np.bincount(labels).max() < 5:
        raise ValueError(f"{name} has too few different training faces to cut a fifth for validation: add some.")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of emotions with fewer than five faces
        _, chosen = next(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups))
    split = people.split.copy()
    split[train[chosen]] = "val"
    kind = f"No validation split was there: {len(chosen):,} of {len(train):,} training faces became one"
    problems[f"{kind}, in proportion to the emotions and with exact and near-duplicates on one side"] = []
    return replace(people, split=split, source={**people.source, "official_split": False})
