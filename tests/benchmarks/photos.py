"""How many pictures a second are answered: cut faces, whole photographs, a webcam's pictures; and how much memory."""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fer_helpers import predict
from fer_helpers.photos import album, detection, webapp
from tests.benchmarks import fresh

SIZES = {"0.3 megapixels": (640, 480), "2 megapixels": (1632, 1224), "12 megapixels": (4000, 3000)}


def measure(data: str, small: bool, out_root: str) -> dict:
    """Medians of several turns. `live`: from a webcam's picture to the page's text, without browser and network."""
    model, sure = detection.load(predict.given_away(), 0.8)
    astronaut, cut = known()
    scene = astronaut.crop((0, 0, 512, 384))
    turns = 2 if small else 15
    found = {"model": predict.given_away().stem}
    crops = np.repeat(cut[None], 64 if small else 512, axis=0)
    found["faces_a_second"] = round(len(crops) / _seconds(lambda: detection.answers(model, crops), turns))
    found["live_a_second"] = round(
        1 / _seconds(_live(webapp.quick(model), scene.resize((640, 480)), detection.least(sure)), turns), 1
    )
    found["photographs_a_second"], found["memory_mb"] = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            file = Path(folder) / "photo.jpg"
            scene.resize(size).save(file, quality=90)
            seconds = _seconds(lambda file=file: detection.look(model, detection.opened(file).picture), turns)
            found["photographs_a_second"][name] = round(1 / seconds, 1)
        for form in ("jpg", "png"):
            file = Path(folder) / f"large.{form}"
            scene.resize((1000, 1000) if small else (10_000, 10_000)).save(file)
            found["memory_mb"][f"100 megapixels, {form}"] = fresh.measured("photos", file)["memory_mb"]
    return found


def known() -> tuple:
    """A photograph that scikit-image carries, and the largest face in it, cut out: (48, 48) uint8."""
    astronaut = detection.opened(album.carried()["astronaut.png"]).picture
    return astronaut, detection.cut(astronaut, max(detection.find(astronaut), key=lambda box: box.side))


def _live(model, picture, least):
    def answer():
        faces = detection.look(model, picture, webapp.SMALLEST)
        webapp.shown(detection.Photo(picture, 1.0, ""), faces, least)

    return answer


def _seconds(work, turns: int) -> float:
    work()
    took = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def _memory(file: str) -> float | None:
    """How far opening a picture lifts the most memory that this process has held, in MB; None where nobody tells."""
    before = fresh.peak_memory()
    detection.opened(file)
    return None if before is None else fresh.peak_memory() - before


if __name__ == "__main__":
    print(json.dumps({"memory_mb": _memory(sys.argv[1])}))
