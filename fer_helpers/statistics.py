"""How sure a comparison is: intervals over faces and seeds, paired tests. Arrays in; no network is needed here."""

from dataclasses import dataclass

import numpy as np

from fer_helpers import metrics
from fer_helpers.faces import EMOTIONS

LOWER_IS_BETTER = ("log_loss", "brier")  # these are numbers of their own; all else is a share, printed in points


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % interval, rounded to four decimals so that files, figures and sentences agree.

    of: the measure. value, interval (low, high) and each (value of every seed): shares, except for LOWER_IS_BETTER.
    shared: the wider interval that shares the 5 % chance of an error among several comparisons (Bonferroni).
    """

    value: float
    interval: tuple[float, float]
    of: str = "accuracy"
    each: tuple[float, ...] = ()
    p: float | None = None  # of a paired test, where there was one
    shared: tuple[float, float] | None = None

    @property
    def points(self) -> tuple[float, ...]:
        """(value, low, high, value of each seed, …) times 100, as plots.intervals takes it."""
        return tuple(100 * number for number in (self.value, *self.interval, *self.each))

    def card(self) -> dict:
        """JSON-ready; `read` makes the same of it again."""
        card = {"of": self.of, "value": self.value, "ci95": list(self.interval)}
        optional = {"each": list(self.each), "p": self.p, "ci_shared": self.shared and list(self.shared)}
        return card | {name: value for name, value in optional.items() if value not in (None, [])}

    @classmethod
    def read(cls, card: dict):
        """What `card` wrote."""
        shared = card.get("ci_shared")
        optional = {"each": tuple(card.get("each", ())), "p": card.get("p"), "shared": shared and tuple(shared)}
        return cls(card["value"], tuple(card["ci95"]), card["of"], **optional)

    def __str__(self) -> str:
        value, low, high = self.points[:3]
        return f"{value:.1f} % ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Difference(Estimate):
    """A measure of `a` less that of `b`, with its 95 % interval: "+1.8 points (0.5 to 3.0)"."""

    @property
    def verdict(self) -> str:
        """higher, lower, or inconclusive where the interval contains 0."""
        return _verdict(self.interval)

    @property
    def verdict_shared(self) -> str:
        """The same by the wider interval that several comparisons share; without one, `verdict`."""
        return _verdict(self.shared or self.interval)

    @property
    def better(self) -> str:
        """a, b, or "" where that is inconclusive: of log loss and Brier score the lower is better."""
        higher, lower = ("b", "a") if self.of in LOWER_IS_BETTER else ("a", "b")
        return {"higher": higher, "lower": lower}.get(self.verdict, "")

    def card(self) -> dict:
        """JSON-ready, with the verdicts; `read` makes the same of it again."""
        return (
            super().card()
            | {"verdict": self.verdict}
            | ({"verdict_shared": self.verdict_shared} if self.shared else {})
        )

    def __str__(self) -> str:
        if self.of in LOWER_IS_BETTER:
            text = f"{self.value:+z.4f} ({self.interval[0]:z.4f} to {self.interval[1]:z.4f})"
        else:
            text = "{:+z.1f} points ({:z.1f} to {:z.1f})".format(*self.points[:3])
        return text + ", inconclusive" * (self.verdict == "inconclusive")


def _verdict(interval: tuple) -> str:
    return "higher" if interval[0] > 0 else "lower" if interval[1] < 0 else "inconclusive"


def compare(probs_a, probs_b, labels, *, together=None, resamples: int = 10_000) -> dict[str, Difference]:
    """Two recipes on the same val faces: a less b in accuracy, macro_f1, log_loss and brier.

    probs_a, probs_b: (S, N, 7), of S seeds' runs, row s of both one seed; or (N, 7) of one. labels: (N,).
    together: (N,) groups whose faces are drawn as one, like duplicates of a picture.
    The intervals are the pigeonhole bootstrap's, over seeds and faces. Log loss and Brier score (sum over emotions, 0
    to 2) are taken after every run's own temperature was fitted on these faces, so that they compare what networks
    know and not how sure they happen to sound; the fit isn't repeated in each resample.
    """
    labels, sides = np.asarray(labels), []
    for probs in (probs_a, probs_b):
        probs = np.asarray(probs, dtype=np.float64)
        runs = probs[None] if probs.ndim == 2 else probs
        if runs.ndim != 3 or runs.shape[1:] != (len(labels), len(EMOTIONS)):
            raise ValueError(f"Probabilities of {len(labels)} labels are (S, {len(labels)}, 7), not {probs.shape}.")
        sides.append(np.stack([_face_sums(run, labels) for run in runs], axis=1))
    if len({side.shape[1] for side in sides}) > 1:
        raise ValueError("Recipes are compared seed by seed: give as many runs of a as of b.")
    return _pigeonhole(sides, _recipe_measures, together=together, resamples=resamples)


def _face_sums(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, 7) of one run -> (N, 51): each face's place in the confusion matrix, its log loss and its Brier score."""
    scaled = metrics.temperature_scaled(probs, metrics.temperature(probs, labels))
    log_loss = -np.log(scaled[np.arange(len(labels)), labels].clip(metrics.SMALLEST))
    brier = ((scaled - np.eye(len(EMOTIONS))[labels]) ** 2).sum(axis=1)
    return np.column_stack([_cells(probs.argmax(axis=1), labels), log_loss, brier])


def _recipe_measures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """(…, 51) -> the four measures of `compare`, each (…)."""
    cells, count = sums[..., :-2], sums[..., :-2].sum(axis=-1)
    scores = _table_measures(cells)
    proper = {"log_loss": sums[..., -2] / count, "brier": sums[..., -1] / count}
    return {name: scores[name] for name in ("accuracy", "macro_f1")} | proper


def decide(differences: dict[str, Difference], gap_a: float, gap_b: float) -> tuple[str, str]:
    """("a" or "b", the reason in words) from `compare`: by log loss, else by Brier score, else by accuracy.

    gap_a, gap_b: train less val accuracy of each recipe, as shares. Where no measure is conclusive the smaller gap
    decides, since a recipe that overfits less has more to gain from longer training; b where the gaps are equal, too.
    """
    for measure, name in (("log_loss", "log loss"), ("brier", "Brier score"), ("accuracy", "accuracy")):
        if best := differences[measure].better:
            return best, f"the {name} of {best} is better: {differences[measure]}, a less b"
    best = "a" if gap_a < gap_b else "b"
    gaps = "is the same" if gap_a == gap_b else f"is smaller: {100 * gap_a:.1f} points for a, {100 * gap_b:.1f} for b"
    subject = "the gap between train and val accuracy" + ("" if gap_a == gap_b else f" of {best}")
    return best, f"log loss, Brier score and accuracy are inconclusive; {subject} {gaps}"


def _cells(guesses: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(…) answers -> (…, 49) float32, 1 at the face's place in the confusion matrix."""
    return np.eye(len(EMOTIONS) ** 2, dtype=np.float32)[labels * len(EMOTIONS) + guesses]


def _table_measures(cells: np.ndarray) -> dict[str, np.ndarray]:
    """metrics.measures of flattened confusion matrices, (…, 49)."""
    return metrics.measures(cells.reshape(*cells.shape[:-1], len(EMOTIONS), len(EMOTIONS)))


def _pigeonhole(sides: list, measure, *, together=None, among: int = 1, resamples: int) -> dict:
    """Every measure's mean over seeds, less that of the second side where there is one, by the pigeonhole bootstrap.

    sides: (N, S, K) each, of every face and seed, numbers that add up over faces. measure: (…, K) -> name -> (…).
    Seeds and faces are drawn with replacement, independently, and every drawn face is met under every drawn seed (Owen,
    "The pigeonhole bootstrap", 2007). Of S seeds S - 1 are drawn, since S would show only (S - 1) / S of their variance
    (Rao and Wu, 1988). Still, a handful of seeds tells their spread only coarsely.
    """
    count, seeds, kinds = sides[0].shape
    group = np.unique(np.arange(count) if together is None else together, return_inverse=True)[1]
    groups, rng, drawn = int(group.max()) + 1, np.random.default_rng(0), []
    sums = np.zeros((groups, len(sides), seeds, kinds), np.float32)
    np.add.at(sums, group, np.stack(sides, axis=1))

    def less(totals: np.ndarray) -> dict:  # (…, sides, S, K) -> name -> (…, S)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a resample holds no face of a part
            found = [measure(totals[..., side, :, :]) for side in range(len(sides))]
        return {name: value - (found[1][name] if len(sides) > 1 else 0) for name, value in found[0].items()}

    take = max(seeds - 1, 1)
    shares = rng.multinomial(take, np.full(seeds, 1 / seeds), size=resamples) / take  # (R, S)
    for part in np.array_split(shares, -(-resamples // 250)):  # in one go the faces' matrix would take 100 MB
        picked = rng.integers(groups, size=(len(part), groups))
        times = np.stack([np.bincount(row, minlength=groups) for row in picked]).astype(np.float32)  # (r, G)
        totals = (times @ sums.reshape(groups, -1)).reshape(-1, *sums.shape[1:])
        drawn.append({name: (part * value).sum(axis=1) for name, value in less(totals).items()})
    kind, estimates = Difference if len(sides) > 1 else Estimate, {}
    for name, each in less(sums.sum(axis=0, dtype=np.float64)).items():
        if not np.isnan(each).any():  # else an emotion without a face
            values = np.concatenate([part[name] for part in drawn])
            optional = {"each": tuple(_rounded(each)), "shared": _ends(values, 0.05 / among) if among > 1 else None}
            estimates[name] = kind(*_rounded([each.mean()]), _ends(values), name, **optional)
    return estimates


def _ends(drawn: np.ndarray, error: float = 0.05) -> tuple[float, float]:
    """Percentile interval of resampled values, (R,), nan where there was nothing to count."""
    return tuple(_rounded(np.nanquantile(drawn, [error / 2, 1 - error / 2])))


def _rounded(values) -> list[float]:
    return [round(float(value), 4) for value in values]
