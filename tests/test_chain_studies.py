"""The studies at `smoke`: what notebooks 06 to 08 leave behind, and what they evaluate on the test set."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fer_helpers import models, paths
from fer_helpers.publishing import leaderboard
from tests import commands

pytestmark = pytest.mark.chain


def check_imbalance(study):
    """What notebook 07 leaves behind: figures, a line a run, gains that are those of the lines, the rule obeyed."""
    assert (study / "comparison.png").exists() and (study / "recall_by_emotion.png").exists()
    assert "DEMONSTRATION" in (study / "07_imbalance.ipynb").read_text()
    metrics, runs = paths.read_json(study / "metrics.json"), pd.read_csv(study / "runs.csv")
    assert {"stage", "data", "faces", "conditions", "gain", "decision", "config", "run", "headline"} == set(metrics)
    methods = {"class_weights", "mild_weights", "balanced_sampling", "synthetic_disgust", "logit_adjustment"}
    assert len(runs) == 12 and set(runs.condition) == set(metrics["conditions"]) == {"nothing", *methods}
    assert set(metrics["gain"]) == set(metrics["config"]["methods"]) == methods and "test" not in str(runs.columns)
    stands = {condition: each["faces_an_epoch"] for condition, each in metrics["conditions"].items()}
    assert stands.pop("synthetic_disgust") > stands["nothing"] and set(stands.values()) == {stands["nothing"]}
    by_condition = runs.groupby("condition").mean(numeric_only=True)
    for condition, gain in metrics["gain"].items():
        for measure in ("accuracy", "macro_f1", "recall_disgust"):
            low, high = gain[measure]["ci95"]
            difference = by_condition.loc[condition] - by_condition.loc["nothing"]
            assert gain[measure]["value"] == pytest.approx(difference[f"val_{measure}"], abs=2e-4)
            assert low <= high and gain[measure]["ci_shared"][0] <= low and gain[measure]["ci_shared"][1] >= high
    assert metrics["decision"]["default"] == (metrics["decision"]["fit"] or ["nothing"])[0]


def check_record(study, evaluations):
    """What notebook 08 leaves behind: nine models, chosen on val; each network, and no trial, is evaluated once."""
    assert all((study / f"{name}.png").exists() for name in ("screening", "members", "record"))
    summary, runs = paths.read_json(study / "metrics.json"), pd.read_csv(study / "runs.csv")
    names = [*(f"fold{k}_seed0" for k in range(4)), *(f"member_seed{seed}" for seed in range(3))]
    names += ["final_seed0", *(f"pretrained_fold{k}_seed0" for k in range(4))]
    names += [
        "pretrained_seed2",
        "pretrained_final_seed0",
        "pretrained_final_seed1",
        "nano_seed0",
        "small_distilled_seed0",
    ]
    assert list(evaluations.model[evaluations.stage == "08_record"]) == names
    folders = ("single", "ensemble", "final", "distilled", "nano")
    folders += ("pretrained", "pretrained_ensemble", "pretrained_final", "final_ensemble")
    models_of = {name: paths.read_json(study / name / "metrics.json") for name in folders}
    for name in ("final", "pretrained_final", "final_ensemble"):
        assert models_of[name]["val"] is None and models_of[name]["test_7178"] is None
    trained_on = {name: each["data"]["counts"]["train"] for name, each in models_of.items()}
    assert trained_on["final"] > trained_on["single"] == trained_on["ensemble"] == trained_on["nano"]
    ensemble = models.load(study / "ensemble" / "record_ensemble.safetensors")
    assert len(ensemble.members) == summary["decision"]["ensemble"]["networks"] >= 3 and ensemble.views == 10
    assert set(summary["screening"]) == set(summary["decision"]["tried"])
    assert set(runs.condition) > {*summary["screening"], "half", "record_width", "member", "final", "nano"}
    doubts = pd.read_csv(study / "label_doubts.csv")
    assert len(doubts) == trained_on["single"] and doubts.probability.is_monotonic_increasing
    assert not doubts.probability.eq(0).any(), "every training face was answered by a fold that never saw it"


def test_the_studies_run_on_what_02_left(cleaned, tmp_path, capsys):
    out = Path(shutil.copytree(cleaned, tmp_path / "outputs"))
    settings = [*commands.SMOKE, f"OUT={out}"]
    output = commands.succeeds("studies", "VERBOSE=1", *settings)
    assert re.search(r"\[1/4\] 02_cleaning is up to date", output) and "the price of leakage is" in output
    study = out / "06_price_of_leakage"
    assert all((study / name).exists() for name in ("price.png", "memorising.png", "06_price_of_leakage.ipynb"))
    assert "DEMONSTRATION" in (study / "06_price_of_leakage.ipynb").read_text()
    metrics, runs = paths.read_json(study / "metrics.json"), pd.read_csv(study / "runs.csv")
    assert {"stage", "data", "faces", "conditions", "price", "config", "run", "headline"} == set(metrics)
    conditions = {"raw_plain", "cleaned_plain", "control_plain"}
    assert len(runs) == 6 and set(runs.condition) == set(metrics["conditions"]) == conditions
    trained_on = {condition: each["learnt"] for condition, each in metrics["conditions"].items()}
    assert trained_on["control_plain"] == trained_on["cleaned_plain"] < trained_on["raw_plain"]
    price, faces = metrics["price"]["plain"], metrics["faces"]
    assert faces["test"] == faces["test_with_duplicate"] + faces["test_without_duplicate"] > 0
    assert faces["test_with_duplicate"] > 0
    by_condition = runs.groupby("condition").mean(numeric_only=True)
    gain = by_condition.loc["control_plain"] - by_condition.loc["cleaned_plain"]
    assert price["test"]["value"] == pytest.approx(gain.test_accuracy, abs=2e-4)
    expected = gain.test_with_duplicate_accuracy - gain.test_without_duplicate_accuracy
    assert price["test_price"]["value"] == pytest.approx(expected, abs=4e-4)
    low, high = price["test_price"]["ci95"]
    assert low <= price["test_price"]["value"] <= high
    evaluations = pd.read_csv(out / "test_evaluations.csv")
    assert len(evaluations) == 6 + 17 and "07_imbalance" not in set(evaluations.stage), "what chooses leaves test alone"
    check_imbalance(out / "07_imbalance")
    check_record(out / "08_record", evaluations)
    assert len(leaderboard.all_metrics(out)[0]) == 9, "a study is no model of the leaderboard"
    assert "nothing to do: 4 notebooks are up to date" in commands.here(capsys, "studies", *settings)
