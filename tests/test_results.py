"""What a finished model leaves behind, with its network and without."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_helpers import models, paths, results, training
from fer_helpers.faces import Faces


@pytest.fixture
def people():
    """28 faces of noise of each split."""
    images = torch.randint(0, 256, (84, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split, names = np.repeat(["train", "val", "test"], 28), np.array([f"face_{k}" for k in range(84)])
    return Faces(images, torch.arange(84) % 7, split, names, {"name": "noise", "kind": "folder"})


def finished(people, network, **more):
    row = {"epoch": 1, "val_accuracy": 0.2, "val_loss": 2.0}
    fit = training.Fit([row], row, 12.0, 300.0, "float32")
    return results.FinishedModel("net", network, fit, people.part("train"), {"epochs": 1}, {"seed": 3}, **more)


def test_a_finished_model_is_evaluated_once_and_written_whole(people, tmp_path):
    model, judged = models.build("baseline", filters=(4, 4, 4), hidden=8).eval(), people.part("val", "test")
    out, leaked = tmp_path / "03_baseline_cnn" / "small", np.arange(56) % 2 == 0
    metrics = results.save(out, finished(people, model, views=10), judged, leaked)
    assert metrics == paths.read_json(out / "metrics.json") and metrics["views"] == 10 and metrics["run"]["seed"] == 3
    assert metrics["stage"] == "03_baseline_cnn" and metrics["train"]["n"] == 28
    assert [metrics[part]["n"] for part in ("val", "test", "test_without_duplicates")] == [28, 28, 14]
    (line,) = paths.read_lines(tmp_path / "test_evaluations.csv")
    assert (line["stage"], line["model"]) == ("03_baseline_cnn", "net")
    again = models.load(out / "net.safetensors")
    expected = torch.cat([models.probabilities(again, judged.images)]).detach()
    assert np.allclose(results.read_predictions(out / "predictions.npz")["probs"], expected, atol=1e-6)
    assert again.card["metrics"]["test"] == metrics["test"]


def test_a_run_whose_weights_are_not_kept_leaves_everything_but_a_model_file(people, tmp_path):
    judged, out = people.part("val", "test"), tmp_path / "08_record" / "single"
    probs, scores = np.full((56, 7), 1 / 7, np.float32), {"accuracy": 0.9}
    run = finished(people, None, weights=123, pretrained="other faces")
    metrics = results.save(out, run, judged, np.zeros(56, bool), probs=probs, train_scores=scores)
    assert sorted(path.name for path in out.iterdir()) == ["history.csv", "metrics.json", "predictions.npz"]
    assert metrics["weights"] == metrics["trained_weights"] == 123 and metrics["train"] == scores
    assert metrics["pretrained"] == "other faces", "what it rests on, where no network can say so"
    assert not (tmp_path / "test_evaluations.csv").exists(), "known answers are no new look at test"


def test_stored_answers_are_taken_for_the_very_faces_alone(people, tmp_path):
    model, test = models.build("baseline", filters=(4, 4, 4), hidden=8).eval(), people.part("test")
    out, where = tmp_path / "03_baseline_cnn", {"stage": "05_grad_cam", "out_root": tmp_path}
    results.save(out, finished(people, model), people.part("val", "test"), np.zeros(56, bool))
    (tmp_path / "test_evaluations.csv").unlink()
    results.answers(out / "net.safetensors", model, test, **where)
    assert not (tmp_path / "test_evaluations.csv").exists()
    others = replace(test, images=test.images.flip(0))  # the same names, as a table that lost a row has them
    answers = results.answers(out / "net.safetensors", model, others, **where)
    assert answers.tolist() == training.evaluation(model, others, stage="", name="")[0].argmax(axis=1).tolist()
    assert len(paths.read_lines(tmp_path / "test_evaluations.csv")) == 1
