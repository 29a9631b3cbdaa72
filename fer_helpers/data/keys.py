"""What a data set is, as two keys: the same from a zip, a folder or the cache, on every machine and Python."""

from collections.abc import Iterable

from fer_helpers import identity


def of(pixels: Iterable[str], labels: Iterable[int], splits: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """`key`, of everything and in this order, and `pixels`, of pixels and labels alone and in any order.

    pixels: (N,) SHA-256 of each face, see faces.pixel_sha256. labels, splits, names: (N,), as Faces has them.
    FER-2013 as a CSV has other names than as a folder, so its `key` is another one, but its `pixels` are equal.
    Both are computed by the standard library from text alone.
    """
    faces = [f"{digest} {label}" for digest, label in zip(pixels, labels, strict=True)]
    rows = [*zip(names, splits, faces, strict=True)]
    return {"key": identity.digest_settings(*rows), "pixels": identity.digest_settings(*sorted(faces))}
