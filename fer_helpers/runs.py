"""One run of a study, in whatever process: it checkpoints itself, keeps its result and is never done twice."""

import csv
import json
import platform
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from zipfile import BadZipFile

import numpy as np
import torch

from fer_helpers import checkpoints, machine, models, paths, scoring, sources, training
from fer_helpers.augment import Augment, ByEmotion
from fer_helpers.faces import Faces
from fer_helpers.recipe import TrainConfig

OPENINGS, WEIGHTS = "test_openings.csv", "weights/"
ASKED = 5000  # faces it learnt from that a finished run is asked about, at least: all took a quarter of a short run
_ALONE = Lock()  # torch's random numbers belong to a process, so a worker with several threads takes one run at a time
# What a study may score: the final word, what choices are made on, or what is left where val is learnt from too
OPENED, SHUT, FINAL = ("val", "test"), ("val",), ("test",)


@dataclass(frozen=True)
class Arm:
    """One way of training that a study compares with others.

    learnt: (N,) over the loaded faces, all that it trains on of Training (and of val, where test alone is scored):
    bool, or int, how many times a face stands in an epoch. config: its settings; the seed in it is replaced by each
    run's own. change: its augmentation. network, arguments: as models.build takes them. weights: whether each run's
    result holds the network too. shift: see Preprocess; of the answers that are scored, not while it trains.
    """

    name: str
    learnt: np.ndarray
    config: TrainConfig
    change: Augment | ByEmotion | None = None
    network: str = "baseline"
    arguments: dict = field(default_factory=dict)
    weights: bool = False
    shift: int = 0

    def __post_init__(self):
        learnt = np.asarray(self.learnt)
        if learnt.ndim != 1 or learnt.dtype.kind not in "biu" or (learnt < 0).any() or not learnt.any():
            raise ValueError(f"Arm {self.name}: learnt is true or false, or a count from 0, for every loaded face.")

    def taken(self, everyone: Faces, splits: tuple = OPENED) -> Faces:
        """The faces of an epoch, each as many times as it stands there; those of what is scored are refused."""
        if len(self.learnt) != len(everyone):
            raise ValueError(f"Arm {self.name} speaks of {len(self.learnt):,} faces, and {len(everyone):,} are loaded.")
        train = everyone.select(np.repeat(np.arange(len(everyone)), np.asarray(self.learnt).astype(int)))
        if others := sorted({*train.split} - {"train"} - ({"val"} if tuple(splits) == FINAL else set())):
            told = " and ".join(others)
            raise ValueError(f"Arm {self.name} learns from faces of {told}: a study takes Training alone.")
        if "val" in train.split and self.config.keep != "last":
            raise ValueError(f"Arm {self.name} learns from val, so val can't choose an epoch: set keep to last.")
        return train


@lru_cache(maxsize=1)
def loaded(data: str, budget: str) -> Faces:
    """The faces; a process reads them once."""
    return sources.load(data, budget=budget, log=lambda line: None)


def identity(arm: Arm, seed: int, everyone: Faces, splits: tuple = OPENED) -> str:
    """One run by its code, first weights, settings and faces, those it is judged on too; the same on every machine."""
    if tuple(splits) not in (OPENED, SHUT, FINAL):
        raise ValueError(f"splits is {splits}: choose {SHUT}, {OPENED} or {FINAL}.")
    train, cfg = arm.taken(everyone, splits), replace(arm.config, seed=seed)
    if tuple(splits) == FINAL and "val" not in train.split:
        raise ValueError(f"splits is {splits}, but arm {arm.name} doesn't learn from val: choose {SHUT} or {OPENED}.")
    training.seed_everything(seed)
    model = models.build(arm.network, **arm.arguments)
    return checkpoints.key(model, train, everyone.part(*splits), cfg, arm.change) + f" shift {arm.shift}" * bool(
        arm.shift
    )


def run(
    arm: Arm,
    seed: int,
    key: str,
    told: str,
    *,
    stage: str,
    data: str,
    budget: str,
    device: str,
    out_root,
    splits: tuple = OPENED,
    log: Callable = print,
) -> dict:
    """One run, in any process: train, score, keep the result in a small file of this machine.

    key: the run's identity where the study was begun. splits: what is scored: ("val", "test") opens test once,
    ("val",) leaves it shut, for a study that chooses, ("test",) is for the last training, on val too.
    returns: arm, seed, history (a dict an epoch), train (scores on every k-th face it learnt from, see ASKED), probs
    (M, 7) of the splits' faces in the order of the loaded data, and of the run that trained seconds, precision, device,
    threads and opening, its line for the log of openings; None where test stayed shut. weights: arrays by name of the
    trained network (see `network`), for an arm that keeps them.
    """
    with _ALONE:
        everyone, torch_device = _same_faces(arm, seed, key, data, budget, splits), machine.pick_device(device)
        name = name_of(arm, seed)
        file = file_of(name, stage=stage, out_root=out_root)
        if result := finished(file, key, device, arm.weights):
            return result
        train, val = arm.taken(everyone, splits).to(torch_device), everyone.part("val").to(torch_device)
        cfg = replace(arm.config, seed=seed)
        training.seed_everything(seed)
        model = models.build(arm.network, **arm.arguments)
        log(f"{told} {name}: {len(train):,} faces, {cfg.epochs} epochs")
        saved = file.with_suffix(".pt")
        fit = training.fit(model, train, val, cfg, augment=arm.change, checkpoint=saved, log=_every(log, cfg.epochs))
        once = np.flatnonzero(np.asarray(arm.learnt) > 0)
        once = everyone.select(once[:: max(1, len(once) // ASKED)]).to(torch_device)
        known = scoring.scores(training.predict_proba(model, once), once.labels.cpu().numpy())
        model.preprocess = replace(model.preprocess, shift=arm.shift)
        probs, opening = _answers(model, everyone.part(*splits), stage=stage, name=name)
        result = {"arm": arm.name, "seed": seed, "key": key, "history": fit.history, "train": known}
        result |= {"config": asdict(cfg), "seconds": round(fit.seconds, 1), "precision": fit.precision}
        result |= {"device": torch_device.type, "threads": torch.get_num_threads(), "opening": opening}
        state = {name: part.cpu().numpy() for name, part in model.state_dict().items()} if arm.weights else {}
        result |= {"probs": probs, "weights": state}
        _write(file, result)
        saved.unlink(missing_ok=True)
        return result


def network(arm: Arm, result: dict) -> torch.nn.Module:
    """The network that a run of an arm that keeps weights ended with, in eval mode on the CPU."""
    model = models.build(arm.network, **arm.arguments)
    model.load_state_dict({name: torch.from_numpy(part) for name, part in result["weights"].items()})
    model.preprocess = replace(model.preprocess, shift=arm.shift)
    return model.eval()


def _answers(model, judged: Faces, **named) -> tuple[np.ndarray, dict | None]:
    """Probabilities of the judged faces, and the opening's line if there are test faces among them."""
    if "test" not in judged.split:
        return training.predict_proba(model, judged), None
    with tempfile.TemporaryDirectory() as own:  # the log lies where the study was begun, maybe on another machine
        probs = training.open_test(model, judged, out_root=own, **named)
        return probs, _openings(own)[0]


def _same_faces(arm: Arm, seed: int, key: str, data: str, budget: str, splits: tuple) -> Faces:
    """The faces as this machine has them; ValueError if it would train another run than the one that is meant."""
    try:
        everyone = loaded(data, budget)
    except FileNotFoundError:  # another machine may keep the same data elsewhere
        everyone = loaded("auto", budget)
    if len(everyone) != len(arm.learnt) or identity(arm, seed, everyone, splits) != key:
        raise ValueError(
            f"{platform.node()} would train something else than this study asks for: its code, its torch or its faces "
            f"({everyone.source.get('why')}) are others. Bring it to the same commit, packages and data."
        )
    return everyone


def fit_of(arm: Arm, result: dict) -> training.Fit:
    """What a run's training gave, as training.fit returns it."""
    history, seconds = result["history"], result["seconds"]
    seen = int(np.asarray(arm.learnt).sum()) * len(history)
    return training.Fit(history, training.kept_row(history, arm.config), seconds, seen / seconds, result["precision"])


def name_of(arm: Arm, seed: int) -> str:
    """What a run is called, in its file, in the log of openings and on the screen."""
    return f"{arm.name}_seed{seed}"


def file_of(name: str, *, stage: str, out_root, **_) -> Path:
    """Where this machine keeps a run\'s result."""
    return paths.stage(stage, out_root) / f"checkpoint_{name}.npz"  # names like this outlive a change of the notebook


def _openings(out_root) -> list[dict]:
    """The lines of a log of openings."""
    log = paths.ROOT / out_root / OPENINGS
    if not log.exists():
        return []
    with log.open(newline="") as stream:
        return list(csv.DictReader(stream))


def keep(name: str, result: dict, **where) -> dict:
    """The result, after making sure that its file and its opening of test are on this machine, each once."""
    file = file_of(name, **where)
    if not finished(file, result["key"], where["device"], bool(result["weights"])):  # a worker's folder was another
        _write(file, result)
    if result["opening"] and result["opening"] not in _openings(where["out_root"]):
        paths.add_line(paths.ROOT / where["out_root"] / OPENINGS, result["opening"])
    return result


def _write(file: Path, result: dict) -> None:
    """Keep a result, whole or not at all: two workers that both believe to have the run write the same."""
    told = json.dumps({name: value for name, value in result.items() if name not in ("probs", "weights")})
    weights = {WEIGHTS + name: part for name, part in result["weights"].items()}
    with paths.whole(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, probs=result["probs"], result=told, **weights)


def finished(file: Path, key: str, device: str, weights: bool = False) -> dict | None:
    """A stored result if it is of this very training, on the device that is asked for, else None.

    weights: whether it must hold the network.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            result, held = json.loads(str(stored["result"])), [name for name in stored if name.startswith(WEIGHTS)]
            if result["key"] != key or device not in ("auto", result["device"]) or (weights and not held):
                return None
            state = {name.removeprefix(WEIGHTS): stored[name] for name in held}
            return result | {"probs": stored["probs"], "weights": state}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):  # missing, damaged or another file
        return None


def _every(log: Callable, epochs: int) -> Callable:
    """Of a study's many epochs about five lines a run are enough."""
    lines = iter(range(1, epochs + 1))

    def some(line: str) -> None:
        if not line.startswith("epoch") or next(lines) % max(1, epochs // 5) == 0:
            log(f"  {line}")

    return some
