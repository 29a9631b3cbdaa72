"""One run of a study, in whatever process: it checkpoints itself, keeps its result and is never done twice."""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from fer_helpers import devices, identity, metrics, models, paths, training
from fer_helpers.data import sources
from fer_helpers.faces import Faces
from fer_helpers.settings import TrainConfig
from fer_helpers.studies import kept

ASKED = 5000  # faces it trained on that a finished run is asked about, at least: all took a quarter of a short run
_ALONE = Lock()  # torch's random numbers belong to a process, so a worker with several threads takes one run at a time
# What a study may score: the final word, what choices are made on, or what is left where val is trained on too
VAL_AND_TEST, VAL_ONLY, TEST_ONLY = ("val", "test"), ("val",), ("test",)


@dataclass(frozen=True)
class Where:
    """What all runs of a study share: its stage, and data, budget, device and out_root as a notebook's parameters.

    splits: what is scored. ("val", "test") evaluates each run on the test set once, ("val",) leaves test alone, for a
    study that chooses, ("test",) is for the last training, on val too.
    """

    stage: str
    data: str = "auto"
    budget: str = "quick"
    device: str = "auto"
    out_root: str | Path = "outputs"
    splits: tuple = VAL_AND_TEST


@dataclass(frozen=True)
class Condition:
    """One way of training that a study compares with others.

    train_counts: (N,) over the loaded faces, all that it trains on of Training (and of val, where test alone is
    scored): bool, or int, how many times a face stands in an epoch. config: its settings; the seed in it is replaced by
    each run's own. network, arguments: as models.build takes them. views: of test-time augmentation, for the answers
    that are scored. weights: whether each run's result holds the network too. soft_labels: (N, 7) over the loaded
    faces, see TrainConfig.distillation. asked: (N,) bool, Training faces whose answers the result holds as well.
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

    def __post_init__(self):
        counts = np.asarray(self.train_counts)
        if counts.ndim != 1 or counts.dtype.kind not in "biu" or (counts < 0).any() or not counts.any():
            raise ValueError(
                f"Condition {self.name}: train_counts is true or false, or a count from 0, for every loaded face."
            )

    def train_faces(self, everyone: Faces, splits: tuple = VAL_AND_TEST) -> Faces:
        """The faces of an epoch, each as many times as it stands there; those of what is scored are refused."""
        if len(self.train_counts) != len(everyone):
            counts = f"{len(self.train_counts):,} faces, and {len(everyone):,} are loaded"
            raise ValueError(f"Condition {self.name} speaks of {counts}.")
        if self.soft_labels is not None:
            soft = torch.from_numpy(np.asarray(self.soft_labels, dtype=np.float32))
            everyone = replace(everyone, soft_labels=soft)
        train = everyone.select(np.repeat(np.arange(len(everyone)), np.asarray(self.train_counts).astype(int)))
        if others := sorted({*train.split} - {"train"} - ({"val"} if tuple(splits) == TEST_ONLY else set())):
            raise ValueError(
                f"Condition {self.name} trains on faces of {' and '.join(others)}: a study takes Training alone."
            )
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
        """What the run is called, in its file, in the log of test evaluations and on the screen."""
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
        return models.build(self.condition.network, **self.condition.arguments)


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
        raise ValueError(
            f"splits is {splits}, but condition {condition.name} doesn't train on val: choose {VAL_ONLY} or "
            f"{VAL_AND_TEST}."
        )
    network = {"architecture": condition.network, "arguments": condition.arguments}
    asked = () if condition.asked is None else (everyone.select(condition.asked).key(),)
    return identity.digest_settings(
        training.identity_of(network, train, spec.config), condition.views, everyone.part(*splits).key(), *asked
    )


def run(spec: RunSpec, *, log: Callable = print) -> dict:
    """One run, in any process: train, score, keep the result in a small file of this machine.

    returns: condition, seed, key, history (a dict an epoch), train (scores on every k-th face it trained on, see
    ASKED), probs (M, 7) of the splits' faces in the order of the loaded data, answers (K, 7) of the `asked` faces, and
    of the run that trained seconds, precision, device, threads and evaluation, its line for the log of test
    evaluations; None where test was left alone. weights: arrays by name of the trained network (see `network`), for a
    condition that keeps them.
    """
    with _ALONE:
        everyone, device = _same_faces(spec), devices.pick_device(spec.where.device)
        if result := finished(spec):
            return result
        condition, views = spec.condition, {"views": spec.condition.views}
        train = condition.train_faces(everyone, spec.where.splits).to(device)
        model, saved = spec.build(), spec.file.with_suffix(".pt")
        log(f"{spec.title} {spec.name}: {len(train):,} faces, {spec.config.epochs} epochs")
        some = _every(log, spec.config.epochs)
        fit = training.fit(model, train, everyone.part("val").to(device), spec.config, checkpoint=saved, log=some)
        once = np.flatnonzero(np.asarray(condition.train_counts) > 0)
        once = everyone.select(once[:: max(1, len(once) // ASKED)]).to(device)
        known = metrics.scores(training.predict_proba(model, once), once.labels.cpu().numpy())
        judged, evaluation = everyone.part(*spec.where.splits), None
        if "test" in judged.split:  # the log lies where the study was begun, maybe on another machine
            named = {"stage": spec.where.stage, "name": spec.name}
            probs, evaluation = training.evaluation(model, judged, **named, **views)
        else:
            probs = training.predict_proba(model, judged, **views)
        result = {"condition": condition.name, "seed": spec.seed, "key": spec.key, "history": fit.history}
        result |= {"config": asdict(spec.config), "seconds": round(fit.seconds, 1), "precision": fit.precision}
        result |= {"device": device.type, "threads": torch.get_num_threads(), "evaluation": evaluation, "train": known}
        state = {name: part.cpu().numpy() for name, part in model.state_dict().items()} if condition.weights else {}
        result |= {"probs": probs, "weights": state}
        asked = None if condition.asked is None else everyone.select(condition.asked)
        result |= {"answers": np.zeros((0, 7)) if asked is None else training.predict_proba(model, asked, **views)}
        kept.write(spec.file, result)
        saved.unlink(missing_ok=True)
        return result


def network(spec: RunSpec, result: dict) -> torch.nn.Module:
    """The network that a run that keeps weights ended with, in eval mode on the CPU."""
    model = spec.build()
    model.load_state_dict({name: torch.from_numpy(part) for name, part in result["weights"].items()})
    model.views = spec.condition.views
    return model.eval()


def _same_faces(spec: RunSpec) -> Faces:
    """The faces as this machine has them; ValueError if it would train another run than the one that is meant."""
    try:
        everyone = loaded(spec.where.data, spec.where.budget)
    except FileNotFoundError:  # another machine may keep the same data elsewhere
        everyone = loaded("auto", spec.where.budget)
    if len(everyone) != len(spec.condition.train_counts) or key_of(spec, everyone) != spec.key:
        raise ValueError(
            f"{platform.node()} would train something else than this study asks for: its engine or its faces "
            f"({everyone.source.get('why')}) are others. Bring it to the same commit and data."
        )
    return everyone


def fit_of(spec: RunSpec, result: dict) -> training.Fit:
    """What a run's training gave, as training.fit returns it."""
    history, seconds = result["history"], result["seconds"]
    seen = int(np.asarray(spec.condition.train_counts).sum()) * len(history)
    kept = training.kept_row(history, spec.condition.config)
    return training.Fit(history, kept, seconds, seen / seconds, result["precision"])


def keep(spec: RunSpec, result: dict) -> dict:
    """The result, after making sure that its file and its test evaluation are on this machine, each once."""
    if not finished(spec):  # a worker's folder was another
        kept.write(spec.file, result)
    if result["evaluation"]:
        training.log_evaluation(result["evaluation"], spec.where.out_root)
    return result


def finished(spec: RunSpec) -> dict | None:
    """The stored result of this very run, on the device that is asked for, else the repository's, else None.

    The repository keeps no weights in its runs: those of published models lie in their model files.
    """
    for file in (spec.file, spec.published):
        result = kept.read(file)
        if not result or result["key"] != spec.key:
            continue
        if file == spec.published:
            return result
        if spec.where.device in ("auto", result["device"]) and (result["weights"] or not spec.condition.weights):
            return result
    return None


def _every(log: Callable, epochs: int) -> Callable:
    """Of a study's many epochs about five lines a run are enough."""
    lines = iter(range(1, epochs + 1))

    def some(line: str) -> None:
        if not line.startswith("epoch") or next(lines) % max(1, epochs // 5) == 0:
            log(f"  {line}")

    return some
