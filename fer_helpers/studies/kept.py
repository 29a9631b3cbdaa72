"""The file of a finished run: answers, history and settings, and the network's weights where they are wanted."""

import json
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from fer_helpers import paths

WEIGHTS = "weights/"


def write(file: Path, result: dict) -> None:
    """Keep a result, whole or not at all: two workers that both believe to have the run write the same."""
    text = json.dumps({name: value for name, value in result.items() if name not in ("probs", "answers", "weights")})
    weights = {WEIGHTS + name: part for name, part in result["weights"].items()}
    arrays = {"probs": result["probs"], "answers": result["answers"]}
    with paths.whole(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, result=text, **arrays, **weights)


def read(file: Path) -> dict | None:
    """A stored result; None for a file that is missing, damaged or another one."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            result = json.loads(str(stored["result"]))
            result |= {name: stored[name].astype(np.float32) for name in ("probs", "answers")}
            state = {name: stored[name] for name in stored if name.startswith(WEIGHTS)}
            return result | {"weights": {name.removeprefix(WEIGHTS): part for name, part in state.items()}}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None
