"""A measurement in a process of its own: its peak memory is then its own, and nothing is warm."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from fer_helpers import paths

QUIET = {**os.environ, "KINETO_LOG_LEVEL": "99"}  # torch's profiler reports every start otherwise


def measured(module: str, *words) -> dict | list:
    """What `python -m tests.benchmarks.<module> <words>` prints as its last line, in JSON."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, words)]
    done = subprocess.run(command, cwd=paths.ROOT, env=QUIET, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"The benchmark stopped: {' '.join(command)}")
    return json.loads(done.stdout.splitlines()[-1])


def held_memory() -> float | None:
    """The memory this process holds now, in MB; None where the system doesn't say."""
    return _status("VmRSS")


def peak_memory() -> float | None:
    """The most memory this process has held so far, in MB; None where the system doesn't say.

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
