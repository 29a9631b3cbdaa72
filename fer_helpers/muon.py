"""Muon, the optimizer of the record's networks: the step of each convolution is made an orthogonal matrix."""

import torch
from torch import nn

MUON_SHARE, MUON_WEIGHT_DECAY = 0.2, 0.1  # learning rate of the matrices, as a share of everything else's


class MuonAndSGD(torch.optim.Optimizer):
    """torch.optim.Muon on the convolutions, flattened to matrices (Jordan et al., 2024), SGD on everything else.

    lr: of SGD, its peak; Muon takes MUON_SHARE of it.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float):
        wide = [part.weight for part in model.modules() if isinstance(part, nn.Conv2d) and part.in_channels > 1]
        self.weights = [weight for weight in wide if weight.requires_grad]
        self.matrices = [nn.Parameter(self._matrix(weight.data)) for weight in self.weights]
        for weight, matrix in zip(self.weights, self.matrices, strict=True):
            assert matrix.data_ptr() == weight.data_ptr(), "a matrix must share its convolution's memory"
        mine = {id(weight) for weight in self.weights}
        rest = [part for part in model.parameters() if id(part) not in mine and part.requires_grad]
        self.muon = torch.optim.Muon(self.matrices, lr=MUON_SHARE * lr, weight_decay=MUON_WEIGHT_DECAY)
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
