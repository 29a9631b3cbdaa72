"""Colab, rehearsed: every notebook alone in an empty folder, with Colab's versions and a stand-in for google.colab.

What is committed is rehearsed. The notebook's own cell clones the repository, by git's leave from this folder, and
installs what Colab lacks; then it runs at `smoke` to its end.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from fer_helpers import paths
from fer_helpers.errors import UserError
from fer_helpers.workbook import environment, execution
from fer_helpers.workbook.environment import ROOT

FOLDER = ROOT / ".rehearsal"
STAND_IN = ROOT / "tests" / "rehearsal" / "stand_in"
PYTHON = "3.13"
# The first six as Colab had them in November 2026, the others from its published list of February 2026,
# pip-freeze.gpu.txt in github.com/googlecolab/backend-info: what the notebooks use, and what its kernel runs on
BRINGS = (
    *("torch==2.11.*", "torchvision==0.26.*", "numpy==2.1.*", "pandas==2.2.*", "matplotlib==3.10.*"),
    *("scikit-learn==1.6.*", "scipy==1.16.*", "seaborn==0.13.*", "pillow==11.3.*", "requests==2.32.*"),
    *("safetensors==0.7.*", "kagglehub==0.3.*", "PyWavelets==1.9.*", "protobuf==5.29.*", "pip==24.1.2"),
    *("ipykernel==6.17.1", "ipython==7.34.0", "jupyter_client==7.4.9", "traitlets==5.7.1", "tornado==6.5.1"),
)
SIZE_GB = 5.5  # measured on Linux: CUDA libraries are nearly all of it
STARTUP = "import google.colab  # noqa: F401, as Colab's kernel does before the first cell\n"


@dataclass(frozen=True)
class Rehearsed:
    """One notebook's rehearsal. installed: what its first cells installed. trouble: sentences, none if all is well."""

    name: str
    seconds: float
    installed: dict
    trouble: tuple[str, ...]


def walk(numbers: list[str], folder: Path = FOLDER) -> int:
    """Rehearse the notebooks with these numbers, all if there are none; returns 1 if one of them failed."""
    names = [name for name in git("ls-tree", "--name-only", "HEAD", "notebooks/") if name.endswith(".ipynb")]
    chosen = [name for name in names if not numbers or Path(name).name[:2] in numbers]
    if not chosen:
        raise UserError(f"No committed notebook has the number {' or '.join(numbers)}.")
    changed = len(git("status", "--porcelain"))
    print(f"rehearsed is commit {git('rev-parse', '--short', 'HEAD')[0]}", end="")
    print(f"; {changed} files with changes that aren't committed: those are not in it" if changed else "")
    colab = runtime(folder / "colab")
    shutil.rmtree(folder / "runs", ignore_errors=True)
    results = [rehearse(name, colab, folder / "runs" / Path(name).stem) for name in chosen]
    print("\n" + table(results))
    print(f"The executed notebooks are in {folder / 'runs'}; to free {SIZE_GB:g} GB, delete {folder}")
    return int(any(each.trouble for each in results))


def git(*words: str) -> list[str]:
    """The lines that git prints about this folder."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise UserError(f"The rehearsal clones this folder, and git doesn't know it: {reason.strip()}") from None
    return done.stdout.splitlines()


def runtime(folder: Path) -> Path:
    """The Python of an environment with what Colab brings, installed once and kept."""
    stamp, python = folder / "fer_stamp", environment.python_in(folder)
    wanted = hashlib.sha256(repr((PYTHON, BRINGS)).encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing what Colab brings into {folder}: about {SIZE_GB:g} GB on disk, once.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder.parent).free / 1e9) < SIZE_GB + 1:
        raise UserError(f"Only {free:.1f} GB are free on the disk of {folder}: make room for {SIZE_GB + 1:g} GB first.")
    if not environment.usable(python):
        environment.venv(folder, python=newest())
    environment.pip(python, ROOT, *BRINGS)
    stamp.write_text(wanted)
    return python


def newest() -> Path:
    """A Python of Colab's version; this one if the machine has none, and that is said."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    pythons = [shutil.which(f"python{PYTHON}"), *sorted(pyenv.glob(f"{PYTHON}*/bin/python"), reverse=True)]
    for python in filter(None, pythons):
        command = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(command, capture_output=True, text=True).stdout.strip() == PYTHON:
            return Path(python)
    print(f"This machine has no Python {PYTHON}, Colab's: {sys.version.split()[0]} takes its place.")
    return Path(sys.executable)


def rehearse(name: str, colab: Path, kept: Path) -> Rehearsed:
    """Run one committed notebook as a new runtime of Colab would, and say what came of it; `kept` gets its copy."""
    started = time.monotonic()
    print(f"\n{Path(name).stem}")
    with tempfile.TemporaryDirectory(prefix="fer-rehearsal-") as place:
        new, content = Path(place) / "python", Path(place) / "content"
        content.mkdir()
        kept.mkdir(parents=True)
        notebook = content / Path(name).name
        notebook.write_text("\n".join(git("show", f"HEAD:{name}")) + "\n", encoding="utf-8")
        python = fresh(colab, new)
        kernel = execution.own_kernel(python, variables(new))
        trouble = []
        try:
            progress = execution.Progress(command="make rehearse")
            execution.run(notebook, kept, smoke(notebook), Path(place) / "none", progress, kernel)
        except UserError as error:
            trouble += str(error).splitlines()[:2]
        installed = packages(new)
        trouble += judge(packages(colab.parents[1]), installed, lacking(colab))
        trouble += left(content / "fer-workbook", notebook.stem, kept)
    return Rehearsed(notebook.stem, time.monotonic() - started, installed, tuple(trouble))


def smoke(notebook: Path) -> dict:
    """The two parameters that a rehearsal changes, of those that the notebook has."""
    import papermill

    known = papermill.inspect_notebook(execution.plain(notebook))
    return {name: value for name, value in (("data", "synthetic"), ("budget", "smoke")) if name in known}


def fresh(colab: Path, folder: Path) -> Path:
    """The Python of a new environment over Colab's: it sees what is there, and what pip installs lands in `folder`."""
    environment.venv(folder, "--without-pip", python=colab)
    (environment.site(folder) / "colab.pth").write_text(
        f"{environment.site(colab.parents[1])}\n{STAND_IN}\n", encoding="utf-8"
    )
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text(STARTUP)
    return environment.python_in(folder)


def variables(folder: Path) -> dict[str, str]:
    """What is set in Colab, what leads git from the public address to this folder, and nothing of this shell's."""
    return {
        "COLAB_RELEASE_TAG": "rehearsal",
        "IPYTHONDIR": str(folder / "ipython"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": paths.repository(),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else an old kernel on a new Python warns about its debugger
        **dict.fromkeys(("PYTHONPATH", "FER_DATA", "VIRTUAL_ENV"), ""),
    }


def packages(folder: Path) -> dict[str, str]:
    """The packages of an environment and their versions, by pip's own records."""
    records = metadata.distributions(path=[str(environment.site(folder))])
    return {plain(each.metadata["Name"]): each.version for each in records}


def plain(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name).group()).lower()


def lacking(colab: Path) -> set[str]:
    """The packages that a notebook needs and Colab has not, or too old."""
    code = "from fer_helpers.workbook import environment as e; print(*e.missing(e.requirements()['core']), sep='\\n')"
    lines = subprocess.check_output([str(colab), "-c", code], cwd=ROOT, text=True)
    return {plain(line) for line in lines.splitlines()}


def judge(brought: dict, installed: dict, needed: set) -> list[str]:
    """Sentences about packages that Colab has and that were installed all the same, torch among them."""
    over = sorted((brought.keys() & installed.keys()) - needed)
    return [f"{name} {installed[name]} was installed over Colab's {brought[name]}" for name in over]


def left(clone: Path, stem: str, kept: Path) -> list[str]:
    """Sentences about what is missing after a run: the clone, results; and whether Drive was asked for unasked."""
    if not (clone / ".git").exists():
        return ["the repository was not cloned"]
    files = any(path.is_file() for path in (clone / "outputs" / stem).rglob("*"))
    trouble = [] if files else [f"outputs/{stem} is empty"]
    if any("stand-in: drive.mount" in path.read_text(encoding="utf-8") for path in kept.glob("*.ipynb")):
        trouble.append("Drive was asked for, although results don't go there")
    return trouble


def table(results: list[Rehearsed]) -> str:
    """A line a notebook: seconds, result, what was installed; below it what went wrong."""
    lines = [f"{'notebook':<24}{'seconds':>7}  {'result':<16}installed"]
    for each in results:
        installed = ", ".join(f"{name} {version}" for name, version in sorted(each.installed.items())) or "nothing"
        result = "failed" if each.trouble else "ran to its end"
        lines.append(f"{each.name:<24}{each.seconds:>7.0f}  {result:<16}{installed}")
        lines += [f"  {sentence}" for sentence in each.trouble]
    return "\n".join(lines)
