"""Grad-CAM: which places of a face speak for an emotion. Hooks in, heat map out, hooks gone.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (2017).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn


@contextmanager
def watched(model: nn.Module, layer: nn.Module) -> Iterator[dict]:
    """Yield a dict that will hold the layer's output as `maps`; hooks and modes go back, also after an error."""
    kept, modes = {}, [(part, part.training) for part in model.modules()]

    def keep(_module, _inputs, maps):  # maps: (N, C, h, w)
        kept["maps"] = maps if maps.requires_grad else maps.requires_grad_()
        return maps.clone()  # a later in-place ReLU must not change what was kept

    handle = layer.register_forward_hook(keep)
    model.eval()
    try:
        yield kept
    finally:
        handle.remove()
        for part, was_training in modes:
            part.training = was_training


def grad_cam(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, *, layer: nn.Module | None = None):
    """Heat maps of a batch: channel maps weighted by the mean gradient of the target's logit, negative parts cut off.

    images: (N, 48, 48) uint8 on the model's device. targets: (N,) int64, the emotion asked about.
    layer: whose maps are looked at; the model's own `cam_layer` unless named.
    returns: (N, 48, 48) float32 on the CPU, each map scaled to a largest value of 1 (an empty map stays 0).
    """
    with watched(model, layer or model.cam_layer) as kept, torch.enable_grad():
        logits = model(model.preprocess(images))  # (N, 7)
        asked = logits.gather(1, targets[:, None]).sum()  # faces don't touch each other: one gradient serves all
        (gradient,) = torch.autograd.grad(asked, kept["maps"])
        maps = kept["maps"].detach()
    channel = gradient.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    heat = F.relu((channel * maps).sum(dim=1, keepdim=True))  # (N, 1, h, w)
    heat = F.interpolate(heat.float(), size=images.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
    peak = heat.amax(dim=(1, 2), keepdim=True)
    return (heat / peak.clamp_min(1e-12)).cpu()
