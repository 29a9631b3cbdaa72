"""How long notebook 03's small CNN takes to 70 % on PrivateTest if it may train on duplicates of test faces.

As published numbers came about, and to be compared with them alone: notebook 06 measures what the duplicates are worth.
"""

from fer_helpers.augment import Augment
from fer_helpers.settings import TrainConfig
from tests.benchmarks import accuracy

SEVENTY = accuracy.Goal("test", 0.70, minutes=None)
STEPS = {"epochs": 40, "peak_lr": 0.1, "weight_decay": 5e-4, "optimizer": "sgd", "keep": "last", "ema_decay": 0.998}
LOSS = {"progressive_resizing": 0.6, "label_smoothing": 0.1, "class_weighting": 0.5}
CONFIG = TrainConfig(**STEPS, **LOSS, augment=Augment(degrees=10, shift=0.08, scale=0.1, contrast=0.2))


def measure(data: str, small: bool, out_root: str) -> dict:
    """As accuracy.measure, on all of Training, for 40 epochs."""
    longer = {"name": "with_duplicates", "config": CONFIG, "arguments": {}}
    return accuracy.judged_runs(data, small, out_root, SEVENTY, seeds=(0, 1), cleaned=False, **longer)
