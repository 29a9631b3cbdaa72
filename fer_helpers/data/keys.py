"""What a data set is, as two keys: the same from a zip, a folder or the cache, on every machine and Python."""

from collections.abc import Iterable

from fer_helpers import identity


def of(pixels: Iterable[str], labels: Iterable, splits: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """`key`, of everything in this order, and `pixels`, of pixels and labels in any order, from text alone.

    pixels: (N,) SHA-256 of each face, see faces.pixel_sha256. labels, splits, names: (N,), as Faces has them.
    A CSV has other names than a folder: of FER-2013 as either, `pixels` are equal and `key` isn't.
    """
    faces = [f"{digest} {label}" for digest, label in zip(pixels, labels, strict=True)]
    rows = [*zip(names, splits, faces, strict=True)]
    return {"key": identity.digest_settings(*rows), "pixels": identity.digest_settings(*sorted(faces))}
