"""One notebook through papermill: where it is and its epochs live, its failure in words, its old results kept."""

import io
import logging
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_helpers import paths
from fer_helpers.errors import UserError

INDENT = " " * 6
STOPPED = ("running.ipynb", "failed.ipynb")  # what a run that didn't end leaves
HEADING = re.compile(r"^#+ *(.*)", re.MULTILINE)
TOLD = re.compile(  # of what a notebook prints, what the terminal shows too: epochs, progress and warnings
    r"\bepochs?\b|\bis (finished|done)\b|of [\d,]+ pictures$|careful|DEMONSTRATION|edited by hand|from the beginning|"
    r"is missing|not pretrained",
    re.IGNORECASE,
)
DIED = "its Python process died. Most often memory ran out: close other programs, or choose a smaller BUDGET"


class Progress(io.TextIOBase):
    """What the terminal shows of a running notebook: its present section, and of what it prints the epochs, or all.

    The section is a line that updates itself on a terminal, a plain line elsewhere. title: notebooks done, and its
    name. command: to go on with after a failure. left: seconds that this and what follows took last time, if known.
    """

    rest = section = ""
    number = 0  # of the code cell, as JupyterLab shows it

    def __init__(self, title: str = "", command: str = "", left: float = 0.0, everything: bool = True):
        self.title, self.command, self.left, self.everything = title, command, left, everything
        self.started = self.row_started = time.monotonic()
        self.live = sys.stdout.isatty()

    def cell(self, cell, **_) -> None:
        """Show the section that begins with a cell, if one does; called before each, prose too."""
        self.number += cell.cell_type == "code" and bool(cell.source.strip())
        if cell.cell_type == "markdown" and (headings := HEADING.findall(cell.source)):
            self.section = headings[-1]
            self.show(self.place(), end="" if self.live else "\n")

    def place(self) -> str:
        """The section, and of the whole row the minutes so far and those that are left."""
        spent, so_far = time.monotonic() - self.started, about(time.monotonic() - self.row_started)
        left = f", {about(self.left - spent)} left" if self.left > spent else ""
        begin = f"{self.title}: " if self.live else INDENT
        return f"{begin}{self.section} ({so_far.removeprefix('about ')} so far{left})"

    def show(self, line: str, end: str = "\n") -> None:
        """Print a line; on a terminal over what stands there, and cut to its width if the next one comes over it."""
        width = shutil.get_terminal_size().columns - 1
        fits = line if end == "\n" else line[:width]
        print("\r" + fits.ljust(width) if self.live else line, end=end, flush=True)

    def write(self, text: str) -> None:
        """Lines that the notebook prints."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            line = line.rstrip().rsplit("\r", 1)[-1]  # of a progress bar, its last state
            if self.everything or TOLD.search(line):
                self.show((INDENT + line).rstrip())
                if self.live:
                    self.show(self.place(), end="")

    def close(self) -> None:
        """Print what has no line end yet, and leave the terminal's line empty."""
        if self.rest:
            self.write("\n")
        if self.live and not self.closed:  # Python closes a stream once more when it is thrown away
            self.show("", end="\r")
        super().close()


@contextmanager
def alone(out_root: Path) -> Iterator[None]:
    """Hold the one lock of a folder of results; the system gives it back even if this process is killed."""
    import filelock

    try:
        with paths.writing(out_root):
            out_root.mkdir(parents=True, exist_ok=True)
            held = filelock.FileLock(out_root / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        wait = "wait until it is done, or give this one a folder with OUT="
        raise UserError(f"Another run is writing into {out_root}: {wait}") from None
    with held:
        yield


def own_kernel(python: str | Path = sys.executable, variables: dict | None = None) -> type:
    """A kernel manager that starts this interpreter, whatever `python3` the user has registered; variables: for it."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = KernelSpec(argv=command, display_name="Python 3", language="python", env=variables or {})
    return type("OwnKernel", (AsyncKernelManager,), {"kernel_spec": spec})


def made_by_hand(folder: Path) -> bool:
    """True where results were made after the last run by command stopped half-way: in JupyterLab, say."""
    metrics, left = folder / "metrics.json", [folder / name for name in STOPPED if (folder / name).exists()]
    return metrics.exists() and all(metrics.stat().st_mtime_ns > each.stat().st_mtime_ns for each in left)


def make_room(folder: Path, aside: Path) -> None:
    """Empty a stage's folder: old and new results are never mixed.

    Finished results move aside until the new ones are there, and those made by hand in JupyterLab to `earlier/`, for
    good; what a stopped run left half-done goes. Checkpoints stay, and know which training they belong to: no run
    trains twice.
    """
    names = {path.name for path in folder.iterdir()} - {paths.CHECKPOINTS} if folder.exists() else set()
    by_hand = made_by_hand(folder) if names & set(STOPPED) else names
    if by_hand and paths.RECEIPT not in names:
        kept = paths.free(folder.parent / "earlier" / f"{folder.name}_by_hand")
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(kept)
        folder.mkdir()
        move_checkpoints(kept, folder)
        print(f"      what was made by hand is kept in {kept}")
    elif paths.RECEIPT in names:
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)
    move_checkpoints(aside, folder)
    for path in folder.iterdir():
        if path.name != paths.CHECKPOINTS:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def move_checkpoints(old: Path, new: Path) -> None:
    """Move a stage's checkpoints from one folder of it into the other, unless that has some."""
    if (old / paths.CHECKPOINTS).exists() and not (new / paths.CHECKPOINTS).exists():
        (old / paths.CHECKPOINTS).rename(new / paths.CHECKPOINTS)


def plain(path: Path) -> str:
    """A path as papermill takes it: it would fill in what stands between braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def run(notebook: Path, folder: Path, parameters: dict, aside: Path, progress: Progress, kernel: type | None = None):
    """Run a notebook into its folder; returns seconds. A failure raises UserError, the copy stays as failed.ipynb."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    running, started = folder / "running.ipynb", time.monotonic()
    settings = {
        **{"kernel_name": "python3", "cwd": notebook.parent, "progress_bar": False, "stdout_file": progress},
        "kernel_manager_class": kernel or own_kernel(),
        "on_cell_start": progress.cell,
        "start_timeout": 180,  # seconds until the kernel answers; a cold disk takes its time
        "iopub_timeout": 120,  # seconds until a cell's last output arrives; 4 are too few on a busy machine
        "extra_arguments": ["--IPKernelApp.log_level=CRITICAL"],  # its warnings are about its own connection
    }
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it knows nothing of the second cell of parameters
    try:
        done = papermill.execute_notebook(plain(notebook), plain(running), parameters, **settings)
        if done.metadata.papermill.get("exception"):  # sys.exit() in a cell, which papermill lets pass
            raise UserError("the notebook ended itself before its last cell")
    except papermill.PapermillExecutionError as error:
        first = ((error.evalue or "").strip() or "no message").splitlines()[0]
        raise failed(notebook, folder, f"{error.ename}: {first}", aside, progress) from None
    except (UserError, RuntimeError, TimeoutError) as error:  # among them a kernel that doesn't start
        reason = DIED if isinstance(error, DeadKernelError) else str(error)
        raise failed(notebook, folder, reason, aside, progress) from None
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # a task that waits for the ended kernel would complain at the end
        raise
    finally:
        progress.close()
    running.rename(folder / notebook.name)
    return time.monotonic() - started


def failed(notebook: Path, folder: Path, reason: str, aside: Path, progress: Progress) -> UserError:
    """Keep the unfinished copy for reading, and say what happened in the last lines of the terminal."""
    copy = (folder / "running.ipynb").replace(folder / "failed.ipynb")
    place = f"cell [{progress.number}]" if progress.number else "its start, before the first cell"
    place += f', section "{progress.section}"' if progress.section else ""
    lines = [f"{notebook.stem} stopped in {place}", f"reason: {reason}", f"its copy, to read: {copy}"]
    lines += [f"its results from before: {aside}"] if aside.exists() else []
    return UserError("\n".join([*lines, f"the next {progress.command} goes on from here"]), code=1)


def about(seconds: float) -> str:
    """A duration as one says it."""
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
