"""All that was trained, side by side: which results belong together, the leaderboard, and doubtful labels."""

from pathlib import Path

import numpy as np
import pandas as pd

from fer_helpers import paths
from fer_helpers.faces import EMOTIONS


def all_metrics(out_root) -> tuple[list, list]:
    """(metrics of every trained model below out_root, sentences about those left out).

    A stage of 03 to 08 that trained nothing here is taken from outputs/reference/, if that was made from the same faces
    with the same manifest, or if nothing was read here yet; `reference` says so of each, `folder` where its files are.
    Left out is what was made from other data, or with another manifest, than notebook 02's present one.
    """
    here, fitting, left_out = paths.ROOT / out_root, [], []
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
                left_out.append(f"{where.relative_to(here)} was {reason}: left out.")
    if not fitting:
        raise ValueError(
            " ".join(["No trained model fits the present data.", *left_out, "Run notebook 03, or: make 03"])
        )
    return fitting, left_out


def study(stage: str, data: dict, out_root) -> dict | None:
    """The metrics of a study, or of notebook 02, on this very data: run here, else the reference's; None if neither.

    data: as a metrics file has it.
    """
    for root in (paths.ROOT / out_root, paths.REFERENCE):
        path = root / stage / "metrics.json"
        metrics = paths.read_json(path) if path.exists() else None
        if metrics and all(metrics["data"].get(name) == data.get(name) for name in ("kind", "title")):
            return {**metrics, "reference": root == paths.REFERENCE}
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


def label_doubts(predictions: dict, most: int = 100) -> pd.DataFrame:
    """The val and test faces whose label the models believe least, by the mean of their probabilities.

    predictions: name -> stored predictions, of the same faces, which no model was trained on. returns: name, split,
    label, its probability, the likeliest emotion and that one's probability; at most `most` rows, the doubtful first.
    """
    first = next(iter(predictions.values()))
    probs = np.mean([stored["probs"] for stored in predictions.values()], axis=0)  # (N, 7)
    rows = np.arange(len(probs))
    table = pd.DataFrame({"name": first["names"], "split": first["split"]})
    table["label"] = np.array(EMOTIONS)[first["labels"]]
    table["probability"] = probs[rows, first["labels"]].round(5)
    table["likeliest"] = np.array(EMOTIONS)[probs.argmax(axis=1)]
    table["its_probability"] = probs.max(axis=1).round(5)
    return table.sort_values(["probability", "name"], ignore_index=True).head(most)
