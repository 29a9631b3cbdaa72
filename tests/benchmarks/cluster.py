"""How long 15 runs of a study take on 1 and on 2 workers of a Dask cluster, what a run costs beside its training, and
what that means for 50 workers: those hours are calculated, not measured.

Scheduler and workers are processes on this machine, a thread each. That the network between real machines is slower
isn't in it: a run takes some 40 kB there and brings some 200 kB back.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from distributed import Client

from fer_helpers import paths, settings
from fer_helpers.data import sources
from fer_helpers.studies import cluster as clusters
from fer_helpers.studies import run as runs
from fer_helpers.studies.study import study
from tests.benchmarks.fresh import timed

RUNS, WORKERS, CALCULATED = 15, (1, 2), ((1, 15), (2, 15), (50, 15), (50, 150))
KNOWN = paths.REFERENCE / "03_baseline_cnn" / "metrics.json"  # a real training: the baseline at `quick`, on 2 threads


def measure(data: str, small: bool, out_root: str) -> dict:
    """Wall time of a study by number of workers, its overhead a run, and the time of real runs calculated from it."""
    times, faces = (3, 64) if small else (RUNS, 2000)
    everyone = sources.load(data, log=lambda line: None)
    train = everyone.split == "train"
    cfg = settings.TrainConfig(epochs=1, keep="last", precision="float32")
    whole = runs.RunSpec(runs.Condition("short", train, cfg), 0, runs.Where("bench", data))
    _, identity = timed(runs.key_of, whole, everyone)
    condition = replace(whole.condition, train_counts=train & (np.cumsum(train) <= faces))
    measured = [measured_with(workers, condition, times, data) for workers in WORKERS]
    print("measured:", *measured, sep="\n  ")
    overhead, begun = (measured[0][name] for name in ("overhead_seconds_a_run", "start_seconds"))
    training, calculated = paths.read_json(KNOWN)["run"]["seconds"], []
    for workers, count in CALCULATED:
        seconds = begun + count * identity + math.ceil(count / workers) * (training + overhead)
        calculated.append({"workers": workers, "runs": count, "minutes": round(seconds / 60, 1)})
    print(f"calculated with {training} seconds of training a run:", *calculated, sep="\n  ")
    real = {"training_seconds_a_run": training, "of": "baseline, quick, 2 threads", "runs": calculated}
    return {"measured": {"runs": measured, "identity_seconds_a_run": round(identity, 2)}, "calculated": real}


def measured_with(workers: int, condition: runs.Condition, times: int, data: str) -> dict:
    """A study on so many workers, after they have imported torch and read the data: that is in start_seconds.

    overhead: all that isn't training, from sending a run to keeping its result; waiting for the last run is in it.
    """
    with tempfile.TemporaryDirectory() as out, started(workers) as address:
        where, quiet = runs.Where("bench", data, "quick", "cpu", out), {"log": lambda line: None}
        empty = {str(k): (0,) for k in range(100)}
        _, calls = timed(lambda: list(clusters.results(address, time.sleep, empty, **quiet)))
        first, begun = timed(study, [condition], range(100, 100 + workers), where, cluster=address, **quiet)
        finished, seconds = timed(study, [condition], range(times), where, cluster=address, **quiet)
    training = sum(each["seconds"] for each in finished)
    begun -= max(each["seconds"] for each in first)
    overhead = {"overhead_seconds_a_run": round((seconds * workers - training) / times, 2)}
    overhead |= {"start_seconds": round(begun, 1), "empty_call_seconds": round(calls / len(empty), 4)}
    row = {"workers": workers, "runs": times, "seconds": round(seconds, 1), "training_seconds": round(training, 1)}
    return row | overhead


@contextmanager
def started(workers: int) -> Iterator[str]:
    """The address of a scheduler on loopback that has so many workers."""
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "scheduler.json"
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}

        def start(*words: str) -> None:
            command = [sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"]
            process = subprocess.Popen(command, cwd=paths.ROOT, env=one_thread, **silent)
            stack.callback(process.wait)
            stack.callback(process.kill)

        start("scheduler", "--port", "0", "--scheduler-file", str(file))
        while not (file.exists() and file.read_text().endswith("}")):
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address
