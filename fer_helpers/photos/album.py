"""Which pictures are looked at: a file, a folder, an upload in Colab, scikit-image's; and what is written of them."""

import io
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from fer_helpers import images, paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import detection

FACELESS = "chelsea.png coffee.png rocket.jpg motorcycle_left.png hubble_deep_field.jpg retina.jpg brick.png grass.png"
# Photographs that scikit-image brings along (others it downloads), and their faces' boxes; the second is from the side
SAMPLES = {"astronaut.png": [detection.Box(172, 62, 106)], "camera.png": [detection.Box(195, 95, 95)]}
SAMPLES |= {name: [] for name in [*FACELESS.split(), "gravel.png", "coins.png"]}
WORKERS = min(4, os.cpu_count() or 1)  # pictures side by side; of each, every pixel may be in memory
HIDDEN = (".", "@eaDir", "__MACOSX", "$RECYCLE", "Thumbs.db", "ehthumbs", "desktop.ini", "lost+found")  # begin names
NO_FACE = "no face"  # the answer of a picture, or of a film's moment, without one
COLOUR = (0, 114, 178)  # of a detected face's square


def samples() -> dict[str, Path]:
    """Name -> file of the photographs that come with scikit-image."""
    return {name: Path(skimage.__file__).parent / "data" / name for name in SAMPLES}


def sheet(faces: bool = True) -> tuple[Image.Image, list[detection.Box]]:
    """scikit-image's 100 small faces (or crops without one), four times as large, on a grey sheet; and their boxes."""
    crops = skimage.data.lfw_subset()  # of Labeled Faces in the Wild: (200, 25, 25), 0 to 1, first those with a face
    boxes = [detection.Box(25 + 150 * (k % 10), 25 + 150 * (k // 10), 100) for k in range(100)]
    image = Image.new("RGB", (1500, 1500), (128, 128, 128))
    for one, (left, top, side) in zip(crops[:100] if faces else crops[100:], boxes, strict=True):
        large = Image.fromarray((255 * one).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        image.paste(large, (left, top))
    return image, boxes


def matches(box: detection.Box, true: detection.Box) -> bool:
    """True if a detected square means the face in the true one."""
    apart = [abs(a + box.side / 2 - b - true.side / 2) for a, b in zip(box[:2], true[:2], strict=True)]
    return max(apart) < 0.35 * true.side and 0.5 < box.side / true.side < 1.6


def measure_detection(min_face: float = detection.MIN_FACE) -> dict:
    """How well faces are detected on scikit-image's pictures: name -> faces, detected, and false_positives."""
    cases = {name: (detection.read(path).image, SAMPLES[name]) for name, path in samples().items()}
    cases |= {"100 small faces": sheet(), "100 crops without one": (sheet(faces=False)[0], [])}
    counts = {}
    for name, (image, true) in cases.items():
        boxes = detection.detect(image, min_face)
        hits = np.array([[matches(box, one) for one in true] for box in boxes], bool).reshape(len(boxes), len(true))
        detected, wrong = int(hits.any(axis=0).sum()), int((~hits.any(axis=1)).sum())
        counts[name] = {"faces": len(true), "detected": detected, "false_positives": wrong}
    return counts


def collect(pictures: str) -> dict:
    """Name -> file (or stream) of each picture; ValueError where there is none.

    pictures: a file; a folder, all files in it and below; `upload`, which asks for files in Colab; empty for those that
    come with scikit-image. Relative ones count from the workbook's root.
    """
    if not pictures:
        stream, files = io.BytesIO(), [*samples().items()]
        sheet()[0].save(stream, "PNG")
        return dict([*files[:2], ("faces.png", stream), *files[2:]])  # those with faces first
    if pictures == "upload":
        if "google.colab" not in sys.modules:
            raise ValueError("An upload is for Colab. Here name a file or a folder of yours.")
        return {name: io.BytesIO(content) for name, content in import_module("google.colab.files").upload().items()}
    path = paths.ROOT / Path(pictures).expanduser()
    if path.is_file():
        return {_readable(Path(path.name)): path}
    if not path.is_dir():
        raise ValueError(f"There is no file and no folder {path}. A relative name counts from the workbook's folder.")
    files = {_readable(each.relative_to(path)): each for each in sorted(_files(path))}
    if not files:
        raise ValueError(f"The folder {path} holds no file.")
    return files


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder and those in it, and folders that can't be read; what systems and cameras hide isn't."""
    locked = []
    for where, folders, names in os.walk(folder, onerror=lambda error: locked.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        shown = [Path(where, name) for name in names if not name.startswith(HIDDEN)]
        yield from (path for path in shown if path.is_file() or path.is_symlink())  # no sockets, which never answer
    yield from locked


def _readable(path: Path) -> str:
    """A path as text that every table and terminal takes, whatever bytes it consists of."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def recognise(model, pictures: dict, *, min_face: float = detection.MIN_FACE, log: Callable = print) -> Iterator:
    """Yield (name, images.Picture, faces) of each picture, in order; or (name, the reason, []) where it can't be read.

    faces is empty, too, where none is found. pictures: of `collect`; WORKERS of them are held at a time. log: called
    every hundredth picture.
    """

    def one(name, source):
        try:
            photo = detection.read(source)
            return name, photo, detection.recognise(model, photo.image, min_face)
        except ValueError as error:
            return name, str(error), []

    waiting, begun = iter(pictures.items()), deque()
    with ThreadPoolExecutor(WORKERS) as pool:  # the cascade lets other threads work
        for number in range(1, len(pictures) + 1):
            begun.extend(pool.submit(one, *each) for each in islice(waiting, WORKERS + 1 - len(begun)))
            yield begun.popleft().result()
            if number % 100 == 0:
                log(f"{number:,} of {len(pictures):,} pictures")


def answer_columns(face: detection.Face, threshold: float) -> dict:
    """Columns for one face: its box, then the answer."""
    chances = [round(float(p), 4) for p in face.probabilities]
    answer = {"answer": face.label(threshold), "likeliest": face.likeliest, "probability": max(chances)}
    return face.box._asdict() | answer | dict(zip(EMOTIONS, chances, strict=True))


COLUMNS = ["picture", "face", "detected", *detection.Box._fields, "answer", "likeliest", "probability", *EMOTIONS]
COLUMNS += ["notes"]  # of `rows`, whether a face was found or not


def rows(name: str, photo: images.Picture, faces: list, threshold: float) -> list[dict]:
    """The lines of `predictions.csv` for one picture, in pixels of its file: one a face, or one that says "no face"."""
    notes = {"notes": ", ".join(photo.notes)}
    nobody = [{"picture": name, "face": 0, "detected": False, "answer": NO_FACE} | notes]
    return nobody * (not faces) + [
        {"picture": name, "face": k, "detected": True} | answer_columns(face.enlarged(photo.scale), threshold) | notes
        for k, face in enumerate(faces, 1)
    ]


def write_table(path: Path, lines: list[dict], columns: list[str]) -> Path:
    """Write lines of answers as a table, .csv or .json, which keeps what other answers lie there; returns its file.

    In JSON a picture or moment holds its faces, each with its box and all seven probabilities.
    """
    table = pd.DataFrame(lines, columns=columns).convert_dtypes()  # whole numbers stay whole beside "no face"
    text = table.to_csv(index=False, lineterminator="\n")
    if path.suffix.lower() == ".json":
        text = json.dumps(nested(lines), indent=1, ensure_ascii=False) + "\n"
    return paths.write_beside(path, text.encode("utf-8", "backslashreplace"))


def nested(lines: list[dict]) -> list[dict]:
    """Lines of answers as JSON has them: an entry a picture or moment, in it what is one face's."""
    entries = {}
    for line in lines:
        (what, which), *rest = line.items()  # the picture's name, or the seconds
        faces = entries.setdefault(which, {what: which, "faces": []})["faces"]
        if line["answer"] != NO_FACE:
            face = {key: value for key, value in rest if key not in (*detection.Box._fields, *EMOTIONS)}
            box, chances = ({key: line[key] for key in keys} for keys in (detection.Box._fields, EMOTIONS))
            faces.append(face | {"box": box, "probabilities": chances})
    return [*entries.values()]


def annotated(image: Image.Image, faces: list, threshold: float) -> Image.Image:
    """A copy of the picture with a square around each face and its answer."""
    copy = image.convert("RGB").copy()
    draw, width = ImageDraw.Draw(copy), max(2, round(max(copy.size) / 300))
    for face in faces:
        left, top, side = face.box
        draw.rectangle((left, top, left + side, top + side), outline=COLOUR, width=width)
        font = ImageFont.load_default(min(max(12, side / 6), max(copy.size) / 24))
        text = f"{face.label(threshold)} {face.probabilities.max():.0%}"
        corner = (max(left, 0), max(top - font.size * 1.3, 0))
        draw.rectangle(draw.textbbox(corner, text, font=font), fill=COLOUR)
        draw.text(corner, text, font=font, fill="white")
    return copy
