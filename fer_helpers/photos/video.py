"""Films: a film file to a table of emotions over time. Needs PyAV, of the optional extra `demo`."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from PIL import Image

from fer_helpers import images, paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import album, detection

PYAV = "av>=14"  # as in pyproject.toml's extra
LONGEST = 640  # pixels of a film's frame: enough for faces from a tenth of it
MIN_FACE = 0.1
COLUMNS = ["seconds", "face", "left", "top", "side", "answer", "likeliest", "probability", *EMOTIONS]


def frames(path: str | Path, fps: float) -> Iterator[tuple[float, Image.Image]]:
    """Yield (seconds from the start, upright picture) of a film, `fps` of them a second at most.

    Raises ValueError that says what is wrong; of a film that breaks off after the frames before that.
    """
    try:
        import av
    except ImportError as error:
        raise ValueError(f'Films need the extra packages of `make demo`, or pip install "{PYAV}"') from error
    due, count = 0.0, 0
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise ValueError(f"{path} has no moving pictures: it holds sound alone, or something else.")
            film.streams.video[0].thread_type = "AUTO"
            for count, frame in enumerate(film.decode(video=0), 1):
                seconds = float(frame.time) if frame.time is not None else (count - 1) / 25
                if seconds >= due - 1e-6:
                    due = (math.floor(seconds * fps + 1e-6) + 1) / fps  # the next point of the grid
                    yield seconds, frame.to_image().rotate(frame.rotation, expand=True)
    except FileNotFoundError:
        raise ValueError(f"There is no film {path}.") from None
    except av.FFmpegError as error:
        raise ValueError(f"{path} can't be read as a film, or not to its end ({error.strerror}).") from error
    if not count:
        raise ValueError(f"{path} is a film without a picture.")


def track(boxes: list, last: dict) -> list[int]:
    """A number for each box: that of the nearest face of the frames before, or a new one.

    last: number -> box of every face seen so far, at its last place; the boxes are written into it.
    """
    numbers = []
    for box in boxes:
        free = [(number, old) for number, old in last.items() if number not in numbers]
        far = {n: max(abs(box.left - old.left), abs(box.top - old.top)) / max(box.side, old.side) for n, old in free}
        nearest = min(far, key=far.get, default=None)
        numbers.append(nearest if nearest is not None and far[nearest] < 0.5 else len(last) + 1)
        last[numbers[-1]] = box
    return numbers


def follow(
    model, path: str | Path, *, fps: float, log: Callable = print
) -> Iterator[tuple[float, images.Picture, dict]]:
    """Yield (seconds, frame, number -> detected face) of a film; a face keeps its number while it moves on.

    Raises ValueError as `frames`, unless the film breaks off after a frame: then `log` says so.
    """
    last, count = {}, 0
    try:
        for seconds, image in frames(path, fps):
            frame = images.read(image, LONGEST)
            count += 1
            faces = [face for face in detection.recognise(model, frame.image, MIN_FACE) if face.detected]
            yield seconds, frame, dict(zip(track([face.box for face in faces], last), faces, strict=True))
    except ValueError as error:
        if not count:
            raise
        log(f"Careful: {error} {count} frames came before that.")


def write_table(model, path: str | Path, out: Path, *, fps: float, threshold: float) -> Path:
    """A row a face and moment of a film, as `<out>/<name of the film>.csv`; boxes are in pixels of the film.

    fps: frames a second that are looked at. threshold: the probability below which the answer is "not sure".
    """
    rows, count, path = [], 0, Path(path)
    for seconds, frame, faces in follow(model, path, fps=fps):
        count += 1
        for number, face in faces.items():
            answer = album.answer_columns(face, frame.scale, threshold)
            rows.append({"seconds": round(seconds, 3), "face": number} | answer)
    emotions, target = pd.DataFrame(rows, columns=COLUMNS), out / f"{path.stem}.csv"
    paths.write_csv(target, emotions)
    print(f"{count:,} frames of {path.name}, {emotions.face.nunique()} faces, {len(rows):,} answers: {target}")
    return target
