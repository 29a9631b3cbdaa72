"""Emotions and splits as people write them, in small letters: another spelling or another order is a line here."""

import re
from difflib import get_close_matches

from fer_helpers.emotions import EMOTIONS, SEVEN
from fer_helpers.faces import SPLIT_TITLES

WORDS = {
    "angry": "angry anger angered mad rage furious",
    "disgust": "disgust disgusted disgusting",
    "fear": "fear fearful afraid scared frightened",
    "happy": "happy happiness joy joyful smile smiling",
    "neutral": "neutral neutrality normal",
    "sad": "sad sadness unhappy sorrow",
    "surprise": "surprise surprised astonished",
}
EMOTION_WORDS = {word: SEVEN.index(name) for name, words in WORDS.items() for word in words.split()}
OTHERS = ("contempt", "contemptuous", "unknown", "other", "others", "none", "uncertain", "nf", "not-a-face", "no-face")
CSV_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # of the numbers 0 to 6 in fer2013.csv
RAF_ORDER = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # of the numbers 1 to 7 in RAF-DB
USAGES = {title.lower(): split for split, title in SPLIT_TITLES.items()}  # in the CSV, and how files' names begin
SPLIT_WORDS = {
    **USAGES,
    **dict.fromkeys(("train", "trainset", "train_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset", "val_set"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "test_set"), "test"),
}


def split_in_name(name: str) -> str:
    """The split that a file's own name states, as Training_3908.jpg does; "" if none."""
    return USAGES.get(name.rsplit("/", 1)[-1].split("_")[0].lower(), "")


def holds_data(folders: list[str]) -> bool:
    """True if these folders, lying together, are splits, or emotions without splits."""
    plain = {folder.lower() for folder in folders}
    emotions = {EMOTION_WORDS.get(_word(folder)) for folder in plain} - {None}
    return bool(plain & SPLIT_WORDS.keys()) or len(emotions) > 1 or {*"123456"} <= plain


def _word(text: str) -> str:
    """In small letters, without a number before it: 0_Angry is angry."""
    return re.sub(r"^\d+[\W_]+(?=\D)", "", text.strip().lower())


def meanings(words: set[str], usual: tuple | dict, problems: dict) -> dict[str, int]:
    """Label of each word that means an emotion, by synonym, near miss or number; told unless the word is in `usual`.

    Raises ValueError for numbers whose order can't be known.
    """
    of = {word: EMOTION_WORDS.get(_word(word)) for word in words}
    numbers = {word: int(match[1]) for word in words if (match := re.fullmatch(r"0*(\d{1,2})(?:\.0*)?", word.strip()))}
    if 0 in (digits := {*numbers.values()}) and 7 not in digits:
        of |= {word: SEVEN.index(CSV_ORDER[k]) for word, k in numbers.items() if k < 7}
        usual = usual if {*range(7)} <= digits else ()  # fewer may have been numbered anew
    elif digits and 0 not in digits and max(digits) == 7:
        of |= {word: SEVEN.index(RAF_ORDER[k - 1]) for word, k in numbers.items()}
        usual = ()  # FER-2013's own numbers mean something else: all seven are told
    elif len(digits) > 1 and len({*of.values()} - {None}) < len(SEVEN):
        raise ValueError(
            f"The emotions are the numbers {', '.join(map(str, sorted(digits)))}: their order can't be known. "
            f"Known are 0 to 6 (FER-2013: {', '.join(CSV_ORDER)}) and 1 to 7 (RAF-DB: {', '.join(RAF_ORDER)}); write "
            "the names."
        )
    for word in [word for word, label in of.items() if label is None and len(words) < 100]:
        close = get_close_matches(_word(word)[:30], EMOTION_WORDS, 1, 0.8)
        if close and close[0][0] == _word(word)[0]:  # unhappily isn't happy
            of[word] = EMOTION_WORDS[close[0]]
    of = {word: label for word, label in of.items() if label is not None}
    if unusual := [
        (f"{word} as {SEVEN[label]}", "") for word, label in sorted(of.items()) if word.lower() not in usual
    ]:
        problems["Names of emotions read as what they mean"] = unusual
    return of


def check(words: set[str], known: dict[str, int], where: str) -> None:
    """Raise ValueError if an emotion has no word here while there is a word that nobody knows: it may be this one's."""
    strange = sorted(word for word in words if word not in known and _word(word) not in OTHERS)
    there = {known.get(word) for word in words}
    lacking = [name for name in EMOTIONS if SEVEN.index(name) not in there]
    if strange and lacking:
        more = f" and {len(strange) - 5:,} more" if len(strange) > 5 else ""
        raise ValueError(
            f"{where} has nothing for {', '.join(lacking)}, and these names aren't known: "
            f"{', '.join(word[:30] or 'empty' for word in strange[:5])}{more}. Rename what is one of the seven "
            f"({', '.join(SEVEN)}), take away what is none."
        )
