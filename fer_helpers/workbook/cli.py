"""The command line: `python -m fer_helpers.run <command> [NAME=value ...]`, which make calls too.

What is imported at the top needs nothing but a Python, even an old one: `setup` begins here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from fer_helpers.errors import UserError
from fer_helpers.workbook import commands, environment
from fer_helpers.workbook.commands import CHOICES, COMMANDS, NOTEBOOK, QUESTIONS, STUDY, VARIABLES, suggestion, words_of
from fer_helpers.workbook.environment import ROOT

MINUTES = "chain or cluster or browser or bench or slow"  # marks of the tests that `check` leaves to `test`


def main(words: list[str]) -> int:
    """Do one command; returns the exit status. What the user can put right is a sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # lines come at once through a pipe too, and no console stumbles over ✓
            stream.reconfigure(line_buffering=True, errors="replace")
    try:
        environment.check_python()
        command, options = parse(words)
        commands.settle_emotions(command, options)
        if command not in ("help", "clean"):
            this, python = Path(sys.executable), environment.ensure(options.get("TORCH_INDEX", ""))
            served = command == "video" or (command == "demo" and "FORMAT" not in options)
            if served and python == this:
                python = environment.with_demo()
            if python != this:
                again = [str(python), "-m", "fer_helpers.run", *words]
                return subprocess.run(again).returncode if os.name == "nt" else os.execv(again[0], again)
        return do(command, options) or 0
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept; the same command goes on from here.", file=sys.stderr)
        return 130
    except (UserError, ValueError, OSError) as error:  # sentences: a missing file, data that can't be used, ...
        print(error, file=sys.stderr)
        return getattr(error, "code", 2)


def parse(words: list[str]) -> tuple[str, dict[str, str]]:
    """A command and its variables by name; a slip is refused before anything is installed."""
    command, *rest = words or ["help"]
    command = command.zfill(2) if command.isdigit() else command
    notebook = command.isdigit() and any((ROOT / "notebooks").glob(f"{command}_*.ipynb"))
    if not notebook and command not in COMMANDS:
        raise UserError(f"There is no command {command}.{suggestion(command, COMMANDS)} All of them: make help")
    takes, options = commands.takes(command), {}
    for word in rest:
        name, sign, value = word.partition("=")
        if not sign:
            raise UserError(f"{word} isn't NAME=value, and {command} is the only command of this call.")
        if name not in VARIABLES:
            raise UserError(f"There is no variable {name}.{suggestion(name.upper(), VARIABLES)} All of them: make help")
        if name not in takes:
            raise UserError(f"{command} doesn't take {name}; it takes {', '.join(takes)}.")
        if name in CHOICES and value and value not in CHOICES[name]:
            raise UserError(f"{name}={value} isn't known: choose from {', '.join(CHOICES[name])}.")
        if value:
            options[name] = os.path.expanduser(value)  # noqa: PTH111, Path's raises where there is no such user
    if "BUDGET" in takes:
        notebook_parameters(options)
    name, question = QUESTIONS.get(command, ("", ""))
    if name and name not in options:
        raise UserError(question)
    return command, options


def notebook_parameters(options: dict[str, str]) -> dict[str, str]:
    """The parameters of the notebooks that stand in PARAMS, as text by name."""
    parameters = {}
    for word in words_of(options, named=True):
        name, _, value = word.partition("=")
        variable = {"out_root": "OUT"}.get(name, name.upper())
        if variable in STUDY.split():
            raise UserError(f"Write {variable}={value} by itself, not inside PARAMS.")
        parameters[name] = value
    return parameters | ({"start": options["START"]} if "START" in options else {})


def do(command: str, options: dict[str, str]) -> int | None:
    """One command, in an interpreter that has what it needs; returns its exit status, None for 0."""
    out, data, words = out_of(options), data_of(options), words_of(options)
    if command in ("setup", "help"):
        return show_help() if command == "help" else print(f"The environment is ready: {sys.executable}")
    if command == "clean":
        return environment.clean()
    if command in ("check", "test"):  # a worker imports torch: no more than four of them
        marks = ("-m", f"not ({MINUTES})") if command == "check" else ()
        workers = ("-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadfile", "--no-loadscope-reorder")
        return style() or module("pytest", *workers, *marks, *words)
    if command == "lab":
        os.environ |= {"FER_DATA": data} if data != "auto" else {}  # its notebooks' `auto` means the same as here
        return module("jupyterlab", f"--ServerApp.root_dir={ROOT}", "--LabApp.default_url=/lab/tree/notebooks", *words)
    if command == "export" or (command == "demo" and "FORMAT" in options):
        from fer_helpers.publishing import export

        return export.run(command, options | {"DATA": data}, out / "exports")
    if command in ("demo", "video"):
        from fer_helpers.photos import webapp

        return webapp.run(command, options, out, notebook_parameters(options))
    if command == "rehearse":
        from tests.rehearsal import rehearsal

        return rehearsal.walk(words)
    from fer_helpers.data import sources
    from fer_helpers.publishing import compare, folders, page, readme
    from fer_helpers.publishing import reference as kept

    if command in ("bench", "bench-accuracy"):
        names = {"bench-accuracy": ("accuracy", "with_duplicates")}.get(command, ())
        return module("tests.benchmarks", sources.find(data).given, str(out), *names, *words)
    if command == "evaluate":
        data, own = commands.labelled(data, options), folders.last_data(out)
        return kept.evaluate(options["MODEL"], data, str(out), budget_of(options), own)
    if command == "compare":
        return compare.folders(options.get("A", "outputs"), options["B"], out / "compare.json")
    if command in ("report", "address"):
        return page.make(out) if command == "report" else readme.address()
    reference(command, options) if command == "reference" else run_notebooks(command, options)


def run_notebooks(command: str, options: dict[str, str]) -> Path:
    """The main row, the studies, or one notebook, and what they need; returns the folder of their results."""
    from fer_helpers.publishing import folders, page
    from fer_helpers.workbook import pipeline

    fixed = {name.lower(): options[name] for name in ("SEED", "DEVICE", "CLUSTER") if name in options}
    out, asked = out_of(options), notebook_parameters(options)
    more = {"command": f"make {command}", "verbose": options.get("VERBOSE", "0") != "0"}
    row = pipeline.Row(ROOT / "notebooks", ROOT / "fer_helpers", out, fixed, asked, **more)
    check_files(asked)
    if command != "09" or "DATA" in options:  # which takes what exists
        row = with_data(row, options)
    check_files({"start": asked.get("start", "")}, row.out_root)  # where the run goes is known by now
    for name in sorted(set(NOTEBOOK.split()) & set(os.environ) - set(options)):
        print(f"note: {name} of the shell isn't used; write make {command} {name}=...")
    row = replace(row, fixed=row.fixed | {"out_root": str(row.out_root)})
    pipeline.walk(row, command if command == "studies" or command.isdigit() else "")
    page.after_run(row.out_root)
    if asked.get("pictures"):
        print(*folders.answers(row.out_root / "10_your_photos"), sep="\n")
    return row.out_root


def check_files(asked: dict[str, str], out: Path | None = None) -> None:
    """Refuse pictures, a film or a model file that aren't there, or that a run into `out` would itself replace."""
    if asked.get("pictures"):
        from fer_helpers.photos import album

        print(f"pictures: {len(album.collect(asked['pictures'])):,}")
    for name in ("film", "network", "start"):
        path = ROOT / asked.get(name, "")
        if asked.get(name) and not path.is_file():
            raise UserError(f"{name}={asked[name]}: there is no file {path}.")
        if name == "start" and out and path.is_relative_to(out / "03_baseline_cnn"):
            raise UserError(f"start={asked[name]} lies where notebook 03 writes anew: copy it elsewhere, or give OUT=.")


def with_data(row, options: dict[str, str]):
    """The row with data and budget settled once for all notebooks, and a folder where it replaces nothing greater."""
    from fer_helpers.data import sources
    from fer_helpers.publishing import folders

    budget, wish = budget_of(options), data_of(options)
    source = sources.find(commands.labelled(wish, options))
    print(f"data: {source.why}{', as last time' * (wish != options.get('DATA', 'auto'))}\nbudget: {budget}")
    people = sources.load(source.given, budget=budget, log=lambda line: None)
    out_root = folders.choose(row.out_root, people.card(), budget)
    if source.path and "DATA" in options:
        for folder in {row.out_root, out_root}:
            folders.remember(folder, str(source.path.resolve()))
    fixed = row.fixed | {"data": source.given, "budget": budget}
    return replace(row, out_root=out_root, fixed=fixed, data_key=people.source["key"])


def data_of(options: dict[str, str]) -> str:
    """The data that is asked for: by DATA, by the shell's FER_DATA, or as last time for these results."""
    from fer_helpers.publishing import folders

    if "DATA" in options or os.environ.get("FER_DATA"):
        return options.get("DATA", "auto")
    usual = "" if "OUT" in options else folders.last_data(ROOT / "outputs")
    return folders.last_data(out_of(options)) or usual or "auto"


def out_of(options: dict[str, str]) -> Path:
    """The folder of the results; of other labels than the data's own, or of fewer emotions, a folder apart."""
    from fer_helpers import emotions

    apart = "_".join(filter(None, (options.get("LABELS"), emotions.FOLDER)))
    return ROOT / options.get("OUT", f"outputs/on_{apart}" if apart else "outputs")


def reference(command: str, options: dict[str, str]) -> None:
    """The main row and the finished studies on the real data, single faces as mosaics; of it what may be given away."""
    from fer_helpers import paths
    from fer_helpers.data import sources
    from fer_helpers.publishing import reference as kept

    if sources.find(data_of(options)).path is None:
        raise UserError("The reference is made from FER-2013: name it, like make reference DATA=archive.zip")
    os.environ[paths.MOSAIC] = "1"
    kept.keep_benchmarks(out_of(options) / "bench.json")  # notebook 09 reads it
    for path in sorted(out_of(options).glob(f"0[678]_*/{paths.RECEIPT}")):  # finished studies; 09 reads them
        run_notebooks(path.parent.name[:2], options)
    kept.make(run_notebooks(command, options))


def budget_of(options: dict[str, str]) -> str:
    """The budget, with auto settled by the device."""
    from fer_helpers import devices

    return devices.pick_budget(options.get("BUDGET", "auto"), devices.pick_device(options.get("DEVICE", "auto")))


def module(name: str, *arguments: str) -> int:
    """Run a Python module as a program from the workbook's folder; returns its exit status."""
    return subprocess.run([sys.executable, "-m", name, *arguments], cwd=ROOT).returncode


def style() -> int:
    """Linter, formatter, notebooks without outputs, import contracts: every one, also after one has failed."""
    notebooks = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    keys = ("--keep-id", "--extra-keys", "metadata.papermill cell.metadata.papermill")
    checks = (("ruff", "check"), ("ruff", "format", "--check"), ("nbstripout", "--verify", *keys, *notebooks))
    contracts = "from importlinter.cli import lint_imports as check; raise SystemExit(check(no_logo=True))"
    imports = subprocess.run([sys.executable, "-c", contracts], cwd=ROOT).returncode
    return int(any([imports, *(module(*check) for check in checks)]))  # a signal's status is below 0


def show_help() -> None:
    """What lies where, commands and variables."""
    from fer_helpers.publishing import folders

    print(*(folders.overview(ROOT / "outputs") or ["no results yet: make run-all"]), "", sep="\n")
    print("make <command> [NAME=value ...], or without make: python -m fer_helpers.run <command> [NAME=value ...]\n")
    for name, (purpose, takes) in COMMANDS.items():
        print(f"  {name:<14} {purpose}" + (f" ({takes})" if takes else ""))
    print("\nVariables", *(f"  {name:<12} {meaning}" for name, meaning in VARIABLES.items()), sep="\n")
