"""What a folder of results holds, and where a run goes that would replace it by something lesser."""

import re
from contextlib import suppress
from pathlib import Path

from fer_helpers import emotions, paths

BUDGETS = ("auto", "smoke", "quick", "full")  # the later the more; auto where a file doesn't say
LAST_DATA = ".last_data"  # which data was named last for these results


def held(out_root: Path) -> list[dict]:
    """What the results were made from, an entry a notebook: stage, data (as a metrics file has it) and budget.

    Not those of 09 and 10, which show what others made, or is kept in the reference.
    """
    entries, name = [], "0[1-8]_*/metrics.json"
    for path in sorted([*out_root.glob(name), *out_root.glob(f"{paths.ASIDE}/{name}")]):
        metrics, receipt = content(path), content(path.with_name(paths.RECEIPT))
        if (data := metrics.get("data") or {}).get("key"):
            budget = (receipt.get("facts") or {}).get("parameter budget") or (metrics.get("run") or {}).get("budget")
            entries.append({"stage": path.parent.name[:2], "data": data, "budget": budget or "auto"})
    return entries


def content(path: Path) -> dict:
    """What a JSON file holds; empty for one that is missing, damaged or no object."""
    with suppress(OSError, ValueError):
        found = paths.read_json(path)
        return found if isinstance(found, dict) else {}
    return {}


def lesser(data: dict, budget: str, entry: dict) -> bool:
    """Would a run on this data, at this budget, replace what is there by less, or by results of other people's data?"""
    old = entry["data"]
    if (old.get("emotions") or []) != [*data.get("emotions", ())]:
        return True
    if bool(old.get("demonstration")) != data["demonstration"]:
        return data["demonstration"]
    other = old["key"] != data["key"] and (old.get("pixels") or "") != data["pixels"]
    return (other and not data["demonstration"]) or BUDGETS.index(budget) < BUDGETS.index(entry["budget"])


def choose(out_root: Path, data: dict, budget: str) -> Path:
    """Where a run writes: out_root, or a folder of its own below, told, where it would replace something greater.

    data: as a metrics file has it.
    """

    def replaces(folder):
        return any(lesser(data, budget, entry) for entry in held(folder))

    if not replaces(out_root):
        return out_root
    name = re.sub(r"\W+", "_", "synthetic" + emotions.ONLY if data["demonstration"] else data["source"])
    own = paths.free(out_root / f"on_{name}_{budget}", replaces)
    print(f"{out_root} keeps what it holds ({', '.join(contents(out_root))}): this run goes into {own}")
    return own


def contents(out_root: Path) -> list[str]:
    """What the results are of, a line for each data set and budget."""
    lines = {}
    for each in held(out_root):
        title = each["data"].get("source", "")
        budget = f", budget {each['budget']}" * (each["budget"] != "auto")
        lines.setdefault(title + budget, []).append(each["stage"])
    return [f"{title}: {' '.join(dict.fromkeys(stages))}" for title, stages in lines.items()]


def overview(out_root: Path) -> list[str]:
    """Lines that say what lies where: the folder's results, those of runs beside it, and the data named last."""
    lines = [f"{place}: {line}" for place in (out_root, *sorted(out_root.glob("on_*"))) for line in contents(place)]
    data = last_data(out_root)
    return lines + ([f"data, unless DATA= names other: {data}"] if data else [])


def remember(out_root: Path, given: str) -> None:
    """Keep which data was named for these results."""
    with paths.whole(out_root / LAST_DATA) as temporary:
        temporary.write_text(given, encoding="utf-8")


def last_data(out_root: Path) -> str:
    """The data that was named last for these results; empty if there was none, or it is gone."""
    with suppress(OSError, ValueError):
        path = (out_root / LAST_DATA).read_text(encoding="utf-8").strip()
        return path if path and Path(path).exists() else ""
    return ""


def answers(folder: Path, most: int = 20) -> list[str]:
    """Lines for the terminal: what notebook 10 answered to the pictures, and why it couldn't answer others."""
    faces, unread = (paths.read_lines(folder / name) for name in ("predictions.csv", "unread.csv"))
    answer, none = "  {picture}, face {face}: {answer} ({probability})", "  {picture}: no face found"
    lines = [(answer if each.get("probability") else none).format_map(each) for each in faces]
    lines += [f"  {each['picture']}: no answer, {each['reason']}" for each in unread]
    more = [f"  ... and {len(lines) - most:,} more"] if len(lines) > most else []
    return ["your pictures:", *lines[:most], *more, f"the table: {folder / 'predictions.csv'}"]
