"""Which emotions everything is about: all seven, or fewer on purpose. Settled once, when Python begins.

A variable of the environment, since every process of a run must agree: notebooks' kernels, a cluster's workers.
"""

import os
from difflib import get_close_matches

VARIABLE = "FER_EMOTIONS"
SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
RARE_FIRST = ("disgust", "surprise", "angry", "fear", "sad", "neutral", "happy")  # in FER-2013's Training


def chosen(text: str) -> tuple[str, ...]:
    """The emotions that `text` names, in the order of SEVEN; all of them where it is empty. ValueError for others."""
    words = text.lower().replace(",", " ").split()
    if wrong := next((word for word in words if word not in SEVEN), ""):
        close = "".join(f" Did you mean {name}?" for name in get_close_matches(wrong, SEVEN, 1, 0.5))
        raise ValueError(f"EMOTIONS: {wrong} isn't one of {', '.join(SEVEN)}.{close}")
    if len({*words}) == 1:
        raise ValueError(f"EMOTIONS: a network tells two emotions apart or more, and only {words[0]} is named.")
    return tuple(name for name in SEVEN if name in words or not words)


EMOTIONS = chosen(os.environ.get(VARIABLE, ""))
FEWER = () if EMOTIONS == SEVEN else EMOTIONS
ONLY = f", only {', '.join(FEWER)}" if FEWER else ""  # follows the name of a data set
FOLDER = "_".join(FEWER)  # in the name of a folder of results
RAREST = next(name for name in RARE_FIRST if name in EMOTIONS)
