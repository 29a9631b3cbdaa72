"""Where the faces come from: a path, the workbook's data folder, Kaggle, or the synthetic set."""

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch

from fer_helpers import paths
from fer_helpers.data import cache, ferplus, finding, kaggle, layouts, synthetic, vocabulary
from fer_helpers.emotions import EMOTIONS, FEWER, ONLY, SEVEN
from fer_helpers.faces import SPLITS, Faces

LABELS = " labels="  # after a path: whose labels are taken
SHOWN_LINES, SHOWN_CHARACTERS = 10, 240  # of problems, on the screen; source["problems"] has more
FER2013 = {  # published counts, order of SEVEN
    "train": synthetic.TRAINING,
    "val": (467, 56, 496, 895, 607, 653, 415),
    "test": (491, 55, 528, 879, 626, 594, 416),
}


@dataclass(frozen=True)
class Location:
    """Where the data lies. path: None for synthetic faces. layout: folder, zip, tar, csv, synthetic.

    chosen: how it came. labels: one of ferplus.KINDS, "" for the data's own.
    """

    path: Path | None
    layout: str
    chosen: str
    labels: str = ""

    @property
    def name(self) -> str:
        """The file's or folder's name; of kagglehub's fer2013/versions/1 that of the data set."""
        if self.path is None:
            return "synthetic faces"
        path = self.path.resolve()
        name = path.parents[1].name if path.parent.name == "versions" and path.name.isdigit() else path.name
        return f"{name} with FER+ {ferplus.KINDS[self.labels]}" if self.labels else name

    @property
    def why(self) -> str:
        """What is read and why, for people."""
        return f"{self.name} ({self.chosen})"

    @property
    def given(self) -> str:
        """What finds the same data again, from any folder."""
        return f"{self.path.resolve()}{LABELS + self.labels if self.labels else ''}" if self.path else "synthetic"


def find(data: str | Path = "auto") -> Location:
    """Which data `data` (a path, kaggle, synthetic or auto) means here, and why; `fer2013.csv labels=ferplus`: by FER+.

    auto: what FER_DATA says, or else the workbook's data folder, Kaggle, synthetic faces, in this order.
    Raises FileNotFoundError (no such path), ValueError (no data there) or ConnectionError (Kaggle doesn't give).
    """
    asked, _, labels = str(data).strip().partition(LABELS)
    if labels:
        location = find(asked)
        if labels not in ferplus.KINDS or not ferplus.beside(location.path):
            raise ValueError(
                f"labels={labels}: known are {' and '.join(ferplus.KINDS)}, which need {ferplus.FILE} (from "
                f"{ferplus.ADDRESS}) in the folder of fer2013.csv; the data is {location.why}."
            )
        return replace(location, labels=labels)
    asked, name = asked or "auto", "data"
    if asked.lower() == "auto" and (wish := os.environ.get("FER_DATA", "").strip()):
        asked, name = wish, "FER_DATA"
    if asked.lower() == "synthetic":
        return Location(None, "synthetic", f"{name}={asked}")
    if asked.lower() == "kaggle":
        return _from_kaggle()
    if asked.lower() != "auto":
        return _given(asked, name)
    folder = paths.ROOT / "data"
    if folder.is_dir() and (there := finding.look(folder)):
        return Location(*there, "in the workbook's data folder")
    try:
        return _from_kaggle()
    except ConnectionError as error:
        return Location(None, "synthetic", f"the workbook's data folder holds no data set. {error}")


def _from_kaggle():
    folder = kaggle.fetch()
    if there := finding.look(folder):
        return Location(*there, f"from Kaggle, {kaggle.HANDLE}")
    raise ConnectionError(f"What came from Kaggle holds no data set: {folder}. Give a path instead: DATA=archive.zip")


def _given(asked, name):
    """What lies at a path that somebody typed; relative ones count from the current folder, then from the workbook."""
    places = dict.fromkeys(base / Path(asked).expanduser() for base in (Path.cwd(), paths.ROOT))
    path = next((place for place in places if place.exists()), None)
    if path is None:
        close = get_close_matches(asked, ("auto", "kaggle", "synthetic"), 1)
        raise FileNotFoundError(
            f"{name}={asked}: there is no {' and no '.join(map(str, places))}. "
            f"{''.join(f'Did you mean {word}? ' for word in close)}"
            f"Give the path of archive.zip, of fer2013.csv or of a folder with train and test, or data=synthetic."
        )
    if there := finding.look(path):
        return Location(*there, f"named by {name}")
    if path.is_dir():
        state = "holds nothing that looks like the data" if any(path.iterdir()) else "is empty"
        raise ValueError(f"The folder {path} {state}. {layouts.EXPECTED}.")
    raise ValueError(
        f"{path} is neither a folder nor a .zip, .tar.gz or .csv (unpack other archives). {layouts.EXPECTED}."
    )


def load(data: str | Path = "auto", *, budget: str = "quick", log: Callable = print) -> Faces:
    """The faces that `data` means, from the cache if they were read before. Raises what find and layouts.read raise.

    budget: at smoke the synthetic set is smaller; data that was given is always read whole. log: gets a line on what
    was taken and why, then one for each problem. source: `name`, `title` for figures, `kind` (fer2013, folder or
    synthetic), `layout`, `why`, `key` and `pixels` (see keys.of), `counts` (a list of 7 for each split),
    `official_split`, and `problems`: sentences about what was left out or looks odd.
    """
    location, notes = find(data), []
    if location.path is None:
        # The same faces whatever the training's seed: seeds are compared on the same data
        people = cache.with_keys(synthetic.draw(700 if budget == "smoke" else 4000, seed=0))
        known = {"layout": "synthetic", "official_split": True, "problems": []}
    else:
        people, notes = cache.read(location.path, location.layout)
        known = _compared(people)
        if (votes := ferplus.beside(location.path)) and location.labels:
            people, summary = ferplus.relabel(people, votes, location.labels == "ferplus_votes")
            problems = [summary, *people.source["problems"]]
            known = {"kind": "folder", "labels": location.labels, "official_split": False, "problems": problems}
        elif votes and people.names[0].startswith("row_"):
            notes.append(f"{votes.name} (FER+) lies beside it: LABELS=ferplus takes its labels instead.")
    title = "FER-2013" if known.get("kind") == "fer2013" else location.name
    if FEWER:
        people, summary = _of_fewer(people, location.why)
        kind = {"kind": "folder"} if not people.is_synthetic else {}  # published numbers are of all seven
        known |= kind | {"official_split": False, "problems": [summary, *known["problems"]]}
    if FEWER or location.labels:
        people = cache.with_keys(people)
    counts = {split: people.part(split).counts(EMOTIONS).tolist() for split in SPLITS}
    known |= {"name": location.name + ONLY, "title": title + ONLY, "why": location.why, "counts": counts}
    log(f"{location.why}: " + ", ".join(f"{sum(counts[split]):,} {split}" for split in SPLITS) + " faces")
    if people.is_synthetic:
        log("  These faces are synthetic: every result from here on is a DEMONSTRATION.")
    lines = notes + known["problems"]
    for line in lines[:SHOWN_LINES]:
        log("  " + textwrap.shorten(line, SHOWN_CHARACTERS, placeholder=" ..."))
    if len(lines) > SHOWN_LINES:
        log(f"  ... and {len(lines) - SHOWN_LINES} more kinds of problems: see source['problems']")
    return replace(people, source={**people.source, **known})


def _of_fewer(people: Faces, why: str) -> tuple[Faces, str]:
    """The faces of EMOTIONS, their labels indices into these; and a sentence about all others."""
    number = np.array([EMOTIONS.index(name) if name in EMOTIONS else -1 for name in SEVEN])[people.labels.numpy()]
    kept, others = people.select(number >= 0), people.select(number < 0).counts(SEVEN)
    kept = replace(kept, labels=torch.from_numpy(number[number >= 0]))
    if kept.soft_labels is not None:
        shares = kept.soft_labels[:, [SEVEN.index(name) for name in EMOTIONS]]
        kept = replace(kept, soft_labels=shares / shares.sum(dim=1, keepdim=True))
    absent = [name for name, count in zip(EMOTIONS, kept.part("train").counts(EMOTIONS), strict=True) if not count]
    if absent or len({*kept.split}) < len(SPLITS):
        none = f"training face of {' and none of '.join(absent)}" if absent else "face to validate or to test with"
        raise ValueError(f"EMOTIONS names {', '.join(EMOTIONS)}, and {why} has no {none}: name other emotions or data.")
    names = {*kept.names.tolist(), ""}
    if planted := kept.source.get("planted"):
        planted = [each for each in planted if {each["name"], each["twin"]} <= names]
        kept = replace(kept, source=kept.source | {"planted": planted})
    each = ", ".join(f"{name} {count:,}" for name, count in zip(SEVEN, others, strict=True) if count)
    return kept, f"Of {', '.join(EMOTIONS)} alone, as asked: {others.sum():,} other faces are left out ({each})."


def _compared(people):
    """`kind` and `problems` after a comparison with FER-2013's published counts."""
    near, differences, problems = people.source["official_split"], [], list(people.source["problems"])
    for split, published in FER2013.items():
        counts = people.part(split).counts(SEVEN)
        near &= bool((np.abs(counts - published) <= 0.02 * np.array(published)).all())
        if each := [f"{SEVEN[k]} {n:,} for {published[k]:,}" for k, n in enumerate(counts) if n != published[k]]:
            differences.append(f"{split} has {counts.sum():,} faces for {sum(published):,} ({', '.join(each)})")
    like_fer2013 = people.source["layout"].endswith(".csv") or any(map(vocabulary.split_in_name, people.names))
    if differences and like_fer2013:
        problems.append(f"The counts aren't those of FER-2013: {'; '.join(differences)}.")
    return {"kind": "fer2013" if near else "folder", "problems": problems}
