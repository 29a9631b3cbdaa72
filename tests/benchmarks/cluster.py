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
from fer_helpers.studies import study as studies

RUNS, WORKERS, CALCULATED = 15, (1, 2), ((1, 15), (2, 15), (50, 15), (50, 150))
KNOWN = paths.REFERENCE / "03_baseline_cnn" / "metrics.json"  # a real training: the baseline at `quick`, on 2 threads


def measure(data: str, small: bool, out_root: str) -> dict:
    """Wall time of a study by number of workers, its overhead a run, and the time of real runs calculated from it."""
    times, epochs, faces = (3, 1, 64) if small else (RUNS, 1, 2000)
    everyone = sources.load(data, log=lambda line: None)
    learnt = np.isin(np.arange(len(everyone)), np.flatnonzero(everyone.split == "train")[:faces])
    cfg = settings.TrainConfig(epochs=epochs, keep="last", precision="float32")
    condition = studies.Condition("short", learnt, cfg)
    start = time.perf_counter()
    whole = replace(condition, train_counts=everyone.split == "train")
    runs.key_of(studies.RunSpec(whole, 0, studies.Where("bench", data)), everyone)
    identity = time.perf_counter() - start
    measured = [timed(condition, times, data, workers) for workers in WORKERS]
    print("measured:", *measured, sep="\n  ")
    overhead, begun = (measured[0][name] for name in ("overhead_seconds_a_run", "start_seconds"))
    run = paths.read_json(KNOWN)["run"]["seconds"]
    calculated = [
        {
            "workers": workers,
            "runs": count,
            "minutes": round((begun + count * identity + math.ceil(count / workers) * (run + overhead)) / 60, 1),
        }
        for workers, count in CALCULATED
    ]
    print(f"calculated with {run} seconds of training a run:", *calculated, sep="\n  ")
    return {
        "measured": {"runs": measured, "identity_seconds_a_run": round(identity, 2)},
        "calculated": {"training_seconds_a_run": run, "of": "baseline, quick, 2 threads", "runs": calculated},
    }


def timed(condition: studies.Condition, times: int, data: str, workers: int) -> dict:
    """A study on so many workers, after they have imported torch and read the data: that is in start_seconds.

    overhead: all that isn't training, from sending a run to keeping its result; waiting for the last run is in it.
    """
    with tempfile.TemporaryDirectory() as out, started(workers) as address:
        where, quietly = (
            studies.Where("bench", data, "quick", "cpu", out),
            {"cluster": address, "log": lambda line: None},
        )
        empty = {str(k): (0,) for k in range(100)}
        start = time.perf_counter()
        list(clusters.results(address, time.sleep, empty, log=lambda line: None))
        call = (time.perf_counter() - start) / len(empty)
        start = time.perf_counter()
        first = studies.study([condition], range(100, 100 + workers), where, **quietly)
        begun = time.perf_counter() - start - max(each["seconds"] for each in first)
        start = time.perf_counter()
        finished = studies.study([condition], range(times), where, **quietly)
        seconds = time.perf_counter() - start
    training = sum(each["seconds"] for each in finished)
    return {
        "workers": workers,
        "runs": len(finished),
        "seconds": round(seconds, 1),
        "training_seconds": round(training, 1),
        "overhead_seconds_a_run": round((seconds * workers - training) / len(finished), 2),
        "start_seconds": round(begun, 1),
        "empty_call_seconds": round(call, 4),
    }


@contextmanager
def started(workers: int) -> Iterator[str]:
    """The address of a scheduler on loopback that has so many workers."""
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "scheduler.json"
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}

        def start(*words: str) -> None:
            command = [sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"]
            process = subprocess.Popen(
                command, cwd=paths.ROOT, env=one_thread, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
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
