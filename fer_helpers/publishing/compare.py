"""Two folders of results side by side: what differs in parameters, data, code and machine, and the scores.

Only files are read: no network is asked, and nothing is evaluated on the test set.
"""

from collections import defaultdict
from pathlib import Path

from fer_helpers import paths, results, statistics
from fer_helpers.publishing import rendering

KINDS = ("parameters", "data", "code", "machine")
MACHINE = ("commit", "device", "threads", "precision", "versions")  # of a run card: time and place say nothing
UNKNOWN = "not known: a folder has no receipt.json, as a run from the command line leaves"


def folders(a: str, b: str, written: Path) -> None:
    """Print how the results in folder b differ from those in a (relative ones count from the workbook), write JSON.

    Raises FileNotFoundError for a folder that isn't there, ValueError where nothing can be compared.
    """
    if not b:
        raise ValueError("Compare with which folder of results? make compare A=outputs B=outputs/weighted")
    a, b = (paths.ROOT / Path(each).expanduser() for each in (a, b))
    for folder in (a, b):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} isn't a folder of results: name one that OUT= made, or outputs")
    stages = [{path.parent.name for path in folder.glob("[0-9][0-9]_*/metrics.json")} for folder in (a, b)]
    if not (both := sorted(stages[0] & stages[1])):
        has = [", ".join(sorted(names)) or "nothing" for names in stages]
        raise ValueError(f"No notebook was run in both: {a} has {has[0]}, {b} has {has[1]}. Run the same one in both.")
    comparison = {"a": str(a), "b": str(b), "differs": differences(a, b, both), "scores": scores(a, b)}
    comparison |= {"only_in_a": sorted(stages[0] - stages[1]), "only_in_b": sorted(stages[1] - stages[0])}
    paths.write_json(written, comparison)
    print(rendering.render("compare.txt.j2", **comparison) + f"written: {written}")


def differences(a: Path, b: Path, stages: list[str]) -> dict[str, dict[str, list[str]]]:
    """parameters, data, code, machine: sentence -> notebooks that it is true of."""
    differs = {kind: defaultdict(list) for kind in KINDS}
    for stage in stages:
        cards = [paths.read_json(folder / stage / "metrics.json") for folder in (a, b)]
        sentences = facts_changed(*(facts(folder / stage) for folder in (a, b)))
        sentences += [("data", each) for each in changed(*((card.get("data") or {}) for card in cards))]
        runs = [{name: (card.get("run") or {}).get(name) for name in MACHINE} for card in cards]
        sentences += [("machine", each) for each in changed(*runs)]
        for kind, sentence in sentences:
            differs[kind][sentence].append(stage[:2])
    return differs


def facts(folder: Path) -> dict:
    """What the notebook of a folder was run on, as its receipt names it; empty without one."""
    try:
        return paths.read_json(folder / paths.RECEIPT).get("facts") or {}
    except (OSError, ValueError, AttributeError):
        return {}


def facts_changed(before: dict, after: dict) -> list[tuple[str, str]]:
    """(kind, sentence) of each fact that differs between two receipts."""
    if not before or not after:
        return [("parameters", UNKNOWN), ("code", UNKNOWN)]
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old, new = (each.get(name, "not there") for each in (before, after))
        if old != new and (kind := kind_of(name)):
            values = f"{old} -> {new}" if kind == "parameters" else "differs"
            changes.append((kind, f"{name.removeprefix('parameter ')}: {values}"))
    return changes


def kind_of(fact: str) -> str:
    """Where a fact of a receipt belongs; '' for what merely follows, like a file that an earlier notebook wrote."""
    if fact.startswith("parameter "):
        return "parameters"
    if fact == "the notebook" or fact.startswith("helper "):
        return "code"
    return "data" if fact == "the data" or fact.endswith(paths.EDITABLE) else ""


def changed(before: dict, after: dict, prefix: str = "") -> list[str]:
    """What differs between two cards, entry by entry."""
    sentences = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            sentences += changed(old, new, f"{prefix}{name} ")
        elif old != new:
            sentences.append(f"{prefix}{name}: {old} -> {new}")
    return sentences


def scores(a: Path, b: Path) -> dict[str, dict]:
    """Every model that is in both, by its folder: its settings, and of each part the accuracies and their difference.

    Paired on the same faces; where that can't be, `why_not` says so and the accuracies stand alone.
    """
    models = {}
    for path in sorted(a.glob("[0-9][0-9]_*/**/metrics.json")):
        name = path.parent.relative_to(a).as_posix()
        if not (b / name / "metrics.json").exists():
            continue
        cards = [paths.read_json(folder / name / "metrics.json") for folder in (a, b)]
        if not all("epochs_seen" in each and each.get("test") for each in cards):  # not of a model
            continue
        settings = [{"model": each["model"], **(each.get("config") or {})} for each in cards]
        parts = {
            part: {side: each[part]["accuracy"] for side, each in zip("ab", cards, strict=True)}
            for part in ("val", "test")
            if all(each.get(part) for each in cards)
        }
        models[name] = {"settings": changed(*settings), "parts": parts} | paired(a / name, b / name, cards, parts)
    return models


def paired(a: Path, b: Path, cards: list[dict], parts: dict) -> dict:
    """Put the paired test of each part into `parts`, or return why there is none."""
    files = [folder / "predictions.npz" for folder in (a, b)]
    if missing := [str(path) for path in files if not path.exists()]:
        return {"why_not": f"{' and '.join(missing)} is missing"}
    if cards[0]["data"].get("key") != cards[1]["data"].get("key"):
        return {"why_not": "the data differ, so a name may mean another face"}
    stored = [results.read_predictions(path) for path in files]
    for part, entry in parts.items():
        (names, labels, right), (others, other_labels, right_b) = (answers(each, part) for each in stored)
        if names != others or labels != other_labels:
            counts = f"A has {len(names):,}, B {len(others):,}, {len({*names} & {*others}):,} names are in both"
            return {"why_not": f"{part} doesn't hold the same faces with the same labels ({counts})"}
        entry |= statistics.paired_difference(right_b, right).card() | {"n": len(names)}
    return {}


def answers(stored: dict, part: str) -> tuple:
    """Names, labels and (N,) bool, True where the answer is right, of one part in the order of its names."""
    mine = stored["split"] == part
    order = stored["names"][mine].argsort()
    names, labels, probs = (stored[name][mine][order] for name in ("names", "labels", "probs"))
    return list(names), list(labels), probs.argmax(axis=1) == labels
