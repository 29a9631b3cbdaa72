"""What heat maps say, and whether to believe them: regions of a face, deletion and insertion, randomised networks.

Sources: Petsiuk et al., "RISE" (2018), for deletion and insertion; Adebayo et al., "Sanity Checks for Saliency Maps"
(2018), for randomising a network layer by layer.
"""

import copy
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer_helpers import models, statistics
from fer_helpers.explain.grad_cam import enlarged
from fer_helpers.faces import SIDE

# (top, bottom, left, right) in FER-2013's frame, read off the mean face of Training before any map was seen
BOXES = {"brows": (9, 15, 8, 41), "eyes": (15, 21, 8, 41), "nose": (21, 33, 17, 32), "mouth": (34, 44, 13, 36)}
REGIONS = (*BOXES, "surround")
MOVES = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))  # pixels down and right: unmoved first, then a little elsewhere


def regions(down: int = 0, right: int = 0) -> np.ndarray:
    """(5, 48, 48) bool, order of REGIONS: the boxes moved by so many pixels, and the surround, all that is in none."""
    masks = np.zeros((len(BOXES), SIDE, SIDE), bool)
    for mask, (top, bottom, first, last) in zip(masks, BOXES.values(), strict=True):
        mask[top + down : bottom + down, first + right : last + right] = True
    return np.concatenate([masks, ~masks.any(axis=0, keepdims=True)])


def densities(heats: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of a map's weight in each region over the region's share of the area: 1 everywhere for a flat map.

    heats: (N, 48, 48) ≥ 0. masks: (R, 48, 48) bool. returns: (N, R) float64; nan for an empty map, which says nothing.
    """
    weights = heats.reshape(len(heats), masks[0].size).astype(np.float64)  # -1 can't be known for no map at all
    inside = weights @ masks.reshape(len(masks), -1).T.astype(np.float64)
    whole = heats.sum(axis=(1, 2), dtype=np.float64)[:, None]
    return inside / np.where(whole > 0, whole, np.nan) / masks.mean(axis=(1, 2))


def blob(width: float = SIDE / 5) -> np.ndarray:
    """(1, 48, 48): a bell in the middle, `width` pixels in deviation, as a map that knows no face might be."""
    along = np.exp(-0.5 * ((np.arange(SIDE) - (SIDE - 1) / 2) / width) ** 2)
    return np.outer(along, along)[None].astype(np.float32)


def patches(count: int, grid: int, seed: int = 0) -> np.ndarray:
    """(count, 48, 48): maps of random numbers on a grid × grid, enlarged as Grad-CAM's are: a fair random order."""
    draws = torch.rand(count, grid, grid, generator=torch.Generator().manual_seed(seed))
    return enlarged(draws, SIDE).numpy()


@torch.inference_mode()
def erasing(model: nn.Module, images: torch.Tensor, targets, heats: np.ndarray, steps: int = 12, batch: int = 256):
    """Deletion and insertion curves: the target's probability while pixels are blurred, hottest first, or come back.

    images: (N, 48, 48) uint8 on the model's device. targets: (N,) int. heats: (N, 48, 48), the order of the pixels.
    returns: deletion, which a good map makes fall early, and insertion, which it makes rise early: (N, steps + 1)
    float32 each. Pixels of equal heat, of which ReLU leaves many, are taken in random order.
    """
    model.eval()
    generator = torch.Generator(images.device).manual_seed(0)
    targets = torch.as_tensor(np.asarray(targets), device=images.device)[:, None]
    curves = ([], [])
    parts = (each.split(batch) for each in (images, targets, torch.from_numpy(heats)))
    for sharp, target, heat in zip(*parts, strict=True):
        heat = heat.to(images.device).flatten(1)
        heat = heat + 1e-6 * torch.rand(heat.shape, generator=generator, device=heat.device)
        rank = heat.argsort(dim=1, descending=True).argsort(dim=1).view(sharp.shape)  # 0: the hottest pixel
        blurred = blur(sharp)
        for curve, (start, end) in zip(curves, ((sharp, blurred), (blurred, sharp)), strict=True):
            mixed = (torch.where(rank < SIDE * SIDE * k / steps, end, start) for k in range(steps + 1))
            curve.append(torch.cat([models.probabilities(model, each).gather(1, target) for each in mixed], dim=1))
    return tuple(torch.cat(curve).cpu().numpy() for curve in curves)


def blur(images: torch.Tensor, width: int = 15) -> torch.Tensor:
    """(N, 48, 48) uint8 -> the same without detail: two box means of `width` pixels, edges repeated."""
    blurred = images[:, None].float()
    for _ in range(2):
        blurred = F.avg_pool2d(F.pad(blurred, [width // 2] * 4, mode="replicate"), width, stride=1)
    return blurred[:, 0].round().to(torch.uint8)


def layers(model: nn.Module) -> list[list[nn.Module]]:
    """The network's convolutions and linear layers from first to last, each with the batch norm that follows it."""
    groups = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            groups.append([part])
        elif groups and hasattr(part, "reset_parameters"):  # timm's batch norm has parts of its own
            groups[-1].append(part)
    return groups


def randomised(model: nn.Module, count: int, seed: int = 0) -> nn.Module:
    """A copy of the network with new random weights in its last `count` layers; the given one is left as it is."""
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(10**6 + seed)  # the seed itself may give the very weights that the network began with
        for part in chain.from_iterable(layers(fresh)[-count:] if count else []):
            part.reset_parameters()
    return fresh


def alike(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) correlation of two maps of each face, (N, 48, 48) each; faces with an empty or flat map are left out."""
    pairs = zip(some.reshape(len(some), -1), others.reshape(len(others), -1), strict=True)
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in pairs if one.std() and other.std()])


def partners(answers: np.ndarray) -> np.ndarray:
    """(N,) for each face another one with the same answer; -1 where there is none."""
    others = np.full(len(answers), -1)
    for answer in np.unique(answers):
        mine = np.flatnonzero(answers == answer)
        others[mine] = np.roll(mine, 1) if len(mine) > 1 else -1
    return others


def mean_of(values: np.ndarray, together: np.ndarray, among=1, of="density") -> statistics.Difference | None:
    """Mean over faces against 0, by statistics.pigeonhole_mean; None where no face has a value.

    values: (N,), or (S, N) of S draws of a control; faces with a nan are left out. together: (N,), duplicates' groups.
    """
    values = np.atleast_2d(values)
    valid = ~np.isnan(values).any(axis=0)
    options = {"together": together[valid], "among": among, "of": of}
    return statistics.pigeonhole_mean(values[:, valid], 0, **options) if valid.any() else None


def leads(learnt: np.ndarray, fresh: np.ndarray, centre: np.ndarray, region: str) -> dict[str, np.ndarray]:
    """Condition -> what is above zero if maps look at a region: its density less what it must beat, (N,) or (S, N).

    learnt: (N, 5) densities of the trained network's maps; fresh: (S, N, 5), of S networks with random weights;
    centre: (5,), of a blob. A condition that ends in * is a control: see verdict.
    """
    here = REGIONS.index(region)
    controls = {"above a centre blob*": centre[here], "above random weights*": fresh[..., here]}
    others = {f"above the {name}": learnt[:, k] for k, name in enumerate(REGIONS) if k != here}
    return {name: learnt[:, here] - other for name, other in ({"above a flat map": 1.0} | others | controls).items()}


def even(learnt: np.ndarray, fresh: np.ndarray, centre: np.ndarray, factor: float = 1.25) -> dict[str, np.ndarray]:
    """As leads, if maps look at the whole face: at all four parts, none `factor` times above or below their mean."""
    face = learnt[:, :-1]
    mean = face.mean(axis=1)
    less = {f"{name} not too dense": factor * mean - face[:, k] for k, name in enumerate(BOXES)}
    more = {f"{name} not too thin": face[:, k] - mean / factor for k, name in enumerate(BOXES)}
    uneven = lambda parts: np.ptp(parts[..., :-1], axis=-1) / np.maximum(parts[..., :-1].mean(axis=-1), 1e-12)  # noqa: E731
    controls = {"evener than a centre blob*": centre, "evener than random weights*": fresh}
    controls = {name: uneven(other) - uneven(learnt) for name, other in controls.items()}
    return {"face above the surround": mean - learnt[:, -1]} | less | more | controls


def claim(learnt: np.ndarray, fresh: np.ndarray, region: str, together: np.ndarray) -> dict:
    """The verdict on the claim that maps look at a region, or at the `whole face`; regions moved as in MOVES.

    learnt: (N, 48, 48) maps of the trained network; fresh: (S, N, 48, 48), of networks with random weights.
    """
    placements = []
    for masks in (regions(*move) for move in MOVES):
        random = np.nan_to_num([densities(maps, masks) for maps in fresh], nan=1.0)  # an empty map counts as flat
        measured = densities(learnt, masks), random, densities(blob(), masks)[0]
        placements.append(even(*measured) if region == "whole face" else leads(*measured, region))
    return verdict(placements, together)


def verdict(placements: list[dict[str, np.ndarray]], together: np.ndarray) -> dict:
    """Whether a claim holds: every condition of leads or even above zero wherever the regions are placed.

    It doesn't hold if one is below zero at the first placement, the unmoved, by the interval that shares its error
    among them; controls only keep it from holding. returns: verdict (holds, doesn't, inconclusive), unmet (what keeps
    it from holding) and found (each condition's Difference at the first placement, None where no face has a map).
    """
    firm = sum("*" not in name for name in placements[0])
    tested = [{name: mean_of(each, together, firm) for name, each in values.items()} for values in placements]
    below = [name for name, each in tested[0].items() if "*" not in name and each and each.verdict_shared == "lower"]
    short = {name for means in tested for name, each in means.items() if each is None or each.verdict != "higher"}
    outcome = "doesn't" if below else "inconclusive" if short else "holds"
    return {"verdict": outcome, "unmet": [name.rstrip("*") for name in below or sorted(short)], "found": tested[0]}
