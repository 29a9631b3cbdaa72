"""What PyPI's `fer` answers: faces in, words and times out. Runs in an environment of its own, see peers.py.

Words: file of (N, 48, 48) uint8 faces, file for the answers, faces that are timed, repeats.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from fer.fer import FER  # the package's front door also imports what films need

WAYS = {"the crop as it is": (0, 0), "default padding": (10, 10)}  # pixels on each side


def answer(detector: FER, face: np.ndarray) -> str:
    """The likeliest emotion of a face that fills the picture, by the package's own steps from a colour picture on."""
    (found,) = detector.detect_emotions(face, face_rectangles=[(0, 0, 48, 48)])
    return max(found["emotions"], key=found["emotions"].get)


source, target, timed, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
faces = np.fromfile(source, np.uint8).reshape(-1, 48, 48, 1).repeat(3, axis=3)
results = {}
for way, offsets in WAYS.items():
    detector = FER(offsets=offsets)
    words, times = [answer(detector, face) for face in faces], []
    for _ in range(repeats):
        start = time.perf_counter()
        for face in faces[:timed]:
            answer(detector, face)
        times.append(1000 * (time.perf_counter() - start) / min(timed, len(faces)))
    results[way] = {"words": words, "ms": times, "step": 1, "timed": min(timed, len(faces))}
versions = {name: metadata.version(name) for name in ("fer", "tensorflow-cpu")}
Path(target).write_text(json.dumps({"versions": versions, "ways": results}), encoding="utf-8")
