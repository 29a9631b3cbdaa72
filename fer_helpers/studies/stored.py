"""A run's result as a file: probabilities, answers, and the weights of a network that is kept."""

import json
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from fer_helpers import identity, results

ARRAYS = ("probs", "answers")  # of a result; its weights are arrays too, all else is JSON


def write(file: Path, result: dict) -> None:
    """Keep a result, whole or not at all: two workers that both believe to have the run write the same."""
    text = json.dumps({name: value for name, value in result.items() if name not in (*ARRAYS, "weights")})
    weights = {f"weights/{name}": part for name, part in result["weights"].items()}
    results.write_predictions(file, result=text, **{name: result[name] for name in ARRAYS}, **weights)


def read(file: Path) -> dict | None:
    """A stored result; None for a file that is missing, damaged or another one."""
    try:
        content = results.read_predictions(file)
        arrays = {name: content[name].astype(np.float32) for name in ARRAYS}
        weights = {name.removeprefix("weights/"): part for name, part in content.items() if "/" in name}
        result = json.loads(str(content["result"]))
        if given := result.pop("weights_in", None):
            weights = _completed(weights, file.parents[1] / given["file"], given["digest"])
        return result | arrays | {"weights": weights}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None


def _completed(own: dict, model: Path, digest: str) -> dict:
    """A kept run's weights, of which the repository keeps all but `own` in the model file that it gives away.

    None of them, {}, where that file is gone, damaged or by now another network's.
    """
    try:
        weights = safetensors.numpy.load_file(model) | own
    except (OSError, SafetensorError):
        return {}
    return weights if identity.digest_arrays(*(weights[name] for name in sorted(weights))) == digest else {}
