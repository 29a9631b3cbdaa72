"""Grad-CAM: which places of a face speak for an emotion. Hooks in, heat map out, hooks gone.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (2017).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """The network in eval mode; every part's own mode goes back, also after an error."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, was_training in modes:
            part.training = was_training


@contextmanager
def watched(model: nn.Module, layer: nn.Module) -> Iterator[dict]:
    """Yield a dict that will hold the layer's output as `maps`; hooks and modes go back, also after an error."""
    kept = {}

    def keep(_module, _inputs, maps):  # maps: (N, C, h, w)
        kept["maps"] = maps if maps.requires_grad else maps.requires_grad_()
        return maps.clone()  # a later in-place ReLU must not change what was kept

    with layer.register_forward_hook(keep), evaluated(model):
        yield kept


def coarse_maps(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, *, layer: nn.Module | None = None):
    """Heat maps of a batch on the layer's own grid, unscaled: (N, h, w) float32 on the model's device; see grad_cam."""
    with watched(model, layer or model.cam_layer) as kept, torch.enable_grad():
        logits = model(model.preprocess(images))  # (N, 7)
        asked = logits.gather(1, targets[:, None]).sum()  # faces don't touch each other: one gradient serves all
        (gradient,) = torch.autograd.grad(asked, kept["maps"])
    return F.relu((gradient.mean(dim=(2, 3), keepdim=True) * kept["maps"].detach()).sum(dim=1)).float()


def enlarged(heats: torch.Tensor, side: int) -> torch.Tensor:
    """(N, h, w) heat maps, bilinearly enlarged to (N, side, side), each scaled to a peak of 1; an empty one stays 0."""
    heats = F.interpolate(heats[:, None], size=(side, side), mode="bilinear", align_corners=False).squeeze(1)
    return heats / heats.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


def grad_cam(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, *, layer: nn.Module | None = None):
    """Heat maps of a batch: channel maps weighted by the mean gradient of the target's logit, negative parts cut off.

    images: (N, 48, 48) uint8 on the model's device. targets: (N,) int64. layer: None for the model's `cam_layer`.
    returns: (N, 48, 48) float32 on the CPU, each map scaled to a peak of 1 (an empty map stays 0).
    """
    return enlarged(coarse_maps(model, images, targets, layer=layer), images.shape[-1]).cpu()


def many(model: nn.Module, images: torch.Tensor, targets, *, layer=None, batch_size: int = 256) -> np.ndarray:
    """grad_cam of any number of faces, batch by batch. targets: (N,) int array. returns: (N, 48, 48) float32."""
    targets = torch.as_tensor(targets, device=images.device)
    pairs = zip(images.split(batch_size), targets.split(batch_size), strict=True)
    return torch.cat([grad_cam(model, *pair, layer=layer) for pair in pairs]).numpy()


def last_layer(model: nn.Module, image: torch.Tensor, least: int) -> nn.Module:
    """The last layer whose maps are at least so many pixels wide. image: (1, 48, 48) uint8 on the model's device."""
    wide = []

    def look(part, _inputs, maps):
        if maps.ndim == 4 and min(maps.shape[2:]) >= least:
            wide.append(part)

    with ExitStack() as hooks, evaluated(model), torch.no_grad():
        for part in model.modules():
            if not list(part.children()):
                hooks.enter_context(part.register_forward_hook(look))
        model(model.preprocess(image))
    if not wide:
        raise ValueError(f"No layer of this network has maps of {least}×{least}.")
    return wide[-1]
