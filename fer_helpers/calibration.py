"""How sure a model says it is, and how sure it should be; from saved probabilities alone."""

import numpy as np
from scipy import optimize

from fer_helpers import metrics

SMALLEST = 1e-12  # a probability of 0 has no logarithm


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
    return found | {"right": round(right, 4), "ci95": metrics.accuracy_interval(round(right * count), count)}
