"""The record's bookkeeping: folds that keep duplicates together, out-of-fold answers, the audit of labels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fer_helpers import models, paths
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.results import FinishedModel
from fer_helpers.studies import record, stored
from fer_helpers.studies.run import Where
from fer_helpers.training import Fit

COUNT = 140


@pytest.fixture
def people():
    """112 train, 14 val and 14 test faces named as a CSV's rows are."""
    split = np.repeat(["train", "val", "test"], [112, 14, 14])
    names = np.array([f"row_{k:05d}" for k in range(COUNT)])
    return Faces(torch.zeros(COUNT, 48, 48, dtype=torch.uint8), torch.arange(COUNT) % 7, split, names)


@pytest.fixture
def mask(people):
    return people.split == "train"


@pytest.fixture
def manifest(people):
    """Pairs of duplicates, 7 places apart, so that both carry one label."""
    group = np.arange(COUNT) // 14 * 7 + np.arange(COUNT) % 7
    labels = np.array(EMOTIONS)[people.labels.numpy()]
    return pd.DataFrame({"name": people.names, "label": labels, "group": group, "sha256": [f"{k:064x}" for k in group]})


def test_folds_share_the_training_faces_and_keep_duplicates_together(people, manifest, mask):
    fold = record.folds(manifest, mask)
    assert (fold[~mask] == -1).all() and set(fold[mask]) == {0, 1, 2, 3}
    assert (manifest.assign(fold=fold)[mask].groupby("group").fold.nunique() == 1).all()
    per_fold = [np.bincount(people.labels.numpy()[fold == k], minlength=7) for k in range(4)]
    assert np.ptp(per_fold, axis=0).max() <= 2, "every fold has its share of each emotion"


def test_out_of_fold_answers_come_from_the_fold_that_never_saw_the_face(people, manifest, mask):
    fold, results = record.folds(manifest, mask), []
    for k, answer in ((k, k + s / 2) for k in range(4) for s in (0, 1)):
        answers = np.full(((fold == k).sum(), 7), answer)
        results.append({"condition": f"fold{k}", "answers": answers, "probs": np.full((28, 7), k)})
    soft = record.out_of_fold(results, fold, people)
    assert soft.dtype == np.float16 and (soft[mask] == fold[mask][:, None] + 0.25).all(), "the mean of two seeds"
    assert (soft[people.split == "val"] == 1.5).all() and not soft[people.split == "test"].any()
    members = [{"answers": np.full((112, 7), 2.0)}, {"answers": np.full((112, 7), 4.0)}]
    answers = record.teachers(members, soft, mask)
    assert (answers[mask] == (3 + soft[mask]) / 2).all() and not answers[~mask].any()


def test_the_audit_has_every_face_and_the_most_doubtful_first(people, manifest, mask):
    soft = np.full((COUNT, 7), 0.1, np.float16)
    soft[5] = [0.9, 0, 0, 0, 0, 0.01, 0.09]  # labelled sad
    named = manifest.set_index("name", drop=False)  # as notebook 02's manifest is read
    doubts = record.label_doubts(soft, mask, people, named)
    assert len(doubts) == 112 and list(doubts.columns)[:3] == ["name", "sha256", "label"]
    first = doubts.iloc[0]
    assert (first["name"], first.label, first.likeliest) == ("row_00005", "sad", "angry")
    assert first.probability == pytest.approx(0.01, abs=1e-3) and first.its_probability == pytest.approx(0.9, abs=1e-3)


def test_fer_plus_votes_are_looked_up_by_the_row_of_the_csv(people, manifest, mask, tmp_path):
    soft = np.eye(7, dtype=np.float16)[people.labels.numpy()]
    soft[[5, 6]] = np.eye(7)[0]  # the audit says angry of a sad and of a surprised face
    doubts = record.label_doubts(soft, mask, people, manifest)
    assert record.ferplus_agreement(doubts, None) == "" == record.ferplus_agreement(doubts, tmp_path / "fer2013.csv")
    columns = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
    votes = pd.DataFrame(0, index=range(COUNT), columns=columns)
    votes.loc[5, "anger"], votes.loc[6, "surprise"] = 9, 8
    votes.assign(Usage="Training").to_csv(tmp_path / "fer2013new.csv", index=False)
    sentence = record.ferplus_agreement(doubts, tmp_path / "fer2013.csv")
    assert "2 of 112 faces" in sentence and "with the audit in 50%, with the label in 50%" in sentence
    votes[:100].assign(Usage="Training").to_csv(tmp_path / "fer2013new.csv", index=False)
    sentence = record.ferplus_agreement(doubts, tmp_path / "fer2013.csv")
    assert "isn't FER+'s for these faces" in sentence, "another table's rows"


def test_an_ensemble_has_a_network_only_if_all_its_members_have_one_of_a_kind(people):
    fit = Fit([{"epoch": 1}], {"epoch": 1}, 10.0, 5.0, "float32")
    network = models.build("small_cnn", filters=(8, 8, 8))
    one = FinishedModel("", network, fit, people, {}, {"seed": 3, "device": "cuda"}, 10, 100)
    two = replace(one, run={"seed": 4, "device": "cpu"}, pretrained="other faces")
    both = record.ensemble_model("ensemble", [one, two])
    assert both.run["device"] == "cpu and cuda" and both.pretrained == "other faces" and not one.pretrained
    assert len(both.network.members) == 2 and both.weights == 200 and both.run["seed"] == [3, 4]
    assert len(both.fit.history) == 2 and both.fit.seconds == 20
    other, deep = models.build("small_cnn", filters=(8, 8, 16)), models.build("baseline")
    for lacking in (None, other):  # not kept, or of another kind
        assert record.ensemble_model("ensemble", [one, replace(one, network=lacking)]).network is None
    for first in (replace(one, network=None), replace(one, network=deep)):
        assert record.ensemble_model("ensemble", [first, first]).network is None


def test_class_weights_are_undone_in_answers_and_network_alike():
    weights = np.array([1, 4, 1, 1, 1, 1, 0], np.float32)  # no surprise was trained on
    network = models.build("small_cnn", filters=(8, 8, 8)).eval()
    state = {name: part.numpy() for name, part in network.state_dict().items()}
    faces = torch.randint(0, 256, (5, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        probs = models.probabilities(network, faces, 1).numpy()
        run = record.undone({"probs": probs, "answers": np.zeros((0, 7)), "weights": state}, weights, 0.5)
        network.load_state_dict({name: torch.from_numpy(part) for name, part in run["weights"].items()})
        assert np.allclose(models.probabilities(network, faces, 1), run["probs"], atol=1e-6)
    assert np.allclose(run["probs"][:, 1] / run["probs"][:, 0], probs[:, 1] / probs[:, 0] / 2, rtol=1e-4)
    assert np.allclose(run["probs"].sum(axis=1), 1) and run["answers"].shape == (0, 7)


def test_beside_another_control_lie_no_kept_runs():
    where = Where("08_record")
    half = stored.read(paths.REFERENCE / "08_record" / "runs" / "half_seed0.npz")
    assert [each["condition"] for each in record.closed(["spatial", "gone"], [half], where)] == ["spatial"]
    for second in ({"key": "other"}, {"seed": 1}):  # a second seed that was trained here has none beside it
        assert len(record.closed(["spatial"], [half, half | second], where)) == 1
        assert record.closed(["spatial"], [half | second], where) == []


def test_the_nano_cnn_needs_at_most_25_million_multiply_adds_a_face():
    network = models.build("small_cnn", filters=record.FULL.nano).eval()
    with FlopCounterMode(display=False) as counted:
        network(torch.zeros(1, 1, 48, 48))
    assert counted.get_total_flops() / 2 == 22_644_384 < 25_000_000
