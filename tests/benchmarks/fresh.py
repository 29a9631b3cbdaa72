"""Time and memory of a measurement, which may have a process of its own: then the peak is its own, nothing is warm."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_helpers import paths

QUIET = {**os.environ, "KINETO_LOG_LEVEL": "99"}  # torch's profiler reports every start otherwise


def measured(module: str, function: str, *words) -> dict | list | float | None:
    """What a benchmark's function gives for these words, all strings, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.fresh", module, function, *map(str, words)]
    done = subprocess.run(command, cwd=paths.ROOT, env=QUIET, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"The benchmark stopped: {' '.join(command)}")
    return json.loads(done.stdout.splitlines()[-1])


def timed(call: Callable, *given, **named) -> tuple:
    """(result, seconds) of a call."""
    start = time.perf_counter()
    return call(*given, **named), time.perf_counter() - start


def held_memory() -> float | None:
    """The memory this process holds now, in MB; None where the system doesn't say."""
    return _status("VmRSS")


def peak_memory() -> float | None:
    """The most memory this process has held, in MB; None where the system doesn't say.

    Linux's own word: what getrusage gives there begins with the peak of whoever started this process.
    """
    return _status("VmHWM")


def _status(name: str) -> float | None:
    status = Path("/proc/self/status")
    line = re.search(rf"^{name}:\s+(\d+) kB$", status.read_text(), re.MULTILINE) if status.exists() else None
    return round(int(line[1]) * 1024 / 1e6, 0) if line else None


def exponents(runs: list[dict]) -> dict:
    """How `seconds` grow with `images`: the power over all runs, and over the last two."""
    count, seconds = (np.log([run[name] for run in runs]) for name in ("images", "seconds"))
    powers = {"all": np.polyfit(count, seconds, 1)[0], "last_doubling": np.diff(seconds)[-1] / np.diff(count)[-1]}
    return {name: round(float(value), 2) for name, value in powers.items()}


if __name__ == "__main__":
    _, module, function, *words = sys.argv
    print(json.dumps(getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)(*words)))
