"""One training loop for every network of the workbook, and the only door to the test faces."""

import math
import time
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from fer_helpers import checkpoints, machine, models, paths
from fer_helpers.faces import Faces, batches


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training; stored with its result.

    optimiser: adamw, adam or sgd (Nesterov momentum 0.9). schedule: one-cycle, plateau or constant.
    class_weighting: 0 counts every face alike, 1 every emotion alike (loss weights ∝ count to minus this power).
    patience: epochs without a better val accuracy after which training stops; 0 never stops early.
    keep: the weights that the model ends with, of the `best` epoch on val or of the `last`, whatever val says.
    precision: float32, bfloat16, or auto, which takes what is faster on this machine.
    """

    epochs: int = 30
    batch_size: int = 128
    peak_lr: float = 1e-3
    weight_decay: float = 1e-4
    optimiser: str = "adamw"
    schedule: str = "one-cycle"
    label_smoothing: float = 0.0
    class_weighting: float = 0.0
    patience: int = 0
    keep: str = "best"
    precision: str = "auto"
    seed: int = 0


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


def loss_weights(counts: np.ndarray, power: float) -> torch.Tensor:
    """(7,) faces per emotion -> (7,) float32 weights ∝ count to minus `power`; their mean over the faces is 1."""
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def make_optimiser(model: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser by name over the weights that may move."""
    moving = [part for part in model.parameters() if part.requires_grad]
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    if cfg.optimiser not in kinds:
        raise ValueError(f"optimiser is '{cfg.optimiser}': choose {', '.join(kinds)}.")
    momentum = {"momentum": 0.9, "nesterov": True} if cfg.optimiser == "sgd" else {}
    return kinds[cfg.optimiser](moving, cfg.peak_lr, weight_decay=cfg.weight_decay, **momentum)


def make_schedule(optimiser: torch.optim.Optimizer, cfg: TrainConfig, steps: int):
    """The learning-rate schedule by name; one-cycle moves after each of `steps` batches, plateau after an epoch."""
    if cfg.schedule == "one-cycle":
        total = max(cfg.epochs * steps, 4)
        rise = max(0.2, 2 / total)  # a rise of less than two steps is none, and OneCycleLR divides by it
        return lr_scheduler.OneCycleLR(optimiser, cfg.peak_lr, total_steps=total, pct_start=rise)
    if cfg.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=2)
    if cfg.schedule == "constant":
        return lr_scheduler.ConstantLR(optimiser, 1.0)
    raise ValueError(f"schedule is '{cfg.schedule}': choose one-cycle, plateau or constant.")


def fit(model, train: Faces, val: Faces, cfg: TrainConfig, *, augment=None, checkpoint=None, log=print) -> Fit:
    """Train in place; the model ends with the weights of the epoch that cfg.keep names.

    train, val: faces on the device to train on; test faces are refused.
    augment: (B, C, H, W) normalised faces and a generator -> changed faces.
    checkpoint: a file, written after every epoch, from which an interrupted training of the same settings, code
    and faces goes on; a finished one is not repeated.
    """
    refuse_test(train, val)
    device = train.images.device
    model.to(device, memory_format=torch.channels_last)
    keeper = checkpoints.Keeper(checkpoint, checkpoints.key(model, train, val, cfg, augment), log)
    sample = train.images[: cfg.batch_size], train.labels[: cfg.batch_size]
    precision = keeper.saved.get("precision") or machine.pick_precision(cfg.precision, model, *sample)
    seed_everything(cfg.seed)
    order = torch.Generator().manual_seed(cfg.seed)
    draws = torch.Generator(device).manual_seed(cfg.seed)
    optimiser = make_optimiser(model, cfg)
    schedule = make_schedule(optimiser, cfg, steps=math.ceil(len(train) / cfg.batch_size))
    weights = loss_weights(train.counts(), cfg.class_weighting).to(device)
    loss_of = nn.CrossEntropyLoss(weight=weights, label_smoothing=cfg.label_smoothing)
    history, best = keeper.restore({"model": model, "optimiser": optimiser, "schedule": schedule}, [order, draws])
    while len(history) < cfg.epochs and not stalled(history, cfg.patience):
        start = time.perf_counter()
        model.train()
        total = right = torch.zeros((), device=device)
        for images, labels in batches(train, cfg.batch_size, generator=order):
            faces = model.preprocess(images)  # (B, 48, 48) uint8 -> (B, C, size, size) float
            if augment is not None:
                faces = augment(faces, draws)
            with machine.numbers(precision, device):
                logits = model(faces.contiguous(memory_format=torch.channels_last))
                loss = loss_of(logits, labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if cfg.schedule == "one-cycle":
                schedule.step()
            total = total + loss.detach() * len(labels)  # stays on the device: no wait per step
            right = right + (logits.argmax(1) == labels).sum()
        row = {"epoch": len(history) + 1, "lr": optimiser.param_groups[0]["lr"]}
        row |= {"train_loss": float(total) / len(train), "train_accuracy": float(right) / len(train)}
        row |= score_val(model, val, precision)
        if not math.isfinite(row["train_loss"]):
            raise ValueError(f"The loss is no longer a number in epoch {row['epoch']}: lower peak_lr ({cfg.peak_lr}).")
        if cfg.schedule == "plateau":
            schedule.step(row["val_loss"])
        row["seconds"] = time.perf_counter() - start
        history.append(row)
        if row is kept_row(history, cfg):
            best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
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


@torch.inference_mode()
def pooled_features(model: nn.Module, people: Faces, *, mirrored: bool = False, batch_size: int = 512) -> Faces:
    """The faces with a frozen backbone's pooled features, (N, width, 1, 1) float32, in place of their images.

    model: a models.Transfer. mirrored: of the mirrored faces, a second view to train a head on.
    """
    refuse_test(people)
    model.eval()
    parts = []
    for images, _ in batches(people, batch_size):
        parts.append(model.pooled(model.preprocess(images.flip(-1) if mirrored else images)))
    return replace(people, images=torch.cat(parts)[:, :, None, None])
