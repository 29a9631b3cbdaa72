"""How long the network of `accuracy` takes to 70 % on PrivateTest if it may train on duplicates of test faces.

As published numbers came about, and to be compared with them alone: notebook 06 measures what the duplicates are worth.
"""

from dataclasses import replace

from tests.benchmarks import accuracy

SEVENTY = accuracy.Goal("test", 0.70, minutes=None)
LONGER = {"name": "with_duplicates", "config": replace(accuracy.SMALL, epochs=40)}


def measure(data: str, small: bool, out_root: str) -> dict:
    """As accuracy.measure, on all of Training, twice as long."""
    return accuracy.judged_runs(data, small, out_root, SEVENTY, seeds=(0, 1), cleaned=False, **LONGER)
