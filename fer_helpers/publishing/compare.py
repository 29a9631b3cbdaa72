"""Two folders of results side by side: what differs in parameters, data, code and machine, and the scores.

Only files are read: no network is asked, and test is opened by nobody.
"""

from pathlib import Path

from fer_helpers import paths
from fer_helpers.workbook import receipts
from fer_helpers.workbook.receipts import OBEYED

VERDICTS = {"a better": "B better", "b better": "B worse", "not decided": "not decided"}  # of B less A
MACHINE = ("commit", "device", "threads", "precision", "versions")  # of a run card: time and place say nothing


def tell(a: str, b: str, written: Path) -> None:
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
    found = {"a": str(a), "b": str(b), "differs": differences(a, b, both), "scores": scores(a, b)}
    found["only_in_a"], found["only_in_b"] = sorted(stages[0] - stages[1]), sorted(stages[1] - stages[0])
    paths.write_json(written, found)
    print("\n".join([f"A: {a}", f"B: {b}", *lines(found), f"written: {written}"]))


def differences(a: Path, b: Path, stages: list[str]) -> dict[str, dict[str, list[str]]]:
    """parameters, data, code, machine: sentence -> notebooks that it is true of."""
    told = {kind: {} for kind in ("parameters", "data", "code", "machine")}
    for stage in stages:
        facts = [receipts.read(folder / stage).get("facts") for folder in (a, b)]
        cards = [paths.read_json(folder / stage / "metrics.json") for folder in (a, b)]
        said = {kind: [] for kind in told}
        if all(facts):
            for name in sorted(facts[0].keys() | facts[1].keys()):
                before, after = (each.get(name, "not there") for each in facts)
                if before != after and (kind := kind_of(name)):
                    values = f"{before} -> {after}" if kind == "parameters" else "differs"
                    said[kind].append(f"{name.removeprefix('parameter ')}: {values}")
        else:
            for kind in ("parameters", "code"):
                said[kind].append("not known: a folder has no receipt.json, as a run from the command line leaves")
        said["data"] += changed(*((each.get("data") or {}) for each in cards))
        runs = [{name: (each.get("run") or {}).get(name) for name in MACHINE} for each in cards]
        said["machine"] += changed(*runs)
        for kind, sentences in said.items():
            for sentence in sentences:
                told[kind].setdefault(sentence, []).append(stage[:2])
    return told


def kind_of(fact: str) -> str:
    """Where a fact of a receipt belongs; '' for what merely follows, like a file that an earlier notebook wrote."""
    if fact.startswith("parameter "):
        return "parameters"
    if fact == "the notebook" or fact.startswith("helper "):
        return "code"
    return "data" if fact == "the data" or fact.endswith(OBEYED) else ""


def changed(before: dict, after: dict, prefix: str = "") -> list[str]:
    """What differs between two cards, entry by entry."""
    told = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            told += changed(old, new, f"{prefix}{name} ")
        elif old != new:
            told.append(f"{prefix}{name}: {old} -> {new}")
    return told


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
    from fer_helpers import metrics, results

    files = [folder / "predictions.npz" for folder in (a, b)]
    if missing := [str(path) for path in files if not path.exists()]:
        return {"why_not": f"{' and '.join(missing)} is missing"}
    keys, kinds = ({each["data"].get(name) for each in cards} for name in ("key", "kind"))
    if len(keys) > 1 and kinds != {"fer2013"}:  # its names are the data set's own; the key changes with our reader too
        return {"why_not": "the data differ, so a name may mean another face"}
    stored = [results.read_predictions(path) for path in files]
    for part, told in parts.items():
        right = []
        for each in stored:
            mine = each["split"] == part
            order = each["names"][mine].argsort()
            names, labels = each["names"][mine][order], each["labels"][mine][order]
            right.append((list(names), list(labels), each["probs"][mine][order].argmax(axis=1) == labels))
        if right[0][:2] != right[1][:2]:
            same = len(set(right[0][0]) & set(right[1][0]))
            counts = f"A has {len(right[0][0]):,}, B {len(right[1][0]):,}, {same:,} names are in both"
            return {"why_not": f"{part} doesn't hold the same faces with the same labels ({counts})"}
        gain = metrics.paired_difference(right[1][2], right[0][2])
        told |= gain | {"n": len(right[0][0]), "verdict": VERDICTS[gain["verdict"]]}
    return {}


def lines(found: dict) -> list[str]:
    """The comparison as it is read in a terminal."""
    told = []
    for kind, sentences in found["differs"].items():
        told += ["", f"{kind}: the same"] if not sentences else ["", kind]
        told += [f"  {sentence} ({', '.join(stages)})" for sentence, stages in sentences.items()]
    told += ["", "scores: no model is in both"] if not found["scores"] else ["", "scores, B less A on the same faces"]
    pairs = 0
    for name, each in found["scores"].items():
        told.append(f"  {name}" + (f" ({'; '.join(each['settings'])})" if each["settings"] else ""))
        told += [f"    not paired: {each['why_not']}"] if "why_not" in each else []
        for part, one in each["parts"].items():
            line = f"    {part:<4} {one['a']:.1%} -> {one['b']:.1%}"
            if "verdict" in one:
                low, high = (100 * end for end in one["ci95"])
                gain = f"{100 * one['difference']:+.1f} points ({low:+.1f} to {high:+.1f})"
                line += f"  {gain}, p {one['p']:.2g}, {one['verdict']}"
                pairs += 1
            told.append(line)
    if pairs:
        told += ["  Intervals are of 95 %; p is McNemar's. Of twenty pairs of equally good models luck decides one."]
        told += ["  Choose by val: who compares on test chooses on test."]
    for side in "ab":
        told += [f"only in {side.upper()}: {', '.join(found[f'only_in_{side}'])}"] if found[f"only_in_{side}"] else []
    return told
