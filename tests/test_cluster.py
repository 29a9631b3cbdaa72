"""A study on a Dask cluster: whole and the same although a worker is killed; what can go wrong, in a sentence."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from threading import Thread

import numpy as np
import pandas as pd
import pytest

from fer_helpers import paths, settings
from fer_helpers.data import sources
from fer_helpers.studies import cluster as clusters
from fer_helpers.studies import study as studies

pytest.importorskip("distributed")
STAGE = "06_price_of_leakage"
CFG = settings.TrainConfig(epochs=6, batch_size=16, keep="last", precision="float32")


def waited(ready, seconds=60):
    """What ready() gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if given := ready():
            return given
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.fixture
def dask(tmp_path, monkeypatch):
    """Starts a scheduler or a worker in a process of its own, on loopback, as a terminal would; gives the process."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # what a worker has printed can be read at once
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as many as this process has: see conftest
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [paths.ROOT, *sys.path])))
    with ExitStack() as stack:
        started = []

        def start(what, *words):
            command = [sys.executable, "-m", "dask", what, *words, "--host", "127.0.0.1", "--no-dashboard"]
            log = stack.enter_context((tmp_path / f"{what}_{len(started)}.log").open("w"))
            process = subprocess.Popen(command, cwd=paths.ROOT, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
            return process

        yield start


@pytest.fixture
def scheduler(dask, tmp_path, monkeypatch):
    """A scheduler without workers, which gives up a call that cost one worker too many; its address and process."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")
    file = tmp_path / "scheduler.json"
    process = dask("scheduler", "--port", "0", "--scheduler-file", str(file))
    waited(lambda: file.exists() and file.read_text().endswith("}"))
    return json.loads(file.read_text())["address"], process


def worker(dask, address):
    return dask("worker", address, "--nthreads", "1", "--no-nanny", "--memory-limit", "0")


def conditions(count=70):
    """Two conditions of `count` and half as many synthetic faces."""
    train = np.flatnonzero(sources.load("synthetic", budget="smoke", log=lambda line: None).split == "train")
    masks = [np.isin(np.arange(700), train[:many]) for many in (count, count // 2)]
    return [studies.Condition(name, mask, CFG) for name, mask in zip(("all", "half"), masks, strict=True)]


def study(out_root, chosen=None, seeds=(0, 1), **more):
    where = studies.Where(STAGE, "synthetic", "smoke", "cpu", out_root)
    return studies.study(chosen or conditions(), seeds, where, **{"log": lambda line: None, **more})


def test_a_study_ends_whole_and_the_same_although_a_worker_is_killed(dask, scheduler, tmp_path):
    address, _ = scheduler
    victim, survivor = worker(dask, address), worker(dask, address)
    out, lines = tmp_path / "cluster", []

    def in_the_middle():  # of the victim's own run: it has done an epoch of it
        begun = re.findall(r"\] (\w+): \d+ faces", (tmp_path / "worker_1.log").read_text())
        return begun and (out / STAGE / "checkpoints" / f"{begun[-1]}.pt").exists()

    def kill_in_the_middle():
        waited(in_the_middle)
        victim.kill()
        victim.wait()

    killer = Thread(target=kill_in_the_middle)
    killer.start()
    runs = study(out, cluster=address, log=lines.append)
    killer.join()
    assert victim.returncode == -signal.SIGKILL and survivor.poll() is None
    assert "going on after epoch" in "".join(path.read_text() for path in tmp_path.glob("worker_*.log"))
    assert sum("is done: train" in line for line in lines) == 4
    alone = study(tmp_path / "alone")
    for one, other in zip(runs, alone, strict=True):
        assert (one["condition"], one["seed"], one["train"]) == (other["condition"], other["seed"], other["train"])
        assert one["probs"].tobytes() == other["probs"].tobytes()
    logs = [pd.read_csv(folder / "test_evaluations.csv").model for folder in (out, tmp_path / "alone")]
    assert sorted(logs[0]) == sorted(logs[1]) and len(logs[0]) == 4, "one test evaluation a run"
    assert not list((out / STAGE / "checkpoints").glob("*.pt"))


def test_a_call_is_made_again_if_its_worker_dies_and_only_then(dask, scheduler, tmp_path, monkeypatch):
    address, _ = scheduler
    code = "import tempfile, time; tempfile.mkdtemp('', '{}_', {!r}); time.sleep({})"
    times = {"short": 0, "long": 2}
    calls = {name: ([sys.executable, "-c", code.format(name, str(tmp_path), t)],) for name, t in times.items()}
    first = worker(dask, address)
    made = clusters.results(address, subprocess.check_call, calls, log=lambda line: None)
    assert next(made) == ("short", 0)
    waited(lambda: list(tmp_path.glob("long_*")))
    first.kill()
    worker(dask, address)
    assert list(made) == [("long", 0)]
    assert [len(list(tmp_path.glob(f"{name}_*"))) for name in calls] == [1, 2]
    monkeypatch.setattr("fer_helpers.emotions.FEWER", ("happy", "sad"))  # which workers are told
    asked = clusters.results(address, os.getenv, {"its": ("FER_EMOTIONS",)}, log=lambda line: None)
    assert list(asked) == [("its", "happy sad")]


def test_a_call_that_kills_every_worker_is_given_up(dask, scheduler):
    address, _ = scheduler
    for _ in range(2):
        worker(dask, address)
    with pytest.raises(RuntimeError, match="deadly was given up, its worker died again and again"):
        list(clusters.results(address, os._exit, {"deadly": (1,)}, log=lambda line: None))


def test_a_scheduler_that_dies_is_reported(dask, scheduler):
    address, process = scheduler
    worker(dask, address)
    made = clusters.results(address, time.sleep, {"short": (0.1,), "long": (30,)}, log=lambda line: None)
    next(made)
    process.kill()
    with pytest.raises(ConnectionError, match=f"scheduler at {address} is gone. What is finished is kept"):
        next(made)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://here"])
def test_a_scheduler_that_does_not_answer_is_reported(address, monkeypatch):
    monkeypatch.setattr(clusters, "PATIENCE", 1)
    with pytest.raises(ConnectionError, match=f"No Dask scheduler answers at {address} within 1 seconds"):
        list(clusters.results(address, print, {}))


def test_a_missing_package_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"python -m pip install -e \"\.\[cluster\]\""):
        list(clusters.results("tcp://127.0.0.1:9", print, {}))
