"""How good is the framing? Faces whose frame is known, pasted into photographs without a face, and detected again."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
from PIL import Image

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
    """Where FER-2013 has the eyes and the mouth: rows of the mean face, as shares of the frame's height from its top.

    Beside it the frame in sides of the window that the cascade puts on the mean face.
    """
    mean = people.images.float().mean(dim=0).numpy()  # (48, 48)
    eyes = mean[:, [*range(9, 20), *range(28, 39)]].mean(axis=1)  # where they lie left and right of the nose
    mouth = mean[:, 17:31].mean(axis=1)
    darkest = {"eyes": 12 + eyes[12:24].argmin(), "mouth": 30 + mouth[30:44].argmin()}
    rows = {name: round(float((row + 0.5) / SIDE), 3) for name, row in darkest.items()}
    around = Image.fromarray(np.pad(mean, SIDE // 2, mode="edge").astype(np.uint8)).resize((8 * SIDE, 8 * SIDE))
    faces = detection.merge_windows(detection.windows(np.asarray(around), 60, 1.05))
    return rows | {"frame_in_windows": round(4 * SIDE / float(faces[0, 2]), 3) if len(faces) else None}


def paste(image: np.ndarray, ground: Image.Image, side: int, turn: float, rng) -> tuple[Image.Image, Box]:
    """A face pasted into a crop of a photograph (a scene), and its frame before it was turned.

    image: (48, 48) uint8. ground: the photograph. side: of the pasted face, in pixels. turn: degrees to the left. Its
    edge fades over a twentieth of the side, so that it isn't the edge that is detected.
    """
    width = int(rng.integers(min(ground.size) // 2, min(ground.size) + 1))
    left, top = (int(rng.integers(0, length - width + 1)) for length in ground.size)
    scene = ground.convert("L").crop((left, top, left + width, top + width)).resize((SCENE, SCENE))
    inward = np.minimum(np.arange(side), np.arange(side)[::-1])
    fading = np.minimum.outer(inward, inward) * 255 / (0.05 * side)
    room = side // 4  # a square that is turned is up to 1.42 times as wide
    face, mask = (Image.new("L", (side + 2 * room, side + 2 * room)) for _ in range(2))
    face.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), (room, room))
    mask.paste(Image.fromarray(fading.clip(0, 255).astype(np.uint8)), (room, room))
    x, y = (int(value) for value in rng.integers(0, SCENE - side + 1, size=2))
    face, mask = (each.rotate(turn, Image.Resampling.BICUBIC) for each in (face, mask))
    scene.paste(face, (x - room, y - room), mask)
    return scene, Box(x, y, side)


def measure(model, val: Faces, *, count: int, seed: int = 0, log=print) -> dict:
    """Paste the same `count` faces of val at several sizes and turns, detect them, and compare the answers.

    returns: `cases`, one a size and turn: detected (share), false_positives (a scene), and of the detected faces the
    accuracy of the bare image, of the true frame in the scene, and of the detected one, with its difference to the bare
    image (a card of statistics.Difference). `widths`: accuracy of the upright ones by how wide they are cropped.
    `frame_in_windows`: median of the true frame's side, in sides of the cascade's window.
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
        pairs = zip(boxes, scenes, strict=True)
        best = [next((box for box in each if album.matches(box, true)), None) for each, (_, true) in pairs]
        hit = np.array([box is not None for box in best])
        detected = [(*scenes[k], best[k], labels[k]) for k in np.flatnonzero(hit)]
        case = {"side": side, "turn": turn, "scenes": len(scenes), "detected": round(float(hit.mean()), 4)}
        case["false_positives"] = round(sum(len(each) for each in boxes) / len(scenes) - case["detected"], 4)
        cases.append(case | _compared(model, detected, bare[hit]))
        upright += detected * (turn == 0)
        log(f"{side} pixels, turned by {turn}°: {hit.mean():.0%} of {len(scenes)} detected")
    sides = [detection.FRAME_IN_WINDOWS * true.side / box.side for _, true, box, _ in upright]
    return {
        "faces": len(chosen),
        "bare": round(float(bare.mean()), 4),
        "cases": cases,
        "widths": {str(width): _accuracy_of_width(model, upright, width) for width in WIDTHS if upright},
        "frame_in_windows": round(float(np.median(sides)), 3) if sides else None,
    }


def _accuracy_of_width(model, detected: list, width: float) -> float:
    """Accuracy on detected faces, cropped `width` sides of the cascade's window wide."""
    factor = width / detection.FRAME_IN_WINDOWS
    crops = [(scene, box.scaled(factor)) for scene, _, box, _ in detected]
    return round(float(_right(model, crops, np.array([label for *_, label in detected])).mean()), 4)


def _right(model, places: list, labels: np.ndarray) -> np.ndarray:
    """(N,) bool: is the network right on each (picture, box)? There is at least one."""
    crops = np.stack([detection.crop(*place) for place in places])
    return predict.probabilities(model, crops).argmax(axis=1) == labels


def _compared(model, detected: list, bare: np.ndarray) -> dict:
    """Accuracy on the detected faces: bare, true frame, detected frame. detected: (picture, true box, box, label)."""
    if not detected:
        return {}
    labels = np.array([label for *_, label in detected])
    true = _right(model, [(picture, box) for picture, box, _, _ in detected], labels)
    ours = _right(model, [(picture, box) for picture, _, box, _ in detected], labels)
    shares = {"bare": bare, "true_frame": true, "detected_frame": ours}
    accuracies = {f"{name}_accuracy": round(float(right.mean()), 4) for name, right in shares.items()}
    return accuracies | {"against_bare": statistics.paired_difference(ours, bare).card()}
