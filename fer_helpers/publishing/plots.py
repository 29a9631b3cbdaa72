"""Figures of notebook 09, beside those of `plots`: every pair of models, and whether one is as right as sure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from fer_helpers import colours
from fer_helpers.colours import BLUE, ORANGE
from fer_helpers.plots import MARKERS, styled


@styled
def pairs(gains: dict):
    """Every pair of models, the row's accuracy less the column's. gains: (row, column) -> Difference."""
    rows, columns = ([*dict.fromkeys(names)] for names in zip(*gains, strict=True))
    figure, axes = plt.subplots(figsize=(3 + 1.05 * len(columns), 1.8 + 0.55 * len(rows)))
    shades = {"higher": BLUE, "lower": ORANGE, "inconclusive": "white"}
    for (a, b), gain in gains.items():
        x, y, sure = columns.index(b), rows.index(a), gain.verdict != "inconclusive"
        axes.add_patch(plt.Rectangle((x, y), 1, 1, facecolor=shades[gain.verdict], alpha=0.35, edgecolor="0.7"))
        middle, weight = {"ha": "center", "va": "center"}, "bold" if sure else None
        axes.text(x + 0.5, y + 0.36, f"{100 * gain.value:+.1f}", weight=weight, **middle)
        axes.text(x + 0.5, y + 0.72, gain.range, fontsize=8, **middle)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0), ylabel="accuracy of …")
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=25, ha="right")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xlabel("less accuracy of … (points, with 95 % interval; white: inconclusive, orange: lower)")
    axes.tick_params(length=0)
    return figure


@styled
def reliability(models: dict):
    """Accuracy against confidence in ten bins of equal width, and below how many faces each holds.

    models: name -> (probs (N, 7), labels (N,)).
    """
    figure, (axes, below) = plt.subplots(2, 1, sharex=True, height_ratios=(3, 1), figsize=(6.5, 6.2))
    axes.plot([0, 100], [0, 100], color="0.6", linestyle=":", label="perfect calibration")
    shades = colours.of_series(models)
    for k, (name, (probs, labels)) in enumerate(models.items()):
        faces = pd.DataFrame({"confidence": 100 * probs.max(axis=1), "right": 100 * (probs.argmax(axis=1) == labels)})
        bins = faces.groupby((faces.confidence // 10).clip(upper=9))
        mean, count = bins.mean()[bins.size() >= 10], bins.size()  # fewer faces say nothing
        axes.plot(mean.confidence, mean.right, marker=MARKERS[k], color=shades[k], label=name)
        drawn = below.bar(10 * count.index + 2.9 + 4.2 * k, count, 4, color=shades[k])
        below.bar_label(drawn, fmt="{:,.0f}", fontsize=7.5, rotation=90, padding=2)
    axes.set(ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 100))
    below.set(xlabel="confidence (%)", ylabel="faces", ymargin=0.45)
    axes.grid()
    axes.legend()
    return figure
