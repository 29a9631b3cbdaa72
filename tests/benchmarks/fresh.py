"""A measurement in a process of its own: its peak memory is then its own, and nothing is warm."""

import json
import subprocess
import sys

from fer_helpers import paths


def measured(module: str, *words) -> dict:
    """What `python -m tests.benchmarks.<module> <words>` prints as its last line, a JSON object."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, words)]
    done = subprocess.run(command, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"The benchmark stopped: {' '.join(command)}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory() -> float | None:
    """The most memory this process has held so far, in MB; None where the system doesn't tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 0)
