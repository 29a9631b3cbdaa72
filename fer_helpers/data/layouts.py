"""Reading the data in every layout that people have it in: folders of images, the same as a zip or tar, CSV.

What can't be used is left out and named; the reading stops only where nothing usable is left, or an
emotion may be lost.
"""

import os
import tarfile
import tempfile
import textwrap
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch

from fer_helpers.data import csv_files, decoding, finding, splits, vocabulary
from fer_helpers.emotions import SEVEN
from fer_helpers.faces import Faces

EXPECTED = "Expected is a folder or zip with train/<emotion>/ and test/<emotion>/, or fer2013.csv"
LARGEST = 20_000_000  # bytes of one image file; FER-2013's have 2,000
LARGEST_ZIP = 10_000_000_000  # bytes of all that a zip holds, unpacked
LISTED = 1000  # files that a problem names; the others are counted
OUTSIDE = "Entries left out that point out of the archive, or are no files"


class Entry(NamedTuple):
    """A file below the data's root, or a folder if `name` ends with a slash; `place` is where to read it."""

    name: str
    size: int
    place: str | zipfile.ZipInfo
    changed: int = 0


def _sentences(problems: dict, listed: int = LISTED) -> list[str]:
    """What the problem is, how many files or rows have it, the first of them for each reason: one sentence a kind."""
    sentences = []
    for kind, entries in problems.items():
        named, groups, left = [], defaultdict(list), len(entries)
        for name, reason in entries:
            groups[reason].append(name)
        for reason, names in [*groups.items()][:listed]:
            named.append(", ".join(names[:listed]) + (f" ({reason})" if reason else ""))
            left -= len(names[:listed])
        more = f" and {left:,} more" if left else ""
        sentences.append(f"{kind} ({len(entries):,}): {'; '.join(named)}{more}." if entries else f"{kind}.")
    return sentences


def read(path: Path, layout: str) -> Faces:
    """The faces at `path`; sorted by name, those of a CSV in the order of its rows.

    layout: folder (`path` holds the split or emotion folders), zip, tar or csv.
    source: `layout`, `official_split` and `problems`, a sentence for each kind of problem.
    Raises ValueError if a file is broken as a whole, an emotion may be lost under a name that isn't known, or too
    little is left to train and test with.
    """
    problems = defaultdict(list)  # kind -> (name, reason) of the files or rows that have it
    people = _read(path, layout, problems)
    for _ in range(2):  # the second time looks at what was drawn
        if lacking := splits.lacking(people):
            noticed = [textwrap.shorten(each, 300, placeholder=" ...") for each in _sentences(problems, 3)[:6]]
            noticed = " ".join(["", "What was noticed:", *noticed]) if noticed else ""
            raise ValueError(f"{path.name} has {lacking}. {EXPECTED}; what was read is {path}.{noticed}")
        people = splits.complete(people, path.name, problems)
    if absent := [(SEVEN[label], "") for label in np.flatnonzero(people.part("train").counts(SEVEN) == 0)]:
        problems["Emotions without a training face, which no network can learn"] = absent
    return replace(people, source={**people.source, "problems": _sentences(problems)})


def _read(path, layout, problems, wrap=""):
    if layout == "folder":
        return _read_images(folder_entries(path), lambda entry: Path(entry.place).read_bytes(), problems, wrap)
    if layout == "csv":
        with path.open("rb") as stream:
            return csv_files.read(stream, path.name, problems, wrap)
    try:
        return (_read_zip if layout == "zip" else _read_tar)(path, problems, wrap)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk is full, or nobody may read it: the file may be whole
            raise ValueError(f"{path} can't be read or unpacked here: {error.strerror}.") from error
        raise ValueError(f"{path.name} is a broken {layout} ({error}). Download or copy it again.") from error


def folder_entries(path: str | Path) -> Iterator[Entry]:
    """The split folders at `path`, or without them the emotion folders, and what lies in them; of others the name."""
    tops = sorted(item for item in Path(path).iterdir() if not finding.ignored(item.name) and item.is_dir())
    of_splits = [item for item in tops if item.name.lower() in vocabulary.SPLIT_WORDS]
    known = vocabulary.meanings({item.name for item in tops}, SEVEN, {}) if not of_splits else ()
    for item in tops:
        for entry in _below(item, f"{item.name}/", 2 if item in of_splits else int(item.name in known)):
            yield entry._replace(name=entry.name.encode("utf-8", "backslashreplace").decode())  # tables are UTF-8


def _below(folder, above, levels):
    yield Entry(above, 0, str(folder))
    for item in os.scandir(folder) if levels else ():
        if item.is_dir() and not finding.ignored(item.name):
            yield from _below(item.path, f"{above}{item.name}/", levels - 1)
        elif not (item.is_dir() or finding.ignored(item.name)):
            status = item.stat(follow_symlinks=item.is_file())  # a link to nowhere has no status but its own
            yield Entry(f"{above}{item.name}", status.st_size, item.path, status.st_mtime_ns)


def _check_size(path, size):
    if size > LARGEST_ZIP:
        raise ValueError(f"{path} would unpack to {size / 1e9:,.0f} GB, FER-2013 to less than 1: not this file.")


def _looked(path, look, *where):
    """Where the data lies in an archive, and how; ValueError that names the archive where that can't be known."""
    try:
        there = look(*where)
    except ValueError as error:
        raise ValueError(f"{path.name} must be unpacked first. {error}") from None
    if not there:
        raise ValueError(f"{path.name} holds nothing that looks like the data. {EXPECTED}.")
    return there


def _read_tar(path, problems, wrap):
    size = 0

    def inside(member, root):
        nonlocal size
        size += member.size
        _check_size(path, size)
        try:
            return tarfile.data_filter(member, root)
        except tarfile.FilterError:
            problems[OUTSIDE].append((member.name, ""))

    if not hasattr(tarfile, "data_filter"):
        raise ValueError(f"{path.name}: reading a tar takes Python 3.11.4 or newer. Unpack it and give the folder.")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        (place := Path(folder, path.name)).mkdir()  # a sentence may name it
        archive.extractall(place, filter=inside)
        return _read(*_looked(path, finding.look, place), problems, wrap + "tar of ")


def _read_zip(path, problems, wrap):
    wrap += "zip of "
    with zipfile.ZipFile(path) as archive:
        _check_size(path, sum(info.file_size for info in archive.infolist()))
        if any(info.flag_bits & 1 for info in archive.infolist()):
            raise ValueError(f"{path.name} is locked with a password. Unpack it and give the folder.")
        names = [(info.filename.replace("\\", "/").removeprefix("./"), info) for info in archive.infolist()]
        entries = [Entry(name, info.file_size, info) for name, info in names if ".." not in name.split("/")]
        if outside := [(name, "") for name, _ in names if ".." in name.split("/")]:
            problems[OUTSIDE] += outside
        place_of, inside = finding.tree(entries, archive)
        at, layout = _looked(path, finding.nearest, PurePosixPath(), inside)
        if layout == "folder":
            root = f"{at}/" if at.name else ""
            below = [each._replace(name=each.name[len(root) :]) for each in entries if each.name.startswith(root)]
            return _read_images(below, lambda entry: archive.read(entry.place), problems, wrap)
        if layout == "csv":
            with archive.open(place_of[at]) as stream:
                return csv_files.read(stream, f"{at} in {path.name}", problems, wrap)
        with tempfile.TemporaryDirectory() as place:
            return _read(Path(archive.extract(place_of[at], place)), layout, problems, wrap)


def _read_images(entries, fetch: Callable, problems, wrap) -> Faces:
    chosen, labels, depth = _choose(entries := [*entries], problems)
    images, good = decoding.decode(chosen, fetch, problems)
    names = np.array([entry.name for entry in chosen], dtype=str)[good]
    tops = [name.split("/")[0].lower() if depth else "" for name in names]
    split, official = splits.official(names, tops, problems)
    if {vocabulary.SPLIT_WORDS.get(entry.name.partition("/")[0].lower()) for entry in entries} - {None} == {"train"}:
        split, official = np.full_like(split, ""), False  # all are drawn
    given = "train/val/test" if "val" in map(vocabulary.SPLIT_WORDS.get, tops) else "train/test" if depth else "emotion"
    labels = torch.tensor(labels, dtype=torch.int64)[torch.from_numpy(good)]
    source = {"layout": f"{wrap}{given} folders", "official_split": official}
    return Faces(torch.from_numpy(images[good]), labels, split, names, source)


def _choose(entries, problems):
    """The files in emotion folders, sorted by name, their labels, and how many folders lie above; all else is named."""
    entries = [entry for entry in entries if not any(map(finding.ignored, entry.name.rstrip("/").split("/")))]
    entries.sort(key=lambda entry: entry.name)
    in_folders = [entry for entry in entries if "/" in entry.name]
    of_splits = [entry for entry in in_folders if entry.name.partition("/")[0].lower() in vocabulary.SPLIT_WORDS]
    depth, seen = int(bool(of_splits)), [(entry, entry.name.split("/")) for entry in of_splits or entries]
    tops, of = ({each.name.split("/")[0] for each in some} for some in (in_folders, of_splits))
    if of and tops - of:
        problems["Folders beside those of the splits, not read"] = [(name, "") for name in sorted(tops - of)]
    known = vocabulary.meanings({parts[depth] for _, parts in seen if len(parts) > depth + 1}, SEVEN, problems)
    chosen, labels, files_in = [], [], defaultdict(Counter)
    for entry, parts in seen:
        above, word, file = parts[0] if depth else "", parts[depth], parts[-1]
        if len(parts) > depth + 1:
            files_in[above][word] += bool(file) and entry.size <= LARGEST
        if (not file and len(parts) <= depth + 2) or (len(parts) > depth + 1 and word not in known):
            continue
        if len(parts) != depth + 2:
            problems["Files outside the emotion folders, not read"].append((entry.name, ""))
        elif entry.size > LARGEST:
            problems["Files left out for their size"].append((entry.name, f"{entry.size / 1e6:,.0f} MB"))
        elif chosen and chosen[-1].name == entry.name:
            problems["Files of the same name, of which the first is read"].append((entry.name, ""))
        else:
            chosen.append(entry)
            labels.append(known[word])
    _tell_folders(files_in, known, problems)
    return chosen, labels, depth


def _tell_folders(files_in, known, problems):
    """Name what is no emotion, missing or empty. files_in: split -> word of an emotion -> its files."""
    for split, words in sorted(files_in.items()):
        above = f"{split}/" if split else ""
        vocabulary.check({*words}, known, split or "The data")
        strange = [(above + word, "") for word in words if word not in known]
        if strange:
            problems["Folders that aren't one of the seven emotions, not read"] += strange
        for label, emotion in enumerate(SEVEN):
            counts = [count for word, count in words.items() if known.get(word) == label]
            if not any(counts):
                problems[f"Emotion folders that are {'empty' if counts else 'missing'}"].append((above + emotion, ""))
