"""Which pictures are asked about: a file, a folder, an upload in Colab, scikit-image's; and what is said of each."""

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

from fer_helpers import paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import detection
from fer_helpers.photos.detection import Box

EMPTY = "chelsea.png coffee.png rocket.jpg motorcycle_left.png hubble_deep_field.jpg retina.jpg brick.png grass.png"
CARRIED = {  # photographs that come with scikit-image, and where faces are on them; its others would be downloaded
    "astronaut.png": [Box(172, 62, 106)],
    "camera.png": [Box(195, 95, 95)],  # from the side
    **{name: [] for name in [*EMPTY.split(), "gravel.png", "coins.png"]},
}
SHEET = "lfw_subset.npy"  # 100 small faces of Labeled Faces in the Wild, and 100 cuttings without one
ATONCE = min(4, os.cpu_count() or 1)  # pictures side by side; of each, every pixel may be in memory
COLOURS = {True: (0, 114, 178), False: (213, 94, 0)}  # found, and the centre square


def carried() -> dict[str, Path]:
    """Name -> file of the photographs that come with scikit-image."""
    return {name: Path(skimage.__file__).parent / "data" / name for name in CARRIED}


def sheet(faces: bool = True) -> tuple[Image.Image, list[Box]]:
    """scikit-image's 100 small faces (or its 100 cuttings without one), four times as large, on one grey sheet.

    returns: the sheet, and where each of the hundred lies.
    """
    halves = np.load(Path(skimage.__file__).parent / "data" / SHEET).reshape(2, 100, 25, 25)  # 0 to 1
    small = halves[0 if faces else 1]
    places = [Box(25 + 150 * (k % 10), 25 + 150 * (k // 10), 100) for k in range(len(small))]
    made = Image.new("RGB", (1500, 1500), (128, 128, 128))
    for one, (left, top, side) in zip(small, places, strict=True):
        large = Image.fromarray((255 * one).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        made.paste(large, (left, top))
    return made, places


def hit(box: Box, true: Box) -> bool:
    """True if a found square is meant for the face in the true one."""
    middle = [abs(a + box.side / 2 - b - true.side / 2) for a, b in zip(box[:2], true[:2], strict=True)]
    return max(middle) < 0.35 * true.side and 0.5 < box.side / true.side < 1.6


def detected(smallest: float = detection.SMALLEST) -> dict:
    """How well faces are found on what scikit-image carries: name -> faces, found, and false_alarms."""
    cases = {name: (detection.opened(path).picture, CARRIED[name]) for name, path in carried().items()}
    cases["100 small faces"], (cuttings, _) = sheet(), sheet(faces=False)
    cases["100 cuttings without one"] = cuttings, []
    told = {}
    for name, (picture, true) in cases.items():
        boxes = detection.find(picture, smallest)
        right = [any(hit(box, one) for one in true) for box in boxes]
        found = sum(any(hit(box, one) for box in boxes) for one in true)
        told[name] = {"faces": len(true), "found": found, "false_alarms": right.count(False)}
    return told


def gathered(asked: str) -> dict:
    """Name -> file (or stream) of each picture that is asked about.

    asked: a file; a folder, searched with those in it; `upload`, which asks for files in Colab; empty for those that
    come with scikit-image. Relative ones count from the workbook's root. Raises ValueError where nothing is there.
    """
    if not asked:
        files = carried()
        first = {name: files.pop(name) for name in ("astronaut.png", "camera.png")}
        return {**first, "faces.png": _stream(sheet()[0]), **files}
    if asked == "upload":
        if "google.colab" not in sys.modules:
            raise ValueError("An upload is for Colab. Here name a file or a folder of yours.")
        return {name: io.BytesIO(content) for name, content in import_module("google.colab.files").upload().items()}
    path = paths.ROOT / Path(asked).expanduser()
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise ValueError(f"There is no file and no folder {path}. A relative name counts from the workbook's folder.")
    files = [each for each in sorted(path.rglob("*")) if each.suffix.lower() in detection.SUFFIXES and each.is_file()]
    if not files:
        raise ValueError(f"The folder {path} holds no picture ({', '.join(sorted(detection.SUFFIXES))}).")
    return {each.relative_to(path).as_posix(): each for each in files if not each.name.startswith(".")}


def _stream(picture: Image.Image) -> io.BytesIO:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    stream.seek(0)
    return stream


def looked(model, pictures: dict, *, smallest: float = detection.SMALLEST, log=print) -> Iterator[tuple]:
    """Yield (name, Photo, faces) of each picture, in order; or (name, the reason, []) where it can't be read.

    pictures: as `gathered` gives them. log: told every hundredth picture. A few are looked at side by side, and no more
    are held than that.
    """

    def one(name, source):
        try:
            photo = detection.opened(source)
            return name, photo, detection.look(model, photo.picture, smallest)
        except ValueError as error:
            return name, str(error), []

    with ThreadPoolExecutor(ATONCE) as pool:  # the cascade lets other threads work
        begun = deque()
        for number, each in enumerate([*pictures.items(), *[None] * ATONCE], 1 - ATONCE):
            if each:
                begun.append(pool.submit(one, *each))
            if number >= 1 and begun:
                yield begun.popleft().result()
            if number >= 1 and number % 100 == 0 and log:
                log(f"{number:,} of {len(pictures):,} pictures")


def rows(name: str, photo: detection.Photo, faces: list, least: float) -> list[dict]:
    """The lines of `predictions.csv` for one picture: places in pixels of the upright file, then the answer."""
    told = []
    for number, face in enumerate(faces, 1):
        left, top, side = (round(value * photo.scale) for value in face.box)
        where = {"left": left, "head": top, "side": side}
        row = {"picture": name, "face": number, "found": face.found, **where, "answer": face.label(least)}
        row |= {"likeliest": face.likeliest, "probability": round(float(face.probabilities.max()), 4)}
        row |= {emotion: round(float(p), 4) for emotion, p in zip(EMOTIONS, face.probabilities, strict=True)}
        told.append(row | {"notes": photo.notes})
    return told


def annotated(picture: Image.Image, faces: list, least: float) -> Image.Image:
    """The picture with a square around each face, its answer and the probability; a centre square is orange."""
    made = picture.convert("RGB")
    made = made.copy() if made is picture else made
    draw, wide = ImageDraw.Draw(made), max(2, round(max(made.size) / 300))
    for face in faces:
        left, top, side = face.box
        draw.rectangle((left, top, left + side, top + side), outline=COLOURS[face.found], width=wide)
        font = ImageFont.load_default(min(max(12, side / 6), max(made.size) / 24))
        said = f"{face.label(least)} {face.probabilities.max():.0%}"
        where = (max(left, 0), max(top - font.size * 1.3, 0))
        draw.rectangle(draw.textbbox(where, said, font=font), fill=COLOURS[face.found])
        draw.text(where, said, font=font, fill="white")
    return made
