"""Where things lie: the workbook, a stage's folder, and files that are written whole or not at all."""

import csv
import errno
import importlib
import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from uuid import uuid4

from fer_helpers import emotions

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "outputs" / "reference" / (f"on_{emotions.FOLDER}" if emotions.FEWER else "")  # none of fewer
MAIN_ROW = ("01", "02", "03", "04", "05", "09", "10")  # the other notebooks are studies: many trainings each
RECEIPT = "receipt.json"  # beside a finished notebook's results: what they were made from
CHECKPOINTS = "checkpoints"  # folder of a stage's unfinished and finished trainings, which outlive its results
ASIDE = ".previous"  # below the results: where those of a stage wait until its new run has succeeded
MOSAIC = "FER_MOSAIC"  # of the environment, set: figures show single faces as mosaics, for the kept copies
EDITABLE = ("manifest.csv",)  # results that may be edited by hand: what reads them runs again, what wrote them doesn't
MARK = ".emotions"  # below the results: of which emotions they are, where not of all seven
DRIVE = Path("/content/drive")  # where Colab shows a user's Google Drive

FULL = "the disk is full; make room and run again, what was finished is kept"
READ_ONLY = "its folder is read-only; give another folder for results with OUT="
CANNOT_WRITE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), FULL)
CANNOT_WRITE |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), READ_ONLY)


def repository() -> str:
    """Address of the public repository, as pyproject.toml states it."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def stage(name: str, out_root: str | Path = "outputs") -> Path:
    """Folder of a stage's results, made if it isn't there; in Colab a Google Drive is mounted for it, once."""
    folder = ROOT / out_root / name
    if folder.is_relative_to(DRIVE) and "google.colab" in sys.modules and not DRIVE.is_mount():
        importlib.import_module("google.colab.drive").mount(str(DRIVE))  # before the folder: it must find nothing there
    with writing(folder):
        claim(ROOT / out_root)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def claim(out_root: Path) -> None:
    """Make a folder the place for results of EMOTIONS; ValueError where it holds those of more or fewer."""
    mark, mine = out_root / MARK, " ".join(emotions.FEWER)
    held = mark.read_text(encoding="utf-8") if mark.exists() else ""
    if held == mine:
        return
    if any(out_root.glob("[0-9][0-9]_*")):
        raise ValueError(
            f"{out_root} holds results of {held or 'all seven emotions'}, and now it is about {mine or 'all of them'}: "
            f'give another folder, like out_root="outputs/on_{emotions.FOLDER or "all"}" (OUT= of a command).'
        )
    out_root.mkdir(parents=True, exist_ok=True)
    mark.write_text(mine, encoding="utf-8")


def checkpoints(stage_name: str, out_root: str | Path = "outputs") -> Path:
    """Folder of a stage's checkpoints and finished runs: what outlives a change of its notebook."""
    return stage(f"{stage_name}/{CHECKPOINTS}", out_root)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say in a sentence why `path` can't be written: OSError for a full disk or a folder that is read-only."""
    try:
        yield
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise OSError(f"{path} can't be written: {CANNOT_WRITE[error.errno]}.") from error


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; it takes the place of `path` only if the block succeeds. Errors as in `writing`."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{uuid4().hex[:8]}{path.suffix}")  # two writers never share one
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write indented JSON, a Difference as its `card()`; a number that isn't finite is refused with ValueError."""
    text = json.dumps(content, indent=1, allow_nan=False, default=lambda each: each.card())
    with whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> dict:
    """The dictionary in a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_csv(path: str | Path, table) -> None:
    """Write a pandas table without its index, line ends the same on every system."""
    with whole(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def free(path: Path, taken: Callable = Path.exists, mark: str = "_") -> Path:
    """The first of path, path_2, path_3, ... that isn't `taken`; mark: what stands before the number."""
    numbered = (path.with_stem(f"{path.stem}{mark}{number}") for number in count(2))
    return next(each for each in chain([path], numbered) if not taken(each))


def write_beside(path: str | Path, content: bytes) -> Path:
    """Write `path`, or `<stem>-2`, `<stem>-3`, ... where other content lies there; returns the file that holds it."""
    target = free(Path(path), lambda each: each.exists() and not (each.is_file() and each.read_bytes() == content), "-")
    if not target.exists():
        with whole(target) as temporary:
            temporary.write_bytes(content)
    return target


def save_figure(figure, path: str | Path) -> None:
    """Write a matplotlib figure as PNG, with title and caption as text in it; the same figure gives the same bytes."""
    texts = {"Title": figure.get_suptitle(), "Description": figure.get_supxlabel()}
    with whole(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None, **texts})


def save_headline(out: Path, *, value: str, interval: str, of: str, reading: Iterable[str], figure: str) -> None:
    """Add to the metrics.json in `out` what the page of results shows of a notebook.

    value `of` what, with its unit; interval: how far it can be trusted; reading: what `figure`, a file in `out`, says.
    """
    words = {"value": value, "interval": interval, "of": of, "reading": list(reading), "figure": figure}
    write_json(out / "metrics.json", {**read_json(out / "metrics.json"), "headline": words})


def add_line(path: str | Path, row: dict) -> None:
    """Append one row to a CSV that is a log; the header is written with the first row."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, row, lineterminator="\n")
            if stream.tell() == 0:
                writer.writeheader()
            writer.writerow(row)


def read_lines(path: str | Path) -> list[dict]:
    """The rows of a CSV that is a log; none where it doesn't exist yet."""
    if not Path(path).exists():
        return []
    with Path(path).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def now() -> str:
    """This moment in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
