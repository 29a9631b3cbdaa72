"""The whole row of notebooks at `smoke`, as `make run-all` runs it, and what a user does with the results."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image

from fer_helpers import leaderboard, models, paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.workbook import cli
from tests import commands, pages

pytestmark = pytest.mark.chain
CURVES = ["history.csv", "loss_curve.png", "accuracy_curve.png", "confusion_matrix.png", "confusion_matrix_train.png"]
MODEL = [*CURVES, "predictions.npz", "metrics.json", "prediction_samples.png"]
WRITTEN = {
    "01_exploration": ["train_distribution.png", "test_distribution.png", "sample_faces.png", "mean_faces.png"],
    "02_cleaning": ["manifest.csv", "copies.png", "conflicts.png", "leakage.png", "metrics.json"],
    "03_baseline_cnn": [
        *["baseline.safetensors", *MODEL, "comparison.png", "small_cnn/small_cnn.safetensors"],
        *(f"small_cnn/{name}" for name in ("history.csv", "predictions.npz", "metrics.json")),
    ],
    "04_transfer_learning": ["comparison.png", *(f"resnet18_scratch_48/{name}" for name in MODEL)],
    "05_grad_cam": [
        *(
            f"{name}.png"
            for name in ("grids", "grad_cam", "class_average", "regions", "deletion", "faithful", "sanity")
        ),
        *("second_seed.safetensors", "metrics.json"),
    ],
    "09_results": [
        *("leaderboard.csv", "label_doubts.csv", "metrics.json"),
        *(f"{name}.png" for name in ("leaderboard", "published", "cost", "reliability", "coverage")),
    ],
    "10_your_photos": ["predictions.csv", "unread.csv", "frames.png", "answer_01.png", "answer_03.png", "metrics.json"],
}
SCORES = {"n", "accuracy", "accuracy_ci95", "loss", "macro_f1", "weighted_f1", "balanced_accuracy", "ece", "per_class"}

WAYS = ("frozen", "last_stage", "whole", "scratch")  # of using a backbone


def children(process):
    """The numbers of a process's direct children, from /proc."""
    numbers = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == process:
                numbers.append(int(path.parent.name))
    return numbers


def test_every_stage_leaves_what_the_design_names(row):
    out, _, _ = row
    missing = [
        f"{stage}/{name}" for stage, names in WRITTEN.items() for name in names if not (out / stage / name).exists()
    ]
    assert not missing
    seen = paths.read_json(out / "05_grad_cam" / "metrics.json")
    assert (out / "05_grad_cam" / "seeds.png").exists() == bool(seen["seeds"]), "no map, no figure"
    assert {"small_cnn", "baseline", "resnet18_scratch_48", "second seed"} < set(seen["claims"])
    assert all((out / stage / f"{stage}.ipynb").exists() for stage in WRITTEN), "executed notebooks are kept"


def test_the_terminal_shows_stage_epoch_and_what_is_left(row):
    _, _, output = row
    assert re.search(r"\[\d/7\] 03_baseline_cnn", output) and re.search(r"epoch +2/2 .* left", output)
    assert "synthetic" in output.splitlines()[0]


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


def test_every_result_says_that_it_is_a_demonstration(row):
    out, _, _ = row
    for stage in WRITTEN:
        assert "DEMONSTRATION" in (out / stage / f"{stage}.ipynb").read_text(), stage
    assert pd.read_csv(out / "09_results" / "leaderboard.csv").demonstration.all()


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


def test_a_run_is_compared_with_itself(row, tmp_path):
    out, _, _ = row
    output = commands.succeeds("compare", f"A={out}", f"B={out}", f"OUT={tmp_path}")
    assert output.count(": the same") == 4 and output.count("inconclusive") == 6, output
    assert len(paths.read_json(tmp_path / "compare.json")["scores"]) == 3


def test_test_was_opened_once_a_model(row):
    out, _, _ = row
    assert list(pd.read_csv(out / "test_evaluations.csv").model) == ["baseline", "small_cnn", "resnet18_scratch_48"]


def test_the_most_doubtful_labels_are_listed(row):
    out, _, _ = row
    doubts = pd.read_csv(out / "09_results" / "label_doubts.csv")
    assert len(doubts) == 100 and doubts.probability.is_monotonic_increasing and set(doubts.split) <= {"val", "test"}


def test_a_second_run_does_nothing(row):
    out, settings, _ = row
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert "nothing to do" in commands.succeeds("run-all", *settings)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel's process is found in /proc")
def test_after_kill_9_the_training_goes_on_and_ends_like_an_undisturbed_one(cleaned, tmp_path):
    whole, broken = (Path(shutil.copytree(cleaned, tmp_path / name)) for name in ("whole", "broken"))
    settings = [*commands.SMOKE, "PARAMS=precision=float32 epochs=12 small_epochs=1 patience=0"]
    commands.succeeds("03", *settings, f"OUT={whole}")
    command = [sys.executable, "-m", "fer_helpers.run", "03", *settings, f"OUT={broken}"]
    killed = subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True)
    assert any(re.search(r"epoch +2/12", line) for line in killed.stdout), "it ended before its second epoch"
    for process in (*children(killed.pid), killed.pid):
        os.kill(process, signal.SIGKILL)
    killed.communicate()
    assert not (broken / "03_baseline_cnn" / "baseline.safetensors").exists()
    output = commands.succeeds("03", *settings, f"OUT={broken}")
    epoch = re.search(r"going on after epoch (\d+) ", output)
    assert epoch and 2 <= int(epoch[1]) < 12, output[-3000:]
    whole, broken = whole / "03_baseline_cnn", broken / "03_baseline_cnn"
    for name in ("baseline.safetensors", "small_cnn/small_cnn.safetensors"):
        weights, others = (safetensors.torch.load_file(folder / name) for folder in (whole, broken))
        assert all(torch.equal(weights[each], others[each]) for each in weights)
    histories = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (whole, broken)]
    assert histories[0].equals(histories[1]) and len(histories[0]) == 12
    answers = [dict(np.load(folder / "predictions.npz")) for folder in (whole, broken)]
    assert all(answers[0][name].tobytes() == answers[1][name].tobytes() for name in answers[0])


def test_a_saved_model_is_scored_again_with_the_same_result(row):
    out, _, _ = row
    model = out / "03_baseline_cnn" / "baseline.safetensors"
    commands.succeeds("evaluate", f"MODEL={model}", *commands.SMOKE, f"OUT={out}")
    again = paths.read_json(out / "evaluate" / "baseline.json")
    assert again["test"] == paths.read_json(out / "03_baseline_cnn" / "metrics.json")["test"]
    assert len(pd.read_csv(out / "test_evaluations.csv")) == 4


def test_with_imagenet_weights_at_hand_all_ways_run(cleaned, tmp_path):
    """The file has the right name, place and keys; its numbers are random, since nothing can be downloaded here."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    torch.save(torchvision.models.resnet18().state_dict(), folder / name)
    out = shutil.copytree(cleaned, tmp_path / "out")
    settings = [*commands.SMOKE, f"OUT={out}", "PARAMS=backbones=resnet18"]
    output = commands.succeeds("04", *settings, TORCH_HOME=str(tmp_path / "torch"))
    assert "ImageNet's weights are loaded" in output and "not measured" not in output
    made = tmp_path / "out" / "04_transfer_learning"
    ways = {way: paths.read_json(made / f"resnet18_{way}_48" / "metrics.json") for way in WAYS}
    assert [each["pretrained"] for each in ways.values()] == [True, True, True, False]
    trained = [each["trained_weights"] for each in ways.values()]
    assert trained[0] == 512 * 7 + 7 < trained[1] < trained[2] == trained[3] == ways["scratch"]["weights"]
    assert all(each["config"]["way"] == way for way, each in ways.items())
    assert ways["whole"]["config"]["layer_lr_decay"] < 1 == ways["scratch"]["config"]["layer_lr_decay"]
    assert paths.read_json(made / "metrics.json")["channels"]["chosen"] in (1, 3)


def check_imbalance(study):
    """What notebook 07 leaves behind: figures, a line a run, gains that are those of the lines, the rule obeyed."""
    assert (study / "comparison.png").exists() and (study / "recall_by_emotion.png").exists()
    assert "DEMONSTRATION" in (study / "07_imbalance.ipynb").read_text()
    metrics, runs = paths.read_json(study / "metrics.json"), pd.read_csv(study / "runs.csv")
    assert {"stage", "data", "faces", "conditions", "gain", "decision", "config", "run"} == set(metrics)
    remedies = {"class_weights", "mild_weights", "balanced_sampling", "synthetic_disgust", "logit_adjustment"}
    assert len(runs) == 12 and set(runs.condition) == set(metrics["conditions"]) == {"nothing", *remedies}
    assert set(metrics["gain"]) == set(metrics["config"]["remedies"]) == remedies and "test" not in str(runs.columns)
    stands = {condition: each["faces_an_epoch"] for condition, each in metrics["conditions"].items()}
    assert stands.pop("synthetic_disgust") > stands["nothing"] and set(stands.values()) == {stands["nothing"]}
    by_arm = runs.groupby("condition").mean(numeric_only=True)
    for condition, gain in metrics["gain"].items():
        for measure in ("accuracy", "macro_f1", "recall_disgust"):
            low, high = gain[measure]["ci95"]
            difference = by_arm.loc[condition] - by_arm.loc["nothing"]
            assert gain[measure]["value"] == pytest.approx(difference[f"val_{measure}"], abs=2e-4)
            assert low <= high and gain[measure]["ci_shared"][0] <= low and gain[measure]["ci_shared"][1] >= high
    assert metrics["decision"]["default"] == (metrics["decision"]["fit"] or ["nothing"])[0]


def check_record(study, evaluations):
    """What notebook 08 leaves behind: five models, chosen on val; each network, and no trial, is evaluated once."""
    assert all((study / f"{name}.png").exists() for name in ("screening", "members", "record"))
    summary, runs = paths.read_json(study / "metrics.json"), pd.read_csv(study / "runs.csv")
    names = [f"fold{k}_seed0" for k in range(4)] + [f"member_seed{seed}" for seed in range(3)]
    assert list(evaluations.model[evaluations.stage == "08_record"]) == [
        *names,
        "final_seed0",
        "nano_seed0",
        "small_distilled_seed0",
    ]
    folders = ("single", "ensemble", "final", "distilled", "nano")
    models_of = {name: paths.read_json(study / name / "metrics.json") for name in folders}
    assert models_of["final"]["val"] is None and models_of["final"]["test_7178"] is None
    trained_on = {name: each["data"]["counts"]["train"] for name, each in models_of.items()}
    assert trained_on["final"] > trained_on["single"] == trained_on["ensemble"] == trained_on["nano"]
    ensemble = models.load(study / "ensemble" / "record_ensemble.safetensors")
    assert len(ensemble.members) == summary["decision"]["members"] == 3 and ensemble.views == 10
    assert set(summary["screening"]) == set(summary["decision"]["tried"])
    assert set(runs.condition) > {*summary["screening"], "half", "record_width", "member", "final", "nano"}
    doubts = pd.read_csv(study / "label_doubts.csv")
    assert len(doubts) == trained_on["single"] and doubts.probability.is_monotonic_increasing
    assert not doubts.probability.eq(0).any(), "every training face was answered by a fold that never saw it"


def test_the_studies_run_on_what_02_left(cleaned, tmp_path):
    out = Path(shutil.copytree(cleaned, tmp_path / "outputs"))
    settings = [*commands.SMOKE, f"OUT={out}"]
    output = commands.succeeds("studies", *settings)
    assert re.search(r"\[1/4\] 02_cleaning is up to date", output) and "the price of leakage is" in output
    study = out / "06_price_of_leakage"
    assert all((study / name).exists() for name in ("price.png", "memorising.png", "06_price_of_leakage.ipynb"))
    assert "DEMONSTRATION" in (study / "06_price_of_leakage.ipynb").read_text()
    metrics, runs = paths.read_json(study / "metrics.json"), pd.read_csv(study / "runs.csv")
    assert {"stage", "data", "faces", "conditions", "price", "config", "run"} == set(metrics)
    assert len(runs) == 6 and set(runs.condition) == set(metrics["conditions"]) == {
        "raw_plain",
        "cleaned_plain",
        "control_plain",
    }
    learnt = {condition: each["learnt"] for condition, each in metrics["conditions"].items()}
    assert learnt["control_plain"] == learnt["cleaned_plain"] < learnt["raw_plain"]
    price, faces = metrics["price"]["plain"], metrics["faces"]
    assert faces["test"] == faces["test_with_copy"] + faces["test_without_copy"] and faces["test_with_copy"] > 0
    by_arm = runs.groupby("condition").mean(numeric_only=True)
    gain = by_arm.loc["control_plain"] - by_arm.loc["cleaned_plain"]
    assert price["test"]["value"] == pytest.approx(gain.test_accuracy, abs=2e-4)
    expected = gain.test_with_copy_accuracy - gain.test_without_copy_accuracy
    assert price["test_price"]["value"] == pytest.approx(expected, abs=4e-4)
    low, high = price["test_price"]["ci95"]
    assert low <= price["test_price"]["value"] <= high
    openings = pd.read_csv(out / "test_evaluations.csv")
    assert len(openings) == 6 + 5 and "07_imbalance" not in set(openings.stage), "what chooses leaves test shut"
    check_imbalance(out / "07_imbalance")
    check_record(out / "08_record", openings)
    assert len(leaderboard.all_metrics(out)[0]) == 4, "a study is no model of the leaderboard"
    assert "nothing to do: 4 notebooks are up to date" in commands.succeeds("studies", *settings)


def test_faces_of_one_grey_value_are_refused_in_a_sentence(tmp_path, capsys):
    for k in range(14):
        for split in ("train", "val", "test"):
            file = tmp_path / "flat" / split / EMOTIONS[k % 7] / f"{k}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (48, 48), 9 * k).save(file)
    assert cli.main(["02", f"DATA={tmp_path}/flat", "BUDGET=smoke", f"OUT={tmp_path}/out"]) != 0
    assert "faces are blank" in capsys.readouterr().err
