"""How long the search for duplicates takes, its memory, how both grow; and what a hash alone finds in comparison.

The rival is the perceptual hash of imagededup with its own defaults. It is no dependency: where it isn't installed
(`pip install --target=FOLDER imagededup`, then PYTHONPATH=FOLDER), its part is left out, and the result says so.
"""

import inspect
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from fer_helpers.cleaning import duplicates
from fer_helpers.cleaning import manifest as manifests
from fer_helpers.cleaning import planted as planting
from fer_helpers.data import sources, synthetic
from tests.benchmarks.fresh import exponents, held_memory, measured, peak_memory, timed

CORRELATION = inspect.signature(duplicates.near_pairs).parameters["correlation"].default


def measure(data: str, small: bool, out_root: str) -> dict:
    """Time and memory on the data, growth on synthetic faces, and side by side with imagededup."""
    runs = [measured("duplicates", "build", data) for _ in range(1 if small else 3)]
    print("build:", *runs, sep="\n  ")
    counts = (300, 600) if small else (10_000, 20_000, 40_000, 80_000)
    growth = [measured("duplicates", "synthetic_faces", count) for count in counts]
    print("growth:", *growth, sep="\n  ")
    both = measured("duplicates", "beside", data, 5 if small else 200)
    print("side by side:", *both.items(), sep="\n  ")
    return {
        "build": {"median_seconds": float(np.median([run["seconds"] for run in runs])), "runs": runs},
        "growth": {"runs": growth, "exponent": exponents(growth)},
        "side_by_side": both,
    }


def build(data: str) -> dict:
    """Everything from pixels to the manifest: flat, hashes of pixels, pairs, pixel check, groups, decisions."""
    return built(sources.load(data, log=lambda line: None))


def synthetic_faces(count: str) -> dict:
    """The same on synthetic faces."""
    return built(synthetic.draw(int(count)))


def built(people) -> dict:
    """One timed build, and the process's memory before and at its peak."""
    before = held_memory()
    (manifest, pairs), seconds = timed(manifests.build, people)
    decided = {"duplicates": int(pairs["duplicate"].sum()), "kept": int(manifest.keep.sum())}
    memory = {"memory_before_mb": before, "memory_peak_mb": peak_memory()}
    return {"images": len(people), "seconds": round(seconds, 2), "pairs_compared": len(pairs)} | decided | memory


def beside(data: str, count: str) -> dict:
    """Both methods on the same images: the data's distinct ones, and `count` duplicates of each kind."""
    images = sources.load(data, log=lambda line: None).images.numpy()
    images = images[np.sort(np.unique(manifests.pixel_sha256(images), return_index=True)[1])]
    images = images[~duplicates.is_flat(images)]
    tries = planting.meant()
    planted, original, which = planting.plant(images, tries, count=int(count))
    together = np.concatenate([images, planted])

    def marked(pairs) -> dict:
        known = {tuple(pair) for pair in pairs.tolist()}
        lost = [tries[k] for row, k in enumerate(which) if (int(original[row]), len(images) + row) not in known]
        missed = {f"{kind} {much:g}": lost.count((kind, much)) for kind, much in dict.fromkeys(lost)}
        return {"pairs": len(pairs), "planted_missed": len(lost), "missed": missed}

    (table, _), seconds = timed(duplicates.near_pairs, together)
    ours = table.loc[table["duplicate"], ["i", "j"]].to_numpy()
    results = {"images": len(together), "planted": len(planted)}
    results["ours"] = {"seconds": round(seconds, 2), **marked(ours)}
    try:
        pairs, seconds = hashed(together)
    except ImportError:
        return results | {"imagededup": "not measured: not installed"}
    refused = int((duplicates.likeness(together, pairs) <= CORRELATION).sum())
    unseen = len({tuple(pair) for pair in ours.tolist()} - {tuple(pair) for pair in pairs.tolist()})
    compared = {"pairs_refused_by_pixels": refused, "of_ours_missed": unseen}
    return results | {"imagededup": seconds | marked(pairs) | compared}


def hashed(images: np.ndarray) -> tuple[np.ndarray, dict]:
    """(K, 2) pairs that imagededup's PHash finds with its defaults (10 bits of 64), and its seconds."""
    from imagededup.methods import PHash

    with tempfile.TemporaryDirectory() as folder:
        for row, image in enumerate(images):
            Image.fromarray(image).save(Path(folder) / f"{row}.png")
        finder = PHash(verbose=False)
        codes, encoding = timed(finder.encode_images, image_dir=folder)
        alike, search = timed(finder.find_duplicates, encoding_map=codes)
    pairs = {tuple(sorted((int(Path(one).stem), int(Path(two).stem)))) for one, twos in alike.items() for two in twos}
    seconds = {"seconds": round(encoding + search, 2), "of_which_reading_and_hashing": round(encoding, 2)}
    return np.array(sorted(pairs)).reshape(-1, 2), seconds
