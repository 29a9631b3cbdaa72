"""Copies, and who leaves training because of them."""

import numpy as np
import pandas as pd
import pytest
import torch

from fer_helpers import cleaning, copies, paths
from fer_helpers.faces import EMOTIONS, Faces


def smooth(count, seed=0):
    """(count, 48, 48) uint8 pictures that resemble nothing, as smooth as faces."""
    coarse = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(60, 60), mode="bicubic").clamp(0, 1)
    return (fine * 255).to(torch.uint8).numpy()[:, 0]


def people_of(images, labels, split, names=None):
    names = np.array(names or [f"{s}/{k:03d}" for k, s in enumerate(split)])
    return Faces(torch.from_numpy(np.stack(images)), torch.tensor(labels), np.array(split), names, {"name": "test"})


def reasons(people, **rules):
    manifest, _ = cleaning.build(people, **rules)
    return manifest.set_index("name")


def test_close_hashes_finds_exactly_the_pairs_within_the_distance():
    hashes = np.array([0b0, 0b1, 0b111, 0b1111111], dtype=np.uint64)
    pairs = copies.close_hashes(hashes, hashes, distance=2, block=3)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 1), (1, 2)]


def test_phash_is_imagehashs_own():
    import imagehash
    from PIL import Image

    image = smooth(1)[0, :48, :48]
    bits = copies.phash_bits(image[None])
    expected = imagehash.phash(Image.fromarray(image)).hash.ravel()
    assert np.array_equal(np.unpackbits(bits.view(np.uint8)).astype(bool), expected)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (2, 0), (0, -2), (-1, 2)])
def test_alignment_undoes_a_shift(down, across):
    big = smooth(3)
    left = big[:, 6:54, 6:54]
    right = big[:, 6 + down : 54 + down, 6 + across : 54 + across]
    assert (copies.aligned_correlation(left, right) > 0.999).all()
    if (down, across) != (0, 0):
        assert (copies.aligned_correlation(left, right, shift=0) < 0.999).all()


def test_near_copies_are_found_and_strangers_are_not():
    big = smooth(12)
    faces = list(big[:, 6:54, 6:54])
    changed = [faces[0][:, ::-1], big[1, 7:55, 6:54], (faces[2] * 0.8 + 10).astype(np.uint8)]
    table = copies.near_pairs(np.stack([*faces, *changed]), distance=16)
    found = {(int(row.i), int(row.j), bool(row.mirrored)) for row in table[table["copy"]].itertuples()}
    assert found == {(0, 12, True), (1, 13, False), (2, 14, False)}


def test_reasons_follow_their_precedence():
    one, two, three, four, five, six = smooth(6)[:, :48, :48]
    flat = np.full((48, 48), 90, dtype=np.uint8)
    images = [one, one, two, two, three, three, three, four, four, five, flat, flat, six, six, six]
    labels = [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 0, 0, 1, 1, 1]
    split = ["train", "test", "train", "val", *["train"] * 8, "train", "val", "test"]
    table = reasons(people_of(images, labels, split))
    got = [table.reason[name] for name in sorted(table.index, key=lambda n: int(n.split("/")[1]))]
    expected = ["copy_of_test", "kept", "copy_of_val", "kept", "kept", "copy", "conflict", "conflict", "conflict"]
    assert got == [*expected, "kept", "blank", "blank", "copy_of_test", "kept", "kept"]
    assert table.twin["train/000"] == "test/001" and table.twin["test/001"] == "train/000"
    assert table.twin["train/005"] == "train/004" and table.twin["train/006"] == "train/004"
    assert table.twin["train/007"] == "train/008" and table.twin["train/012"] == "test/014"
    assert table[table.split != "train"].keep.all(), "val and test are never cleaned"


def test_the_manifest_does_not_depend_on_the_order_of_the_images(tmp_path):
    images = list(smooth(8)[:, :48, :48])
    images += [images[0], images[1], images[2][:, ::-1].copy()]
    labels, split = [0, 1, 2, 3, 4, 5, 6, 0, 0, 2, 2], ["train"] * 6 + ["val", "test"] + ["train"] * 3
    people = people_of(images, labels, split, [f"n{k:02d}" for k in range(11)])
    first = cleaning.build(people)[0]
    other = cleaning.build(people.select(np.random.default_rng(0).permutation(11)))[0]
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
    made = cleaning.read(people, tmp_path, log=said.append)
    assert "missing" in said[0] and list(made.name) == list(people.names)
    with pytest.raises(ValueError, match="belongs to other data"):
        cleaning.read(people.select([0, 1, 2]), tmp_path)
    changed = people_of([*images[:3], smooth(1, seed=9)[0, :48, :48]], [0, 1, 2, 3], people.split, list(people.names))
    with pytest.raises(ValueError, match="other pixels"):
        cleaning.read(changed, tmp_path)


def test_apply_keeps_what_the_manifest_keeps(tmp_path):
    images = list(smooth(4)[:, :48, :48])
    people = people_of([*images, images[0]], [0, 1, 2, 3, 0], ["train", "train", "val", "test", "train"])
    kept = cleaning.apply(people, cleaning.read(people, tmp_path, log=lambda _: None))
    assert list(kept.names) == ["train/000", "train/001", "val/002", "test/003"]
    assert kept.source["cleaned"]["removed_from_training"] == 1


def test_counts_of_leaks_and_conflicts():
    one, two, three = smooth(3)[:, :48, :48]
    people = people_of([one, one, one, two, two, three], [0, 0, 0, 2, 6, 1], ["train", "val", "test", *["train"] * 3])
    manifest = cleaning.build(people)[0]
    assert cleaning.cross_split(manifest).tolist() == [[2, 1, 1], [1, 0, 1], [1, 1, 0]]
    matrix = cleaning.conflict_matrix(manifest)
    fear, surprise = EMOTIONS.index("fear"), EMOTIONS.index("surprise")
    assert matrix[fear, surprise] == matrix[surprise, fear] == 1 and matrix[0, 0] == 1 and matrix.sum() == 3
    assert cleaning.disputed(manifest) == 1
    flat = people_of([np.full((48, 48), 9, dtype=np.uint8)] * 2, [0, 1], ["train"] * 2)
    blank = cleaning.build(flat)[0]
    assert cleaning.disputed(blank) == 0 and cleaning.conflict_matrix(blank).sum() == 0, "blanks show no emotion"
    facts = cleaning.exact_facts(manifest)
    assert (facts["distinct"], facts["surplus"], facts["groups"]) == (3, 3, 2)
    assert facts["groups_with_several_labels"] == 1 and facts["groups_across_splits"] == 1
    assert cleaning.has_training_copy(manifest).sum() == 2
    assert isinstance(manifest, pd.DataFrame) and list(manifest.columns) == [
        *["name", "split", "label", "sha256", "group", "keep", "reason", "twin"]
    ]
