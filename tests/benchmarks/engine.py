"""How fast a training is: beside two rivals, beside the machine's matrix products, and as the data grow. On the CPU."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from fer_helpers import devices
from fer_helpers.data import sources
from tests.benchmarks import usual
from tests.benchmarks.fresh import exponents, held_memory, measured, peak_memory


def measure(data: str, small: bool, out_root: str) -> dict:
    """Everything on one sample of training faces, each measurement in a process of its own."""
    count, warm, turns, steps = (128, 1, 1, 1) if small else (7_168, 8, 3, 32)
    sizes = (128, 256) if small else (7_000, 14_000, 28_000, 57_000)
    with tempfile.TemporaryDirectory() as folder:
        people = sources.load(data, log=lambda line: None)
        usual.write_faces(people, Path(folder), count + warm * usual.CONFIG.batch_size)
        loops = [row for turn in range(turns) for row in measured("usual", "side_by_side", folder, count, warm, turn)]
        show("Faces per second of an epoch's training, the three loops of a turn in one process", loops)
        work = measured("work", "work", folder, steps, turns)
        growth = [measured("engine", "epoch", folder, size, warm) for size in sizes]
    show("Matrix products, billions of multiplications and additions a second", work["products"])
    show("Milliseconds of a step of 128 faces", [each["step_ms"] for each in work["networks"].values()])
    show("An epoch of the baseline by number of faces", growth)
    epochs = {network: medians(loops, network) for network in usual.NETWORKS}
    growth = {"runs": growth, "exponent": exponents(growth)}
    return {"measured_faces": count, "batch_size": usual.CONFIG.batch_size, "epoch": epochs, **work, "growth": growth}


def show(title: str, rows: list[dict]) -> None:
    """A table on the screen."""
    print(f"{title}:\n{pd.DataFrame(rows).round(2).to_string(index=False)}\n")


def medians(loops: list[dict], network: str) -> dict:
    """The runs of one network, and the median of each number over them; a ratio is always of one run's two loops."""
    runs = [each for each in loops if each["network"] == network]
    names = [name for name in runs[0] if name in usual.LOOPS or name.endswith("_ratio")]
    return {"runs": runs, **{name: float(np.median([run[name] for run in runs])) for name in names}}


def epoch(folder: str, count: str, warm: str) -> dict:
    """Seconds of an epoch of the baseline over `count` faces, and this process's memory before and at its peak."""
    count, first = int(count), usual.read_faces(folder, int(warm) * usual.CONFIG.batch_size)
    people, before = usual.read_faces(folder, count), held_memory()
    rate = usual.fit_rate("baseline", first, people, devices.pick_precision("auto", usual.CPU))
    speed = {"images": count, "seconds": round(count / rate, 3), "images_per_second": round(rate, 1)}
    return speed | {"memory_before_mb": before, "memory_peak_mb": peak_memory()}
