"""Many runs of one training: arms × seeds, each a task of joblib that checkpoints itself and is never done twice."""

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from fer_helpers import checkpoints, machine, models, paths, scoring, sources, training
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


@lru_cache(maxsize=1)
def _faces(data: str, budget: str) -> Faces:
    return sources.load(data, budget=budget, log=lambda line: None)  # a process reads the data once


def study(arms: Iterable[Arm], seeds: Iterable[int], *, stage: str, log: Callable = print, **where) -> list[dict]:
    """The results of every run, in the order of seeds and, within a seed, of arms.

    where: data, budget, device and out_root, as a notebook's parameters give them. A run is a function of its arm, its
    seed and these, so it may happen in any process; a finished one is read from its file.
    """
    arms, seeds = list(arms), list(seeds)
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise ValueError(f"Two arms of the study have one name: {', '.join(names)}. Results are kept by name.")
    tasks = [(arm, seed) for seed in seeds for arm in arms]  # an unfinished study has whole seeds, not whole arms
    return Parallel(n_jobs=1)(
        delayed(run)(arm, seed, stage=stage, told=f"[{k}/{len(tasks)}]", log=log, **where)
        for k, (arm, seed) in enumerate(tasks, 1)
    )


def run(
    arm: Arm, seed: int, *, stage: str, data: str, budget: str, device: str, out_root, told: str = "", log=print
) -> dict:
    """One run: train, score train, open test once, keep the result in a small file beside the study's figures.

    returns: arm, seed, history (a dict an epoch), train (its scores), probs (M, 7) of val and test faces in the order
    of the loaded data, seconds, precision. The last two are of the run that trained.
    """
    everyone = _faces(str(data), budget)
    train, val = everyone.select(arm.learnt), everyone.part("val")
    if others := sorted({*train.split} - {"train"}):
        raise ValueError(f"Arm {arm.name} learns from faces of {' and '.join(others)}: a study takes Training alone.")
    torch_device = machine.pick_device(device)
    train, val = train.to(torch_device), val.to(torch_device)
    cfg = replace(arm.config, seed=seed)
    training.seed_everything(seed)
    model = models.build(arm.network)
    key = checkpoints.key(model, train, val, cfg, arm.change)
    name = f"{arm.name}_seed{seed}"
    file = paths.stage(stage, out_root) / f"checkpoint_{name}.npz"  # names like this outlive a change of the notebook
    if result := _finished(file, key):
        log(f"{told} {name} is finished: train {result['train']['accuracy']:.1%}")
        return result
    log(f"{told} {name}: {len(train):,} faces, {cfg.epochs} epochs")
    saved = file.with_suffix(".pt")
    fit = training.fit(model, train, val, cfg, augment=arm.change, checkpoint=saved, log=_every(log, cfg.epochs))
    known = scoring.scores(training.predict_proba(model, train), train.labels.cpu().numpy())
    probs = training.open_test(model, everyone.part("val", "test"), stage=stage, name=name, out_root=out_root)
    result = {"arm": arm.name, "seed": seed, "key": key, "history": fit.history, "train": known}
    result |= {"config": asdict(cfg), "seconds": round(fit.seconds, 1), "precision": fit.precision}
    with paths.whole(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, probs=probs, result=json.dumps(result))
    saved.unlink(missing_ok=True)
    return result | {"probs": probs}


def _finished(file: Path, key: str) -> dict | None:
    """A stored result if it is of this very training, else None."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            result = json.loads(str(stored["result"]))
            return result | {"probs": stored["probs"]} if result["key"] == key else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):  # missing, damaged or another file
        return None


def _every(log: Callable, epochs: int) -> Callable:
    """Of a study's many epochs about five lines a run are enough."""
    lines = iter(range(1, epochs + 1))

    def some(line: str) -> None:
        if not line.startswith("epoch") or next(lines) % max(1, epochs // 5) == 0:
            log(f"  {line}")

    return some
