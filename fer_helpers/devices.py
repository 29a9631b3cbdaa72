"""The machine under a training: budget, device, precision, and the run card that says what it was."""

import ctypes
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from fer_helpers import paths

BUDGETS = ("smoke", "quick", "full")


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
    """Ask the C library to keep freed memory for the next step's tensors; only glibc can be asked.

    The system fills every page that it hands out with zeros, which took a tenth of a training step on 2 cores.
    """
    trim_threshold, most_mmaps = -1, -4  # names of mallopt(3)
    with suppress(OSError, AttributeError, TypeError):  # no C library to open by this name, or it has no mallopt
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(most_mmaps, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def pick_precision(precision: str, device: torch.device) -> str:
    """float32 or bfloat16; `auto` takes bfloat16 where the device has units for it."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has_units else "float32"


@contextmanager
def short_of_memory() -> Iterator[None]:
    """Turn torch's ways of saying that memory ran out into one sentence that says what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        cuda, told = isinstance(error, torch.OutOfMemoryError), str(error).startswith("Memory ran out on")  # further in
        if told or not (cuda or isinstance(error, MemoryError) or "can't allocate memory" in str(error)):
            raise
        where, advice = ("the CUDA device", ", or device=cpu") if cuda else ("this machine", "")
        raise MemoryError(
            f"Memory ran out on {where}: close what else uses it, or give a smaller batch_size{advice}. "
            "Finished epochs are kept."
        ) from error


def commit() -> str:
    """The workbook's commit, with + if the working tree differs from it; 'unknown' outside git."""
    ask = ["git", "-C", str(paths.ROOT), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def run_card(device: torch.device, **more) -> dict:
    """Where and how a result came about, JSON-ready; `more` adds seconds, budget, seed, …"""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    versions |= {"torchvision": metadata.version("torchvision")}  # importing it takes seconds
    card = {"commit": commit(), "when": paths.now(), "versions": versions}
    return card | {"device": f"{device.type}: {name}", "threads": torch.get_num_threads(), **more}
