"""What stays in training: the manifest, a row an image, with the reason and the twin of whatever leaves.

Val and test are never cleaned. What copies one of their images leaves training instead.
"""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from fer_helpers import paths
from fer_helpers.cleaning import duplicates
from fer_helpers.faces import EMOTIONS, SPLITS, Faces, pixel_sha256

# The first that fits counts
REASONS = ("blank", "duplicate_of_test", "duplicate_of_val", "conflict", "duplicate", "kept")
COLUMNS = ("name", "split", "label", "sha256", "group", "keep", "reason", "twin")
STAGE = "02_cleaning"


def decide(
    people: Faces,
    group: np.ndarray,
    flat: np.ndarray,
    links: np.ndarray = (),
    *,
    majority: float = 0.5,
    duplicates_of_val: bool = True,
) -> pd.DataFrame:
    """The manifest: name, split, label, sha256, group, keep, reason, twin; sorted by name.

    Reasons in the order of REASONS. In a group of training copies one stays; where labels disagree the commonest
    label's stays if its share of the copies is more than `majority` (1: never), otherwise none does. `twin` is the
    picture that a face copies; for a val or test face, its copy in training.
    links: (K, 2), rows of faces that are copies of each other but in two groups, since a chain was cut between them: no
    training face stays that is a copy of a val or test face. duplicates_of_val: do copies of val faces leave training?
    """
    table = pd.DataFrame({"name": people.names, "split": people.split})
    table["label"] = np.array(EMOTIONS)[people.labels.numpy()]
    sha256 = pixel_sha256(people.images.numpy())
    table["sha256"], table["group"], table["flat"] = sha256, group, flat
    table = table.sort_values("name", ignore_index=True)
    table["group"] = table.groupby("group", sort=False).ngroup()  # numbered by first name, whatever the order was
    table["keep"], table["reason"], table["twin"] = True, "kept", ""
    columns = {name: table[name].to_numpy(object) for name in ("keep", "reason", "twin")}
    shared = table[table.duplicated("group", keep=False) | table.flat]
    judged = ("test", "val") if duplicates_of_val else ("test",)
    for _, members in shared.groupby("group"):
        for row, reason, twin in _verdicts(list(members.itertuples()), judged, majority):
            columns["reason"][row], columns["twin"][row] = reason, twin
    _obey_links(table, columns, sorted(sha256[list(pair)].tolist() for pair in links), judged)
    columns["keep"] = columns["reason"] == "kept"
    return table.assign(**columns).drop(columns="flat")


def _verdicts(members: list, judged: tuple, majority: float):
    """Yield (row, reason, twin's name) for each face of one group."""
    train = [face for face in members if face.split == "train"]
    rest = [face for face in train if not face.flat]
    yield from ((face.Index, "kept", _twin(face, train)) for face in members if face.split != "train")
    yield from ((face.Index, "blank", "") for face in train if face.flat)
    for split in judged:
        originals = [face for face in members if face.split == split]
        if originals:
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
    for face in others:
        yield face.Index, "duplicate" if face.label == label else "conflict", stays.name


def _obey_links(table: pd.DataFrame, columns: dict, links: list, judged: tuple) -> None:
    """Put duplicate_of_… and twins where a link of sha256 joins a training face to a judged one of another group."""
    alike, names = table.groupby("sha256").indices, table.name.to_numpy()
    reason, twin, split = columns["reason"], columns["twin"], table.split.to_numpy()
    for original in judged:
        for one, other in [turned for pair in links for turned in (pair, pair[::-1])]:
            pairs = ((mine, theirs) for mine in alike[one] for theirs in alike[other])
            for mine, theirs in pairs:
                if split[mine] == "train" and split[theirs] == original:
                    twin[theirs] = twin[theirs] or names[mine]
                    if reason[mine] in ("kept", "duplicate", "conflict"):
                        reason[mine], twin[mine] = f"duplicate_of_{original}", names[theirs]


def _twin(face, others: list) -> str:
    """The name among `others` with the same pixels, else the first; '' if there is none."""
    return next((other.name for other in others if other.sha256 == face.sha256), others[0].name if others else "")


def build(
    people: Faces, *, deviation: float = 5.0, majority: float = 0.5, duplicates_of_val: bool = True, **rules
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(manifest, table of looked-at pairs) of a set of faces. deviation: see is_flat; rules: see near_pairs."""
    images = people.images.numpy()
    flat, sha256 = duplicates.is_flat(images, deviation), pixel_sha256(images)
    group, pairs = duplicates.find_duplicates(images, flat=flat, sha256=sha256, **rules)
    links = pairs.loc[pairs["duplicate"], ["i", "j"]].to_numpy()
    links = links[group[links[:, 0]] != group[links[:, 1]]]
    manifest = decide(people, group, flat, links, majority=majority, duplicates_of_val=duplicates_of_val)
    return manifest, pairs


def read(people: Faces, out_root="outputs", *, log=print) -> pd.DataFrame:
    """The manifest that notebook 02 wrote, in the order of `people`; made in place (under a minute) if it's missing.

    One that was edited by hand is obeyed, and that is told. Raises ValueError if it belongs to other data, if `keep`
    holds something else than True and False, or if it drops a val or test face.
    """
    path = paths.stage(STAGE, out_root) / "manifest.csv"
    if not path.exists():
        log(f"{path.name} is missing: notebook 02's default rules are applied now")
        paths.write_csv(path, build(people)[0])
    table = pd.read_csv(path, keep_default_na=False)
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path} has no column {', '.join(missing)}: it is saved with commas between. Or: make 02")
    table = table.set_index("name", drop=False)
    if len(table) != len(people) or not table.index.is_unique or not table.index.isin(people.names).all():
        raise ValueError(
            f"{path} lists {len(table):,} images, the data '{people.source.get('name')}' has {len(people):,}, and they "
            f"are not the same: it belongs to other data. Run notebook 02 again, or: make 02"
        )
    table = table.loc[people.names]
    emotions = np.array(EMOTIONS)[people.labels.numpy()]
    if (table.sha256.to_numpy() != pixel_sha256(people.images.numpy())).any():
        raise ValueError(f"{path} was made from other pixels under the same names. Run notebook 02 again, or: make 02")
    if (table.split.to_numpy() != people.split).any() or (table.label.to_numpy() != emotions).any():
        raise ValueError(
            f"{path} has other splits or labels for the same images than the data: only keep may be edited. "
            f"Run notebook 02 again, or: make 02"
        )
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
    """(N,) bool, True for val and test faces that have a copy in raw training."""
    return ((manifest.split != "train") & (manifest.twin != "")).to_numpy()


def cross_split(manifest: pd.DataFrame) -> np.ndarray:
    """(3, 3) int, order of SPLITS: faces of the row's split that have a copy in the column's split."""
    table = np.zeros((3, 3), int)
    for column, split in enumerate(SPLITS):
        members = manifest[manifest.split == split].groupby("group").size()
        others = manifest.group.map(members).fillna(0).to_numpy() - (manifest.split == split).to_numpy()
        for row, of in enumerate(SPLITS):
            table[row, column] = ((manifest.split == of).to_numpy() & (others > 0)).sum()
    return table


def exact_facts(manifest: pd.DataFrame) -> dict:
    """What exact equality alone finds: distinct images, surplus copies, groups, conflicts, groups across splits."""
    same = manifest.groupby("sha256").agg(n=("name", "size"), labels=("label", "nunique"), splits=("split", "nunique"))
    groups = same[same.n > 1]
    in_train = set(manifest.sha256[manifest.split == "train"])
    inside = {s: int(manifest[manifest.split == s].duplicated("sha256").sum()) for s in SPLITS}
    twins = {s: int(manifest.sha256[manifest.split == s].isin(in_train).sum()) for s in ("val", "test")}
    return {
        "images": len(manifest),
        "distinct": len(same),
        "surplus": len(manifest) - len(same),
        "groups": len(groups),
        "surplus_inside": inside,
        "groups_with_several_labels": int((groups.labels > 1).sum()),
        "groups_across_splits": int((groups.splits > 1).sum()),
        "with_exact_twin_in_training": twins,
    }


def _not_blank(manifest: pd.DataFrame) -> pd.DataFrame:
    return manifest[~manifest.group.isin(manifest.group[manifest.reason == "blank"])]


def conflict_matrix(manifest: pd.DataFrame) -> np.ndarray:
    """(7, 7) int, symmetric: groups of copies that carry both the row's and the column's emotion.

    The diagonal counts the groups whose copies all carry that emotion. Blank faces show no emotion and don't count.
    """
    manifest = _not_blank(manifest)
    table = pd.crosstab(manifest.group, manifest.label).reindex(columns=EMOTIONS, fill_value=0).to_numpy()
    carries = (table[table.sum(axis=1) > 1] > 0).astype(int)  # (groups, 7)
    both = carries.T @ carries
    np.fill_diagonal(both, carries[carries.sum(axis=1) == 1].sum(axis=0))
    return both


def disputed(manifest: pd.DataFrame) -> int:
    """Pictures whose copies carry more than one emotion; blank ones don't count."""
    manifest = _not_blank(manifest)
    return int((manifest.groupby("group").label.nunique() > 1).sum())


def label_agreement(manifest: pd.DataFrame, *, seed: int = 0, resamples: int = 2000) -> dict:
    """How often two copies of one picture carry the same label, and what that says about the best possible accuracy.

    If a picture gets emotion k with probability p_k, two labels agree with probability a = Σ p_k², and whoever always
    says the likeliest emotion is right with probability max p, which lies between a and √a. Every picture counts
    once, however many copies it has; blank ones don't. returns: pictures, agreement, ci95 (bootstrap over pictures),
    ceiling: [a, √a], ceiling_ci95: from the lower end of a's interval to the root of its upper end.
    """
    counts = pd.crosstab(_not_blank(manifest).group, manifest.label).to_numpy()
    n = counts.sum(axis=1)
    counts, n = counts[n > 1], n[n > 1]
    if not len(n):
        return {"pictures": 0}
    agree = (counts * (counts - 1)).sum(axis=1) / (n * (n - 1))
    draws = np.random.default_rng(seed).integers(0, len(agree), (resamples, len(agree)))
    mean, (low, high) = agree.mean(), np.quantile(agree[draws].mean(axis=1), [0.025, 0.975])
    told = {"agreement": [mean], "ci95": [low, high], "ceiling": [mean, mean**0.5], "ceiling_ci95": [low, high**0.5]}
    told = {name: [round(float(value), 4) for value in values] for name, values in told.items()}
    return {"pictures": len(n), **told, "agreement": told["agreement"][0]}
