"""A model card beside each file of weights that is given away: made from its metrics, never typed.

What a card should say: Mitchell et al., "Model Cards for Model Reporting" (2019). The text: templates/model_card.md.j2.
"""

from pathlib import Path

from fer_helpers import metrics as scores
from fer_helpers import paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.publishing import rendering


def write(target: Path, metrics: dict, agreement: float) -> None:
    """Write `target` (Markdown) for the model that these metrics are of; its file lies beside it.

    agreement: how often duplicates of one picture carry the same label, in [0, 1], as notebook 02 measured.
    """
    parts = {"PublicTest (chosen on it)": metrics["val"], "PrivateTest": metrics["test"]}
    parts["PrivateTest without duplicates"] = metrics["test_without_duplicates"]
    values = {"metrics": metrics, "parts": parts, "agreement": agreement, "emotions": EMOTIONS}
    values["recall_interval"] = lambda each: scores.accuracy_interval(round(each["recall"] * each["n"]), each["n"])
    rendering.write(target, rendering.render("model_card.md.j2", address=paths.repository(), **values))
