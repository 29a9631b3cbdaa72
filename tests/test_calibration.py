"""Temperature and coverage: exact numbers."""

import numpy as np
import pytest

from fer_helpers import metrics


def two(sure, right, faces=400):
    """Faces that a model calls emotion 3 with `sure`; `right` of them are, the others are emotion 0."""
    probs = np.zeros((faces, 7))
    probs[:, 3], probs[:, 0] = sure, 1 - sure
    return probs, np.where(np.arange(faces) < right * faces, 3, 0)


def test_a_model_that_is_too_sure_gets_the_temperature_that_makes_it_as_sure_as_right():
    probs, labels = two(0.9, 0.75)  # odds of 9 must become odds of 3: the square root
    assert metrics.temperature(probs, labels) == pytest.approx(2, abs=2e-3)
    probs, labels = two(0.75, 0.9)
    assert metrics.temperature(probs, labels) == pytest.approx(0.5, abs=2e-3)


def test_tempered_probabilities_sum_to_one_and_say_the_same():
    probs = np.random.default_rng(0).dirichlet(np.ones(7), 50)
    for degree in (0.3, 1.0, 4.0):
        warm = metrics.temperature_scaled(probs, degree)
        assert warm.sum(axis=1) == pytest.approx(1) and (warm.argmax(axis=1) == probs.argmax(axis=1)).all()
    assert metrics.temperature_scaled(probs, 1.0) == pytest.approx(probs)
    assert metrics.temperature_scaled(two(0.9, 1)[0], 2.0)[0, 3] == pytest.approx(0.75, abs=1e-4)


def test_coverage_answers_the_surest_faces_first():
    probs = np.full((4, 7), 0.0)
    probs[:, 0], probs[:, 1] = [0.6, 0.9, 0.8, 0.7], [0.4, 0.1, 0.2, 0.3]
    share, accuracy = metrics.coverage(probs, np.array([0, 0, 1, 0]))
    assert share == pytest.approx([0.25, 0.5, 0.75, 1]) and accuracy == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])
