"""What saved probabilities are worth: scores, confusion, calibration. No network is needed here."""

import numpy as np
from scipy import optimize, special, stats
from sklearn import metrics

from fer_helpers.faces import EMOTIONS, Faces

SMALLEST = 1e-12  # a probability of 0 has no logarithm


def accuracy_interval(correct: int, count: int) -> list[float]:
    """[low, high], Wilson's 95 % interval of an accuracy from `correct` of `count` faces; 0 of 55 gives 0 to 6.5 %.

    Source: Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001).
    """
    interval = stats.binomtest(correct, count).proportion_ci(0.95, method="wilson")
    return [round(float(end), 4) for end in interval]


def calibration_error(probs: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error in [0, 1]: mean gap between confidence and accuracy over equal-width bins.

    probs: (N, 7). labels: (N,). Source: Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, correct - confidence.astype(float), minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def scores(probs: np.ndarray, labels: np.ndarray) -> dict:
    """Every score of one part, JSON-ready; `per_class`: precision, recall, f1 and n of each emotion.

    probs: (N, 7) float, rows sum to 1. labels: (N,) int. An emotion that has no face counts in no mean over emotions.
    """
    probs, labels = np.asarray(probs, dtype=np.float64), np.asarray(labels)
    if len(labels) == 0:
        raise ValueError("There is no face to score: the part is empty.")
    table = confusion(probs, labels)
    means, (precision, recall, f1, support) = measures(table), per_class(table)
    whole = {"loss": _log_loss(probs, labels).mean(), "macro_f1": means["macro_f1"]}
    whole |= {"weighted_f1": np.average(f1, weights=support), "balanced_accuracy": means["balanced_accuracy"]}
    whole |= {"ece": calibration_error(probs, labels)}
    rounded = lambda values: {name: round(float(value), 4) for name, value in values.items()}  # noqa: E731
    return {
        "n": len(labels),
        **rounded({"accuracy": means["accuracy"]}),
        "accuracy_ci95": accuracy_interval(int(np.trace(table)), len(labels)),
        **rounded(whole),
        "per_class": {
            emotion: rounded({"precision": precision[k], "recall": recall[k], "f1": f1[k]}) | {"n": int(support[k])}
            for k, emotion in enumerate(EMOTIONS)
        },
    }


def per_class(table: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision, recall, F1 and number of faces of each emotion, (…, 7) each, of confusion matrices (…, 7, 7).

    0 where there is nothing to divide by, as in scikit-learn with `zero_division=0`; it takes no stack of matrices.
    """
    correct, support, predicted = np.diagonal(table, axis1=-2, axis2=-1), table.sum(axis=-1), table.sum(axis=-2)
    precision, recall = correct / np.maximum(predicted, 1), correct / np.maximum(support, 1)
    return precision, recall, 2 * correct / np.maximum(support + predicted, 1), support


def measures(table: np.ndarray) -> dict[str, np.ndarray]:
    """accuracy, macro_f1, balanced_accuracy and recall_<emotion>, (…) each, of confusion matrices (…, 7, 7).

    An emotion without a face has recall nan and counts in no mean.
    """
    _, recall, f1, support = per_class(table)
    present = np.where(support > 0, 1.0, np.nan)
    means = {"macro_f1": np.nanmean(present * f1, axis=-1), "balanced_accuracy": np.nanmean(present * recall, axis=-1)}
    accuracy = np.trace(table, axis1=-2, axis2=-1) / support.sum(axis=-1)
    recalls = {f"recall_{emotion}": (present * recall)[..., k] for k, emotion in enumerate(EMOTIONS)}
    return {"accuracy": accuracy} | means | recalls


def summands(probs, labels) -> np.ndarray:
    """(S, N, 7) of S runs, or (N, 7) -> (N, S, 51): numbers of each face and run that `measures_of_sums` needs summed.

    Its place in the confusion matrix; its log loss and Brier score at the temperature that fits the run to these faces.
    """
    probs, labels, classes = np.asarray(probs, dtype=np.float64), np.asarray(labels), len(EMOTIONS)
    runs = probs[None] if probs.ndim == 2 else probs
    if runs.ndim != 3 or runs.shape[1:] != (len(labels), classes):
        raise ValueError(f"Probabilities of {len(labels)} labels are (S, {len(labels)}, {classes}), not {probs.shape}.")
    scaled = np.stack([temperature_scaled(run, temperature(run, labels)) for run in runs])
    brier = ((scaled - np.eye(classes)[labels]) ** 2).sum(axis=-1)
    place = np.eye(classes**2)[labels * classes + runs.argmax(axis=-1)]  # (S, N, 49)
    return np.concatenate([place, _log_loss(scaled, labels)[..., None], brier[..., None]], axis=-1).swapaxes(0, 1)


def measures_of_sums(sums: np.ndarray) -> dict[str, np.ndarray]:
    """(…, 51), `summands` summed over faces -> the `measures`, log_loss and brier, (…) each."""
    table = sums[..., :-2].reshape(*sums.shape[:-1], len(EMOTIONS), len(EMOTIONS))
    faces = table.sum(axis=(-2, -1))
    return measures(table) | {"log_loss": sums[..., -2] / faces, "brier": sums[..., -1] / faces}


def parts(people: Faces, probs: np.ndarray, leaked: np.ndarray) -> dict:
    """Scores of val, test, test_7178 (both test parts together) and test_without_duplicates; None without faces.

    people: val and test faces. probs: (N, 7). leaked: (N,) bool, True where raw training holds a duplicate of the face.
    test_7178 is None as well where the split isn't the official one or val isn't judged.
    """
    labels, test = people.labels.numpy(), people.split == "test"
    both = np.full(len(test), people.source.get("official_split", True) and not test.all())
    chosen = {"val": people.split == "val", "test": test, "test_7178": both, "test_without_duplicates": test & ~leaked}
    return {name: scores(probs[which], labels[which]) if which.any() else None for name, which in chosen.items()}


def confusion(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(7, 7) int, faces of the row's emotion that were predicted as the column's."""
    return metrics.confusion_matrix(labels, probs.argmax(axis=1), labels=range(len(EMOTIONS)))


def most_confused(matrix: np.ndarray, most: int = 3) -> list:
    """[(true emotion, predicted, share of the true emotion's faces), …], the largest shares first."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    best = np.argsort(share, axis=None)[::-1][:most]
    return [(EMOTIONS[i // len(share)], EMOTIONS[i % len(share)], float(share.flat[i])) for i in best]


def _log_loss(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(…, N), of each face in nats, of probabilities (…, N, 7)."""
    return -np.log(probs[..., np.arange(len(labels)), labels].clip(SMALLEST))


def temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the smallest loss on these faces; above 1: the model was too sure of itself.

    probs: (N, 7), rows sum to 1. labels: (N,). Fit it on val. Source: Guo et al., as above.
    """
    loss = lambda log: _log_loss(temperature_scaled(probs, np.exp(log)), labels).mean()  # noqa: E731
    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def temperature_scaled(probs: np.ndarray, degree: float) -> np.ndarray:
    """(N, 7) probabilities as if the network's logits had been divided by `degree`; the likeliest stays the likeliest.

    Of an average over views or networks it is the average's logarithm that is divided.
    """
    return special.softmax(np.log(np.asarray(probs, dtype=np.float64).clip(SMALLEST)) / degree, axis=1)


def coverage(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(share answered (N,), accuracy on those (N,)) of a model that answers only the 1, 2, … N faces it is surest of.

    probs: (N, 7). labels: (N,). Source: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective
    Classification" (2010).
    """
    order = np.argsort(-probs.max(axis=1), kind="stable")
    answered = np.arange(1, len(labels) + 1)
    return answered / len(labels), np.cumsum((probs.argmax(axis=1) == labels)[order]) / answered


def confidence_threshold(probs: np.ndarray, labels: np.ndarray, accuracy: float, least: int = 50) -> dict | None:
    """The confidence from which on answers are right often enough; those below it are better called "not sure".

    probs: (N, 7) and labels: (N,) of val, since this is a choice. accuracy: wanted share of right answers.
    returns: accuracy, `threshold` (the smallest that will do), `coverage` (share of faces answered), `right` (share of
    right answers) with `ci95`; None where not even the `least` surest answers are that often right.
    """
    _, share = coverage(probs, labels)
    confidence, answered = np.sort(probs.max(axis=1))[::-1], np.arange(1, len(labels) + 1)
    last = np.append(np.diff(confidence) != 0, True)  # faces of one probability are answered together
    enough = np.flatnonzero((share >= accuracy) & last & (answered >= least))
    if not len(enough):
        return None
    count, right = int(answered[enough[-1]]), float(share[enough[-1]])
    answer = {"accuracy": accuracy, "threshold": float(confidence[count - 1])}
    answer |= {"coverage": round(count / len(labels), 4), "right": round(right, 4)}
    return answer | {"ci95": accuracy_interval(round(right * count), count)}
