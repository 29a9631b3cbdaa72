"""Training, validation and test: what names say of them, and what is drawn where they say nothing."""

import warnings
from dataclasses import replace

import numpy as np

from fer_helpers.cleaning import duplicates
from fer_helpers.data import vocabulary
from fer_helpers.faces import Faces, pixel_sha256

FAIR = "in proportion to the emotions and with exact and near-duplicates on one side"


def official(names: np.ndarray, folders: list[str], problems: dict) -> tuple[np.ndarray, bool]:
    """(N,) split of each image, and whether that is the official one. folders: (N,) in small letters.

    The folder decides; where no folder is for validation, the names part test/ into PublicTest and PrivateTest.
    """
    folder = np.array([vocabulary.SPLIT_WORDS.get(name, "") for name in folders], dtype="<U5")
    if {*folders} == vocabulary.USAGES.keys() or not any(folders):
        return folder, any(folders)
    stated = np.array([vocabulary.split_in_name(name) for name in names], dtype="<U5")
    split, of_test = folder, (folder == "test") & np.isin(stated, ("val", "test"))
    if "val" not in folder and 2 * of_test.sum() > (folder == "test").sum():  # too few would be no validation split
        split = np.where(of_test, stated, folder)
    unfit = names[stated != split]
    if len(unfit) and any(stated):
        kind = "Names that don't fit the official splits (Training_, PublicTest_, PrivateTest_); their folder decides"
        problems[kind] = [(name, "") for name in unfit.tolist()]
    return split, not len(unfit)


def lacking(people: Faces) -> str:
    """What is missing for a training and a test; "" if nothing is, or all can still be drawn."""
    drawn = len(people) and not people.split.any()
    train = people if drawn else people.part("train")
    emotions = np.count_nonzero(train.counts())
    if emotions < 2:
        return "training faces of one emotion only" if emotions else "no usable training faces"
    return "" if drawn or {*people.split} & {"val", "test"} else "no usable test faces"


def complete(people: Faces, name: str, problems: dict) -> Faces:
    """All three splits. Without any, a tenth is drawn for test and a tenth for validation; without a test, validation
    becomes it; without validation, a fifth of the training faces.
    """
    split = people.split.astype("<U5")
    if not split.any():
        test, val, *_ = _folds(people, np.arange(len(people)), 10, name)
        split[:], split[val], split[test] = "train", "val", "test"
        kind = f"No splits were there: {len(val):,} faces were drawn for validation and {len(test):,} for test, {FAIR}"
        problems[kind] = []
    if "test" not in split:
        problems["No test split was there: the validation split became it, and isn't used for validation"] = []
        split[split == "val"] = "test"
    if "val" not in split:
        train = np.flatnonzero(split == "train")
        chosen, *_ = _folds(people, train, 5, name)
        split[chosen] = "val"
        told = f"{len(chosen):,} of {len(train):,} training faces became one"
        problems[f"No validation split was there: {told}, {FAIR}"] = []
    changed = {"source": {**people.source, "official_split": False}} if (split != people.split).any() else {}
    return replace(people, split=split, **changed)


def _folds(people, among, count, name):
    """The faces at `among` in `count` equal parts (indices): stratified, exact and near-duplicates in one."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels, images = people.labels[among].numpy(), people.images[among].numpy()
    groups, _ = duplicates.find_duplicates(images, flat=duplicates.is_flat(images), sha256=pixel_sha256(images))
    if len(set(groups)) < count or np.bincount(labels).max() < count:
        raise ValueError(f"{name} has too few different training faces to cut one in {count} for validation: add some.")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of emotions with fewer faces than parts
        parts = StratifiedGroupKFold(count, shuffle=True, random_state=0).split(labels, labels, groups)
        return [among[chosen] for _, chosen in parts]
