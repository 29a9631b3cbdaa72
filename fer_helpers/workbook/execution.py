"""One notebook through papermill: its printed lines live, its failure in words, its old results kept."""

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
DIED = "its Python process died. Most often memory ran out: close other programs, or choose a smaller BUDGET"


class Lines(io.TextIOBase):
    """A stream that shows a notebook's printed lines, indented, as they come."""

    rest = ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:  # of a progress bar, its last state
            print((INDENT + line.rstrip().rsplit("\r", 1)[-1]).rstrip(), flush=True)

    def close(self) -> None:
        if self.rest:
            self.write("\n")


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
    """A kernel manager that starts this interpreter, whatever kernels named `python3` the user has registered.

    variables: of its environment, beside or instead of those of this process.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = KernelSpec(argv=command, display_name="Python 3", language="python", env=variables or {})
    return type("OwnKernel", (AsyncKernelManager,), {"kernel_spec": spec})


def make_room(folder: Path, aside: Path) -> None:
    """Empty a stage's folder: old and new results are never mixed.

    Finished results, and those made by hand in JupyterLab, move aside until the new ones are there; what a stopped run
    left half-done goes. Checkpoints stay, and know which training they belong to: no run trains twice.
    """
    names = {path.name for path in folder.iterdir()} - {paths.CHECKPOINTS} if folder.exists() else set()
    if paths.RECEIPT in names or (names and not names & {"running.ipynb", "failed.ipynb"}):
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


def run(notebook: Path, folder: Path, parameters: dict, aside: Path, command: str, kernel: type | None = None) -> float:
    """Run a notebook into its folder; returns seconds. A failure raises UserError, the copy stays as failed.ipynb."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    running, lines, started = folder / "running.ipynb", Lines(), time.monotonic()
    settings = {
        **{"kernel_name": "python3", "cwd": notebook.parent, "progress_bar": False, "stdout_file": lines},
        "kernel_manager_class": kernel or own_kernel(),
        "start_timeout": 180,  # seconds until the kernel answers; a cold disk takes its time
        "iopub_timeout": 120,  # seconds until a cell's last output arrives; 4 are too few on a busy machine
        "extra_arguments": ["--IPKernelApp.log_level=CRITICAL"],  # its warnings are about its own connection
    }
    try:
        done = papermill.execute_notebook(plain(notebook), plain(running), parameters, **settings)
        if done.metadata.papermill.get("exception"):  # sys.exit() in a cell, which papermill lets pass
            raise UserError("the notebook ended itself before its last cell")
    except papermill.PapermillExecutionError as error:
        first = (error.evalue or "no message").strip().splitlines()[0]
        raise failed(notebook, folder, f"{error.ename}: {first}", aside, command) from None
    except (UserError, RuntimeError, TimeoutError) as error:  # among them a kernel that doesn't start
        reason = DIED if isinstance(error, DeadKernelError) else str(error)
        raise failed(notebook, folder, reason, aside, command) from None
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # a task that waits for the ended kernel would complain at the end
        raise
    finally:
        lines.close()
    running.rename(folder / notebook.name)
    return time.monotonic() - started


def failed(notebook: Path, folder: Path, reason: str, aside: Path, command: str) -> UserError:
    """Keep the unfinished copy for reading, and say what happened in the last lines of the terminal."""
    copy = (folder / "running.ipynb").replace(folder / "failed.ipynb")
    lines = [f"{notebook.stem} stopped in {place_of_failure(copy)}", f"reason: {reason}", f"its copy, to read: {copy}"]
    lines += [f"its results from before: {aside}"] if aside.exists() else []
    return UserError("\n".join([*lines, f"the next {command} goes on from here"]), code=1)


def place_of_failure(copy: Path) -> str:
    """The last cell that was started: its number as JupyterLab shows it, and the heading above it."""
    import nbformat

    heading, place, number = "", "its start, before the first cell", 0
    for cell in nbformat.read(copy, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^#+ *(.*)", cell.source, re.MULTILINE)][-1]
        number += cell.cell_type == "code" and bool(cell.source.strip())
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("start_time"):
            place = f"cell [{number}]" + (f', section "{heading}"' if heading else "")
    return place


def about(seconds: float) -> str:
    """A duration as one says it."""
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
