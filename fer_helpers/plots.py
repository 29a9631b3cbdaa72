"""Arrays in, Figure out. One style for all; nothing here shows, saves or seeds.

Every figure takes `title`, the finding in a sentence, and `caption`, data set and number of faces (`Faces.caption`).
"""

import os
from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from fer_helpers import annotations, colours, paths
from fer_helpers.colours import BLUE, COLOURS, GREEN, PALETTE, RED  # noqa: F401, what notebooks take from here
from fer_helpers.faces import EMOTIONS
from fer_helpers.statistics import LOWER_IS_BETTER

MARKERS = "osD^v<>P"
BLOCKS = 8  # of a mosaic's side: nobody can be recognised in so few
NUMBER = "{x:,g}"  # of a tick: 7,000 and 2.5
STYLE = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
STYLE |= {"axes.prop_cycle": plt.cycler(color=PALETTE), "grid.color": "0.9", "legend.frameon": False}
STYLE |= {"legend.fontsize": 9.5, "figure.constrained_layout.use": True}
STYLE |= {"figure.constrained_layout.w_pad": 0.08, "figure.constrained_layout.h_pad": 0.06}


def styled(draw):
    """Draw in the workbook's style, with title and caption; matplotlib's own settings are left as they were."""

    @wraps(draw)
    def wrapper(*args, title: str, caption: str, **options):
        with plt.rc_context(STYLE):
            figure = draw(*args, **options)
            caption += getattr(figure, "note", "")
            shown = [text.replace("$", r"\$") for text in (title, caption)]  # a file's name is no formula
            figure.suptitle(shown[0], x=0.01, ha="left", fontweight="bold", fontsize=12.5, wrap=True)
            colour = RED if "DEMO" in caption else "0.35"
            figure.supxlabel(shown[1], x=0.01, ha="left", fontsize=9.5, color=colour)
            figure.draw_without_rendering()  # settles the layout while the style holds
        plt.close(figure)  # pyplot would keep it alive and show it a second time
        figure._repr_mimebundle_ = lambda **_: ({}, {"image/png": {"alt": f"{title}. {caption}"}})  # in Jupyter
        return figure

    return wrapper


@styled
def bars(series: dict, *, ylabel: str, form: str = "{:,.0f}", ticks=EMOTIONS, ends=None, shades: tuple = ()):
    """Bars beside each other. series: name -> heights, one for each of `ticks`; form: of their numbers.

    ends: name -> (2, heights), the lower and upper ends of whiskers. shades: of the series, if not their own colours.
    """
    figure, axes = plt.subplots(figsize=(8, 4.2))
    wide, shades = 0.8 / len(series), shades or colours.of_series(series)
    for k, (name, heights) in enumerate(series.items()):
        places = np.arange(len(heights)) + (k - (len(series) - 1) / 2) * wide
        look = {"color": list(COLOURS.values()) if len(series) == 1 else shades[k], "capsize": 4}
        look |= {"yerr": abs(ends[name] - np.asarray(heights))} if ends else {}
        drawn = axes.bar(places, heights, wide * 0.94, label=name, **look)
        axes.bar_label(drawn, fmt=form, fontsize=8.5, padding=1)
    axes.set(xticks=range(len(ticks)), xticklabels=ticks, ylabel=ylabel)
    return _counted(figure, axes, series)


def _counted(figure, axes, series: dict):
    """The figure, with its axes made ready for heights of several series or one."""
    axes.yaxis.set_major_formatter(NUMBER)
    axes.grid(axis="y")
    if len(series) > 1:
        axes.legend()
    return figure


@styled
def grid(images, *, titles=None, edges=None, columns: int = len(EMOTIONS), heats=None, shareable: bool = False):
    """Pictures in rows. images: (N, H, W), or None for a free place. titles: (N,) str. edges: (N,) colour or None.

    Grey levels of whole numbers are shown on the scale from 0 to 255, others on each picture's own.
    heats: (N, H, W) in [0, 1], laid over the pictures. shareable: means over many faces, and pictures free to give on.
    All others are shown as mosaics in the copies that `make reference` gives away: FER-2013's faces aren't ours.
    """
    none, mosaic = [None] * len(images), bool(os.environ.get(paths.MOSAIC)) and not shareable
    rows, titles = max(1, -(-len(images) // columns)), titles or [""] * len(images)
    tall = 1.45 if any(titles[columns:]) else 1.28  # inches a row, with or without its titles
    figure, axes = plt.subplots(rows, columns, figsize=(1.25 * columns, tall * rows + 0.8), squeeze=False)
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    cells = zip(axes.flat, images, titles, none if heats is None else heats, edges or none, strict=False)
    for place, image, title, heat, edge in cells:
        if image is None:
            continue
        shown = np.asarray(image)
        scale = {"vmin": 0, "vmax": 255} if shown.dtype == np.uint8 else {}
        place.imshow(_mosaic(shown) if mosaic else shown, cmap="gray", **scale)
        if heat is not None:
            place.imshow(np.asarray(heat), cmap="inferno", alpha=0.5, vmin=0, vmax=1)
        place.spines[:].set(visible=edge is not None, color=edge, linewidth=3)
        place.set_title(title, fontsize=8.5, color=edge or "black", pad=3)
    figure.note = f" · in this copy each face is a mosaic of {BLOCKS}×{BLOCKS} mean grey levels" * mosaic
    return figure


def _mosaic(image: np.ndarray) -> np.ndarray:
    """A picture (H, W) of the same size, in BLOCKS × BLOCKS squares of their mean grey level."""
    rows, columns = (np.arange(side) * BLOCKS // side for side in image.shape)
    where = rows[:, None] * BLOCKS + columns
    sums, sizes = (np.bincount(where.ravel(), weights) for weights in (image.ravel(), None))
    return (sums / sizes)[where]


@styled
def matrix(values, *, rows=EMOTIONS, columns=EMOTIONS, xlabel: str, ylabel: str, label: str = ""):
    """Heat map with numbers. values: (R, C). label: what they are; without it, counts, shown as % of their row."""
    values = np.asarray(values)
    shown = values if label else 100 * values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(max(7.0, 1.5 + 0.85 * len(columns)), 1.6 + 0.55 * len(rows)))
    style = {"cmap": "Blues", "linewidths": 0.5, "annot": True, "fmt": ",.0f"}
    bar = {"label": label or "% of the row", "format": NUMBER}
    sns.heatmap(shown, ax=axes, xticklabels=columns, yticklabels=rows, cbar_kws=bar, **style)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.tick_params(axis="y", rotation=0)
    axes.tick_params(axis="x", rotation=30)
    return figure


@styled
def curves(series: dict, *, ylabel: str, kept: int | None = None, percent: bool = False, along: tuple | None = None):
    """Lines over epochs. series: name -> (E,) values from epoch 1; kept: the epoch whose weights were kept.

    along: (xlabel, name -> (E,) places), to draw over something else, like the time at which each epoch ended.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    xlabel, places = along or ("epoch", {name: np.arange(1, len(values) + 1) for name, values in series.items()})
    styles = zip(("-", "--", ":", "-.", (0, (5, 1))), colours.of_series(series), strict=False)
    for (name, values), (style, colour) in zip(series.items(), styles, strict=False):
        heights, look = np.asarray(values) * (100 if percent else 1), {"linestyle": style, "color": colour}
        axes.plot(places[name], heights, marker=".", label=name.replace("_", " "), linewidth=2, **look)
    if kept is not None:
        axes.axvline(kept, color="0.5", linewidth=1)
        axes.annotate(f" kept: epoch {kept}", (kept, axes.get_ylim()[0]), size=9, color="0.35", ha="right", va="bottom")
    axes.set(xlabel=xlabel, ylabel=f"{ylabel} (%)" if percent else ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=not along, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid()
    axes.legend()
    return figure


@styled
def histogram(series: dict, *, xlabel: str, ylabel: str = "faces", bins=50, line: float | None = None):
    """Outlines of histograms. series: name -> (N,) values; line: a threshold to draw in."""
    figure, axes = plt.subplots(figsize=(7.5, 4))
    edges = np.histogram_bin_edges(np.concatenate([*series.values()]), bins)
    for (name, values), colour in zip(series.items(), colours.of_series(series), strict=True):
        axes.hist(values, edges, histtype="step", linewidth=2, label=name, color=colour)
    if line is not None:
        axes.axvline(line, color=RED, linestyle="--")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return _counted(figure, axes, series)


def draw_points(axes, rows: list, xlabel: str, *, looks=None, zero: bool = False, **look) -> None:
    """Points with intervals into axes, a row of them for each of rows; see intervals.

    looks: part -> its own look, beside the `look` of all. zero: draw a line where there is no difference.
    """
    parts = list(dict.fromkeys(part for _, values in rows for part in values))
    apart = min(0.22, 0.75 / max(len(parts), 1)) if any(len(values) > 1 for _, values in rows) else 0
    for k, (part, colour) in enumerate(zip(parts, colours.of_series(parts), strict=True)):
        shift = (k - (len(parts) - 1) / 2) * apart
        there = [(row + shift, *values[part]) for row, (_, values) in enumerate(rows) if values.get(part)]
        y, middle, low, high, *runs = np.array(there).T
        style = {"fmt": MARKERS[k % 5], "color": colour} | look | (looks or {}).get(part, {})
        axes.errorbar(middle, y, xerr=[middle - low, high - middle], capsize=3, label=part, **style)
        for values in runs:
            axes.plot(values, y, "o", color=style["color"], markersize=4, markeredgecolor="white", zorder=3)
    if zero:
        axes.axvline(0, color="0.5", linestyle=":")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="x")


@styled
def differences(panels: dict):
    """Differences to one common condition, a panel a measure; hollow where they are inconclusive.

    panels: measure -> [(condition, Difference), …], the same conditions in each.
    """
    size = (max(9.6, 3.6 * len(panels)), 1.9 + 0.5 * max(map(len, panels.values())))
    figure, places = plt.subplots(1, len(panels), sharey=True, squeeze=False, figsize=size)
    looks = {"significant": {"color": BLUE}, "inconclusive": {"color": "0.45", "mfc": "white"}}
    for axes, (measure, rows) in zip(places[0], panels.items(), strict=True):
        label = lambda gain: "inconclusive" if gain.verdict == "inconclusive" else "significant"  # noqa: E731
        parted = [(condition, {label(gain): gain.points}) for condition, gain in rows]
        unit = " (points)" * (rows[0][1].of not in LOWER_IS_BETTER)
        draw_points(axes, parted, measure + unit, looks=looks, zero=True, fmt="o", markersize=9)
    keys = [{"markersize": 9, "label": label, **look} for label, look in looks.items()]
    if any(len(gain.each) > 1 for rows in panels.values() for _, gain in rows):
        keys += [{"markersize": 4, "linestyle": "", "color": "0.3", "label": "each seed"}]
    handles = [plt.Line2D([], [], marker="o", **key) for key in keys]
    figure.legend(handles=handles, loc="outside lower right", ncols=3)
    return figure


@styled
def intervals(rows: list, *, xlabel: str, lines: tuple = (), gains: tuple = (), gain_label: str = ""):
    """Points with intervals, a row a model; with `gains`, on the right in the same rows the difference of two of them.

    rows: (name, {part: (value, low, high)}); what follows in a tuple, like the value of each seed, is a small point.
    lines: (place, what it means) or (low, high, what it means), to draw in. gains: (value, low, high, …) a row.
    """
    shape = {"figsize": (10.5, 1.9 + 0.5 * len(rows)), "width_ratios": (3, 2)} if gains else {}
    shape = shape or {"figsize": (8.5, 1.9 + 0.62 * len(rows))}
    figure, places = plt.subplots(1, 2 if gains else 1, sharey=True, squeeze=False, **shape)
    axes, *beside = places[0]
    draw_points(axes, rows, xlabel)
    for right in beside:
        named = [(name, {"gain": gain}) for (name, _), gain in zip(rows, gains, strict=True)]
        draw_points(right, named, gain_label, zero=True, color="0.2")
    for (low, *high, name), shade in zip(lines, ("0.5", "0.75"), strict=False):
        drawn = axes.axvspan(low, high[0], alpha=0.4) if high else axes.axvline(low, linestyle=":")
        drawn.set(color=shade, label=name)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2 if len(lines) > 1 else 3)
    return figure


@styled
def scatter(points: list, *, xlabel: str, ylabel: str, log: bool = False):
    """Named points: dicts with x, y, name, group (colour), shape (marker) and hollow (or filled). log: x in decades."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    groups = list(dict.fromkeys(each["group"] for each in points))
    shades = dict(zip(groups, colours.of_series(groups), strict=True))
    markers = dict(zip(dict.fromkeys(each["shape"] for each in points), MARKERS, strict=False))
    for point in points:
        place, colour = (point["x"], point["y"]), shades[point["group"]]
        look = {"markersize": 9, "markeredgewidth": 2, "markerfacecolor": "none" if point["hollow"] else colour}
        axes.plot(*place, markers[point["shape"]], color=colour, zorder=3, **look)
        axes.annotate(point["name"], place, xytext=(8, 4), textcoords="offset points", fontsize=9.5)
    looks = [{"marker": "o", "color": colour, "label": name} for name, colour in shades.items()]
    looks += [{"marker": marker, "color": "0.2", "label": name} for name, marker in markers.items()]
    figure.legend(handles=[plt.Line2D([], [], ls="", **look) for look in looks], loc="outside right center")
    axes.set(xlabel=xlabel, ylabel=ylabel, xmargin=0.25, ymargin=0.25, xscale="log" if log else "linear")
    decades = {"major_locator": LogLocator(subs=(1, 2, 5)), "minor_formatter": NullFormatter()} if log else {}
    axes.xaxis.set(major_formatter=NUMBER, **decades)
    axes.grid()
    return annotations.spread(figure, axes)
