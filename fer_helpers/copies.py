"""Finding copies: exact ones by their pixels, near ones by a perceptual hash that proposes and pixels that decide."""

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def is_flat(images: np.ndarray, deviation: float = 5.0) -> np.ndarray:
    """(N, H, W) uint8 -> (N,) bool, True where the grey levels' standard deviation is below `deviation`."""
    return np.asarray(images).reshape(len(images), -1).std(axis=1) < deviation


def phash_bits(images: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8 -> (N,) uint64, the 64-bit perceptual hash of imagehash; compare by counting unequal bits.

    Idea: the signs of an image's lowest cosine frequencies against their median (hackerfactor.com, 2011).
    """
    bits = np.stack([imagehash.phash(Image.fromarray(image)).hash.ravel() for image in images])  # (N, 64) bool
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def close_hashes(left: np.ndarray, right: np.ndarray, distance: int, block: int = 1024) -> np.ndarray:
    """(K, 2) int, pairs i < j whose hashes left[i] and right[j] differ in at most `distance` bits; all are compared."""
    found = []
    for start in range(0, len(left), block):
        differ = np.bitwise_count(left[start : start + block, None] ^ right[None, :])  # (block, N) uint8
        i, j = np.nonzero(differ <= distance)
        found.append(np.stack([i + start, j], axis=1)[i + start < j])
    return np.concatenate(found)


def aligned_correlation(left: np.ndarray, right: np.ndarray, shift: int = 2) -> np.ndarray:
    """(K, H, W) and (K, H, W) uint8 -> (K,) float, best pixel correlation over shifts of up to `shift` pixels."""
    best = np.full(len(left), -1.0)
    side = left.shape[1] - 2 * shift
    middle = _standard(left[:, shift : shift + side, shift : shift + side])
    for down in range(2 * shift + 1):
        for across in range(2 * shift + 1):
            moved = _standard(right[:, down : down + side, across : across + side])
            best = np.maximum(best, (middle * moved).mean(axis=1))
    return best


def _standard(images: np.ndarray) -> np.ndarray:
    """(K, h, w) -> (K, h*w) float32 with mean 0 and deviation 1."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-6)


def near_pairs(images: np.ndarray, *, distance: int = 10, correlation: float = 0.95, shift: int = 2) -> pd.DataFrame:
    """Pairs that are the same picture, changed a little or mirrored: the hash proposes, the pixels decide.

    images: (N, H, W) uint8, no two equal, none flat. distance: unequal bits of 64 up to which a pair is looked at.
    correlation: of the pixels after alignment by up to `shift` pixels, above which it is a copy.
    returns: every proposed pair, the most alike first: i, j (i < j), correlation, mirrored, and `copy`, the verdict.
    """
    if len(images) < 2:
        return pd.DataFrame({"i": [], "j": [], "correlation": [], "mirrored": [], "copy": []}).astype(
            {"i": int, "j": int, "correlation": float, "copy": bool}
        )
    plain = phash_bits(images)
    tables = []
    for mirrored, other in ((False, images), (True, images[:, :, ::-1])):
        pairs = close_hashes(plain, phash_bits(other) if mirrored else plain, distance)
        score = [
            aligned_correlation(images[p[:, 0]], other[p[:, 1]], shift) for p in np.array_split(pairs, 16) if len(p)
        ]
        table = pd.DataFrame(pairs, columns=["i", "j"])
        tables.append(table.assign(correlation=np.concatenate(score) if score else [], mirrored=mirrored))
    both = pd.concat(tables).sort_values("correlation", ascending=False).drop_duplicates(["i", "j"])
    return both.assign(copy=both.correlation > correlation).reset_index(drop=True)


def find_copies(
    images: np.ndarray, *, flat: np.ndarray, sha256: np.ndarray, **rules
) -> tuple[np.ndarray, pd.DataFrame]:
    """Groups of copies, exact and near; rules as in `near_pairs`.

    images: (N, H, W) uint8. flat: (N,) bool. sha256: (N,) str.
    returns: (N,) int, the group of each face (faces that have no copy are groups of one), and the table of
    `near_pairs` with i and j counting in `images`. Flat faces join nothing but their exact equals.
    """
    _, first, exact = np.unique(sha256, return_index=True, return_inverse=True)
    lead = np.sort(first[~flat[first]])  # one of each distinct picture
    pairs = near_pairs(images[lead], **rules)
    pairs[["i", "j"]] = lead[pairs[["i", "j"]].to_numpy(int)]
    copies = pairs[pairs["copy"]]
    links = np.concatenate(
        [np.stack([first[exact], np.arange(len(images))]), copies[["i", "j"]].to_numpy(int).T], axis=1
    )
    graph = coo_array((np.ones(links.shape[1]), links), shape=(len(images),) * 2)
    return connected_components(graph, directed=False)[1], pairs
