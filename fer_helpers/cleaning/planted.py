"""Duplicates made on purpose, of every kind, mild to strong, so that the search for duplicates can be marked."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from fer_helpers.cleaning import duplicates


def _jpeg(image, quality, rng):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _shifted(image, pixels, rng):
    """Moved both down and across, to a side each that is drawn; what comes in repeats the edge."""
    down, across = (np.clip(np.arange(len(image)) + pixels * rng.choice([-1, 1]), 0, len(image) - 1) for _ in "yx")
    return image[down[:, None], across]


def _brighter(image, levels, rng):
    return np.clip(image + levels * rng.choice([-1.0, 1.0]), 0, 255).astype(np.uint8)


def _contrasted(image, factor, rng):
    return np.clip(128 + (image - 128.0) * factor, 0, 255).astype(np.uint8)


def _cut(image, percent, rng):
    """Cut narrower by so much of the side, anywhere, and enlarged again."""
    kept = len(image) * (1 - percent / 100)
    left, top = rng.uniform(0, len(image) - kept, 2)
    box = (left, top, left + kept, top + kept)
    return np.asarray(Image.fromarray(image).resize(image.shape, Image.Resampling.BICUBIC, box=box))


def _blurred(image, pixels, rng):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(pixels)))


def _marked(image, percent, rng):
    """A black or white block twice as wide as high, of so much of the area, in a corner."""
    high = max(1, round(len(image) * (percent / 200) ** 0.5))
    top, left = rng.choice([1, len(image) - 1 - high]), rng.choice([1, len(image) - 1 - 2 * high])
    marked = image.copy()
    marked[top : top + high, left : left + 2 * high] = rng.choice([0, 255])
    return marked


# kind: (how, strengths from mild to strong, how many of them the search must survive)
KINDS: dict[str, tuple[Callable, tuple, int]] = {
    "JPEG, quality": (_jpeg, (75, 40, 20, 10), 2),
    "moved both ways, pixels": (_shifted, (1, 2, 3, 4), 2),
    "mirrored and moved, pixels": (lambda image, much, rng: _shifted(image, much, rng)[:, ::-1], (0, 1, 2, 3), 3),
    "brighter or darker, grey levels": (_brighter, (10, 20, 40, 60), 3),
    "contrast, times": (_contrasted, (0.7, 1.3, 1.6, 2.5), 3),
    "cut narrower, %": (_cut, (2.5, 5, 7.5, 10), 2),
    "blurred, pixels": (_blurred, (0.5, 1, 1.5, 2), 2),
    "mark, % of the area": (_marked, (1, 2, 4, 8), 2),
}


def change(image: np.ndarray, kind: str, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(48, 48) uint8 -> (48, 48) uint8, a duplicate of this kind and strength; sides and corners are drawn."""
    return KINDS[kind][0](image, strength, rng)


def plant(images: np.ndarray, tries: list, *, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`count` duplicates for each (kind, strength) in tries, each of another original while there are enough.

    images: (N, 48, 48) uint8. returns, one try after the other: the duplicates (K, 48, 48) uint8, the row of each one's
    original (K,), and which of the tries it is (K,).
    """
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(images)) for _ in range(-(-len(tries) * count // len(images)))])
    original, which = order[: len(tries) * count], np.repeat(np.arange(len(tries)), count)
    planted = [change(images[row], *tries[k], rng) for k, row in zip(which, original, strict=True)]
    return np.stack(planted), original, which


def meant() -> list[tuple[str, float]]:
    """The kinds and strengths of near-duplicates that must be found."""
    return [(kind, much) for kind, (_, strengths, must) in KINDS.items() for much in strengths[:must]]


def marks(images: np.ndarray, group: np.ndarray, *, count: int, **rules) -> pd.DataFrame:
    """Plant `count` duplicates of each kind and strength among the images, search, and count what was found.

    images: (N, 48, 48) uint8, distinct and not flat. group: (N,) int, their groups of duplicates. rules: see
    near_pairs. returns: a row a kind and strength: kind, strength, meant (must it be found?), planted, found, right and
    wrong (confirmed pairs with pictures of the original's group, and with others), hash_found (within 10 bits of 64).
    """
    tries = [(kind, much) for kind, (_, strengths, _) in KINDS.items() for much in strengths]
    planted, original, of = plant(images, tries, count=count)
    pairs, _ = duplicates.near_pairs(np.concatenate([images, planted]), **rules)
    pairs = pairs.loc[pairs["duplicate"] & (pairs.j >= len(images)), ["i", "j"]].to_numpy()
    owner = np.concatenate([group, group[original]])
    kin, row = owner[pairs[:, 0]] == owner[pairs[:, 1]], pairs[:, 1] - len(images)
    far = np.bitwise_count(duplicates.phash_bits(images[original]) ^ duplicates.phash_bits(planted))
    counted = {  # of each planted duplicate
        "found": np.isin(np.arange(len(planted)), row[pairs[:, 0] == original[row]]),
        "right": np.bincount(row[kin], minlength=len(planted)),
        "wrong": np.bincount(row[~kin], minlength=len(planted)),
        "hash_found": far <= 10,
    }
    table = pd.DataFrame(tries, columns=["kind", "strength"])
    table["meant"], table["planted"] = [each in meant() for each in tries], count
    return table.assign(**{name: np.bincount(of, each).astype(int) for name, each in counted.items()})


def synthetic_recall(manifest: pd.DataFrame, planted: list) -> pd.DataFrame:
    """For synthetic faces, whose truth is known: kind, planted, found (both in one group, or called blank)."""
    table, rows = pd.DataFrame(planted, columns=["name", "twin", "kind"]), manifest.set_index("name")
    together = rows.group.reindex(table.name).to_numpy() == rows.group.reindex(table.twin).to_numpy()
    blank = (rows.reason.reindex(table.name) == "blank").to_numpy()
    table["found"] = np.where(table.kind == "blank", blank, together)
    return table.groupby("kind", sort=False).agg(planted=("found", "size"), found=("found", "sum"))
