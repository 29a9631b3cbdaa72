"""Notebook 08's bookkeeping: budgets, out-of-fold answers, the audit of labels, finished models from runs."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold

from fer_helpers import models, paths, results
from fer_helpers.data import ferplus
from fer_helpers.emotions import SEVEN
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.results import FinishedModel
from fer_helpers.studies import run as runs
from fer_helpers.studies import stored
from fer_helpers.studies.run import RunSpec, Where
from fer_helpers.training import Fit, kept_row

FOLDS = 4
OTHER_FACES = "ImageNet and VGGFace2"  # what a pretrained model rests on beside FER-2013, and a student:
TAUGHT = f"{OTHER_FACES}, through its teachers"
POWERS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)  # of the class weights, to be undone; below 0, to be added


@dataclass(frozen=True)
class Plan:
    """Epochs and filters of every part of the record; `full`: of the members, the others are named like their parts.

    pretrained: arguments of the MobileNet that began with face recognition.
    """

    seeds: int = 1
    screening_epochs: int = 25
    fold_epochs: int = 60
    fold_seeds: int = 2
    member_epochs: int = 120
    student_epochs: int = 60
    nano_epochs: int = 120
    pretrained_fold_epochs: int = 20
    pretrained_epochs: int = 25
    half: tuple = (24, 48, 96, 192)
    full: tuple = (48, 96, 192, 384)
    airbench: tuple = (64, 192, 384)
    wide: tuple = (64, 128, 256, 512)
    nano: tuple = (12, 24, 48, 96)
    small: tuple = (32, 64, 128, 256)
    pretrained: dict = field(default_factory=lambda: {"size": 160, "pretrained": True})


FULL = Plan()
_TINY = dict.fromkeys(("half", "full", "wide", "nano"), (8, 8, 8, 8)) | {"airbench": (8, 8, 8), "small": (8, 8, 8, 16)}
SMOKE = Plan(1, 1, 1, 1, 2, 1, 1, 1, 1, **_TINY, pretrained={"size": 64, "width": 0.125})


def folds(manifest: pd.DataFrame, train_mask: np.ndarray) -> np.ndarray:
    """(N,) int over the loaded faces: the fold of each training face, 0 to FOLDS - 1, and -1 for all others.

    Duplicates stay together, and every fold has its share of each emotion.
    """
    rows, fold = np.flatnonzero(train_mask), np.full(len(train_mask), -1)
    cut, train = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0), manifest.iloc[rows]
    for k, (_, held) in enumerate(cut.split(rows, train.label.to_numpy(), train.group.to_numpy())):
        fold[rows[held]] = k
    return fold


def _mean_of(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Mean of answers as the repository keeps them, in half precision: the same targets wherever they come from."""
    return np.mean([array.astype(np.float16).astype(np.float32) for array in arrays], axis=0)


def out_of_fold(results: list[dict], fold: np.ndarray, everyone: Faces) -> np.ndarray:
    """(N, 7) float16 over the loaded faces: what networks say that were trained on neither a face nor its duplicates.

    results: of conditions of one kind, whose names end in fold0 to fold3. A training face is answered by its
    fold's, a val face by all; test is 0.
    """
    soft = np.zeros((len(everyone), len(EMOTIONS)), np.float32)
    for k in range(FOLDS):
        soft[fold == k] = _mean_of(each["answers"] for each in results if each["condition"].endswith(f"fold{k}"))
    on_val = everyone.part("val", "test").split == "val"
    soft[everyone.split == "val"] = _mean_of(each["probs"][on_val] for each in results)
    return soft.astype(np.float16)


def teachers(members: list[dict], soft: np.ndarray, train_mask: np.ndarray) -> np.ndarray:
    """(N, 7) float16: for training faces the mean of the out-of-fold answers and of the members' mean; else 0."""
    answers = np.zeros(soft.shape, np.float32)
    answers[train_mask] = (_mean_of(each["answers"] for each in members) + soft[train_mask].astype(np.float32)) / 2
    return answers.astype(np.float16)


def label_doubts(soft: np.ndarray, train_mask: np.ndarray, everyone: Faces, manifest: pd.DataFrame) -> pd.DataFrame:
    """name, sha256, label, probability (of the label out of fold), likeliest, its_probability: no pixels.

    A row for every kept training face, the most doubtful first.
    """
    faces = manifest.loc[train_mask, ["name", "sha256"]].reset_index(drop=True)  # its index may be called name, too
    return results.label_doubts(faces, everyone.labels.numpy()[train_mask], soft[train_mask].astype(np.float64))


def ferplus_agreement(doubts: pd.DataFrame, path: Path | None) -> str:
    """How well the audit agrees with FER+'s ten votes a face, in a sentence; "" where the votes don't lie there.

    Votes are in the order of fer2013.csv, so faces named row_00017 alone are looked up; they are never trained on.
    path: of the data.
    """
    file = ferplus.beside(path)
    if file is None or not doubts.name.str.startswith("row_").all():
        return ""
    try:
        votes = ferplus.votes_on(doubts.name, np.full(len(doubts), "train"), file)[[*SEVEN]]
    except ValueError as error:
        return str(error)
    table = doubts.assign(majority=np.array(SEVEN)[votes.to_numpy().argmax(axis=1)])
    differ = table[table.label != table.likeliest]
    agrees, kept = ((differ[name] == differ.majority).mean() for name in ("likeliest", "label"))
    where = f"where the audit contradicts the label ({len(differ):,} of {len(table):,} faces)"
    most = f"most votes agree with the audit in {agrees:.0%}, with the label in {kept:.0%}"
    return f"FER+ (ten votes a face): {where}, {most}."


def closed(names: Iterable[str], controls: list[dict], where: Where) -> list[dict]:
    """Runs that the repository keeps of ingredients whose code is gone: of the seeds whose control is its own.

    controls: results of what they are compared with, seed by seed. A control of another seed, of other faces or of
    other settings isn't the repository's own, and beside it lies nothing to compare with.
    """
    folder = paths.REFERENCE / where.stage / "runs"
    kept = lambda name, seed: stored.read(folder / f"{name}_seed{seed}.npz")  # noqa: E731
    own = [(kept(each["condition"], each["seed"]), each) for each in controls]
    seeds = [each["seed"] for same, each in own if same and same["key"] == each["key"]]
    return [run for name in names for seed in seeds if (run := kept(name, seed))]


def undone(result: dict, weights: np.ndarray, power: float) -> dict:
    """A run as if its class weights (7,) had counted `power` less: its answers, and its network's last bias.

    Of several views the mean is corrected here, and each view where the network answers: about 0.01 apart at most.
    Post-hoc logit adjustment: Menon et al., "Long-tail learning via logit adjustment" (2021).
    """
    weights = np.where(weights > 0, weights, 1)  # 0: an emotion without a training face
    adjusted = {name: result[name] / weights**power for name in ("probs", "answers")}
    adjusted = {name: probs / probs.sum(axis=-1, keepdims=True) for name, probs in adjusted.items()}
    state = {name: part.astype(np.float32) for name, part in result["weights"].items()}
    if "head.1.bias" in state:
        state["head.1.bias"] -= np.float32(power) * np.log(weights)
    return result | adjusted | {"weights": state}


def finished_model(name: str, spec: RunSpec, result: dict, source: dict) -> FinishedModel:
    """A run as `results.save` takes it; without a network where the repository keeps the run's answers alone.

    source: that of the cleaned faces, which says by which manifest they were cleaned.
    """
    condition, budget = spec.condition, spec.where.budget
    model = models.build(condition.network, **condition.arguments).eval()  # its weights are the run's, or nobody's
    if state := {name: torch.from_numpy(part) for name, part in result["weights"].items()}:
        model.load_state_dict(state)
        model.views = condition.views
    trained_on = replace(runs.loaded(spec.where.data, budget).select(condition.train_counts > 0), source=source)
    history, seconds, config = result["history"], result["seconds"], result["config"] | condition.arguments
    speed = int(condition.train_counts.sum()) * len(history) / seconds
    fit = Fit(history, kept_row(history, spec.config), seconds, speed, result["precision"])
    run = {"budget": budget} | {name: result[name] for name in ("seed", "device", "threads")}
    network, weights = model if state else None, models.weight_count(model)
    others = OTHER_FACES if condition.start else ""
    return FinishedModel(name, network, fit, trained_on, config, run, condition.views, weights, others)


def ensemble_model(name: str, members: list[FinishedModel]) -> FinishedModel:
    """Finished members together as one model; with a network if theirs are all kept and small CNNs of a kind."""
    first, model = members[0], None
    kinds = [member.network and member.network.recipe for member in members]
    if kinds[0] and kinds[0]["architecture"] == "small_cnn" and all(kind == kinds[0] for kind in kinds):
        model = models.build("ensemble", count=len(members), **first.network.recipe["arguments"])
        for own, member in zip(model.members, members, strict=True):
            own.load_state_dict(member.network.state_dict())
    history = [row for member in members for row in member.fit.history]
    fit = replace(first.fit, history=history, seconds=sum(member.fit.seconds for member in members))
    run, weights = first.run | {"seed": [member.run["seed"] for member in members]}, sum(m.weights for m in members)
    run["device"] = " and ".join(sorted({member.run["device"] for member in members}))
    others = next((member.pretrained for member in members if member.pretrained), "")
    return replace(first, name=name, network=model, fit=fit, run=run, weights=weights, pretrained=others)
