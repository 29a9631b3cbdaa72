"""Comparisons of recipes: planted differences, groups of duplicates, words that follow from the numbers."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from fer_helpers import metrics, statistics
from fer_helpers.statistics import Difference, Estimate
from tests.test_metrics import certain

LABELS = np.random.default_rng(9).integers(0, 7, 800)


def recipe(labels, *, seeds, skill, sharp=1.0, noise=0):
    """(S, N, 7) of runs whose logits favour the true emotion by `skill` on average; sharp: they sound surer."""
    rng = np.random.default_rng(noise)
    logits = rng.normal(0, 1, (seeds, len(labels), 7)) + skill * np.eye(7)[labels]
    powers = np.exp(sharp * logits)
    return powers / powers.sum(axis=-1, keepdims=True)


def test_a_better_recipe_wins_by_every_measure():
    good, worse = recipe(LABELS, seeds=3, skill=2.0), recipe(LABELS, seeds=3, skill=1.5, noise=1)
    made, swapped = statistics.compare(good, worse, LABELS), statistics.compare(worse, good, LABELS)
    verdicts = {"accuracy": "higher", "macro_f1": "higher", "log_loss": "lower", "brier": "lower"}
    assert {name: each.verdict for name, each in made.items()} == verdicts
    assert {each.better for each in made.values()} == {"a"} and all(len(each.each) == 3 for each in made.values())
    assert statistics.decide(made, gap_a=0.9, gap_b=0.0)[0] == "a"
    assert {each.better for each in swapped.values()} == {"b"}
    assert swapped["brier"].value == pytest.approx(-made["brier"].value)


def test_values_are_those_of_the_scores_after_temperature_scaling():
    labels = LABELS[:400]
    a, b = recipe(labels, seeds=2, skill=2.0, sharp=3), recipe(labels, seeds=2, skill=1.5, noise=1)

    def score(probs, name):
        scaled = metrics.temperature_scaled(probs, metrics.temperature(probs, labels))
        if name == "brier":
            return ((scaled - np.eye(7)[labels]) ** 2).sum(axis=1).mean()
        return metrics.scores(scaled, labels)["loss" if name == "log_loss" else name]

    for name, each in statistics.compare(a, b, labels).items():
        expected = [score(one, name) - score(other, name) for one, other in zip(a, b, strict=True)]
        assert each.each == pytest.approx(expected, abs=2e-4)
        assert each.value == pytest.approx(np.mean(expected), abs=2e-4)


def test_sounding_surer_is_no_difference():
    labels = LABELS[:300]
    same = statistics.compare(recipe(labels, seeds=2, skill=1.5), recipe(labels, seeds=2, skill=1.5, sharp=2.5), labels)
    assert all(abs(each.value) < 2e-4 and not each.better for each in same.values())


def test_one_run_without_seeds_and_groups_drawn_as_one():
    labels = LABELS[:300]
    a, b = recipe(labels, seeds=1, skill=1.6)[0], recipe(labels, seeds=1, skill=1.5, noise=1)[0]
    alone = statistics.compare(a, b, labels)
    four = statistics.compare(*(np.repeat(each, 4, axis=0) for each in (a, b, labels)), together=np.arange(1200) // 4)
    for name, each in alone.items():
        assert four[name].value == pytest.approx(each.value, abs=2e-4), "four duplicates of a face are one face"
        assert four[name].interval == pytest.approx(each.interval, abs=3e-4)


def test_runs_that_do_not_pair_are_refused():
    labels = np.arange(7)
    two, three = (recipe(labels, seeds=seeds, skill=1) for seeds in (2, 3))
    with pytest.raises(ValueError, match="as many runs"):
        statistics.compare(two, three, labels)
    with pytest.raises(ValueError, match="of 7 labels"):
        statistics.compare(two[:, :5], two, labels)


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
    assert str(Difference(-0.0002, (-0.02, 0.0))) == "-0.02 points (-2.0 to 0.0), inconclusive"
    assert str(Difference(0.028, (0.0004, 0.052))) == "+2.8 points (0.04 to 5.2)", "significant, and it looks so"
    assert str(Estimate(0.678, (0.663, 0.693))) == "67.8 % (66.3 to 69.3)"
    assert str(Difference(-0.012, (-0.02, -0.004), "log_loss")) == "-0.0120 (-0.0200 to -0.0040)"
    shared = Difference(0.018, (0.005, 0.03), each=(0.01, 0.026), shared=(-0.01, 0.04))
    brier = Difference(-0.2, (-0.3, -0.1), "brier", p=0.04)
    assert all(Difference.read(json.loads(json.dumps(each.card()))) == each for each in (shared, brier))
    assert brier.card()["verdict"] == "lower" and brier.better == "a"


def test_paired_difference_by_the_faces_on_which_two_models_differ():
    a = np.array([True] * 60 + [False] * 40)
    b = np.array([True] * 45 + [False] * 15 + [True] * 5 + [False] * 35)
    made = statistics.paired_difference(a, b)
    assert made.p == pytest.approx(stats.binomtest(15, 20).pvalue)
    assert made.value == 0.1 and made.verdict == "higher" and made.better == "a"
    assert made.interval == pytest.approx([0.02, 0.18], abs=0.011)
    assert statistics.paired_difference(b, a).verdict == "lower"
    same = statistics.paired_difference(a, a)
    assert same.verdict == "inconclusive" and same.p == 1.0


def test_the_pigeonhole_mean_is_exact_where_nothing_varies():
    first = np.arange(8) < 3
    ones = np.where(first, np.ones((3, 8)), np.nan)
    assert statistics.pigeonhole_mean(ones) == Estimate(1.0, (1.0, 1.0), each=(1.0, 1.0, 1.0))
    less = statistics.pigeonhole_mean(-0.5 * ones, np.where(first, np.nan, np.ones((3, 8))))
    assert less.value == -1.5 and less.interval == (-1.5, -1.5) and less.verdict == "lower"
    assert statistics.pigeonhole_mean(0 * ones, 0).verdict == "inconclusive"
    assert less.points == (-150, -150, -150, -150, -150, -150)
    assert Difference(-0.03, (-0.04, -0.02), of="log_loss").points == (-0.03, -0.04, -0.02), "a log loss is no share"
    with pytest.raises(ValueError, match="no face"):
        statistics.pigeonhole_mean(ones, np.full((3, 8), np.nan))


def test_a_shared_error_decides_less():
    gain = np.random.default_rng(3).normal(0.1, 1, (1, 500))
    alone, among = (statistics.pigeonhole_mean(gain - gain.mean() + 0.1, 0, among=k) for k in (1, 20))
    assert alone.verdict == among.verdict == alone.verdict_shared == "higher" and alone.shared is None
    assert among.verdict_shared == "inconclusive" and among.interval == alone.interval


def test_the_pigeonhole_bootstrap_is_that_of_faces_or_of_seeds_where_the_other_does_not_vary():
    gain = np.random.default_rng(0).integers(-1, 2, 2000)
    alike = np.tile(gain, (3, 1))  # every seed is right on the same faces
    made = statistics.pigeonhole_mean(alike)
    wide = 1.96 * gain.std() / np.sqrt(2000)
    assert made.value == pytest.approx(gain.mean(), abs=1e-4) and made.each == (made.value,) * 3
    assert made.interval == pytest.approx([gain.mean() - wide, gain.mean() + wide], abs=0.1 * wide)
    paired = statistics.pigeonhole_mean(alike, together=np.arange(2000) // 4)  # drawn four by four
    assert np.diff(paired.interval) == pytest.approx(2 * wide, rel=0.2)
    seeds = statistics.pigeonhole_mean(np.tile([[0.0], [0.1], [0.2]], (1, 50)))
    assert seeds.value == 0.1 and seeds.interval == (0.0, 0.2), "two draws of 3 seeds are one seed in 1 of 9 each"


def test_the_seeds_whole_variance_is_in_the_interval():
    """Faces don't vary here: the interval's variance must be that of a mean of 5 seeds, not 4 fifths of it."""
    rng, drawn, real = np.random.default_rng(0), [], []
    for _ in range(200):
        seeds = rng.normal(0, 1, (5, 1))
        low, high = statistics.pigeonhole_mean(np.tile(seeds, (1, 3)), resamples=500).interval
        drawn.append(((high - low) / 3.92) ** 2)
        real.append(seeds.var(ddof=1) / 5)
    assert np.mean(drawn) == pytest.approx(np.mean(real), rel=0.12)


def test_a_planted_difference_of_differences_is_covered():
    """Seeds and faces vary, and a part of the faces gains 0.2 more: about 95 intervals in 100 should hold that."""
    part, held, zero = np.arange(600) < 200, 0, 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        luck, ease = rng.normal(0, 0.03, (4, 2)), rng.normal(0, 0.3, (1, 600))  # a seed has other luck with each part
        values = rng.normal(0.05, 0.5, (4, 600)) + luck[:, part.astype(int)] + ease + 0.2 * part
        sides = np.where(part, values, np.nan), np.where(part, np.nan, values)
        low, high = statistics.pigeonhole_mean(*sides, resamples=400).interval
        held += low <= 0.2 <= high
        zero += low <= 0 <= high
    assert held >= 52 and zero <= 6


def test_macro_f1_by_every_resample():
    """Two seeds, of which one is drawn, and four faces: the interval's ends must stand where those of all 512 do."""
    labels, guesses, others = np.array([1, 1, 3, 3]), [[1, 3, 3, 3], [1, 1, 3, 1]], [[3, 3, 3, 3], [3, 1, 3, 3]]
    guesses, others = np.array(guesses), np.array(others)

    def gain(seed, faces):
        score = {"labels": sorted({*labels[faces]}), "average": "macro", "zero_division": 0}
        a, b = (sklearn_metrics.f1_score(labels[faces], side[seed, faces], **score) for side in (guesses, others))
        return a - b

    truth = np.array([gain(seed, [*faces]) for faces in itertools.product(range(4), repeat=4) for seed in (0, 1)])
    made = statistics.compare(certain(guesses), certain(others), labels, among=5)["macro_f1"]
    real = [gain(seed, [0, 1, 2, 3]) for seed in (0, 1)]
    assert made.each == pytest.approx(real, abs=1e-4) and made.value == pytest.approx(np.mean(real), abs=1e-4)
    ends = dict(zip((0.025, 0.975, 0.005, 0.995), made.interval + made.shared, strict=True))
    for share, end in ends.items():
        assert (truth < end - 1e-4).mean() - 0.005 <= share <= (truth <= end + 1e-4).mean() + 0.005


def test_compare_agrees_with_the_mean_of_the_gain_on_accuracy():
    rng = np.random.default_rng(1)
    labels, together = rng.integers(0, 7, 900), np.arange(900) // 3
    guesses, others = (np.where(rng.random((3, 900)) < share, labels, (labels + 1) % 7) for share in (0.6, 0.5))
    made = statistics.compare(certain(guesses), certain(others), labels, together=together)["accuracy"]
    known = statistics.pigeonhole_mean(guesses == labels, others == labels, together=together, resamples=10_000)
    assert made.value == known.value and made.each == known.each
    assert made.interval == pytest.approx(known.interval, abs=0.004)
    nothing = statistics.compare(certain(guesses), certain(guesses), labels, measures=statistics.EVERY)
    assert tuple(nothing) == statistics.EVERY and {each.verdict for each in nothing.values()} == {"inconclusive"}
    alone = statistics.estimate(certain(guesses), labels)["accuracy"]
    assert alone.value == pytest.approx((guesses == labels).mean(), abs=1e-4)


def test_an_emotion_without_a_face_has_no_recall():
    labels = np.array([0, 0, 3, 3])
    made = statistics.estimate(certain(labels), labels, measures=statistics.EVERY)
    assert {name for name in made if name.startswith("recall")} == {"recall_angry", "recall_happy"}
    assert all(made[name].value == 1 and made[name].interval == (1, 1) for name in made if "recall" in name)
