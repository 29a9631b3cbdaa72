"""Scores and calibration, by numbers that were worked out by hand or by another library."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from fer_helpers import metrics
from fer_helpers.faces import Faces


def certain(guess, sure=0.94):
    """(…, 7) probabilities of which `sure` is on the answer."""
    return np.where(np.eye(7)[np.asarray(guess)] > 0, sure, (1 - sure) / 6)


def test_scores_by_hand():
    labels = np.array([0, 0, 1, 3, 3, 3, 3, 6])
    guess = np.array([0, 1, 1, 3, 3, 3, 0, 6])
    made = metrics.scores(certain(guess), labels)
    assert made["n"] == 8 and made["accuracy"] == 0.75
    assert made["loss"] == pytest.approx((6 * -np.log(0.94) + 2 * -np.log(0.01)) / 8, abs=1e-4)
    assert made["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0.75 + 1) / 4, abs=1e-4)
    for mean in ("macro", "weighted"):  # emotions without a face count in none
        known = sklearn_metrics.f1_score(labels, guess, labels=[0, 1, 3, 6], average=mean)
        assert made[f"{mean}_f1"] == pytest.approx(known, abs=1e-4)
    assert made["ece"] == pytest.approx(0.94 - 0.75, abs=1e-4)
    assert made["per_class"]["happy"] == {"precision": 1.0, "recall": 0.75, "f1": 0.8571, "n": 4}
    assert made["per_class"]["sad"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0}


def test_an_accuracys_interval_is_wilsons():
    """Solved from its definition: the ends p at which the share seen lies 1.96 standard errors of p away."""
    right, count = 2200, 3589
    for end in metrics.accuracy_interval(right, count):
        assert abs(right / count - end) == pytest.approx(1.95996 * (end * (1 - end) / count) ** 0.5, abs=1e-4)
    assert metrics.accuracy_interval(0, 55) == pytest.approx([0.0, 0.0653], abs=1e-4), "none of few may still be some"
    assert metrics.accuracy_interval(55, 55) == pytest.approx([0.9347, 1.0], abs=1e-4)


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match="no face to score"):
        metrics.scores(np.zeros((0, 7)), np.zeros(0, dtype=int))


def test_parts_choose_the_right_faces():
    split = np.array(["val", "test", "test", "test"])
    people = Faces(torch.zeros(4, 48, 48), torch.tensor([0, 1, 2, 3]), split, split, {"official_split": True})
    probs, leaked = certain([0, 1, 2, 0]), np.array([True, True, False, False])
    made = metrics.parts(people, probs, leaked)
    expected = {"val": (1, 1.0), "test": (3, 0.6667), "test_7178": (4, 0.75), "test_without_duplicates": (2, 0.5)}
    assert {name: (part["n"], part["accuracy"]) for name, part in made.items()} == expected
    test = split == "test"
    alone = metrics.parts(people.select(test), probs[test], leaked[test])  # of a model that was trained on val
    assert alone["val"] is None and alone["test_7178"] is None and alone["test"]["n"] == 3
    people.source["official_split"] = False
    assert metrics.parts(people, probs, leaked)["test_7178"] is None


def test_most_confused_ignores_the_diagonal():
    matrix = np.diag([10] * 7)
    matrix[2, 6], matrix[0, 5] = 5, 2
    (first, second, *_) = metrics.most_confused(matrix)
    assert first == ("fear", "surprise", pytest.approx(5 / 15)) and second[:2] == ("angry", "sad")


def test_measures_are_those_of_scores():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 3, 4, 6], 200)  # two emotions have no face
    probs = certain(np.where(rng.random(200) < 0.5, labels, rng.integers(0, 7, 200)))
    made, known = metrics.measures(metrics.confusion(probs, labels)), metrics.scores(probs, labels)
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert made[name] == pytest.approx(known[name], abs=1e-4)
    assert made["recall_happy"] == pytest.approx(known["per_class"]["happy"]["recall"], abs=1e-4)
    assert np.isnan(made["recall_fear"])
    stacked = metrics.measures(np.stack([np.eye(7), np.ones((7, 7))]))
    assert stacked["macro_f1"] == pytest.approx([1, 1 / 7]) and stacked["recall_sad"] == pytest.approx([1, 1 / 7])


def test_below_the_confidence_threshold_answers_are_too_often_wrong():
    sure = np.array([0.9, 0.8, 0.8, 0.6, 0.5, 0.4])
    probs = np.column_stack([sure, *[(1 - sure) / 6] * 6])
    labels = np.array([0, 0, 1, 0, 0, 1])  # right, right, wrong, right, right, wrong
    expected = {0.5: (0.4, 1.0, 0.6667), 0.75: (0.5, 0.8333, 0.8), 0.9: (0.9, 0.1667, 1.0)}  # at 0.8 one is wrong
    for accuracy, (threshold, coverage, right) in expected.items():
        answer = metrics.confidence_threshold(probs, labels, accuracy, least=1)
        assert (answer["threshold"], answer["coverage"], answer["right"]) == (threshold, coverage, right)
        assert (sure >= threshold).mean() == pytest.approx(coverage, abs=1e-4)
    assert metrics.confidence_threshold(probs, labels, 0.9, least=2) is None
    assert metrics.confidence_threshold(probs, np.ones(6, int) * 2, 0.5, least=1) is None


@pytest.mark.parametrize(("sure", "right", "degree"), [(0.9, 0.75, 2), (0.75, 0.9, 0.5)])
def test_the_temperature_makes_a_model_as_sure_as_right(sure, right, degree):
    """It predicts emotion 3 or 0; odds of 9 must become odds of 3, the square root, and the other way round."""
    probs, labels = np.zeros((400, 7)), np.where(np.arange(400) < right * 400, 3, 0)
    probs[:, 3], probs[:, 0] = sure, 1 - sure
    assert metrics.temperature(probs, labels) == pytest.approx(degree, abs=2e-3)
    assert metrics.temperature_scaled(probs, degree)[0, 3] == pytest.approx(right, abs=1e-4)


def test_scaled_probabilities_sum_to_one_and_predict_the_same():
    probs = np.random.default_rng(0).dirichlet(np.ones(7), 50)
    for degree in (0.3, 1.0, 4.0):
        warm = metrics.temperature_scaled(probs, degree)
        assert warm.sum(axis=1) == pytest.approx(1) and (warm.argmax(axis=1) == probs.argmax(axis=1)).all()
    assert metrics.temperature_scaled(probs, 1.0) == pytest.approx(probs)


def test_coverage_answers_the_surest_faces_first():
    probs = np.full((4, 7), 0.0)
    probs[:, 0], probs[:, 1] = [0.6, 0.9, 0.8, 0.7], [0.4, 0.1, 0.2, 0.3]
    share, accuracy = metrics.coverage(probs, np.array([0, 0, 1, 0]))
    assert share == pytest.approx([0.25, 0.5, 0.75, 1]) and accuracy == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])
