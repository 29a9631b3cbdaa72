"""The networks, and which layer of each Grad-CAM looks at."""

import torch
from torch import nn

from fer_helpers.faces import EMOTIONS, Preprocess


class Dropout(nn.Dropout):
    """nn.Dropout, a few times faster on CPUs: a byte decides about a unit, where torch draws a float for each.

    So the share p of silenced units is rounded to 1/256.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        silenced = round(256 * self.p)
        if not self.training or not silenced:
            return maps
        if maps.device.type != "cpu":
            return super().forward(maps)
        words = torch.empty(-(-maps.numel() // 8), dtype=torch.int64).random_(-(2**63), None)  # 8 random bytes each
        stays = words.view(torch.uint8)[: maps.numel()].as_strided(maps.shape, maps.stride()) >= silenced
        return maps * stays.to(maps.dtype).mul_(256 / (256 - silenced))


class Baseline(nn.Module):
    """The plain CNN that most FER-2013 tutorials describe: three convolutions, one hidden layer; 1,145,351 weights.

    filters: of the 3×3 convolutions, without padding, each before 2×2 max pooling and ReLU; the other way round, as
    most write it, takes longer for the same result. hidden: units of the hidden layer. dropout: before and after it.
    forward: (N, 1, 48, 48) float -> (N, 7) logits (no softmax; the loss adds it).
    """

    def __init__(self, *, filters=(32, 64, 128), hidden=512, dropout=0.5):
        super().__init__()
        self.preprocess = Preprocess()
        stages, channels, side = [], 1, self.preprocess.size
        for wide in filters:
            stages += [nn.Conv2d(channels, wide, 3), nn.MaxPool2d(2), nn.ReLU()]
            channels, side = wide, (side - 2) // 2  # 48 -> 23 -> 10 -> 4
        self.stages = nn.Sequential(*stages)
        layer = [nn.Flatten(), Dropout(dropout), nn.Linear(channels * side * side, hidden), nn.ReLU()]
        self.head = nn.Sequential(*layer, Dropout(dropout), nn.Linear(hidden, len(EMOTIONS)))

    @property
    def cam_layer(self) -> nn.Module:
        """The last convolution: 8×8 maps, before the pooling that leaves 4×4."""
        return self.stages[-3]

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        maps = self.stages(faces)  # (N, 1, 48, 48) -> (N, 128, 4, 4)
        return self.head(maps)


class SmallCNN(nn.Module):
    """A small CNN for a laptop: convolutions with batch norm; 1,165,159 weights by default.

    On a CPU it is large maps that cost time, not weights: so one convolution alone sees all 48×48 pixels, and pooling
    comes before batch norm and ReLU, as in airbench (Jordan, "94 % on CIFAR-10 in 3.29 seconds", 2024).
    filters: of the first convolution, then of two or more stages of two convolutions, the last two stages pooled.
    dropout: before the last layer.
    forward: (N, 1, 48, 48) float -> (N, 7) logits.
    """

    def __init__(self, *, filters=(32, 64, 128, 256), dropout=0.2):
        super().__init__()
        self.preprocess = Preprocess()
        first, *wider = filters
        stages, channels = [*self._convolution(1, first, pooled=True)], first  # 48 -> 24
        for k, wide in enumerate(wider):
            stages += self._convolution(channels, wide, pooled=k >= len(wider) - 2)  # ..., 12, 6
            stages += self._convolution(wide, wide)
            channels = wide
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(Dropout(dropout), nn.Linear(channels, len(EMOTIONS)))

    @staticmethod
    def _convolution(channels: int, wide: int, pooled: bool = False) -> list:
        pool = [nn.MaxPool2d(2)] if pooled else []
        return [nn.Conv2d(channels, wide, 3, padding=1, bias=False), *pool, nn.BatchNorm2d(wide), nn.ReLU()]

    @property
    def cam_layer(self) -> nn.Module:
        """The last ReLU: 6×6 maps."""
        return self.stages[-1]

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        maps = self.stages(faces)  # (N, 1, 48, 48) -> (N, 256, 6, 6)
        return self.head(maps.mean(dim=(2, 3)))


class Ensemble(nn.Module):
    """`count` SmallCNNs that answer together: the mean of their probabilities. The other arguments are SmallCNN's.

    forward: (N, 1, 48, 48) float -> (N, 7) logits, the logarithm of that mean.
    """

    def __init__(self, *, count: int = 3, **arguments):
        super().__init__()
        self.preprocess = Preprocess()
        self.members = nn.ModuleList(SmallCNN(**arguments) for _ in range(count))

    @property
    def cam_layer(self) -> nn.Module:
        """None: ValueError, for Grad-CAM looks at one network."""
        raise ValueError("An ensemble has no one last layer: give Grad-CAM one of its members.")

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        answers = [member(faces).float().softmax(1) for member in self.members]
        return (sum(answers) / len(answers)).clamp_min(1e-12).log()
