"""What a training is made of: its settings, and the loss, optimizer, schedule and EMA that they name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from fer_helpers.augment import Augment, ByEmotion
from fer_helpers.faces import EMOTIONS
from fer_helpers.muon import MuonAndSGD

ONE_CYCLE_RISE = 0.2  # share of the steps in which the learning rate rises
NESTEROV = partial(torch.optim.SGD, momentum=0.9, nesterov=True)
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": NESTEROV}
RANGES = {  # what a number may be: is it?, and of which settings and notebooks' parameters; all others are 0 or more
    "0 (as the budget says) or more": (lambda n: n >= 0, "epochs small_epochs seeds erased planted pasted"),
    "1 or more": (lambda n: n >= 1, "batch_size members"),
    "more than 0": (lambda n: n > 0, "peak_lr fps a_second"),
    "more than 0, at most 1": (lambda n: 0 < n <= 1, "layer_lr_decay correlation majority min_face"),
    "from 0 to 1": (
        lambda n: 0 <= n <= 1,
        "label_smoothing progressive_resizing mixup_until distillation flip shift erase",
    ),
    "from 0 to below 1": (lambda n: 0 <= n < 1, "dropout drop ema_decay scale contrast"),
    "from 0.5 to 0.99": (lambda n: 0.5 <= n <= 0.99, "accuracy"),
}
RANGE_OF = {name: (wanted, fits) for wanted, (fits, names) in RANGES.items() for name in names.split()}
CHOICES = {
    "optimizer": (*OPTIMIZERS, "muon"),
    "schedule": ("one-cycle", "plateau", "constant"),
    "keep": ("best", "last"),
    "precision": ("auto", "float32", "bfloat16"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training; stored with its result.

    optimizer, schedule: one of CHOICES; sgd has Nesterov momentum 0.9, muon is MuonAndSGD.
    layer_lr_decay: learning rate of a Transfer network's stage, as a share of the next one's.
    progressive_resizing: share of the epochs, the first ones, on faces of two thirds of the side, in half the time; for
    networks that take any size (Howard, "Training Imagenet in 3 hours for $25", fast.ai, 2018).
    class_weighting: 0 counts every face alike, 1 every emotion alike (loss weights ∝ count to minus this power).
    balanced_sampling: the same power, but rare emotions are drawn more often, not weighted more.
    logit_adjustment: times log share of the emotion, added to the logits in the loss alone (Menon et al., 2021).
    mixup: each face is blended with another, by a share from Beta(mixup, mixup) (Zhang et al., 2018); 0 blends none.
    mixup_until: share of the epochs after which faces are blended no more.
    distillation: share of the target that Faces.soft_labels make up; the label has the rest (Hinton et al., 2015). At 0
    soft labels that came with the data, like FER+'s votes, are the whole target.
    ema_decay: what of an exponential moving average of the weights stays at each step (0.998: about the last 500
    steps); the average is scored and kept. 0 takes the weights themselves.
    patience: epochs without a better val accuracy after which training stops; 0 never stops early.
    keep: whose weights the model ends with, those of the `best` epoch on val or of the `last`.
    precision: float32, bfloat16, or auto (see devices.pick_precision). augment: of training faces, None for none.
    """

    epochs: int = 30
    batch_size: int = 128
    peak_lr: float = 1e-3
    weight_decay: float = 1e-4
    optimizer: str = "adamw"
    schedule: str = "one-cycle"
    layer_lr_decay: float = 1.0
    progressive_resizing: float = 0.0
    label_smoothing: float = 0.0
    class_weighting: float = 0.0
    balanced_sampling: float = 0.0
    logit_adjustment: float = 0.0
    mixup: float = 0.0
    mixup_until: float = 1.0
    distillation: float = 0.0
    ema_decay: float = 0.0
    patience: int = 0
    keep: str = "best"
    precision: str = "auto"
    seed: int = 0
    augment: Augment | ByEmotion | None = None

    def __post_init__(self):
        check(vars(self))
        if self.epochs < 1:
            raise ValueError("epochs is 0: a training needs 1 or more.")


def check(values: dict) -> None:
    """Refuse, by ValueError, the first setting or notebook's parameter that can't be: see RANGES and CHOICES."""
    for name, value in values.items():
        if isinstance(value, Augment | ByEmotion):
            check(vars(value))
        wanted, fits = RANGE_OF.get(name, ("0 or more", lambda n: n >= 0))
        if isinstance(value, int | float) and not (math.isfinite(value) and fits(value)):
            raise ValueError(f"{name} is {value}: give {wanted}.")
        if isinstance(value, str) and value not in CHOICES.get(name, (value,)):
            raise ValueError(f"{name} is '{value}': choose {', '.join(CHOICES[name])}.")


def loss_weights(counts: np.ndarray, power: float) -> torch.Tensor:
    """(7,) faces per emotion -> (7,) float32 weights ∝ count to minus `power`; their mean over the faces is 1."""
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def make_optimizer(model: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer by name over the weights that may move."""
    if cfg.optimizer == "muon":
        return MuonAndSGD(model, cfg.peak_lr, cfg.weight_decay)
    stages = [model] if cfg.layer_lr_decay == 1 else getattr(model, "stages", None)
    if not isinstance(stages, list):
        raise ValueError("layer_lr_decay needs a network with a list of stages: a Transfer has one. Set it to 1.")
    moving = [[part for part in stage.parameters() if part.requires_grad] for stage in stages]
    rates = [cfg.peak_lr * cfg.layer_lr_decay**depth for depth in range(len(stages))][::-1]
    groups = [{"params": parts, "lr": rate} for parts, rate in zip(moving, rates, strict=True) if parts]
    # fused: all weights in one call, on CPU and CUDA alike
    return OPTIMIZERS[cfg.optimizer](groups, weight_decay=cfg.weight_decay, fused=True)


def make_loss(counts: np.ndarray, cfg: TrainConfig) -> Callable:
    """(logits (B, 7), labels (B,) or shares of emotions (B, 7)) -> scalar loss, by the settings. counts: of train."""
    weights = loss_weights(counts, cfg.class_weighting)
    prior = cfg.logit_adjustment * torch.tensor(np.maximum(counts, 1) / counts.sum(), dtype=torch.float32).log()

    def loss_of(logits, labels):
        adjusted, weight = logits + prior.to(logits), weights.to(logits.device)
        return F.cross_entropy(adjusted, labels, weight, label_smoothing=cfg.label_smoothing)

    return loss_of


def apply_mixup(faces: torch.Tensor, targets: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Each face (B, C, H, W) blended with its neighbour in the batch, and the emotions' shares (B, 7) alike.

    alpha: of the Beta distribution that the shares are drawn from; 0 changes nothing.
    """
    if not alpha:
        return faces, targets
    alpha = torch.tensor(alpha, device=faces.device)
    share = torch.distributions.Beta(alpha, alpha, validate_args=False).sample((len(faces), 1))
    wide, emotions = share[..., None, None], one_hot(targets) if targets.ndim == 1 else targets
    blended = wide * faces + (1 - wide) * faces.roll(1, 0)
    return blended, share * emotions + (1 - share) * emotions.roll(1, 0)


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    """(B,) labels -> (B, 7) with 1 at each; torch's one_hot would look at the labels, and so wait for the device."""
    return torch.eye(len(EMOTIONS), device=labels.device)[labels]


def make_ema(model: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of the weights and of batch norm's statistics; None if decay is 0."""

    def update(averaged, current, steps):
        new = max(1 - decay, 9 / (10 + int(steps)))  # forgets faster at first: random weights shouldn't linger
        if averaged[0].is_floating_point():  # torch calls this once for each type
            torch._foreach_lerp_(averaged, current, new)
        else:
            torch._foreach_copy_(averaged, current)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True) if decay else None


def make_schedule(optimizer: torch.optim.Optimizer, cfg: TrainConfig, steps: int):
    """The learning-rate schedule by name; one-cycle moves after each of an epoch's `steps`, plateau after an epoch."""
    if cfg.schedule == "one-cycle":
        total = max(cfg.epochs * steps, 4)
        rise = max(ONE_CYCLE_RISE, 2 / total)  # a rise of less than two steps is none, and OneCycleLR divides by it
        rates = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=total, pct_start=rise)
    if cfg.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    return lr_scheduler.ConstantLR(optimizer, 1.0)
