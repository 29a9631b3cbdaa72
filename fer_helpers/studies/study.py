"""Many runs of one training: conditions × seeds, on this machine or a cluster, and what they say together."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from fer_helpers.faces import EMOTIONS
from fer_helpers.studies import cluster as clusters
from fer_helpers.studies import run as runs
from fer_helpers.studies.run import Condition, RunSpec, Where


def control(manifest: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """(N,) bool over the manifest's faces: Training less as many faces of each emotion as cleaning takes from it.

    They are drawn, by name and seed alone, among training faces without a duplicate in val or test, so all leaked ones
    stay. Raises ValueError if there are too few to draw.
    """
    train, keep = (manifest.split == "train").to_numpy(), manifest.keep.to_numpy()
    free = train & ~manifest.group.isin(manifest.group[~train]).to_numpy()
    chosen, rng, order = train.copy(), np.random.default_rng(seed), np.argsort(manifest.name.to_numpy())
    for emotion in EMOTIONS:
        mine = (manifest.label == emotion).to_numpy()
        count, pool = int((mine & train & ~keep).sum()), order[(mine & free)[order]]
        if len(pool) < count:
            lacking = f"{count} {emotion} faces that have no duplicate in val or test, and there are {len(pool)}"
            raise ValueError(f"A control must drop {lacking}: cleaning takes too much of this data to compare fairly.")
        chosen[rng.choice(pool, count, replace=False)] = False
    return chosen


def probabilities(results: Iterable[dict]) -> dict[str, np.ndarray]:
    """Each condition's (S, M, 7), a row a seed: what the run says of every face that was scored."""
    rows = {}
    for each in sorted(results, key=lambda each: each["seed"]):
        rows.setdefault(each["condition"], []).append(each["probs"])
    return {condition: np.stack(probs) for condition, probs in rows.items()}


def right(results: Iterable[dict], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Each condition's (S, M) bool, a row a seed: True where the run is right on a scored face. labels: (M,)."""
    return {condition: probs.argmax(axis=-1) == labels for condition, probs in probabilities(results).items()}


def better(gains: dict) -> list[str]:
    """Conditions fit to become the default, best macro-F1 first.

    gains: condition -> statistics.compare of it against the default. Fit is what is higher in macro-F1 by the interval
    that shares its error among all conditions, and not lower in accuracy by the plain one.
    """
    by_f1 = sorted(gains.items(), key=lambda item: -item[1]["macro_f1"].value)
    firm = [(name, gain) for name, gain in by_f1 if gain["macro_f1"].verdict_shared == "higher"]
    return [name for name, gain in firm if gain["accuracy"].verdict != "lower"]


def study(
    conditions: Iterable[Condition], seeds: Iterable[int], where: Where, *, cluster: str = "", log: Callable = print
) -> list[dict]:
    """The results of every run, in the order of seeds and, within a seed, of conditions; a finished one is read.

    cluster: address of the Dask scheduler whose workers train; empty: this machine trains, one run after the other.
    """
    conditions, where = list(conditions), replace(where, data=str(where.data), splits=tuple(where.splits))
    names = [condition.name for condition in conditions]
    if len(set(names)) < len(names):
        raise ValueError(f"Two conditions have one name: {', '.join(names)}. Results are kept by name.")
    # an unfinished study has whole seeds, not whole conditions
    specs = [RunSpec(condition, seed, where) for seed in seeds for condition in conditions]
    everyone, results, calls = runs.loaded(where.data, where.budget), {}, {}
    for k, spec in enumerate(specs, 1):
        spec = replace(spec, key=runs.key_of(spec, everyone), title=f"[{k}/{len(specs)}]")
        if result := runs.finished(spec):
            results[spec.name] = runs.keep(spec, result)
            log(f"{spec.title} {spec.name} is finished: train {result['train']['accuracy']:.1%}")
        else:
            calls[spec.name] = spec
    made = ((name, runs.run(spec, log=log)) for name, spec in calls.items())
    if cluster and calls:
        made = clusters.results(cluster, runs.run, {name: (spec,) for name, spec in calls.items()}, log=log)
    for name, result in made:
        results[name] = runs.keep(calls[name], result)
        if cluster:
            how = f"{result['seconds']:.0f} s on {result['device']}, threads: {result['threads']}"
            log(f"{calls[name].title} {name} is done: train {result['train']['accuracy']:.1%}, {how}")
    ordered = [results[spec.name] for spec in specs]
    if len(kinds := {result["precision"] for result in ordered}) > 1:
        log(f"careful: some runs used {' and some '.join(sorted(kinds))}; name one with precision")
    return ordered
