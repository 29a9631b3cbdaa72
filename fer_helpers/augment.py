"""Random changes of training faces: every face of a batch is changed by itself, on the device."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Augment:
    """How strongly faces are changed; 0 switches a change off.

    flip: probability of mirroring. degrees: rotation to either side. shift: of the side, to either side.
    scale: relative, smaller and larger. brightness: added, in units of the network's input: mostly
    standard deviations of the data. contrast: relative. noise: a pixel's, in the same units, up to this much in a face.
    erase: probability of blanking a rectangle of up to a quarter of the area.
    """

    flip: float = 0.5
    degrees: float = 7.0
    shift: float = 0.05
    scale: float = 0.07
    brightness: float = 0.1
    contrast: float = 0.1
    noise: float = 0.0
    erase: float = 0.0

    def __call__(self, faces: torch.Tensor, generator: torch.Generator | None = None, labels=None) -> torch.Tensor:
        """faces: (N, C, H, W) float, normalised. labels: (N,), not looked at here. returns: same shape, new tensor."""
        if not any(vars(self).values()):
            return faces
        uniform = partial(torch.rand, (len(faces), 1, 1, 1), generator=generator, device=faces.device)
        moved = self._move(faces, generator)
        contrast, brightness = (2 * most * uniform() - most for most in (self.contrast, self.brightness))
        moved = moved * (1 + contrast) + brightness
        if self.noise:
            grain = torch.randn(faces.shape, generator=generator, device=faces.device)
            moved = moved + self.noise * uniform() * grain
        return self._erase(moved, generator) if self.erase else moved

    def _move(self, faces, generator):
        """Rotate, scale, shift and mirror each face by its own amount; what comes in at the border repeats the edge."""
        turn, size, coin, x, y = 2 * torch.rand(5, len(faces), generator=generator, device=faces.device) - 1  # [-1, 1)
        angle, zoom = torch.deg2rad(self.degrees * turn), 1 + self.scale * size
        mirror = torch.where((coin + 1) / 2 < self.flip, -1.0, 1.0)
        cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
        rows = [mirror * cos, -sin, 2 * self.shift * x], [mirror * sin, cos, 2 * self.shift * y]
        theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (N, 2, 3)
        grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
        return F.grid_sample(faces, grid, padding_mode="border", align_corners=False)

    def _erase(self, faces, generator):
        """Set a random rectangle to the data's mean, which is 0 after normalising."""
        n, _, height, width = faces.shape
        y, x, tall, wide, coin = torch.rand(5, n, 1, 1, generator=generator, device=faces.device)
        rows = (torch.arange(height, device=faces.device).view(1, -1, 1) / height - y).abs() < tall / 4
        columns = (torch.arange(width, device=faces.device).view(1, 1, -1) / width - x).abs() < wide / 4
        hole = rows & columns & (coin < self.erase)  # (N, H, W)
        return faces.masked_fill(hole.unsqueeze(1), 0.0)


@dataclass(frozen=True)
class ByEmotion:
    """Another augmentation for one emotion's faces. emotion: its number, order of EMOTIONS."""

    emotion: int
    own: Augment
    others: Augment

    def __call__(self, faces: torch.Tensor, generator: torch.Generator | None, labels: torch.Tensor) -> torch.Tensor:
        """faces: (N, C, H, W) float, normalised. labels: (N,). returns: same shape, new tensor."""
        mine = (labels == self.emotion).view(-1, 1, 1, 1)  # both are computed: to pick rows would wait for the device
        return torch.where(mine, self.own(faces, generator), self.others(faces, generator))
