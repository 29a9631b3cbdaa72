"""What a finished model leaves behind: model file, history, predictions, metrics; and how later notebooks read it."""

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pandas as pd

from fer_helpers import devices, models, paths, training
from fer_helpers import metrics as scoring
from fer_helpers.augment import Augment
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.settings import TrainConfig


def write(
    out: Path, model, fit, train: Faces, judged: Faces, leaked, *, out_root, asked=None, **told
) -> tuple[dict, np.ndarray]:
    """Open test once, score every part, write everything but figures into `out`.

    train, judged: the faces learnt from, and val and test. leaked: (N,) bool for `judged`, True where raw training
    holds a copy. asked: the faces learnt from that the model is asked about at its end, where all of `train` would take
    too long. told: name, config and run, as `keep` takes them.
    returns: the metrics, and (N, 7) probabilities of `asked`, which no file keeps.
    """
    stage = out.relative_to(paths.ROOT / out_root).parts[0]
    probs = training.evaluate_on_test(model, judged, stage=stage, name=told["name"], out_root=out_root)
    asked = train if asked is None else asked
    known = training.predict_proba(model, asked)
    scores = scoring.scores(known, asked.labels.cpu().numpy())
    return keep(out, model, fit, train, judged, leaked, probs=probs, known=scores, stage=stage, **told), known


def keep(
    out: Path,
    model,
    fit,
    train: Faces,
    judged: Faces,
    leaked,
    *,
    probs: np.ndarray,
    known: dict,
    name: str,
    stage: str,
    config: dict,
    run: dict,
) -> dict:
    """Write everything but figures of a model whose answers are known into `out`: what `write` does after asking.

    probs: (N, 7) of `judged`. known: scores on faces learnt from. config: settings as stored. run: what the run card
    should say beside the machine. returns: the metrics.
    """
    device = next(model.parameters()).device
    speed = {"seconds": round(fit.seconds, 1), "images_per_second": round(fit.images_per_second)}
    metrics = {
        "stage": stage,
        "model": name,
        "pretrained": getattr(model, "pretrained", False),
        "weights": models.weight_count(model),
        "trained_weights": sum(part.numel() for part in model.parameters() if part.requires_grad),
        "data": {**train.card(), "counts": {**judged.card()["counts"], "train": len(train)}},
        "epochs_seen": len(fit.history),
        "kept_epoch": fit.kept["epoch"],
        "train": known,
        **scoring.parts(judged, probs, leaked),
        "config": config,
        "run": devices.run_card(device, precision=fit.precision, **speed, **run),
    }
    told = {key: metrics[key] for key in ("stage", "data", "val", "test", "test_without_duplicates", "run")}
    models.save(model, out / f"{name}.safetensors", metrics=told)
    history = pd.DataFrame(fit.history).round(5)
    paths.write_csv(out / "history.csv", history)
    labels = judged.labels.cpu().numpy()
    write_predictions(out / "predictions.npz", names=judged.names, labels=labels, split=judged.split, probs=probs)
    paths.write_json(out / "metrics.json", metrics)
    return metrics


def best_on_val(models: list[dict]) -> tuple[dict, dict] | None:
    """Of these metrics those of the model that is best on val, and its accuracy on test as a headline's first words.

    One that was trained on val wasn't chosen by it. None if there is no other.
    """
    chosen_by_val = [each for each in models if each.get("val") and each.get("test")]
    if not chosen_by_val:
        return None
    best = max(chosen_by_val, key=lambda each: each["val"]["accuracy"])
    test, (low, high) = best["test"], best["test"]["accuracy_ci95"]
    among = f", the best on val of {len(chosen_by_val)} networks" * (len(chosen_by_val) > 1)
    of = f"of the {test['n']:,} PrivateTest faces are recognised by the {best['model'].replace('_', ' ')}{among}"
    return best, {"value": f"{test['accuracy']:.1%}", "interval": f"95 % interval {low:.1%} to {high:.1%}", "of": of}


def write_predictions(path: Path, **arrays) -> None:
    """Write names, labels, split and probs (N, 7) float32 of val and test."""
    with paths.whole(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_predictions(path: Path) -> dict:
    """names (N,), labels (N,), split (N,) and probs (N, 7) of a finished model."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def answers(model_file: Path, model, people: Faces, *, stage: str, out_root) -> np.ndarray:
    """(N,) int, the emotion that a finished model says of each test face.

    From the predictions beside the model file if they are of these faces; else the network is asked, which opens test
    once more.
    """
    stored = model_file.parent / "predictions.npz"
    if stored.exists():
        known = read_predictions(stored)
        place = {name: k for k, name in enumerate(known["names"])}
        if set(people.names) <= place.keys():
            return known["probs"].argmax(axis=1)[[place[name] for name in people.names]]
    return training.evaluate_on_test(model, people, stage=stage, name=model_file.stem, out_root=out_root).argmax(axis=1)


def confidence_table(model_file: Path) -> list[dict]:
    """`scoring.confidence_threshold` for 50, 51 … 99 % of right answers, from the val answers kept beside a model file.

    Empty where none are kept, or where the network learnt from val.
    """
    path = model_file.parent / "predictions.npz"
    stored = read_predictions(path) if path.exists() else {"split": np.array([])}
    val = stored["split"] == "val"
    if not val.any():
        return []
    probs, labels = stored["probs"][val].astype(np.float64), stored["labels"][val]
    return [each for percent in range(50, 100) if (each := scoring.confidence_threshold(probs, labels, percent / 100))]


def confidence_threshold(model_file: str | Path, card: dict, accuracy: float) -> dict | None:
    """When a model is sure enough to be right in this share of its answers; None where that isn't known or never.

    From the val answers beside the model file, else from the table in its card, which given-away models carry.
    """
    if not 0.5 <= accuracy <= 0.99:
        raise ValueError(f"The share of right answers that is wanted lies between 0.5 and 0.99, not at {accuracy}.")
    table = confidence_table(Path(model_file)) or card["metrics"].get("confidence_thresholds", [])
    return next((each for each in table if each["accuracy"] >= accuracy - 1e-9), None)


def settings(cfg, augment=None, **more) -> dict:
    """Settings of a training, JSON-ready."""
    return {**asdict(cfg), "augment": asdict(augment) if augment else None, **more}


def recipe_of(config: dict) -> tuple[TrainConfig, Augment | None]:
    """The settings and the augmentation that `settings` stored; what is missing there, or unknown here, is left out."""
    told = {field.name: config[field.name] for field in fields(TrainConfig) if field.name in config}
    change = {
        field.name: config["augment"][field.name]
        for field in fields(Augment)
        if field.name in (config["augment"] or {})
    }
    return TrainConfig(**told), Augment(**change) if change else None


def all_metrics(out_root) -> tuple[list, list]:
    """(metrics of every trained model below out_root, sentences about those left out).

    A stage of 03 to 08 that trained nothing here is taken from outputs/reference/, if that was made from the same faces
    with the same manifest, or if nothing was read here yet; `reference` says so of each, `folder` where its files are.
    Left out is what was made from other data, or with another manifest, than notebook 02's present one.
    """
    here, fitting, told = paths.ROOT / out_root, [], []
    present = _cleaned(here) or _cleaned(paths.REFERENCE)
    for root in (here, paths.REFERENCE):
        there = {each["stage"] for each in fitting}
        for path in sorted(root.glob("0[3-8]_*/**/metrics.json")):
            each, where = paths.read_json(path), path.parent
            if "val" not in each or "test" not in each or each["stage"] in there:
                continue  # a study's summary, or what was trained here
            reason = _other(each["data"], present)
            if not reason:
                fitting.append({**each, "folder": where, "reference": root != here})
            elif root == here:
                told.append(f"{where.relative_to(here)} was {reason}: left out.")
    if not fitting:
        raise ValueError(" ".join(["No trained model fits the present data.", *told, "Run notebook 03, or: make 03"]))
    return fitting, told


def study(stage: str, data: dict, out_root) -> dict | None:
    """The metrics of a study, or of notebook 02, on this very data: run here, else the reference's; None if neither.

    data: as a metrics file has it.
    """
    for root in (paths.ROOT / out_root, paths.REFERENCE):
        path = root / stage / "metrics.json"
        found = paths.read_json(path) if path.exists() else None
        if found and all(found["data"].get(name) == data.get(name) for name in ("kind", "title")):
            return {**found, "reference": root == paths.REFERENCE}
    return None


def _cleaned(root: Path) -> dict | None:
    """The data that notebook 02 saw in this folder of results."""
    path = root / "02_cleaning" / "metrics.json"
    return paths.read_json(path)["data"] if path.exists() else None


def _other(data: dict, present: dict) -> str:
    """What keeps a model of this data from standing beside models of the present one; empty if nothing does."""
    if data["key"] != present["key"]:
        return f"made from other data ({data['source']})"
    if (data["cleaned"] or {}).get("manifest") != (present["cleaned"] or {}).get("manifest"):
        return "trained with another manifest than notebook 02's"
    return ""


def caption(data: dict) -> str:
    """The data set of a metrics file, for figures that are drawn from files alone."""
    return "DEMONSTRATION on synthetic faces" if data["kind"] == "synthetic" else data.get("title") or data["source"]


def leaderboard_row(each: dict) -> dict:
    """One line of the leaderboard from a model's metrics."""
    row = {"model": each["model"], "data": each["data"]["source"], "demonstration": each["data"]["kind"] == "synthetic"}
    row["reference"] = each["reference"]
    row |= {"pretrained": each["pretrained"], "weights": each["weights"], "epochs": each["epochs_seen"]}
    for part in ("train", "val", "test", "test_7178", "test_without_duplicates"):
        row[f"{part}_accuracy"] = each[part]["accuracy"] if each[part] else None
    low, high = each["test"]["accuracy_ci95"]
    row |= {"test_low": low, "test_high": high}
    row |= {f"test_{score}": each["test"][score] for score in ("loss", "macro_f1", "balanced_accuracy", "ece")}
    row["test_recall_disgust"] = each["test"]["per_class"]["disgust"]["recall"]
    return row | {"seconds": each["run"]["seconds"], "device": each["run"]["device"], "budget": each["run"]["budget"]}


def label_doubts(found: dict, most: int = 100) -> pd.DataFrame:
    """The val and test faces whose label the models believe least, by the mean of their probabilities.

    found: name -> stored predictions, of the same faces. No model saw these faces in training. returns: name, split,
    label, its probability, the likeliest emotion and that one's probability; at most `most` rows, the doubtful first.
    """
    first = next(iter(found.values()))
    probs = np.mean([stored["probs"] for stored in found.values()], axis=0)  # (N, 7)
    rows = np.arange(len(probs))
    table = pd.DataFrame({"name": first["names"], "split": first["split"]})
    table["label"] = np.array(EMOTIONS)[first["labels"]]
    table["probability"] = probs[rows, first["labels"]].round(5)
    table["likeliest"] = np.array(EMOTIONS)[probs.argmax(axis=1)]
    table["its_probability"] = probs.max(axis=1).round(5)
    return table.sort_values(["probability", "name"], ignore_index=True).head(most)
