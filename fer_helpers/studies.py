"""Many runs of one training: arms × seeds, on this machine or a cluster; each checkpoints itself and is done once."""

import csv
import json
import platform
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch

from fer_helpers import checkpoints, clusters, machine, models, paths, scoring, sources, training
from fer_helpers.augment import Augment
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.recipe import TrainConfig


@dataclass(frozen=True)
class Arm:
    """One way of training that a study compares with others.

    learnt: (N,) bool over the loaded faces, True for those it trains on; all of them Training faces.
    config: its settings; the seed in it is replaced by each run's own. change: its augmentation.
    """

    name: str
    learnt: np.ndarray
    config: TrainConfig
    change: Augment | None = None
    network: str = "baseline"


def control(manifest: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """(N,) bool over the manifest's faces: Training less as many faces of each emotion as cleaning takes from it.

    They are drawn by lot among training faces that share no picture with val or test, so all leaked copies stay. The
    draw follows from names and seed, whatever the order of the faces. Raises ValueError if there are too few to draw.
    """
    train, name = (manifest.split == "train").to_numpy(), manifest.name.to_numpy()
    free = train & ~manifest.group.isin(manifest.group[~train]).to_numpy()
    learnt, rng, order = train.copy(), np.random.default_rng(seed), np.argsort(name)
    for emotion in EMOTIONS:
        mine = (manifest.label == emotion).to_numpy()
        gone = int((mine & train & ~manifest.keep.to_numpy()).sum())
        pool = order[(mine & free)[order]]
        if len(pool) < gone:
            raise ValueError(
                f"A control must drop {gone} {emotion} faces that have no copy in val or test, and there are "
                f"{len(pool)}: cleaning takes too much of this data for a fair comparison."
            )
        learnt[rng.choice(pool, gone, replace=False)] = False
    return learnt


def right(runs: Iterable[dict], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Each arm's (S, M) bool, a row a seed: True where the run is right on a val or test face. labels: (M,)."""
    found = {}
    for each in sorted(runs, key=lambda each: each["seed"]):
        found.setdefault(each["arm"], []).append(each["probs"].argmax(axis=1) == labels)
    return {arm: np.stack(rows) for arm, rows in found.items()}


OPENINGS = "test_openings.csv"
_ALONE = Lock()  # torch's random numbers belong to a process, so a worker with several threads takes one run at a time


@lru_cache(maxsize=1)
def _faces(data: str, budget: str) -> Faces:
    return sources.load(data, budget=budget, log=lambda line: None)  # a process reads the data once


def study(
    arms: Iterable[Arm], seeds: Iterable[int], *, stage: str, cluster: str = "", log: Callable = print, **where
) -> list[dict]:
    """The results of every run, in the order of seeds and, within a seed, of arms.

    where: data, budget, device and out_root, as a notebook's parameters give them. cluster: address of the Dask
    scheduler whose workers train; empty: this machine trains, one run after the other. A run is a function of its arm,
    its seed and `where`, so it may happen in any process. A finished one is read from its file on this machine.
    """
    arms, where = list(arms), where | {"stage": stage, "data": str(where["data"])}
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise ValueError(f"Two arms of the study have one name: {', '.join(names)}. Results are kept by name.")
    pairs = [(arm, seed) for seed in seeds for arm in arms]  # an unfinished study has whole seeds, not whole arms
    everyone, results, calls = _faces(where["data"], where["budget"]), {}, {}
    for k, (arm, seed) in enumerate(pairs, 1):
        name, key, told = _name(arm, seed), identity(arm, seed, everyone), f"[{k}/{len(pairs)}]"
        if result := _finished(_file(name, **where), key, where["device"]):
            results[name] = _kept(name, result, **where)
            log(f"{told} {name} is finished: train {result['train']['accuracy']:.1%}")
        else:
            calls[name] = (arm, seed, key, told)
    if cluster and calls:
        made = clusters.results(cluster, run, calls, log=log, **where)
    else:
        made = ((name, run(*call, log=log, **where)) for name, call in calls.items())
    for name, result in made:
        results[name] = _kept(name, result, **where)
        if cluster:
            how = f"{result['seconds']:.0f} s on {result['device']}, threads: {result['threads']}"
            log(f"{calls[name][-1]} {name} is done: train {result['train']['accuracy']:.1%}, {how}")
    return [results[_name(arm, seed)] for arm, seed in pairs]


def identity(arm: Arm, seed: int, everyone: Faces) -> str:
    """One run by its code, first weights, settings and faces, those it is judged on too; the same on every machine."""
    train = everyone.select(arm.learnt)
    if others := sorted({*train.split} - {"train"}):
        raise ValueError(f"Arm {arm.name} learns from faces of {' and '.join(others)}: a study takes Training alone.")
    training.seed_everything(seed)
    model = models.build(arm.network)
    return checkpoints.key(model, train, everyone.part("val", "test"), replace(arm.config, seed=seed), arm.change)


def run(
    arm: Arm, seed: int, key: str, told: str, *, stage: str, data: str, budget: str, device: str, out_root, log=print
) -> dict:
    """One run, in any process: train, score train, open test once, keep the result in a small file of this machine.

    key: the run's identity where the study was begun. returns: arm, seed, history (a dict an epoch), train (its
    scores), probs (M, 7) of val and test faces in the order of the loaded data, and of the run that trained seconds,
    precision, device, threads and opening, its line for the log of openings.
    """
    with _ALONE:
        everyone, torch_device = _same_faces(arm, seed, key, data, budget), machine.pick_device(device)
        name = _name(arm, seed)
        file = _file(name, stage=stage, out_root=out_root)
        if result := _finished(file, key, device):
            return result
        train, val = everyone.select(arm.learnt).to(torch_device), everyone.part("val").to(torch_device)
        cfg = replace(arm.config, seed=seed)
        training.seed_everything(seed)
        model = models.build(arm.network)
        log(f"{told} {name}: {len(train):,} faces, {cfg.epochs} epochs")
        saved = file.with_suffix(".pt")
        fit = training.fit(model, train, val, cfg, augment=arm.change, checkpoint=saved, log=_every(log, cfg.epochs))
        known = scoring.scores(training.predict_proba(model, train), train.labels.cpu().numpy())
        with tempfile.TemporaryDirectory() as own:  # the log lies where the study was begun, maybe on another machine
            probs = training.open_test(model, everyone.part("val", "test"), stage=stage, name=name, out_root=own)
            (opening,) = _openings(own)
        result = {"arm": arm.name, "seed": seed, "key": key, "history": fit.history, "train": known}
        result |= {"config": asdict(cfg), "seconds": round(fit.seconds, 1), "precision": fit.precision}
        result |= {"device": torch_device.type, "threads": torch.get_num_threads(), "opening": opening}
        _write(file, result | {"probs": probs})
        saved.unlink(missing_ok=True)
        return result | {"probs": probs}


def _same_faces(arm: Arm, seed: int, key: str, data: str, budget: str) -> Faces:
    """The faces as this machine has them; ValueError if it would train another run than the one that is meant."""
    try:
        everyone = _faces(data, budget)
    except FileNotFoundError:  # another machine may keep the same data elsewhere
        everyone = _faces("auto", budget)
    if len(everyone) != len(arm.learnt) or identity(arm, seed, everyone) != key:
        raise ValueError(
            f"{platform.node()} would train something else than this study asks for: its code, its torch or its faces "
            f"({everyone.source.get('why')}) are others. Bring it to the same commit, packages and data."
        )
    return everyone


def _name(arm: Arm, seed: int) -> str:
    return f"{arm.name}_seed{seed}"


def _file(name: str, *, stage: str, out_root, **_) -> Path:
    return paths.stage(stage, out_root) / f"checkpoint_{name}.npz"  # names like this outlive a change of the notebook


def _openings(out_root) -> list[dict]:
    """The lines of a log of openings."""
    log = paths.ROOT / out_root / OPENINGS
    if not log.exists():
        return []
    with log.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _kept(name: str, result: dict, **where) -> dict:
    """The result, after making sure that its file and its opening of test are on this machine, each once."""
    file = _file(name, **where)
    if not _finished(file, result["key"], where["device"]):  # a worker's folder was another one
        _write(file, result)
    if result["opening"] not in _openings(where["out_root"]):
        paths.add_line(paths.ROOT / where["out_root"] / OPENINGS, result["opening"])
    return result


def _write(file: Path, result: dict) -> None:
    """Keep a result, whole or not at all: two workers that both believe to have the run write the same."""
    told = json.dumps({name: value for name, value in result.items() if name != "probs"})
    with paths.whole(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, probs=result["probs"], result=told)


def _finished(file: Path, key: str, device: str) -> dict | None:
    """A stored result if it is of this very training, on the device that is asked for, else None."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            result = json.loads(str(stored["result"]))
            same = result["key"] == key and device in ("auto", result["device"])
            return result | {"probs": stored["probs"]} if same else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):  # missing, damaged or another file
        return None


def _every(log: Callable, epochs: int) -> Callable:
    """Of a study's many epochs about five lines a run are enough."""
    lines = iter(range(1, epochs + 1))

    def some(line: str) -> None:
        if not line.startswith("epoch") or next(lines) % max(1, epochs // 5) == 0:
            log(f"  {line}")

    return some
