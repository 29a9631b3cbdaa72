"""Notebook 08's bookkeeping: budgets, out-of-fold answers, the audit of labels, finished models from runs."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from fer_helpers import models, paths
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.results import FinishedModel
from fer_helpers.studies import kept
from fer_helpers.studies import run as runs
from fer_helpers.studies.run import RunSpec, Where

FOLDS = 4
# Columns of FER+'s fer2013new.csv (Barsoum et al., 2016) that are one of the seven; the others are contempt, unknown
# and no face
FERPLUS = dict(zip(EMOTIONS, ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"), strict=True))


@dataclass(frozen=True)
class Plan:
    """Epochs and filters of every part of the record; `full`: of the members, the others are named like their parts."""

    seeds: int = 1
    screening_epochs: int = 25
    fold_epochs: int = 60
    fold_seeds: int = 2
    member_epochs: int = 120
    student_epochs: int = 60
    nano_epochs: int = 200
    half: tuple = (24, 48, 96, 192)
    full: tuple = (48, 96, 192, 384)
    airbench: tuple = (64, 192, 384)
    wide: tuple = (64, 128, 256, 512)
    nano: tuple = (12, 24, 48, 96)
    small: tuple = (32, 64, 128, 256)


FULL = Plan()
_TINY = dict.fromkeys(("half", "full", "wide", "nano"), (8, 8, 8, 8)) | {"airbench": (8, 8, 8), "small": (8, 8, 8, 16)}
SMOKE = Plan(1, 1, 1, 1, 2, 1, 1, **_TINY)


def folds(manifest: pd.DataFrame, train_mask: np.ndarray) -> np.ndarray:
    """(N,) int over the loaded faces: the fold of each training face, 0 to FOLDS - 1, and -1 for all others.

    Duplicates stay together, and every fold has its share of each emotion.
    """
    rows, fold = np.flatnonzero(train_mask), np.full(len(train_mask), -1)
    labels, groups = (manifest[name].to_numpy()[rows] for name in ("label", "group"))
    cut = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for k, (_, held) in enumerate(cut.split(rows, labels, groups)):
        fold[rows[held]] = k
    return fold


def _mean_of(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Mean of answers as the repository keeps them, in half precision: the same targets wherever they come from."""
    return np.mean([array.astype(np.float16).astype(np.float32) for array in arrays], axis=0)


def out_of_fold(results: list[dict], fold: np.ndarray, everyone: Faces) -> np.ndarray:
    """(N, 7) float16 over the loaded faces: what networks say that were trained on neither a face nor its duplicates.

    results: of the conditions fold0 to fold3, several seeds each. A training face is answered by its fold's networks, a
    val face by all of them; test faces stay 0.
    """
    soft = np.zeros((len(everyone), len(EMOTIONS)), np.float32)
    for k in range(FOLDS):
        soft[fold == k] = _mean_of(each["answers"] for each in results if each["condition"] == f"fold{k}")
    on_val = everyone.part("val", "test").split == "val"
    soft[everyone.split == "val"] = _mean_of(each["probs"][on_val] for each in results)
    return soft.astype(np.float16)


def teachers(members: list[dict], soft: np.ndarray, train_mask: np.ndarray) -> np.ndarray:
    """(N, 7) float16: for training faces the mean of the out-of-fold answers and of the members' mean; else 0."""
    answers = np.zeros(soft.shape, np.float32)
    answers[train_mask] = (_mean_of(each["answers"] for each in members) + soft[train_mask].astype(np.float32)) / 2
    return answers.astype(np.float16)


def label_doubts(soft: np.ndarray, train_mask: np.ndarray, everyone: Faces, manifest: pd.DataFrame) -> pd.DataFrame:
    """Every kept training face by how little the out-of-fold answer believes its label, the most doubtful first.

    returns: name, sha256, label, probability (of the label), likeliest, its_probability. No pixels.
    """
    probs, labels = soft[train_mask].astype(np.float64), everyone.labels.numpy()[train_mask]
    table = manifest.loc[train_mask, ["name", "sha256", "label"]].reset_index(drop=True)
    table["probability"] = probs[np.arange(len(labels)), labels].round(4)
    table["likeliest"] = np.array(EMOTIONS)[probs.argmax(axis=1)]
    table["its_probability"] = probs.max(axis=1).round(4)
    return table.sort_values(["probability", "name"], ignore_index=True)


def ferplus_agreement(doubts: pd.DataFrame, path: Path | None) -> str:
    """How well the audit agrees with FER+'s ten votes on each face, in a sentence; "" where the votes don't lie there.

    Votes are in the row order of fer2013.csv, so faces named row_00017 alone can be looked up. They are never trained
    on. path: of the data; fer2013new.csv is looked for beside it, or in it if it is a folder.
    """
    folders = [] if path is None else [path, path.parent]
    file = next((folder / "fer2013new.csv" for folder in folders if (folder / "fer2013new.csv").is_file()), None)
    rows = doubts.name.str.extract(r"row_(\d+)$")[0].dropna().astype(int)
    if file is None or rows.empty:
        return ""
    votes = pd.read_csv(file)[list(FERPLUS.values())].iloc[rows].to_numpy()
    majority = np.array(EMOTIONS)[votes.argmax(axis=1)]
    label, likeliest = doubts.label[rows.index].to_numpy(), doubts.likeliest[rows.index].to_numpy()
    differ = label != likeliest
    agrees = (likeliest == majority)[differ].mean() if differ.any() else np.nan
    kept = (label == majority)[differ].mean() if differ.any() else np.nan
    return (
        f"FER+ (ten votes a face): where the audit contradicts the label ({differ.sum():,} of {len(rows):,} faces), "
        f"most votes agree with the audit in {agrees:.0%}, with the label in {kept:.0%}."
    )


def closed(names: Iterable[str], controls: list[dict], where: Where) -> list[dict]:
    """Runs that the repository keeps of ingredients whose code is gone, for each seed of the control beside them.

    controls: results of what they are compared with. One that isn't the repository's own, since it has other faces or
    settings, has nothing beside it.
    """
    folder, results = paths.REFERENCE / where.stage / "runs", []
    for each in controls:
        own = kept.read(folder / f"{each['condition']}_seed{each['seed']}.npz")
        if own and own["key"] == each["key"]:
            results += [kept.read(folder / f"{name}_seed{each['seed']}.npz") for name in names]
    return [each for each in results if each]


def finished_model(name: str, spec: RunSpec, result: dict, source: dict) -> FinishedModel:
    """A run as `results.save` takes it; without a network where the repository keeps the run's answers alone.

    source: that of the cleaned faces, which says by which manifest they were cleaned.
    """
    condition, where = spec.condition, spec.where
    everyone = runs.loaded(where.data, where.budget)
    return FinishedModel(
        name,
        runs.network(spec, result) if result["weights"] else None,
        runs.fit_of(spec, result),
        replace(everyone.select(np.asarray(condition.train_counts) > 0), source=source),
        result["config"] | condition.arguments,
        {"budget": where.budget, "seed": result["seed"], "device": result["device"]},
        condition.views,
        models.weight_count(spec.build()),
    )


def ensemble_model(name: str, members: list[FinishedModel]) -> FinishedModel:
    """Finished members together as one model; without a network where one of theirs isn't kept."""
    first, model = members[0], None
    if all(member.network is not None for member in members):
        arguments = first.network.recipe["arguments"]
        model = models.build("ensemble", count=len(members), **arguments)
        for own, member in zip(model.members, members, strict=True):
            own.load_state_dict(member.network.state_dict())
    fits = [member.fit for member in members]
    fit = replace(fits[0], history=[row for each in fits for row in each.history], seconds=sum(e.seconds for e in fits))
    run, weights = first.run | {"seed": [member.run["seed"] for member in members]}, sum(m.weights for m in members)
    return replace(first, name=name, network=model, fit=fit, run=run, weights=weights)
