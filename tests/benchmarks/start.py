"""How soon a newcomer sees something: from `git clone` to the first prediction, and to the first figure."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from fer_helpers import paths
from tests.benchmarks import fresh
from tests.benchmarks.photos import known


def measure(data: str, small: bool, out_root: str) -> dict:
    """Seconds since `git clone` began, in an empty folder, with the README's commands and its snippet.

    The clone is of this repository's last commit, from this disk. Packages come from wherever pip takes them, which
    is measured apart: `installed` is when they were there. Small, they are taken from this environment.
    """
    source = data if data == "synthetic" else str(Path(data).resolve())
    budget = ["BUDGET=smoke"] * small
    with tempfile.TemporaryDirectory() as folder:
        clone, begun = Path(folder) / "fer-workbook", time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(paths.ROOT), str(clone)], check=True)
        cloned = time.perf_counter() - begun
        python = sys.executable if small else str(Path(sys.base_prefix) / "bin" / "python3")
        _run(clone, python, "-m", "fer_helpers.run", "setup")
        installed = time.perf_counter() - begun
        Image.fromarray(known()[1]).save(clone / "face.jpg")
        waiting = time.perf_counter()
        snippet = re.search(r"```python\n(.*?)```", (clone / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
        own = sys.executable if small else str(clone / ".venv" / "bin" / "python")
        answer = _run(clone, own, "-c", snippet)
        predicted = time.perf_counter() - waiting
        figure = _until_figure(clone, [python, "-m", "fer_helpers.run", "01", f"DATA={source}", *budget])
    seconds = {
        "cloned": cloned,
        "installed": installed,
        "prediction": installed + predicted,
        "figure": installed + figure,
    }
    return {"seconds": {name: round(each, 3) for name, each in seconds.items()}, "answer": answer.strip()}


def _run(clone: Path, *command: str) -> str:
    return subprocess.run(command, cwd=clone, env=_clean(), stdout=subprocess.PIPE, text=True, check=True).stdout


def _until_figure(clone: Path, command: list[str]) -> float:
    """Seconds until the first PNG stands in the clone's outputs; the command is let finish."""
    begun, seen = time.perf_counter(), None
    with subprocess.Popen(command, cwd=clone, env=_clean(), stdout=subprocess.DEVNULL) as running:
        while seen is None and running.poll() is None:
            time.sleep(0.05)
            if any((clone / "outputs" / "01_exploration").glob("*.png")):
                seen = time.perf_counter() - begun
    if running.returncode or seen is None:
        sys.exit(f"The benchmark stopped: {' '.join(command)} ended with {running.returncode} and left no figure.")
    return seen


def _clean() -> dict:
    """The environment without what points at this checkout."""
    return {name: value for name, value in fresh.QUIET.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
