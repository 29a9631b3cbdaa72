"""Fingerprints of what a notebook depends on and of what it wrote: the receipt beside a stage's results.

With it `pipeline` tells what must run again, by content: no file's date counts.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fer_helpers import paths

NAME, OBEYED = paths.RECEIPT, paths.EDITABLE
SMALL = 1_000_000  # bytes; larger outputs are told by their size, so that looking costs no time


def fingerprint(text: str) -> str:
    """SHA-256, cut to what a receipt's reader can compare by eye."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def _content(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def file_print(path: Path) -> str:
    """Fingerprint of a file's content, taken once as long as the file isn't touched."""
    status = path.stat()
    return _content(path, status.st_size, status.st_mtime_ns)


def place_print(path: Path) -> str:
    """Fingerprint of a file, or of the names, sizes and times of what lies in a folder."""
    if path.is_file():
        return file_print(path)
    inside = [(each.relative_to(path), each.stat()) for each in sorted(path.rglob("*")) if each.is_file()]
    return fingerprint("\0".join(f"{each} {stat.st_size} {stat.st_mtime_ns}" for each, stat in inside))


def helper_prints(cells: list[str], helpers: Path) -> dict[str, str]:
    """Every module of the package that these cells use, directly or not, with a fingerprint of its syntax tree.

    The tree, not the text: comments and layout don't cost a training.
    """
    todo = {name for cell in cells for name in imported(plain_python(cell), helpers.name)}
    prints = {}
    while todo:
        name = todo.pop()
        path = helpers / f"{name.replace('.', '/')}.py"
        if name not in prints and path.exists():  # `from package import function` names no file
            source = path.read_text(encoding="utf-8")
            prints[name] = fingerprint(ast.dump(ast.parse(source)))
            todo |= imported(source, helpers.name)
    return dict(sorted(prints.items()))


def plain_python(cell: str) -> str:
    """A cell without IPython's own lines, which ast can't read."""
    return re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", cell)


def imported(source: str, package: str) -> set[str]:
    """Names that this source may import from the package, relative imports included."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # the notebook itself will say so, at its cell
        return set()
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [package if node.level else "", node.module]))
            found += [f"{base}.{alias.name}" for alias in node.names]
    inside = [name.split(".")[1:] for name in found if name.startswith(f"{package}.")]
    return {".".join(parts[:depth]) for parts in inside for depth in range(1, len(parts) + 1)}


def written(folder: Path) -> dict[str, list]:
    """The files of a stage's folder: [size, fingerprint of a small one].

    Of the executed copy only the name counts: JupyterLab rewrites it when somebody looks at it.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != NAME and not re.search(r"(^|/)(\.|checkpoint)", name):
            size = path.stat().st_size
            whole = [size, file_print(path) if size < SMALL or name in OBEYED else None]
            found[name] = [] if name == f"{folder.name}.ipynb" else whole
    return found


def read(folder: Path) -> dict:
    """The receipt of a folder's last finished run; empty if there is none that can be read."""
    try:
        content = paths.read_json(folder / NAME)
        return content if {"facts", "written", "seconds"} <= content.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def changes(old: dict, new: dict) -> Iterator[str]:
    """What differs between two sets of facts, in words."""
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in new:
            yield f"{name} is gone"
        elif name not in old:
            yield f"{name} is new"
        elif old[name] != new[name]:
            yield f"{name} changed" + (f" ({old[name]} -> {new[name]})" if name.startswith("parameter ") else "")


def edited(folder: Path, old: dict) -> list[str]:
    """Which of the files that may be edited by hand aren't as the stage wrote them."""
    now = written(folder)
    return [name for name in OBEYED if name in old and name in now and old[name] != now[name]]


def damage(old: dict, new: dict) -> Iterator[str]:
    """Which of the files that a stage wrote are not as it left them, in words; more files don't matter."""
    for name in old:
        if name not in new:
            yield f"output {name} is gone"
        elif old[name] != new[name] and name not in OBEYED:
            yield f"output {name} was changed"
