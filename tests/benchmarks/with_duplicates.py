"""How long the network of `accuracy` takes to 70 % on PrivateTest if it may train on duplicates of test faces.

As published numbers came about, and to be compared with them alone: notebook 06 measures what the duplicates are worth.
"""

from dataclasses import replace

from tests.benchmarks import accuracy

SEVENTY = accuracy.Goal("test", 0.70, minutes=None)
LONGER = replace(accuracy.SMALL, epochs=40)
RECIPE = replace(accuracy.RECIPE, name="with_duplicates", goal=SEVENTY, config=LONGER, duplicates=True, seeds=(0, 1))


def measure(data: str, small: bool, out_root: str) -> dict:
    """As accuracy.measure, on all of Training."""
    return accuracy.measure(data, small, out_root, RECIPE)
