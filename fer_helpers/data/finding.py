"""Where the data lies: in which folder, or in which file, of a disk or of a zip."""

import itertools
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from fer_helpers.data import vocabulary

# The usual names: where several files lie together, the first of these is the data
PREFERRED = ("fer2013.csv", "icml_face_data.csv", "archive.zip", "fer2013.zip", "fer2013.tar.gz")
ENDINGS = {".zip": "zip", ".csv": "csv", **dict.fromkeys((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"), "tar")}
LOOKED = 5000  # folders that are looked into, the nearest first
LEFT_BEHIND = ("thumbs.db", "desktop.ini", "lost+found", "system volume information")  # by systems


def ignored(name: str) -> bool:
    """True for what systems leave behind: hidden files, __MACOSX, Thumbs.db, lost+found."""
    return name.startswith((".", "__MACOSX", "$")) or name.lower() in LEFT_BEHIND


def layout_of(name: str) -> str:
    """zip, tar or csv, by the end of a file's name; "" for every other."""
    return next((layout for ending, layout in ENDINGS.items() if name.lower().endswith(ending)), "")


def look(path: Path) -> tuple[Path, str] | None:
    """Where the data lies, at `path` or in folders below, and its layout; None where nothing looks like it."""
    if not path.is_dir():
        return (path, layout) if (layout := layout_of(path.name)) else None

    def inside(folder):
        with suppress(OSError):  # nobody may look into a neighbour's folder
            items = [*folder.iterdir()]
            files = [each.name for each in items if _promising(each.name, partial(each.open, "rb")) and each.is_file()]
            return [each.name for each in items if each.is_dir()], files
        return [], []

    return nearest(path, inside)


def nearest(start, inside: Callable) -> tuple | None:
    """The folder, or the file, that holds the data, and its layout. inside: folder -> names of folders, of archives.

    Raises ValueError where several files lie together and none has a usual name.
    """
    queue = [start]
    for folder in itertools.islice(queue, LOOKED):  # it grows meanwhile: folders that lie deeper come later
        folders, files = inside(folder)
        folders = sorted(name for name in folders if not ignored(name))
        if vocabulary.holds_data(folders):
            return folder, "folder"
        if files:
            best, *others = sorted(files, key=lambda name: ((*PREFERRED, name.lower()).index(name.lower()), name))
            if others and best.lower() not in PREFERRED:
                several = ", ".join([best, *others][:5])
                raise ValueError(
                    f"{folder.name or 'It'} holds several files that may be the data: {several}. Name one of them, or "
                    "make one CSV of them with a column Usage."
                )
            return folder / best, layout_of(best)
        queue += [folder / name for name in folders]
    return None


def _promising(name, opened: Callable):
    """True for an archive, and for a CSV that has its usual name or columns of pixels and labels."""
    layout = "" if ignored(name) else layout_of(name)
    if layout != "csv" or name.lower() in PREFERRED:
        return bool(layout)
    with suppress(Exception), opened() as stream:  # a link to nowhere or a damaged entry beside the data
        head = stream.readline(1000).lower().replace(b"\0", b"")  # UTF-16 too
        return b"pixels" in head and (b"emotion" in head or b"label" in head)  # Kaggle's test.csv has no labels
    return False


def tree(entries, archive):
    """Where each file of a zip that may be the data lies, and `inside` for nearest."""
    folders, files = defaultdict(set), defaultdict(list)
    place_of = {PurePosixPath(entry.name): entry.place for entry in entries if layout_of(entry.name)}
    for file, place in place_of.items():
        if _promising(file.name, partial(archive.open, place)):
            files[file.parent].append(file.name)
    for folder in {PurePosixPath(entry.name.rpartition("/")[0]) for entry in entries}:
        for below, above in itertools.pairwise((folder, *folder.parents)):
            folders[above].add(below.name)
    return place_of, lambda folder: (folders[folder], files[folder])
