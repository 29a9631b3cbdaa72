"""Which colour means what: an emotion, a split and a model each keep one of their own, in all figures."""

import re
from collections.abc import Iterable
from itertools import cycle

import seaborn as sns

from fer_helpers.faces import EMOTIONS

PALETTE = sns.color_palette("colorblind")  # ten: the emotions take at most seven
COLOURS = dict(zip(EMOTIONS, PALETTE, strict=False))
BLUE, ORANGE, GREEN, RED, *_ = PALETTE
SPLITS = {r"train|training": "0.6", r"val|publictest": PALETTE[9], r"test|privatetest": "0.2"}
MODELS = {  # Paul Tol's "muted" scheme, https://sronpersonalpages.nl/~pault/, none of the emotions' colours
    "small cnn distilled": "#44AA99",
    "small cnn": "#117733",
    "nano": "#AA4499",
    "baseline": "#999933",
    "ensemble": "#332288",
    "single": "#CC6677",
    "final": "#882255",
}


def of_series(names: Iterable[str]) -> list:
    """A colour for each of several series; what is neither split nor model takes the next of the palette."""
    others, colours = cycle(PALETTE), []
    for name in names:
        words = name.replace("_", " ").lower()
        own = [SPLITS[each] for each in SPLITS if re.fullmatch(rf"(.*, )?({each})( \(.*\))?", words)]
        own += [MODELS[each] for each in MODELS if re.search(rf"\b{each}\b", words)]
        colours.append(own[0] if own else next(others))
    return colours
