"""The receipt beside a notebook's results: what they were made from, by content, and which files were written."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from modulefinder import ModuleFinder
from pathlib import Path

from fer_helpers import identity, paths
from fer_helpers.publishing import folders

SMALL = 1_000_000  # bytes; of larger outputs only the size counts, so that a look costs no time
NOT_COUNTED = ("run", "workbook", "publishing.export")  # start notebooks; and what models names for its users alone


def digest(path: Path) -> str:
    """Key of a file's content, short enough to compare by eye; of a folder, of its files' names, sizes and times."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[: identity.LENGTH]
    files = [(each.relative_to(path).as_posix(), each.stat()) for each in sorted(path.rglob("*")) if each.is_file()]
    return identity.digest_settings(*[(name, status.st_size, status.st_mtime_ns) for name, status in files])


class Finder(ModuleFinder):
    """Finds what code imports, and also the package's modules that it names in strings, like "toolbox.room:Name"."""

    def __init__(self, package: Path):
        super().__init__([str(package.parent)], excludes=[f"{package.name}.{room}" for room in NOT_COUNTED])
        self.named = re.compile(rf"'({package.name}(?:\.\w+)+)(?::\w+)?'")

    def scan_code(self, co, m) -> None:
        """As ModuleFinder does, for a code object of the module m."""
        super().scan_code(co, m)
        for name in self.named.findall(repr(co.co_consts)):  # in its repr: strings may lie in tuples and sets
            with suppress(ImportError):
                self.import_hook(name, m)


def helper_digests(cells: list[str], package: Path) -> dict[str, str]:
    """Path inside the package -> key of its text, of each module that these cells import, directly or not."""
    finder = Finder(package)
    notebook = finder.add_module("__main__")
    for cell in cells:
        with suppress(SyntaxError):  # the notebook itself will say so, at its cell
            python = re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", cell)  # without IPython's own lines
            finder.scan_code(compile(python, "cell", "exec"), notebook)
    files = [Path(module.__file__) for module in finder.modules.values() if module.__file__]
    inside = {path.relative_to(package).as_posix(): path for path in files if path.is_relative_to(package)}
    # As text: line ends may differ between systems
    return {name: identity.digest_settings(inside[name].read_text(encoding="utf-8")) for name in sorted(inside)}


def written(folder: Path) -> dict[str, list]:
    """The files of a stage's folder: [size, key of a small one]; checkpoints and hidden files are no results.

    Of the executed copy only the name counts: JupyterLab rewrites it when somebody looks at it.
    """
    files = {}
    for path in sorted(filter(Path.is_file, folder.rglob("*"))):
        name, size = path.relative_to(folder).as_posix(), path.stat().st_size
        if name != paths.RECEIPT and not re.search(rf"(^|/)\.|^{paths.CHECKPOINTS}/", name):
            content = [size, digest(path) if size < SMALL or name in paths.EDITABLE else None]
            files[name] = [] if name == f"{folder.name}.ipynb" else content
    return files


def read(folder: Path) -> dict:
    """The receipt of a folder's last finished run; empty if there is none that can be read."""
    content = folders.content(folder / paths.RECEIPT)
    return content if {"facts", "written", "seconds"} <= content.keys() else {}


def changes(old: dict, new: dict) -> Iterator[str]:
    """What differs between two sets of facts, in words."""
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in new:
            yield f"{name} is gone"
        elif name not in old:
            yield f"{name} is new"
        elif old[name] != new[name]:
            yield f"{name} changed" + (f" ({old[name]} -> {new[name]})" if name.startswith("parameter ") else "")


def damage(old: dict, new: dict) -> Iterator[str]:
    """What is not as a stage wrote it, in words; more files don't matter, nor edits by hand where those are allowed."""
    kept = {name: old[name] if name in paths.EDITABLE else new[name] for name in old if name in new}
    return (f"output {sentence}" for sentence in changes(old, kept))
