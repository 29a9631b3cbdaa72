"""The whole row of notebooks at `smoke`, as `make run-all` runs it, and what a user does with the results."""

import re

import numpy as np
import pandas as pd
import pytest

from fer_helpers import models, paths, results
from fer_helpers.publishing import folders
from tests import commands, pages

pytestmark = pytest.mark.chain
CURVES = ["history.csv", "loss_curve.png", "accuracy_curve.png", "confusion_matrix.png", "confusion_matrix_train.png"]
MODEL = [*CURVES, "predictions.npz", "metrics.json", "prediction_samples.png"]
WRITTEN = {
    "01_exploration": ["train_distribution.png", "test_distribution.png", "sample_faces.png", "mean_faces.png"],
    "02_cleaning": ["manifest.csv", "duplicates.png", "conflicts.png", "leakage.png", "metrics.json"],
    "03_baseline_cnn": [
        *["baseline.safetensors", *MODEL, "comparison.png", "small_cnn/small_cnn.safetensors"],
        *(f"small_cnn/{name}" for name in ("history.csv", "predictions.npz", "metrics.json")),
    ],
    "04_transfer_learning": ["comparison.png", *(f"resnet18_scratch_48/{name}" for name in MODEL)],
    "05_grad_cam": [
        *("grids.png", "grad_cam.png", "class_average.png", "regions.png", "deletion.png", "faithful.png"),
        *("sanity.png", "second_seed.safetensors", "metrics.json"),
    ],
    "09_results": [
        *("leaderboard.csv", "label_doubts.csv", "metrics.json", "leaderboard.png", "published.png"),
        *("pairs.png", "cost.png", "reliability.png", "coverage.png"),
    ],
    "10_your_photos": ["predictions.csv", "unread.csv", "frames.png", "answer_01.png", "answer_02.png", "metrics.json"],
}
SCORES = {"n", "accuracy", "accuracy_ci95", "loss", "macro_f1", "weighted_f1", "balanced_accuracy", "ece", "per_class"}


def test_every_stage_leaves_what_the_design_names(row):
    out, _, _ = row
    wanted = [f"{stage}/{name}" for stage, names in WRITTEN.items() for name in (*names, f"{stage}.ipynb")]
    assert not [path for path in wanted if not (out / path).exists()]
    seen = paths.read_json(out / "05_grad_cam" / "metrics.json")
    assert (out / "05_grad_cam" / "seeds.png").exists() == bool(seen["seeds"]), "no map, no figure"
    assert {"small_cnn", "baseline", "resnet18_scratch_48", "second seed"} < set(seen["claims"])


def test_terminal_and_results_say_what_runs_and_that_it_is_a_demonstration(row):
    out, _, output = row
    assert re.search(r"\[\d/7\] 03_baseline_cnn", output) and re.search(r"epoch +2/2 .* left", output)
    assert "synthetic" in output.splitlines()[0]
    for stage in WRITTEN:
        assert "DEMONSTRATION" in (out / stage / f"{stage}.ipynb").read_text(), stage
    assert pd.read_csv(out / "09_results" / "leaderboard.csv").demonstration.all()


def test_metrics_have_every_key(row):
    out, _, _ = row
    for folder in ("03_baseline_cnn", "04_transfer_learning/resnet18_scratch_48"):
        metrics = paths.read_json(out / folder / "metrics.json")
        assert {"stage", "model", "data", "train", "val", "test", "test_7178", "config", "run"} <= set(metrics)
        for part in ("train", "val", "test", "test_7178", "test_without_duplicates"):
            assert set(metrics[part]) == SCORES
        assert metrics["data"]["kind"] == "synthetic" and metrics["data"]["cleaned"]["removed_from_training"] > 0
        run = {"commit", "versions", "device", "precision", "threads", "seconds", "images_per_second", "budget", "seed"}
        assert run <= set(metrics["run"]) and metrics["pretrained"] is False
        with np.load(out / folder / "predictions.npz") as stored:
            assert stored["probs"].shape == (len(stored["names"]), 7) and stored["probs"].dtype == np.float32
            right = stored["probs"].argmax(1) == stored["labels"]
            assert right[stored["split"] == "test"].mean() == pytest.approx(metrics["test"]["accuracy"], abs=1e-4)


def test_the_planted_truth_was_found(row):
    out, _, _ = row
    marks = {each["kind"]: each for each in paths.read_json(out / "02_cleaning" / "metrics.json")["hidden"]}
    for kind in ("exact", "exact_val", "exact_test", "conflict", "blank"):
        assert marks[kind]["found"] == marks[kind]["planted"] > 0
    assert sum(each["found"] for each in marks.values()) >= 0.9 * sum(each["planted"] for each in marks.values())


def test_the_page_tells_the_row(row):
    out, _, output = row
    assert f"the page: {out / 'index.html'}" in output
    files = {name: pages.Html(out / f"{name}.html") for name in ("index", "contact_sheet")}
    files |= {stage: pages.Html(out / "notebooks" / f"{stage}.html") for stage in WRITTEN}
    for name, html in files.items():
        html.check()
        assert "DEMONSTRATION on synthetic faces: " in html.text, name
        alts = [image["alt"] for image in html.images]
        synthetic = [alt for alt in alts if alt.endswith(" faces") and ". DEMONSTRATION on synthetic faces" in alt]
        # these show photographs, or the kept reference, too
        others = name in ("index", "contact_sheet", "10_your_photos")
        assert all(alts) if others else synthetic == alts and alts, name
    text = files["index"].text.split("Not run yet")[0]
    assert {f"notebooks/{stage}.html" for stage in WRITTEN} <= set(files["index"].links) and "95 % interval" in text
    assert len(files["contact_sheet"].images) == len(list(out.glob("[0-9][0-9]_*/**/*.png")))
    if pages.PROGRAM:
        with pages.chromium() as browser:
            for html in files.values():
                seen = browser.visit(html.path.as_uri(), 360, 740)
                assert seen["errors"] == [] and seen["wide"] <= 360, html.path.name
                assert len(seen["images"]) == len(html.images) and all(image["wide"] for image in seen["images"])


def test_a_run_is_compared_with_itself(row, tmp_path, capsys):
    out, _, _ = row
    output = commands.here(capsys, "compare", f"A={out}", f"B={out}", f"OUT={tmp_path}")
    assert output.count(": the same") == 4 and output.count("inconclusive") == 6, output
    assert len(paths.read_json(tmp_path / "compare.json")["scores"]) == 3


def test_each_model_is_evaluated_once_and_the_most_doubtful_labels_are_listed(row):
    out, _, _ = row
    assert list(pd.read_csv(out / "test_evaluations.csv").model) == ["baseline", "small_cnn", "resnet18_scratch_48"]
    doubts = pd.read_csv(out / "09_results" / "label_doubts.csv")
    assert len(doubts) == 100 and doubts.probability.is_monotonic_increasing and set(doubts.split) <= {"val", "test"}


def test_fewer_emotions_have_a_network_and_results_of_their_own(tmp_path, capsys):
    three = ["happy", "neutral", "sad"]
    output = commands.succeeds("03", *commands.SMOKE, f"OUT={tmp_path}", "EMOTIONS=happy sad neutral")
    assert output.startswith("emotions: happy, neutral, sad alone\ndata: synthetic faces")
    file = tmp_path / "03_baseline_cnn" / "small_cnn" / "small_cnn.safetensors"
    metrics, card = paths.read_json(file.with_name("metrics.json")), models.read_card(file)
    assert [*metrics["test"]["per_class"]] == metrics["data"]["emotions"] == card["emotions"] == three
    assert metrics["test_7178"] is None and metrics["data"]["source"] == "synthetic faces, only happy, neutral, sad"
    assert results.read_predictions(file.with_name("predictions.npz"))["probs"].shape[1] == 3
    assert "DEMONSTRATION on synthetic faces, only happy" in (tmp_path / "index.html").read_text()
    seven = folders.choose(tmp_path, metrics["data"] | {"emotions": []}, "smoke")
    assert seven != tmp_path and "keeps what it holds" in capsys.readouterr().out
    with pytest.raises(ValueError, match='use it with EMOTIONS="happy neutral sad"'):
        models.load(file)


def test_a_second_run_does_nothing(row, capsys):
    out, settings, _ = row
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert "nothing to do" in commands.here(capsys, "run-all", *settings)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_a_saved_model_is_scored_again_with_the_same_result(row, capsys):
    out, _, _ = row
    model = out / "03_baseline_cnn" / "baseline.safetensors"
    commands.here(capsys, "evaluate", f"MODEL={model}", *commands.SMOKE, f"OUT={out}")
    again = paths.read_json(out / "evaluate" / "baseline.json")
    assert again["test"] == paths.read_json(out / "03_baseline_cnn" / "metrics.json")["test"]
    assert len(pd.read_csv(out / "test_evaluations.csv")) == 3, "the same weights on the same faces are no new look"
