"""The loop: it learns, it obeys the protocol, it goes on where it stopped."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fer_helpers import augment, checkpoints, machine, models, recipe, training
from fer_helpers.faces import Faces


def stripes(count, split, seed=0):
    """Faces whose label is told by the brightness of one of seven bands, so that a network learns it in seconds."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 7
    images = torch.randint(0, 120, (count, 48, 48), generator=generator)
    for k in range(count):
        images[k, 6 * labels[k] + 3 : 6 * labels[k] + 9] += 120
    names = np.array([f"{split}_{k}" for k in range(count)])
    return Faces(images.to(torch.uint8), labels, np.full(count, split), names, {"name": "stripes"})


@pytest.fixture(scope="module")
def sets():
    return stripes(210, "train"), stripes(70, "val", seed=1)


CFG = recipe.TrainConfig(epochs=3, batch_size=32, peak_lr=2e-3, precision="float32")
CHANGE = augment.Augment(flip=0, degrees=3, shift=0.02, scale=0)


def train(sets, cfg=CFG, **options):
    training.seed_everything(cfg.seed)
    model = models.build("baseline", filters=(8, 8, 8), hidden=32)
    lines = []
    return model, training.fit(model, *sets, cfg, augment=CHANGE, log=lines.append, **options), lines


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_and_keeps_the_best_epoch(sets):
    model, fit, lines = train(sets, replace(CFG, epochs=8))
    assert fit.kept["val_accuracy"] > 0.8 and fit.kept["val_accuracy"] == max(r["val_accuracy"] for r in fit.history)
    right = (training.predict_proba(model, sets[1]).argmax(axis=1) == sets[1].labels.numpy()).mean()
    assert right == pytest.approx(fit.kept["val_accuracy"]), "the model must hold the kept epoch's weights"
    assert lines[2].startswith("epoch   3/8") and lines[-1].endswith("0:00:00 left")


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(sets):
    first, again = train(sets), train(sets)
    assert same_weights(first[0], again[0]) and without_seconds(first[1].history) == without_seconds(again[1].history)
    assert not same_weights(first[0], train(sets, replace(CFG, seed=1))[0])


def test_an_interrupted_training_ends_like_an_undisturbed_one(sets, tmp_path):
    whole = train(sets)
    path = tmp_path / "checkpoint.pt"

    def stop(line):
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    training.seed_everything(0)
    model = models.build("baseline", filters=(8, 8, 8), hidden=32)
    with pytest.raises(KeyboardInterrupt):
        training.fit(model, *sets, CFG, augment=CHANGE, checkpoint=path, log=stop)
    resumed = train(sets, checkpoint=path)
    assert "going on after epoch 2" in resumed[2][0] and len(resumed[2]) == 2
    assert same_weights(whole[0], resumed[0])
    assert without_seconds(whole[1].history) == without_seconds(resumed[1].history)
    finished = train(sets, checkpoint=path)
    assert "after epoch 3" in finished[2][0] and len(finished[2]) == 1 and same_weights(whole[0], finished[0])


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_used(sets, tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(sets, replace(CFG, epochs=1), checkpoint=path)
    _, fit, lines = train(sets, checkpoint=path)
    assert "other settings" in lines[0] and len(fit.history) == 3
    path.write_bytes(path.read_bytes()[:1000])
    _, fit, lines = train(sets, checkpoint=path)
    assert "can't be read" in lines[0] and len(fit.history) == 3
    pd.DataFrame({"a": [1]}).to_pickle(path)  # a pickle that isn't plain tensors is not loaded
    assert "can't be read" in train(sets, checkpoint=path)[2][0]


def test_code_that_decides_the_training_is_part_of_the_key(monkeypatch, sets):
    model = models.build("baseline", filters=(8, 8, 8), hidden=32)
    before = checkpoints.key(model, *sets, CFG, CHANGE)
    assert before == checkpoints.key(model, *sets, CFG, CHANGE)
    assert before != checkpoints.key(model, *sets, replace(CFG, peak_lr=0.1), CHANGE)
    assert before != checkpoints.key(model, sets[0].select(range(200)), sets[1], CFG, CHANGE)
    monkeypatch.setattr(checkpoints, "CODE", ("augment",))
    monkeypatch.setattr(checkpoints, "LOADED", checkpoints.code_hash(["augment"]))
    assert before != checkpoints.key(model, *sets, CFG, CHANGE)


def test_test_faces_are_refused(sets, tmp_path):
    final = stripes(14, "test")
    model = models.build("baseline")
    with pytest.raises(ValueError, match="Test faces"):
        training.fit(model, sets[0], final, CFG)
    with pytest.raises(ValueError, match="Test faces"):
        training.predict_proba(model, final)
    for _ in range(2):
        probs = training.open_test(model, final, stage="03", name="baseline", out_root=tmp_path)
    assert probs.shape == (14, 7) and np.allclose(probs.sum(axis=1), 1, atol=1e-5)
    log = pd.read_csv(tmp_path / "test_openings.csv")
    assert list(log.model) == ["baseline"] * 2 and list(log.test_faces) == [14, 14]


def test_early_stopping_counts_from_the_best_epoch():
    rows = [{"epoch": k + 1, "val_accuracy": a, "val_loss": 1.0} for k, a in enumerate([0.2, 0.5, 0.4, 0.5])]
    assert training.best_row(rows)["epoch"] == 2, "of equals the earlier epoch is kept"
    assert training.stalled(rows, 2) and not training.stalled(rows, 3) and not training.stalled(rows, 0)
    assert not training.stalled([], 1)


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("schedule", ["one-cycle", "plateau", "constant"])
def test_every_optimiser_goes_with_every_schedule(sets, optimiser, schedule, tmp_path):
    cfg = replace(CFG, epochs=1, optimiser=optimiser, schedule=schedule, patience=1, class_weighting=1.0)
    _, fit, _ = train(sets, cfg, checkpoint=tmp_path / "c.pt")
    assert len(fit.history) == 1
    assert train(sets, cfg, checkpoint=tmp_path / "c.pt")[1].history == fit.history


@pytest.mark.parametrize(("field", "value"), [("optimiser", "adan"), ("schedule", "cosine"), ("precision", "half")])
def test_an_unknown_setting_is_named(sets, field, value):
    with pytest.raises(ValueError, match=f"{field} is '{value}'"):
        train(sets, replace(CFG, **{field: value}))


def test_a_loss_that_is_no_number_ends_with_advice(sets):
    with pytest.raises(ValueError, match="lower peak_lr"):
        train(sets, replace(CFG, peak_lr=1e30, optimiser="sgd", schedule="constant"))


def test_loss_weights():
    counts = np.array([10, 0, 40, 50, 0, 0, 0])
    assert recipe.loss_weights(counts, 0.0).tolist() == pytest.approx([1, 0, 1, 1, 0, 0, 0])
    weights = recipe.loss_weights(counts, 1.0).numpy()
    assert (weights * counts)[[0, 2, 3]] == pytest.approx([100 / 3] * 3, rel=1e-5)


def test_devices_and_budgets_are_checked():
    with pytest.raises(ValueError, match="choose auto, smoke, quick, full"):
        machine.pick_budget("fast")
    with pytest.raises(ValueError, match="choose auto, cpu or cuda"):
        machine.pick_device("gpu")
    assert machine.pick_budget("auto", torch.device("cpu")) == "quick"
    assert machine.pick_budget("auto", torch.device("cuda")) == "full"


def test_timing_the_precision_leaves_model_and_random_state_alone(sets):
    model = models.build("baseline")
    before, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    people = sets[0]
    assert machine.pick_precision("auto", model, people.images[:32], people.labels[:32]) in ("float32", "bfloat16")
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(state, torch.get_rng_state()) and all(p.grad is None for p in model.parameters())


def test_pooled_features_stand_in_for_images(sets):
    model = models.build("transfer", backbone="resnet18")
    people = sets[1]
    made = training.pooled_features(model, people)
    assert made.images.shape == (70, 512, 1, 1) and list(made.names) == list(people.names)
    with torch.inference_mode():
        direct = model.eval()(model.preprocess(people.images[:4]))
        assert torch.allclose(model.head(made.images[:4].flatten(1)), direct, atol=1e-4)
    flipped = people.select(range(4))
    flipped = replace(flipped, images=flipped.images.flip(-1))
    other = training.pooled_features(model, flipped, mirrored=True)
    assert torch.allclose(other.images, made.images[:4], atol=1e-5)
