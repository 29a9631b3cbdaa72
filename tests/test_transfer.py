"""Where ImageNet's weights come from, and training the unfrozen end of a network whose rest is frozen."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from fer_helpers import augment, models, settings, training
from fer_helpers.data import synthetic
from fer_helpers.transfer import frozen, weights


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def sets():
    """Train and val of few synthetic faces."""
    people = synthetic.draw(200)
    return people.part("train").select(range(64)), people.part("val")


@pytest.fixture
def place(monkeypatch, tmp_path):
    """Where torchvision looks for ResNet18's weights, in an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name


def test_without_internet_the_sentence_names_file_and_folder(monkeypatch, place):
    def refused(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refused)
    with pytest.raises(ConnectionError) as caught:
        weights.pretrained("resnet18")
    assert place.name in str(caught.value) and str(place.parent) in str(caught.value)


@pytest.mark.parametrize("channels", [3, 1])
def test_weights_in_the_cache_are_used(place, channels):
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), place)
    model = weights.pretrained("resnet18", channels=channels)
    expected = {"backbone": "resnet18", "size": 48, "channels": channels, "pretrained": True}
    assert model.pretrained and model.recipe["arguments"] == expected and model.preprocess.channels == channels
    assert torch.equal(model.features[0].weight, source.conv1.weight) == (channels == 3)
    assert torch.equal(model.features[7][1].bn2.running_var, source.layer4[1].bn2.running_var)


@pytest.mark.parametrize("backbone", ["resnet18", "vgg16"])
def test_one_summed_channel_sees_what_three_equal_ones_see(backbone):
    """Exactly, but near the border: there zeros stand for another grey."""
    three = models.build("transfer", backbone=backbone).eval()
    with torch.no_grad():
        for part in three.features.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.normal_()
    one = models.build("transfer", backbone=backbone, channels=1).eval()
    part = copy.deepcopy(three.features)
    weights.summed(part)
    one.features.load_state_dict(part.state_dict())
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    seen = [net.features[:2](net.preprocess(images)) for net in (three, one)]
    assert torch.allclose(*(each[..., 2:-2, 2:-2] for each in seen), atol=1e-4)
    assert not torch.allclose(*seen, atol=1e-2)
    assert models.weight_count(three) > models.weight_count(one)


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_a_damaged_weights_file_is_refused(place, content):
    if content is None:
        torch.save(torchvision.models.resnet18().state_dict(), place)
        content = place.read_bytes()[:100_000]
    place.write_bytes(content)
    with pytest.raises(ValueError, match="not a complete weights file") as caught:
        weights.pretrained("resnet18")
    assert str(place) in str(caught.value)


def test_weights_of_another_network_are_refused(place):
    torch.save({"conv1.weight": torch.zeros(1)}, place)
    with pytest.raises(ValueError, match="other weights than"):
        weights.pretrained("resnet18")


@pytest.mark.parametrize(
    ("backbone", "count", "shape"),
    [("resnet18", 0, (512, 1, 1)), ("resnet18", 1, (256, 3, 3)), ("vgg16", 1, (512, 3, 3))],
)
def test_stored_maps_stand_in_for_images(sets, backbone, count, shape):
    model, people = models.build("transfer", backbone=backbone).unfreeze(count), sets[1].select(range(6))
    stored = frozen.stored_maps(model, people)
    assert stored.images.shape == (6, *shape) and stored.images.dtype == torch.float16
    assert list(stored.names) == list(people.names) and torch.equal(stored.labels, people.labels)
    head = models.build("head", backbone=backbone, count=count).share(model).eval()
    with torch.inference_mode():
        direct = model.eval()(model.preprocess(people.images))
        assert torch.allclose(head(head.preprocess(stored.images)), direct, atol=1e-2), "but for rounding to float16"
    flipped = frozen.stored_maps(model, people, augment=lambda faces, *_: faces.flip(-1))
    mirrored = frozen.stored_maps(model, replace(people, images=people.images.flip(-1)))
    assert torch.allclose(flipped.images.float(), mirrored.images.float(), atol=1e-2)


def trained(sets, count, passes=2):
    """A network, the names of the weights and statistics that changed, and what train_unfrozen gave.

    passes 0: the whole network is trained by fit.
    """
    model = models.build("transfer").unfreeze(count)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cfg = settings.TrainConfig(epochs=2, precision="float32", augment=augment.Augment())
    if passes:
        result = frozen.train_unfrozen(model, *sets, cfg, passes=passes)
    else:
        result = training.fit(model, *sets, replace(cfg, epochs=1))
    return model, {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}, result


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_unfrozen_learns_and_nothing_else(sets, count):
    model, changed, (fit, stored) = trained(sets, count)
    parts = {".".join(name.split(".")[:2]) for name in changed}
    assert parts == {"head.weight", "head.bias", *["features.7"] * count}
    assert stored == 2 and fit.history[-1]["epoch"] == 2
    with torch.inference_mode():
        plain = model.eval()(model.preprocess(sets[1].images)).argmax(1)
    right = (plain == sets[1].labels).float().mean().item()
    assert fit.kept["val_accuracy"] == pytest.approx(right, abs=0.03), "as the whole network would, without mirroring"


def test_little_memory_takes_fewer_passes_or_none(sets, monkeypatch):
    """A face's 512 features take 1,024 bytes."""
    memory = 4 * 1024 * len(sets[0])  # a quarter of it may be taken
    monkeypatch.setattr(frozen.devices, "memory", lambda device: memory)
    assert trained(sets, 0)[2][1] == 1
    monkeypatch.setattr(frozen.devices, "memory", lambda device: memory - 4)
    _, changed, (_, stored) = trained(sets, 0)
    assert stored == 0 and changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize(("count", "first"), [(0, 8), (1, 7), (5, 0)])
def test_frozen_layers_stay_frozen_batch_norm_too(sets, count, first):
    """first: of the features that may move; weights, and means and variances of batch norm."""
    model, changed, _ = trained(sets, count, passes=0)
    moving = {name for name in model.state_dict() if name.startswith("head") or int(name.split(".")[1]) >= first}
    assert changed <= moving
    assert {name for name in moving if "running_mean" in name or name.startswith("head")} <= changed
