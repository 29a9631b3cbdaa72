"""The command line: `python -m fer_helpers.run <command> [NAME=value ...]`, which make calls too.

What is imported at the top needs nothing but a Python, even an old one: `setup` begins here.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path

from fer_helpers.errors import UserError
from fer_helpers.workbook import environment
from fer_helpers.workbook.commands import COMMANDS, NOTEBOOK, STUDY, VARIABLES
from fer_helpers.workbook.environment import ROOT

BUDGETS = ("auto", "smoke", "quick", "full")
DEVICES = ("auto", "cpu", "cuda")


def main(words: list[str]) -> int:
    """Do one command; returns the exit status. What the user can put right is told in a sentence."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # lines come at once through a pipe too, and no console stumbles over ✓
            stream.reconfigure(line_buffering=True, errors="replace")
    try:
        environment.check_python()
        command, options = parse(words)
        if command == "video" and not options.get("VIDEO"):
            raise UserError("Which film? make video VIDEO=film.mp4")
        if command not in ("help", "clean"):
            python = environment.ensure(options.get("TORCH_INDEX", ""))
            if python == environment.python_of() and environment.place() != "own":
                return again(python, words)
            if command in ("demo", "video") and (python := environment.with_demo()) != Path(sys.executable):
                return again(python, words)
        return do(command, options) or 0
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept; the same command goes on from here.", file=sys.stderr)
        return 130
    except (UserError, ValueError, OSError) as error:  # sentences: a missing file, data that can't be used, ...
        print(error, file=sys.stderr)
        return getattr(error, "code", 2)


def again(python: Path, words: list[str]) -> int:
    """The same command with another interpreter, in this process where the system can do that."""
    command = [str(python), "-m", "fer_helpers.run", *words]
    if os.name != "nt":
        os.execv(command[0], command)
    return subprocess.run(command).returncode


def parse(words: list[str]) -> tuple[str, dict[str, str]]:
    """A command and its variables, by name."""
    command, *rest = words or ["help"]
    command = command.zfill(2) if command.isdigit() else command
    if not re.fullmatch(r"\d\d", command) and command not in COMMANDS:
        raise UserError(f"There is no command {command}.{close(command, COMMANDS)} All of them: make help")
    known = "06" if command in ("06", "07", "08") else "03" if command.isdigit() else command
    takes = [*COMMANDS[known][1].split(), "TORCH_INDEX"]
    options = {}
    for word in rest:
        name, given, value = word.partition("=")
        if not given:
            raise UserError(f"{word} isn't NAME=value, and {command} is the only command of this call.")
        if name not in VARIABLES:
            raise UserError(f"There is no variable {name}.{close(name.upper(), VARIABLES)} All of them: make help")
        if name not in takes:
            raise UserError(f"{command} doesn't take {name}; it takes {', '.join(takes)}.")
        if value:
            options[name] = value
    if "BUDGET" in takes:  # told before anything is installed
        asked_for(options)
        choose("BUDGET", options, BUDGETS)
        choose("DEVICE", options, DEVICES)
    return command, options


def choose(name: str, options: dict[str, str], among: tuple[str, ...]) -> str:
    """The value of a variable that knows only these values; the first of them if it isn't given."""
    value = options.get(name, among[0])
    if value not in among:
        raise UserError(f"{name}={value} isn't known: choose from {', '.join(among)}.")
    return value


def close(word: str, known) -> str:
    """A question, if the word is nearly one of the known ones."""
    return "".join(f" Did you mean {match}?" for match in get_close_matches(word, list(known), 1, 0.5))


def do(command: str, options: dict[str, str]) -> int | None:
    """One command, in an interpreter that has what it needs; returns its exit status, None for 0."""
    extra = shlex.split(options.get("PARAMS", ""))
    if runs := command in ("run-all", "studies") or command.isdigit():
        run_notebooks(command, options)
    if runs or command in ("report", "compare"):
        return tell(command, options)
    if command == "test":
        return module("pytest", *extra)
    if command in ("bench", "bench-accuracy"):
        return bench(options, *{"bench-accuracy": ("accuracy", "with_copies")}.get(command, ()))
    if command == "lab":
        return module("jupyterlab", f"--ServerApp.root_dir={ROOT}", "--LabApp.default_url=/lab/tree/notebooks", *extra)
    if command == "setup":
        return print(f"The environment is ready: {sys.executable}")
    if command in ("lint", "clean", "help"):
        return {"lint": lint, "clean": environment.clean, "help": show_help}[command]()
    if command in ("demo", "video"):
        from fer_helpers.photos import webapp

        out = ROOT / results_in(options) / "videos"
        return webapp.answer(command, options.get("MODEL", ""), options.get("VIDEO", ""), out, asked_for(options))
    from fer_helpers.publishing import readme
    from fer_helpers.publishing import reference as kept
    from tests.rehearsal import rehearsal

    if command == "rehearse":
        return rehearsal.walk(extra)
    if command == "evaluate":
        if "MODEL" not in options:
            raise UserError("Which model? make evaluate MODEL=outputs/03_baseline_cnn/baseline.safetensors")
        return kept.evaluate(options["MODEL"], options.get("DATA", "auto"), results_in(options), budget_of(options))
    return reference(options) if command == "reference" else readme.address()


def run_notebooks(command: str, options: dict[str, str]) -> None:
    """The main row, the studies, or one notebook, with what they need, data and budget settled once for all of them."""
    from fer_helpers.data import sources
    from fer_helpers.workbook import pipeline

    budget = budget_of(options)
    found = sources.find(options.get("DATA", "auto"))
    print(f"data: {found.why}\nbudget: {budget}")
    for name in sorted(set(NOTEBOOK.split()) & set(os.environ) - set(options)):
        print(f"note: {name} of the shell isn't used; write make {command} {name}=...")
    out = results_in(options)
    fixed = {"data": found.given, "budget": budget, "out_root": out}
    row = pipeline.Row(
        notebooks=ROOT / "notebooks",
        helpers=ROOT / "fer_helpers",
        out_root=ROOT / out,
        fixed=fixed | {name.lower(): options[name] for name in ("SEED", "DEVICE", "CLUSTER") if name in options},
        asked=asked_for(options),
        data_key=sources.content_key(found, budget),
        command=f"make {command}",
    )
    pipeline.walk(row, command if command == "studies" or command.isdigit() else "")


def tell(command: str, options: dict[str, str]) -> None:
    """The page of results, or two folders side by side; nothing is run, nor evaluated on the test set."""
    from fer_helpers.publishing import compare, page

    out = ROOT / results_in(options)
    if command == "compare":
        return compare.folders(options.get("A", "outputs"), options.get("B", ""), out / "compare.json")
    return page.make(out) if command == "report" else page.after_run(out)


def results_in(options: dict[str, str]) -> str:
    """The folder of the results, as it is told to notebooks: relative ones count from the workbook's root."""
    return str(Path(options.get("OUT", "outputs")).expanduser())


def reference(options: dict[str, str]) -> None:
    """The main row on the real data, the same on synthetic faces, and of both what may be given away."""
    from fer_helpers.data import sources
    from fer_helpers.publishing import reference as kept

    if sources.find(options.get("DATA", "auto")).path is None:
        raise UserError("The reference is made from FER-2013: name it, like make reference DATA=archive.zip")
    out = ROOT / results_in(options)
    synthetic = options | {"DATA": "synthetic", "OUT": str(out / "synthetic")}
    run_notebooks("reference", options)
    run_notebooks("reference", synthetic)
    # synthetic faces are easy: 60 epochs would take an hour more
    shorter = {"08": "member_epochs=12 student_epochs=8"}
    for path in sorted(out.glob("0[678]_*/receipt.json")):  # studies that are finished
        run_notebooks(path.parent.name[:2], synthetic | {"PARAMS": shorter.get(path.parent.name[:2], "")})
    kept.make(out, out / "synthetic")


def bench(options: dict[str, str], *names: str) -> int:
    """The benchmarks of tests/benchmarks that are named, here or in PARAMS, or the short ones, into OUT/bench.json."""
    from fer_helpers.data import sources

    data = sources.find(options.get("DATA", "auto")).given
    return module("tests.benchmarks", data, results_in(options), *names, *shlex.split(options.get("PARAMS", "")))


def asked_for(options: dict[str, str]) -> dict[str, str]:
    """The parameters of the notebooks that stand in PARAMS."""
    asked = {}
    for word in shlex.split(options.get("PARAMS", "")):
        name, given, value = word.partition("=")
        if not given:
            raise UserError(f'{word} in PARAMS isn\'t name=value; write it like PARAMS="epochs=50 batch_size=64".')
        variable = {"out_root": "OUT"}.get(name, name.upper())
        if variable in STUDY.split():
            raise UserError(f"Write {variable}={value} by itself, not inside PARAMS.")
        asked[name] = value
    return asked


def budget_of(options: dict[str, str]) -> str:
    """The budget, with auto settled: full where CUDA computes, quick elsewhere."""
    if (budget := choose("BUDGET", options, BUDGETS)) != "auto":
        return budget
    import torch

    return "full" if torch.cuda.is_available() and choose("DEVICE", options, DEVICES) in ("auto", "cuda") else "quick"


def module(name: str, *arguments: str) -> int:
    """Run a Python module as a program from the workbook's folder; returns its exit status."""
    return subprocess.run([sys.executable, "-m", name, *arguments], cwd=ROOT).returncode


def lint() -> int:
    """Every check, also after one has failed."""
    notebooks = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    stripped = ("nbstripout", "--verify", "--keep-id", "--extra-keys", "metadata.papermill cell.metadata.papermill")
    checks = [("ruff", "check", "."), ("ruff", "format", "--check", "."), (*stripped, *notebooks)]
    return max([module(*check) for check in checks])


def show_help() -> None:
    """Commands and variables."""
    print("make <command> [NAME=value ...], or without make: python -m fer_helpers.run <command> [NAME=value ...]\n")
    for name, (what, takes) in COMMANDS.items():
        print(f"  {name:<14} {what}" + (f" ({takes})" if takes else ""))
    print("\nVariables", *(f"  {name:<12} {what}" for name, what in VARIABLES.items()), sep="\n")
