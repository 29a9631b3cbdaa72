"""Training the open end of a network whose rest is frozen: every face passes the frozen part once."""

import time
from dataclasses import replace

import torch

from fer_helpers import devices, models, training
from fer_helpers.faces import Faces, batches


@torch.inference_mode()
def stored_maps(model, people: Faces, count: int, *, change=None, seed: int = 0, precision: str = "float32") -> Faces:
    """The faces with what a frozen Transfer's trunk makes of them, (N, C, h, w) float16, in place of their images.

    count: stages that will learn, see Transfer.trunk. change: an augmentation, for a further view to learn from.
    """
    training.refuse_test(people)
    model.eval()
    device = people.images.device
    draws, parts = torch.Generator(device).manual_seed(seed), []
    for images, labels in batches(people, 256):
        faces = model.preprocess(images).contiguous(memory_format=torch.channels_last)
        faces = change(faces, draws, labels) if change else faces
        with devices.numbers(precision, device):
            parts.append(model.trunk(faces, count).half())
    return replace(people, images=torch.cat(parts))


@devices.short_of_memory()
def train_unfrozen(model, train: Faces, val: Faces, cfg, count: int, *, views, checkpoint=None, most_bytes=4e9):
    """Train the head and the last `count` stages of a Transfer, in place; the rest stays frozen, batch norm too.

    views: augmentations, or None for the face as it is; each gives every face once more to learn from. A face passes
    the frozen part once a view, and what comes out is kept; where that would take more than `most_bytes`, there are
    fewer views, and where not even one fits, every epoch passes the whole network.
    returns: the fit, whose seconds hold the passing, and the number of views (0: nothing was stored).
    """
    start = time.perf_counter()
    device = train.images.device
    model.unfreeze(count).to(device)
    sample = train.images[: cfg.batch_size], train.labels[: cfg.batch_size]
    precision = devices.pick_precision(cfg.precision, model, *sample)
    face = stored_maps(model, train.select(range(1)), count).images
    fits = int(most_bytes // (face.numel() * face.element_size() * len(train)))
    views = list(views)[:fits]
    if not views:
        return training.fit(model, train, val, replace(cfg, precision=precision), checkpoint=checkpoint), 0
    how = {"precision": precision}
    seen = [stored_maps(model, train, count, change=view, seed=cfg.seed + k, **how) for k, view in enumerate(views)]
    together = seen.pop(0)
    while seen:
        together = together.join(seen.pop(0))
    features = stored_maps(model, val, count, **how)
    passing = time.perf_counter() - start  # part of what this way costs
    top = models.build("head", backbone=model.backbone, count=count).take(model)
    fit = training.fit(top, together, features, cfg, checkpoint=checkpoint)
    top.give(model)
    return replace(fit, seconds=fit.seconds + passing), len(views)
