"""Copies, and who leaves training because of them."""

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


def smooth(count, seed=0):
    """(count, 48, 48) uint8 pictures that resemble nothing, as smooth as faces."""
    coarse = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(60, 60), mode="bicubic").clamp(0, 1)
    return (fine * 255).to(torch.uint8).numpy()[:, 0]


def people_of(images, labels, split, names=None):
    names = np.array(names or [f"{s}/{k:03d}" for k, s in enumerate(split)])
    return Faces(torch.from_numpy(np.stack(images)), torch.tensor(labels), np.array(split), names, {"name": "test"})


def reasons(people, **rules):
    manifest, _ = manifests.build(people, **rules)
    return manifest.set_index("name")


def test_phash_is_imagehashs_own():
    import imagehash
    from PIL import Image

    image = smooth(1)[0, :48, :48]
    bits = duplicates.phash_bits(image[None])
    expected = imagehash.phash(Image.fromarray(image)).hash.ravel()
    assert np.array_equal(np.unpackbits(bits.view(np.uint8)).astype(bool), expected)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (2, 0), (0, -2), (-1, 2)])
def test_alignment_undoes_a_shift(down, across):
    big = smooth(3)
    left = big[:, 6:54, 6:54]
    right = big[:, 6 + down : 54 + down, 6 + across : 54 + across]
    assert (duplicates.aligned_correlation(left, right) > 0.999).all()
    if (down, across) != (0, 0):
        assert (duplicates.aligned_correlation(left, right, shift=0) < 0.999).all()


def test_near_copies_are_found_and_strangers_are_not():
    big = smooth(12)
    faces = list(big[:, 6:54, 6:54])
    changed = [faces[0][:, ::-1], big[1, 8:56, 4:52], (faces[2] * 0.8 + 10).astype(np.uint8)]
    table, group = duplicates.near_pairs(np.stack([*faces, *changed]))
    found = {(int(row.i), int(row.j), bool(row.mirrored)) for row in table[table["duplicate"]].itertuples()}
    assert found == {(0, 12, True), (1, 13, False), (2, 14, False)}
    assert len(set(group)) == 12 and group[0] == group[12] and group[1] == group[13] and group[2] == group[14]
    strict, _ = duplicates.near_pairs(np.stack([*faces, *changed]), shift=0)
    assert (1, 13) not in set(zip(strict.i[strict["duplicate"]], strict.j[strict["duplicate"]], strict=True))


def test_every_kind_of_near_copy_is_found_among_drawn_faces():
    people = synthetic.draw(700)
    images, flat = people.images.numpy(), duplicates.is_flat(people.images.numpy())
    _, first = np.unique(pixel_sha256(images), return_index=True)
    lead = np.sort(first[~flat[first]])
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
    images = smooth(4)[:, :48, :48]
    real = duplicates.near_pairs

    def confused(pictures, **rules):
        table, group = real(pictures, **rules)
        stranger = pd.DataFrame(
            {"i": [0], "j": [len(images)], "correlation": [0.9], "mirrored": [False], "duplicate": [True]}
        )
        other = stranger.assign(i=1)
        return pd.concat([table, stranger, other], ignore_index=True), group

    before = planted.marks(images, np.arange(4), count=1)
    monkeypatch.setattr(duplicates, "near_pairs", confused)
    after = planted.marks(images, np.arange(4), count=1)
    assert after.wrong[0] - before.wrong[0] in (1, 2) and (after.wrong[1:] == before.wrong[1:]).all()


def test_a_chain_of_slowly_changing_pictures_does_not_link_strangers():
    stops = smooth(4, seed=4)[:, :48, :48].astype(float)
    steps = [(a + (b - a) * step / 16).astype(np.uint8) for a, b in itertools.pairwise(stops) for step in range(16)]
    table, group = duplicates.near_pairs(np.stack(steps))
    linked = set(map(tuple, table.loc[table["duplicate"], ["i", "j"]].to_numpy().tolist()))
    assert {(k, k + 1) for k in range(len(steps) - 1)} <= linked, "each is a copy of the next"
    assert group[0] != group[-1], "the first and the last are strangers"
    assert (group[:4] == group[0]).all() and (group[-4:] == group[-1]).all(), "neighbours stay together"


def test_a_chain_that_is_cut_leaves_no_duplicate_of_a_test_face_in_training():
    stops = smooth(4, seed=4)[:, :48, :48].astype(float)
    steps = [(a + (b - a) * step / 16).astype(np.uint8) for a, b in itertools.pairwise(stops) for step in range(16)]
    _, group = duplicates.near_pairs(np.stack(steps))
    last = int(np.flatnonzero(np.diff(group))[0])  # the cut falls behind it
    split = np.full(len(steps) + 1, "train", dtype="<U5")
    split[last] = "test"
    people = people_of([*steps, steps[last + 1]], [0] * len(split), list(split))  # and an exact copy of its neighbour
    manifest, pairs = manifests.build(people)
    kept = dict(zip(manifest.name, manifest.keep & (manifest.split == "train"), strict=True))
    for i, j in pairs.loc[pairs["duplicate"], ["i", "j"]].to_numpy():
        assert not ({last} & {i, j}) or not any(kept[people.names[k]] for k in (i, j)), (i, j)
    rows = manifest.set_index("name")
    assert rows.reason[people.names[last + 1]] == rows.reason[people.names[-1]] == "duplicate_of_test"
    assert rows.twin[people.names[last + 1]] == people.names[last] and rows.keep[people.names[last]]


def test_a_long_chain_does_not_take_long_and_is_cut_alike():
    stops = smooth(5, seed=4)[:, :48, :48].astype(float)
    steps = [(a + (b - a) * step / 50).astype(np.uint8) for a, b in itertools.pairwise(stops) for step in range(50)]
    _, group = duplicates.near_pairs(np.stack(steps))
    assert len(steps) > duplicates.LONG and group[0] != group[-1] and (group[:8] == group[0]).all()


def test_the_rules_of_deciding_can_be_changed():
    one, two, three = smooth(3)[:, :48, :48]
    people = people_of([one, one, one, two, two, three], [0, 0, 3, 1, 1, 2], ["train"] * 3 + ["train", "val", "test"])
    told = {}
    for rules in ({}, {"majority": 0.7}, {"majority": 1.0}, {"duplicates_of_val": False}):
        told[str(rules)] = manifests.build(people, **rules)[0].set_index("name").reason[people.names[:4]].tolist()
    assert told["{}"] == ["kept", "duplicate", "conflict", "duplicate_of_val"]
    assert told["{'majority': 0.7}"] == told["{'majority': 1.0}"] == ["conflict"] * 3 + ["duplicate_of_val"]
    assert told["{'duplicates_of_val': False}"] == ["kept", "duplicate", "conflict", "kept"]


def test_only_faces_of_the_right_size_are_searched():
    with pytest.raises(ValueError, match="48×48"):
        duplicates.near_pairs(np.zeros((3, 64, 64), dtype=np.uint8))


def test_reasons_follow_their_precedence():
    one, two, three, four, five, six = smooth(6)[:, :48, :48]
    flat = np.full((48, 48), 90, dtype=np.uint8)
    images = [one, one, two, two, three, three, three, four, four, five, flat, flat, six, six, six]
    labels = [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 0, 0, 1, 1, 1]
    split = ["train", "test", "train", "val", *["train"] * 8, "train", "val", "test"]
    table = reasons(people_of(images, labels, split))
    got = [table.reason[name] for name in sorted(table.index, key=lambda n: int(n.split("/")[1]))]
    expected = [
        "duplicate_of_test",
        "kept",
        "duplicate_of_val",
        "kept",
        "kept",
        "duplicate",
        "conflict",
        "conflict",
        "conflict",
    ]
    assert got == [*expected, "kept", "blank", "blank", "duplicate_of_test", "kept", "kept"]
    assert table.twin["train/000"] == "test/001" and table.twin["test/001"] == "train/000"
    assert table.twin["train/005"] == "train/004" and table.twin["train/006"] == "train/004"
    assert table.twin["train/007"] == "train/008" and table.twin["train/012"] == "test/014"
    assert table[table.split != "train"].keep.all(), "val and test are never cleaned"


def test_the_manifest_does_not_depend_on_the_order_of_the_images(tmp_path):
    images = list(smooth(8)[:, :48, :48])
    images += [images[0], images[1], images[2][:, ::-1].copy()]
    labels, split = [0, 1, 2, 3, 4, 5, 6, 0, 0, 2, 2], ["train"] * 6 + ["val", "test"] + ["train"] * 3
    people = people_of(images, labels, split, [f"n{k:02d}" for k in range(11)])
    first = manifests.build(people)[0]
    other = manifests.build(people.select(np.random.default_rng(0).permutation(11)))[0]
    paths.write_csv(tmp_path / "a.csv", first)
    paths.write_csv(tmp_path / "b.csv", other)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_flat_images_do_no_harm(count):
    lone = people_of(list(smooth(count)[:, :48, :48]), [0] * count, ["train"] * count)
    assert reasons(lone).keep.all()
    flat = people_of([np.full((48, 48), 7, dtype=np.uint8)] * 3, [0, 1, 2], ["train"] * 3)
    assert (reasons(flat).reason == "blank").all()


def test_manifest_of_other_data_is_refused(tmp_path):
    images = list(smooth(4)[:, :48, :48])
    people = people_of(images, [0, 1, 2, 3], ["train", "train", "val", "test"])
    said = []
    made = manifests.read(people, tmp_path, log=said.append)
    assert "missing" in said[0] and list(made.name) == list(people.names)
    with pytest.raises(ValueError, match="belongs to other data"):
        manifests.read(people.select([0, 1, 2]), tmp_path)
    changed = people_of([*images[:3], smooth(1, seed=9)[0, :48, :48]], [0, 1, 2, 3], people.split, list(people.names))
    with pytest.raises(ValueError, match="other pixels"):
        manifests.read(changed, tmp_path)


def test_a_manifest_edited_by_hand_is_obeyed_and_told(tmp_path):
    images = list(smooth(4)[:, :48, :48])
    people = people_of(images, [0, 1, 2, 3], ["train", "train", "val", "test"])
    made, said = manifests.read(people, tmp_path, log=lambda _: None), []
    folder = paths.stage(manifests.STAGE, tmp_path)
    paths.write_json(folder / "metrics.json", {"data": manifests.apply(people, made).card()})
    manifests.read(people, tmp_path, log=said.append)
    assert not said
    made.loc["train/001", "keep"] = False
    paths.write_csv(folder / "manifest.csv", made)
    edited = manifests.read(people, tmp_path, log=said.append)
    assert "edited by hand" in said[0] and not edited.keep["train/001"]
    assert list(manifests.apply(people, edited).part("train").names) == ["train/000"]


@pytest.mark.parametrize(
    ("name", "value", "says"), [("test/003", False, "never cleaned"), ("train/000", "no", "not no")]
)
def test_a_manifest_that_cannot_be_obeyed_is_refused(tmp_path, name, value, says):
    people = people_of(list(smooth(4)[:, :48, :48]), [0, 1, 2, 3], ["train", "train", "val", "test"])
    made = manifests.read(people, tmp_path, log=lambda _: None).astype({"keep": object})
    made.loc[name, "keep"] = value
    paths.write_csv(paths.stage(manifests.STAGE, tmp_path) / "manifest.csv", made)
    with pytest.raises(ValueError, match=says):
        manifests.read(people, tmp_path)


@pytest.mark.parametrize(("column", "value"), [("split", "train"), ("label", "happy")])
def test_a_manifest_with_other_splits_or_labels_is_refused(tmp_path, column, value):
    people = people_of(list(smooth(4)[:, :48, :48]), [0, 1, 2, 3], ["train", "train", "val", "test"])
    made = manifests.read(people, tmp_path, log=lambda _: None)
    made.loc[["val/002"], column] = value
    paths.write_csv(paths.stage(manifests.STAGE, tmp_path) / "manifest.csv", made)
    with pytest.raises(ValueError, match="other splits or labels"):
        manifests.read(people, tmp_path)


def test_a_manifest_without_its_columns_is_refused(tmp_path):
    people = people_of(list(smooth(4)[:, :48, :48]), [0, 1, 2, 3], ["train", "train", "val", "test"])
    made = manifests.read(people, tmp_path, log=lambda _: None)
    made.to_csv(paths.stage(manifests.STAGE, tmp_path) / "manifest.csv", index=False, sep=";")
    with pytest.raises(ValueError, match="has no column name, split"):
        manifests.read(people, tmp_path)


def test_apply_keeps_what_the_manifest_keeps(tmp_path):
    images = list(smooth(4)[:, :48, :48])
    people = people_of([*images, images[0]], [0, 1, 2, 3, 0], ["train", "train", "val", "test", "train"])
    kept = manifests.apply(people, manifests.read(people, tmp_path, log=lambda _: None))
    assert list(kept.names) == ["train/000", "train/001", "val/002", "test/003"]
    assert kept.source["cleaned"]["removed_from_training"] == 1


def test_counts_of_leaks_and_conflicts():
    one, two, three = smooth(3)[:, :48, :48]
    people = people_of([one, one, one, two, two, three], [0, 0, 0, 2, 6, 1], ["train", "val", "test", *["train"] * 3])
    manifest = manifests.build(people)[0]
    assert manifests.cross_split(manifest).tolist() == [[2, 1, 1], [1, 0, 1], [1, 1, 0]]
    matrix = manifests.conflict_matrix(manifest)
    fear, surprise = EMOTIONS.index("fear"), EMOTIONS.index("surprise")
    assert matrix[fear, surprise] == matrix[surprise, fear] == 1 and matrix[0, 0] == 1 and matrix.sum() == 3
    assert manifests.disputed(manifest) == 1
    flat = people_of([np.full((48, 48), 9, dtype=np.uint8)] * 2, [0, 1], ["train"] * 2)
    blank = manifests.build(flat)[0]
    assert manifests.disputed(blank) == 0 and manifests.conflict_matrix(blank).sum() == 0, "blanks show no emotion"
    facts = manifests.exact_facts(manifest)
    assert (facts["distinct"], facts["surplus"], facts["groups"]) == (3, 3, 2)
    assert facts["groups_with_several_labels"] == 1 and facts["groups_across_splits"] == 1
    assert manifests.has_training_duplicate(manifest).sum() == 2
    assert isinstance(manifest, pd.DataFrame) and list(manifest.columns) == [
        *["name", "split", "label", "sha256", "group", "keep", "reason", "twin"]
    ]


def test_two_identical_pictures_with_different_labels_both_leave():
    one, two = smooth(2)[:, :48, :48]
    table = reasons(people_of([one, one, two], [0, 5, 1], ["train"] * 3))
    assert list(table.reason) == ["conflict", "conflict", "kept"]
    assert list(table.twin) == ["train/001", "train/000", ""]


def test_label_agreement_and_the_ceiling_that_follows():
    one, two, three, four = smooth(4)[:, :48, :48]
    images = [one, one, two, two, three, three, three, four]
    people = people_of(images, [0, 0, 1, 2, 3, 3, 4, 5], ["train"] * 8)
    told = manifests.label_agreement(manifests.build(people)[0])
    mean = (1 + 0 + 1 / 3) / 3  # two agree, two don't, one pair of three agrees
    assert told["pictures"] == 3 and told["agreement"] == round(mean, 4)
    assert told["ceiling"] == [round(mean, 4), round(mean**0.5, 4)]
    assert told["ci95"][0] < mean < told["ci95"][1] and told["ceiling_ci95"][1] == pytest.approx(
        told["ci95"][1] ** 0.5, abs=1e-3
    )
    lone = people_of([one, two], [0, 1], ["train"] * 2)
    assert manifests.label_agreement(manifests.build(lone)[0]) == {"pictures": 0}
