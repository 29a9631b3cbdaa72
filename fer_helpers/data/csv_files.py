"""FER-2013 as a CSV: fer2013.csv, and icml_face_data.csv with its blanks before the column names."""

import csv
import io
import warnings

import numpy as np
import torch

from fer_helpers.data.vocabulary import CSV_LABELS, USAGES
from fer_helpers.faces import SIDE, Faces

COLUMNS = ("emotion", "pixels", "Usage")


def read(stream, name, problems, wrap="") -> Faces:
    """The faces in the rows of a CSV, named row_00017; unusable rows go into `problems` (kind -> rows).

    stream: binary. name: for messages. wrap: put before the layout's name. Raises ValueError if a column is missing or
    the file isn't CSV.
    """
    rows, faces = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")), []
    try:
        header = next(rows, [])
        columns = _columns(header, name)
        for number, row in enumerate(filter(None, rows)):
            try:
                faces.append((f"row_{number:05d}", *_parse(row, columns)))
            except ValueError as error:
                problems["CSV rows left out"].append(f"row_{number:05d} ({error})")
    except csv.Error as error:
        raise ValueError(f"{name} isn't readable as CSV near line {rows.line_num} ({error}). Get it again.") from error
    names, images, labels, splits = zip(*faces, strict=True) if faces else [()] * 4
    images = torch.from_numpy(np.array(images, dtype=np.uint8).reshape(-1, SIDE, SIDE))
    layout = "icml_face_data.csv" if any(title != title.strip() for title in header) else "fer2013.csv"
    source = {"layout": wrap + layout, "official_split": True}
    labels = torch.tensor(labels, dtype=torch.int64)
    return Faces(images, labels, np.array(splits, dtype="<U5"), np.array(names, dtype=str), source)


def _columns(header, name):
    """Position of each of COLUMNS, however they are spelt and ordered."""
    titles = [title.strip().lower() for title in header]
    if lacking := [column for column in COLUMNS if column.lower() not in titles]:
        there = ", ".join(title.strip()[:30] for title in header[:5]) or "nothing"
        raise ValueError(
            f"{name} has no column {' and no '.join(lacking)}; its first line is: {there}. "
            f"Give fer2013.csv or icml_face_data.csv, whose columns are {', '.join(COLUMNS)}."
        )
    return [titles.index(column.lower()) for column in COLUMNS]


def _parse(row, columns):
    """(48, 48) uint8 image, label and split of one row; ValueError with the reason if it is unusable."""
    if len(row) <= max(columns):
        raise ValueError(f"it has {len(row)} fields")
    emotion, pixels, usage = (row[column].strip() for column in columns)
    if emotion not in CSV_LABELS:
        raise ValueError(f"its label is {emotion[:20] or 'empty'}, not 0 to 6")
    if usage.lower() not in USAGES:
        raise ValueError(f"its Usage is {usage[:20] or 'empty'}, not Training, PublicTest or PrivateTest")
    try:  # older numpy only warns of what isn't a number
        with warnings.catch_warnings(action="error", category=DeprecationWarning):
            values = np.fromstring(pixels, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise ValueError("its pixels aren't whole numbers") from None
    if len(values) != SIDE * SIDE:
        raise ValueError(f"it has {len(values):,} pixels instead of {SIDE * SIDE:,}")
    if len(wrong := values[(values < 0) | (values > 255)]):
        raise ValueError(f"a pixel is {wrong[0]}, not 0 to 255")
    return values.astype(np.uint8).reshape(SIDE, SIDE), CSV_LABELS[emotion], USAGES[usage.lower()]
