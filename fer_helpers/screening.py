"""Ingredients under trial in notebook 08's screening; what doesn't pay leaves with its lines here."""

import torch
import torch.nn.functional as F
from torch import nn

BIAS_FACTOR = 16.0  # learning rate of batch norm's biases, as a multiple of that of the others
MUON_LR, MUON_WEIGHT_DECAY = 0.02, 0.1


@torch.no_grad()
def start(model: nn.Module, images: torch.Tensor, how: str) -> None:
    """Give a SmallCNN its first weights. how: "" as they are, `whitening` or `dirac` (both: Jordan, airbench, 2024)."""
    convolutions = [part for part in model.modules() if isinstance(part, nn.Conv2d)]
    if how == "dirac":  # at first a convolution hands on what it gets, as far as it has filters for it
        for part in convolutions[1:]:
            nn.init.dirac_(part.weight[: part.in_channels])
    if how == "whitening":  # the first filters and their negatives whiten patches of 3×3 pixels
        first = convolutions[0]
        patches = F.unfold(model.preprocess(images[:5000]), 3).transpose(1, 2).reshape(-1, 9)
        patches = patches - patches.mean(dim=1, keepdim=True)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + 5e-4).sqrt()).T.view(-1, 1, 3, 3)[1:]  # the flat patch has no variance
        filters = torch.cat([filters, -filters])
        filters = (
            filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * first.weight.flatten(1).norm(dim=1).mean()
        )
        first.weight[: len(filters)] = filters[: first.out_channels]


def alternated(images: torch.Tensor, part: torch.Tensor, epoch: int) -> torch.Tensor:
    """Faces (B, 48, 48), every one mirrored in each second epoch; which ones begin follows from their index `part`."""
    mirrored = ((part * 2654435761 >> 7) + epoch) % 2 == 1
    return torch.where(mirrored.to(images.device).view(-1, 1, 1), images.flip(-1), images)


def bias_groups(model: nn.Module, lr: float, weight_decay: float) -> list[dict]:
    """Parameter groups: batch norm's biases at a higher rate, with as much less decay."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    fast = {id(part.bias) for part in norms}
    rest = [part for part in model.parameters() if id(part) not in fast]
    faster = {"lr": lr * BIAS_FACTOR, "weight_decay": weight_decay / BIAS_FACTOR}
    return [{"params": rest, "lr": lr}, {"params": [part.bias for part in norms], **faster}]


class MuonAndSGD(torch.optim.Optimizer):
    """torch.optim.Muon on the convolutions, flattened to matrices (Jordan et al., 2024); SGD on everything else."""

    def __init__(self, model: nn.Module, lr: float, weight_decay: float):
        self.weights = [part.weight for part in model.modules() if isinstance(part, nn.Conv2d) and part.in_channels > 1]
        self.matrices = [nn.Parameter(self._matrix(weight.data)) for weight in self.weights]
        for weight, matrix in zip(self.weights, self.matrices, strict=True):
            assert matrix.data_ptr() == weight.data_ptr(), "a matrix must share its convolution's memory"
        mine = {id(weight) for weight in self.weights}
        rest = [part for part in model.parameters() if id(part) not in mine]
        self.muon = torch.optim.Muon(self.matrices, lr=MUON_LR, weight_decay=MUON_WEIGHT_DECAY)
        self.sgd = torch.optim.SGD(rest, lr=lr, weight_decay=weight_decay, momentum=0.9, nesterov=True, fused=True)
        super().__init__(rest, {"lr": lr, "momentum": 0.9})
        self.param_groups = [*self.sgd.param_groups, *self.muon.param_groups]

    @staticmethod
    def _matrix(weight):
        return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # a view of a channels_last weight

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.sgd.zero_grad(set_to_none)
        for weight in self.weights:
            weight.grad = None

    def step(self, closure=None) -> None:
        for weight, matrix in zip(self.weights, self.matrices, strict=True):
            matrix.grad = self._matrix(weight.grad)
        self.muon.step()
        self.sgd.step()

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "sgd": self.sgd.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.muon.load_state_dict(state["muon"])
        self.sgd.load_state_dict(state["sgd"])
        self.param_groups = [*self.sgd.param_groups, *self.muon.param_groups]
