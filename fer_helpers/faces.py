"""The one data type: a set of faces, how it is split, and how pixels become what a network sees."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F

from fer_helpers import identity
from fer_helpers.emotions import EMOTIONS, FEWER, ONLY

SPLITS = ("train", "val", "test")
SPLIT_TITLES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
SIDE = 48


@dataclass(frozen=True)
class Faces:
    """A set of grey 48×48 faces.

    images: (N, 48, 48) uint8, 0 black to 255 white. labels: (N,) int64, index into EMOTIONS (SEVEN while read).
    split: (N,) str, train, val or test. names: (N,) str, the path inside the data or row_00017.
    source: where they come from: `name`, `kind` (fer2013, folder or synthetic), `why`, `key`, `problems`, …
    soft_labels: (N, 7) float, shares of the emotions that something else than the label says of each face; or None.
    """

    images: torch.Tensor
    labels: torch.Tensor
    split: np.ndarray
    names: np.ndarray
    source: dict = field(default_factory=dict)
    soft_labels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def _columns(self) -> dict:
        columns = {name: getattr(self, name) for name in ("images", "labels", "split", "names", "soft_labels")}
        return {name: column for name, column in columns.items() if column is not None}

    def select(self, which) -> "Faces":
        """The faces at `which`: a boolean mask or indices, (N,) or (K,)."""
        which = np.asarray(which)
        index = np.flatnonzero(which) if which.dtype == bool else which.astype(np.int64)
        return replace(self, **{name: column[index] for name, column in self._columns().items()})

    def part(self, *splits: str) -> "Faces":
        """The faces of the named splits."""
        return self.select(np.isin(self.split, splits))

    def join(self, other: "Faces") -> "Faces":
        """These faces and then the other's; both or neither have soft labels."""
        pairs = {name: (column, getattr(other, name)) for name, column in self._columns().items()}
        cat = {name: (torch.cat if torch.is_tensor(pair[0]) else np.concatenate)(pair) for name, pair in pairs.items()}
        return replace(self, **cat)

    def counts(self, emotions: tuple = EMOTIONS) -> np.ndarray:
        """(7,) faces per emotion, order of EMOTIONS, or of what the labels are indices into."""
        return np.bincount(self.labels.cpu().numpy(), minlength=len(emotions))

    @property
    def is_synthetic(self) -> bool:
        """True for the synthetic set, whose results are a demonstration."""
        return self.source.get("kind") == "synthetic"

    def to(self, device) -> "Faces":
        """The same faces with images, labels and soft labels on a device."""
        return replace(self, **{name: one.to(device) for name, one in self._columns().items() if torch.is_tensor(one)})

    def key(self) -> str:
        """Key of what a training sees: images, labels and soft labels, in their order; names don't count."""
        soft = () if self.soft_labels is None else (self.soft_labels.cpu().numpy().astype(np.float16),)
        return identity.digest_arrays(self.images.cpu().numpy(), self.labels.cpu().numpy(), *soft)

    def card(self) -> dict:
        """Which data a result was made from, JSON-ready: source, kind, key, counts of each split, cleaned."""
        told = ("title", "kind", "key", "pixels", "official_split", "cleaned")
        card = {"source": self.source.get("name", "")} | {name: self.source.get(name) for name in told}
        counts = {split: int((self.split == split).sum()) for split in SPLITS}
        card |= {"demonstration": self.is_synthetic, "counts": counts}
        return card | ({"emotions": [*FEWER]} if FEWER else {})

    def caption(self, what: str = "") -> str:
        """One line under a figure: the data set, what of it, the number of faces."""
        title = f"DEMONSTRATION on synthetic faces{ONLY}" if self.is_synthetic else self.source.get("title", "FER-2013")
        return " · ".join(filter(None, [title, what, f"{len(self):,} faces"]))


@dataclass(frozen=True)
class Preprocess:
    """From stored pixels to a network's input; training, scoring and `predict` all call this.

    size: side in pixels. channels: 1 or 3 (grey repeated). mean, std: per channel, of pixels scaled to [0, 1].
    """

    size: int = SIDE
    channels: int = 1
    mean: tuple = (0.508,)  # of FER-2013's Training images
    std: tuple = (0.255,)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """images: (N, H, W) uint8 on any device. returns: (N, channels, size, size) float32."""
        grey = images.unsqueeze(1).float() / 255  # (N, H, W) -> (N, 1, H, W)
        if grey.shape[-1] != self.size:
            grey = F.interpolate(grey, size=(self.size, self.size), mode="bilinear", align_corners=False)
        mean, std = (torch.tensor(each, device=grey.device).view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (grey.expand(-1, self.channels, -1, -1) - mean) / std


def pixel_sha256(images) -> np.ndarray:
    """(N, H, W) uint8 -> (N,) str, SHA-256 of each image's pixels: equal only for equal pictures."""
    return np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in np.ascontiguousarray(images)])


def shuffled(people: Faces, size: int, generator: torch.Generator, *, balance: float = 0.0) -> Iterator:
    """Yield (B,) indices of an epoch's batches, on the device of the faces; the last batch may be short.

    generator: on the CPU. balance: 0 gives every face once; else as many are drawn with replacement, each emotion's
    chance ∝ its count to the power 1 - balance (1: all emotions alike).
    """
    count = len(people)
    if balance:
        chance = torch.from_numpy(np.maximum(people.counts(), 1.0) ** -balance)[people.labels.cpu()]
        order = torch.multinomial(chance, count, replacement=True, generator=generator)
    else:
        order = torch.randperm(count, generator=generator)
    yield from order.to(people.labels.device).split(size)
