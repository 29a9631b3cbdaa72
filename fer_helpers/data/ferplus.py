"""FER+: ten people's votes on each row of fer2013.csv, as other labels (Barsoum et al., arXiv:1608.01041)."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fer_helpers.data import vocabulary
from fer_helpers.emotions import SEVEN
from fer_helpers.faces import Faces

FILE = "fer2013new.csv"
ADDRESS = "https://github.com/microsoft/FERPlus"
OTHERS = ("contempt", "unknown", "nf")  # columns beside the seven emotions
KINDS = {"ferplus": "labels", "ferplus_votes": "votes"}  # what LABELS may be, and what is taken


def beside(path: Path | None) -> Path | None:
    """FER+'s file in the folder of the data; None where there is none."""
    file = path and path.parent / FILE
    return file if file and file.is_file() else None


def votes_on(names, split, file: Path) -> pd.DataFrame:
    """(N, 10) votes on the faces of these names, a column for each of SEVEN and OTHERS.

    split: (N,) of the faces. Raises ValueError where the votes aren't those of these rows.
    """
    votes = pd.read_csv(file).rename(columns=lambda title: title.strip().lower())
    emotions = {title: SEVEN[k] for title in votes if (k := vocabulary.EMOTION_WORDS.get(title)) is not None}
    rows = [int(name.removeprefix("row_")) if name.startswith("row_") else len(votes) for name in names]
    fits = {*emotions, *OTHERS, "usage"} <= {*votes} and {*emotions.values()} == {*SEVEN} and max(rows) < len(votes)
    if not fits or (votes.usage.str.lower().map(vocabulary.USAGES).to_numpy()[rows] != split).any():
        raise ValueError(f"{file.name} isn't FER+'s for these faces: it follows the rows of fer2013.csv, all of them.")
    return votes.rename(columns=emotions).iloc[rows][[*SEVEN, *OTHERS]]


def relabel(people: Faces, file: Path, soft: bool = False) -> tuple[Faces, str]:
    """The faces that most votes give one of the seven emotions, with that label; and a sentence about all others.

    people: from a CSV, whose rows FER+ follows. soft: with each emotion's share of the votes for the seven as soft
    labels, which a training takes for its targets. Raises ValueError as votes_on does.
    """
    votes = votes_on(people.names, people.split, file)
    counts = votes.to_numpy()  # (N, 10)
    clear = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
    said = np.where(clear, np.array([*votes])[counts.argmax(axis=1)], "a tie")
    labels = np.array([SEVEN.index(word) if word in SEVEN else -1 for word in said])
    left, kept = Counter(said[labels < 0].tolist()), people.select(labels >= 0)
    summary = (
        f"Labels are FER+'s, by most votes: {(kept.labels.numpy() != labels[labels >= 0]).mean():.1%} differ from the "
        f"published ones, and {left.total():,} faces are left out ("
        + ", ".join(f"{of} {n:,}" for of, n in left.items())
    )
    summary += ")." + " A training face's target is its share of the votes for each of the seven." * soft
    votes_for = counts[labels >= 0, : len(SEVEN)].astype(np.float32)  # (M, 7)
    shares = torch.from_numpy(votes_for / votes_for.sum(axis=1, keepdims=True)) if soft else None
    return replace(kept, labels=torch.from_numpy(labels[labels >= 0]), soft_labels=shares), summary
