"""Scores, by numbers that were worked out by hand or by another library."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from fer_helpers import metrics
from fer_helpers.faces import Faces


def certain(guess, sure=0.94):
    rest = (1 - sure) / 6
    return np.where(np.eye(7)[np.asarray(guess)] > 0, sure, rest)


def test_scores_by_hand():
    labels = np.array([0, 0, 1, 3, 3, 3, 3, 6])
    guess = np.array([0, 1, 1, 3, 3, 3, 0, 6])
    made = metrics.scores(certain(guess), labels)
    assert made["n"] == 8 and made["accuracy"] == 0.75
    assert made["loss"] == pytest.approx((6 * -np.log(0.94) + 2 * -np.log(0.01)) / 8, abs=1e-4)
    assert made["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0.75 + 1) / 4, abs=1e-4)
    there = [0, 1, 3, 6]  # emotions without a face count in no mean
    assert made["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(labels, guess, labels=there, average="macro"), abs=1e-4
    )
    assert made["weighted_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, guess, average="weighted"), abs=1e-4)
    assert made["ece"] == pytest.approx(0.94 - 0.75, abs=1e-4)
    assert made["per_class"]["happy"] == {"precision": 1.0, "recall": 0.75, "f1": 0.8571, "n": 4}
    assert made["per_class"]["sad"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0}


def test_interval_is_the_bootstraps():
    right, count = 2200, 3589
    drawn = np.random.default_rng(0).binomial(count, right / count, 200_000) / count
    assert metrics.accuracy_interval(right, count) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=5e-4)
    assert metrics.accuracy_interval(0, 10) == [0.0, 0.0] and metrics.accuracy_interval(10, 10) == [1.0, 1.0]


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match="no face to score"):
        metrics.scores(np.zeros((0, 7)), np.zeros(0, dtype=int))


def test_parts_choose_the_right_faces():
    import torch

    split = np.array(["val", "test", "test", "test"])
    people = Faces(torch.zeros(4, 48, 48), torch.tensor([0, 1, 2, 3]), split, split, {"official_split": True})
    probs, leaked = certain([0, 1, 2, 0]), np.array([True, True, False, False])
    made = metrics.parts(people, probs, leaked)
    assert {name: (part["n"], part["accuracy"]) for name, part in made.items()} == {
        "val": (1, 1.0),
        "test": (3, 0.6667),
        "test_7178": (4, 0.75),
        "test_without_duplicates": (2, 0.5),
    }
    final = split == "test"
    alone = metrics.parts(people.select(final), probs[final], leaked[final])
    assert alone["val"] is None and alone["test_7178"] is None and alone["test"]["n"] == final.sum(), (
        "val was learnt from"
    )
    people.source["official_split"] = False
    assert metrics.parts(people, probs, leaked)["test_7178"] is None


def test_most_confused_ignores_the_diagonal():
    matrix = np.diag([10] * 7)
    matrix[2, 6], matrix[0, 5] = 5, 2
    (first, second, *_) = metrics.most_confused(matrix)
    assert first == ("fear", "surprise", pytest.approx(5 / 15)) and second[:2] == ("angry", "sad")


def test_mcnemar_and_paired_difference():
    a = np.array([True] * 60 + [False] * 40)
    b = np.array([True] * 45 + [False] * 15 + [True] * 5 + [False] * 35)
    assert metrics.mcnemar(a, b) == pytest.approx(stats.binomtest(15, 20).pvalue)
    made = metrics.paired_difference(a, b)
    assert made["difference"] == 0.1 and made["verdict"] == "a better"
    assert made["ci95"] == pytest.approx([0.02, 0.18], abs=0.011)
    assert metrics.paired_difference(b, a)["verdict"] == "b better"
    assert metrics.paired_difference(a, a)["verdict"] == "inconclusive" and metrics.mcnemar(a, a) == 1.0


def test_crossed_is_exact_where_nothing_varies():
    values, part = np.ones((3, 8)), np.arange(8) < 3
    made = metrics.pigeonhole_mean(values, part)
    assert made == {"mean": 1.0, "ci95": [1.0, 1.0], "each": [1.0, 1.0, 1.0], "verdict": "above zero"}
    values[:, :3] = -0.5
    made = metrics.pigeonhole_mean(values, part, ~part)
    assert made["mean"] == -1.5 and made["ci95"] == [-1.5, -1.5] and made["verdict"] == "below zero"
    assert metrics.pigeonhole_mean(0 * values, part)["verdict"] == "inconclusive"
    assert metrics.points(made) == (-150, -150, -150, -150, -150, -150)
    with pytest.raises(ValueError, match="no face"):
        metrics.pigeonhole_mean(values, part, np.zeros(8, bool))


def test_a_shared_error_decides_less():
    gain = np.random.default_rng(3).normal(0.1, 1, (1, 500))
    alone, among = (metrics.pigeonhole_mean(gain - gain.mean() + 0.1, np.full(500, True), among=k) for k in (1, 20))
    assert alone["verdict"] == among["verdict"] == "above zero" and "verdict_shared" not in alone
    assert among["verdict_shared"] == "inconclusive" and among["ci95"] == alone["ci95"]


def test_crossed_is_the_bootstrap_of_faces_or_of_seeds_where_the_other_does_not_vary():
    gain = np.random.default_rng(0).integers(-1, 2, 2000)
    alike = np.tile(gain, (3, 1))  # every seed is right on the same faces
    made = metrics.pigeonhole_mean(alike, np.full(2000, True))
    wide = 1.96 * gain.std() / np.sqrt(2000)
    assert made["mean"] == pytest.approx(gain.mean(), abs=1e-4) and made["each"] == [made["mean"]] * 3
    assert made["ci95"] == pytest.approx([gain.mean() - wide, gain.mean() + wide], abs=0.1 * wide)
    paired = metrics.pigeonhole_mean(alike, np.full(2000, True), together=np.arange(2000) // 4)  # drawn four by four
    assert np.diff(paired["ci95"]) == pytest.approx(2 * wide, rel=0.2)
    same = metrics.pigeonhole_mean(np.repeat(alike, 4, axis=1), np.full(8000, True), together=np.arange(8000) // 4)
    assert np.diff(same["ci95"]) == pytest.approx(2 * wide, rel=0.1), "four copies of a face are one face"
    seeds = metrics.pigeonhole_mean(np.tile([[0.0], [0.1], [0.2]], (1, 50)), np.full(50, True))
    assert seeds["mean"] == 0.1 and seeds["ci95"] == [0.0, 0.2], "two lots among 3 seeds are one seed in 1 of 9 each"


def test_crossed_shows_the_seeds_whole_variance():
    """Faces don't vary here: the interval's variance must be that of a mean of 5 seeds, not 4 fifths of it."""
    rng, drawn, real = np.random.default_rng(0), [], []
    for _ in range(200):
        seeds = rng.normal(0, 1, (5, 1))
        low, high = metrics.pigeonhole_mean(np.tile(seeds, (1, 3)), np.full(3, True), resamples=500)["ci95"]
        drawn.append(((high - low) / 3.92) ** 2)
        real.append(seeds.var(ddof=1) / 5)
    assert np.mean(drawn) == pytest.approx(np.mean(real), rel=0.12)


def test_crossed_covers_a_planted_difference():
    """Seeds and faces vary, and a part of the faces gains 0.2 more: about 95 intervals in 100 should hold that."""
    part, held, zero = np.arange(600) < 200, 0, 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        luck, ease = rng.normal(0, 0.03, (4, 2)), rng.normal(0, 0.3, (1, 600))  # a seed has other luck with each part
        values = rng.normal(0.05, 0.5, (4, 600)) + luck[:, part.astype(int)] + ease + 0.2 * part
        low, high = metrics.pigeonhole_mean(values, part, ~part, seed=trial, resamples=400)["ci95"]
        held += low <= 0.2 <= high
        zero += low <= 0 <= high
    assert held >= 52 and zero <= 6


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


def test_pigeonhole_scores_by_every_resample():
    """Two seeds, of which one is drawn, and four faces: the interval's ends must stand where those of all 512 do."""
    labels, guesses, others = np.array([1, 1, 3, 3]), [[1, 3, 3, 3], [1, 1, 3, 1]], [[3, 3, 3, 3], [3, 1, 3, 3]]
    guesses, others = np.array(guesses), np.array(others)

    def gain(seed, faces):
        score = {"labels": sorted({*labels[faces]}), "average": "macro", "zero_division": 0}
        a, b = (sklearn_metrics.f1_score(labels[faces], side[seed, faces], **score) for side in (guesses, others))
        return a - b

    every = np.array([[gain(seed, list(faces)) for seed in (0, 1)] for faces in itertools.product(range(4), repeat=4)])
    truth = every.ravel()
    made = metrics.pigeonhole_scores(guesses, labels, others, among=5, resamples=40_000)["macro_f1"]
    real = [gain(seed, [0, 1, 2, 3]) for seed in (0, 1)]
    assert made["each"] == pytest.approx(real, abs=1e-4) and made["mean"] == pytest.approx(np.mean(real), abs=1e-4)
    ends = dict(zip((0.025, 0.975, 0.005, 0.995), made["ci95"] + made["ci_shared"], strict=True))
    for share, end in ends.items():
        assert (truth < end - 1e-4).mean() - 0.003 <= share <= (truth <= end + 1e-4).mean() + 0.003


def test_pigeonhole_scores_agree_with_crossed_on_accuracy():
    rng = np.random.default_rng(1)
    labels, together = rng.integers(0, 7, 900), np.arange(900) // 3
    guesses, others = (np.where(rng.random((3, 900)) < share, labels, (labels + 1) % 7) for share in (0.6, 0.5))
    made = metrics.pigeonhole_scores(guesses, labels, others, together=together)
    gain = (guesses == labels).astype(int) - (others == labels)
    known = metrics.pigeonhole_mean(gain, np.full(900, True), together=together, resamples=10_000)
    assert made["accuracy"]["mean"] == known["mean"] and made["accuracy"]["each"] == known["each"]
    assert made["accuracy"]["ci95"] == pytest.approx(known["ci95"], abs=0.004)
    found = [(name, each["verdict"]) for name, each in metrics.pigeonhole_scores(guesses, labels, guesses).items()]
    assert len(found) == 10 and {verdict for _, verdict in found} == {"inconclusive"}
    alone = metrics.pigeonhole_scores(guesses, labels)["accuracy"]
    assert alone["mean"] == pytest.approx((guesses == labels).mean(), abs=1e-4) and alone["verdict"] == "above zero"
    assert alone["ci_shared"] == alone["ci95"], "one comparison shares with none"


def test_pigeonhole_scores_leave_out_an_emotion_without_a_face():
    labels = np.array([0, 0, 3, 3])
    made = metrics.pigeonhole_scores(labels[None], labels)
    assert {name for name in made if name.startswith("recall")} == {"recall_angry", "recall_happy"}
    assert all(each["mean"] == 1 and each["ci95"] == [1, 1] for each in made.values())


def test_below_the_threshold_of_sureness_answers_are_too_often_wrong():
    sure = np.array([0.9, 0.8, 0.8, 0.6, 0.5, 0.4])
    probs = np.column_stack([sure, *[(1 - sure) / 6] * 6])
    labels = np.array([0, 0, 1, 0, 0, 1])  # right, right, wrong, right, right, wrong
    share = {
        0.5: (0.4, 1.0, 0.6667),
        0.75: (0.5, 0.8333, 0.8),
        0.9: (0.9, 0.1667, 1.0),
    }  # 0.8 holds a right and a wrong
    for accuracy, (threshold, coverage, right) in share.items():
        found = metrics.confidence_threshold(probs, labels, accuracy, least=1)
        assert (found["threshold"], found["coverage"], found["right"]) == (threshold, coverage, right)
        assert ((sure >= found["threshold"]).mean()) == pytest.approx(coverage, abs=1e-4)
    assert metrics.confidence_threshold(probs, labels, 0.9, least=2) is None
    assert metrics.confidence_threshold(probs, np.ones(6, int) * 2, 0.5, least=1) is None
