"""Emotions and splits as people write them, in small letters: another spelling or another order is a line here."""

from fer_helpers.faces import EMOTIONS, SPLIT_TITLES

EMOTION_FOLDERS = {name: label for label, name in enumerate(EMOTIONS)}
CSV_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # of the numbers 0 to 6 in fer2013.csv
CSV_LABELS = {str(number): EMOTIONS.index(name) for number, name in enumerate(CSV_ORDER)}
SPLIT_FOLDERS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
USAGES = {title.lower(): split for split, title in SPLIT_TITLES.items()}  # in the CSV, and how files' names begin


def split_in_name(name: str) -> str:
    """The split that a file's own name states, as Training_3908.jpg does; "" if none."""
    return USAGES.get(name.rsplit("/", 1)[-1].split("_")[0].lower(), "")
