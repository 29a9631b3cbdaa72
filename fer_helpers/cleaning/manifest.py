"""What stays in training: the manifest, a row an image, with the reason and the twin of whatever leaves.

Val and test are never cleaned. What duplicates one of their images leaves training instead.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from fer_helpers import paths
from fer_helpers.cleaning import duplicates
from fer_helpers.faces import EMOTIONS, SPLITS, Faces, pixel_sha256

REASONS = ("blank", "duplicate_of_test", "duplicate_of_val", "conflict", "duplicate", "kept")  # the first that fits
COLUMNS = ("name", "split", "label", "sha256", "group", "keep", "reason", "twin")
STAGE = "02_cleaning"
AGAIN = "Run notebook 02 again, or: make 02"


def build(
    people: Faces, *, deviation: float = 5.0, majority: float = 0.5, duplicates_of_val: bool = True, **rules
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest (COLUMNS, sorted by name) and the table of compared pairs, see near_pairs.

    Of a group of training duplicates one stays; where labels disagree, the commonest label's if its share is more than
    `majority` (1: never), otherwise none. No training face stays that duplicates a test face or, unless
    `duplicates_of_val` is False, a val face. `twin`: the image that a face duplicates; for a val or test face, its
    duplicate in training. deviation: see is_flat. rules: see near_pairs.
    """
    images = people.images.numpy()
    flat, sha256 = duplicates.is_flat(images, deviation), pixel_sha256(images)
    group, pairs = duplicates.find_duplicates(images, flat=flat, sha256=sha256, **rules)
    table = pd.DataFrame({"name": people.names, "split": people.split, "label": _emotions(people), "sha256": sha256})
    table = table.assign(group=group, flat=flat).sort_values("name", ignore_index=True)
    table["group"] = table.groupby("group", sort=False).ngroup()  # numbered by first name, whatever the order was
    reason, twin = np.full(len(table), "kept", object), np.full(len(table), "", object)
    judged = ("test", "val") if duplicates_of_val else ("test",)
    for _, members in table[table.duplicated("group", keep=False) | table.flat].groupby("group"):
        for row, why, original in _verdicts(list(members.itertuples()), judged, majority):
            reason[row], twin[row] = why, original
    links = pairs.loc[pairs["duplicate"], ["i", "j"]].to_numpy()
    cut = links[group[links[:, 0]] != group[links[:, 1]]]
    _obey_links(table, reason, twin, sorted(sha256[cut].tolist()), judged)
    return table.drop(columns="flat").assign(keep=reason == "kept", reason=reason, twin=twin), pairs


def _emotions(people):
    return np.array(EMOTIONS)[people.labels.numpy()]


def _verdicts(members: list, judged: tuple, majority: float):
    """Yield (row, reason, twin's name) for each face of one group."""
    train = [face for face in members if face.split == "train"]
    rest = [face for face in train if not face.flat]
    yield from ((face.Index, "kept", _twin(face, train)) for face in members if face.split != "train")
    yield from ((face.Index, "blank", "") for face in train if face.flat)
    for split in judged:
        if originals := [face for face in members if face.split == split]:
            yield from ((face.Index, f"duplicate_of_{split}", _twin(face, originals)) for face in rest)
            return
    if not rest:
        return
    (label, votes), *dissent = Counter(face.label for face in rest).most_common()
    if dissent and votes <= majority * len(rest):
        for face in rest:
            yield face.Index, "conflict", _twin(face, [other for other in rest if other.label != face.label])
        return
    stays, *others = sorted(rest, key=lambda face: face.label != label)  # stable: the majority's first name leads
    yield stays.Index, "kept", ""
    yield from ((face.Index, "duplicate" if face.label == label else "conflict", stays.name) for face in others)


def _twin(face, others: list) -> str:
    """The name among `others` with the same pixels, else the first; '' if there is none."""
    return next((other.name for other in others if other.sha256 == face.sha256), others[0].name if others else "")


def _obey_links(table: pd.DataFrame, reason, twin, links: list, judged: tuple) -> None:
    """Let the duplicates of val and test faces leave training across groups too, where a chain was cut between them.

    reason, twin: (N,), changed in place. links: pairs of sha256.
    """
    rows, names, split = table.groupby("sha256").indices, table.name.to_numpy(), table.split.to_numpy()
    for original in ("test", "val"):
        for one, other in [turned for pair in links for turned in (pair, pair[::-1])]:
            for mine, theirs in product(rows[one], rows[other]):
                if split[mine] == "train" and split[theirs] == original:
                    twin[theirs] = twin[theirs] or names[mine]
                    why = f"duplicate_of_{original}"
                    if original in judged and REASONS.index(reason[mine]) > REASONS.index(why):
                        reason[mine], twin[mine] = why, names[theirs]


def read(people: Faces, out_root="outputs", *, log=print) -> pd.DataFrame:
    """The manifest that notebook 02 wrote, in the order of `people`; made in place (under a minute) if it's missing.

    One that was edited by hand is obeyed, and `log` is given a sentence about it. Raises ValueError if it belongs to
    other data, if `keep` holds something else than True and False, or if it drops a val or test face.
    """
    path = paths.stage(STAGE, out_root) / "manifest.csv"
    if not path.exists():
        log(f"{path.name} is missing: notebook 02's default rules are applied now")
        paths.write_csv(path, build(people)[0])
    table = pd.read_csv(path, keep_default_na=False)
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path} has no column {', '.join(missing)}: it is saved with commas between. Or: make 02")
    table = table.set_index("name", drop=False)
    if sorted(table.name) != sorted(people.names.tolist()):
        raise ValueError(
            f"{path} lists {len(table):,} images, the data '{people.source.get('name')}' has {len(people):,}, and they "
            f"are not the same: it belongs to other data. {AGAIN}"
        )
    table = table.loc[people.names]
    data = {"sha256": pixel_sha256(people.images.numpy()), "split": people.split, "label": _emotions(people)}
    for column, values in data.items():
        if (table[column].to_numpy() != values).any():
            what = {"sha256": "pixels"}.get(column, f"{column}s")
            raise ValueError(f"{path} has other {what} than the data for the same names; only keep may differ. {AGAIN}")
    if table.keep.dtype != bool:
        odd = sorted({str(value) for value in table.keep} - {"True", "False"})
        raise ValueError(f"{path}: keep is True or False, not {', '.join(odd[:3]) or 'empty'}. Correct it, or: make 02")
    if dropped := list(table.name[~table.keep & (table.split != "train")]):
        raise ValueError(f"{path} drops {dropped[0]}, and val and test are never cleaned: set keep to True there.")
    made = path.with_name("metrics.json")
    written = ((paths.read_json(made)["data"] if made.exists() else {}).get("cleaned") or {}).get("manifest")
    if written not in (None, digest(table)):
        log(f"{path.name} isn't as notebook 02 wrote it, so it was edited by hand: it is obeyed")
    return table


def digest(manifest: pd.DataFrame) -> str:
    """Fingerprint of a manifest, whatever its order: equal manifests clean and score equally."""
    text = manifest[[*COLUMNS]].reset_index(drop=True).sort_values("name").to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def apply(people: Faces, manifest: pd.DataFrame) -> Faces:
    """The faces that the manifest keeps; how many left, and by which manifest, goes into their `source`."""
    kept = people.select(manifest.keep.to_numpy())
    cleaned = {"removed_from_training": len(people) - len(kept), "manifest": digest(manifest)}
    return replace(kept, source={**people.source, "cleaned": cleaned})


def has_training_duplicate(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) bool, True for val and test faces that have a duplicate in raw training."""
    return ((manifest.split != "train") & (manifest.twin != "")).to_numpy()


def cross_split(manifest: pd.DataFrame) -> np.ndarray:
    """(3, 3) int, order of SPLITS: faces of the row's split that have a duplicate in the column's split."""
    counts = pd.crosstab(manifest.group, manifest.split).reindex(columns=SPLITS, fill_value=0).to_numpy()
    table = counts.T @ (counts > 0)  # (groups, 3) -> (3, 3)
    np.fill_diagonal(table, (counts * (counts > 1)).sum(axis=0))  # in its own split a face needs a second one
    return table


def exact_facts(manifest: pd.DataFrame) -> dict:
    """What exact equality alone finds: distinct images, surplus duplicates, groups, conflicts, groups across splits."""
    same = manifest.groupby("sha256").agg(n=("name", "size"), labels=("label", "nunique"), splits=("split", "nunique"))
    groups = same[same.n > 1]
    of = {split: manifest.sha256[manifest.split == split] for split in SPLITS}
    return {
        "images": len(manifest),
        "distinct": len(same),
        "surplus": len(manifest) - len(same),
        "groups": len(groups),
        "surplus_inside": {split: int(of[split].duplicated().sum()) for split in SPLITS},
        "groups_with_several_labels": int((groups.labels > 1).sum()),
        "groups_across_splits": int((groups.splits > 1).sum()),
        "with_exact_twin_in_training": {split: int(of[split].isin(of["train"]).sum()) for split in ("val", "test")},
    }


def _labels(manifest: pd.DataFrame) -> np.ndarray:
    """(groups, 7) int: how often each group of two and more faces carries each emotion; blank faces don't count."""
    clear = manifest[~manifest.group.isin(manifest.group[manifest.reason == "blank"])]
    counts = pd.crosstab(clear.group, clear.label).reindex(columns=EMOTIONS, fill_value=0).to_numpy()
    return counts[counts.sum(axis=1) > 1]


def conflict_matrix(manifest: pd.DataFrame) -> np.ndarray:
    """(7, 7) int, symmetric: groups of duplicates that carry both the row's and the column's emotion.

    The diagonal counts the groups that carry that emotion alone. Blank faces show no emotion and don't count.
    """
    carries = (_labels(manifest) > 0).astype(int)  # (groups, 7)
    both = carries.T @ carries
    np.fill_diagonal(both, carries[carries.sum(axis=1) == 1].sum(axis=0))
    return both


def disputed(manifest: pd.DataFrame) -> int:
    """Groups of duplicates that carry more than one emotion; blank ones don't count."""
    return int(((_labels(manifest) > 0).sum(axis=1) > 1).sum())


def label_agreement(manifest: pd.DataFrame) -> dict:
    """How often two duplicates carry the same label, and what that says about the best possible accuracy.

    If a picture gets emotion k with probability p_k, two labels agree with probability a = Σ p_k², and whoever always
    says the likeliest emotion is right with probability max p, which lies between a and √a. Every picture counts
    once, however many duplicates it has; blank ones don't. returns: pictures, agreement, ci95 (bootstrap over
    pictures), ceiling: [a, √a], ceiling_ci95: from the lower end of a's interval to the root of its upper end.
    """
    counts = _labels(manifest)
    if not len(counts):
        return {"pictures": 0}
    n = counts.sum(axis=1)
    agree = (counts * (counts - 1)).sum(axis=1) / (n * (n - 1))
    draws = np.random.default_rng(0).integers(0, len(agree), (2000, len(agree)))
    mean, (low, high) = agree.mean(), np.quantile(agree[draws].mean(axis=1), [0.025, 0.975])
    intervals = {"ci95": [low, high], "ceiling": [mean, mean**0.5], "ceiling_ci95": [low, high**0.5]}
    intervals = {name: [round(float(value), 4) for value in ends] for name, ends in intervals.items()}
    return {"pictures": len(n), "agreement": round(float(mean), 4), **intervals}
