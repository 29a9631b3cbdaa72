"""`make bench`: run the benchmarks beside this file, by name or the short ones, and write OUT/bench.json.

Each is a module with measure(data, small, out_root), and `small` only tries it. A section of the file carries the card
of its own run: measuring one again leaves the others as they are.
"""

import importlib
import sys
import time

import torch

from fer_helpers import devices, paths
from fer_helpers.data import sources
from fer_helpers.errors import UserError

SHORT = ("duplicates", "engine")
# PARAMS=photos
NAMES = (*SHORT, "photos", "webcam", "accuracy", "with_duplicates", "cluster", "page", "start", "peers")


def main(data: str, out_root: str, *words: str) -> None:
    """Run what the words name (the short ones, if none) and keep the results."""
    small = "small" in words
    if unknown := sorted({*words} - {*NAMES, "small"}):
        sys.exit(f"There is no benchmark {', '.join(unknown)}; PARAMS takes {', '.join(NAMES)} and small.")
    path = paths.ROOT / out_root / "bench.json"
    for name in [name for name in NAMES if name in words] or SHORT:
        print(f"{name}: on {data}" + (", small: the numbers mean nothing" if small else ""))
        start = time.perf_counter()
        results = importlib.import_module(f"tests.benchmarks.{name}").measure(data, small, out_root)
        card = devices.run_card(torch.device("cpu"), seconds=round(time.perf_counter() - start, 1))
        section = {"data": sources.load(data, log=lambda line: None).card(), "small": small, "run": card, **results}
        before = paths.read_json(path) if path.exists() else {}
        paths.write_json(path, dict(sorted({**before, name: section}.items())))
    print(f"written: {path}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
