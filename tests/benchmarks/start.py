"""How soon a newcomer sees something: from `git clone` to the first prediction, and to the first figure."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from fer_helpers import paths
from tests.benchmarks.fresh import QUIET, timed
from tests.benchmarks.photos import known

# The environment without what points at this checkout
ELSEWHERE = {name: value for name, value in QUIET.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def measure(data: str, small: bool, out_root: str) -> dict:
    """Seconds since `git clone` began, in an empty folder, with the README's commands and its snippet.

    The clone is of this repository's last commit, from this disk. Packages come from wherever pip takes them, which
    is measured apart: `installed` is when they were there. Small, they are taken from this environment.
    """
    budget, bare = ["BUDGET=smoke"] * small, str(Path(sys.base_prefix) / "bin" / "python3")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "fer-workbook"
        python, own = [sys.executable] * 2 if small else (bare, str(clone / ".venv" / "bin" / "python"))
        _, cloned = timed(subprocess.run, ["git", "clone", "--quiet", str(paths.ROOT), str(clone)], check=True)
        _, installed = timed(_run, clone, python, "-m", "fer_helpers.run", "setup")
        Image.fromarray(known()[1]).save(clone / "face.jpg")
        snippet = re.search(r"```python\n(.*?)```", (clone / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
        answer, predicted = timed(_run, clone, own, "-c", snippet)
        source = data if data == "synthetic" else Path(data).resolve()
        figure = _until_figure(clone, [python, "-m", "fer_helpers.run", "01", f"DATA={source}", *budget])
    installed += cloned
    seconds = {"cloned": cloned, "installed": installed, "prediction": installed + predicted}
    seconds |= {"figure": installed + figure}
    return {"seconds": {name: round(each, 3) for name, each in seconds.items()}, "answer": answer.strip()}


def _run(clone: Path, *command: str) -> str:
    return subprocess.run(command, cwd=clone, env=ELSEWHERE, stdout=subprocess.PIPE, text=True, check=True).stdout


def _until_figure(clone: Path, command: list[str]) -> float:
    """Seconds until the first PNG stands in the clone's outputs; the command is let finish."""
    begun, seen = time.perf_counter(), None
    with subprocess.Popen(command, cwd=clone, env=ELSEWHERE, stdout=subprocess.DEVNULL) as running:
        while seen is None and running.poll() is None:
            time.sleep(0.05)
            if any((clone / "outputs" / "01_exploration").glob("*.png")):
                seen = time.perf_counter() - begun
    if running.returncode or seen is None:
        sys.exit(f"The benchmark stopped: {' '.join(command)} ended with {running.returncode} and left no figure.")
    return seen
