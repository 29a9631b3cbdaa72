"""Duplicates, and who leaves training because of them."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from fer_helpers import paths
from fer_helpers.cleaning import duplicates, planted
from fer_helpers.cleaning import manifest as manifests
from fer_helpers.data import synthetic
from fer_helpers.faces import EMOTIONS, Faces, pixel_sha256

FLAT = np.full((48, 48), 90, dtype=np.uint8)


def smooth(count, seed=0, side=48):
    """(count, side, side) uint8 pictures that resemble nothing, as smooth as faces; side: 60 at most."""
    coarse = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(60, 60), mode="bicubic").clamp(0, 1)
    return (fine * 255).to(torch.uint8).numpy()[:, 0, :side, :side]


def chain(stops, steps):
    """Pictures of which each is a duplicate of the next, and the first and the last are strangers."""
    ends = itertools.pairwise(smooth(stops, seed=4).astype(float))
    return [(a + (b - a) * step / steps).astype(np.uint8) for a, b in ends for step in range(steps)]


def people_of(images, labels, split, names=None):
    names = np.array(names or [f"{s}/{k:03d}" for k, s in enumerate(split)])
    return Faces(torch.from_numpy(np.stack(images)), torch.tensor(labels), np.array(split), names, {"name": "test"})


def manifest_of(images, labels, split=None, **rules):
    """The manifest of these faces, all in training unless said otherwise, with names as its index."""
    people = people_of(images, labels, split or ["train"] * len(labels))
    return manifests.build(people, **rules)[0].set_index("name", drop=False).loc[people.names]


@pytest.fixture
def four():
    """Two training faces, one of val and one of test, of which none is a duplicate."""
    return people_of(smooth(4), [0, 1, 2, 3], ["train", "train", "val", "test"])


@pytest.mark.parametrize(("down", "across"), [(0, 0), (2, 0), (0, -2), (-1, 2)])
def test_alignment_undoes_a_shift(down, across):
    big = smooth(3, side=60)
    left, right = big[:, 6:54, 6:54], big[:, 6 + down : 54 + down, 6 + across : 54 + across]
    assert (duplicates.aligned_correlation(left, right) > 0.999).all()
    if (down, across) != (0, 0):
        assert (duplicates.aligned_correlation(left, right, shift=0) < 0.999).all()


def test_near_duplicates_are_found_and_strangers_are_not():
    big = smooth(12, side=60)
    faces = list(big[:, 6:54, 6:54])
    images = np.stack([*faces, faces[0][:, ::-1], big[1, 8:56, 4:52], (faces[2] * 0.8 + 10).astype(np.uint8)])
    table, group = duplicates.near_pairs(images)
    pairs = {(row.i, row.j, row.mirrored) for row in table[table["duplicate"]].itertuples()}
    assert pairs == {(0, 12, True), (1, 13, False), (2, 14, False)}
    assert len(set(group)) == 12 and (group[:3] == group[12:]).all()
    strict, _ = duplicates.near_pairs(images, shift=0)
    assert not (strict["duplicate"] & (strict.i == 1) & (strict.j == 13)).any()


def test_every_kind_of_near_duplicate_is_found_among_synthetic_faces():
    images = synthetic.draw(700).images.numpy()
    _, first = np.unique(pixel_sha256(images), return_index=True)
    lead = np.sort(first[~duplicates.is_flat(images)[first]])
    table = planted.marks(images[lead], np.arange(len(lead)), count=15)
    meant = table[table.meant]
    assert set(meant.kind) == set(planted.KINDS) and (meant.groupby("kind").strength.nunique() >= 2).all()
    assert (meant.found == 15).all(), meant
    assert (meant.right >= meant.found).all()
    wide = table[(table.kind == "moved both ways, pixels") & (table.strength == 4)]
    assert wide.found.item() == 0, "what is moved by four pixels is beyond what is meant"
    shifted = table[(table.kind == "mirrored and moved, pixels")]
    assert shifted.hash_found.sum() == 0, "a hash of the plain face doesn't find mirrored ones"


def test_a_wrong_pair_is_counted_as_wrong(monkeypatch):
    images, real = smooth(4), duplicates.near_pairs

    def confused(pictures, **rules):
        table, group = real(pictures, **rules)
        strangers = {"i": [0, 1], "j": len(images), "correlation": 0.9, "mirrored": False, "duplicate": True}
        return pd.concat([table, pd.DataFrame(strangers)], ignore_index=True), group

    before = planted.marks(images, np.arange(4), count=1)
    monkeypatch.setattr(duplicates, "near_pairs", confused)
    after = planted.marks(images, np.arange(4), count=1)
    assert after.wrong[0] - before.wrong[0] in (1, 2) and (after.wrong[1:] == before.wrong[1:]).all()


def test_a_chain_of_slowly_changing_pictures_does_not_link_strangers():
    steps = chain(4, 16)
    table, group = duplicates.near_pairs(np.stack(steps))
    linked = set(map(tuple, table.loc[table["duplicate"], ["i", "j"]].to_numpy().tolist()))
    assert {(k, k + 1) for k in range(len(steps) - 1)} <= linked, "each is a duplicate of the next"
    assert group[0] != group[-1], "the first and the last are strangers"
    assert (group[:4] == group[0]).all() and (group[-4:] == group[-1]).all(), "neighbours stay together"


def test_a_chain_that_is_cut_leaves_no_duplicate_of_a_test_face_in_training():
    steps = chain(4, 16)
    _, group = duplicates.near_pairs(np.stack(steps))
    last = int(np.flatnonzero(np.diff(group))[0])  # the cut falls behind it
    split = ["test" if row == last else "train" for row in range(len(steps) + 1)]
    people = people_of([*steps, steps[last + 1]], [0] * len(split), split)  # and an exact duplicate of its neighbour
    manifest, pairs = manifests.build(people)
    rows = manifest.set_index("name").loc[people.names]
    kept = (rows.keep & (rows.split == "train")).to_numpy()
    links = pairs.loc[pairs["duplicate"], ["i", "j"]].to_numpy()
    of_test = links[(links == last).any(axis=1)]
    assert len(of_test) and not kept[of_test].any()
    twins = rows.iloc[[last + 1, -1]]
    assert (twins.reason == "duplicate_of_test").all()
    assert twins.twin.iloc[0] == people.names[last] and rows.keep.iloc[last]


def test_a_long_chain_does_not_take_long_and_is_cut_alike():
    steps = chain(5, 50)
    _, group = duplicates.near_pairs(np.stack(steps))
    assert len(steps) > duplicates.LONG and group[0] != group[-1] and (group[:8] == group[0]).all()


RULES = [
    ({}, "kept duplicate conflict duplicate_of_val"),
    ({"majority": 0.7}, "conflict conflict conflict duplicate_of_val"),
    ({"majority": 1.0}, "conflict conflict conflict duplicate_of_val"),
    ({"duplicates_of_val": False}, "kept duplicate conflict kept"),
]


@pytest.mark.parametrize(("rules", "reasons"), RULES)
def test_the_rules_of_deciding_can_be_changed(rules, reasons):
    one, two, three = smooth(3)
    split = ["train"] * 4 + ["val", "test"]
    table = manifest_of([one, one, one, two, two, three], [0, 0, 3, 1, 1, 2], split, **rules)
    assert list(table.reason[:4]) == reasons.split()


def test_only_faces_of_the_right_size_are_searched():
    with pytest.raises(ValueError, match="48×48"):
        duplicates.near_pairs(np.zeros((3, 64, 64), dtype=np.uint8))


def test_reasons_follow_their_precedence():
    pictures = [*smooth(6), FLAT]
    images = [pictures[k] for k in (0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 6, 6, 5, 5, 5)]
    labels = [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 0, 0, 1, 1, 1]
    table = manifest_of(images, labels, ["train", "test", "train", "val", *["train"] * 9, "val", "test"])
    of_others, alone = "duplicate_of_test kept duplicate_of_val kept", "kept duplicate conflict conflict conflict kept"
    assert list(table.reason) == f"{of_others} {alone} blank blank duplicate_of_test kept kept".split()
    for row, twin in {0: 1, 1: 0, 5: 4, 6: 4, 7: 8, 8: 7, 12: 14}.items():
        assert table.twin.iloc[row] == table.index[twin]
    assert table.twin.iloc[9] == "" and table[table.split != "train"].keep.all(), "val and test are never cleaned"


def test_the_manifest_does_not_depend_on_the_order_of_the_images():
    images = smooth(8)
    images = [*images, images[0], images[1], images[2][:, ::-1]]
    labels, split = [0, 1, 2, 3, 4, 5, 6, 0, 0, 2, 2], ["train"] * 6 + ["val", "test"] + ["train"] * 3
    people = people_of(images, labels, split, [f"n{k:02d}" for k in range(11)])
    first = manifests.build(people)[0]
    other = manifests.build(people.select(np.random.default_rng(0).permutation(11)))[0]
    assert first.to_csv() == other.to_csv()


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_flat_images_do_no_harm(count):
    assert manifest_of(smooth(count), [0] * count).keep.all()
    assert (manifest_of([FLAT] * 3, [0, 1, 2]).reason == "blank").all()


def test_manifest_of_other_data_is_refused(tmp_path, four):
    said = []
    made = manifests.read(four, tmp_path, log=said.append)
    assert "missing" in said[0] and list(made.name) == list(four.names)
    with pytest.raises(ValueError, match="belongs to other data"):
        manifests.read(four.select([0, 1, 2]), tmp_path)
    changed = people_of([*smooth(4)[:3], *smooth(1, seed=9)], [0, 1, 2, 3], four.split, list(four.names))
    with pytest.raises(ValueError, match="other pixels"):
        manifests.read(changed, tmp_path)


def test_a_manifest_edited_by_hand_is_obeyed_and_told(tmp_path, four):
    made, said = manifests.read(four, tmp_path, log=lambda _: None), []
    folder = paths.stage(manifests.STAGE, tmp_path)
    paths.write_json(folder / "metrics.json", {"data": manifests.apply(four, made).card()})
    manifests.read(four, tmp_path, log=said.append)
    assert not said
    made.loc["train/001", "keep"] = False
    paths.write_csv(folder / "manifest.csv", made)
    edited = manifests.read(four, tmp_path, log=said.append)
    assert "edited by hand" in said[0] and not edited.keep["train/001"]
    assert list(manifests.apply(four, edited).part("train").names) == ["train/000"]


@pytest.mark.parametrize(
    ("name", "column", "value", "sentence"),
    [
        ("test/003", "keep", False, "never cleaned"),
        ("train/000", "keep", "no", "not no"),
        ("val/002", "split", "train", "other splits"),
        ("val/002", "label", "happy", "other labels"),
        (None, ";", None, "has no column name, split"),
    ],
)
def test_a_manifest_that_cannot_be_obeyed_is_refused(tmp_path, four, name, column, value, sentence):
    made = manifests.read(four, tmp_path, log=lambda _: None).astype({"keep": object})
    if name:
        made.loc[name, column] = value
    made.to_csv(paths.stage(manifests.STAGE, tmp_path) / "manifest.csv", index=False, sep="," if name else column)
    with pytest.raises(ValueError, match=sentence):
        manifests.read(four, tmp_path)


def test_apply_keeps_what_the_manifest_keeps(tmp_path, four):
    again = people_of(four.images[:1].numpy(), [0], ["train"], ["train/004"])
    people = four.join(again)
    kept = manifests.apply(people, manifests.read(people, tmp_path, log=lambda _: None))
    assert list(kept.names) == list(four.names) and kept.source["cleaned"]["removed_from_training"] == 1


def test_counts_of_leaks_and_conflicts():
    one, two, three = smooth(3)
    split = ["train", "val", "test", *["train"] * 3]
    manifest = manifest_of([one, one, one, two, two, three], [0, 0, 0, 2, 6, 1], split)
    assert manifests.cross_split(manifest).tolist() == [[2, 1, 1], [1, 0, 1], [1, 1, 0]]
    matrix = manifests.conflict_matrix(manifest)
    fear, surprise = EMOTIONS.index("fear"), EMOTIONS.index("surprise")
    assert matrix[fear, surprise] == matrix[surprise, fear] == 1 and matrix[0, 0] == 1 and matrix.sum() == 3
    assert manifests.disputed(manifest) == 1
    blank = manifest_of([FLAT] * 2, [0, 1])
    assert manifests.disputed(blank) == 0 and manifests.conflict_matrix(blank).sum() == 0, "blanks show no emotion"
    facts = manifests.exact_facts(manifest)
    assert (facts["distinct"], facts["surplus"], facts["groups"]) == (3, 3, 2)
    assert facts["groups_with_several_labels"] == 1 and facts["groups_across_splits"] == 1
    assert manifests.has_training_duplicate(manifest).sum() == 2
    assert list(manifest.columns) == ["name", "split", "label", "sha256", "group", "keep", "reason", "twin"]


def test_label_agreement_and_the_ceiling_that_follows():
    one, two, three, four = smooth(4)
    manifest = manifest_of([one, one, two, two, three, three, three, four], [0, 0, 1, 2, 3, 3, 4, 5])
    labels = manifests.label_agreement(manifest)
    mean = (1 + 0 + 1 / 3) / 3  # two agree, two don't, one pair of three agrees
    assert labels["pictures"] == 3 and labels["agreement"] == round(mean, 4)
    assert labels["ceiling"] == [round(mean, 4), round(mean**0.5, 4)]
    low, high = labels["ci95"]
    assert low < mean < high and labels["ceiling_ci95"] == pytest.approx([low, high**0.5], abs=1e-3)
    assert manifests.label_agreement(manifest_of([one, two], [0, 1])) == {"pictures": 0}
