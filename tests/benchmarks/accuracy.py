"""`make bench-accuracy`: how long a whole training takes that reaches a given accuracy, three seeds of each.

A recipe stands here before its test faces are looked at: whoever changes one chooses it on val. Every run checkpoints
itself and is kept in OUT/bench_accuracy, so the command may be stopped and goes on from there.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fer_helpers import cleaning, sources, studies
from fer_helpers.augment import Augment
from fer_helpers.recipe import TrainConfig

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Goal:
    """An accuracy on some of the test faces, and the minutes that the training may take; 0: as long as it needs."""

    part: str  # test_7178 or test
    accuracy: float
    minutes: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A whole training, and the goal that it was made for."""

    name: str
    goal: Goal
    config: TrainConfig
    change: Augment
    network: str = "baseline"


FOUR_LAYER = Goal("test_7178", 0.6505, minutes=10)  # a public four-layer CNN's best of 50 epochs, picked on test
SEVENTY = Goal("test", 0.70)
NOTEBOOK_03 = TrainConfig(peak_lr=0.002, weight_decay=0.01)
# As notebook 03 trains its small CNN: rates and augmentation were tried on val, 16 epochs fit into ten minutes
SMALL = TrainConfig(
    epochs=16, peak_lr=0.1, weight_decay=5e-4, optimiser="sgd", label_smoothing=0.1, averaging=0.998, keep="last"
)
RECIPES = (
    Recipe("baseline", FOUR_LAYER, NOTEBOOK_03, Augment()),
    Recipe("small_cnn", FOUR_LAYER, SMALL, Augment(degrees=10, shift=0.08, scale=0.1, contrast=0.2), "small_cnn"),
)


def measure(data: str, small: bool, out_root: str) -> dict:
    """Every recipe with every seed; small: two seeds of one epoch on a few hundred faces, kept in a folder apart."""
    budget, seeds, out_root = ("smoke", SEEDS[:2], f"{out_root}/bench_small") if small else ("quick", SEEDS, out_root)
    people = sources.load(data, budget=budget, log=lambda line: None)
    learnt = ((people.split == "train") & cleaning.read(people, out_root).keep).to_numpy()
    if small:
        learnt = learnt & (np.cumsum(learnt) <= 300)
    arms = [
        studies.Arm(
            each.name, learnt, replace(each.config, epochs=1) if small else each.config, each.change, each.network
        )
        for each in RECIPES
    ]
    runs = studies.study(arms, seeds, stage="bench_accuracy", data=data, budget=budget, device="cpu", out_root=out_root)
    split = people.part("val", "test")
    told = {each.name: judged(each, [row(run, split) for run in runs if run["arm"] == each.name]) for each in RECIPES}
    for each in RECIPES:
        print(
            f"\n{each.name}:\n{pd.DataFrame(told[each.name]['runs']).to_string(index=False)}\n{told[each.name]['told']}"
        )
    return {"training_faces": int(learnt.sum()), "recipes": told}


def row(run: dict, split) -> dict:
    """One run's time, its accuracy on val (of the epoch whose weights it keeps) and on the test faces."""
    right = run["probs"].argmax(axis=1) == split.labels.numpy()
    parts = {"val": split.split == "val", "test_7178": np.ones(len(right), bool), "test": split.split == "test"}
    found = {"seed": run["seed"], "precision": run["precision"], "epochs": len(run["history"])}
    found["seconds"] = run["seconds"]
    return found | {name: round(float(right[which].mean()), 4) for name, which in parts.items()}


def judged(recipe: Recipe, rows: list[dict]) -> dict:
    """The runs, their medians, and whether the medians reach the recipe's goal, as numbers and in a sentence."""
    goal = recipe.goal
    median = {name: float(np.median([each[name] for each in rows])) for name in ("seconds", "val", "test_7178", "test")}
    accurate = median[goal.part] >= goal.accuracy
    quick = not goal.minutes or median["seconds"] <= 60 * goal.minutes
    limit = f" in {goal.minutes:g} minutes" if goal.minutes else ""
    where = {"test_7178": "both test parts together", "test": "PrivateTest"}[goal.part]
    told = (
        f"Goal: {goal.accuracy:.2%} on {where}{limit}. Median of {len(rows)} seeds: {median[goal.part]:.2%} "
        f"({'reached' if accurate else 'not reached'}) in {median['seconds'] / 60:.1f} minutes"
        + (f" ({'reached' if quick else 'not reached'})." if goal.minutes else ".")
    )
    found = {"goal": vars(goal), "runs": rows, "median": median, "reached": bool(accurate and quick), "told": told}
    return found | {"network": recipe.network, "config": vars(recipe.config), "augment": vars(recipe.change)}
