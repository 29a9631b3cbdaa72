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
from fer_helpers.augment import Augment, ByEmotion
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.recipe import TrainConfig

OPENED, SHUT = ("val", "test"), ("val",)  # what a study may score: the final word, or what choices are made on


@dataclass(frozen=True)
class Arm:
    """One way of training that a study compares with others.

    learnt: (N,) over the loaded faces, all that it trains on of Training: bool, or int, how many times a face stands
    in an epoch. config: its settings; the seed in it is replaced by each run's own. change: its augmentation.
    """

    name: str
    learnt: np.ndarray
    config: TrainConfig
    change: Augment | ByEmotion | None = None
    network: str = "baseline"

    def __post_init__(self):
        learnt = np.asarray(self.learnt)
        if learnt.ndim != 1 or learnt.dtype.kind not in "biu" or (learnt < 0).any() or not learnt.any():
            raise ValueError(f"Arm {self.name}: learnt is true or false, or a count from 0, for every loaded face.")

    def taken(self, everyone: Faces) -> Faces:
        """The faces of an epoch, each as many times as it stands there; those of val and test are refused."""
        if len(self.learnt) != len(everyone):
            raise ValueError(f"Arm {self.name} speaks of {len(self.learnt):,} faces, and {len(everyone):,} are loaded.")
        train = everyone.select(np.repeat(np.arange(len(everyone)), np.asarray(self.learnt).astype(int)))
        if others := sorted({*train.split} - {"train"}):
            told = " and ".join(others)
            raise ValueError(f"Arm {self.name} learns from faces of {told}: a study takes Training alone.")
        return train


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


def guesses(runs: Iterable[dict]) -> dict[str, np.ndarray]:
    """Each arm's (S, M) int, a row a seed: what the run says of every face that was scored."""
    found = {}
    for each in sorted(runs, key=lambda each: each["seed"]):
        found.setdefault(each["arm"], []).append(each["probs"].argmax(axis=1))
    return {arm: np.stack(rows) for arm, rows in found.items()}


def right(runs: Iterable[dict], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Each arm's (S, M) bool, a row a seed: True where the run is right on a scored face. labels: (M,)."""
    return {arm: guess == labels for arm, guess in guesses(runs).items()}


def better(gains: dict) -> list[str]:
    """Arms fit to become the default, best macro-F1 first.

    gains: arm -> what scoring.crossed_measures finds of it against the default. Fit is what is above zero in macro-F1
    by the interval that shares its error among all arms, and not below zero in accuracy by the plain one.
    """
    fit = [
        arm
        for arm, gain in gains.items()
        if gain["macro_f1"]["verdict_shared"] == "above zero" and gain["accuracy"]["verdict"] != "below zero"
    ]
    return sorted(fit, key=lambda arm: -gains[arm]["macro_f1"]["mean"])


@lru_cache(maxsize=1)
def _faces(data: str, budget: str) -> Faces:
    return sources.load(data, budget=budget, log=lambda line: None)  # a process reads the data once


def study(arms: Iterable[Arm], seeds: Iterable[int], *, stage: str, log: Callable = print, **where) -> list[dict]:
    """The results of every run, in the order of seeds and, within a seed, of arms.

    where: data, budget, device and out_root, as a notebook's parameters give them, and splits (see run). A run is a
    function of its arm, its seed and these, so it may happen in any process; a finished one is read from its file.
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
    arm: Arm,
    seed: int,
    *,
    stage: str,
    data: str,
    budget: str,
    device: str,
    out_root,
    splits: tuple = OPENED,
    told: str = "",
    log: Callable = print,
) -> dict:
    """One run: train, score, keep the result in a small file beside the study's figures.

    splits: what is scored: ("val", "test") opens test once, ("val",) leaves it shut, for a study that chooses.
    returns: arm, seed, history (a dict an epoch), train (scores on the faces it learnt from, each once), probs (M, 7)
    of the splits' faces in the order of the loaded data, seconds, precision. The last two are of the run that trained.
    """
    if tuple(splits) not in (OPENED, SHUT):
        raise ValueError(f"splits is {splits}: choose {SHUT} or {OPENED}.")
    everyone = _faces(str(data), budget)
    torch_device = machine.pick_device(device)
    train, val = arm.taken(everyone).to(torch_device), everyone.part("val").to(torch_device)
    cfg = replace(arm.config, seed=seed)
    training.seed_everything(seed)
    model = models.build(arm.network)
    key = checkpoints.key(model, train, val, cfg, arm.change) + ("" if "test" in splits else " test shut")
    name = f"{arm.name}_seed{seed}"
    file = paths.stage(stage, out_root) / f"checkpoint_{name}.npz"  # names like this outlive a change of the notebook
    if result := _finished(file, key):
        log(f"{told} {name} is finished: train {result['train']['accuracy']:.1%}")
        return result
    log(f"{told} {name}: {len(train):,} faces, {cfg.epochs} epochs")
    saved = file.with_suffix(".pt")
    fit = training.fit(model, train, val, cfg, augment=arm.change, checkpoint=saved, log=_every(log, cfg.epochs))
    once = everyone.select(np.asarray(arm.learnt) > 0).to(torch_device)
    known = scoring.scores(training.predict_proba(model, once), once.labels.cpu().numpy())
    if "test" in splits:
        probs = training.open_test(model, everyone.part(*OPENED), stage=stage, name=name, out_root=out_root)
    else:
        probs = training.predict_proba(model, val)
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
