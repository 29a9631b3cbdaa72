"""Comparisons of recipes: planted differences, groups of duplicates, words that follow from the numbers."""

import numpy as np
import pytest

from fer_helpers import metrics, statistics
from fer_helpers.statistics import Difference


def recipe(labels, *, seeds, skill, sharp=1.0, noise=0):
    """(S, N, 7) of runs whose logits favour the true emotion by `skill` on average; sharp: they sound surer."""
    rng = np.random.default_rng(noise)
    logits = rng.normal(0, 1, (seeds, len(labels), 7)) + skill * np.eye(7)[labels]
    powers = np.exp(sharp * logits)
    return powers / powers.sum(axis=-1, keepdims=True)


def test_a_better_recipe_wins_by_every_measure():
    labels = np.random.default_rng(9).integers(0, 7, 800)
    made = statistics.compare(recipe(labels, seeds=3, skill=2.0), recipe(labels, seeds=3, skill=1.5, noise=1), labels)
    assert {name: each.verdict for name, each in made.items()} == {
        "accuracy": "higher",
        "macro_f1": "higher",
        "log_loss": "lower",
        "brier": "lower",
    }
    assert {each.better for each in made.values()} == {"a"} and all(len(each.each) == 3 for each in made.values())
    assert statistics.decide(made, gap_a=0.9, gap_b=0.0)[0] == "a"
    swapped = statistics.compare(
        recipe(labels, seeds=3, skill=1.5, noise=1), recipe(labels, seeds=3, skill=2.0), labels
    )
    assert {each.better for each in swapped.values()} == {"b"}
    assert swapped["brier"].value == pytest.approx(-made["brier"].value)


def test_values_are_those_of_the_scores_after_temperature_scaling():
    labels = np.random.default_rng(9).integers(0, 7, 400)
    a, b = recipe(labels, seeds=2, skill=2.0, sharp=3), recipe(labels, seeds=2, skill=1.5, noise=1)

    def score(probs, name):
        scaled = metrics.temperature_scaled(probs, metrics.temperature(probs, labels))
        if name == "brier":
            return ((scaled - np.eye(7)[labels]) ** 2).sum(axis=1).mean()
        return metrics.scores(scaled, labels)["loss" if name == "log_loss" else name]

    for name, each in statistics.compare(a, b, labels).items():
        expected = [score(one, name) - score(other, name) for one, other in zip(a, b, strict=True)]
        assert each.each == pytest.approx(expected, abs=2e-4) and each.value == pytest.approx(
            np.mean(expected), abs=2e-4
        )


def test_sounding_surer_is_no_difference():
    labels = np.random.default_rng(9).integers(0, 7, 300)
    same = statistics.compare(recipe(labels, seeds=2, skill=1.5), recipe(labels, seeds=2, skill=1.5, sharp=2.5), labels)
    assert all(abs(each.value) < 2e-4 and not each.better for each in same.values())


def test_one_run_without_seeds_and_groups_drawn_as_one():
    labels = np.random.default_rng(9).integers(0, 7, 300)
    a, b = recipe(labels, seeds=1, skill=1.6)[0], recipe(labels, seeds=1, skill=1.5, noise=1)[0]
    alone = statistics.compare(a, b, labels)
    four = statistics.compare(*(np.repeat(each, 4, axis=0) for each in (a, b, labels)), together=np.arange(1200) // 4)
    for name, each in alone.items():
        assert four[name].value == pytest.approx(each.value, abs=2e-4), "four duplicates of a face are one face"
        assert four[name].interval == pytest.approx(each.interval, abs=3e-4)


def test_runs_that_do_not_pair_are_refused():
    labels = np.arange(7)
    with pytest.raises(ValueError, match="as many runs"):
        statistics.compare(recipe(labels, seeds=2, skill=1), recipe(labels, seeds=3, skill=1), labels)
    with pytest.raises(ValueError, match="of 7 labels"):
        statistics.compare(recipe(labels, seeds=2, skill=1)[:, :5], recipe(labels, seeds=2, skill=1), labels)


def test_the_first_conclusive_measure_decides_then_the_gap():
    open_, high, low = (-0.01, 0.01), (0.001, 0.02), (-0.02, -0.001)

    def decided(log_loss=open_, brier=open_, accuracy=open_, gaps=(0.2, 0.1)):
        intervals = {"log_loss": log_loss, "brier": brier, "accuracy": accuracy}
        return statistics.decide({name: Difference(sum(i) / 2, i, name) for name, i in intervals.items()}, *gaps)

    assert decided(log_loss=low, brier=high)[0] == "a" and decided(log_loss=high, accuracy=high)[0] == "b"
    assert decided(brier=low, accuracy=low)[0] == "a" and decided(accuracy=high)[0] == "a"
    best, reason = decided()
    assert best == "b" and "20.0 points for a, 10.0 for b" in reason and "inconclusive" in reason
    assert decided(gaps=(0.1, 0.1))[0] == "b"


def test_a_difference_prints_itself():
    assert str(Difference(0.018, (0.005, 0.03))) == "+1.8 points (0.5 to 3.0)"
    assert str(Difference(-0.0002, (-0.02, 0.0))) == "+0.0 points (-2.0 to 0.0), inconclusive"
    assert str(Difference(-0.012, (-0.02, -0.004), "log_loss")) == "-0.0120 (-0.0200 to -0.0040)"
    for each in (
        Difference(0.018, (0.005, 0.03), each=(0.01, 0.026), shared=(-0.01, 0.04)),
        Difference(-0.2, (-0.3, -0.1), "brier", p=0.04),
    ):
        assert Difference.read(each.card()) == each
    assert each.card()["verdict"] == "lower" and each.better == "a"
