"""How sure a comparison is: intervals over faces and seeds, paired tests. Arrays in; no network is needed here."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from fer_helpers import metrics
from fer_helpers.faces import EMOTIONS

LOWER_IS_BETTER = ("log_loss", "brier")  # these are numbers of their own; all else is a share, printed in points
RECIPE = ("accuracy", "macro_f1", "log_loss", "brier")  # what recipes are compared by
EVERY = (*RECIPE, "balanced_accuracy", *(f"recall_{emotion}" for emotion in EMOTIONS))
CARD = {"of": "of", "value": "value", "interval": "ci95", "each": "each", "p": "p", "shared": "ci_shared"}  # in files


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % interval, rounded to four decimals so that files, figures and sentences agree.

    of: the measure. value, interval (low, high) and each (value of every seed): shares, except for LOWER_IS_BETTER.
    p: of a paired test. shared: the wider interval for one of several comparisons (Bonferroni).
    """

    value: float
    interval: tuple[float, float]
    of: str = "accuracy"
    each: tuple[float, ...] = ()
    p: float | None = None
    shared: tuple[float, float] | None = None
    SIGN, UNIT = "", " %"  # of `number`

    @property
    def points(self) -> tuple[float, ...]:
        """(value, low, high, value of each of several seeds, …), shares in per cent, as plots.intervals takes it."""
        each, scale = self.each if len(self.each) > 1 else (), 1 if self.of in LOWER_IS_BETTER else 100
        return tuple(scale * number for number in (self.value, *self.interval, *each))

    @property
    def number(self) -> str:
        """The value with its unit: 67.8 %, and of a Difference with its sign: +1.8 points."""
        return self._text(self.value, sign=self.SIGN, unit=self.UNIT)

    @property
    def range(self) -> str:
        """The interval: 66.3 to 69.3."""
        return " to ".join(map(self._text, self.interval))

    def _text(self, value: float, *, sign: str = "", unit: str = "") -> str:
        digits = 2 if 0 < abs(value) < 0.0005 else 1  # an end that leaves out 0 must not read 0.0
        return f"{value:{sign}z.4f}" if self.of in LOWER_IS_BETTER else f"{100 * value:{sign}z.{digits}f}{unit}"

    def card(self) -> dict:
        """JSON-ready; `read` makes the same of it again."""
        card = {key: getattr(self, name) for name, key in CARD.items()}
        return {key: value for key, value in card.items() if value not in (None, ())}

    @classmethod
    def read(cls, card: dict):
        """What `card` wrote."""
        values = {name: card[key] for name, key in CARD.items() if key in card}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def __str__(self) -> str:
        return f"{self.number} ({self.range})"


@dataclass(frozen=True)
class Difference(Estimate):
    """A measure of `a` less that of `b`, or what else is compared with 0; prints "+1.8 points (0.5 to 3.0)"."""

    SIGN, UNIT = "+", " points"

    @property
    def verdict(self) -> str:
        """higher, lower, or inconclusive where the interval contains 0."""
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else "inconclusive"

    @property
    def verdict_shared(self) -> str:
        """The same by the wider interval that several comparisons share; without one, `verdict`."""
        return replace(self, interval=self.shared or self.interval).verdict

    @property
    def better(self) -> str:
        """a, b, or "" where that is inconclusive: of log loss and Brier score the lower is better."""
        better = "lower" if self.of in LOWER_IS_BETTER else "higher"
        return "" if self.verdict == "inconclusive" else "a" if self.verdict == better else "b"

    def card(self) -> dict:
        """JSON-ready, with the verdict; `read` makes the same of it again."""
        return super().card() | {"verdict": self.verdict}

    def __str__(self) -> str:
        return super().__str__() + ", inconclusive" * (self.verdict == "inconclusive")


def paired_difference(right_a: np.ndarray, right_b: np.ndarray) -> Difference:
    """Accuracy of a less that of b on the same faces, (N,) bool each: bootstrap interval, p by McNemar's exact test."""
    gain = right_a.astype(int) - right_b.astype(int)  # -1, 0 or 1 a face
    only_b, both, only_a = (int((gain == value).sum()) for value in (-1, 0, 1))
    shares = np.array([only_b, both, only_a]) / len(gain)
    drawn = np.random.default_rng(0).multinomial(len(gain), shares, size=10_000)
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return Difference(*_rounded([gain.mean()]), _ends((drawn[:, 2] - drawn[:, 0]) / len(gain)), p=p)


def pigeonhole_mean(values, other=None, *, together=None, among=1, of="accuracy", resamples=2000) -> Estimate:
    """Mean over seeds and faces with an interval over both; a Difference where `other`'s mean is taken from it.

    values, other: (S, N), of each seed and face, row s of both one seed; nan where a face doesn't count, which may be
    other faces in one than in the other. `other` is 0 where values are differences. together, among: as in `compare`.
    """
    sides = np.broadcast_arrays(*(np.asarray(side, np.float64) for side in (values, other) if side is not None))
    if any(np.isnan(side).all() for side in sides):
        raise ValueError("There is no face to compare: a part is empty.")
    sums = [np.stack([np.nan_to_num(side), ~np.isnan(side)], axis=-1).swapaxes(0, 1) for side in sides]
    measure = lambda totals: {of: totals[..., 0] / totals[..., 1]}  # noqa: E731
    return _pigeonhole(sums, measure, together, among, resamples)[of]


def estimate(probs, labels, *, together=None, measures=RECIPE) -> dict[str, Estimate]:
    """The measures of one recipe, mean over its seeds; arguments as in `compare`."""
    estimates = _pigeonhole([metrics.summands(probs, labels)], metrics.measures_of_sums, together)
    return {name: estimates[name] for name in measures if name in estimates}


def compare(probs_a, probs_b, labels, *, together=None, measures=RECIPE, among: int = 1) -> dict[str, Difference]:
    """Two recipes on the same val faces: a less b in every measure, by the pigeonhole bootstrap over seeds and faces.

    probs_a, probs_b: (S, N, 7), of S seeds' runs, row s of both one seed; or (N, 7) of one. labels: (N,).
    together: (N,) groups whose faces are drawn as one, like duplicates of a picture. measures: of EVERY; the recall of
    an emotion without a face is left out. among: the interval `shared` shares the 5 % chance of an error among so many
    comparisons. Log loss and Brier score (sum over emotions, 0 to 2) are taken at the temperature that fits each run to
    these faces: they compare what networks know, not how sure they sound. Resamples don't repeat the fit.
    """
    sides = [metrics.summands(probs, labels) for probs in (probs_a, probs_b)]
    if sides[0].shape != sides[1].shape:
        raise ValueError("Recipes are compared seed by seed: give as many runs of a as of b.")
    differences = _pigeonhole(sides, metrics.measures_of_sums, together, among)
    return {name: differences[name] for name in measures if name in differences}


def decide(differences: dict[str, Difference], gap_a: float, gap_b: float) -> tuple[str, str]:
    """("a" or "b", the reason in words) from `compare`: by log loss, else by Brier score, else by accuracy.

    gap_a, gap_b: train less val accuracy, as shares. Where all is inconclusive the smaller gap decides, since what
    overfits less has more to gain from longer training; b where the gaps are equal.
    """
    for measure, name in (("log_loss", "log loss"), ("brier", "Brier score"), ("accuracy", "accuracy")):
        if best := differences[measure].better:
            return best, f"the {name} of {best} is better: {differences[measure]}, a less b"
    best, gap = "a" if gap_a < gap_b else "b", "the gap between train and val accuracy"
    reason = f"{gap} of {best} is smaller: {100 * gap_a:.1f} points for a, {100 * gap_b:.1f} for b"
    reason = f"{gap} is the same" if gap_a == gap_b else reason
    return best, f"log loss, Brier score and accuracy are inconclusive; {reason}"


def _pigeonhole(sides: list, measure, together=None, among: int = 1, resamples: int = 10_000) -> dict:
    """Every measure's mean over seeds, less that of the second side where there is one, by the pigeonhole bootstrap.

    sides: (N, S, K) each, of every face and seed, numbers that add up over faces. measure: (…, K) -> name -> (…).
    Seeds and faces are drawn independently, and every drawn face is met under every drawn seed (Owen, "The pigeonhole
    bootstrap", 2007). Of S seeds S - 1 are drawn: S would show only (S - 1) / S of their variance (Rao and Wu, 1988).
    """
    count, seeds, kinds = sides[0].shape
    group = np.unique(np.arange(count) if together is None else together, return_inverse=True)[1]
    groups, rng, drawn, estimates = int(group.max()) + 1, np.random.default_rng(0), [], {}
    sums = np.zeros((groups, len(sides), seeds, kinds), np.float32)
    np.add.at(sums, group, np.stack(sides, axis=1))

    def less(totals: np.ndarray) -> dict:  # (…, sides, S, K) -> name -> (…, S)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a resample holds no face of a part
            first, *second = (measure(totals[..., side, :, :]) for side in range(len(sides)))
        return {name: first[name] - second[0][name] for name in first} if second else first

    take = max(seeds - 1, 1)
    shares = rng.multinomial(take, np.full(seeds, 1 / seeds), size=resamples) / take  # (R, S)
    for part in np.array_split(shares, -(-resamples // 250)):  # in one go the faces' matrix would take 100 MB
        picked = rng.integers(groups, size=(len(part), groups))
        times = np.stack([np.bincount(row, minlength=groups) for row in picked]).astype(np.float32)  # (r, G)
        totals = (times @ sums.reshape(groups, -1)).reshape(-1, *sums.shape[1:])
        drawn.append({name: (part * value).sum(axis=1) for name, value in less(totals).items()})
    kind = Difference if len(sides) > 1 else Estimate
    for name, each in less(sums.sum(axis=0, dtype=np.float64)).items():
        if not np.isnan(each).any():  # else an emotion without a face
            values = np.concatenate([part[name] for part in drawn])
            shared = _ends(values, 0.05 / among) if among > 1 else None
            estimates[name] = kind(*_rounded([each.mean()]), _ends(values), name, tuple(_rounded(each)), shared=shared)
    return estimates


def _ends(drawn: np.ndarray, error: float = 0.05) -> tuple[float, float]:
    """Percentile interval of resampled values, (R,), nan where there was nothing to count."""
    return tuple(_rounded(np.nanquantile(drawn, [error / 2, 1 - error / 2])))


def _rounded(values) -> list[float]:
    return [round(float(value), 4) + 0.0 for value in values]  # no -0.0
