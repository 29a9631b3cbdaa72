"""Grad-CAM: equal to captum's, and everything borrowed goes back."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam

from fer_helpers import models
from fer_helpers.explain.grad_cam import grad_cam, many, watched

IMAGES = torch.randint(0, 256, (5, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 3, 6, 2, 3])


def made(architecture, **arguments):
    return models.build(architecture, **arguments).eval()


@pytest.mark.parametrize("name", ["baseline", "small_cnn", "resnet18", "vgg16"])
def test_equal_to_captum(name):
    model = made(name) if name in models.ARCHITECTURES else made("transfer", backbone=name)
    how = {"relu_attributions": True, "attribute_to_layer_input": False}
    theirs = LayerGradCam(model, model.cam_layer).attribute(model.preprocess(IMAGES), TARGETS, **how)
    theirs = F.interpolate(theirs.detach(), size=(48, 48), mode="bilinear", align_corners=False)[:, 0]
    theirs = theirs / theirs.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    ours = grad_cam(model, IMAGES, TARGETS)
    assert ours.amax() == 1 and torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("name", "batch_size"), [("baseline", 1), ("small_cnn", 3)])
def test_a_batch_gives_what_single_faces_or_smaller_batches_give(name, batch_size):
    model = made(name)
    together = grad_cam(model, IMAGES, TARGETS)
    assert torch.allclose(torch.from_numpy(many(model, IMAGES, TARGETS, batch_size=batch_size)), together, atol=1e-5)


def test_targets_stay_on_the_device_of_the_faces(monkeypatch):
    asked = []
    taken = lambda model, images, targets, **_: asked.append(targets.device.type) or torch.zeros(len(images), 48, 48)  # noqa: E731
    monkeypatch.setattr("fer_helpers.explain.grad_cam.grad_cam", taken)
    for targets in (TARGETS.to("meta"), TARGETS.numpy()):  # meta stands for CUDA: NumPy can't read it either
        many(None, IMAGES.to("meta"), targets)
    assert asked == ["meta", "meta"]


def test_hooks_modes_and_gradients_go_back_even_after_an_error():
    model = made("baseline").train()
    model.head[1].eval()
    modes = [part.training for part in model.modules()]
    with pytest.raises(RuntimeError, match="in the middle"), watched(model, model.cam_layer):
        assert not model.training
        raise RuntimeError("in the middle")
    grad_cam(model, IMAGES, TARGETS)
    assert [part.training for part in model.modules()] == modes
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_frozen_networks_have_maps_too():
    model = made("baseline").requires_grad_(False)
    frozen = grad_cam(model, IMAGES, TARGETS)
    assert torch.allclose(frozen, grad_cam(model.requires_grad_(True), IMAGES, TARGETS), atol=1e-6)
