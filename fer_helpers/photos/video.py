"""Films: a film file to a table of emotions over time. Needs PyAV, of the optional extra `demo`."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from PIL import Image

from fer_helpers import images, paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import album, detection

PYAV = "av>=14"  # as in pyproject.toml's extra
LONGEST = 640  # pixels of a film's frame: enough for faces from a tenth of it
MIN_FACE = 0.1
LACKING = 2  # seconds at a film's end without a frame, from which on it counts as broken off
JUMP = 60  # seconds without a frame that no screen recording has: the clock jumps
COLUMNS = ["seconds", "face", "left", "top", "side", "answer", "likeliest", "probability", *EMOTIONS]


def frames(path: str | Path, fps: float, log: Callable = print) -> Iterator[tuple[float, Image.Image]]:
    """Yield (seconds from the film's start, upright picture) of a film, `fps` of them a second at most.

    Raises ValueError that says what is wrong; of a film that breaks off after the frames before that. log: is told of a
    clock that jumps, and of a film that ends before its time.
    """
    try:
        import av
    except ImportError as error:
        raise ValueError(f'Films need the extra packages of `make demo`, or pip install "{PYAV}"') from error
    due, frame = 0.0, None
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise ValueError(f"{path} has no moving pictures: it holds sound alone, or something else.")
            stream = film.streams.video[0]
            stream.thread_type = "AUTO"
            start = None if film.start_time is None else film.start_time / av.time_base
            rate = float(stream.guessed_rate or 25)
            clock, whole = Clock(start, 1 / rate, log), max((film.duration or 0) / av.time_base, stream.frames / rate)
            for frame in film.decode(stream):
                seconds = clock.seconds(frame.time)
                if seconds >= due - 1e-6:
                    due = (math.floor(seconds * fps + 1e-6) + 1) / fps  # the next point of the grid
                    yield seconds, frame.to_image().rotate(frame.rotation, expand=True)
            if clock.last is not None and not clock.jumps and clock.last + LACKING < whole:
                log(f"Careful: the last frame of {path} is at {clock.last:.1f} of {whole:.1f} seconds.")
    except FileNotFoundError:
        raise ValueError(f"There is no film {path}.") from None
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path} can't be read as a film, or not to its end ({images.reason(error)}).") from error
    if frame is None:
        raise ValueError(f"{path} is a film without a picture.")


class Clock:
    """Seconds from a film's start, which never go back.

    start: the time at which the film starts, None for that of its first frame. step: seconds from one frame to the
    next, which stand in where a frame has no time, or where the film's own clock jumps: back, or by more than JUMP.
    """

    def __init__(self, start: float | None, step: float, log: Callable):
        self.start, self.step, self.log = start, step, log
        self.last, self.jumps = None, 0

    def seconds(self, time: float | None) -> float:
        """Seconds of the next frame, whose own time this is."""
        first, going_on = self.last is None, 0.0 if self.last is None else self.last + self.step
        time = going_on + (self.start or 0.0) if time is None else float(time)
        self.start = time if self.start is None else self.start
        now = max(time - self.start, 0.0) if first else time - self.start
        if not 0 <= now - (self.last or 0.0) <= JUMP:
            if not self.jumps:
                jump = f"from {self.last or 0:.1f} to {now:.1f} seconds"
                self.log(f"Careful: the film's clock jumps {jump}; a jump counts as one frame.")
            self.jumps, now = self.jumps + 1, going_on
            self.start = time - now
        self.last = now
        return now


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


def follow(model, path: str | Path, *, fps: float, log: Callable = print) -> Iterator[tuple]:
    """Yield (seconds, frame, number -> detected face) of a film; a face keeps its number while it moves on.

    Raises ValueError as `frames`, unless the film breaks off after a frame: then `log` says so.
    """
    last, count = {}, 0
    try:
        for seconds, image in frames(path, fps, log):
            frame = images.read(image, LONGEST)
            count += 1
            faces = detection.recognise(model, frame.image, MIN_FACE)
            yield seconds, frame, dict(zip(track([face.box for face in faces], last), faces, strict=True))
    except ValueError as error:
        if not count:
            raise
        log(f"Careful: {error} {count} frames came before that.")


def write_table(
    model, path: str | Path, target: Path, *, fps: float, threshold: float, annotated: bool = False
) -> Path:
    """A row a face and moment of a film, or one that says "no face"; boxes are in pixels of the film.

    target: the table, .csv or .json; other answers that lie there are kept, and the table gets a number. fps: frames a
    second that are looked at. threshold: the probability below which the answer is "not sure". annotated: the film with
    boxes and answers is written too, beside the table.
    """
    lines, moments, path = [], [], Path(path)
    with paths.writing(target), tempfile.TemporaryDirectory() as folder:
        for seconds, frame, faces in follow(model, path, fps=fps):
            faces = {number: face.enlarged(frame.scale) for number, face in faces.items()}  # in pixels of the film
            moments.append((seconds, [*faces.values()]))
            moment = {"seconds": round(seconds, 3)}
            lines += [moment | {"face": n} | album.answer_columns(face, threshold) for n, face in faces.items()]
            lines += [] if faces else [moment | {"answer": album.NO_FACE}]
        table = album.write_table(target, lines, COLUMNS)
        if annotated:
            film = annotate(path, moments, Path(folder, "film.mp4"), threshold).read_bytes()
            beside = paths.write_beside(table.with_name(f"{table.stem}-annotated.mp4"), film)
    faces = {line["face"] for line in lines if "face" in line}
    print(f"{len(moments):,} frames of {path.name}, {len(faces)} faces, {len(lines):,} rows: {table}")
    if annotated:
        print(f"the annotated film, without its sound: {beside}")
    return table


def annotate(path: Path, moments: list, target: Path, threshold: float) -> Path:
    """Write a film anew with boxes and answers: its size, all its frames, each with the faces of the last moment.

    moments: (seconds, faces in pixels of the film) that were looked at.
    """
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"  # browsers show the first
    stream, now, last = None, 0, -1
    with av.open(str(target), "w") as film:
        with suppress(ValueError):  # it breaks off, as `follow` has said
            for seconds, picture in frames(path, 1000, lambda line: None):
                while now + 1 < len(moments) and moments[now + 1][0] <= seconds:
                    now += 1
                if stream is None:
                    stream = film.add_stream(codec, rate=25)
                    stream.width, stream.height = (max(side // 2 * 2, 2) for side in picture.size)  # both are even
                    stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
                marked = album.annotated(picture, moments[now][1], threshold)
                frame = av.VideoFrame.from_image(marked.resize((stream.width, stream.height)))
                last = max(round(seconds * 1000), last + 1)
                frame.pts, frame.time_base = last, Fraction(1, 1000)
                film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return target
