"""Figures of a person's own pictures, beside those of `plots`: the answer on the picture, and emotions over time."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from fer_helpers.colours import BLUE, COLOURS, ORANGE
from fer_helpers.faces import EMOTIONS
from fer_helpers.plots import MARKERS, styled

MOST = 4  # faces of one picture that get bars and a map; the others have their square and their line in the CSV


@styled
def annotated(picture, faces: list, heats, *, threshold: float):
    """A picture with its faces, then for each face what the network saw, its Grad-CAM map, and a bar an emotion.

    picture: a PIL image. faces: `detection.Face`s. heats: (N, 48, 48) in [0, 1]. threshold: below it "not sure".
    """
    rows = min(len(faces), MOST)
    figure = plt.figure(figsize=(11, max(3.9, 0.9 + 1.75 * rows)), layout="constrained")
    places = figure.add_gridspec(rows, 4, width_ratios=(3.2, 1, 1, 1.7))
    whole = figure.add_subplot(places[:, 0])
    whole.imshow(np.asarray(picture))
    whole.set_axis_off()
    for number, face in enumerate(faces, 1):
        whole.add_patch(Rectangle(face.box[:2], face.box.side, face.box.side, fill=False, color=BLUE, linewidth=2))
        text = f"{number}: {face.label(threshold)} {face.probabilities.max():.0%}" if len(faces) <= 12 else str(number)
        corner = (max(face.box.left, 0), max(face.box.top, 0))
        whole.annotate(text, corner, color="white", fontsize=8.5, va="bottom", backgroundcolor=BLUE)
    whole.set(xlim=(-0.5, picture.width - 0.5), ylim=(picture.height - 0.5, -0.5))
    for row, (face, heat) in enumerate(zip(faces[:rows], heats, strict=False)):
        _face(figure, places, row, face, heat, threshold)
    return figure


def _face(figure, places, row: int, face, heat, threshold: float) -> None:
    seen, looked, bars = (figure.add_subplot(places[row, column]) for column in (1, 2, 3))
    for axes, title in ((seen, f"{row + 1}: as the network sees it"), (looked, f"speaks for {face.likeliest}")):
        axes.imshow(face.image, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        axes.set_title(title, fontsize=8.5)
    looked.imshow(heat, cmap="inferno", alpha=0.5, vmin=0, vmax=1)
    drawn = bars.barh(EMOTIONS, 100 * face.probabilities, color=list(COLOURS.values()))
    bars.bar_label(drawn, [f"{chance:.0%}" for chance in face.probabilities], fontsize=8, padding=2)
    if threshold:
        bars.axvline(100 * threshold, color="0.4", linestyle=":")
    bars.invert_yaxis()
    bars.set(xlim=(0, 115), xticks=(0, 50, 100))
    bars.tick_params(labelsize=8)
    bars.set_xlabel("probability (%); dotted: confidence threshold" if threshold else "probability (%)", fontsize=8)


@styled
def framing(cases: list, *, bare: float):
    """What becomes of 100 pasted faces, a bar a size and turn; framing's cases. bare: accuracy on them, not pasted."""
    named = [f"{case['side']} pixels" + f", turned by {case['turn']}°" * bool(case["turn"]) for case in cases]
    detected = np.array([100 * case["detected"] for case in cases])
    right = detected * [case.get("detected_frame_accuracy", 0) for case in cases]
    parts = {"found, answered rightly": (right, BLUE), "found, answered wrongly": (detected - right, ORANGE)}
    parts["not found"] = (100 - detected, "0.88")
    figure, axes = plt.subplots(figsize=(9, 1.9 + 0.5 * len(cases)))
    left = np.zeros(len(cases))
    for name, (wide, colour) in parts.items():
        drawn = axes.barh(named, wide, left=left, color=colour, label=name)
        axes.bar_label(drawn, [f"{value:.0f}" if value >= 2 else "" for value in wide], label_type="center")
        left += wide
    axes.axvline(100 * bare, color="0.2", linestyle=":", label="right on the bare faces")
    axes.set(xlabel="of 100 pasted faces", xlim=(0, 100), ylim=(len(cases) - 0.5, -0.5))
    axes.legend(loc="lower left", bbox_to_anchor=(-0.15, 1), ncols=4)
    return figure


@styled
def over_time(seconds, probabilities, *, name: str):
    """Probabilities of one face over a film. seconds: (T,). probabilities: (T, 7), order of EMOTIONS."""
    figure, axes = plt.subplots(figsize=(9, 4))
    for emotion, values, marker in zip(EMOTIONS, np.asarray(probabilities).T, MARKERS, strict=False):
        axes.plot(seconds, 100 * values, color=COLOURS[emotion], marker=marker, markersize=3, label=emotion)
    axes.set(xlabel=f"seconds of {name}", ylabel="probability (%)", ylim=(0, 100))
    axes.grid()
    axes.legend(fontsize=9, ncols=4)
    return figure
