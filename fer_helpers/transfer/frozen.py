"""Training the unfrozen end of a network whose rest is frozen: every face passes the frozen part once."""

import os
import time
from dataclasses import replace

import torch

from fer_helpers import devices, training
from fer_helpers.faces import Faces
from fer_helpers.settings import TrainConfig
from fer_helpers.transfer.backbones import Head


@torch.inference_mode()
def stored_maps(model, people: Faces, *, augment=None, seed: int = 0, precision: str = "float32") -> Faces:
    """The faces with what the frozen part of a Transfer makes of them, (N, C, h, w) float16, in place of their images.

    augment: for a further view to train on, which `seed` fixes.
    """
    training.refuse_test(people)
    model.eval()
    device = people.images.device
    draws, parts = torch.Generator(device).manual_seed(seed), []
    for images, labels in zip(people.images.split(256), people.labels.split(256), strict=True):
        faces = model.preprocess(images).contiguous(memory_format=torch.channels_last)
        faces = augment(faces, draws, labels) if augment else faces
        with devices.numbers(precision, device):
            parts.append(model.frozen_maps(faces).half())
    return replace(people, images=torch.cat(parts))


def memory(device: torch.device) -> int:
    """Bytes of memory that the device has, free or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else int(8e9)  # Windows


@devices.short_of_memory()
def train_unfrozen(model, train: Faces, val: Faces, cfg: TrainConfig, *, passes: int, checkpoint=None):
    """Train in place what Transfer.unfreeze left free to move; the rest stays frozen, batch norm too.

    passes: through the frozen part for each training face, the first as it is, the others changed by cfg.augment. The
    maps are kept, and give every face so many views. Where they would take more than a quarter of the device's memory
    there are fewer passes, and where not even one fits, every epoch passes the whole network.
    returns: the fit, whose seconds hold the passing, and the number of passes (0: nothing was stored).
    """
    start, device = time.perf_counter(), train.images.device
    model.to(device)
    maps = stored_maps(model, train.select(range(1))).images
    stored = min(passes, memory(device) // (4 * maps.numel() * maps.element_size() * len(train)))
    if not stored:
        cfg = replace(cfg, augment=cfg.augment if passes > 1 else None)
        return training.fit(model, train, val, cfg, checkpoint=checkpoint), 0
    how = {"precision": devices.pick_precision(cfg.precision, device)}
    together = stored_maps(model, train, **how)
    for k in range(stored - 1):
        seed = cfg.seed + 1 + 1000 * k  # no two views of one seed or of the next are alike
        together = together.join(stored_maps(model, train, augment=cfg.augment, seed=seed, **how))
    features = stored_maps(model, val, **how)
    passing = time.perf_counter() - start  # part of what frozen layers cost
    fit = training.fit(Head(model), together, features, replace(cfg, augment=None), checkpoint=checkpoint)
    seconds = fit.seconds + passing
    return replace(fit, seconds=seconds, images_per_second=fit.images_per_second * fit.seconds / seconds), stored
