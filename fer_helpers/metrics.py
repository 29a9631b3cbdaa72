"""What saved probabilities are worth: scores with intervals, paired comparisons. No network is needed here."""

import numpy as np
from scipy import optimize, stats
from sklearn import metrics

from fer_helpers.faces import EMOTIONS, Faces

SMALLEST = 1e-12  # a probability of 0 has no logarithm


def accuracy_interval(right: int, count: int, level: float = 0.95) -> list:
    """[low, high] of an accuracy: the percentile bootstrap over faces, taken to infinitely many resamples.

    Drawing `count` faces with replacement makes the number of right ones binomial, so no random numbers are needed.
    """
    tails = (1 - level) / 2
    return [round(float(stats.binom.ppf(q, count, right / count)) / count, 4) for q in (tails, 1 - tails)]


def calibration_error(probs: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error in [0, 1]: mean gap between confidence and accuracy over equal-width bins.

    probs: (N, 7). labels: (N,). Source: Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, right - confidence.astype(float), minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def scores(probs: np.ndarray, labels: np.ndarray) -> dict:
    """Every score of one part, JSON-ready: n, accuracy with its 95 % interval, loss, F1s, balanced accuracy, ECE.

    probs: (N, 7) float, rows sum to 1. labels: (N,) int. An emotion that has no face counts in no mean over emotions.
    `per_class`: precision, recall, f1 and faces of each emotion.
    """
    probs, labels = np.asarray(probs, dtype=np.float64), np.asarray(labels)
    if len(labels) == 0:
        raise ValueError("There is no face to score: the part is empty.")
    guess = probs.argmax(axis=1)
    right = int((guess == labels).sum())
    each = metrics.precision_recall_fscore_support(labels, guess, labels=range(len(EMOTIONS)), zero_division=0.0)
    precision, recall, f1, support = each
    there = support > 0
    return {
        "n": len(labels),
        "accuracy": round(right / len(labels), 4),
        "accuracy_ci95": accuracy_interval(right, len(labels)),
        "loss": round(float(-np.log(probs[np.arange(len(labels)), labels].clip(1e-12)).mean()), 4),
        "macro_f1": round(float(f1[there].mean()), 4),
        "weighted_f1": round(float((f1 * support).sum() / support.sum()), 4),
        "balanced_accuracy": round(float(recall[there].mean()), 4),
        "ece": round(calibration_error(probs, labels), 4),
        "per_class": {
            emotion: {
                "precision": round(float(precision[k]), 4),
                "recall": round(float(recall[k]), 4),
                "f1": round(float(f1[k]), 4),
                "n": int(support[k]),
            }
            for k, emotion in enumerate(EMOTIONS)
        },
    }


def parts(people: Faces, probs: np.ndarray, leaked: np.ndarray) -> dict:
    """Scores of val, test, test_7178 (both test parts together) and test_without_duplicates.

    people: val and test faces. probs: (N, 7). leaked: (N,) bool, True where raw training holds a copy of the face.
    test_7178 is null where the split isn't the official one or val isn't judged, a part without faces likewise.
    """
    labels, test = people.labels.numpy(), people.split == "test"
    chosen = {
        "val": people.split == "val",
        "test": test,
        "test_7178": np.full(len(test), people.source.get("official_split", True) and not test.all()),
        "test_without_duplicates": test & ~leaked,
    }
    return {name: scores(probs[which], labels[which]) if which.any() else None for name, which in chosen.items()}


def confusion(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(7, 7) int, faces of the row's emotion that were taken for the column's."""
    return metrics.confusion_matrix(labels, probs.argmax(axis=1), labels=range(len(EMOTIONS)))


def most_confused(matrix: np.ndarray, most: int = 3) -> list:
    """[(true emotion, taken for, share of the true emotion's faces), …], the largest shares first."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    best = np.argsort(share, axis=None)[::-1][:most]
    return [(EMOTIONS[i // 7], EMOTIONS[i % 7], float(share.flat[i])) for i in best]


def temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the smallest loss on these faces; above 1: the model was too sure of itself.

    probs: (N, 7), rows sum to 1. labels: (N,). Fit it on val. Source: Guo et al., "On Calibration of Modern Neural
    Networks" (2017).
    """
    rows = np.arange(len(labels))
    loss = lambda log: -np.log(temperature_scaled(probs, np.exp(log))[rows, labels].clip(SMALLEST)).mean()  # noqa: E731
    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def temperature_scaled(probs: np.ndarray, degree: float) -> np.ndarray:
    """(N, 7) probabilities as if the network's logits had been divided by `degree`; the likeliest stays the likeliest.

    Of an average over views or networks it is the average's logarithm that is divided.
    """
    logs = np.log(np.asarray(probs, dtype=np.float64).clip(SMALLEST)) / degree
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def coverage(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a model gains by answering only where it is surest: (share answered (N,), accuracy on those (N,)).

    The k-th place: it answers the k faces it is surest of. probs: (N, 7). labels: (N,). Source: El-Yaniv and Wiener,
    "On the Foundations of Noise-free Selective Classification" (2010).
    """
    order = np.argsort(-probs.max(axis=1), kind="stable")
    answered = np.arange(1, len(labels) + 1)
    return answered / len(labels), np.cumsum((probs.argmax(axis=1) == labels)[order]) / answered


def confidence_threshold(probs: np.ndarray, labels: np.ndarray, accuracy: float, least: int = 50) -> dict | None:
    """The probability from which on answers are right often enough; those below it are better called "not sure".

    probs: (N, 7) and labels: (N,) of val, since this is a choice. accuracy: wanted share of right answers.
    returns: accuracy, `threshold` (the smallest that will do), `coverage` (share of faces that get an answer), `right`
    (share of right ones among those) with `ci95`; None where not even the `least` surest answers are that often right.
    """
    _, share = coverage(probs, labels)
    sure, answered = np.sort(probs.max(axis=1))[::-1], np.arange(1, len(labels) + 1)
    last = np.append(np.diff(sure) != 0, True)  # faces of one probability are answered together
    fit = np.flatnonzero((share >= accuracy) & last & (answered >= least))
    if not len(fit):
        return None
    count, right = int(answered[fit[-1]]), float(share[fit[-1]])
    found = {"accuracy": accuracy, "threshold": float(sure[count - 1]), "coverage": round(count / len(labels), 4)}
    return found | {"right": round(right, 4), "ci95": accuracy_interval(round(right * count), count)}


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Exact two-sided p-value that two models are equally often right on the same faces; (N,) bool each."""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def paired_difference(right_a: np.ndarray, right_b: np.ndarray, *, seed: int = 0, resamples: int = 10_000) -> dict:
    """Accuracy of a minus that of b on the same faces, with its 95 % bootstrap interval.

    right_a, right_b: (N,) bool. returns: difference, ci95, p (McNemar), and `verdict`: a better, b better, inconclusive.
    """
    gain = right_a.astype(int) - right_b.astype(int)  # -1, 0 or 1 a face
    count = len(gain)
    share = [(gain == value).mean() for value in (-1, 0, 1)]
    drawn = np.random.default_rng(seed).multinomial(count, share, size=resamples)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / count, [0.025, 0.975])
    verdict = "a better" if low > 0 else "b better" if high < 0 else "inconclusive"
    interval = [round(float(low), 4), round(float(high), 4)]
    p = mcnemar(right_a, right_b)
    return {"difference": round(float(gain.mean()), 4), "ci95": interval, "p": p, "verdict": verdict}


def pigeonhole_mean(
    values: np.ndarray, part, other=None, *, together=None, among: int = 1, seed: int = 0, resamples: int = 2000
) -> dict:
    """Mean over seeds and the faces of `part`, less that of `other`'s faces, with a 95 % interval over seeds and faces.

    values: (S, N), of each seed and face: right or wrong, or the difference of two conditions. part, other: (N,) bool, no
    face in both. together: (N,) groups whose faces are drawn as one, like copies of a picture; else each by itself.
    The pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", 2007): seeds and faces are drawn with replacement,
    independently, and every drawn face is met under every drawn seed; percentiles of the means. Of S seeds S - 1 are
    drawn, since S would show only (S - 1) / S of their variance (Rao and Wu, 1988). Still, a handful of seeds tells
    their spread only coarsely. among: of so many comparisons, which share the 5 % chance of an error (Bonferroni).
    returns: mean, ci95, `each` (the value of every seed) and verdict: above zero, below zero, inconclusive; with
    several comparisons also verdict_shared, by the wider interval of the shared error.
    """
    values, rng = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    seeds = len(values)
    together = np.arange(values.shape[1]) if together is None else np.asarray(together)
    take = max(seeds - 1, 1)
    shares = rng.multinomial(take, np.full(seeds, 1 / seeds), size=resamples) / take  # (R, S)
    each, drawn = np.zeros(seeds), np.zeros(resamples)
    for sign, which in ((1, part), (-1, other)):
        if which is None:
            continue
        if not which.any():
            raise ValueError("There is no face to compare: a part is empty.")
        group = np.unique(together[which], return_inverse=True)[1]  # (n,) -> 0 … G - 1
        size = np.bincount(group)
        sums = np.stack([np.bincount(group, row) for row in values[:, which]])  # (S, G)
        picked = rng.integers(len(size), size=(resamples, len(size)))  # (R, G)
        means = np.take_along_axis(shares @ sums, picked, axis=1).sum(axis=1) / size[picked].sum(axis=1)
        drawn += sign * means
        each += sign * values[:, which].mean(axis=1)
    interval, verdict = _decided(drawn)
    mean, each = round(float(each.mean()), 4), [round(float(one), 4) for one in each]
    found = {"mean": mean, "ci95": interval, "each": each, "verdict": verdict}
    return found | {"verdict_shared": _decided(drawn, 0.05 / among)[1]} if among > 1 else found


def _decided(drawn: np.ndarray, error: float = 0.05) -> tuple[list, str]:
    """Percentile interval of resampled values, (R,) with nan where there was nothing to count, and its verdict."""
    low, high = (round(float(end), 4) for end in np.nanquantile(drawn, [error / 2, 1 - error / 2]))
    return [low, high], "above zero" if low > 0 else "below zero" if high < 0 else "inconclusive"


def measures(table: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, macro_f1, balanced_accuracy and recall_<emotion> of confusion matrices, each of shape (…).

    table: (…, 7, 7), faces of the row's emotion taken for the column's. An emotion without a face has recall nan and
    counts in no mean, as in `scores`.
    """
    right, there, called = np.diagonal(table, axis1=-2, axis2=-1), table.sum(axis=-1), table.sum(axis=-2)  # (…, 7)
    none = np.where(there > 0, 1.0, np.nan)
    recall, f1 = none * right / np.maximum(there, 1), none * 2 * right / np.maximum(there + called, 1)
    found = {"accuracy": right.sum(axis=-1) / there.sum(axis=-1), "macro_f1": np.nanmean(f1, axis=-1)}
    found["balanced_accuracy"] = np.nanmean(recall, axis=-1)
    return found | {f"recall_{emotion}": recall[..., k] for k, emotion in enumerate(EMOTIONS)}


def _tables(guesses: np.ndarray, labels: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(S, N) answers on faces in groups 0 … G - 1 -> (G, S, 7, 7), a confusion matrix a group and seed."""
    kinds = len(EMOTIONS) ** 2
    size = (group.max() + 1) * kinds
    places = (group * len(EMOTIONS) + labels) * len(EMOTIONS) + guesses  # (S, N)
    counted = np.stack([np.bincount(row, minlength=size).reshape(-1, kinds) for row in places], axis=1)
    return counted.reshape(len(counted), len(guesses), len(EMOTIONS), len(EMOTIONS)).astype(np.float32)


def pigeonhole_scores(
    guesses, labels, others=None, *, together=None, among: int = 1, seed: int = 0, resamples: int = 10_000
) -> dict:
    """Every one of `measures`, mean over seeds, less that of the others, with intervals over seeds and faces.

    guesses, others: (S, N) int, what each seed's run says of each face; row s of both is one seed. labels: (N,).
    together: (N,) groups drawn as one. The pigeonhole bootstrap, as `pigeonhole_mean` does it, for measures that aren't means
    over faces: in each resample every drawn seed's measure is computed anew from the synthetic faces, then averaged.
    among: of so many comparisons; `ci_shared` shares the 5 % chance of an error among them (Bonferroni).
    returns: measure -> mean, ci95, each, verdict as in `pigeonhole_mean`, and ci_shared, verdict_shared; without the recall of
    an emotion that has no face.
    """
    rng, labels = np.random.default_rng(seed), np.asarray(labels)
    group = np.unique(np.arange(len(labels)) if together is None else together, return_inverse=True)[1]
    sides = [_tables(np.asarray(each), labels, group) for each in (guesses, others) if each is not None]
    groups, seeds = sides[0].shape[:2]
    real, drawn = _less([measures(side.sum(axis=0)) for side in sides]), []
    take = max(seeds - 1, 1)  # as in `pigeonhole_mean`
    shares = rng.multinomial(take, np.full(seeds, 1 / seeds), size=resamples) / take  # (R, S)
    for part in np.array_split(shares, -(-resamples // 250)):  # in one go the faces' matrix would take 100 MB
        picked = rng.integers(groups, size=(len(part), groups))
        times = np.stack([np.bincount(row, minlength=groups) for row in picked]).astype(np.float32)  # (r, G)
        tables = [(times @ side.reshape(groups, -1)).reshape(-1, *side.shape[1:]) for side in sides]  # (r, S, 7, 7)
        found = _less([measures(table) for table in tables])
        drawn.append({name: (part * found[name]).sum(axis=1) for name in found})
    told = {}
    for name in [name for name in real if not np.isnan(real[name]).any()]:
        values, each = np.concatenate([part[name] for part in drawn]), [round(float(one), 4) for one in real[name]]
        (interval, verdict), (wide, firm) = _decided(values), _decided(values, 0.05 / among)
        told[name] = {"mean": round(float(real[name].mean()), 4), "ci95": interval, "each": each, "verdict": verdict}
        told[name] |= {"ci_shared": wide, "verdict_shared": firm}
    return told


def _less(sides: list[dict]) -> dict:
    """Measures of the first side, less those of the second where there is one."""
    return {name: value - (sides[1][name] if len(sides) > 1 else 0) for name, value in sides[0].items()}


def points(found: dict) -> tuple:
    """What `pigeonhole_mean` found, in points: (mean, low, high, value of each seed …), as plots.intervals takes it."""
    return tuple(100 * value for value in (found["mean"], *found["ci95"], *found["each"]))
