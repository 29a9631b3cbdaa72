"""Arrays in, Figure out. One style for all; nothing here shows, saves or seeds.

Every figure takes `title`, the finding in a sentence, and `caption`, data set and number of faces (`Faces.caption`).
"""

from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from fer_helpers.faces import EMOTIONS

COLOURS = dict(zip(EMOTIONS, sns.color_palette("colorblind", len(EMOTIONS)), strict=True))
NUMBER = "{x:,g}"  # of a tick: 7,000 and 2.5
BLUE, ORANGE, GREEN, RED, *_ = sns.color_palette("colorblind")
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.prop_cycle": plt.cycler(color=sns.color_palette("colorblind")),
}


def styled(draw):
    """Draw in the workbook's style, then put title and caption; matplotlib's own settings are left as they were."""

    @wraps(draw)
    def wrapper(*args, title: str, caption: str, **options):
        with plt.rc_context(STYLE):
            figure = draw(*args, **options)
            figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12.5, wrap=True)
            figure.supxlabel(caption, x=0.01, ha="left", fontsize=9.5, color=RED if "DEMO" in caption else "0.35")
            figure.draw_without_rendering()  # settles the layout while the style holds
        plt.close(figure)  # pyplot would keep it alive and show it a second time
        figure._repr_mimebundle_ = lambda **_: ({}, {"image/png": {"alt": f"{title}. {caption}"}})  # in Jupyter
        return figure

    return wrapper


@styled
def bars(series: dict, *, ylabel: str, form: str = "{:,.0f}"):
    """Bars beside each other. series: name -> (7,) heights, order of EMOTIONS; form: of their numbers."""
    figure, axes = plt.subplots(figsize=(8, 4.2))
    wide = 0.8 / len(series)
    for k, (name, heights) in enumerate(series.items()):
        place = np.arange(len(heights)) + (k - (len(series) - 1) / 2) * wide
        colours = list(COLOURS.values()) if len(series) == 1 else sns.color_palette("colorblind")[k]
        drawn = axes.bar(place, heights, wide * 0.94, label=name, color=colours)
        axes.bar_label(drawn, [form.format(height) for height in heights], fontsize=8.5, padding=1)
    axes.set(xticks=range(len(EMOTIONS)), xticklabels=EMOTIONS, ylabel=ylabel)
    axes.yaxis.set_major_formatter(NUMBER)
    axes.grid(axis="y")
    if len(series) > 1:
        axes.legend()
    return figure


@styled
def grid(images, *, titles=None, edges=None, columns: int = 7, heats=None, grey: bool = True):
    """Pictures in rows. images: (N, H, W), or None for a free place. titles: (N,) str. edges: (N,) colour or None.

    heats: (N, H, W) in [0, 1], laid over the pictures. grey: scale from 0 to 255; False fits it to each picture.
    """
    rows, titles = max(1, -(-len(images) // columns)), titles or []
    tall = 1.45 if any(titles[columns:]) else 1.28  # inches a row, with or without its titles
    figure, axes = plt.subplots(rows, columns, figsize=(1.25 * columns, tall * rows + 0.8), squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    for k, (place, image) in enumerate(zip(axes.flat, images, strict=False)):
        if image is None:
            continue
        place.set_axis_on()
        place.set(xticks=[], yticks=[])
        place.imshow(np.asarray(image), cmap="gray", **({"vmin": 0, "vmax": 255} if grey else {}))
        if heats is not None and heats[k] is not None:
            place.imshow(np.asarray(heats[k]), cmap="inferno", alpha=0.5, vmin=0, vmax=1)
        edge = edges[k] if edges is not None else None
        place.spines[:].set(visible=edge is not None, color=edge, linewidth=3)
        if titles:
            place.set_title(titles[k], fontsize=8.5, color=edge or "black", pad=3)
    return figure


@styled
def matrix(values, *, rows=EMOTIONS, columns=EMOTIONS, xlabel: str, ylabel: str, label: str = ""):
    """Heat map with numbers. values: (R, C). label: what they are; without it, counts, shown as % of their row."""
    values = np.asarray(values)
    shown = values if label else 100 * values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(max(7.0, 1.5 + 0.85 * len(columns)), 1.6 + 0.55 * len(rows)))
    style = {"cmap": "Blues", "square": False, "linewidths": 0.5, "annot": True, "fmt": ",.0f"}
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
    for (name, values), style in zip(series.items(), ("-", "--", ":", "-.", (0, (5, 1))), strict=False):
        values = np.asarray(values) * (100 if percent else 1)
        places = along[1][name] if along else np.arange(1, len(values) + 1)
        axes.plot(places, values, linestyle=style, marker=".", label=name.replace("_", " "), linewidth=2)
    if kept is not None:
        axes.axvline(kept, color="0.5", linewidth=1)
        axes.annotate(f" kept: epoch {kept}", (kept, axes.get_ylim()[0]), size=9, color="0.35", ha="right", va="bottom")
    axes.set(xlabel=along[0] if along else "epoch", ylabel=f"{ylabel} (%)" if percent else ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=not along, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid()
    axes.legend()
    return figure


@styled
def histogram(series: dict, *, xlabel: str, ylabel: str = "faces", bins=50, line: float | None = None):
    """Outlines of histograms. series: name -> (N,) values; line: a threshold to draw in."""
    figure, axes = plt.subplots(figsize=(7.5, 4))
    edges = np.histogram_bin_edges(np.concatenate([np.asarray(values) for values in series.values()]), bins)
    for name, values in series.items():
        axes.hist(values, edges, histtype="step", linewidth=2, label=name, color=COLOURS.get(name))
    if line is not None:
        axes.axvline(line, color=RED, linestyle="--")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.yaxis.set_major_formatter(NUMBER)
    axes.grid(axis="y")
    if len(series) > 1:
        axes.legend(fontsize=9)
    return figure


def draw_points(axes, rows: list, xlabel: str, looks=None, **look) -> None:
    """Points with intervals into axes, a row of them for each of rows; see intervals. looks: part -> its own look."""
    named = list(dict.fromkeys(part for _, values in rows for part in values))
    apart = min(0.22, 0.75 / max(len(named), 1)) if any(len(values) > 1 for _, values in rows) else 0
    for k, part in enumerate(named):
        place = [row + (k - (len(named) - 1) / 2) * apart for row in range(len(rows))]
        there = [(y, *values[part]) for y, (_, values) in zip(place, rows, strict=True) if values.get(part)]
        y, middle, low, high, *runs = np.array(there).T
        style = {"fmt": "osD^v"[k % 5], "color": sns.color_palette("colorblind")[k]}
        style |= look | (looks or {}).get(part, {})
        axes.errorbar(middle, y, xerr=[middle - low, high - middle], capsize=3, label=part, **style)
        for values in runs:
            axes.plot(values, y, "o", color=style["color"], markersize=4, markeredgecolor="white", zorder=3)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="x")


@styled
def compared(rows: list, gains: list, *, xlabel: str, gain_label: str):
    """Points of several conditions on the left; on the right, in the same rows, the difference of two of them.

    rows: as intervals takes them, empty dicts where the right side stands alone. gains: (value, low, high, …) a row.
    """
    figure, (left, side) = plt.subplots(1, 2, sharey=True, width_ratios=(3, 2), figsize=(10.5, 1.9 + 0.5 * len(rows)))
    draw_points(left, rows, xlabel)
    beside = [(name, {"gain": gain}) for (name, _), gain in zip(rows, gains, strict=True)]
    draw_points(side, beside, gain_label, color="0.2")
    side.axvline(0, color="0.5", linestyle=":")
    left.legend(fontsize=9.5, loc="upper center", bbox_to_anchor=(0.5, -0.06 - 0.5 / (1 + len(rows))), ncols=4)
    return figure


@styled
def differences(panels: dict):
    """Differences to one common condition, a panel a measure; hollow where they are inconclusive.

    panels: measure -> [(condition, Difference), …], the same conditions in each.
    """
    size = (max(9.6, 3.6 * len(panels)), 1.9 + 0.5 * max(map(len, panels.values())))
    figure, places = plt.subplots(1, len(panels), sharey=True, squeeze=False, figsize=size)
    looks = {"significant": {"color": BLUE}, "inconclusive": {"color": "0.45", "mfc": "white"}}
    for axes, (measure, rows) in zip(places[0], panels.items(), strict=True):
        axes.axvline(0, color="0.5", linestyle=":")
        label = lambda gain: "inconclusive" if gain.verdict == "inconclusive" else "significant"  # noqa: E731
        parted = [(condition, {label(gain): gain.points}) for condition, gain in rows]
        draw_points(axes, parted, f"{measure} (points)", looks, fmt="o", markersize=9)
    keys = [plt.Line2D([], [], marker="o", markersize=9, label=label, **look) for label, look in looks.items()]
    if any(len(gain.each) > 1 for rows in panels.values() for _, gain in rows):
        keys += [plt.Line2D([], [], marker="o", markersize=4, linestyle="", color="0.3", label="each seed")]
    figure.legend(handles=keys, loc="outside lower right", ncols=3, fontsize=9.5)
    return figure


@styled
def intervals(rows: list, *, xlabel: str, lines: tuple = ()):
    """Points with intervals, a row a model. lines: (place, what it means) or (low, high, what it means), to draw in.

    rows: (name, {part: (value, low, high)}); what follows in a tuple, like the value of each seed, is a small point.
    """
    figure, axes = plt.subplots(figsize=(8.5, 1.9 + 0.62 * len(rows)))
    draw_points(axes, rows, xlabel)
    for (low, *high, name), shade in zip(lines, ("0.5", "0.75"), strict=False):
        drawn = axes.axvspan(low, high[0], alpha=0.4) if high else axes.axvline(low, linestyle=":")
        drawn.set(color=shade, label=name)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.14 - 0.3 / (1 + len(rows))), ncols=3)
    return figure


@styled
def scatter(points: list, *, xlabel: str, ylabel: str, log: bool = False):
    """Named points: dicts with x, y, name, group (colour), shape (marker) and hollow (or filled). log: x in decades."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    colours = dict(zip(dict.fromkeys(each["group"] for each in points), sns.color_palette("colorblind"), strict=False))
    markers = dict(zip(dict.fromkeys(each["shape"] for each in points), "osD^v", strict=False))
    for point in points:
        x, y, colour = point["x"], point["y"], colours[point["group"]]
        kind, face = markers[point["shape"]], "none" if point["hollow"] else colour
        axes.plot(x, y, kind, color=colour, markersize=9, markerfacecolor=face, markeredgewidth=2, zorder=3)
        axes.annotate(point["name"], (x, y), xytext=(8, 4), textcoords="offset points", fontsize=9.5)
    looks = [{"marker": "o", "color": colour, "label": name} for name, colour in colours.items()]
    looks += [{"marker": marker, "color": "0.2", "label": name} for name, marker in markers.items()]
    figure.legend(handles=[plt.Line2D([], [], ls="", **look) for look in looks], loc="outside right center", fontsize=9)
    axes.set(xlabel=xlabel, ylabel=ylabel, xmargin=0.25, ymargin=0.25, xscale="log" if log else "linear")
    decades = {"major_locator": LogLocator(subs=(1, 2, 5)), "minor_formatter": NullFormatter()} if log else {}
    axes.xaxis.set(major_formatter=NUMBER, **decades)
    axes.grid()
    return figure


@styled
def reliability(models: dict, *, bins: int = 10):
    """Accuracy against confidence in equal-width bins. models: name -> (probs (N, 7), labels (N,))."""
    figure, axes = plt.subplots(figsize=(6, 5.2))
    axes.plot([0, 100], [0, 100], color="0.6", linestyle=":", label="perfect calibration")
    for (name, (probs, labels)), marker in zip(models.items(), "osD^v<>P" * 9, strict=False):
        confidence, right = 100 * probs.max(axis=1), 100.0 * (probs.argmax(axis=1) == labels)
        place = np.minimum((confidence * bins / 100).astype(int), bins - 1)
        there = (count := np.bincount(place, minlength=bins)) >= 10  # fewer faces say nothing
        mean = lambda values: (np.bincount(place, values, bins) / np.maximum(count, 1))[there]  # noqa: E731, B023
        axes.plot(mean(confidence), mean(right), marker=marker, label=name)
    axes.set(xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 100))
    axes.grid()
    axes.legend(fontsize=9)
    return figure
