"""Which pictures are asked about: a file, a folder, an upload in Colab, scikit-image's own; and what is said of each."""

import io
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageDraw, ImageFont

from fer_helpers import paths, photos
from fer_helpers.faces import EMOTIONS

CARRIED = {  # photographs that come with scikit-image, and the faces on them; its other ones would be downloaded
    "astronaut.png": 1,
    "camera.png": 1,
    "chelsea.png": 0,
    "coffee.png": 0,
    "rocket.jpg": 0,
    "motorcycle_left.png": 0,
    "hubble_deep_field.jpg": 0,
    "retina.jpg": 0,
    "brick.png": 0,
    "grass.png": 0,
    "gravel.png": 0,
    "coins.png": 0,
}
SHEET = "lfw_subset.npy"  # 100 small faces of Labeled Faces in the Wild, and 100 cuttings without one
COLOURS = {True: (0, 114, 178), False: (213, 94, 0)}  # found, and the centre square


def carried() -> dict[str, Path]:
    """Name -> file of the photographs that come with scikit-image."""
    return {name: Path(skimage.__file__).parent / "data" / name for name in CARRIED}


def sheet(faces: bool = True, *, columns: int = 10, side: int = 96) -> Image.Image:
    """scikit-image's 100 small faces (or its 100 cuttings without one), enlarged, on one grey sheet."""
    small = np.load(Path(skimage.__file__).parent / "data" / SHEET)[0 if faces else 100 :][:100]  # (100, 25, 25), 0 to 1
    step = side * 3 // 2
    made = Image.new("RGB", (columns * step, -(-len(small) // columns) * step), (128, 128, 128))
    for k, one in enumerate(small):
        place = (k % columns * step + step // 6, k // columns * step + step // 6)
        made.paste(Image.fromarray((255 * one).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC), place)
    return made


def gathered(asked: str) -> dict:
    """Name -> file (or stream) of each picture that is asked about.

    asked: a file; a folder, searched with those in it; `upload`, which asks for files in Colab; empty for scikit-image's.
    Relative ones count from the workbook's root. Raises ValueError where there is nothing to look at.
    """
    if not asked:
        return {**carried(), "faces.png": _stream(sheet())}
    if asked == "upload":
        if "google.colab" not in sys.modules:
            raise ValueError("An upload is for Colab. Here name a file or a folder of yours.")
        return {name: io.BytesIO(content) for name, content in import_module("google.colab.files").upload().items()}
    path = paths.ROOT / Path(asked).expanduser()
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise ValueError(f"There is no file and no folder {path}.")
    files = [each for each in sorted(path.rglob("*")) if each.suffix.lower() in photos.SUFFIXES and each.is_file()]
    if not files:
        raise ValueError(f"The folder {path} holds no picture ({', '.join(sorted(photos.SUFFIXES))}).")
    return {each.relative_to(path).as_posix(): each for each in files if not each.name.startswith(".")}


def _stream(picture: Image.Image) -> io.BytesIO:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    stream.seek(0)
    return stream


def looked(model, pictures: dict, *, smallest: float = photos.SMALLEST, log=print) -> Iterator[tuple]:
    """Yield (name, Photo, faces) of each picture, one at a time; or (name, the reason, []) where it can't be read.

    pictures: as `gathered` gives them. log: told every hundredth picture.
    """
    for number, (name, source) in enumerate(pictures.items(), 1):
        try:
            photo = photos.opened(source)
            yield name, photo, photos.look(model, photo.picture, smallest)
        except ValueError as error:
            yield name, str(error), []
        if number % 100 == 0 and log:
            log(f"{number:,} of {len(pictures):,} pictures")


def rows(name: str, photo: photos.Photo, faces: list, least: float) -> list[dict]:
    """The lines of `predictions.csv` for one picture: places in pixels of the upright file, then the answer."""
    told = []
    for number, face in enumerate(faces, 1):
        left, top, side = (round(value * photo.scale) for value in face.box)
        where = {"left": left, "top": top, "side": side}
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
