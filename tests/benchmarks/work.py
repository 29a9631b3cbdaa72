"""Where the time of a training goes: products at the machine's rate, products below it, the rest. On the CPU."""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from fer_helpers import devices, settings
from fer_helpers.faces import Faces, shuffled
from tests.benchmarks import usual
from tests.benchmarks.fresh import timed

SHAPES = {"2048³": (2048, 2048, 2048), "convolution": (128 * 12 * 12, 64 * 9, 128)}  # (M, K, N); four_layer's third
# Of operations, by what stands in their names; the first that fits counts
KINDS = {"convolution": ("convolution",), "matrix product": ("aten::mm", "aten::addmm"), "batch norm": ("batch_norm",)}
KINDS |= {"pooling": ("pool",), "ReLU": ("relu", "threshold", "clamp_min")}
KINDS |= {"dropout": ("bernoulli", "dropout", "aten::mul", "aten::div")}
KINDS |= {"filling and copying": ("fill_", "copy", "zero_", "aten::to")}
PRODUCTS = ("convolution", "matrix product")


def work(folder: str, steps: str, turns: str) -> dict:
    """The machine's rate of matrix products, and what a training makes of it, network by network."""
    rates = products(1 if int(turns) == 1 else 10)
    networks = {network: share(network, folder, int(steps), int(turns), rates) for network in usual.NETWORKS}
    return {"products": rates, "networks": networks}


def products(tries: int) -> list[dict]:
    """GFLOP per second of the best of some matrix products, by precision and shape."""
    rates = []
    for precision in settings.CHOICES["precision"][1:]:
        row = {"precision": precision}
        for name, (m, k, n) in SHAPES.items():
            one, other = (torch.randn(shape).to(getattr(torch, precision)) for shape in ((m, k), (k, n)))
            seconds = min(timed(torch.matmul, one, other)[1] for _ in range(tries + 1))
            row[name] = round(2 * m * k * n / seconds / 1e9, 1)
        rates.append(row)
    return rates


def flops(model: nn.Module, faces: torch.Tensor, labels: torch.Tensor) -> int:
    """Multiplications and additions of the products of forward and backward, as torch counts them from the shapes."""
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(faces), labels).backward()
    return counter.get_total_flops()


def share(network: str, folder: str, steps: int, turns: int, rates: list[dict]) -> dict:
    """Where the time of an epoch goes: full rate, products below it, other operations, outside the network.

    The first is the share of the machine's rate that training reaches; the four add up to 1.
    """
    size = usual.CONFIG.batch_size
    people, warm = usual.read_faces(folder, steps * size), usual.read_faces(folder, size)
    precision = devices.pick_precision("auto", usual.CPU)
    steps = Steps(network, people, precision)
    steps.parts(), steps.bare()  # warm
    runs = [
        (1 / usual.fit_rate(network, warm, people, precision), steps.bare() / len(people), steps.parts())
        for _ in range(turns)
    ]
    whole, bare = (float(np.median([run[column] for run in runs])) for column in (0, 1))
    full = max(row[name] for row in rates for name in SHAPES if row["precision"] == precision)
    work, kinds = flops(usual.build(network), *steps.fixed[0]) / size, steps.kinds()
    ideal, busy = work / full / 1e9, bare * sum(kinds[name] for name in PRODUCTS)
    pieces = {"products at full rate": ideal, "products below it": busy - ideal}
    pieces |= {"other operations": bare - busy, "outside": whole - bare}
    shares = {
        "precision": precision,
        "images_per_second": round(1 / whole, 1),
        "forward_backward_images_per_second": round(1 / bare, 1),
        "flop_per_face": work,
        "gflop_per_second": round(work / whole / 1e9, 1),
        "share_of_product_rate": round(ideal / whole, 4),
        "share_outside_forward_backward": round(1 - bare / whole, 4),
        "epoch": {name: round(seconds / whole, 4) for name, seconds in pieces.items()},
        "step_ms": {name: round(1e3 * float(np.median([run[2][name] for run in runs])), 3) for name in runs[0][2]},
        "operations": {name: round(part, 4) for name, part in kinds.items()},
    }
    return shares


class Steps:
    """Training steps of one network, made as training.fit makes them, whose parts can be timed."""

    def __init__(self, network: str, people: Faces, precision: str):
        self.people, self.precision = people, precision
        self.model = usual.build(network).to(memory_format=torch.channels_last).train()
        self.loss_of = settings.make_loss(people.counts(), usual.CONFIG)
        parts = (each.split(usual.CONFIG.batch_size) for each in (people.images, people.labels))
        self.fixed = [(self.prepared(images), labels) for images, labels in zip(*parts, strict=True)]

    def prepared(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 48, 48) uint8 -> what the network trains on."""
        return usual.CONFIG.augment(self.model.preprocess(images)).contiguous(memory_format=torch.channels_last)

    def forward_backward(self, faces: torch.Tensor, labels: torch.Tensor, between: Callable = lambda: None) -> None:
        """One pass to the loss and back."""
        with devices.numbers(self.precision, usual.CPU):
            loss = self.loss_of(self.model(faces), labels)
        between()
        self.model.zero_grad(set_to_none=True)
        loss.backward()

    def bare(self) -> float:
        """Seconds of forward and backward alone, over all faces."""
        return timed(lambda: [self.forward_backward(*batch) for batch in self.fixed])[1]

    def parts(self) -> dict:
        """Seconds of a step, part by part: the mean over an epoch."""
        optimizer = settings.make_optimizer(self.model, usual.CONFIG)
        schedule = settings.make_schedule(optimizer, usual.CONFIG, len(self.fixed))
        spent, order, last = {}, torch.Generator().manual_seed(0), time.perf_counter()

        def lap(name: str) -> None:
            nonlocal last
            now = time.perf_counter()
            spent[name], last = spent.get(name, 0.0) + (now - last) / len(self.fixed), now

        for part in shuffled(self.people, usual.CONFIG.batch_size, order):
            images, labels = self.people.images[part], self.people.labels[part]
            lap("indexing")
            faces = self.prepared(images)
            lap("preprocess and augment")
            self.forward_backward(faces, labels, between=lambda: lap("forward"))
            lap("backward")
            optimizer.step()
            schedule.step()
            lap("optimizer")
        return spent

    def kinds(self) -> dict:
        """Share of each kind of operation in forward and backward, as torch's profiler sees it; they add up to 1."""
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            for batch in self.fixed[:10]:
                self.forward_backward(*batch)
        spent = dict.fromkeys([*KINDS, "else"], 0.0)
        for event in seen.key_averages():
            fits = (kind for kind, words in KINDS.items() if any(word in event.key for word in words))
            spent[next(fits, "else")] += event.self_cpu_time_total
        return {kind: time / sum(spent.values()) for kind, time in spent.items()}
