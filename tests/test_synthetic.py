"""The synthetic faces: the same from the same seed, dealt like FER-2013, and planted as they say."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from fer_helpers.cleaning import manifest as manifests
from fer_helpers.data import synthetic
from fer_helpers.faces import EMOTIONS

EXACT = {"exact": "train", "conflict": "train", "exact_val": "val", "exact_test": "test"}  # split of the originals
NEAR = {"jpeg", "brightness", "shift", "mirrored"}


@pytest.fixture(scope="module")
def people():
    return synthetic.draw(700)


@pytest.fixture(scope="module")
def plants(people):
    """A list of (kind, place, original) with rows in place of names; original is None for a blank."""
    row_of = {name: row for row, name in enumerate(people.names)}
    return [(plant["kind"], row_of[plant["name"]], row_of.get(plant["twin"])) for plant in people.source["planted"]]


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
    assert source == people.source and people.is_synthetic and source.pop("planted")
    name = "synthetic faces"
    assert source == {"name": name, "title": name, "kind": "synthetic", "count": 700, "seed": 0}


def test_every_kind_is_planted_in_train_and_no_image_serves_twice(people, plants):
    counts = Counter(kind for kind, _, _ in plants)
    assert set(counts) == {*EXACT, *NEAR, "blank"} and min(counts.values()) >= 2
    used = [row for _, place, original in plants for row in (place, original) if row is not None]
    assert len(used) == len(set(used))
    assert all(people.split[place] == "train" for _, place, _ in plants)


def test_duplicates_blanks_and_conflicts_are_what_they_say(people, plants):
    for kind, place, original in plants:
        if kind == "blank":
            assert original is None and people.images[place].unique().numel() == 1
            continue
        assert torch.equal(people.images[place], people.images[original]) == (kind in EXACT), kind
        assert (people.labels[place] != people.labels[original]) == (kind == "conflict")
        assert people.split[original] == EXACT.get(kind, people.split[original])
    greys = [int(people.images[place][0, 0]) for kind, place, _ in plants if kind == "blank"]
    assert len(greys) == len(set(greys))
    assert {str(people.split[original]) for kind, _, original in plants if kind in NEAR} == {"train", "val", "test"}


def test_the_search_finds_what_is_planted_and_no_other_duplicates(people):
    manifest, _ = manifests.build(people)
    groups = {frozenset(names) for _, names in manifest.groupby("group").name if len(names) > 1}
    planted = [plant for plant in people.source["planted"] if plant["kind"] != "blank"]
    assert groups == {frozenset([plant["name"], plant["twin"]]) for plant in planted}


def test_too_few_faces_are_refused():
    with pytest.raises(ValueError, match="at least 100"):
        synthetic.draw(99)
