"""Which pictures are looked at: a file, a folder, an upload in Colab, scikit-image's; and what is written of them."""

import io
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageDraw, ImageFont

from fer_helpers import images, paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import detection
from fer_helpers.photos.detection import Box

FACELESS = "chelsea.png coffee.png rocket.jpg motorcycle_left.png hubble_deep_field.jpg retina.jpg brick.png grass.png"
SAMPLES = {  # photographs that come with scikit-image, and the faces' boxes; its others would be downloaded
    "astronaut.png": [Box(172, 62, 106)],
    "camera.png": [Box(195, 95, 95)],  # from the side
    **{name: [] for name in [*FACELESS.split(), "gravel.png", "coins.png"]},
}
SHEET = "lfw_subset.npy"  # 100 small faces of Labeled Faces in the Wild, and 100 crops without one
WORKERS = min(4, os.cpu_count() or 1)  # pictures side by side; of each, every pixel may be in memory
COLOURS = {True: (0, 114, 178), False: (213, 94, 0)}  # detected, and the centre square


def samples() -> dict[str, Path]:
    """Name -> file of the photographs that come with scikit-image."""
    return {name: Path(skimage.__file__).parent / "data" / name for name in SAMPLES}


def sheet(faces: bool = True) -> tuple[Image.Image, list[Box]]:
    """scikit-image's 100 small faces (or its 100 crops without one), four times as large, on one grey sheet.

    returns: the sheet, and where each of the hundred lies.
    """
    halves = np.load(Path(skimage.__file__).parent / "data" / SHEET).reshape(2, 100, 25, 25)  # 0 to 1
    boxes = [Box(25 + 150 * (k % 10), 25 + 150 * (k // 10), 100) for k in range(100)]
    image = Image.new("RGB", (1500, 1500), (128, 128, 128))
    for one, (left, top, side) in zip(halves[0 if faces else 1], boxes, strict=True):
        large = Image.fromarray((255 * one).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        image.paste(large, (left, top))
    return image, boxes


def matches(box: Box, true: Box) -> bool:
    """True if a detected square means the face in the true one."""
    apart = [abs(a + box.side / 2 - b - true.side / 2) for a, b in zip(box[:2], true[:2], strict=True)]
    return max(apart) < 0.35 * true.side and 0.5 < box.side / true.side < 1.6


def measure_detection(min_face: float = detection.MIN_FACE) -> dict:
    """How well faces are detected on scikit-image's pictures: name -> faces, detected, and false_positives."""
    cases = {name: (detection.read(path).image, SAMPLES[name]) for name, path in samples().items()}
    cases["100 small faces"], (faceless, _) = sheet(), sheet(faces=False)
    cases["100 crops without one"] = faceless, []
    counts = {}
    for name, (image, true) in cases.items():
        boxes = detection.detect(image, min_face)
        detected = sum(any(matches(box, one) for box in boxes) for one in true)
        wrong = sum(not any(matches(box, one) for one in true) for box in boxes)
        counts[name] = {"faces": len(true), "detected": detected, "false_positives": wrong}
    return counts


def collect(pictures: str) -> dict:
    """Name -> file (or stream) of each picture.

    pictures: a file; a folder, searched with those in it; `upload`, which asks for files in Colab; empty for those that
    come with scikit-image. Relative ones count from the workbook's root. Raises ValueError where nothing is there.
    """
    if not pictures:
        files, stream = samples(), io.BytesIO()
        first = {name: files.pop(name) for name in ("astronaut.png", "camera.png")}
        sheet()[0].save(stream, "PNG")
        return {**first, "faces.png": stream, **files}
    if pictures == "upload":
        if "google.colab" not in sys.modules:
            raise ValueError("An upload is for Colab. Here name a file or a folder of yours.")
        return {name: io.BytesIO(content) for name, content in import_module("google.colab.files").upload().items()}
    path = paths.ROOT / Path(pictures).expanduser()
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise ValueError(f"There is no file and no folder {path}. A relative name counts from the workbook's folder.")
    files = [each for each in sorted(path.rglob("*")) if each.suffix.lower() in images.SUFFIXES and each.is_file()]
    if not files:
        raise ValueError(f"The folder {path} holds no picture ({', '.join(sorted(images.SUFFIXES))}).")
    return {each.relative_to(path).as_posix(): each for each in files if not each.name.startswith(".")}


def recognise(model, pictures: dict, *, min_face: float = detection.MIN_FACE, log=print) -> Iterator[tuple]:
    """Yield (name, images.Picture, faces) of each picture, in order; or (name, the reason, []) where it can't be read.

    pictures: as `collect` gives them. log: called every hundredth picture. A few are looked at side by side, and no
    more are held than that.
    """

    def one(name, source):
        try:
            photo = detection.read(source)
            return name, photo, detection.recognise(model, photo.image, min_face)
        except ValueError as error:
            return name, str(error), []

    with ThreadPoolExecutor(WORKERS) as pool:  # the cascade lets other threads work
        begun = deque()
        for number, each in enumerate([*pictures.items(), *[None] * WORKERS], 1 - WORKERS):
            if each:
                begun.append(pool.submit(one, *each))
            if number >= 1 and begun:
                yield begun.popleft().result()
            if number >= 1 and number % 100 == 0 and log:
                log(f"{number:,} of {len(pictures):,} pictures")


def answer_columns(face: detection.Face, scale: float, threshold: float) -> dict:
    """Columns of a table for one face: box in pixels of the upright file, then the answer and its probabilities.

    scale: pixels of the file to one of the picture in which the face was detected.
    """
    box = {name: round(value * scale) for name, value in face.box._asdict().items()}
    probability = round(float(face.probabilities.max()), 4)
    answer = {"answer": face.label(threshold), "likeliest": face.likeliest, "probability": probability}
    return box | answer | {name: round(float(p), 4) for name, p in zip(EMOTIONS, face.probabilities, strict=True)}


def rows(name: str, photo: images.Picture, faces: list, threshold: float) -> list[dict]:
    """The lines of `predictions.csv` for one picture."""
    return [
        {"picture": name, "face": number, "detected": face.detected}
        | answer_columns(face, photo.scale, threshold)
        | {"notes": ", ".join(photo.notes)}
        for number, face in enumerate(faces, 1)
    ]


def annotated(image: Image.Image, faces: list, threshold: float) -> Image.Image:
    """A copy of the picture with a square around each face and its answer; a centre square is orange."""
    copy = image.convert("RGB").copy()
    draw, width = ImageDraw.Draw(copy), max(2, round(max(copy.size) / 300))
    for face in faces:
        left, top, side = face.box
        draw.rectangle((left, top, left + side, top + side), outline=COLOURS[face.detected], width=width)
        font = ImageFont.load_default(min(max(12, side / 6), max(copy.size) / 24))
        text = f"{face.label(threshold)} {face.probabilities.max():.0%}"
        corner = (max(left, 0), max(top - font.size * 1.3, 0))
        draw.rectangle(draw.textbbox(corner, text, font=font), fill=COLOURS[face.detected])
        draw.text(corner, text, font=font, fill="white")
    return copy
