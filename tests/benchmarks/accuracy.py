"""`make bench-accuracy`: how long a whole training takes that reaches a given accuracy on the test faces.

Here a network for six minutes; notebook 08 has those that take as long as they need. The recipe is written down before
its test faces are looked at: whoever changes it chooses on val. Every run checkpoints itself and is kept in
OUT/bench_accuracy, so the command may be stopped and goes on from there.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from fer_helpers.augment import Augment
from fer_helpers.cleaning import manifest as manifests
from fer_helpers.data import sources
from fer_helpers.faces import Faces
from fer_helpers.settings import TrainConfig
from fer_helpers.studies.run import Condition, Where
from fer_helpers.studies.study import study


@dataclass(frozen=True)
class Goal:
    """An accuracy on some of the test faces, and the minutes that the training may take; None: as many as it needs."""

    part: str  # test_7178 or test
    accuracy: float
    minutes: float | None


FOUR_LAYER = Goal("test_7178", 0.6505, minutes=6)  # a public four-layer CNN's best of 50 epochs, picked on test
# Accuracy on val after 25 epochs, 2 or 3 seeds: three quarters of the small CNN's filters with Muon 65.4 %, all of them
# with Muon 64.7 %, and so at full size throughout 64.4 %; as notebook 03 trains it 65.0 %, and so at full size 64.6 %.
# In less time, with the log loss at the fitted temperature, augmented as in notebook 03: 17 epochs in batches of 128
# 64.7 % and 0.957 (three seeds), 19 in batches of 256, for which Muon computes half as often, 64.6 % and 0.953; with
# MORE 63.7 % and 0.965, and 65.1 % and 0.953; with Augment's defaults, in batches of 128, 63.9 % and 0.961 (one seed)
# On test the recipe of 17 epochs was looked at first: 65.00 % of both parts. Then this one was fixed, on val, and had
# 65.10 %: 4 faces above the goal. Drawing further seeds or recipes until more is reached would be choosing on test.
NARROW = {"filters": (24, 48, 96, 192)}
STEPS = {"epochs": 19, "batch_size": 256, "peak_lr": 0.15, "weight_decay": 5e-4, "optimizer": "muon", "keep": "last"}
MORE = Augment(degrees=15, shift=0.1, scale=0.15, contrast=0.3)
FAST = TrainConfig(**STEPS, ema_decay=0.992, progressive_resizing=0.6, label_smoothing=0.1, augment=MORE)
VIEWS = 10  # of test-time augmentation: on val 0.3 and 0.8 points better than two, for two networks


def recipe(train: np.ndarray, name="narrow_cnn", config: TrainConfig = FAST, arguments: dict = NARROW) -> Condition:
    """A small CNN, trained on these of the loaded faces: (N,) bool."""
    return Condition(name, train, config, "small_cnn", arguments, views=VIEWS)


def measure(data: str, small: bool, out_root: str) -> dict:
    """The recipe on cleaned Training."""
    return judged_runs(data, small, out_root, FOUR_LAYER)


def judged_runs(data: str, small: bool, out_root: str, goal: Goal, *, seeds=(0, 1, 2), cleaned=True, **changes) -> dict:
    """The recipe with every seed; small: two seeds of one epoch on a few hundred faces, kept in a folder apart.

    cleaned: without training faces that are duplicates, those of test faces above all. changes: of the recipe.
    """
    budget, out_root = ("smoke", f"{out_root}/bench_small") if small else ("quick", out_root)
    people = sources.load(data, budget=budget, log=lambda line: None)
    train = people.split == "train"
    if cleaned:
        train = train & manifests.read(people, out_root).keep.to_numpy()
    condition = recipe(train, **changes)
    if small:
        train, seeds = train & (np.cumsum(train) <= 300), (0, 1)
        condition = replace(condition, train_counts=train, config=replace(condition.config, epochs=1), views=2)
    where = Where("bench_accuracy", data, budget, "cpu", out_root)
    results = judged(goal, condition, study([condition], seeds, where), people.part("val", "test"))
    print(f"\n{pd.DataFrame(results['runs']).to_string(index=False)}\n{results['verdict']}")
    return {"training_faces": int(train.sum()), **results}


def accuracies(probs: np.ndarray, split: Faces) -> dict:
    """Share of right answers on val (of the weights that are kept), on both test parts together and on PrivateTest."""
    right = probs.argmax(axis=1) == split.labels.numpy()
    parts = {"val": split.split == "val", "test_7178": np.ones(len(right), bool), "test": split.split == "test"}
    return {name: round(float(right[which].mean()), 4) for name, which in parts.items()}


def judged(goal: Goal, condition: Condition, runs: list[dict], split: Faces) -> dict:
    """Every run, their median, the mean of their probabilities, and whether the median reaches the goal."""
    rows = []
    for run in runs:
        row = {key: run[key] for key in ("seed", "precision", "seconds")} | {"epochs": len(run["history"])}
        rows.append(row | accuracies(run["probs"], split))
    median = {name: float(np.median([each[name] for each in rows])) for name in ("seconds", "val", "test_7178", "test")}
    together = {"seconds": round(sum(each["seconds"] for each in rows), 1)}
    together |= accuracies(np.mean([run["probs"] for run in runs], axis=0), split)
    reached = median[goal.part] >= goal.accuracy and (goal.minutes is None or median["seconds"] <= 60 * goal.minutes)
    where = {"test_7178": "both test parts together", "test": "PrivateTest"}[goal.part]
    limit = f" in {goal.minutes:g} minutes" if goal.minutes else ""
    verdict = f"Goal: {goal.accuracy:.2%} on {where}{limit}: {'reached' if reached else 'not reached'}."
    results = {"goal": vars(goal), "runs": rows, "median": median, "averaged": together, "reached": bool(reached)}
    results |= {"verdict": verdict, "config": asdict(condition.config)}
    return results | {name: getattr(condition, name) for name in ("network", "arguments", "views")}
