"""How good is the framing? Faces whose frame is known, pasted into photographs without a face, and found again."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
from PIL import Image

from fer_helpers import statistics
from fer_helpers.faces import SIDE, Faces
from fer_helpers.photos import album, detection
from fer_helpers.photos.detection import Box

SCENE = 240  # pixels a side: with `find` told to look for faces from a tenth of it, the cascade works at full size
LEAST = detection.WINDOW / SCENE
SIDES = (40, 72, 120)  # of the pasted face, in pixels
TURNS = (0, 10, 20, 30)  # degrees, to the left and to the right in turn
WIDTHS = (0.85, 0.95, 1.0, 1.06, 1.15, 1.25, 1.4)  # of the crop, in sides of the cascade's window


def landmarks(people: Faces) -> dict:
    """Where FER-2013 has the eyes and the mouth: rows of the mean face, as shares of the frame's height from its top.

    Beside it the frame in sides of the window that the cascade puts on the mean face.
    """
    mean = people.images.float().mean(dim=0).numpy()  # (48, 48)
    eyes = mean[:, [*range(9, 20), *range(28, 39)]].mean(axis=1)  # where they lie left and right of the nose
    mouth = mean[:, 17:31].mean(axis=1)
    rows = {"eyes": 12 + eyes[12:24].argmin(), "mouth": 30 + mouth[30:44].argmin()}  # both are dark
    told = {name: round(float((row + 0.5) / SIDE), 3) for name, row in rows.items()}
    around = Image.fromarray(np.pad(mean, SIDE // 2, mode="edge").astype(np.uint8)).resize((8 * SIDE, 8 * SIDE))
    found = detection.merged(detection.windows(np.asarray(around), 60, 1.05))
    return told | {"frame_in_windows": round(4 * SIDE / float(found[0, 2]), 3) if len(found) else None}


def scene(image: np.ndarray, ground: Image.Image, side: int, turn: float, rng) -> tuple[Image.Image, Box]:
    """A face pasted into a cutting of a photograph, and its frame before it was turned.

    image: (48, 48) uint8. ground: the photograph. side: of the pasted face. turn: degrees to the left. Its edge fades
    over a twentieth of the side, so that it isn't the edge that is found.
    """
    wide = int(rng.integers(min(ground.size) // 2, min(ground.size) + 1))
    left, top = (int(rng.integers(0, length - wide + 1)) for length in ground.size)
    made = ground.convert("L").crop((left, top, left + wide, top + wide)).resize((SCENE, SCENE))
    inward = np.minimum(np.arange(side), np.arange(side)[::-1])
    fading = np.minimum.outer(inward, inward) * 255 / (0.05 * side)
    room = side // 4  # a square that is turned is up to 1.42 times as wide
    face, mask = (Image.new("L", (side + 2 * room, side + 2 * room)) for _ in range(2))
    face.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), (room, room))
    mask.paste(Image.fromarray(fading.clip(0, 255).astype(np.uint8)), (room, room))
    x, y = (int(value) for value in rng.integers(0, SCENE - side + 1, size=2))
    face, mask = (each.rotate(turn, Image.Resampling.BICUBIC) for each in (face, mask))
    made.paste(face, (x - room, y - room), mask)
    return made, Box(x, y, side)


def wider(box: Box, factor: float) -> Box:
    """The square about the same middle with `factor` times the side."""
    grown = (factor - 1) * box.side
    return Box(box.left - grown / 2, box.top - grown / 2, factor * box.side)


def measure(model, val: Faces, *, count: int, seed: int = 0, log=print) -> dict:
    """Paste the same `count` faces of val at several sizes and turns, find them, and compare the answers.

    returns: `cases`, one a size and turn: found (share), false_alarms (a scene), and of the faces found the accuracy of
    the bare image, of the true frame in the scene, and of the found one, with its difference to the bare image
    (a card of `statistics.Difference`). `widths`: accuracy of the upright ones by how wide they are cut.
    `frame_in_windows`: median of the true frame's side, in sides of the cascade's window.
    """
    rng = np.random.default_rng(seed)
    chosen = val.select(rng.permutation(len(val))[:count])
    images, labels = chosen.images.cpu().numpy(), chosen.labels.cpu().numpy()
    grounds = [Image.open(path) for name, path in album.carried().items() if not album.CARRIED[name]]
    bare = detection.answers(model, images).argmax(axis=1) == labels  # (N,) right or wrong
    cases, upright = [], []
    for side, turn in [*product(SIDES, TURNS[:1]), *product(SIDES[1:2], TURNS[1:])]:
        made = [scene(one, grounds[k % len(grounds)], side, turn * (-1) ** k, rng) for k, one in enumerate(images)]
        with ThreadPoolExecutor() as pool:
            boxes = [*pool.map(lambda one: detection.find(one[0], LEAST), made)]
        pairs = zip(boxes, made, strict=True)
        best = [next((box for box in each if album.hit(box, true)), None) for each, (_, true) in pairs]
        there = np.array([box is not None for box in best])
        found = [(made[k][0], made[k][1], best[k], labels[k]) for k in np.flatnonzero(there)]
        case = {"side": side, "turn": turn, "scenes": len(made), "found": round(float(there.mean()), 4)}
        case["false_alarms"] = round(sum(len(each) for each in boxes) / len(made) - case["found"], 4)
        cases.append(case | _compared(model, found, bare[there]))
        upright += found * (turn == 0)
        log(f"{side} pixels, turned by {turn}°: {there.mean():.0%} of {len(made)} found")
    known = np.array([label for *_, label in upright])
    widths = {
        str(width): _right(
            model, [(picture, wider(box, width / detection.WIDER)) for picture, _, box, _ in upright], known
        )
        for width in WIDTHS
    }
    sides = [detection.WIDER * true.side / box.side for _, true, box, _ in upright]
    return {
        "faces": len(chosen),
        "bare": round(float(bare.mean()), 4),
        "cases": cases,
        "widths": {width: round(float(right.mean()), 4) for width, right in widths.items() if len(right)},
        "frame_in_windows": round(float(np.median(sides)), 3) if sides else None,
    }


def _right(model, places: list, labels: np.ndarray) -> np.ndarray:
    """(N,) bool: is the network right on each (picture, box)?"""
    if not places:
        return np.zeros(0, dtype=bool)
    return detection.answers(model, np.stack([detection.cut(*place) for place in places])).argmax(axis=1) == labels


def _compared(model, found: list, bare: np.ndarray) -> dict:
    """Accuracy on the faces found: bare, true frame, found frame. found: (picture, true box, found box, label)."""
    if not found:
        return {}
    labels = np.array([label for *_, label in found])
    true = _right(model, [(picture, box) for picture, box, _, _ in found], labels)
    ours = _right(model, [(picture, box) for picture, _, box, _ in found], labels)
    shares = {"bare": bare, "true_frame": true, "found_frame": ours}
    told = {f"{name}_accuracy": round(float(right.mean()), 4) for name, right in shares.items()}
    return told | {"against_bare": statistics.paired_difference(ours, bare).card()}
