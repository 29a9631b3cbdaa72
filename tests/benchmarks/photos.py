"""How many pictures a second are answered: cropped faces, photographs, a webcam's frames; and how much memory."""

import tempfile
from pathlib import Path

import numpy as np

from fer_helpers import predict
from fer_helpers.photos import album, detection, webapp
from tests.benchmarks.fresh import measured, peak_memory, timed

SIZES = {"0.3 megapixels": (640, 480), "2 megapixels": (1632, 1224), "12 megapixels": (4000, 3000)}


def measure(data: str, small: bool, out_root: str) -> dict:
    """Medians of several turns. `live`: from a webcam's frame to the page's text, without browser and network."""
    model, confidence = detection.load(predict.given_away(), 0.8)
    threshold, turns = detection.threshold_of(confidence), 2 if small else 15
    astronaut, face = known()
    scene = astronaut.crop((0, 0, 512, 384))
    frame = scene.resize((640, 480))
    faces = np.repeat(face[None], 64 if small else 512, axis=0)
    rates = {
        "faces_a_second": round(len(faces) / seconds(lambda: predict.probabilities(model, faces), turns)),
        "live_a_second": round(1 / seconds(lambda: webapp.answer_frame(model, frame, threshold), turns), 1),
    }
    photographs, memories = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            file = Path(folder) / "photo.jpg"
            scene.resize(size).save(file, quality=90)
            answer = lambda file=file: detection.recognise(model, detection.read(file).image)  # noqa: E731
            photographs[name] = round(1 / seconds(answer, turns), 1)
        for form in ("jpg", "png"):
            file = Path(folder) / f"large.{form}"
            scene.resize((1000, 1000) if small else (10_000, 10_000)).save(file)
            memories[f"100 megapixels, {form}"] = measured("photos", "memory", file)
    return {"model": predict.given_away().stem, **rates, "photographs_a_second": photographs, "memory_mb": memories}


def known() -> tuple:
    """A photograph that scikit-image carries, and the largest face in it, cropped: (48, 48) uint8."""
    astronaut = detection.read(album.samples()["astronaut.png"]).image
    return astronaut, detection.crop(astronaut, detection.largest(detection.detect(astronaut)))


def seconds(work, turns: int) -> float:
    """Median of several turns, after one that doesn't count."""
    return float(np.median([timed(work)[1] for _ in range(turns + 1)][1:]))


def memory(file: str) -> float | None:
    """How far opening a picture lifts the most memory that this process has held, in MB; None where nobody tells."""
    before = peak_memory()
    detection.read(file)
    return None if before is None else peak_memory() - before
