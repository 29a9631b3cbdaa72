"""Results of FER-2013 as a CSV beside the reference's, which were made from a folder."""

import numpy as np
import pytest

from fer_helpers import paths, results
from fer_helpers.publishing import leaderboard

FACES = np.array(["aa", "bb", "cc", "dd"])  # starts of their pixels' SHA-256
LABELS, SPLIT = np.arange(4), np.array(["val", "test", "test", "test"])
PROBS = np.eye(7, dtype=np.float32)[[0, 1, 2, 0]]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A function that writes what a model leaves behind, into the reference ("reference") or here ("outputs")."""
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")

    def write(root, stage, order=(0, 1, 2, 3), removed=7, share=1.0, budget="quick", **data):
        order, key = np.array(order), f"names of the {root}"
        cleaned = {"manifest": f"{key}, sorted", "removed_from_training": removed}
        data = {"key": key, "pixels": "p", "official_split": True, "source": root, "cleaned": cleaned} | data
        metrics = {"stage": stage, "data": data} | ({} if stage == "02_cleaning" else {"val": {}, "test": {}})
        metrics |= {"epochs_seen": 6, "config": {"share_of_faces": share}, "run": {"budget": budget}}
        paths.write_json(tmp_path / root / stage / "metrics.json", metrics)
        arrays = {"labels": LABELS[order], "split": SPLIT[order], "pixels": FACES[order], "probs": PROBS[order]}
        results.write_predictions(tmp_path / root / stage / "predictions.npz", names=order.astype(str), **arrays)
        return tmp_path / root

    return write


def test_a_csv_gets_the_references_models_and_their_answers_face_by_face(trained):
    trained("reference", "02_cleaning")
    trained("reference", "04_transfer_learning")
    trained("outputs", "02_cleaning")
    fitting, left_out = leaderboard.all_metrics(trained("outputs", "03_baseline_cnn", order=(2, 1, 3, 0)))
    assert [each["reference"] for each in fitting] == [False, True] and not left_out
    here, kept = leaderboard.predictions([each | {"name": each["stage"]} for each in fitting]).values()
    assert all(np.array_equal(here[name], kept[name]) for name in ("split", "labels", "pixels", "probs"))


def test_a_model_of_a_notebook_that_was_opened_alone_is_not_left_out(trained):
    for stage in ("02_cleaning", "03_baseline_cnn"):
        trained("reference", stage)
    out = trained("outputs", "03_baseline_cnn", pixels="q", removed=8)  # of other faces; 02 left no metrics here
    fitting, left_out = leaderboard.all_metrics(out)
    assert [each["reference"] for each in fitting] == [False] and not left_out


OTHERS = [{"pixels": "q"}, {"pixels": None}, {"official_split": False}, {"removed": 8}]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_other_faces_another_split_or_another_cleaning_are_not_taken_from_the_reference(trained, other):
    trained("reference", "04_transfer_learning")
    trained("outputs", "02_cleaning", **other)
    out = trained("outputs", "03_baseline_cnn", **other)
    assert [each["reference"] for each in leaderboard.all_metrics(out)[0]] == [False]


@pytest.mark.parametrize(
    ("share", "budget", "stands"), [(0.5, "quick", True), (0.4, "full", False), (0.4, "smoke", True)]
)
def test_fewer_than_three_passes_over_the_faces_stand_in_no_leaderboard(trained, share, budget, stands):
    trained("outputs", "02_cleaning")
    trained("outputs", "03_baseline_cnn")
    out = trained("outputs", "04_transfer_learning", share=share, budget=budget)
    fitting, left_out = leaderboard.all_metrics(out)
    assert ("04_transfer_learning" in {each["stage"] for each in fitting}) == stands == (not left_out)


def test_faces_of_another_test_set_are_never_paired(trained):
    places = {root: trained(root, "03_x") / "03_x" for root in ("outputs", "reference")}
    models = [{"name": root, "folder": place, "data": {"key": root}} for root, place in places.items()]
    stored = results.read_predictions(models[0]["folder"] / "predictions.npz")
    results.write_predictions(models[0]["folder"] / "predictions.npz", **stored | {"pixels": FACES[::-1]})
    with pytest.raises(ValueError, match="test faces differ"):
        leaderboard.predictions(models)


@pytest.mark.parametrize(("pretrained", "marked"), [(False, ""), (True, "ImageNet"), ("other faces", "other faces")])
def test_a_model_that_rests_on_other_data_says_so(pretrained, marked):
    assert leaderboard.other_data({"pretrained": pretrained}) == marked
    kept = paths.read_json(paths.REFERENCE / "03_baseline_cnn" / "small_cnn" / "metrics.json") | {"reference": False}
    assert leaderboard.leaderboard_row(kept | {"pretrained": pretrained})["pretrained"] == marked
