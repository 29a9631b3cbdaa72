"""How good is the framing? Faces whose frame is known, pasted into photographs without a face, and detected again."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from fer_helpers import predict, statistics
from fer_helpers.faces import SIDE, Faces
from fer_helpers.photos import album, detection
from fer_helpers.photos.detection import Box

SCENE = 240  # pixels a side: where faces from a tenth of it are looked for, the cascade works at full size
MIN_FACE = detection.WINDOW / SCENE
SIDES = (40, 72, 120)  # of the pasted face, in pixels
TURNS = (0, 10, 20, 30)  # degrees, to the left and to the right in turn
WIDTHS = (0.85, 0.95, 1.0, 1.06, 1.15, 1.25, 1.4)  # of the crop, in sides of the cascade's window


def landmarks(people: Faces) -> dict:
    """Rows of eyes and mouth in the mean face, as shares of its height; its frame in sides of the cascade's window."""
    mean = people.images.float().mean(dim=0).numpy()  # (48, 48)
    eyes = mean[:, [*range(9, 20), *range(28, 39)]].mean(axis=1)  # where they lie left and right of the nose
    mouth = mean[:, 17:31].mean(axis=1)
    darkest = {"eyes": 12 + eyes[12:24].argmin(), "mouth": 30 + mouth[30:44].argmin()}
    rows = {name: round(float((row + 0.5) / SIDE), 3) for name, row in darkest.items()}
    around = Image.fromarray(np.pad(mean, SIDE // 2, mode="edge").astype(np.uint8)).resize((8 * SIDE, 8 * SIDE))
    faces = detection.merge_windows(detection.windows(np.asarray(around), 60, 1.05))
    return rows | {"frame_in_windows": round(4 * SIDE / float(faces[0, 2]), 3) if len(faces) else None}


def paste(image: np.ndarray, ground: Image.Image, side: int, turn: float, rng) -> tuple[Image.Image, Box]:
    """A face, (48, 48) uint8, pasted into a crop of a photograph (a scene), and its frame before it was turned.

    side: of the pasted face, in pixels. turn: degrees to the left.
    """
    width = int(rng.integers(min(ground.size) // 2, min(ground.size) + 1))
    left, top = (int(rng.integers(0, length - width + 1)) for length in ground.size)
    scene = ground.convert("L").crop((left, top, left + width, top + width)).resize((SCENE, SCENE))
    inward = np.minimum(np.arange(side), np.arange(side)[::-1])
    fading = np.minimum.outer(inward, inward) * 255 / (0.05 * side)  # or else the pasted edge would be detected
    face = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.fromarray(fading.clip(0, 255).astype(np.uint8))
    room = side // 4  # a square that is turned is up to 1.42 times as wide
    face, mask = (ImageOps.expand(each, room).rotate(turn, Image.Resampling.BICUBIC) for each in (face, mask))
    x, y = (int(value) for value in rng.integers(0, SCENE - side + 1, size=2))
    scene.paste(face, (x - room, y - room), mask)
    return scene, Box(x, y, side)


class Hit(NamedTuple):
    """A pasted face that was detected."""

    scene: Image.Image
    true: Box  # its frame
    detected: Box
    label: int


def measure(model, val: Faces, *, count: int, seed: int = 0, log=print) -> dict:
    """Paste the same `count` faces of val at several sizes and turns, detect them, and compare the answers.

    returns: `cases`, one a size and turn: detected (share), false_positives (a scene) and what `_compared` says of the
    detected faces. `bare`: accuracy on all of them, not pasted. `widths`: accuracy of the upright ones by how wide they
    are cropped. `frame_in_windows`: median of the true frame's side, in sides of the cascade's window.
    """
    rng = np.random.default_rng(seed)
    chosen = val.select(rng.permutation(len(val))[:count])
    faces, labels = chosen.images.cpu().numpy(), chosen.labels.cpu().numpy()
    grounds = [Image.open(path) for name, path in album.samples().items() if not album.SAMPLES[name]]
    bare = predict.probabilities(model, faces).argmax(axis=1) == labels  # (N,) right or wrong
    cases, upright = [], []
    for side, turn in [*product(SIDES, TURNS[:1]), *product(SIDES[1:2], TURNS[1:])]:
        scenes = [paste(face, grounds[k % len(grounds)], side, turn * (-1) ** k, rng) for k, face in enumerate(faces)]
        with ThreadPoolExecutor() as pool:
            boxes = [*pool.map(lambda scene: detection.detect(scene[0], MIN_FACE), scenes)]
        fitting = [[box for box in boxes[k] if album.matches(box, true)] for k, (_, true) in enumerate(scenes)]
        detected = np.flatnonzero([len(each) for each in fitting])
        hits = [Hit(*scenes[k], fitting[k][0], labels[k]) for k in detected]
        case = {"side": side, "turn": turn, "scenes": len(scenes), "detected": round(len(hits) / len(scenes), 4)}
        case["false_positives"] = round(sum(map(len, boxes)) / len(scenes) - case["detected"], 4)
        cases.append(case | _compared(model, hits, bare[detected]))
        upright += hits * (turn == 0)
        log(f"{side} pixels, turned by {turn}°: {case['detected']:.0%} of {len(scenes)} detected")
    sides = [detection.FRAME_IN_WINDOWS * hit.true.side / hit.detected.side for hit in upright]
    factors = {str(width): width / detection.FRAME_IN_WINDOWS for width in WIDTHS if upright}
    widths = {width: _share(_right(model, upright, "detected", factor)) for width, factor in factors.items()}
    median = round(float(np.median(sides)), 3) if sides else None
    return {"faces": len(chosen), "bare": _share(bare), "cases": cases, "widths": widths, "frame_in_windows": median}


def _share(right: np.ndarray) -> float:
    return round(float(right.mean()), 4)


def _right(model, hits: list[Hit], frame: str, factor: float = 1.0) -> np.ndarray:
    """(N,) bool: is the network right on each face, cropped to its `true` or `detected` frame, `factor` as wide?"""
    crops = np.stack([detection.crop(hit.scene, getattr(hit, frame).scaled(factor)) for hit in hits])
    return predict.probabilities(model, crops).argmax(axis=1) == [hit.label for hit in hits]


def _compared(model, hits: list[Hit], bare: np.ndarray) -> dict:
    """Accuracy on detected faces: bare, true frame, detected frame; the last less the first (a Difference's card)."""
    if not hits:
        return {}
    right = {"bare": bare} | {f"{frame}_frame": _right(model, hits, frame) for frame in ("true", "detected")}
    gain = statistics.paired_difference(right["detected_frame"], bare).card()
    return {f"{name}_accuracy": _share(each) for name, each in right.items()} | {"against_bare": gain}
