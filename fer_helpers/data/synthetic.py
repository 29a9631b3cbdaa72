"""The embedded default: synthetic faces with individual looks, among them known duplicates, blanks and conflicts.

Lengths are in half heights of a face (about 24 pixels), x to the right, y down, (0, 0) between eyes and mouth; tones
from 0 black to 255 white. In a chunk of C faces what a pixel has is (C, 48, 48), what a face has once is (C, 1, 1).
"""

import numpy as np
import torch

from fer_helpers.cleaning import planted
from fer_helpers.emotions import SEVEN
from fer_helpers.faces import SIDE, SPLITS, Faces

TRAINING = (3995, 436, 4097, 7215, 4965, 4830, 3171)  # FER-2013's Training images, order of SEVEN
CHUNK = 64  # faces made at once: their arrays stay in the processor's cache
FAINTEST, CLARITY = 0.25, (1.6, 1.2)  # how clearly an emotion shows: least, and the beta distribution above it

# What an emotion moves away from rest, and how far faces differ at rest
PARTS = ("brow_in", "brow_out", "lid", "squint", "corner", "gape", "wide", "teeth", "wrinkle", "frown")
MOVES = {  # brows' inner and outer ends up, upper, lower lid up, mouth: corners up, gape, width, teeth; nose, forehead
    "angry": (-0.13, 0.05, 0.00, 0.02, -0.06, 0.02, 0.02, 0.6, 0.2, 1.0),
    "disgust": (-0.11, -0.09, -0.06, 0.06, -0.10, 0.08, 0.04, 1.2, 1.5, 0.5),
    "fear": (0.14, 0.00, 0.05, -0.02, -0.05, 0.07, 0.10, 0.5, 0.0, 0.4),
    "happy": (0.03, 0.03, -0.03, 0.04, 0.14, 0.07, 0.14, 1.0, 0.0, 0.0),
    "neutral": (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.0, 0.0),
    "sad": (0.11, -0.08, -0.04, 0.00, -0.11, 0.00, -0.05, 0.0, 0.0, 0.3),
    "surprise": (0.15, 0.14, 0.06, -0.02, 0.00, 0.18, -0.10, 0.0, 0.0, 0.0),
}
JITTER = (0.025, 0.025, 0.015, 0.01, 0.02, 0.01, 0.03, 0.1, 0.1, 0.12)

PLANTS = {  # kind: share of all faces, splits of the originals in turn
    "exact": (0.015, ("train",)),
    "exact_val": (0.004, ("val",)),
    "exact_test": (0.004, ("test",)),
    **dict.fromkeys(("jpeg", "brightness", "shift", "mirrored"), (0.005, ("train", "val", "train", "test"))),
    "conflict": (0.003, ("train",)),
    "blank": (0.001, ("train",)),
}


class _Chunk:
    """C faces: how strongly each part of PARTS is moved, where each pixel lies on its face, and dice for the rest."""

    def __init__(self, rng, labels):
        self.rng, self.shape = rng, (len(labels), 1, 1)
        clarity = FAINTEST + rng.beta(*CLARITY, (len(labels), 1))
        moved = np.array([MOVES[name] for name in SEVEN])[labels] * clarity
        moved += rng.normal(0, JITTER, moved.shape)
        for part, column in zip(PARTS, moved.astype(np.float32).T, strict=True):
            setattr(self, part, column[:, None, None])
        at = ((np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)).astype(np.float32)
        across, down = at - self.between(-0.12, 0.12), at[:, None] - self.between(-0.1, 0.1)
        angle, scale = self.between(-0.22, 0.22), self.between(0.92, 1.2)
        self.x = (across * np.cos(angle) + down * np.sin(angle)) / scale
        self.y = (down * np.cos(angle) - across * np.sin(angle)) / scale
        self.u = self.x - self.between(-0.16, 0.16) * (1 - self.x**2)  # a turned head carries eyes and mouth along
        self.side = np.abs(self.u)  # left and right are drawn at once
        self.tilt = self.y + self.between(-0.06, 0.06) * self.u  # nobody is quite symmetric

    def between(self, low, high):
        """(C, 1, 1), uniform."""
        return self.rng.uniform(low, high, self.shape).astype(np.float32)

    def some(self, share):
        """(C, 1, 1), 1 for this share of the faces, else 0."""
        return (self.rng.random(self.shape) < share).astype(np.float32)

    def texture(self, cells):
        """(C, 48, 48), smooth random hills, `cells` along a side, of mean 0 and deviation about 0.6."""
        at = np.linspace(0, cells - 1, SIDE)[:, None]
        weights = np.clip(1 - np.abs(at - np.arange(cells)), 0, 1).astype(np.float32)  # linear interpolation
        return weights @ self.rng.standard_normal((self.shape[0], cells, cells), dtype=np.float32) @ weights.T


def _inside(distance, edge=0.06):
    """Signed distance -> 1 inside, 0 outside, soft over `edge` (about a pixel)."""
    return np.clip(0.5 - distance / edge, 0, 1)


def _ellipse(x, y, wide, high):
    """Signed distance to an ellipse around (0, 0), roughly."""
    return (np.sqrt((x / wide) ** 2 + (y / high) ** 2) - 1) * np.minimum(wide, high)


def _paint(canvas, mask, tone):
    """Lay `tone` over the canvas where the mask is 1, in place."""
    canvas += mask * (tone - canvas)


def _head(face):
    """Background with a wall's edge, shoulders, hair behind, skin in its light, beard; returns the canvas."""
    canvas = face.between(30, 225) + face.between(40, 80) * face.texture(face.rng.integers(4, 9))
    _paint(canvas, _inside(face.x * face.between(-1, 1) + face.between(0.1, 1.2)), face.between(10, 245))
    _paint(canvas, _inside(_ellipse(face.x, face.y - 1.6, 1.2, face.between(0.4, 0.75))), face.between(10, 245))
    face.hair, face.hairy = face.between(10, 225) + face.between(8, 40) * face.texture(16), 1 - face.some(0.08)
    volume = _ellipse(face.x, face.y + 0.12, face.between(0.72, 1.05), face.between(0.95, 1.2))
    _paint(canvas, _inside(np.maximum(volume, face.y - face.between(-0.5, 1.4))) * face.hairy, face.hair)
    face.head = _ellipse(face.x, face.y - 0.04, face.between(0.66, 0.8), face.between(0.92, 1.04))
    face.skin, face.light = face.between(80, 215), face.between(-0.6, 0.6)
    shade = 1 + face.light * face.x + face.between(-0.25, 0.15) * face.y - face.between(0, 0.25) * face.x**2
    face.lit_skin = face.skin * (shade + face.between(0.02, 0.08) * face.texture(10))
    _paint(canvas, _inside(face.head), face.lit_skin)
    beard = _inside(np.maximum(face.head, face.between(0.25, 0.45) - face.y), 0.2) * face.some(0.2)
    _paint(canvas, beard * face.between(0.25, 0.75), face.hair)
    return canvas


def _eyes(face, canvas):
    """Eyes, brows, and the frown between them, painted in place."""
    near, y = face.side - face.between(0.32, 0.38), face.tilt + face.between(0.12, 0.2)  # from the eye's centre
    opening = np.where(y < 0, np.maximum(0.1 + face.lid, 0.025), np.maximum(0.07 - face.squint, 0.02))
    lids = _ellipse(near, y, face.between(0.14, 0.18), opening)
    _paint(canvas, _inside(lids - 0.09, 0.2) * face.between(0, 0.5), 0.6 * face.skin)  # the socket's shadow
    _paint(canvas, _inside(lids), np.minimum(face.skin + 60, 235))
    gaze = np.sign(face.u) * face.between(-0.05, 0.05)
    iris = np.sqrt((near - gaze) ** 2 + (y + 0.01) ** 2) - face.between(0.07, 0.09)
    _paint(canvas, _inside(np.maximum(iris, lids)), face.between(10, 70))
    _paint(canvas, _inside(np.maximum(np.abs(lids) - 0.02, y)), 0.35 * face.skin)  # lashes
    along = (face.side - 0.13) / 0.45  # 0 at the nose, 1 at the temple
    rise = face.brow_in * (1 - along) + face.brow_out * along + face.between(0.08, 0.4) * along * (1 - along)
    thick = face.between(0.025, 0.06) * (1.2 - 0.6 * along)
    brow = np.maximum(np.abs(y + face.between(0.17, 0.23) + rise) - thick, (np.abs(along - 0.5) - 0.5) * 0.45)
    _paint(canvas, _inside(brow), np.minimum(face.between(15, 110), 0.6 * face.skin))
    frown = np.maximum(np.abs(face.side - 0.06) - 0.015, np.abs(y + 0.16) - 0.1)
    _paint(canvas, _inside(frown, 0.08) * np.clip(0.6 * face.frown, 0, 0.6), 0.4 * face.skin)


def _nose(face, canvas):
    """Nose, the wrinkles on it and the folds beside it, painted in place."""
    shadow = np.maximum(np.abs(face.u - 0.07 * np.sign(face.light)) - 0.03, np.abs(face.y - 0.05) - 0.2)
    _paint(canvas, _inside(shadow, 0.12) * face.between(0.1, 0.5), 0.6 * face.skin)
    wrinkle = np.clip(face.wrinkle, 0, 1)
    y = face.tilt - face.between(0.22, 0.3) + 0.04 * wrinkle  # from the nostrils
    nostrils = _ellipse(face.side - face.between(0.07, 0.11), y, 0.05, 0.03)
    _paint(canvas, _inside(nostrils) * 0.8, 0.35 * face.skin)
    across = np.maximum(np.abs(np.abs(face.tilt + 0.02 + face.side * 0.5) - 0.06) - 0.018, face.side - 0.16)
    _paint(canvas, _inside(across, 0.08) * wrinkle * 0.8, 0.4 * face.skin)
    folds = np.maximum(np.abs(face.side - 0.22 - 0.7 * y) - 0.01, np.abs(y - 0.11) - 0.13)
    _paint(canvas, _inside(folds, 0.1) * np.clip(0.7 * wrinkle + 2 * face.corner, 0, 0.5), 0.55 * face.skin)


def _mouth(face, canvas):
    """Lips, the dark between them and teeth, painted in place."""
    wide = 0.3 + face.between(-0.04, 0.04) + face.wide
    across = np.clip(face.u / wide, -1.3, 1.3) ** 2  # 0 in the middle, 1 at the corners
    y = face.tilt - face.between(0.48, 0.56) + face.corner * (across - 0.4)
    y += 0.06 * np.clip(face.wrinkle, 0, 1) * (1 - across)  # a wrinkled nose pulls the lip up
    gape = np.maximum(face.gape, 0) * np.sqrt(np.clip(1 - across, 0, 1))
    lips = np.maximum(np.abs(y) - gape - face.between(0.03, 0.06) * (1.1 - 0.7 * across), (face.side - wide) * 0.6)
    _paint(canvas, _inside(lips), face.between(0.4, 0.75) * face.skin)
    _paint(canvas, _inside(np.abs(y) - gape) * (across < 1) * np.clip(gape / 0.02, 0.5, 1), 0.2 * face.skin)
    teeth = np.maximum(np.abs(y + 0.3 * gape) - 0.6 * gape, face.side - 0.85 * wide)
    _paint(canvas, _inside(teeth) * np.clip(face.teeth, 0, 1) * (gape > 0.015), np.minimum(face.skin + 70, 240))


def _in_front(face, canvas):
    """Fringe, and on some faces glasses, a bar or a hand, painted in place."""
    fringe = face.between(0.45, 0.8) + face.between(-0.4, 0.4) * face.x - face.between(-0.5, 0.5) * face.x**2
    _paint(canvas, _inside(np.maximum(face.head - 0.05, face.y + fringe)) * face.hairy, face.hair)
    rim = np.abs(_ellipse(face.side - 0.35, face.tilt + 0.15, face.between(0.19, 0.25), face.between(0.14, 0.2))) - 0.02
    bridge = np.maximum(np.abs(face.tilt + 0.17) - 0.02, face.side - 0.14)
    _paint(canvas, _inside(np.minimum(rim, bridge)) * face.some(0.14), face.between(10, 200))
    angle = face.between(0, 6.3)  # the bar comes in from any side; fingers make its edge wavy
    fingers = 0.04 * np.abs(np.sin(9 * (face.y * np.cos(angle) - face.x * np.sin(angle)))) * face.some(0.5)
    edge = face.between(0.45, 0.9) + fingers - face.x * np.cos(angle) - face.y * np.sin(angle)
    _paint(canvas, _inside(edge) * face.some(0.22), face.between(0.4, 1.2) * face.lit_skin)


def _faces(rng, labels):
    """(C,) labels -> (C, 48, 48) uint8, a synthetic face each, with patchy light, exposure, blur and noise."""
    face = _Chunk(rng, labels)
    canvas = _head(face)
    for layer in (_eyes, _nose, _mouth, _in_front):
        layer(face, canvas)
    canvas += face.between(12, 34) * face.texture(5)
    canvas -= canvas.mean(axis=(1, 2), keepdims=True)
    canvas *= face.between(28, 62) / canvas.std(axis=(1, 2), keepdims=True)  # never so flat that only noise is left
    wide = np.pad(canvas, ((0, 0), (1, 1), (1, 1)), mode="edge")
    blurred = (wide[:, :-2, :-2] + wide[:, :-2, 2:] + wide[:, 2:, :-2] + wide[:, 2:, 2:]) / 4
    canvas += face.between(0, 0.6) * (blurred - canvas) + face.between(100, 155)
    canvas += face.between(1, 6) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _deal(rng, count):
    """Labels (count,) in FER-2013's shares, split (count,) 80 : 10 : 10 of every emotion: train, val, test."""
    share = np.array(TRAINING) / sum(TRAINING) * count
    each = np.floor(share).astype(int)
    each[np.argsort(each - share)[: count - each.sum()]] += 1  # the largest remainders
    tenths = (each + 5) // 10
    parts = np.stack([each - 2 * tenths, tenths, tenths], axis=1)  # (7, 3) faces of each emotion in each split
    part = np.repeat(np.tile([0, 1, 2], len(SEVEN)), parts.ravel())
    order = np.lexsort((rng.random(count), part))
    return np.repeat(np.arange(len(SEVEN)), each)[order], np.array(SPLITS)[part[order]]


def _duplicate(rng, image, kind):
    """The image (48, 48) uint8 as a duplicate of this kind shows it."""
    if kind == "jpeg":
        return planted.change(image, "JPEG, quality", int(rng.integers(40, 81)), rng)
    if kind == "brightness":
        moved = 128 + (image - 128.0) * rng.uniform(0.75, 1.15) + rng.choice([-1, 1]) * rng.uniform(8, 20)
        return np.clip(moved, 0, 255).astype(np.uint8)
    if kind == "shift":
        step = rng.choice([step for step in range(25) if step != 12])  # 5 × 5 steps without (0, 0)
        rows, columns = (np.clip(np.arange(SIDE) + by - 2, 0, SIDE - 1) for by in (step // 5, step % 5))
        return image[rows[:, None], columns]
    return image[:, ::-1] if kind == "mirrored" else image


def _plant(rng, images, labels, split, names):
    """Put PLANTS in place of training images; returns the truth about each, see `draw`.

    An image is the original of one plant or the place of one plant, never both and never twice; labels stay.
    """
    train, free, truth = split == "train", np.ones(len(labels), bool), []
    for kind, (share, splits) in PLANTS.items():
        for turn in range(max(2 if len(labels) >= 700 else 1, round(share * len(labels)))):
            spare = np.bincount(labels[free & train], minlength=len(SEVEN)) > 1  # an original and its duplicate
            original = rng.choice(np.flatnonzero(free & (split == splits[turn % len(splits)]) & spare[labels]))
            free[original] = kind == "blank"  # a blank has no original
            fits = (labels == labels[original]) != (kind == "conflict")
            place = rng.choice(np.flatnonzero(free & train & fits))
            free[place] = False
            # 37 has no divisor in common with 256: the blanks' greys differ
            images[place] = 37 * turn % 256 if kind == "blank" else _duplicate(rng, images[original], kind)
            truth.append({"name": names[place], "twin": "" if kind == "blank" else names[original], "kind": kind})
    return truth


def draw(count: int = 4000, seed: int = 0) -> Faces:
    """`count` (at least 100) synthetic faces in FER-2013's shares of emotions and splits; the same for the same seed.

    source["planted"]: what was hidden among the training images, a dict each: `name`, `twin` (the original's name,
    "" for a blank), `kind`: exact, exact_val, exact_test, jpeg, brightness, shift, mirrored, conflict or blank.
    """
    if count < 100:
        raise ValueError(f"draw at least 100 faces, not {count}: fewer leave no room for what is planted")
    rng = np.random.default_rng(seed)
    labels, split = _deal(rng, count)
    images = np.concatenate([_faces(rng, labels[at : at + CHUNK]) for at in range(0, count, CHUNK)])
    names = [f"{split[row]}/{SEVEN[labels[row]]}/synthetic_{row:05d}.png" for row in range(count)]
    source = {"name": "synthetic faces", "title": "synthetic faces", "kind": "synthetic", "count": count, "seed": seed}
    source["planted"] = _plant(rng, images, labels, split, names)
    return Faces(torch.from_numpy(images), torch.from_numpy(labels), split, np.array(names), source)
