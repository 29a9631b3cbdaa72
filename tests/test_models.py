"""Networks, their files, and where ImageNet's weights come from."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from fer_helpers import models, networks
from fer_helpers.faces import EMOTIONS
from fer_helpers.transfer import weights


def test_the_baseline_has_the_weights_that_are_told():
    model = models.build("baseline")
    assert models.weight_count(model) == 1_145_351
    assert model(model.preprocess(torch.zeros(2, 48, 48, dtype=torch.uint8))).shape == (2, 7)


def test_dropout_silences_its_share_and_keeps_the_sum():
    torch.manual_seed(0)
    maps = torch.ones(64, 32, 24, 23).to(memory_format=torch.channels_last).requires_grad_()
    layer = networks.Dropout(0.25).train()
    out = layer(maps)
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.002)
    assert out[out != 0].unique().tolist() == pytest.approx([4 / 3])
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    assert torch.equal(maps.grad, out.detach()), "what was silenced learns nothing"
    units = (out.detach() == 0).float().mean(dim=(0, 2, 3))
    assert units.std() < 0.01, "no channel is preferred"
    assert not torch.equal(out, layer(maps)) and torch.equal(layer.eval()(maps), maps)
    assert networks.Dropout(0.0)(maps) is maps
    torch.manual_seed(0)
    assert torch.equal(layer.train()(maps), out), "it follows torch's seed"


def test_pooling_before_relu_gives_what_relu_before_pooling_gives():
    model, maps = models.build("baseline").eval(), torch.randn(4, 1, 48, 48)
    usual = torch.nn.Sequential(*[model.stages[k] for k in (0, 2, 1, 3, 5, 4, 6, 8, 7)])
    assert torch.equal(model.stages(maps), usual(maps))


def test_the_small_cnn_has_the_weights_and_maps_that_are_told():
    model, shapes = models.build("small_cnn").eval(), []
    assert models.weight_count(model) == 1_165_159 < 1_200_000
    handle = model.cam_layer.register_forward_hook(lambda *given: shapes.append(tuple(given[2].shape)))
    out = model(model.preprocess(torch.zeros(2, 48, 48, dtype=torch.uint8)))
    handle.remove()
    assert out.shape == (2, 7) and shapes == [(2, 256, 6, 6)]


def test_squeeze_weighs_each_channel_by_what_all_means_say():
    layer, maps = networks.SqueezeExcitation(16), torch.randn(2, 16, 3, 3)
    out = layer(maps)
    weight = (out / maps)[:, :, 0, 0]
    assert torch.allclose(out, maps * weight[:, :, None, None], atol=1e-6) and ((weight > 0) & (weight < 1)).all()
    assert not torch.allclose(weight[0], weight[1])
    model = models.build("small_cnn", squeeze_excitation=True)
    assert model(torch.randn(2, 1, 48, 48)).shape == (2, 7) and isinstance(model.cam_layer, networks.SqueezeExcitation)


def test_an_ensemble_is_one_network_that_answers_with_its_members_mean(tmp_path):
    torch.manual_seed(0)
    ensemble, images = (
        models.build("ensemble", count=2, filters=(4, 4, 8, 8)).eval(),
        torch.randint(0, 256, (3, 48, 48)),
    )
    images, path = images.to(torch.uint8), tmp_path / "both.safetensors"
    apart = [models.probabilities(member.eval(), images) for member in ensemble.members]
    assert not torch.allclose(*apart), "two members are two networks"
    assert torch.allclose(models.probabilities(ensemble, images), sum(apart) / 2, atol=1e-6)
    models.save(ensemble, path)
    assert torch.equal(models.probabilities(models.load(path), images), models.probabilities(ensemble, images))
    with pytest.raises(ValueError, match="one of its members"):
        _ = ensemble.cam_layer


@torch.no_grad()
def test_an_answer_is_the_mean_over_one_two_or_ten_views(tmp_path):
    torch.manual_seed(0)
    model, path = models.build("baseline", filters=(4, 4, 4), hidden=8).eval(), tmp_path / "ten.safetensors"
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    faces, rows = model.preprocess(images), torch.arange(48)
    moved = [
        faces[:, :, (rows + down).clamp(0, 47)][..., (rows + right).clamp(0, 47)]
        for down, right in ((0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2))
    ]
    seen = {1: [faces], 2: [faces, faces.flip(-1)], 10: [*moved, *(view.flip(-1) for view in moved)]}
    expected = {views: torch.stack([model(each).softmax(1) for each in faces]).mean(0) for views, faces in seen.items()}
    for views, mean in expected.items():
        assert torch.allclose(models.probabilities(model, images, views), mean, atol=1e-7)
        assert all(other == views or not torch.allclose(mean, expected[other], atol=1e-5) for other in expected)
    assert torch.equal(models.probabilities(model, images), models.probabilities(model, images, 2)), "two unless told"
    models.save(model, path, views=10)
    assert torch.equal(models.probabilities(models.load(path), images), models.probabilities(model, images, 10))
    models.save(models.load(path), path)
    assert models.load(path).views == 10, "the file of a file says so too"
    with pytest.raises(ValueError, match="views is 3: choose 1, 2, 10"):
        models.probabilities(model, images, 3)


@pytest.mark.parametrize("backbone", ["resnet18", "vgg16"])
def test_transfer_networks_and_their_grad_cam_layer(backbone):
    model = models.build("transfer", backbone=backbone).eval()
    shapes = []
    handle = model.cam_layer.register_forward_hook(lambda *given: shapes.append(given[2].shape))
    out = model(model.preprocess(torch.zeros(1, 48, 48, dtype=torch.uint8)))
    handle.remove()
    assert out.shape == (1, 7) and shapes[0][2:] == (6, 6)


def test_a_model_file_gives_back_the_same_network(tmp_path):
    torch.manual_seed(3)
    model = models.build("baseline", dropout=0.1).eval()
    models.save(model, tmp_path / "m.safetensors", metrics={"test": {"accuracy": 0.5}})
    again = models.load(tmp_path / "m.safetensors")
    faces = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    assert torch.equal(model(model.preprocess(faces)), again(again.preprocess(faces)))
    assert again.card["metrics"]["test"]["accuracy"] == 0.5 and again.preprocess == model.preprocess
    assert tuple(again.card["emotions"]) == EMOTIONS and again.card["arguments"] == {"dropout": 0.1}
    models.save(model, tmp_path / "half.safetensors", half=True)
    half = models.load(tmp_path / "half.safetensors")
    assert next(half.parameters()).dtype == torch.float32
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "m.safetensors").stat().st_size
    assert np.allclose(half(half.preprocess(faces)).detach(), model(model.preprocess(faces)).detach(), atol=1e-2)


def test_bad_model_files_are_told_apart(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(FileNotFoundError, match="no model file"):
        models.load(path)
    models.save(models.build("baseline"), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        models.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        models.load(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not of this workbook"):
        models.load(path)
    card = {"architecture": "baseline", "arguments": {}, "emotions": EMOTIONS, "input": vars(models.Preprocess())}
    safetensors.torch.save_file(models.build("head").state_dict(), path, metadata={"fer": json.dumps(card)})
    with pytest.raises(ValueError, match="weights of another network than 'baseline'"):
        models.load(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata={"fer": json.dumps(card | {"architecture": "x"})})
    with pytest.raises(ValueError, match="no architecture 'x'"):
        models.load(path)
    mixed = json.dumps(card | {"emotions": EMOTIONS[::-1]})
    safetensors.torch.save_file(models.build("baseline").state_dict(), path, metadata={"fer": mixed})
    with pytest.raises(ValueError, match="names its outputs"):
        models.load(path)


def cache(monkeypatch, tmp_path, backbone="resnet18"):
    """The place where torchvision looks for a backbone's weights, in an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = Path(torchvision.models.get_model_weights(backbone).DEFAULT.url).name
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / file


def test_without_internet_the_sentence_names_file_and_folder(monkeypatch, tmp_path):
    place = cache(monkeypatch, tmp_path)

    def refused(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refused)
    with pytest.raises(ConnectionError) as caught:
        weights.pretrained("resnet18")
    assert place.name in str(caught.value) and str(place.parent) in str(caught.value)


def test_weights_in_the_cache_are_used(monkeypatch, tmp_path):
    place = cache(monkeypatch, tmp_path)
    torch.manual_seed(5)
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), place)
    model = weights.pretrained("resnet18")
    assert model.pretrained and model.recipe["arguments"]["pretrained"] is True
    assert torch.equal(model.features[0].weight, source.conv1.weight)
    assert torch.equal(model.features[7][1].bn2.running_var, source.layer4[1].bn2.running_var)


@pytest.mark.parametrize("backbone", ["resnet18", "vgg16"])
def test_one_summed_channel_sees_what_three_equal_ones_see(backbone):
    """Exactly, but near the border: there zeros stand for another grey."""
    torch.manual_seed(0)
    three = models.build("transfer", backbone=backbone, size=48)
    with torch.no_grad():
        for part in three.features.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.normal_()
    three.eval()
    one = models.build("transfer", backbone=backbone, size=48, channels=1).eval()
    part = copy.deepcopy(three.features)
    weights.summed(part)
    one.features.load_state_dict(part.state_dict())
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    seen = [net.features[:2](net.preprocess(images)) for net in (three, one)]
    assert torch.allclose(*(each[..., 2:-2, 2:-2] for each in seen), atol=1e-4)
    assert not torch.allclose(*seen, atol=1e-2)
    assert models.weight_count(three) > models.weight_count(one)


def test_pretrained_networks_may_take_one_channel(monkeypatch, tmp_path):
    place = cache(monkeypatch, tmp_path)
    torch.save(torchvision.models.resnet18().state_dict(), place)
    model = weights.pretrained("resnet18", channels=1)
    assert model.preprocess.channels == 1 and model.recipe["arguments"]["channels"] == 1
    models.save(model, tmp_path / "grey.safetensors")
    again = models.load(tmp_path / "grey.safetensors")
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    assert torch.allclose(models.probabilities(again, images), models.probabilities(model.eval(), images), atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_a_damaged_weights_file_is_refused(monkeypatch, tmp_path, content):
    place = cache(monkeypatch, tmp_path)
    if content is None:
        torch.save(torchvision.models.resnet18().state_dict(), place)
        content = place.read_bytes()[:100_000]
    place.write_bytes(content)
    with pytest.raises(ValueError, match="not a complete weights file") as caught:
        weights.pretrained("resnet18")
    assert str(place) in str(caught.value)


def test_weights_of_another_network_are_refused(monkeypatch, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, cache(monkeypatch, tmp_path))
    with pytest.raises(ValueError, match="other weights than"):
        weights.pretrained("resnet18")


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="choose one of baseline"):
        models.build("resnet")
    with pytest.raises(ValueError, match="choose resnet18 or vgg16"):
        models.build("transfer", backbone="resnet50")
