"""Two folders of results side by side: what differs in parameters, data, code and machine, and the scores.

Only files are read: no network is asked, and nothing is evaluated on the test set.
"""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from fer_helpers import paths, results, statistics
from fer_helpers.publishing import rendering
from fer_helpers.publishing.folders import content

MACHINE = ("commit", "device", "threads", "precision", "versions")  # of a run card: time and place say nothing
UNKNOWN = "not known: a folder has no receipt.json, as a run from the command line leaves"


def folders(a: str, b: str, written: Path) -> None:
    """Print how the results in folder b differ from those in a (relative ones count from the workbook), write JSON.

    Raises FileNotFoundError for a folder that isn't there, ValueError where nothing can be compared.
    """
    a, b = (paths.ROOT / each for each in (a, b))
    for folder in (a, b):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} isn't a folder of results: name one that OUT= made, or outputs")
    in_a, in_b = ({path.parent.name for path in folder.glob("[0-9][0-9]_*/metrics.json")} for folder in (a, b))
    if not in_a & in_b:
        has = [", ".join(sorted(stages)) or "nothing" for stages in (in_a, in_b)]
        raise ValueError(f"No notebook was run in both: {a} has {has[0]}, {b} has {has[1]}. Run the same one in both.")
    comparison = {"a": str(a), "b": str(b), "differs": _differences(a, b, sorted(in_a & in_b)), "scores": _scores(a, b)}
    comparison |= {"only_in_a": sorted(in_a - in_b), "only_in_b": sorted(in_b - in_a)}
    paths.write_json(written, comparison)
    print(rendering.render("compare.txt.j2", **comparison) + f"written: {written}")


def _differences(a: Path, b: Path, stages: list[str]) -> dict[str, dict[str, list[str]]]:
    """parameters, data, code, machine: sentence -> notebooks that it is true of."""
    differs = {kind: defaultdict(list) for kind in ("parameters", "data", "code", "machine")}
    for stage in stages:
        cards = [paths.read_json(folder / stage / "metrics.json") for folder in (a, b)]
        runs = [{name: (card.get("run") or {}).get(name) for name in MACHINE} for card in cards]
        receipts = [content(each / stage / paths.RECEIPT) for each in (a, b)]
        sentences = _facts_changed(*(each.get("facts") or {} for each in receipts))
        sentences += [("data", each) for each in _changed(*(card.get("data") or {} for card in cards))]
        for kind, sentence in sentences + [("machine", each) for each in _changed(*runs)]:
            differs[kind][sentence].append(stage[:2])
    return differs


def _facts_changed(before: dict, after: dict) -> list[tuple[str, str]]:
    """(kind, sentence) of each fact that differs between two receipts, but for what merely follows from the others."""
    if not before or not after:
        return [("parameters", UNKNOWN), ("code", UNKNOWN)]
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old, new = (each.get(name, "not there") for each in (before, after))
        if old == new:
            continue
        if name.startswith("parameter "):
            changes.append(("parameters", f"{name.removeprefix('parameter ')}: {old} -> {new}"))
        elif name == "the notebook" or name.startswith("helper "):
            changes.append(("code", f"{name}: differs"))
        elif name == "the data" or name.endswith(paths.EDITABLE):
            changes.append(("data", f"{name}: differs"))
    return changes


def _changed(before: dict, after: dict, prefix: str = "") -> list[str]:
    """What differs between two cards, entry by entry."""
    sentences = []
    for name in before | after:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            sentences += _changed(old, new, f"{prefix}{name} ")
        elif old != new:
            sentences.append(f"{prefix}{name}: {old} -> {new}")
    return sentences


def _scores(a: Path, b: Path) -> dict[str, dict]:
    """Every model that is in both, by its folder: its settings, and of each part the accuracies and their difference.

    Paired on the same faces; where that can't be, `why_not` says so and the accuracies stand alone.
    """
    models = {}
    for path in sorted(a.glob("[0-9][0-9]_*/**/metrics.json")):
        name = path.parent.relative_to(a).as_posix()
        files = [folder / name / "metrics.json" for folder in (a, b)]
        cards = [paths.read_json(each) for each in files if each.exists()]
        if len(cards) < 2 or not all("epochs_seen" in each and each.get("test") for each in cards):  # not of a model
            continue
        settings = [{"model": each["model"]} | (each.get("config") or {}) for each in cards]
        shared = [part for part in ("val", "test") if all(each.get(part) for each in cards)]
        parts = {part: dict(zip("ab", (each[part]["accuracy"] for each in cards), strict=True)) for part in shared}
        models[name] = {"settings": _changed(*settings), "parts": parts} | _paired(a / name, b / name, cards, parts)
    return models


def _paired(a: Path, b: Path, cards: list[dict], parts: dict) -> dict:
    """Put the paired test of each part into `parts`, or return why there is none."""
    files = [folder / "predictions.npz" for folder in (a, b)]
    if missing := [str(path) for path in files if not path.exists()]:
        return {"why_not": f"{' and '.join(missing)} is missing"}
    if cards[0]["data"].get("key") != cards[1]["data"].get("key"):
        return {"why_not": "the data differ, so a name may mean another face"}
    stored = [results.read_predictions(path) for path in files]
    for part, entry in parts.items():
        one, other = (_answers(each, part) for each in stored)
        if not one.label.equals(other.label):
            both = len(one.index.intersection(other.index))
            counts = f"A has {len(one):,}, B {len(other):,}, {both:,} names are in both"
            return {"why_not": f"{part} doesn't hold the same faces with the same labels ({counts})"}
        entry |= statistics.paired_difference(other.right.to_numpy(), one.right.to_numpy()).card() | {"n": len(one)}
    return {}


def _answers(stored: dict, part: str) -> pd.DataFrame:
    """label and right (is the answer?) of one part, in the order of the faces' names, which are the index."""
    table = pd.DataFrame({"label": stored["labels"], "right": stored["probs"].argmax(axis=1) == stored["labels"]})
    return table.set_index(stored["names"])[stored["split"] == part].sort_index()
