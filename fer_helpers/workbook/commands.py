"""What there is to type: the commands, and the variables that each of them takes."""

from __future__ import annotations

import os
import shlex
from difflib import get_close_matches

from fer_helpers.errors import UserError
from fer_helpers.workbook.environment import CPU_WHEELS, PYPI

NOTEBOOK = "DATA BUDGET SEED OUT PARAMS DEVICE VERBOSE"
ROW = f"{NOTEBOOK} LABELS EMOTIONS"
STUDY = f"{ROW} CLUSTER"
COMMANDS = {  # what it does, and which variables it takes
    "run-all": ("run the main row of notebooks; those that are up to date are not run", f"{ROW} START"),
    "studies": ("run the studies, 06 to 08: many trainings each, which go on where they stopped", STUDY),
    "03": ("run one notebook by its number, and what it needs; 09 takes what exists", f"{ROW} START"),
    "06": ("run one study by its number", STUDY),
    "check": ("style, import contracts, quick tests, in about a minute and a half; PARAMS goes to pytest", "PARAMS"),
    "test": ("style, import contracts and all tests, in about ten minutes; PARAMS goes to pytest", "PARAMS"),
    "lab": ("open JupyterLab; PARAMS goes to it", "EMOTIONS PARAMS"),
    "setup": ("build the environment, no more", ""),
    "rehearse": ("run every notebook alone, as in Colab; PARAMS=03 only that one; installs 5.5 GB once", "PARAMS"),
    "evaluate": ("score a saved model again: MODEL=path", "MODEL DATA LABELS EMOTIONS BUDGET OUT"),
    "report": ("write the page of results anew: OUT/index.html, as a run of notebooks does at its end", "OUT EMOTIONS"),
    "compare": ("what differs between two folders of results, and their scores: B=other, A if not outputs", "A B OUT"),
    "demo": ("a page for your webcam and uploads, for you alone; PARAMS=accuracy=0.9", "MODEL EMOTIONS PARAMS FORMAT"),
    "export": (
        "a model as an ONNX file, to run without torch, into OUT/exports/",
        "MODEL EMOTIONS FORMAT INT8 DATA OUT",
    ),
    "video": (
        "emotions over time of a film, into OUT/videos/, or the table that OUT names; PARAMS=fps=5",
        "VIDEO MODEL EMOTIONS OUT PARAMS FORMAT ANNOTATED",
    ),
    "bench": ("measure time, memory and growth, on a quiet machine; PARAMS=small only tries it", "DATA OUT PARAMS"),
    "bench-accuracy": ("measure how long a good accuracy takes; it goes on where it stopped", "DATA OUT PARAMS"),
    "reference": ("make outputs/reference and the README's numbers anew", NOTEBOOK),
    "address": ("carry the address in pyproject.toml into notebooks, README and CITATION.cff", ""),
    "clean": ("remove results, caches and compiled files", ""),
    "help": ("show this", ""),
}
VARIABLES = {
    "DATA": "a folder, zip, tar.gz or CSV with FER-2013 or other faces; or kaggle, synthetic, auto",
    "LABELS": "ferplus: by most votes of fer2013new.csv (FER+), beside fer2013.csv; results in outputs/on_ferplus. "
    "ferplus_votes: training faces by all votes, as soft labels; in outputs/on_ferplus_votes",
    "EMOTIONS": 'fewer than seven, like EMOTIONS="happy sad neutral"; results in outputs/on_happy_neutral_sad',
    "BUDGET": "smoke (tests), quick (CPU), full (CUDA) or auto",
    "SEED": "a whole number: first weights, batches and augmentation follow from it",
    "OUT": "folder of the results, outputs/ if not given",
    "PARAMS": 'parameters of the notebooks, like PARAMS="epochs=50 batch_size=64"',
    "DEVICE": "cpu, cuda or auto",
    "START": "a model file of 03 (.safetensors) whose weights its training begins with: fine-tuning",
    "VERBOSE": "1 shows all that the notebooks print, not their sections and epochs alone",
    "CLUSTER": "address of a Dask scheduler whose workers do the runs of a study, like tcp://10.0.0.1:8786",
    "MODEL": "a model file (.safetensors)",
    "FORMAT": "onnx (the file alone) or web (a page in which it runs, also for demo: no server); of video csv or json",
    "ANNOTATED": "1: the film too, with boxes and answers; 0 if not given",
    "INT8": "1: a smaller file in int8 too, unless it loses over 0.3 points on val; needs DATA; 0 if not given",
    "A": "a folder of results to compare with, outputs/ if not given",
    "B": "the folder of results that is compared with A",
    "VIDEO": "a film (.mp4, .mov, .webm, ...)",
    "TORCH_INDEX": f"where torch is installed from: {CPU_WHEELS} without an NVIDIA GPU, else {PYPI}",
}
CHOICES = {
    "LABELS": ("ferplus", "ferplus_votes"),
    "BUDGET": ("auto", "smoke", "quick", "full"),
    "DEVICE": ("auto", "cpu", "cuda"),
    "INT8": ("0", "1"),
    "ANNOTATED": ("0", "1"),
}
QUESTIONS = {  # the variable that a command can't do without, and what is said if it is missing
    "evaluate": ("MODEL", "Which model? make evaluate MODEL=outputs/03_baseline_cnn/baseline.safetensors"),
    "export": ("MODEL", "Which model? make export MODEL=outputs/03_baseline_cnn/baseline.safetensors"),
    "video": ("VIDEO", "Which film? make video VIDEO=film.mp4"),
    "compare": ("B", "Compare with which folder of results? make compare A=outputs B=outputs/weighted"),
}
QUOTING = """Write it like PARAMS="epochs=50 pictures='my pictures'"; around an apostrophe: 'pictures="it\'s mine"'."""


def suggestion(word: str, names) -> str:
    """A question, if the word is nearly one of the names."""
    return "".join(f" Did you mean {match}?" for match in get_close_matches(word, names, 1, 0.5))


def words_of(options: dict[str, str], named: bool = False) -> list[str]:
    """The words of PARAMS, all name=value if `named`; quotes hold blanks together, a backslash is one, as in paths."""
    lexer = shlex.shlex(options.get("PARAMS", ""), posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        words = list(lexer)
    except ValueError:
        raise UserError(f"PARAMS has a quote that isn't closed. {QUOTING}") from None
    if wrong := next((word for word in words if named and "=" not in word), ""):
        raise UserError(f"{wrong} in PARAMS isn't name=value. {QUOTING}")
    return words


def takes(command: str) -> list[str]:
    """The variables of a command."""
    listed = "06" if command in ("06", "07", "08") else "03" if command.isdigit() else command
    return [*COMMANDS[listed][1].split(), "TORCH_INDEX"]


def settle_emotions(command: str, options: dict[str, str]) -> None:
    """Which emotions this process and those that it starts are about; ValueError for names of none."""
    if "EMOTIONS" in options:
        os.environ["FER_EMOTIONS"] = options["EMOTIONS"]
    elif "EMOTIONS" not in takes(command):
        os.environ.pop("FER_EMOTIONS", None)  # of the shell
    from fer_helpers import emotions  # which reads it, once

    if emotions.FEWER:
        print(f"emotions: {', '.join(emotions.FEWER)} alone")


def labelled(data: str, options: dict[str, str]) -> str:
    """The data as `sources.find` takes it, with whose labels are asked for."""
    return f"{data} labels={options['LABELS']}" if "LABELS" in options else data
