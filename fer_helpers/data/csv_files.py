"""FER-2013 as a CSV, as people have it: fer2013.csv, icml_face_data.csv, Kaggle's train.csv, or saved by Excel."""

import csv
import io
import warnings

import numpy as np
import torch

from fer_helpers.data import vocabulary
from fer_helpers.faces import SIDE, Faces

COLUMNS = {"emotion": ("emotion", "label"), "pixels": ("pixels",), "Usage": ("usage", "split")}  # as they may be called
BLANKS = str.maketrans(dict.fromkeys(",;[]()", " "))


def read(stream, name, problems, wrap) -> Faces:
    """The faces in the rows of a CSV, named row_00017; unusable rows go into `problems` (kind -> (row, reason)).

    stream: binary, that can go back. name: for messages. wrap: put before the layout's name. Without a column Usage
    all splits are "". Raises ValueError if a column is missing, the file isn't CSV or its labels are half known.
    """
    faces, words, left_out = [], set(), problems["CSV rows left out"]
    text = io.TextIOWrapper(stream, encoding=_encoding(stream), errors="replace", newline="")
    try:
        first = text.readline()
        comma = max(",;\t|", key=first.count)
        header, rows = next(csv.reader([first], delimiter=comma), []), csv.reader(text, delimiter=comma)
        columns = _columns(header, name)
        for number, row in enumerate(filter(None, rows)):
            try:
                faces.append((f"row_{number:05d}", *_parse(row, columns)))
                words.add(faces[-1][1])
            except ValueError as error:
                left_out.append((f"row_{number:05d}", str(error)))
    except csv.Error as error:
        raise ValueError(
            f"{name} isn't readable as CSV near line {rows.line_num + 1} ({error}). Get it again."
        ) from error
    known = vocabulary.meanings(words, tuple("0123456"), problems)  # the usual labels, which need no word
    vocabulary.check(words, known, name)
    left_out += [(row, f"its label is {word[:20] or 'empty'}") for row, word, *_ in faces if word not in known]
    if not left_out:
        del problems["CSV rows left out"]
    names, labels, images, usages = (
        zip(*(face for face in faces if face[1] in known), strict=True) if known else [()] * 4
    )
    images = torch.from_numpy(np.array(images, dtype=np.uint8).reshape(-1, SIDE, SIDE))
    layout = "icml_face_data.csv" if any(title != title.strip() for title in header) else "fer2013.csv"
    source = {"layout": wrap + layout, "official_split": {*usages} <= vocabulary.USAGES.keys()}
    splits = np.array([vocabulary.SPLIT_WORDS.get(usage, "") for usage in usages], dtype="<U5")
    labels = torch.tensor([known[word] for word in labels], dtype=torch.int64)
    return Faces(images, labels, splits, np.array(names, dtype=str), source)


def _encoding(stream):
    """utf-16, with or without the mark at its beginning, or utf-8: what the first letters are written in."""
    head = stream.read(64)
    stream.seek(0)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    return "utf-16-le" if not any(head[1::2]) and head else "utf-16-be" if not any(head[::2]) and head else "utf-8-sig"


def _columns(header, name):
    """Position of each of COLUMNS, however they are spelt and ordered; None for a Usage that isn't there."""
    titles = [title.strip().lower() for title in header]
    at = {
        column: next((titles.index(each) for each in names if each in titles), None)
        for column, names in COLUMNS.items()
    }
    if lacking := [column for column in ("emotion", "pixels") if at[column] is None]:
        there = ", ".join(title.strip()[:30] for title in header[:5]) or "nothing"
        raise ValueError(
            f"{name} has no column {' and no '.join(lacking)}; its first line is: {there}. "
            f"Give fer2013.csv or icml_face_data.csv, whose columns are {', '.join(COLUMNS)}."
        )
    return [*at.values()]


def _parse(row, columns):
    """Word of the emotion, (48, 48) uint8 image and usage of one row; ValueError with the reason if it is unusable."""
    if len(row) <= max(column for column in columns if column is not None):
        raise ValueError(f"it has {len(row)} fields")
    emotion, pixels, usage = ("" if column is None else row[column].strip() for column in columns)
    if columns[2] is not None and usage.lower() not in vocabulary.SPLIT_WORDS:
        raise ValueError(f"its Usage is {usage[:20] or 'empty'}, not Training, PublicTest or PrivateTest")
    if not pixels[:40].replace(" ", "").isdigit():
        pixels = pixels.translate(BLANKS)
    try:  # older numpy only warns of what isn't a number
        with warnings.catch_warnings(action="error", category=DeprecationWarning):
            values = np.fromstring(pixels, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise ValueError("its pixels aren't whole numbers") from None
    if len(values) != SIDE * SIDE:
        raise ValueError(f"it has {len(values):,} pixels instead of {SIDE * SIDE:,}")
    if len(wrong := values[(values < 0) | (values > 255)]):
        raise ValueError(f"a pixel is {wrong[0]}, not 0 to 255")
    return emotion, values.astype(np.uint8).reshape(SIDE, SIDE), usage.lower()
