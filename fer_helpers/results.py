"""What a finished model leaves behind: model file, history, predictions, metrics; and how each is read again."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from fer_helpers import devices, models, paths, training
from fer_helpers import metrics as scoring
from fer_helpers.augment import Augment
from fer_helpers.emotions import ONLY
from fer_helpers.faces import EMOTIONS, Faces, pixel_sha256
from fer_helpers.settings import TrainConfig

ENOUGH = 3  # passes over all cleaned training faces: fewer are a trial


@dataclass(frozen=True)
class FinishedModel:
    """A model whose training and choices are over, and what its metrics say of how it came about.

    network: None for a run whose weights aren't kept; then `weights` is their number, and answers must be given.
    trained_on: the faces of an epoch. config: its settings, JSON-ready. run: what the run card adds or knows better,
    since another machine may have trained. views: of test-time augmentation, see models.probabilities. pretrained: on
    what other data it rests, where its network doesn't say so itself.
    """

    name: str
    network: nn.Module | None
    fit: training.Fit
    trained_on: Faces
    config: dict
    run: dict
    views: int = 2
    weights: int = 0
    pretrained: str = ""


def save(out: Path, finished: FinishedModel, judged: Faces, leaked, *, probs=None, train_scores=None) -> dict:
    """Evaluate a finished model on the test set, and write everything but figures into `out`; returns the metrics.

    judged: val and test faces. leaked: (N,) bool for these, True where raw Training holds a duplicate. probs: (N, 7)
    of these, where known: then there is no test evaluation here. train_scores: its scores on faces that it was trained
    on, where known; {} where they aren't and would take too long.
    """
    model, train, views = finished.network, finished.trained_on, finished.views
    stage = next(folder.name for folder in (out, *out.parents) if re.match(r"\d\d_", folder.name))
    if probs is None:
        where = {"stage": stage, "name": finished.name, "out_root": out.parents[out.parts[::-1].index(stage)]}
        probs = training.evaluate_on_test(model, judged, views=views, **where)
    if train_scores is None:
        known = training.predict_proba(model, train, views=views)
        train_scores = scoring.scores(known, train.labels.cpu().numpy())
    metrics = {"stage": stage, "model": finished.name}
    metrics["pretrained"] = finished.pretrained or getattr(model, "pretrained", False)
    weights = finished.weights if model is None else models.weight_count(model)
    moving = weights if model is None else sum(each.numel() for each in model.parameters() if each.requires_grad)
    metrics |= {"weights": weights, "trained_weights": moving, "views": views}
    metrics["data"] = {**train.card(), "counts": {**judged.card()["counts"], "train": len(train)}}
    metrics |= {"epochs_seen": len(finished.fit.history), "kept_epoch": finished.fit.kept["epoch"]}
    metrics |= {"train": train_scores or None, **scoring.parts(judged, probs, leaked)}
    device, fit = torch.device("cpu") if model is None else next(model.parameters()).device, finished.fit
    speed = {"seconds": round(fit.seconds, 1), "images_per_second": round(fit.images_per_second)}
    run = devices.run_card(device, precision=fit.precision, **speed) | finished.run
    metrics |= {"config": finished.config, "run": run}
    if model is not None:
        card = {key: metrics[key] for key in ("stage", "data", "val", "test", "test_without_duplicates", "run")}
        models.save(model, out / f"{finished.name}.safetensors", views=views, metrics=card)
    paths.write_csv(out / "history.csv", pd.DataFrame(finished.fit.history).round(5))
    pixels = pixel_sha256(judged.images.cpu()).astype("<U16")  # the faces in any data set, by whatever names
    faces = {"names": judged.names, "labels": judged.labels.cpu().numpy(), "split": judged.split, "pixels": pixels}
    write_predictions(out / "predictions.npz", **faces, probs=probs)
    paths.write_json(out / "metrics.json", metrics)
    return metrics


def passes(metrics: dict) -> float:
    """How often a training saw all cleaned training faces: stored features hold several views, a part counts as one."""
    config = metrics["config"]
    return metrics["epochs_seen"] * max(1, config.get("passes_stored", 0)) * config.get("share_of_faces", 1)


def seen_enough(metrics: dict) -> bool:
    """False for a trial of fewer passes, which stands in no leaderboard; `smoke` shows only how it looks."""
    return passes(metrics) >= ENOUGH or metrics["run"]["budget"] == "smoke"


def best_on_val(models: list[dict]) -> tuple[dict, dict] | None:
    """The metrics of the model that is best on val, and its test accuracy as a headline; None if all trained on val."""
    chosen_by_val = [each for each in models if each.get("val") and each.get("test")]
    if not chosen_by_val:
        return None
    best = max(chosen_by_val, key=lambda each: each["val"]["accuracy"])
    test, (low, high) = best["test"], best["test"]["accuracy_ci95"]
    among = f", the best on val of {len(chosen_by_val)} networks" * (len(chosen_by_val) > 1)
    of = f"of the {test['n']:,} PrivateTest faces are recognised by the {best['model'].replace('_', ' ')}{among}"
    return best, {"value": f"{test['accuracy']:.1%}", "interval": f"95 % interval {low:.1%} to {high:.1%}", "of": of}


def write_predictions(path: Path, **arrays) -> None:
    """Write names, labels, split, pixels (start of each face's SHA-256) and probs (N, 7) float32 of val and test."""
    with paths.whole(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_predictions(path: Path) -> dict:
    """What `write_predictions` wrote of a finished model."""
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def answers(model_file: Path, model, people: Faces, *, stage: str, out_root) -> np.ndarray:
    """(N,) int, a finished model's emotion of each test face: as stored beside its file, else by a test evaluation."""
    path = model_file.parent / "predictions.npz"
    stored = read_predictions(path) if path.exists() else {"names": [], "probs": np.zeros((0, 7))}
    place = pd.Index(stored["names"]).get_indexer(people.names)
    pixels = pixel_sha256(people.images.cpu()).astype("<U16")  # names alone may mean other faces: row_00017 of a CSV
    if (place >= 0).all() and "pixels" in stored and (stored["pixels"][place] == pixels).all():
        return stored["probs"].argmax(axis=1)[place]
    return training.evaluate_on_test(model, people, stage=stage, name=model_file.stem, out_root=out_root).argmax(axis=1)


def label_doubts(faces: pd.DataFrame, labels: np.ndarray, probs: np.ndarray, digits: int = 4) -> pd.DataFrame:
    """`faces` (with a name each) and label, its probability, the likeliest emotion, that one's; most doubtful first."""
    names = np.array(EMOTIONS)
    table = faces.assign(label=names[labels], probability=probs[np.arange(len(labels)), labels].round(digits))
    table = table.assign(likeliest=names[probs.argmax(axis=1)], its_probability=probs.max(axis=1).round(digits))
    return table.sort_values(["probability", "name"], ignore_index=True)


def confidence_table(model_file: Path) -> list[dict]:
    """`metrics.confidence_threshold` for 50 to 99 % of right answers, from the val answers (if any) beside its file."""
    path = model_file.parent / "predictions.npz"
    stored = read_predictions(path) if path.exists() else {"split": np.array([])}
    val = stored["split"] == "val"
    if not val.any():
        return []
    probs, labels = stored["probs"][val].astype(np.float64), stored["labels"][val]
    return [each for percent in range(50, 100) if (each := scoring.confidence_threshold(probs, labels, percent / 100))]


def train_config(config: dict) -> TrainConfig:
    """The settings of a training as a metrics file has them; what the file doesn't know is at its default."""
    known = {field.name: config[field.name] for field in fields(TrainConfig) if field.name in config}
    return TrainConfig(**known | {"augment": Augment(**config["augment"]) if config.get("augment") else None})


def caption(data: dict) -> str:
    """The data set of a metrics file, for figures that are drawn from files alone."""
    known = data.get("title") or data["source"]
    return f"DEMONSTRATION on synthetic faces{ONLY}" if data["kind"] == "synthetic" else known
