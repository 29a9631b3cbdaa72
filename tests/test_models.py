"""Networks, what they answer, and their files."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from fer_helpers import models, networks
from fer_helpers.faces import EMOTIONS


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("architecture", "arguments", "count", "maps"),
    [
        ("baseline", {}, 1_145_351, (128, 8, 8)),
        ("small_cnn", {}, 1_165_159, (256, 6, 6)),
        ("transfer", {"backbone": "resnet18"}, None, (128, 6, 6)),
        ("transfer", {"backbone": "vgg16"}, None, (512, 6, 6)),
    ],
)
def test_networks_have_the_weights_and_the_maps_that_are_documented(architecture, arguments, count, maps, images):
    model, shapes = models.build(architecture, **arguments).eval(), []
    assert count in (None, models.weight_count(model))
    model.cam_layer.register_forward_hook(lambda *given: shapes.append(tuple(given[2].shape)))
    assert model(model.preprocess(images)).shape == (3, 7) and shapes == [(3, *maps)]


def test_dropout_silences_its_share_and_keeps_the_sum():
    maps = torch.ones(64, 32, 24, 23).to(memory_format=torch.channels_last).requires_grad_()
    layer = networks.Dropout(0.25).train()
    out = layer(maps)
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.002)
    assert out[out != 0].unique().tolist() == pytest.approx([4 / 3])
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    assert torch.equal(maps.grad, out.detach()), "what was silenced learns nothing"
    assert (out.detach() == 0).float().mean(dim=(0, 2, 3)).std() < 0.01, "no channel is preferred"
    assert not torch.equal(out, layer(maps)) and torch.equal(layer.eval()(maps), maps)
    assert networks.Dropout(0.0)(maps) is maps
    torch.manual_seed(0)
    assert torch.equal(layer.train()(maps), out), "it follows torch's seed"


def test_pooling_before_relu_gives_what_relu_before_pooling_gives():
    model, maps = models.build("baseline").eval(), torch.randn(4, 1, 48, 48)
    usual = torch.nn.Sequential(*[model.stages[k] for k in (0, 2, 1, 3, 5, 4, 6, 8, 7)])
    assert torch.equal(model.stages(maps), usual(maps))


def test_an_ensemble_is_one_network_that_answers_with_its_members_mean(tmp_path, images):
    ensemble, path = models.build("ensemble", count=2, filters=(4, 4, 8, 8)).eval(), tmp_path / "both.safetensors"
    apart = [models.probabilities(member.eval(), images) for member in ensemble.members]
    assert not torch.allclose(*apart), "two members are two networks"
    assert torch.allclose(models.probabilities(ensemble, images), sum(apart) / 2, atol=1e-6)
    models.save(ensemble, path)
    assert torch.equal(models.probabilities(models.load(path), images), models.probabilities(ensemble, images))
    with pytest.raises(ValueError, match="one of its members"):
        _ = ensemble.cam_layer


@torch.no_grad()
def test_an_answer_is_the_mean_over_one_two_or_ten_views(tmp_path, images):
    model, path = models.build("baseline", filters=(4, 4, 4), hidden=8).eval(), tmp_path / "ten.safetensors"
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
    assert torch.equal(models.probabilities(model, images), models.probabilities(model, images, 2)), "two by default"
    models.save(model, path, views=10)
    assert torch.equal(models.probabilities(models.load(path), images), models.probabilities(model, images, 10))
    models.save(models.load(path), path)
    assert models.load(path).views == 10, "the file of a file says so too"
    with pytest.raises(ValueError, match="views is 3: choose 1, 2, 10"):
        models.probabilities(model, images, 3)


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("baseline", {"dropout": 0.1}), ("transfer", {"backbone": "resnet18", "pretrained": True})],
)
def test_a_model_file_gives_back_the_same_network(tmp_path, images, architecture, arguments):
    model, path = models.build(architecture, **arguments).eval(), tmp_path / "m.safetensors"
    models.save(model, path, metrics={"test": {"accuracy": 0.5}})
    again = models.load(path)
    assert torch.equal(models.probabilities(model, images), models.probabilities(again, images))
    assert again.card["metrics"]["test"]["accuracy"] == 0.5 and again.preprocess == model.preprocess
    assert tuple(again.card["emotions"]) == EMOTIONS and again.card["arguments"] == arguments
    models.save(model, tmp_path / "half.safetensors", half=True)
    half = models.load(tmp_path / "half.safetensors")
    assert next(half.parameters()).dtype == torch.float32
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * path.stat().st_size
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode, "others may read it where they may read a result"
    answers = [net(net.preprocess(images)).detach() for net in (half, model)]
    assert np.allclose(*answers, atol=1e-2)


FOREIGN = {
    "the pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "a file of torch.save": b"PK\3\4" + b"\0" * 99,
    "a file of torch.save; this workbook reads its own": b"\x80\2}q\0.",
    "a file of Keras": b"\x89HDF\r\n",
    "a web page": b"<!DOCTYPE html>",
    "not a whole safetensors file": b"",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_another_kind_are_named(tmp_path, kind):
    path = tmp_path / "best.pth"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(ValueError, match=rf"best\.pth is {kind}"):
        models.load(path)


def test_bad_model_files_are_told_apart(tmp_path):
    path, network = tmp_path / "m.safetensors", models.build("baseline", filters=(4, 4, 4), hidden=8)
    with pytest.raises(FileNotFoundError, match="no model file"):
        models.load(path)
    models.save(network, path)
    whole, card = path.read_bytes(), models.read_card(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        models.load(path)
    for weights, other, message in (
        (network.state_dict(), None, "not of this workbook"),
        ({"a": torch.zeros(1)}, {}, "weights of another network than 'baseline'"),
        ({"a": torch.zeros(1)}, {"architecture": "x"}, "no architecture 'x'"),
        (network.state_dict(), {"emotions": EMOTIONS[::-1]}, r"names its outputs .*\]: train it again"),
        (network.state_dict(), {"emotions": ["happy", "sad"]}, 'use it with EMOTIONS="happy sad" '),
        (network.state_dict(), {"emotions": None}, "names its outputs"),
        (network.state_dict(), {"arguments": {"width": 3}}, "damaged card, .*width"),
        (network.state_dict(), {"input": 7}, "damaged card, or one of another"),
        (network.state_dict(), "{}", "it lacks architecture, arguments, emotions, input, views"),
        (network.state_dict(), "[1]", "has a damaged card: train"),
        (network.state_dict(), "{", "has a damaged card: train"),
    ):
        text = other if isinstance(other, str) else json.dumps(card | (other or {}))
        metadata = None if other is None else {"fer": text}
        safetensors.torch.save_file(weights, path, metadata=metadata)
        with pytest.raises(ValueError, match=message):
            models.load(path)


def test_an_unknown_architecture_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="choose one of baseline, small_cnn, ensemble, transfer"):
        models.build("resnet")
