"""What a training is made of: its settings, and the loss, optimiser, schedule and averaging that they name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from fer_helpers.faces import EMOTIONS


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training; stored with its result.

    optimiser: adamw, adam or sgd (Nesterov momentum 0.9). schedule: one-cycle, plateau or constant.
    depth_decay: the learning rate of each stage of a Transfer network, as a share of that of the stage after it.
    clip: most that the gradient's norm may be, 0 for as it comes.
    small_share: of the epochs, the first ones, see faces of two thirds of the side, which takes half the time; for
    networks that take any size (progressive resizing: Howard, "Training Imagenet in 3 hours for $25", fast.ai, 2018).
    class_weighting: 0 counts every face alike, 1 every emotion alike (loss weights ∝ count to minus this power).
    balanced_sampling: the same power, but rare emotions are drawn more often, not weighted more.
    logit_adjustment: times log share of the emotion, added to the logits in the loss alone (Menon et al., 2021).
    mixup: each face is blended with another, by a share from Beta(mixup, mixup) (Zhang et al., 2018); 0 blends none.
    teaching: share of what is to be learnt that a teacher says of the very same changed face, in place of its label;
    needs one (distillation: Hinton et al., 2015; with the same views: Beyer et al., "A good teacher is patient", 2022).
    averaging: what scores and the model ends with are means of the weights on their way; of the average `averaging`
    stays at each step (0.998: about the last 500 steps), 0 takes the last weights themselves.
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
    depth_decay: float = 1.0
    clip: float = 0.0
    small_share: float = 0.0
    label_smoothing: float = 0.0
    class_weighting: float = 0.0
    balanced_sampling: float = 0.0
    logit_adjustment: float = 0.0
    mixup: float = 0.0
    teaching: float = 0.0
    averaging: float = 0.0
    patience: int = 0
    keep: str = "best"
    precision: str = "auto"
    seed: int = 0


def loss_weights(counts: np.ndarray, power: float) -> torch.Tensor:
    """(7,) faces per emotion -> (7,) float32 weights ∝ count to minus `power`; their mean over the faces is 1."""
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def make_optimiser(model: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser by name over the weights that may move."""
    stages = [model] if cfg.depth_decay == 1 else getattr(model, "stages", None)
    if not isinstance(stages, list):
        raise ValueError("depth_decay needs a network with a list of stages: a Transfer has one. Set it to 1.")
    moving = [[part for part in stage.parameters() if part.requires_grad] for stage in stages]
    rates = [cfg.peak_lr * cfg.depth_decay**depth for depth in range(len(stages))][::-1]
    groups = [{"params": parts, "lr": rate} for parts, rate in zip(moving, rates, strict=True) if parts]
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    if cfg.optimiser not in kinds:
        raise ValueError(f"optimiser is '{cfg.optimiser}': choose {', '.join(kinds)}.")
    momentum = {"momentum": 0.9, "nesterov": True} if cfg.optimiser == "sgd" else {}
    # fused: all weights in one call, on CPU and CUDA alike
    return kinds[cfg.optimiser](groups, weight_decay=cfg.weight_decay, fused=True, **momentum)


def make_loss(counts: np.ndarray, cfg: TrainConfig) -> Callable:
    """(logits (B, 7), labels (B,) or shares of emotions (B, 7)) -> scalar loss, by the settings. counts: of train."""
    weights = loss_weights(counts, cfg.class_weighting)
    prior = cfg.logit_adjustment * torch.tensor(np.maximum(counts, 1) / counts.sum(), dtype=torch.float32).log()

    def loss_of(logits, labels):
        return F.cross_entropy(
            logits + prior.to(logits), labels, weights.to(logits.device), label_smoothing=cfg.label_smoothing
        )

    return loss_of


def sized(faces: torch.Tensor, cfg: TrainConfig, epoch: int) -> torch.Tensor:
    """Faces (B, C, H, W) in the size that this epoch, counted from 0, learns from."""
    if epoch >= cfg.small_share * cfg.epochs:
        return faces
    side = [2 * faces.shape[-1] // 3] * 2
    return F.interpolate(faces, size=side, mode="bilinear", align_corners=False, antialias=True)


def mixed(faces: torch.Tensor, labels: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Each face (B, C, H, W) blended with its neighbour in the batch, and the emotions' shares (B, 7) alike.

    alpha: of the Beta distribution that the shares are drawn from; 0 changes nothing, labels stay (B,) int64.
    """
    if not alpha:
        return faces, labels
    alpha = torch.tensor(alpha, device=faces.device)
    share = torch.distributions.Beta(alpha, alpha, validate_args=False).sample((len(faces),))  # (B,)
    wide, emotions = share.view(-1, 1, 1, 1), _shares(labels)
    blended = wide * faces + (1 - wide) * faces.roll(1, 0)
    return blended, share[:, None] * emotions + (1 - share[:, None]) * emotions.roll(1, 0)


@torch.no_grad()
def taught(teacher: nn.Module | None, faces: torch.Tensor, targets: torch.Tensor, share: float) -> torch.Tensor:
    """(B,) labels or (B, 7) shares of emotions, `share` of them replaced by a teacher's answer to the same faces."""
    if teacher is None:
        return targets
    answer = teacher(faces.contiguous(memory_format=torch.channels_last)).float().softmax(1)
    return share * answer + (1 - share) * (_shares(targets) if targets.ndim == 1 else targets)


def ready(teacher: nn.Module | None, model: nn.Module, cfg: TrainConfig, device) -> nn.Module | None:
    """The teacher in eval mode on the device; ValueError if it can't teach this model, or nobody is there to teach."""
    if (teacher is None) != (cfg.teaching == 0):
        raise ValueError(
            f"teaching is {cfg.teaching}, and there is {'no' if teacher is None else 'a'} teacher: set both."
        )
    if teacher is None:
        return None
    if replace(teacher.preprocess, shift=0) != replace(model.preprocess, shift=0):
        raise ValueError("The teacher sees faces in another size or scale than the network that it should teach.")
    return teacher.to(device, memory_format=torch.channels_last).eval()


def _shares(labels: torch.Tensor) -> torch.Tensor:
    """(B,) labels -> (B, 7) with 1 at each; one_hot would look at the labels, and so wait for the device."""
    return torch.eye(len(EMOTIONS), device=labels.device)[labels]


def make_average(model: nn.Module, keep: float) -> AveragedModel | None:
    """A running mean of the weights and of batch norm's statistics; None if keep is 0.

    In the first steps it forgets faster, so that the first, random weights don't linger.
    """

    def update(averaged, current, steps):
        new = max(1 - keep, 9 / (10 + int(steps)))
        for mean, now in zip(averaged, current, strict=True):
            mean.lerp_(now, new) if mean.is_floating_point() else mean.copy_(now)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True) if keep else None


def make_schedule(optimiser: torch.optim.Optimizer, cfg: TrainConfig, steps: int):
    """The learning-rate schedule by name; one-cycle moves after each of `steps` batches, plateau after an epoch."""
    if cfg.schedule == "one-cycle":
        total = max(cfg.epochs * steps, 4)
        rise = max(0.2, 2 / total)  # a rise of less than two steps is none, and OneCycleLR divides by it
        rates = [group["lr"] for group in optimiser.param_groups]
        return lr_scheduler.OneCycleLR(optimiser, rates, total_steps=total, pct_start=rise)
    if cfg.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=2)
    if cfg.schedule == "constant":
        return lr_scheduler.ConstantLR(optimiser, 1.0)
    raise ValueError(f"schedule is '{cfg.schedule}': choose one-cycle, plateau or constant.")
