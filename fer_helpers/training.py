"""One training loop for every network of the workbook, and the only door to the test faces."""

import math
import time
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer_helpers import checkpoints, machine, models, paths, recipe
from fer_helpers.faces import Faces, batches
from fer_helpers.recipe import TrainConfig


@dataclass
class Fit:
    """What a training gave.

    history: a dict an epoch. kept: the row of the epoch whose weights the model has. seconds: of all epochs.
    images_per_second: training faces, validation included in the time.
    """

    history: list
    kept: dict
    seconds: float
    images_per_second: float
    precision: str


def seed_everything(seed: int) -> None:
    """Fix torch's random numbers on every device; nothing in the workbook draws from another global state."""
    torch.manual_seed(seed)


@machine.short_of_memory()
def fit(
    model, train: Faces, val: Faces, cfg: TrainConfig, *, augment=None, teacher=None, checkpoint=None, log=print
) -> Fit:
    """Train in place; the model ends with the weights of the epoch that cfg.keep names.

    train, val: faces on the device to train on; test faces are refused.
    augment: (B, C, H, W) normalised faces, a generator and the labels -> changed faces.
    teacher: a network with the same preprocessing, whose answers are learnt beside the labels (see cfg.teaching).
    checkpoint: a file, written after every epoch, from which an interrupted training of the same settings, code
    and faces goes on; a finished one is not repeated.
    """
    refuse_test(train, val)
    device = train.images.device
    machine.keep_memory()
    model.to(device, memory_format=torch.channels_last)
    teacher = recipe.ready(teacher, model, cfg, device)
    keeper = checkpoints.Keeper(checkpoint, checkpoints.key(model, train, val, cfg, augment, teacher), log)
    sample = train.images[: cfg.batch_size], train.labels[: cfg.batch_size]
    precision = keeper.saved.get("precision") or machine.pick_precision(cfg.precision, model, *sample)
    seed_everything(cfg.seed)
    order, draws = (torch.Generator(where).manual_seed(cfg.seed) for where in ("cpu", device))
    optimiser = recipe.make_optimiser(model, cfg)
    steps = math.ceil(len(train) / cfg.batch_size)
    schedule = recipe.make_schedule(optimiser, cfg, steps)
    loss_of = recipe.make_loss(train.counts(), cfg)
    averaged = recipe.make_average(model, cfg.averaging)
    scored = averaged.module if averaged else model
    parts = {"model": model, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    history, best = keeper.restore(parts, [order, draws])
    forward = machine.compiled(model, sample, precision, steps=(cfg.epochs - len(history)) * steps)
    while len(history) < cfg.epochs and not stalled(history, cfg.patience):
        start = time.perf_counter()
        model.train()
        total = right = torch.zeros((), device=device)
        for images, labels in batches(train, cfg.batch_size, generator=order, balance=cfg.balanced_sampling):
            faces = model.preprocess(images)  # (B, 48, 48) uint8 -> (B, C, size, size) float
            if augment is not None:
                faces = augment(faces, draws, labels)
            faces, targets = recipe.mixed(faces, labels, cfg.mixup)
            with machine.numbers(precision, device):
                targets = recipe.taught(teacher, faces, targets, cfg.teaching)
                logits = forward(recipe.sized(faces, cfg, len(history)).contiguous(memory_format=torch.channels_last))
                loss = loss_of(logits, targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if cfg.clip:
                nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
            optimiser.step()
            if averaged:
                averaged.update_parameters(model)
            if cfg.schedule == "one-cycle":
                schedule.step()
            total = total + loss.detach() * len(labels)  # stays on the device: no wait per step
            right = right + (logits.argmax(1) == labels).sum()
        row = {"epoch": len(history) + 1, "lr": optimiser.param_groups[0]["lr"]}
        row |= {"train_loss": float(total) / len(train), "train_accuracy": float(right) / len(train)}
        row |= score_val(scored, val, precision)
        if not math.isfinite(row["train_loss"]):
            raise ValueError(f"The loss is no longer a number in epoch {row['epoch']}: lower peak_lr ({cfg.peak_lr}).")
        if cfg.schedule == "plateau":
            schedule.step(row["val_loss"])
        row["seconds"] = time.perf_counter() - start
        history.append(row)
        if row is kept_row(history, cfg):
            best = {name: tensor.detach().cpu().clone() for name, tensor in scored.state_dict().items()}
        keeper.write(history, best, precision)
        log(epoch_line(history, cfg.epochs))
    model.load_state_dict(best)
    model.eval()
    seconds = sum(row["seconds"] for row in history)
    return Fit(history, kept_row(history, cfg), seconds, len(train) * len(history) / seconds, precision)


def best_row(history: list) -> dict:
    """The epoch with the best val accuracy; the lower val loss decides between equals, then the earlier epoch."""
    return max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"], -row["epoch"]))


def kept_row(history: list, cfg: TrainConfig) -> dict:
    """The epoch whose weights are kept so far."""
    if cfg.keep not in ("best", "last"):
        raise ValueError(f"keep is '{cfg.keep}': choose best or last.")
    return history[-1] if cfg.keep == "last" else best_row(history)


def stalled(history: list, patience: int) -> bool:
    """True if the best val accuracy is `patience` epochs old; patience 0 is never tired."""
    return bool(patience and history) and len(history) - best_row(history)["epoch"] >= patience


def epoch_line(history: list, epochs: int) -> str:
    """One line an epoch: both losses, both accuracies, seconds, and how long the rest will take at most."""
    row = history[-1]
    left = timedelta(seconds=round(row["seconds"] * (epochs - row["epoch"])))
    return (
        f"epoch {row['epoch']:3d}/{epochs}  train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.1%}"
        f"  val loss {row['val_loss']:.3f} accuracy {row['val_accuracy']:.1%}  {row['seconds']:.0f} s, {left} left"
    )


def refuse_test(*sets: Faces) -> None:
    """Raise ValueError if a set holds test faces: the protocol's guard."""
    if any("test" in people.split for people in sets):
        raise ValueError("Test faces stand among these: choices are made on val. open_test scores a finished model.")


@torch.inference_mode()
def _probabilities(model, people, precision="float32", batch_size=256):  # more costs memory, not less time
    """(N, 7) float32 on the CPU; in float32 unless said otherwise, so that machines agree."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts = []
    with machine.numbers(precision, device):
        for images, _ in batches(people, batch_size):
            parts.append(models.probabilities(model, images.to(device)).cpu())
    model.train(was_training)
    return torch.cat(parts)


def score_val(model: nn.Module, val: Faces, precision: str) -> dict:
    """Loss and accuracy on val, over all its faces at once."""
    probs, labels = _probabilities(model, val, precision), val.labels.cpu()
    loss = F.nll_loss(probs.clamp_min(1e-12).log(), labels)
    return {"val_loss": float(loss), "val_accuracy": float((probs.argmax(1) == labels).float().mean())}


def predict_proba(model: nn.Module, people: Faces) -> np.ndarray:
    """(N, 7) float32 probabilities of train or val faces; test faces are refused (see open_test)."""
    refuse_test(people)
    return _probabilities(model, people).numpy()


def open_test(model: nn.Module, people: Faces, *, stage: str, name: str, out_root="outputs") -> np.ndarray:
    """(N, 7) float32 probabilities of val and test faces, for a finished model.

    Every opening of test is a line in `<out_root>/test_openings.csv`: when, stage, model, data, faces, commit.
    """
    opening = {"when": paths.now(), "stage": stage, "model": name, "data": people.source.get("name", "")}
    opening |= {"test_faces": int((people.split == "test").sum()), "commit": machine.commit()}
    paths.add_line(paths.ROOT / out_root / "test_openings.csv", opening)
    return _probabilities(model, people).numpy()
