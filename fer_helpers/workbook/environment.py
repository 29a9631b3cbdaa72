"""Which Python runs the workbook, and building `.venv` when none fits: standard library alone, for old Pythons too."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from urllib import request

from fer_helpers.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 11)  # as requires-python in pyproject.toml, which older Pythons have no reader for
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
PYPI = "https://pypi.org/simple"
PATIENCE = 3  # seconds in which PyTorch's index must answer
EXTRAS = ("lab", "pretrained", "dev")  # of pyproject.toml, what `make setup` installs
COLABS_OWN = ("jupyterlab", "ipykernel")  # Colab has a server and a kernel of its own, and dies of another version
FULL_GB, SMALL_GB = 6.0, 1.7  # measured on Linux with torch 2.15: CUDA libraries are nearly all of the difference


def check_python() -> None:
    """Refuse a Python that is too old, before anything that it can't read is imported."""
    if sys.version_info[:2] < OLDEST:
        have, oldest = (".".join(map(str, version)) for version in (sys.version_info[:3], OLDEST))
        needs = f"This is Python {have} ({sys.executable}), and the workbook needs {oldest} or newer"
        raise UserError(f"{needs}: install one from python.org and name it, like make run-all PYTHON=python{oldest}")


def ensure(torch_index: str = "", root: Path = ROOT) -> Path:
    """The Python that has what the workbook needs: this one where it will do, or that of `.venv`, built if need be."""
    where, needed = place(root), requirements(root)
    if where == "colab":
        complete(root, needed)
        return Path(sys.executable)
    lacking = missing([line for each in ("core", *EXTRAS) for line in needed[each]])
    if where == "conda" and lacking:
        name = os.environ.get("CONDA_DEFAULT_ENV", "")
        which = "--prefix" if os.sep in name or not name else "--name"
        update = f'conda env update {which} "{name or sys.prefix}" --file environment.yml'
        raise UserError(f"The active conda environment lacks {', '.join(lacking)}. Bring it up to date: {update}")
    if lacking or where == "system" or (where == "own" and torch_index):
        python = build(root, torch_index, again=bool(lacking) and where == "own")
        return Path(sys.executable) if where == "own" else python
    if torch_index:
        print(f"TORCH_INDEX isn't used: the active environment {sys.prefix} already has torch.")
    return Path(sys.executable)


def complete(root: Path, needed: dict[str, list[str]]) -> None:
    """Install what Colab lacks, and nothing that it runs on: a notebook needs no papermill, a command does."""
    lines = needed["core"] + needed["pretrained"] + ([] if "google.colab" in sys.modules else needed["lab"])
    lacking = missing([line for line in lines if not line.startswith(COLABS_OWN)])
    if old := [line for line in lacking if line.startswith("torch")]:  # 6 GB, which don't fit what is loaded already
        newer = "choose the latest runtime version (menu Runtime, Change runtime type), and run this again."
        raise UserError(f"The workbook needs {' and '.join(old)}, and this runtime of Colab has older ones: {newer}")
    if lacking:
        print(f"Installing what Colab lacks: {', '.join(lacking)}")
        pip(Path(sys.executable), root, *lacking)


def place(root: Path = ROOT) -> str:
    """Where this interpreter lives: colab, own (the workbook's .venv), venv (another one), conda, or system."""
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "colab"
    if Path(sys.prefix).resolve() == (root / ".venv").resolve():
        return "own"
    if sys.prefix != sys.base_prefix:
        return "venv"
    conda = os.environ.get("CONDA_PREFIX", "")
    name = os.environ.get("CONDA_DEFAULT_ENV") or Path(conda).name
    inside = conda and Path(conda).resolve() == Path(sys.prefix).resolve()  # not so for PYTHON=/another/python
    return "conda" if inside and name != "base" else "system"


def requirements(root: Path = ROOT) -> dict[str, list[str]]:
    """The requirements in pyproject.toml: core, and each extra by its name."""
    import tomllib  # not there before 3.11, where check_python has its say first

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"core": project["dependencies"], **project["optional-dependencies"]}


def missing(lines: list[str]) -> list[str]:
    """Those requirements that this interpreter doesn't meet: not installed, or older than their lower bound."""

    def numbers(version: str) -> list[int]:
        return [int(part) for part in re.match(r"[\d.]*", version).group().split(".") if part]

    lacking = []
    for line in lines:
        name, bound = re.match(r"([\w.-]+)[^>;]*(?:>=\s*([\d.]+))?", line).groups()
        try:
            lacking += [line] if numbers(metadata.version(name)) < numbers(bound or "") else []
        except metadata.PackageNotFoundError:
            lacking.append(line)
    return lacking


def python_in(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def site(folder: Path) -> Path:
    """Where a virtual environment keeps its packages."""
    return next(iter([*folder.glob("lib/python*/site-packages"), folder / "Lib" / "site-packages"]))


def build(root: Path, torch_index: str = "", again: bool = False) -> Path:
    """The Python of `.venv`, made or brought up to date with pyproject.toml.

    A stamp says what was installed and from where; an interrupted installation leaves `unfinished` there and is
    repeated. again: don't trust the stamp, something was uninstalled by hand.
    """
    folder = root / ".venv"
    stamp, python = folder / "fer_stamp", python_in(folder)
    chosen = torch_index or ("" if stamp.exists() else lighter())
    built, built_index = (*stamp.read_text().split(), "", "")[:2] if stamp.exists() else ("", chosen)
    index = chosen or built_index  # `make test` keeps the wheels that `make run-all` chose
    wanted = hashlib.sha256(json.dumps(requirements(root), sort_keys=True).encode()).hexdigest()
    if (built, built_index) == (wanted, index) and python.exists() and not again:
        return python
    announce(root, index)
    if built_index != index or not usable(python):  # torch and torchvision of two sources don't work together
        if place(root) == "own":
            raise UserError("This Python is that of .venv, which has to be made anew: type `deactivate`, then retry.")
        venv(folder)
    stamp.write_text(f"unfinished\n{index}\n")
    if index:
        pip(python, root, "torch", "torchvision", "--index-url", index)
    pip(python, root, "--editable", f".[{','.join(EXTRAS)}]")
    stamp.write_text(f"{wanted}\n{index}\n")
    return python


def lighter(index: str = CPU_WHEELS) -> str:
    """The index of CPU wheels, where PyPI's bring CUDA's libraries, no NVIDIA GPU is there and it answers; else ''."""
    gpu = shutil.which("nvidia-smi") or any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg")))
    heard = []

    def ask() -> None:
        with suppress(OSError, ValueError), request.urlopen(f"{index}/torch/", timeout=PATIENCE):
            heard.append(index)

    if sys.platform == "linux" and not gpu:
        asking = threading.Thread(target=ask, daemon=True)  # a name server may take longer than any timeout
        asking.start()
        asking.join(PATIENCE)
    return "".join(heard)


def announce(root: Path, index: str) -> None:
    """Say what the installation takes, where torch comes from, and whether the disk has room for it."""
    cuda = sys.platform == "linux" and not index.rstrip("/").endswith("/cpu")
    size, free = FULL_GB if cuda else SMALL_GB, shutil.disk_usage(root).free / 1e9
    print(f"Installing the workbook's packages into .venv: about {size:g} GB on disk, 1 to 3 minutes on a fast line.")
    print(f"torch comes from {index or PYPI}{', with CUDA libraries' * cuda}; TORCH_INDEX=address takes another.")
    if free < 1:
        raise UserError(f"Only {free:.1f} GB are free on the disk of {root}: make room for about {size:g} GB first.")
    if free < size:
        print(f"Careful: only {free:.1f} GB are free on the disk of {root}, so this may stop half-way.")


def usable(python: Path) -> bool:
    """True if this interpreter is there and its pip starts."""
    command = [str(python), "-m", "pip", "--version"]
    return python.exists() and subprocess.run(command, capture_output=True).returncode == 0


def venv(folder: Path, *options: str, python: str | Path = sys.executable) -> None:
    """A new virtual environment of that interpreter in place of any old one."""
    hint = "" if util.find_spec("ensurepip") else " On Debian and Ubuntu: sudo apt install python3-venv"
    run_quietly([str(python), "-m", "venv", "--clear", *options, str(folder)], f"venv can't make {folder}.{hint}")


def pip(python: Path, root: Path, *arguments: str) -> None:
    """Install with that interpreter's pip."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    run_quietly(command, f"pip couldn't install {' '.join(arguments)}; the same command tries again.", root)


def run_quietly(command: list[str], sentence: str, folder: Path = ROOT) -> None:
    """Run a command in a folder; only when it fails are the last lines of its output shown, under a sentence."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    process = subprocess.run(command, cwd=folder, **output)
    if process.returncode:
        last = "\n".join(f"  {line}" for line in process.stdout.strip().splitlines()[-8:])
        raise UserError(f"{sentence}\nIts last lines:\n{last}", code=1)


def clean(root: Path = ROOT) -> None:
    """Remove what can be made again, and say how much that was."""
    stays = ("reference", ".gitkeep", "README.md", ".last_data")
    outputs = [path for path in root.glob("outputs/*") if path.name not in stays]
    caches = (".cache", ".*_cache", "fer_helpers/**/__pycache__", "tests/**/__pycache__")
    for path in [*outputs, *(path for pattern in caches for path in root.glob(pattern))]:
        size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file()) / 1e6
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        print(f"removed {path.relative_to(root)}: {size:.1f} MB")
    print(f"The environment stays; to remove it too: delete {root / '.venv'}")


def with_demo(root: Path = ROOT) -> Path:
    """The Python that has the extra `demo` too: this one, or that of `.venv/demo`, made at need.

    It sees this one's packages behind its own: Gradio wants an older Pillow than the notebooks may have.
    """
    needed = requirements(root)["demo"]
    if not missing(needed):
        return Path(sys.executable)
    folder = root / ".venv" / "demo"
    python, stamp, wanted = python_in(folder), folder / "fer_stamp", "\n".join([sys.prefix, *needed])
    if not (stamp.exists() and stamp.read_text() == wanted and usable(python)):
        print("Installing what the page and films need, about 0.3 GB, once, into .venv/demo.")
        venv(folder)
        (site(folder) / "below.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        pip(python, root, *needed)
        stamp.write_text(wanted)
    return python
