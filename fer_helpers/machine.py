"""The machine under a training: budget, device, precision, and the run card that says what it was."""

import copy
import ctypes
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from fer_helpers import paths

BUDGETS = ("smoke", "quick", "full")
PRECISIONS = ("float32", "bfloat16")
TIMED_STEPS = 3


def pick_device(device: str = "auto") -> torch.device:
    """The device to work on: cuda if there is one, else cpu. Raises ValueError for one that isn't there."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is '{device}': choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch sees no CUDA device here: choose auto or cpu.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def pick_budget(budget: str, device: torch.device | None = None) -> str:
    """The budget by name; auto is full on CUDA and quick on a CPU. Raises ValueError for an unknown one."""
    if budget not in ("auto", *BUDGETS):
        raise ValueError(f"budget is '{budget}': choose auto, {', '.join(BUDGETS)}.")
    return budget if budget != "auto" else "full" if (device or pick_device()).type == "cuda" else "quick"


def numbers(precision: str, device: torch.device):
    """The context in which a network computes: autocast for bfloat16, nothing for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def keep_memory() -> None:
    """Ask the C library to keep what is freed, for the tensors of the next step, rather than give it back each time.

    The system fills every page that it hands out with zeros, which took a tenth of a training step on 2 cores. Only
    glibc can be asked; elsewhere nothing happens. The process then keeps the memory that it once had.
    """
    trim_threshold, most_mmaps = -1, -4  # names of mallopt(3)
    with suppress(OSError, AttributeError, TypeError):  # no C library to open by this name, or it has no mallopt
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(most_mmaps, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def pick_precision(precision: str, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> str:
    """float32 or bfloat16; `auto` times training steps of each on copies of the model and takes the faster.

    images: (B, 48, 48) uint8, one batch on the device of the model. labels: (B,) int64.
    """
    if precision != "auto":
        if precision not in PRECISIONS:
            raise ValueError(f"precision is '{precision}': choose auto, float32 or bfloat16.")
        return precision
    device = images.device
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "float32"
    seconds = {trial: _seconds_of_steps(copy.deepcopy(model), images, labels, trial) for trial in PRECISIONS}
    return min(seconds, key=seconds.get)


def _seconds_of_steps(model, images, labels, precision, forward=None) -> float:
    """Seconds of some training steps of a model that may be spoilt; `forward` is its compiled form."""
    device, forward = images.device, forward or model
    model.train()
    with torch.random.fork_rng():  # dropout must not change what the training draws later
        for step in range(TIMED_STEPS + 1):
            if step <= 1:  # the first step warms up and doesn't count
                start = time.perf_counter()
            faces = model.preprocess(images).contiguous(memory_format=torch.channels_last)
            with numbers(precision, device):
                loss = F.cross_entropy(forward(faces), labels)
            loss.backward()
            loss.item()  # waits for the device
    return time.perf_counter() - start


def compiled(model: nn.Module, sample: tuple, precision: str, steps: int) -> Callable:
    """The model's forward pass for training: on CUDA compiled, if that saves more time than it costs, else as it is.

    sample: (images, labels), one batch on the device. steps: how many are still to come.
    """
    device = sample[0].device
    if device.type != "cuda":  # on CPUs torch.compile made both small networks slower
        return model
    seconds = {"plain": _seconds_of_steps(model, *sample, precision)}
    start = time.perf_counter()
    try:
        trial = copy.deepcopy(model)
        fast = torch.compile(trial)
        seconds["compiled"] = _seconds_of_steps(trial, *sample, precision, forward=fast)
    except Exception:  # no C compiler, no Triton, an operation it doesn't know: there are many ways to fail
        return model
    spent = time.perf_counter() - start  # the compiler keeps what it made, but may need as long again
    saved = (seconds["plain"] - seconds["compiled"]) / TIMED_STEPS * steps
    return torch.compile(model) if saved > spent else model


def memory(device: torch.device) -> int:
    """Bytes of memory that the device has, free or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else int(8e9)  # Windows


@contextmanager
def short_of_memory() -> Iterator[None]:
    """Turn the ways in which torch says that memory ran out into one sentence that says what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        cuda = isinstance(error, torch.OutOfMemoryError)
        if not (cuda or isinstance(error, MemoryError) or "can't allocate memory" in str(error)):
            raise
        raise MemoryError(
            f"Memory ran out on {'the CUDA device' if cuda else 'this machine'}: close what else uses it, or give a "
            f"smaller batch_size" + (", or device=cpu" if cuda else "") + ". Finished epochs are kept."
        ) from error


def commit() -> str:
    """The workbook's commit, with + if the working tree differs from it; 'unknown' outside git."""
    ask = ["git", "-C", str(paths.ROOT), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def run_card(device: torch.device, **more) -> dict:
    """Where and how a result came about, JSON-ready; `more` adds seconds, budget, seed, …"""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    return {
        "commit": commit(),
        "when": paths.now(),
        "versions": {**versions, "numpy": np.__version__},
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        **more,
    }
