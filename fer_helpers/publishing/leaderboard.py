"""All that was trained, side by side: which results belong together, the leaderboard, and doubtful labels."""

import numpy as np
import pandas as pd

from fer_helpers import paths, results
from fer_helpers.emotions import RAREST
from fer_helpers.publishing.folders import content


def all_metrics(out_root) -> tuple[list, list]:
    """(metrics of every trained model below out_root, sentences about those left out).

    A stage of 03 to 08 that trained nothing here is taken from outputs/reference/, if that was made from the same faces
    with the same manifest, or if nothing was read here yet; `reference` says so of each, `folder` where its files are.
    Left out is what was made from other data, or with another manifest, than notebook 02's (without one: the first
    model's), and every training that saw the faces fewer than three times.
    """
    here, fitting, left_out = paths.ROOT / out_root, [], []
    cleaning = content(here / "02_cleaning" / "metrics.json")
    for root in (here, paths.REFERENCE):
        trained_here = {each["stage"] for each in fitting}
        for path in sorted(root.glob("0[3-8]_*/**/metrics.json")):
            each, folder = paths.read_json(path), path.parent
            if "val" not in each or "test" not in each or each["stage"] in trained_here:
                continue  # a study's summary is no model
            present = cleaning or (fitting or [each])[0]  # opened alone, a notebook makes 02's manifest, no metrics
            reason = _other(each["data"], present["data"])
            if not reason and not results.seen_enough(each):
                reason = "trained on fewer than three passes over the faces"
            if not reason:
                fitting.append({**each, "folder": folder, "reference": root != here})
            elif root == here:
                left_out.append(f"{folder.relative_to(here)} was {reason}: left out.")
    if not fitting:
        sentences = ["No trained model fits the present data.", *left_out, "Run notebook 03, or: make 03"]
        raise ValueError(" ".join(sentences))
    return fitting, left_out


def study(stage: str, data: dict, out_root) -> dict | None:
    """The metrics of a study, or of notebook 02, on this very data: run here, else the reference's; None if neither.

    data: as a metrics file has it.
    """
    for root in (paths.ROOT / out_root, paths.REFERENCE):
        metrics = content(root / stage / "metrics.json")
        if metrics and all(metrics["data"].get(name) == data.get(name) for name in ("kind", "title")):
            return {**metrics, "reference": root == paths.REFERENCE}
    return None


def _other(data: dict, present: dict) -> str:
    """What keeps a model of this data from standing beside models of the present one; empty if nothing does."""
    same_names = data["key"] == present["key"]
    same_faces = all(data.get(name) and data[name] == present.get(name) for name in ("pixels", "official_split"))
    if not (same_names or same_faces):
        return f"made from other data ({data['source']})"
    # A manifest's digest holds names: those of a CSV and of a folder are compared by how many faces they remove
    kind = "manifest" if same_names else "removed_from_training"
    if (data["cleaned"] or {}).get(kind) != (present["cleaned"] or {}).get(kind):
        return "trained with another manifest than the others"
    return ""


def predictions(models: list[dict]) -> dict[str, dict]:
    """name -> stored predictions of each model, in an order of the faces that all share.

    models: of `all_metrics`, with a `name` each. A CSV has other names and another order than a folder: where both
    are among them, faces are sorted by split, pixels and label. Raises ValueError if they aren't the same test faces.
    """
    stored = {each["name"]: results.read_predictions(each["folder"] / "predictions.npz") for each in models}
    if len({each["data"]["key"] for each in models}) == 1:
        return stored
    tests = set()
    for name, one in stored.items():
        order = np.lexsort((one["labels"], one["pixels"], one["split"]))
        stored[name] = one = {key: values[order] for key, values in one.items()}
        test = one["split"] == "test"
        tests.add((*one["pixels"][test], *one["labels"][test]))
    if len(tests) > 1:
        raise ValueError(f"{', '.join(stored)} can't be compared: their test faces differ.")
    return stored


def other_data(each: dict) -> str:
    """What data a model rests on beside those it was trained on, by its metrics; "" for none."""
    return {True: "ImageNet", False: ""}.get(each["pretrained"], each["pretrained"])


def leaderboard_row(each: dict) -> dict:
    """One line of the leaderboard from a model's metrics."""
    row = {"model": each["model"], "data": each["data"]["source"], "demonstration": each["data"]["kind"] == "synthetic"}
    row |= {"reference": each["reference"], "pretrained": other_data(each), "weights": each["weights"]}
    row["epochs"] = each["epochs_seen"]
    for part in ("train", "val", "test", "test_7178", "test_without_duplicates"):
        row[f"{part}_accuracy"] = each[part]["accuracy"] if each[part] else None
    low, high = each["test"]["accuracy_ci95"]
    row |= {"test_low": low, "test_high": high}
    row |= {f"test_{score}": each["test"][score] for score in ("loss", "macro_f1", "balanced_accuracy", "ece")}
    row[f"test_recall_{RAREST}"] = each["test"]["per_class"][RAREST]["recall"]
    return row | {"seconds": each["run"]["seconds"], "device": each["run"]["device"], "budget": each["run"]["budget"]}


def label_doubts(predictions: dict) -> pd.DataFrame:
    """The 100 val and test faces whose label the models believe least, by the mean of their probabilities.

    predictions: name -> stored predictions, of the same faces, which no model was trained on.
    """
    first = next(iter(predictions.values()))
    probs = np.mean([stored["probs"] for stored in predictions.values()], axis=0)  # (N, 7)
    faces = pd.DataFrame({"name": first["names"], "split": first["split"]})
    return results.label_doubts(faces, first["labels"], probs, digits=5).head(100)
