"""The synthetic faces: the same from the same seed, dealt like FER-2013, and planted as they say."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from fer_helpers.data import synthetic
from fer_helpers.faces import EMOTIONS

KINDS = {"exact", "exact_val", "exact_test", "jpeg", "brightness", "shift", "mirrored", "conflict", "blank"}
STEPS = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]


@pytest.fixture(scope="module")
def people():
    return synthetic.draw(700)


@pytest.fixture(scope="module")
def plants(people):
    """A list of (kind, place, original) with rows in place of names; original is None for a blank."""
    row_of = {name: row for row, name in enumerate(people.names)}
    return [(plant["kind"], row_of[plant["name"]], row_of.get(plant["twin"])) for plant in people.source["planted"]]


def correlations(first, second):
    """(N, h, w), (M, h, w) -> (N, M): pixel correlation of every pair."""
    flat = [images.reshape(len(images), -1).float() for images in (first, second)]
    flat = [rows - rows.mean(1, keepdim=True) for rows in flat]
    first, second = (rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-6) for rows in flat)
    return first @ second.T


def aligned(first, second, down, right):
    """Correlation of what two sets share when `second` shows everything (down, right) pixels further on."""
    rows, columns = slice(max(0, down), 48 + min(0, down)), slice(max(0, right), 48 + min(0, right))
    there = slice(max(0, -down), 48 + min(0, -down)), slice(max(0, -right), 48 + min(0, -right))
    return correlations(first[:, rows, columns], second[:, there[0], there[1]])


def test_same_seed_same_bytes_and_another_seed_other_faces(people):
    again, other = synthetic.draw(700), synthetic.draw(700, seed=1)
    assert torch.equal(people.images, again.images) and torch.equal(people.labels, again.labels)
    assert (people.names == again.names).all() and people.source == again.source
    assert not torch.equal(people.images, other.images) and people.source["planted"] != other.source["planted"]


def test_global_random_state_stays():
    before = np.random.get_state()  # noqa: NPY002
    synthetic.draw(100)
    after = np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0] and (before[1] == after[1]).all() and before[2:] == after[2:]


@pytest.mark.parametrize("count", [100, 233, 700])
def test_dealt_like_fer2013(count):
    drawn = synthetic.draw(count, seed=3)
    assert drawn.images.shape == (count, 48, 48) and drawn.images.dtype == torch.uint8
    assert drawn.labels.dtype == torch.int64 and len(set(drawn.names)) == count
    share = np.array(synthetic.TRAINING) / sum(synthetic.TRAINING)
    assert np.abs(drawn.counts() - share * count).max() < 1
    for split in ("val", "test"):
        assert np.abs(drawn.part(split).counts() - drawn.counts() / 10).max() <= 0.5
    for name, split, label in zip(drawn.names, drawn.split, drawn.labels, strict=True):
        assert name.startswith(f"{split}/{EMOTIONS[label]}/synthetic_") and name.endswith(".png")


def test_source_tells_what_was_drawn_and_is_json_ready(people):
    source = json.loads(json.dumps(people.source))
    assert source == people.source and people.is_synthetic
    assert {**source, "planted": []} == {
        "name": "synthetic faces",
        "title": "synthetic faces",
        "kind": "synthetic",
        "count": 700,
        "seed": 0,
        "planted": [],
    }


def test_every_kind_is_planted_in_train_and_no_image_serves_twice(people, plants):
    counts = Counter(kind for kind, _, _ in plants)
    assert set(counts) == KINDS and min(counts.values()) >= 2
    used = [row for _, place, original in plants for row in (place, original) if row is not None]
    assert len(used) == len(set(used))
    assert all(people.split[place] == "train" for _, place, _ in plants)


def test_copies_blanks_and_conflicts_are_what_they_say(people, plants):
    twin_split = {"exact": "train", "conflict": "train", "exact_val": "val", "exact_test": "test"}
    greys = []
    for kind, place, original in plants:
        if kind == "blank":
            assert original is None and people.images[place].unique().numel() == 1
            greys.append(int(people.images[place][0, 0]))
            continue
        same_pixels = torch.equal(people.images[place], people.images[original])
        assert same_pixels == (kind in twin_split), kind
        assert (people.labels[place] != people.labels[original]) == (kind == "conflict")
        if kind in twin_split:
            assert people.split[original] == twin_split[kind]
    assert len(greys) == len(set(greys))


def test_near_copies_correlate_once_the_change_is_undone(people, plants):
    splits = set()
    for kind, place, original in plants:
        if kind not in {"jpeg", "brightness", "shift", "mirrored"}:
            continue
        splits.add(str(people.split[original]))
        copy, source = people.images[[place]], people.images[[original]]
        copy = copy.flip(2) if kind == "mirrored" else copy
        likeness = max(float(aligned(copy, source, *step)) for step in (STEPS if kind == "shift" else [(0, 0)]))
        assert likeness > 0.95, (kind, likeness)
    assert splits == {"train", "val", "test"}


def test_unrelated_faces_do_not_look_like_copies(people, plants):
    copies = {place for _, place, _ in plants}
    images = people.images[[row for row in range(len(people)) if row not in copies]]
    for other in (images, images.flip(2)):
        for step in STEPS:
            likeness = aligned(images, other, *step)
            if other is images:
                likeness.fill_diagonal_(0)
            assert likeness.max() < 0.95


def test_too_few_faces_are_refused():
    with pytest.raises(ValueError, match="at least 100"):
        synthetic.draw(99)
