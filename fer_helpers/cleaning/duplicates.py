"""Finding duplicates: exact ones by their pixels, near ones by coarse pictures that propose and fine ones that decide.

A 64-bit perceptual hash is too coarse for faces: strangers come within a few bits, a duplicate moved by two pixels
doesn't (notebook 02 measures it). Here every picture is first brought to the same local contrast, so that light and a
watermark count for little. Then 12×12 cells of all pictures are compared with each other, plain and mirrored, by one
matrix product; what is alike is aligned and compared at 24×24, and what is still alike at all 48×48 pixels.
"""

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.cluster.hierarchy import average, fcluster
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE, COARSE, MIDDLE = 48, 12, 24  # pixels, cells and cells along a side
# Of duplicates that are mirrored and moved two pixels both ways, 1 in 100 lies below the first, none below the second
PROPOSED, LIKELY = 0.66, 0.70
SIZES = (1 / 1.05, 1.0, 1.05)  # a duplicate may be cut 5 % narrower
LONG = 100  # pictures of a group above which its parts are compared coarsely: all pairs of a long chain are many
GROUPED = 0.35  # mean likeness between two parts of a group, below which a chain is cut; strangers have 0.17


def is_flat(images: np.ndarray, deviation: float = 5.0) -> np.ndarray:
    """(N, H, W) uint8 -> (N,) bool, True where the grey levels' standard deviation is below `deviation`."""
    blocks = np.array_split(images, len(images) // 4096 + 1)  # numpy would hold all of them as float64 at once
    return np.concatenate([block.std(axis=(1, 2)) < deviation for block in blocks])


def phash_bits(images: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8 -> (N,) uint64, the 64-bit perceptual hash of imagehash; compare by counting unequal bits.

    Idea: the signs of an image's lowest cosine frequencies against their median (hackerfactor.com, 2011).
    """
    bits = np.stack([imagehash.phash(Image.fromarray(image)).hash.ravel() for image in images])  # (N, 64) bool
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _blur(deviation: float) -> np.ndarray:
    """(48, 48) matrix B, so that B @ image @ B.T is the image after a Gaussian blur of so many pixels."""
    return gaussian_filter1d(np.eye(SIDE, dtype=np.float32), deviation, axis=0)


def _cells(count: int) -> np.ndarray:
    """(count, 48) matrix C, so that C @ image @ C.T are the means of count × count cells."""
    return np.kron(np.eye(count, dtype=np.float32), np.full((1, SIDE // count), count / SIDE, dtype=np.float32))


def _zoom(size: float) -> np.ndarray:
    """(48, 48) matrix Z, so that Z @ image @ Z.T is the image `size` times as large about its middle."""
    at = np.clip((np.arange(SIDE) - (SIDE - 1) / 2) / size + (SIDE - 1) / 2, 0, SIDE - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(SIDE)), 0, None).astype(np.float32)  # linear interpolation


def _same_contrast(images: np.ndarray, detail: float) -> np.ndarray:
    """Pixels minus their surroundings (Gaussian, `detail` pixels), in units of the contrast there."""
    near, around = _blur(detail), _blur(6)
    rest = images - near @ images @ near.T
    return rest / (np.sqrt(around @ (rest * rest) @ around.T) + 6)  # 6 grey levels: noise on a flat wall stays small


def _pictures(images: np.ndarray) -> tuple:
    """(N, 48, 48) uint8 -> coarse (N, 144), middle (N, 24, 24), fine (N, 48, 48); the mean face is taken out of each.

    What all faces share says nothing about duplicates. The mean is of plain and mirrored faces, so that mirroring a
    picture mirrors all three.
    """
    shapes = ((COARSE, COARSE, np.float32), (MIDDLE, MIDDLE, np.float32), (SIDE, SIDE, np.float16))
    made = coarse, middle, fine = [np.empty((len(images), high, wide), kind) for high, wide, kind in shapes]
    to_coarse, to_fine, to_middle = _cells(COARSE) @ _blur(3), _blur(1), _cells(MIDDLE) @ _blur(1)
    for start in range(0, len(images), 1024):
        some = images[start : start + 1024].astype(np.float32)
        cells = to_coarse @ _same_contrast(some, 6) @ to_coarse.T
        cells -= cells.mean(axis=(1, 2), keepdims=True)
        here = slice(start, start + len(some))
        coarse[here] = cells / np.maximum(np.linalg.norm(cells, axis=(1, 2), keepdims=True), 1e-6)
        details = to_fine @ _same_contrast(some, 4) @ to_fine.T
        middle[here], fine[here] = to_middle @ details @ to_middle.T, details
    for each in made:
        mean = each.mean(axis=0, dtype=np.float64)
        each -= ((mean + mean[:, ::-1]) / 2).astype(each.dtype)
    coarse = coarse.reshape(len(images), -1)
    coarse /= np.maximum(np.linalg.norm(coarse, axis=1, keepdims=True), 1e-6)
    return coarse, middle, fine


def _proposed(coarse: np.ndarray, block: int = 512) -> np.ndarray:
    """(N, 144) unit vectors -> (K, 3) int: i < j and whether mirrored, for all pairs whose product exceeds PROPOSED."""
    mirrored = coarse.reshape(-1, COARSE, COARSE)[:, :, ::-1].reshape(coarse.shape)
    proposed = []
    for start in range(0, len(coarse), block):
        for turned, others in ((0, coarse), (1, mirrored)):
            i, j = np.nonzero(coarse[start : start + block] @ others[start:].T > PROPOSED)
            pairs = np.stack([i + start, j + start, np.full(len(i), turned)], axis=1)
            proposed.append(pairs[i < j])
    return np.concatenate(proposed)


def aligned_correlation(left: np.ndarray, right: np.ndarray, shift: int = 2) -> np.ndarray:
    """(K, H, W) and (K, H, W) -> (K,) float, best correlation over moves of up to `shift` pixels any way."""
    left, right = (np.asarray(each, dtype=np.float32) for each in (left, right))  # squares of uint8 would overflow
    side = left.shape[1] - 2 * shift
    middle = left[:, shift : shift + side, shift : shift + side]
    middle = middle - middle.mean(axis=(1, 2), keepdims=True)
    window = np.stack([np.eye(left.shape[1], dtype=np.float32)[k : k + side].sum(axis=0) for k in range(2 * shift + 1)])
    energy = window @ (right * right) @ window.T - (window @ right @ window.T) ** 2 / side**2  # (K, moves, moves)
    moved = (right[:, down : down + side, across : across + side] for down, across in np.ndindex(energy.shape[1:]))
    alike = np.stack([np.einsum("kyx,kyx->k", middle, each) for each in moved], axis=1)
    alike /= np.sqrt(np.maximum(energy.reshape(len(left), -1), 1e-9))
    return alike.max(axis=1) / np.maximum(np.linalg.norm(middle, axis=(1, 2)), 1e-6)


def _likeness(pictures: np.ndarray, pairs: np.ndarray, shift: int, sizes=(1.0,), block: int = 1024) -> np.ndarray:
    """(K,) float, aligned correlation of the pairs, the best over sizes of the second picture.

    pairs: (K, 3) of i, j, mirrored; or (K, 2) of i, j, and the better of plain and mirrored counts.
    """
    if pairs.shape[1] == 2:
        ways = (np.insert(pairs, 2, mirrored, axis=1) for mirrored in (0, 1))
        return np.maximum(*(_likeness(pictures, way, shift, sizes, block) for way in ways))
    score = np.full(len(pairs), -1.0, dtype=np.float32)
    for start in range(0, len(pairs), block):
        i, j, mirrored = pairs[start : start + block].T
        left, right = pictures[i].astype(np.float32), pictures[j].astype(np.float32)
        right[mirrored == 1] = right[mirrored == 1][:, :, ::-1]
        best = score[start : start + block]
        for size in sizes:
            sized = right if size == 1 else _zoom(size) @ right @ _zoom(size).T
            np.maximum(best, aligned_correlation(left, sized, shift), out=best)
    return score


def likeness(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(K,) float, for any pairs (K, 2) of the images (N, 48, 48) uint8 the correlation that `near_pairs` judges by."""
    return _likeness(_pictures(images)[2], pairs, 2, SIZES)


def near_pairs(images: np.ndarray, *, correlation: float = 0.85, shift: int = 2) -> tuple[pd.DataFrame, np.ndarray]:
    """Pairs that may be the same picture, changed a little or mirrored, and the verdict on each.

    images: (N, 48, 48) uint8, no two equal, none flat. correlation: of details at the same local contrast, after
    alignment by up to `shift` pixels and 5 % of size, above which a pair is called a duplicate.
    returns: every pair that was aligned at full size, the most alike first: i, j (i < j), correlation, mirrored and
    duplicate; and (N,) int, a group for each picture: duplicates and what they link, unless a chain links strangers.
    """
    if images.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"Duplicates are looked for among {SIDE}×{SIDE} faces, not {images.shape[1:]}: resize first.")
    if not LIKELY <= correlation < 1:
        raise ValueError(f"correlation is {correlation}: pairs are compared from {LIKELY} on, and nothing exceeds 1.")
    if len(images) < 2:
        kinds = {"i": int, "j": int, "correlation": float, "mirrored": bool, "duplicate": bool}
        return pd.DataFrame(columns=[*kinds]).astype(kinds), np.arange(len(images))
    coarse, middle, fine = _pictures(images)
    pairs = _proposed(coarse)
    pairs = pairs[_likeness(middle, pairs, -(-shift // 2), block=4096) > LIKELY]
    table = pd.DataFrame(pairs, columns=["i", "j", "mirrored"]).astype({"mirrored": bool})
    table["correlation"] = _likeness(fine, pairs, shift, SIZES)
    table = table.sort_values(["correlation", "i", "j"], ascending=[False, True, True])
    table = table.drop_duplicates(["i", "j"])[["i", "j", "correlation", "mirrored"]].reset_index(drop=True)
    table["duplicate"] = table.correlation > correlation
    return table, _groups(fine, middle, table.loc[table["duplicate"], ["i", "j"]].to_numpy(), shift)


def _groups(fine: np.ndarray, middle: np.ndarray, links: np.ndarray, shift: int) -> np.ndarray:
    """(N,) int: connected components of the links, cut where their parts are no longer alike (a chain).

    Three and more pictures stay together while the mean likeness between parts is at least GROUPED (average linkage).
    """
    graph = coo_array((np.ones(len(links)), links.T), shape=(len(fine),) * 2)
    group = connected_components(graph, directed=False)[1]
    free = group.max() + 1
    for number in np.flatnonzero(np.bincount(group) > 2):
        members = np.flatnonzero(group == number)
        pairs = members[np.column_stack(np.triu_indices(len(members), 1))]
        long = len(members) > LONG
        alike = _likeness(middle, pairs, -(-shift // 2)) if long else _likeness(fine, pairs, shift, SIZES)
        parts = fcluster(average(np.clip(1 - alike.astype(float), 0, None)), 1 - GROUPED, criterion="distance")
        group[members] = np.where(parts == 1, number, free + parts)
        free += parts.max() + 1
    return group


def find_duplicates(images: np.ndarray, *, flat: np.ndarray, sha256: np.ndarray, **rules) -> tuple:
    """Groups of duplicates, exact and near; rules as in `near_pairs`.

    images: (N, 48, 48) uint8. flat: (N,) bool. sha256: (N,) str.
    returns: (N,) int, the group of each face (one without duplicates is alone in its own), and the table of
    `near_pairs` with i and j counting in `images`. Flat faces join nothing but their exact equals.
    """
    _, first, exact = np.unique(sha256, return_index=True, return_inverse=True)  # sorted: the faces' order is forgotten
    clear = ~flat[first]
    pairs, near = near_pairs(images[first[clear]], **rules)
    group = np.arange(len(first)) + len(first)
    group[clear] = near
    pairs[["i", "j"]] = first[clear][pairs[["i", "j"]].to_numpy(int)]
    return group[exact], pairs
