"""One run of a study, in whatever process: it checkpoints itself, keeps its result and is never done twice."""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from fer_helpers import devices, identity, metrics, models, paths, training
from fer_helpers.data import sources
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.settings import TrainConfig
from fer_helpers.studies import stored

ASKED = 5000  # faces it trained on that a finished run is asked about, at least: all took a quarter of a short run
_ALONE = Lock()  # torch's random numbers belong to a process, so a worker with several threads takes one run at a time
# What a study scores: each run on the test set once; val alone, to choose; test alone, where it trains on val as well
VAL_AND_TEST, VAL_ONLY, TEST_ONLY = ("val", "test"), ("val",), ("test",)


@dataclass(frozen=True)
class Where:
    """What all runs of a study share: its stage, a notebook's parameters, and `splits`, one of the three above."""

    stage: str
    data: str = "auto"
    budget: str = "quick"
    device: str = "auto"
    out_root: str | Path = "outputs"
    splits: tuple = VAL_AND_TEST


@dataclass(frozen=True)
class Condition:
    """One method of training that a study compares with others.

    train_counts: (N,) over the loaded faces, bool, or int: how often a face stands in an epoch. config: each run
    replaces its seed. network, arguments: as models.build takes them. views: of test-time augmentation, for what is
    scored. weights: does a result hold the network? soft_labels: (N, 7) over the loaded faces, see
    TrainConfig.distillation. asked: (N,) bool, Training faces whose answers the result holds as well. start: puts other
    weights than random ones into the built network, and `arguments` say so: pretrained=True.
    """

    name: str
    train_counts: np.ndarray
    config: TrainConfig
    network: str = "baseline"
    arguments: dict = field(default_factory=dict)
    views: int = 2
    weights: bool = False
    soft_labels: np.ndarray | None = None
    asked: np.ndarray | None = None
    start: Callable | None = None

    def __post_init__(self):
        counts = self.train_counts
        if counts.ndim != 1 or counts.dtype.kind not in "biu" or (counts < 0).any() or not counts.any():
            raise ValueError(f"Condition {self.name}: train_counts is a bool or a count from 0 for every loaded face.")
        if bool(self.start) != bool(self.arguments.get("pretrained")):  # a run is known by its arguments
            raise ValueError(f"Condition {self.name}: start and the argument pretrained=True go together.")

    def train_faces(self, everyone: Faces, splits: tuple = VAL_AND_TEST) -> Faces:
        """The faces of an epoch, each as many times as it stands there; those of what is scored are refused."""
        if len(self.train_counts) != len(everyone):
            counts = f"{len(self.train_counts):,} faces, and {len(everyone):,} are loaded"
            raise ValueError(f"Condition {self.name} speaks of {counts}.")
        if self.soft_labels is not None:
            everyone = replace(everyone, soft_labels=torch.as_tensor(self.soft_labels, dtype=torch.float32))
        train = everyone.select(np.repeat(np.arange(len(everyone)), self.train_counts.astype(int)))
        if others := sorted({*train.split} - {"train"} - ({"val"} if tuple(splits) == TEST_ONLY else set())):
            refused = f"faces of {' and '.join(others)}: a study takes Training alone."
            raise ValueError(f"Condition {self.name} trains on {refused}")
        if "val" in train.split and self.config.keep != "last":
            raise ValueError(f"Condition {self.name} trains on val, so val can't choose an epoch: set keep to last.")
        return train


@dataclass(frozen=True)
class RunSpec:
    """One run: a condition, a seed and where. key: its identity where the study was begun. title: like [3/12]."""

    condition: Condition
    seed: int
    where: Where
    key: str = ""
    title: str = ""

    @property
    def name(self) -> str:
        """Its name in files, in the log of test evaluations and on the screen."""
        return f"{self.condition.name}_seed{self.seed}"

    @property
    def config(self) -> TrainConfig:
        """The condition's settings with this run's seed."""
        return replace(self.condition.config, seed=self.seed)

    @property
    def file(self) -> Path:
        """Where this machine keeps the run's result."""
        return paths.checkpoints(self.where.stage, self.where.out_root) / f"{self.name}.npz"

    @property
    def published(self) -> Path:
        """Where the repository keeps it, if it does."""
        return paths.REFERENCE / self.where.stage / "runs" / f"{self.name}.npz"

    def build(self) -> torch.nn.Module:
        """The network before its training."""
        training.seed_everything(self.seed)
        model = models.build(self.condition.network, **self.condition.arguments)
        if self.condition.start:
            self.condition.start(model)
        return model


@lru_cache(maxsize=1)
def loaded(data: str, budget: str) -> Faces:
    """The faces; a process reads them once."""
    return sources.load(data, budget=budget, log=lambda line: None)


def key_of(spec: RunSpec, everyone: Faces) -> str:
    """Key of one run by its training, its views and the faces it is scored on; the same on every machine."""
    condition, splits = spec.condition, tuple(spec.where.splits)
    if splits not in (VAL_AND_TEST, VAL_ONLY, TEST_ONLY):
        raise ValueError(f"splits is {splits}: choose {VAL_ONLY}, {VAL_AND_TEST} or {TEST_ONLY}.")
    train = condition.train_faces(everyone, splits)
    if splits == TEST_ONLY and "val" not in train.split:
        choose = f"{condition.name} doesn't train on val: choose {VAL_ONLY} or {VAL_AND_TEST}."
        raise ValueError(f"splits is {splits}, but condition {choose}")
    network = {"architecture": condition.network, "arguments": condition.arguments}
    judged = [everyone.part(*splits).key()]
    if condition.asked is not None:
        judged.append(everyone.select(condition.asked).key())
    return identity.digest_settings(training.identity_of(network, train, spec.config), condition.views, *judged)


def run(spec: RunSpec, *, log: Callable = print) -> dict:
    """One run, in any process: train, score, keep the result in a small file of this machine.

    returns: condition, seed, key, config, history (a dict an epoch), train (scores on every k-th face it trained on,
    see ASKED), probs (M, 7) of the splits' faces in the order of the loaded data, answers (K, 7) of the `asked` faces,
    weights (arrays by name, for a condition that keeps them), seconds, precision, device, threads, and evaluation: its
    line for the log of test evaluations, None where test was left alone.
    """
    with _ALONE:
        everyone, device = _same_faces(spec), devices.pick_device(spec.where.device)
        if result := finished(spec):
            return result
        condition, views = spec.condition, {"views": spec.condition.views}
        train = condition.train_faces(everyone, spec.where.splits).to(device)
        model, saved = spec.build(), spec.file.with_suffix(".pt")
        log(f"{spec.title} {spec.name}: {len(train):,} faces, {spec.config.epochs} epochs")
        epoch, step = count(1), max(1, spec.config.epochs // 5)

        def some(line: str) -> None:  # of a study's many epochs about five lines a run are enough
            if not line.startswith("epoch") or next(epoch) % step == 0:
                log(f"  {line}")

        fit = training.fit(model, train, everyone.part("val").to(device), spec.config, checkpoint=saved, log=some)
        once = np.flatnonzero(condition.train_counts)
        once = everyone.select(once[:: max(1, len(once) // ASKED)]).to(device)
        known = metrics.scores(training.predict_proba(model, once), once.labels.cpu().numpy())
        judged, evaluation, answers = everyone.part(*spec.where.splits), None, np.zeros((0, len(EMOTIONS)))
        if "test" in judged.split:  # the log lies where the study was begun, maybe on another machine
            named = {"stage": spec.where.stage, "name": spec.name}
            probs, evaluation = training.evaluation(model, judged, **named, **views)
        else:
            probs = training.predict_proba(model, judged, **views)
        if condition.asked is not None:
            answers = training.predict_proba(model, everyone.select(condition.asked), **views)
        state = {name: part.cpu().numpy() for name, part in model.state_dict().items()} if condition.weights else {}
        result = {"condition": condition.name, "seed": spec.seed, "key": spec.key, "history": fit.history}
        result |= {"config": asdict(spec.config), "seconds": round(fit.seconds, 1), "precision": fit.precision}
        result |= {"device": device.type, "threads": torch.get_num_threads(), "evaluation": evaluation, "train": known}
        result |= {"probs": probs, "answers": answers, "weights": state}
        stored.write(spec.file, result)
        saved.unlink(missing_ok=True)
        return result


def _same_faces(spec: RunSpec) -> Faces:
    """The faces as this machine has them; ValueError if it would train another run than the one that is meant."""
    try:
        everyone = loaded(spec.where.data, spec.where.budget)
    except FileNotFoundError:  # another machine may keep the same data elsewhere
        labels = spec.where.data.partition(sources.LABELS)[1:]  # whose are asked for, if not the data's own
        everyone = loaded("".join(["auto", *labels]), spec.where.budget)
    if len(everyone) != len(spec.condition.train_counts) or key_of(spec, everyone) != spec.key:
        reason = (
            f"its engine, emotions or faces ({everyone.source.get('why')}) are others. "
            "Bring it to the same commit and data, and start it anew."
        )
        raise ValueError(f"{platform.node()} would train something else than this study asks for: {reason}")
    return everyone


def keep(spec: RunSpec, result: dict) -> dict:
    """The result, after making sure that its file and its test evaluation are on this machine, each once."""
    if not finished(spec):  # a worker's folder was another
        stored.write(spec.file, result)
    if result["evaluation"]:
        training.log_evaluation(result["evaluation"], spec.where.out_root)
    return result


def finished(spec: RunSpec) -> dict | None:
    """The stored result of this very run, on the device and in the precision that are asked for, else the repository's.

    None if there is none. The repository keeps the weights of few of its runs.
    """
    wishes = {"device": spec.where.device, "precision": spec.condition.config.precision}
    for file in (spec.file, spec.published):
        result = stored.read(file)
        if result and result["key"] == spec.key:
            complete = result["weights"] or not spec.condition.weights
            own = complete and all(wish in ("auto", result[name]) for name, wish in wishes.items())
            if file == spec.published or own:
                return result
    return None
