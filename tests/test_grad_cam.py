"""Grad-CAM: equal to captum's, and everything borrowed goes back."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam

from fer_helpers import models
from fer_helpers.explain.grad_cam import grad_cam, watched

NETWORKS = [
    ("baseline", {}),
    ("small_cnn", {}),
    ("transfer", {"backbone": "resnet18"}),
    ("transfer", {"backbone": "vgg16"}),
]


def made(architecture, arguments):
    torch.manual_seed(0)
    return models.build(architecture, **arguments).eval()


@pytest.mark.parametrize(("architecture", "arguments"), NETWORKS, ids=["baseline", "small_cnn", "resnet18", "vgg16"])
def test_equal_to_captum(architecture, arguments):
    model = made(architecture, arguments)
    images = torch.randint(0, 256, (5, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 3, 6, 2, 3])
    ours = grad_cam(model, images, targets)
    theirs = LayerGradCam(model, model.cam_layer).attribute(
        model.preprocess(images), targets, relu_attributions=True, attribute_to_layer_input=False
    )
    theirs = F.interpolate(theirs.detach(), size=(48, 48), mode="bilinear", align_corners=False)[:, 0]
    theirs = theirs / theirs.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    assert ours.amax() == 1 and torch.allclose(ours, theirs, atol=1e-5)


def test_a_batch_gives_what_single_faces_give():
    model = made("baseline", {})
    images = torch.randint(0, 256, (4, 48, 48), dtype=torch.uint8)
    targets = torch.tensor([1, 2, 3, 4])
    together = grad_cam(model, images, targets)
    alone = torch.cat([grad_cam(model, images[k : k + 1], targets[k : k + 1]) for k in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_hooks_modes_and_gradients_go_back_even_after_an_error():
    model = made("baseline", {}).train()
    model.head[1].eval()
    modes = [part.training for part in model.modules()]
    with pytest.raises(RuntimeError, match="in the middle"), watched(model, model.cam_layer):
        assert not model.training
        raise RuntimeError("in the middle")
    grad_cam(model, torch.zeros(1, 48, 48, dtype=torch.uint8), torch.tensor([0]))
    assert [part.training for part in model.modules()] == modes
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_frozen_networks_have_maps_too():
    model = made("baseline", {}).requires_grad_(False)
    images, targets = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8), torch.tensor([0, 1])
    frozen = grad_cam(model, images, targets)
    assert torch.allclose(frozen, grad_cam(model.requires_grad_(True), images, targets), atol=1e-6)
