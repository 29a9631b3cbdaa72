"""What heat maps say, and whether they are to be believed: regions of a face, erasing, randomised networks.

Sources: Petsiuk et al., "RISE" (2018), for deletion and insertion; Adebayo et al., "Sanity Checks for Saliency Maps"
(2018), for randomising a network layer by layer.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer_helpers import models, statistics
from fer_helpers.explain.grad_cam import enlarged
from fer_helpers.faces import SIDE
from fer_helpers.statistics import Difference

# Rows and columns of faces framed as FER-2013 frames them, read off the mean face of Training before any map was seen
BOXES = {
    "brows": (slice(9, 15), slice(8, 41)),
    "eyes": (slice(15, 21), slice(8, 41)),
    "nose": (slice(21, 33), slice(17, 32)),
    "mouth": (slice(34, 44), slice(13, 36)),
}
REGIONS = (*BOXES, "surround")
MOVES = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))  # pixels down and right: as drawn first, then a little elsewhere


def regions(down: int = 0, right: int = 0) -> np.ndarray:
    """(5, 48, 48) bool, order of REGIONS: the boxes moved by so many pixels, and the surround, all that is in none."""
    masks = np.zeros((len(REGIONS), SIDE, SIDE), bool)
    for mask, (rows, columns) in zip(masks, BOXES.values(), strict=False):
        mask[rows.start + down : rows.stop + down, columns.start + right : columns.stop + right] = True
    masks[-1] = ~masks[:-1].any(axis=0)
    return masks


def densities(heats: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of a map's weight in each region over the region's share of the area: 1 everywhere for a flat map.

    heats: (N, 48, 48) ≥ 0. masks: (R, 48, 48) bool. returns: (N, R) float64; nan for an empty map, which says nothing.
    """
    inside = heats.reshape(len(heats), -1).astype(np.float64) @ masks.reshape(len(masks), -1).T.astype(np.float64)
    whole = heats.sum(axis=(1, 2), dtype=np.float64)[:, None]
    share = inside / np.where(whole > 0, whole, np.nan)
    return share / masks.mean(axis=(1, 2))


def blob(width: float = SIDE / 5) -> np.ndarray:
    """(1, 48, 48): a bell in the middle, `width` pixels in deviation; what a map that knows no face might look like."""
    along = np.exp(-0.5 * ((np.arange(SIDE) - (SIDE - 1) / 2) / width) ** 2)
    return np.outer(along, along)[None].astype(np.float32)


def patches(count: int, grid: int, seed: int = 0) -> np.ndarray:
    """(count, 48, 48): maps of random numbers on a grid × grid, enlarged as Grad-CAM's are: a fair random order."""
    draws = torch.rand(count, grid, grid, generator=torch.Generator().manual_seed(seed))
    return enlarged(draws, SIDE).numpy()


@torch.inference_mode()
def erasing(model: nn.Module, images: torch.Tensor, targets, heats: np.ndarray, steps: int = 12, batch: int = 256):
    """What the network thinks of the target while pixels are blurred away, the hottest first, and while they come back.

    images: (N, 48, 48) uint8 on the model's device. targets: (N,) int. heats: (N, 48, 48), the order of the pixels.
    returns: deletion and insertion, each (N, steps + 1) float32, the target's probability after every step, from
    nothing changed to everything. A good map makes deletion fall early and insertion rise early. Places of equal heat,
    as ReLU leaves many, are taken by lot.
    """
    model.eval()
    lot = torch.Generator(images.device).manual_seed(0)
    targets = torch.as_tensor(np.asarray(targets), device=images.device)
    found = ([], [])
    for first in range(0, len(images), batch):
        part, mine = images[first : first + batch], targets[first : first + batch, None]
        heat = torch.from_numpy(heats[first : first + batch]).to(images.device).flatten(1)
        heat = heat + 1e-6 * torch.rand(heat.shape, generator=lot, device=heat.device)
        rank = heat.argsort(dim=1, descending=True).argsort(dim=1).view(part.shape)  # 0: the hottest pixel
        blurred = blur(part)
        for curve, (start, end) in zip(found, ((part, blurred), (blurred, part)), strict=True):
            levels = [
                models.probabilities(model, torch.where(rank < SIDE * SIDE * k / steps, end, start)).gather(1, mine)
                for k in range(steps + 1)
            ]
            curve.append(torch.cat(levels, dim=1).cpu())
    return tuple(torch.cat(curve).numpy() for curve in found)


def blur(images: torch.Tensor, width: int = 15) -> torch.Tensor:
    """(N, 48, 48) uint8 -> the same without detail: two box means of `width` pixels, edges repeated."""
    blurred = images[:, None].float()
    for _ in range(2):
        blurred = F.avg_pool2d(F.pad(blurred, [width // 2] * 4, mode="replicate"), width, stride=1)
    return blurred[:, 0].round().to(torch.uint8)


def layers(model: nn.Module) -> list[list[nn.Module]]:
    """The network's convolutions and linear layers from first to last, each with the batch norm that follows it."""
    found = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            found.append([part])
        elif found and hasattr(part, "reset_parameters") and not list(part.children()):
            found[-1].append(part)
    return found


def randomised(model: nn.Module, count: int, seed: int = 0) -> nn.Module:
    """A copy of the network whose last `count` layers are drawn anew; the given one is left as it is."""
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(10**6 + seed)  # the seed itself may give the very weights that the network began with
        for layer in layers(fresh)[-count:] if count else []:
            for part in layer:
                part.reset_parameters()
    return fresh


def alike(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) correlation of two maps of each face, (N, 48, 48) each; faces with an empty or flat map are left out."""
    pairs = zip(some.reshape(len(some), -1), others.reshape(len(others), -1), strict=True)
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in pairs if one.std() and other.std()])


def partners(answers: np.ndarray) -> np.ndarray:
    """(N,) for each face another one with the same answer; -1 where there is none."""
    found = np.full(len(answers), -1)
    for answer in np.unique(answers):
        mine = np.flatnonzero(answers == answer)
        if len(mine) > 1:
            found[mine] = np.roll(mine, 1)
    return found


def mean_of(values: np.ndarray, together: np.ndarray, among: int = 1, of: str = "density") -> Difference | None:
    """Mean over faces against 0, by statistics.pigeonhole_mean; None where no face has a value.

    values: (N,), or (S, N) where several draws of a control are compared; faces with a nan are left out. together:
    (N,) duplicates that are drawn as one.
    """
    values = np.atleast_2d(values)
    valid = ~np.isnan(values).any(axis=0)
    if not valid.any():
        return None
    return statistics.pigeonhole_mean(values[:, valid], 0, together=together[valid], among=among, of=of)


def leads(learnt: np.ndarray, fresh: np.ndarray, centre: np.ndarray, region: str) -> dict[str, np.ndarray]:
    """What must be above zero if maps are to look at the region: its density less that of whatever it must beat.

    learnt: (N, 5) densities of the trained network's maps; fresh: (S, N, 5), of S networks with random weights, 1
    everywhere where such a map is empty; centre: (5,), of a bell in the middle.
    returns: condition -> (N,) or (S, N). Those whose name ends in * are controls: see verdict.
    """
    here = REGIONS.index(region)
    controls = {"above a centre blob*": centre[here], "above random weights*": np.nan_to_num(fresh[..., here], nan=1.0)}
    others = {f"above the {name}": learnt[:, k] for k, name in enumerate(REGIONS) if k != here}
    return {name: learnt[:, here] - other for name, other in ({"above a flat map": 1.0} | others | controls).items()}


def even(learnt: np.ndarray, fresh: np.ndarray, centre: np.ndarray, factor: float = 1.25) -> dict[str, np.ndarray]:
    """What must be above zero if maps are to look at the whole face: all four parts, none far from their mean.

    learnt, fresh, centre: as in leads. factor: how many times more or less than the four's mean a part may have.
    """
    face, surround = learnt[:, :-1], learnt[:, -1]
    mean = face.mean(axis=1)
    less = {f"{name} not too dense": factor * mean - face[:, k] for k, name in enumerate(BOXES)}
    more = {f"{name} not too thin": face[:, k] - mean / factor for k, name in enumerate(BOXES)}
    uneven = lambda parts: np.ptp(parts[..., :-1], axis=-1) / np.maximum(parts[..., :-1].mean(axis=-1), 1e-12)  # noqa: E731
    fresh = np.nan_to_num(fresh, nan=1.0)
    controls = {"evener than a centre blob*": uneven(centre), "evener than random weights*": uneven(fresh)}
    controls = {name: other - uneven(learnt) for name, other in controls.items()}
    return {"face above the surround": mean - surround} | less | more | controls


def claim(learnt: np.ndarray, fresh: np.ndarray, region: str, together: np.ndarray) -> dict:
    """What becomes of the claim that maps look at a region, or at the `whole face`; regions moved as in MOVES.

    learnt: (N, 48, 48) maps of the trained network; fresh: (S, N, 48, 48), of networks with random weights.
    together: (N,) duplicates that are drawn as one. returns: see verdict.
    """
    placements = []
    for move in MOVES:
        masks = regions(*move)
        mine, centre = densities(learnt, masks), densities(blob(), masks)[0]
        random = np.stack([densities(maps, masks) for maps in fresh])
        placements.append(even(mine, random, centre) if region == "whole face" else leads(mine, random, centre, region))
    return verdict(placements, together)


def verdict(placements: list[dict[str, np.ndarray]], together: np.ndarray) -> dict:
    """Whether a claim holds: every condition above zero wherever the regions are placed.

    placements: condition -> values, see leads, the regions unmoved first. A claim doesn't hold if there a condition is
    below zero by the interval that shares its error among them; controls, with a *, only keep it from holding.
    returns: verdict (holds, doesn't, inconclusive), unmet (the conditions that keep it from holding) and found (each
    condition's Difference at the first placement, None where no face has a map).
    """
    firm = sum("*" not in name for name in placements[0])
    tested = [{name: mean_of(each, together, firm) for name, each in values.items()} for values in placements]
    below = [name for name, each in tested[0].items() if "*" not in name and each and each.verdict_shared == "lower"]
    short = {name for means in tested for name, each in means.items() if each is None or each.verdict != "higher"}
    outcome = "doesn't" if below else "inconclusive" if short else "holds"
    return {"verdict": outcome, "unmet": [name.rstrip("*") for name in below or sorted(short)], "found": tested[0]}
