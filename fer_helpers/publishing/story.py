"""What the page of results says of each notebook: its question, the figure, a number with its interval, the reading.

Nothing is computed here that the notebooks didn't: numbers stand in metrics.json, the finding is the figure's title,
and the sentences are those that the executed notebook printed under it.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from fer_helpers import paths
from fer_helpers.publishing import readme


@dataclass(frozen=True)
class Number:
    """A number as it is read: `value` of what, and how far it can be trusted."""

    value: str
    interval: str
    of: str


@dataclass(frozen=True)
class Section:
    """One notebook's part of the story.

    folder: where it was read, None if there is nothing to tell. kept: it is the kept run of outputs/reference, not of
    this folder. figure: a PNG or None; finding, caption: the text that it carries. executed: the executed copy or None.
    data, run: cards of metrics.json.
    """

    stage: str
    question: str
    folder: Path | None = None
    kept: bool = False
    figure: Path | None = None
    finding: str = ""
    caption: str = ""
    number: Number | None = None
    reading: tuple[str, ...] = ()
    executed: Path | None = None
    data: dict = field(default_factory=dict)
    run: dict = field(default_factory=dict)

    @property
    def drawn(self) -> bool:
        """Was this found on drawn faces?"""
        return bool(self.data.get("demonstration"))


def tell(notebook: Path, out_root: Path) -> Section:
    """The section of a notebook: of the run in out_root, else of the kept reference, else its question alone."""
    stage, question = notebook.stem, readme.question(notebook)
    folders = [out_root / stage, paths.REFERENCE / stage]
    folder = next((each for each in folders if (each / "metrics.json").exists()), None)
    if folder is None:
        return Section(stage, question)
    name, number = SHOWN.get(stage[:2], ("", None))
    figure = next(iter(sorted(folder.glob(name or "*.png"))), None)
    finding, caption = words_of(figure) if figure else ("", "")
    kept, executed = folder == folders[1], folder / notebook.name
    there = executed.exists() and not kept  # what is kept as a notebook was run on drawn faces
    try:
        metrics = paths.read_json(folder / "metrics.json")
        value = number(folder, metrics) if number else None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        again = f"{folder / 'metrics.json'} isn't as this version writes it ({error!r}): make {stage[:2]} makes it anew"
        return Section(stage, question, folder, reading=(again,))
    return Section(
        stage,
        question,
        folder,
        kept=kept,
        figure=figure,
        finding=finding,
        caption=caption,
        number=value,
        reading=printed_under(executed, figure.name) if figure and there else (),
        executed=executed if there else None,
        data=metrics.get("data") or {},
        run=metrics.get("run") or {},
    )


def words_of(figure: Path) -> tuple[str, str]:
    """Title and caption that `paths.save_figure` put into a PNG; empty for one that was written without them."""
    from PIL import Image

    with Image.open(figure) as image:
        return image.info.get("Title", ""), image.info.get("Description", "")


def printed_under(executed: Path, figure: str) -> tuple[str, ...]:
    """The lines that an executed notebook printed in the cell after the one that saves this figure."""
    cells = paths.read_json(executed)["cells"]
    for cell, after in pairwise(cells):
        if "save_figure" in (source := "".join(cell["source"])) and f'"{figure}"' in source:
            said = [out for out in after.get("outputs", []) if out.get("name") == "stdout"]
            return tuple(line for line in "".join("".join(out["text"]) for out in said).splitlines() if line.strip())
    return ()


def best(folders: list[Path]) -> tuple[dict, Number] | None:
    """Of the models in these folders the one that is best on val, and its accuracy on test; None if there is none."""
    found = [paths.read_json(path) for folder in folders for path in sorted(folder.glob("**/metrics.json"))]
    found = [each for each in found if each.get("val") and each.get("test")]  # what learnt from val wasn't chosen by it
    if not found:
        return None
    first = max(found, key=lambda each: each["val"]["accuracy"])
    test, name = first["test"], first["model"].replace("_", " ")
    among = f", the best on val of {len(found)} networks" * (len(found) > 1)
    of = f"of the {test['n']:,} PrivateTest faces are recognised by the {name}{among}"
    return first, Number(f"{test['accuracy']:.1%}", within(test["accuracy_ci95"]), of)


def within(ends: list) -> str:
    """A 95 % interval of shares, in words."""
    return f"95 % interval {ends[0]:.1%} to {ends[1]:.1%}"


def _points(found: dict, of: str) -> Number:
    """A difference with its interval, as the README writes it."""
    value, interval = readme.points(found, " points").split(" (")
    return Number(value, f"95 % interval {interval.rstrip(')')}", of)


def _model(folder: Path, _: dict) -> Number | None:
    chosen = best([folder])
    return chosen and chosen[1]


def _floor(_: Path, metrics: dict) -> Number:
    test = metrics["test"]
    of = f"of the {test['n']:,} PrivateTest faces are right if one says {metrics['model']}: the floor"
    return Number(f"{test['accuracy']:.1%}", within(test["accuracy_ci95"]), of)


def _leaked(_: Path, metrics: dict) -> Number:
    faces, copied = metrics["data"]["counts"]["test"], metrics["with_copy_in_training"]["test"]
    shares = {line: count / faces for line, count in metrics["test_with_copy_by_threshold"].items()}
    told = f"counted; {shares['0.90']:.1%} to {shares['0.80']:.1%} if copies begin at a correlation of 0.90 or 0.80"
    return Number(f"{copied / faces:.1%}", told, f"of the {faces:,} PrivateTest faces also stand in Training")


def _claims(_: Path, metrics: dict) -> Number:
    claims = metrics["claims"][metrics["model"]]
    held = sum(each["verdict"] == "holds" for each in claims.values())
    emotion, claim = next(iter(claims.items()))
    densities = {part: each for part, each in metrics["densities"][emotion].items() if each[0] is not None}
    parts = dict.fromkeys([claim["region"], max(densities, key=lambda part: densities[part][0])])
    told = [f"{part} {each[0]:.2f} ({each[1]:.2f} to {each[2]:.2f})" for part in parts if (each := densities.get(part))]
    of = f"claims about where networks look hold on {metrics['maps']['faces']:,} PrivateTest faces"
    interval = f"{emotion}: {', '.join(told)} times a flat map, 95 % intervals" if told else ""
    return Number(f"{held} of {len(claims)}", interval, of)


def _price(_: Path, metrics: dict) -> Number:
    regime, price = next(iter(metrics["price"].items()))
    faces = metrics["faces"]["test_with_copy"]
    of = f"of accuracy: what leaked copies add on the {faces:,} faces they copy, beyond the others ({regime})"
    return _points(price["test_price"], of)


def _remedy(_: Path, metrics: dict) -> Number:
    gain, default = metrics["gain"], metrics["decision"]["default"]
    arm = default if default in gain else max(gain, key=lambda each: gain[each]["macro_f1"]["mean"])
    chosen = "the default by the rule" if default in gain else "the best remedy, but by the rule none is taken"
    return _points(gain[arm]["macro_f1"], f"of macro-F1 on val with {arm.replace('_', ' ')}, {chosen}, against nothing")


def _ahead(_: Path, metrics: dict) -> Number | None:
    if not metrics["pairs"]:
        return None
    pair = metrics["pairs"][0]
    a, b = (pair[name].replace("_", " ") for name in "ab")
    of = f"of accuracy: the {a}, best on val, against the {b}, the next, on the same PrivateTest faces"
    return _points({**pair, "mean": pair["difference"]}, of)


def _answered(_: Path, metrics: dict) -> Number | None:
    if not (sure := metrics["sure"]):
        return None
    of = f"of val's faces are answered by {metrics['model'].replace('_', ' ')}; of the others it says not sure"
    return Number(f"{sure['coverage']:.0%}", f"of these {sure['right']:.0%} right, on val, where it was chosen", of)


SHOWN = {  # by a notebook's number: the figure that answers its question, and the number that goes with it
    "01": ("train_distribution.png", _floor),
    "02": ("leakage_by_emotion.png", _leaked),
    "03": ("comparison.png", _model),
    "04": ("comparison.png", _model),
    "05": ("regions.png", _claims),
    "06": ("price.png", _price),
    "07": ("comparison.png", _remedy),
    "08": ("record.png", _model),
    "09": ("leaderboard.png", _ahead),
    "10": ("answer_01.png", _answered),
}
