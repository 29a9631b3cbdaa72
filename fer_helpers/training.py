"""One training loop for every network of the workbook, and the only door to the test faces."""

import hashlib
import math
import time
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import timedelta

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer_helpers import checkpoints, devices, identity, models, paths, settings
from fer_helpers.emotions import FEWER
from fer_helpers.faces import Faces, shuffled
from fer_helpers.settings import TrainConfig

# Raised by hand when the numbers of a training change: then no checkpoint and no kept run of another engine is used.
# tests/test_training.py holds two epochs' losses against it.
ENGINE = 2


@dataclass
class Fit:
    """What a training gave.

    history: a dict an epoch. kept: the one whose weights the model has. seconds: of all epochs, val's scores included.
    images_per_second: training faces.
    """

    history: list
    kept: dict
    seconds: float
    images_per_second: float
    precision: str


def seed_everything(seed: int) -> None:
    """Fix torch's random numbers on every device: the only global state that anything here draws from."""
    torch.manual_seed(seed)


@devices.short_of_memory()
def fit(model, train: Faces, val: Faces, cfg: TrainConfig, *, checkpoint=None, log=print) -> Fit:
    """Train in place; the model ends with the weights of the epoch that cfg.keep names.

    train, val: faces on the device to train on; test faces are refused. checkpoint: a file, written after every epoch,
    from which a training of the same settings, engine and faces goes on; a finished one is not repeated, and goes on
    for more epochs where its schedule allows that: see open_ended.
    """
    refuse_test(train, val)
    if cfg.distillation and train.soft_labels is None:
        raise ValueError(f"distillation is {cfg.distillation}: it needs faces with soft labels.")
    device = train.images.device
    devices.keep_memory()
    model.to(device, memory_format=torch.channels_last)
    keys = [checkpoint_key(model, train, val, each) for each in (cfg, replace(cfg, epochs=1))]
    keeper = checkpoints.Keeper(checkpoint, *keys, epochs=cfg.epochs, precision=cfg.precision, log=log)
    precision = keeper.saved.get("precision") or devices.pick_precision(cfg.precision, device)
    seed_everything(cfg.seed)
    order, draws = (torch.Generator(where).manual_seed(cfg.seed) for where in ("cpu", device))
    optimizer = settings.make_optimizer(model, cfg)
    schedule = settings.make_schedule(optimizer, cfg, steps=math.ceil(len(train) / cfg.batch_size))
    loss_of = settings.make_loss(train.counts(), cfg)
    ema = settings.make_ema(model, cfg.ema_decay)
    scored = ema.module if ema else model
    parts = {"model": model, "averaged": ema, "optimizer": optimizer, "schedule": schedule}
    history, best = keeper.restore(parts, [order, draws])
    while len(history) < cfg.epochs and not stalled(history, cfg.patience):
        start, epoch = time.perf_counter(), len(history)
        model.train()
        total = right = torch.zeros((), device=device)
        for part in shuffled(train, cfg.batch_size, order, balance=cfg.balanced_sampling):
            faces, labels, targets = batch_of(model, train, part, cfg, draws, epoch)
            with devices.numbers(precision, device):
                logits = model(faces)
                loss = loss_of(logits, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if ema:
                ema.update_parameters(model)
            if cfg.schedule == "one-cycle":
                schedule.step()
            total = total + loss.detach() * len(part)  # stays on the device: no wait per step
            right = right + (logits.argmax(1) == labels).sum()
        row = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"]}
        row |= {"train_loss": float(total) / len(train), "train_accuracy": float(right) / len(train)}
        row |= score_val(scored, val, precision)
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
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


def batch_of(model, train: Faces, part: torch.Tensor, cfg: TrainConfig, draws: torch.Generator, epoch: int) -> tuple:
    """What the network trains on of the faces at `part`, (B,) indices.

    returns: faces (B, C, size, size) float, preprocessed, augmented, blended and resized; their labels (B,); the loss's
    targets: the labels, or (B, 7) shares of the emotions.
    """
    labels = train.labels[part]
    faces, targets = model.preprocess(train.images[part]), labels  # (B, 48, 48) uint8 -> (B, C, size, size) float
    if cfg.augment is not None:
        faces = cfg.augment(faces, draws, labels)
    if train.soft_labels is not None:
        share = cfg.distillation or 1.0  # without a teacher they are the data's own labels: FER+'s votes
        targets = share * train.soft_labels[part] + (1 - share) * settings.one_hot(labels)
    if epoch < cfg.mixup_until * cfg.epochs:
        faces, targets = settings.apply_mixup(faces, targets, cfg.mixup)
    if epoch < cfg.progressive_resizing * cfg.epochs:
        side = [2 * faces.shape[-1] // 3] * 2
        faces = F.interpolate(faces, size=side, mode="bilinear", align_corners=False, antialias=True)
    return faces.contiguous(memory_format=torch.channels_last), labels, targets


def identity_of(network: dict, train: Faces, cfg: TrainConfig) -> str:
    """Key of a training that starts from nothing: engine, network (architecture and arguments), settings and faces."""
    config = changed(replace(cfg, precision="auto"))
    network = network | ({"outputs": FEWER} if FEWER else {})
    return identity.digest_settings({"engine": ENGINE, "network": network, "config": config, "faces": train.key()})


def changed(settings) -> dict:
    """The settings of a dataclass that aren't at their defaults: one that is new later changes no key."""
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    others = {each.name: values[each.name] for each in fields(settings) if values[each.name] != each.default}
    nested = {name: changed(value) for name, value in others.items() if is_dataclass(value)}
    return {"kind": type(settings).__name__, **others, **nested}


def open_ended(cfg: TrainConfig) -> bool:
    """True if no epoch depends on how many there will be: then more of them go on where a finished training ended."""
    return cfg.schedule != "one-cycle" and not cfg.progressive_resizing and (not cfg.mixup or cfg.mixup_until >= 1)


def checkpoint_key(model: nn.Module, train: Faces, val: Faces, cfg: TrainConfig) -> str:
    """Key of a training as a checkpoint needs it: with the first weights, which of them move, val, and the device.

    The number of epochs is no part of it where it decides nothing but the end.
    """
    cfg = replace(cfg, epochs=1) if open_ended(cfg) else cfg
    digest = hashlib.sha256(identity_of(model.recipe, train, cfg).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(bytes(part.requires_grad for part in model.parameters()))
    digest.update((val.key() + train.images.device.type).encode())  # random states of one device don't fit another
    return digest.hexdigest()


def best_row(history: list) -> dict:
    """The epoch with the best val accuracy; the lower val loss decides between equals, then the earlier epoch."""
    return max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"], -row["epoch"]))


def kept_row(history: list, cfg: TrainConfig) -> dict:
    """The epoch whose weights are kept so far."""
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
        advice = "choices are made on val. A finished model is evaluated on the test set by evaluate_on_test."
        raise ValueError(f"There are test faces among these: {advice}")


@torch.inference_mode()
def _probabilities(model, people, precision="float32", views=None):
    """(N, 7) float32 on the CPU; in float32 unless said otherwise, so that machines agree."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    with devices.numbers(precision, device):
        parts = people.images.split(256)  # more cost memory, not less time
        probs = torch.cat([models.probabilities(model, images.to(device), views).cpu() for images in parts])
    model.train(was_training)
    return probs


def score_val(model: nn.Module, val: Faces, precision: str) -> dict:
    """val_loss and val_accuracy, over all faces at once."""
    probs, labels = _probabilities(model, val, precision), val.labels.cpu()
    loss = F.nll_loss(probs.clamp_min(1e-12).log(), labels)
    return {"val_loss": float(loss), "val_accuracy": float((probs.argmax(1) == labels).float().mean())}


def predict_proba(model: nn.Module, people: Faces, *, views: int | None = None) -> np.ndarray:
    """(N, 7) float32 probabilities of train or val faces; test faces are refused."""
    refuse_test(people)
    return _probabilities(model, people, views=views).numpy()


def evaluate_on_test(model, people: Faces, *, stage: str, name: str, out_root="outputs", views=None) -> np.ndarray:
    """(N, 7) float32 probabilities of val and test faces, for a finished model; the log gets a line."""
    probs, line = evaluation(model, people, stage=stage, name=name, views=views)
    log_evaluation(line, out_root)
    return probs


def evaluation(model, people: Faces, *, stage: str, name: str, views=None) -> tuple[np.ndarray, dict]:
    """(N, 7) float32 probabilities of val and test faces, and the line of this test evaluation, not yet in any log."""
    test = people.part("test")
    weights = identity.digest_arrays(*(part.detach().cpu().float().numpy() for part in model.state_dict().values()))
    line = {"when": paths.now(), "stage": stage, "model": name, "data": people.source.get("name", "")}
    line |= {"test_faces": len(test), "commit": devices.commit(), "weights": weights, "faces": test.key()}
    return _probabilities(model, people, views=views).numpy(), line


def log_evaluation(line: dict, out_root) -> None:
    """Add a test evaluation to `<out_root>/test_evaluations.csv`; the same weights on the same faces add no line."""
    log = paths.ROOT / out_root / "test_evaluations.csv"
    known = {(each["weights"], each["faces"]) for each in paths.read_lines(log)}
    if (line["weights"], line["faces"]) not in known:
        paths.add_line(log, line)
