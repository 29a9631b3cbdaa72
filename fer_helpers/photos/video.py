"""Moving pictures: a film file to a table of emotions over time. Needs PyAV, of the optional extra `demo`."""

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from PIL import Image

from fer_helpers import paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import detection

LONGER = 640  # pixels of a film's picture: enough for faces from a tenth of it
SMALLEST = 0.1
COLUMNS = ["seconds", "face", "left", "head", "side", "answer", "likeliest", "probability", *EMOTIONS]


def frames(path: str | Path, a_second: float) -> Iterator[tuple[float, Image.Image]]:
    """Yield (seconds from the start, upright picture) of a film, `a_second` of them at most.

    Raises ValueError that says what is wrong: no film, no pictures in it. Where it breaks off, the pictures before
    that were given, and the error comes after them.
    """
    try:
        import av
    except ImportError as error:
        raise ValueError(f'Films need the extra packages of `make demo`, or pip install "{_needed("av")}"') from error
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise ValueError(f"{path} has no moving pictures: it holds sound alone, or something else.")
            film.streams.video[0].thread_type, due, count = "AUTO", 0.0, 0
            for frame in film.decode(video=0):
                seconds = float(frame.time) if frame.time is not None else count / 25
                count += 1
                if seconds >= due - 1e-6:
                    due = (math.floor(seconds * a_second + 1e-6) + 1) / a_second  # the next point of the grid
                    picture = frame.to_image()
                    yield seconds, picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
    except FileNotFoundError:
        raise ValueError(f"There is no film {path}.") from None
    except av.FFmpegError as error:
        raise ValueError(f"{path} can't be read as a film, or not to its end ({error.strerror}).") from error
    if not count:
        raise ValueError(f"{path} is a film without a picture.")


def _needed(name: str) -> str:
    from fer_helpers.workbook import environment

    return next(line for line in environment.requirements()["demo"] if line.startswith(name))


def follow(boxes: list, before: dict) -> list[int]:
    """A number for each box: that of the nearest face of the picture before, or a new one.

    before: number -> box of every face seen so far, at its last place; the boxes are written into it.
    """
    numbers = []
    for box in boxes:
        far = {
            number: max(abs(box.left - old.left), abs(box.top - old.top)) / max(box.side, old.side)
            for number, old in before.items()
            if number not in numbers
        }
        nearest = min(far, key=far.get, default=None)
        numbers.append(nearest if nearest is not None and far[nearest] < 0.5 else len(before) + 1)
        before[numbers[-1]] = box
    return numbers


def table(model, path: str | Path, *, a_second: float, least: float, log=print) -> tuple[pd.DataFrame, int]:
    """(a row a face and moment, number of pictures looked at) of a film; a face keeps its number while it moves on.

    a_second: pictures a second that are asked about. least: probability under which the answer is "not sure". Places
    are pixels of the film. Raises ValueError as `frames`, unless the film breaks off after a picture: that is told.
    """
    rows, before, count = [], {}, 0
    try:
        for seconds, picture in frames(path, a_second):
            scale = max(max(picture.size) / LONGER, 1.0)
            picture.thumbnail((LONGER, LONGER))
            faces = [face for face in detection.look(model, picture, SMALLEST) if face.found]
            count += 1
            for number, face in zip(follow([face.box for face in faces], before), faces, strict=True):
                places = [round(value * scale) for value in face.box]
                likeliest, sure = face.likeliest, round(float(face.probabilities.max()), 4)
                chances = [round(float(value), 4) for value in face.probabilities]
                rows.append([round(seconds, 3), number, *places, face.label(least), likeliest, sure, *chances])
    except ValueError as error:
        if not count:
            raise
        log(f"Careful: {error} {count} pictures came before that.")
    return pd.DataFrame(rows, columns=COLUMNS), count


def write(model, path: str | Path, out: Path, *, a_second: float, least: float) -> Path:
    """The table of a film as `<out>/<name of the film>.csv`; says what stands in it."""
    found, count = table(model, path, a_second=a_second, least=least)
    target = out / f"{Path(path).stem}.csv"
    paths.write_csv(target, found)
    print(f"{count:,} pictures of {Path(path).name}, {found.face.nunique()} faces, {len(found):,} answers: {target}")
    return target
