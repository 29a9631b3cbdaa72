"""Training the open end of a network whose rest is frozen."""

from dataclasses import replace

import pytest
import torch

from fer_helpers import augment, models, settings, training
from fer_helpers.data import synthetic
from fer_helpers.transfer import frozen


@pytest.fixture(scope="module")
def sets():
    """Train and val of few synthetic faces."""
    people = synthetic.draw(200)
    return people.part("train").select(range(64)), people.part("val")


@pytest.mark.parametrize(
    ("backbone", "count", "shape"),
    [("resnet18", 0, (512, 1, 1)), ("resnet18", 1, (256, 3, 3)), ("vgg16", 1, (512, 3, 3))],
)
def test_stored_maps_stand_in_for_images(sets, backbone, count, shape):
    model, people = models.build("transfer", backbone=backbone).unfreeze(count), sets[1].select(range(6))
    made = frozen.stored_maps(model, people)
    assert made.images.shape == (6, *shape) and made.images.dtype == torch.float16
    assert list(made.names) == list(people.names) and torch.equal(made.labels, people.labels)
    top = models.build("head", backbone=backbone, count=count).share(model).eval()
    with torch.inference_mode():
        direct = model.eval()(model.preprocess(people.images))
        assert torch.allclose(top(top.preprocess(made.images)), direct, atol=1e-2), "but for the rounding to float16"
    flipped = frozen.stored_maps(model, people, augment=lambda faces, *_: faces.flip(-1))
    mirrored = frozen.stored_maps(model, replace(people, images=people.images.flip(-1)))
    assert torch.allclose(flipped.images.float(), mirrored.images.float(), atol=1e-2)


def unfrozen(sets, count, passes=2):
    """A network, its weights before, and what train_unfrozen gave."""
    torch.manual_seed(0)
    model = models.build("transfer").unfreeze(count)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cfg = settings.TrainConfig(epochs=2, precision="float32", augment=augment.Augment())
    return model, before, frozen.train_unfrozen(model, *sets, cfg, passes=passes)


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_unfrozen_learns_and_nothing_else(sets, count):
    model, before, (fit, passes) = unfrozen(sets, count)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    parts = {".".join(name.split(".")[:2]) for name in changed}
    assert parts == {"head.weight", "head.bias", *["features.7"] * count} and passes == 2
    with torch.inference_mode():
        answers = training.predict_proba(model, sets[1]).argmax(axis=1)
    assert fit.history[-1]["epoch"] == 2 and len(answers) == len(sets[1])


def test_little_memory_takes_fewer_passes_or_none(sets, monkeypatch):
    """A face's 512 features take 1,024 bytes."""
    memory = 4 * 1024 * len(sets[0])  # a quarter of it may be taken
    monkeypatch.setattr(frozen.devices, "memory", lambda device: memory)
    assert unfrozen(sets, 0)[2][1] == 1
    monkeypatch.setattr(frozen.devices, "memory", lambda device: memory - 4)
    model, before, (_, passes) = unfrozen(sets, 0)
    stays = [name for name in before if name.startswith("features")]
    assert passes == 0 and all(torch.equal(model.state_dict()[name], before[name]) for name in stays)
    assert not torch.equal(model.head.weight, before["head.weight"])


def test_val_is_scored_as_the_whole_network_would_without_its_mirror_image(sets):
    model, _, (fit, _) = unfrozen(sets, 1, passes=1)
    val = sets[1]
    with torch.inference_mode():
        plain = model.eval()(model.preprocess(val.images)).argmax(1)
    assert fit.kept["val_accuracy"] == pytest.approx((plain == val.labels).float().mean().item(), abs=0.03)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_frozen_layers_stay_frozen_batch_norm_too(sets, count):
    train, val = sets
    torch.manual_seed(0)
    model = models.build("transfer").unfreeze(count)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training.fit(
        model, train.select(range(64)), val, settings.TrainConfig(epochs=1, precision="float32"), log=lambda line: None
    )
    after = model.state_dict()
    stays = [
        name for name in before if name.startswith("features") and int(name.split(".")[1]) < (8, 7, 7, 6, 5, 0)[count]
    ]
    assert all(torch.equal(before[name], after[name]) for name in stays), (
        "weights, and means and variances of batch norm"
    )
    moved = [name for name in before if name not in stays and "running_mean" in name]
    assert not any(torch.equal(before[name], after[name]) for name in moved) and (moved or not count)
    assert not torch.equal(before["head.weight"], after["head.weight"])
