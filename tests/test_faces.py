"""The data type, and what becomes of pixels on their way into a network."""

from dataclasses import replace

import numpy as np
import torch

from fer_helpers.faces import EMOTIONS, Faces, Preprocess, pixel_sha256, shuffled


def some(count=10):
    images = torch.arange(count * 48 * 48, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(count, 48, 48)
    labels = torch.arange(count) % 7
    split = np.array(["train", "val", "test", "train", "train"] * 10)[:count]
    return Faces(images, labels, split, np.array([f"face_{k}" for k in range(count)]), {"kind": "folder"})


def test_select_takes_masks_and_indices_and_keeps_rows_together():
    people = some()
    for which in (np.arange(10) % 2 == 1, [1, 3, 5, 7, 9]):
        chosen = people.select(which)
        assert list(chosen.names) == ["face_1", "face_3", "face_5", "face_7", "face_9"]
        assert torch.equal(chosen.images, people.images[1::2]) and torch.equal(chosen.labels, people.labels[1::2])


def test_part_counts_and_join():
    people = some()
    assert list(people.part("val").names) == ["face_1", "face_6"]
    assert people.counts().tolist() == [2, 2, 2, 1, 1, 1, 1]
    both = people.part("val").join(people.part("test"))
    assert len(both) == 4 and set(both.split) == {"val", "test"}


def test_emotions_are_in_the_order_that_folders_give():
    assert list(EMOTIONS) == sorted(EMOTIONS) and len(EMOTIONS) == 7


def test_preprocess_has_exact_numbers():
    images = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    out = Preprocess(size=2, mean=(0.5,), std=(0.25,))(images)
    assert torch.allclose(out, torch.tensor([[[[-2.0, 2.0], [-1.2, -0.4]]]]))


def test_preprocess_repeats_grey_for_three_channels_and_enlarges():
    out = Preprocess(96, 3, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5))(torch.full((2, 48, 48), 255, dtype=torch.uint8))
    assert out.shape == (2, 3, 96, 96)
    assert torch.allclose(out[0, :, 0, 0], torch.tensor([3.0, 2.0, 0.8]))


def test_shuffled_covers_every_face_once():
    people = some()
    first, again, other = ([*shuffled(people, 3, torch.Generator().manual_seed(seed))] for seed in (1, 1, 2))
    assert [len(part) for part in first] == [3, 3, 3, 1]
    assert sorted(torch.cat(first).tolist()) == [*range(10)] != torch.cat(first).tolist()
    assert torch.equal(torch.cat(first), torch.cat(again)) and not torch.equal(torch.cat(first), torch.cat(other))


def test_soft_labels_stay_with_their_faces():
    people = replace(some(), soft_labels=torch.arange(70.0).view(10, 7))
    assert torch.equal(people.select([7, 2]).soft_labels, people.soft_labels[[7, 2]])
    both = people.part("val").join(people.part("test")).to("cpu")
    assert torch.equal(both.soft_labels, people.soft_labels[[1, 6, 2, 7]])
    assert people.key() != some().key() != some().select(range(9)).key()
    assert replace(some(), names=some().names[::-1]).key() == some().key(), "names don't count"


def test_fingerprint_is_equal_only_for_equal_pixels():
    images = np.zeros((3, 48, 48), dtype=np.uint8)
    images[2, 5, 5] = 1
    one, two, three = pixel_sha256(images)
    assert one == two != three


def test_caption_marks_synthetic_faces():
    assert "DEMONSTRATION" in replace(some(), source={"kind": "synthetic"}).caption()
    assert "DEMONSTRATION" not in some().caption() and "10 faces" in some().caption()
