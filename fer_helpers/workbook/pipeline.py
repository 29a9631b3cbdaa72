"""The row of notebooks: what each one reads and takes, which must run again, and running those in order."""

import ast
import os
import platform
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from fer_helpers import emotions, identity, paths, settings
from fer_helpers.errors import UserError
from fer_helpers.workbook import execution, receipts
from fer_helpers.workbook.commands import suggestion

ELSEWHERE = ("data", "out_root", "cluster")  # where things lie and happen; what comes of them is the same
PARAMETERS = {"parameters", "more-parameters"}  # tags of a notebook's two cells: what papermill injects follows both
YES_NO = {"true": True, "1": True, "false": False, "0": False}
WANTED = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Row:
    """Where notebooks, helpers and results lie, and what was asked for.

    fixed: parameters for every notebook that has them. asked: those in PARAMS, which some notebook must have. As text.
    data_key: what the data is, whichever path names it. command: what to type to go on after a failure.
    verbose: is all that the notebooks print shown?
    """

    notebooks: Path
    helpers: Path
    out_root: Path
    fixed: dict = field(default_factory=dict)
    asked: dict = field(default_factory=dict)
    data_key: str = ""
    command: str = "make run-all"
    verbose: bool = False


@dataclass(frozen=True)
class Stage:
    """One notebook, looked into without running it.

    reads: patterns below out_root, `?` before what may be absent. defaults: of its parameters, each of its own type.
    digests: of its code and of the helpers it uses.
    """

    path: Path
    reads: tuple[str, ...]
    defaults: dict
    digests: dict

    @property
    def name(self) -> str:
        return self.path.stem

    def needs(self, other: "Stage") -> bool:
        """True if it can't do without a file of the other one."""
        needed = [read.split("/")[0] for read in self.reads if not read.startswith("?")]
        return other.name != self.name and any(fnmatch(other.name, stage) for stage in needed)


def look_into(path: Path, helpers: Path) -> Stage:
    """A notebook as a stage; UserError if the file is none."""
    import nbformat
    from papermill.translators import PythonTranslator

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise UserError(f"{path} can't be read as a notebook: {error}") from error
    tagged = [cell for cell in notebook.cells if PARAMETERS & {*cell.metadata.get("tags", ())}]
    inspected = {each.name: each for cell in tagged for each in PythonTranslator.inspect(cell)}
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    digests = {"the notebook": identity.digest_settings(*code)}  # its prose changes no result
    digests |= {f"helper {name}": value for name, value in receipts.helper_digests(code, helpers).items()}
    defaults = {name: entry.default for name, entry in inspected.items()}
    for name, text in defaults.items():
        with suppress(ValueError, SyntaxError):  # what isn't a literal stays text
            value = ast.literal_eval(text)
            defaults[name] = float(value) if inspected[name].inferred_type_name == "float" else value
    return Stage(path, tuple(notebook.metadata.get("fer", {}).get("reads", ())), defaults, digests)


def stages(row: Row, goal: str = "") -> list[Stage]:
    """The notebooks of a call, in order: the main row; the studies or one notebook, and what those can't do without."""
    files = {path.name[:2]: path for path in sorted(row.notebooks.glob("[0-9][0-9]_*.ipynb"))}
    studies = files.keys() - {*paths.MAIN_ROW}
    goals = {*files} - studies if not goal else studies if goal == "studies" else {goal}
    if not goals or not goals <= files.keys():
        raise UserError(f"There is no notebook {goal} in {row.notebooks}; there are {', '.join(files) or 'none'}.")
    everything = [look_into(path, row.helpers) for number, path in files.items() if goal or number in goals]
    chosen = [stage for stage in everything if stage.name[:2] in goals]
    for stage in chosen:  # grows on the way
        chosen += [other for other in everything if stage.needs(other) and other not in chosen]
    return sorted(chosen, key=lambda stage: stage.name)


def check_parameters(chosen: list[Stage], row: Row) -> None:
    """Refuse a parameter that no notebook of the call has, which papermill would ignore, or one of a wrong type."""
    known = sorted({name for stage in chosen for name in stage.defaults} - set(row.fixed))
    for name in row.asked:
        if name not in known:
            close = suggestion(name, known)
            raise UserError(f"No notebook of this call has a parameter {name}.{close} They have: {', '.join(known)}.")
    for stage in chosen:
        values(stage, row)


def values(stage: Stage, row: Row) -> dict:
    """The parameters that this notebook gets, each of its own type; UserError or ValueError where that can't be."""
    given = {name: text for name, text in (row.fixed | row.asked).items() if name in stage.defaults}
    for name, text in given.items():
        kind = type(stage.defaults[name])
        try:
            given[name] = YES_NO[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError, TypeError):
            wanted = WANTED.get(kind, "something that can't be given here")
            raise UserError(f"{name}={text} doesn't fit: in {stage.name} it is {wanted}.") from None
    settings.check(given)
    return given


def facts(stage: Stage, row: Row) -> dict:
    """Everything that a stage's results depend on, under names that can be read aloud."""
    used, now = stage.defaults | values(stage, row), dict(stage.digests)
    now |= {paths.MOSAIC: True} if os.environ.get(paths.MOSAIC) else {}
    for name, value in used.items():
        if name not in ELSEWHERE:
            now[f"parameter {name}"] = value
            if isinstance(value, str) and value and (named := paths.ROOT / Path(value).expanduser()).exists():
                now[f"input {name}={value}"] = receipts.digest(named)
    if "data" in used:
        now["the data"] = row.data_key  # not its path: a data set that was moved is the same
    if emotions.FEWER:
        now["the emotions"] = " ".join(emotions.FEWER)
    for pattern in (read.removeprefix("?") for read in stage.reads):
        if emotions.FEWER:  # of which there is no reference: a model of one's own takes its place
            pattern = pattern.removeprefix("reference/")
        root = paths.REFERENCE.parent if pattern.startswith("reference/") else row.out_root
        for path in filter(Path.is_file, sorted(root.glob(pattern))):
            now[f"input {path.relative_to(root).as_posix()}"] = receipts.digest(path)
    return now


def why(stage: Stage, row: Row) -> str:
    """Why a stage must run; empty if it is up to date."""
    folder = row.out_root / stage.name
    if not (old := receipts.read(folder)):
        return "not finished yet"
    damage = receipts.damage(old["written"], receipts.written(folder))
    reasons = [*receipts.changes(old["facts"], facts(stage, row)), *damage]
    return ", ".join(reasons[:3]) + (f" and {len(reasons) - 3} more" if len(reasons) > 3 else "")


def walk(row: Row, goal: str = "") -> None:
    """Run what isn't up to date, in order; stop at the first failure."""
    chosen = stages(row, goal)
    check_parameters(chosen, row)
    with execution.alone(row.out_root):
        paths.claim(row.out_root)
        for stage in chosen:
            take_back(stage, row)
        started, pending = time.monotonic(), [stage for stage in chosen if why(stage, row)]
        if not pending:
            print(f"nothing to do: {len(chosen)} notebook{'s are' if len(chosen) > 1 else ' is'} up to date")
            return
        for number, stage in enumerate(chosen, 1):
            later = chosen[number:]
            title = f"[{number}/{len(chosen)}] {stage.name}"
            if reason := why(stage, row):
                following = f" (next: {', '.join(each.name for each in later)})" if later else ""
                known = [seconds_of(each, row) for each in (stage, *later) if each is stage or each in pending]
                progress = execution.Progress(title, row.command, sum(known) if all(known) else 0, row.verbose)
                progress.row_started = started
                run(stage, row, progress, reason, following)
            else:
                print(f"{title} is up to date")
    print(f"the results are in {row.out_root}")


def take_back(stage: Stage, row: Row) -> None:
    """Results that were set aside for a run that never ended come back when they are what is asked for now."""
    folder, aside = row.out_root / stage.name, row.out_root / paths.ASIDE / stage.name
    old = receipts.read(aside)
    unfinished = old and not receipts.read(folder) and not execution.made_by_hand(folder)
    if unfinished and old["facts"] == facts(stage, row) and old["written"] == receipts.written(aside):
        execution.move_checkpoints(folder, aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
        print(f"{stage.name}: its results from before are what is asked for, and are taken back")


def seconds_of(stage: Stage, row: Row, new: float | None = None) -> float:
    """What a stage took at this budget when it last ran on this machine, 0 if that isn't known; `new` is kept."""
    path, key = row.out_root / "times.json", f"{platform.node()} {row.fixed.get('budget', '')} {stage.name}"
    times = paths.read_json(path) if path.exists() else {}
    if new is not None:
        paths.write_json(path, times | {key: round(new, 1)})
    return times.get(key, 0)


def run(stage: Stage, row: Row, progress: execution.Progress, reason: str, following: str) -> None:
    """Run one stage and write its receipt, which is what makes it finished."""
    folder, aside, now = row.out_root / stage.name, row.out_root / paths.ASIDE / stage.name, facts(stage, row)
    seconds, again = seconds_of(stage, row), f" runs again: {reason}" if receipts.read(folder) else ""
    last_time = f", {execution.about(seconds)} last time" if seconds else ""
    print(f"{progress.title}{again}{last_time}{following}")
    execution.make_room(folder, aside)
    seconds = execution.run(stage.path, folder, values(stage, row), aside, progress)
    seconds_of(stage, row, seconds)
    content = {"made": paths.now(), "seconds": round(seconds, 1), "facts": now, "written": receipts.written(folder)}
    paths.write_json(folder / paths.RECEIPT, content)
    if old := receipts.read(aside):
        keep_old(stage, row, old, now)
    with suppress(OSError):  # results of other stages may wait there
        aside.parent.rmdir()
    print(f"      done in {execution.about(seconds)}")


def keep_old(stage: Stage, row: Row, old: dict, now: dict) -> None:
    """Of results that new ones replace, keep what was asked for in other words, and what was made or edited by hand."""
    aside, before = row.out_root / paths.ASIDE / stage.name, old["facts"]
    asked = [name for name in before if name.startswith("parameter ") and name != "parameter budget"]
    metrics, left = old["written"].get("metrics.json"), receipts.written(aside)
    by_hand = left.get("metrics.json", metrics) != metrics  # in JupyterLab, over what the last command made
    if by_hand or any(before[name] != now.get(name, before[name]) for name in asked):  # epochs, pictures, ...
        made = str(old.get("made", ""))[:16].replace(":", "")
        kept = paths.free(row.out_root / "earlier" / f"{stage.name}_{made}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(kept)
        what = "made by hand" if by_hand else "of other parameters"
        print(f"      the results from before, {what}, are kept in {kept}")
        return
    for name in paths.EDITABLE:
        if name in old["written"] and name in left and left[name] != old["written"][name]:
            kept = paths.free(row.out_root / "edited_by_hand" / stage.name / name)
            kept.parent.mkdir(parents=True, exist_ok=True)
            (aside / name).replace(kept)
            print(f"      careful: {name} was edited by hand and is made anew now; the edited one is {kept}")
    shutil.rmtree(aside, ignore_errors=True)
