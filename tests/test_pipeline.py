"""The row of notebooks, tried with throwaway notebooks: what runs, what runs again, and what a failure leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from fer_helpers import paths
from fer_helpers.errors import UserError
from fer_helpers.workbook import execution, pipeline, receipts

PARAMETERS = 'data: str = "auto"\nbudget: str = "auto"\nout_root: str = "outputs"\nseed: int = 0\ncluster: str = ""\n'
START = "from pathlib import Path\nout = Path(out_root) / stage\nout.mkdir(parents=True, exist_ok=True)"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook(row, stem, *cells, reads=(), parameters=""):
    """Write a notebook whose cells may use `out`, the folder of its results."""
    code = nbformat.v4.new_code_cell
    first = code(PARAMETERS + parameters, metadata={"tags": ["parameters"]})
    heading = nbformat.v4.new_markdown_cell("## The heart of it")
    made = [first, code(f"stage = {stem!r}\n{START}"), heading, *map(code, cells)]
    book = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": KERNEL, "fer": {"reads": list(reads)}})
    nbformat.write(book, row.notebooks / f"{stem}.ipynb")


IMPORT = 'import sys\nsys.path.insert(0, "..")\nfrom toolbox import tool\n'
FIRST = IMPORT + 'print("counting", seed)\n(out / "count.txt").write_text("7")'
SECOND = '(out / "sum.txt").write_text((Path(out_root) / "01_first/count.txt").read_text() + str(factor))'


@pytest.fixture
def row(tmp_path):
    """Two notebooks, the second reads the first, and a package of helpers of their own."""
    made = pipeline.Row(tmp_path / "notebooks", tmp_path / "toolbox", tmp_path / "out put", data_key="key")
    made = replace(made, fixed={"data": "synthetic", "budget": "smoke", "out_root": str(made.out_root)})
    made.notebooks.mkdir()
    made.helpers.mkdir()
    (made.helpers / "__init__.py").touch()
    (made.helpers / "tool.py").write_text("from . import deep\n\n\ndef use():\n    return deep.number\n")
    (made.helpers / "deep.py").write_text("number = 1\n")
    notebook(made, "01_first", FIRST)
    parameters = "factor: float = 1\nfast: bool = False"
    notebook(made, "02_second", SECOND, reads=["01_first/count.txt"], parameters=parameters)
    return made


@pytest.fixture
def counted(monkeypatch):
    """Names of the notebooks that run, without starting a kernel for them: each writes what its real run would."""
    ran = []

    def pretend(path, folder, parameters, aside, command):
        ran.append(path.stem)
        (folder / path.name).write_text("{}")
        (folder / ("count.txt" if path.stem == "01_first" else "sum.txt")).write_text(str(parameters.get("count", 7)))
        return 200.0

    monkeypatch.setattr(execution, "run", pretend)
    return ran


def again(row, ran, goal=""):
    """What a further call runs."""
    ran.clear()
    pipeline.walk(row, goal)
    return list(ran)


@pytest.mark.chain
def test_the_row_runs_in_order_then_has_nothing_to_do(row, capsys):
    notebook(row, "01_first", FIRST, 'print("epoch 1/2")')
    pipeline.walk(replace(row, verbose=True))
    said = capsys.readouterr().out
    section, done = r" {6}The heart of it \(\d+ s so far\)\n", r" {6}done in about \d+ s\n"
    first = r"\[1/2\] 01_first \(next: 02_second\)\n" + section
    assert re.search(first + r" {6}counting 0\n {6}epoch 1/2\n" + done + r"\[2/2\] 02_second\n" + section, said)
    assert (row.out_root / "02_second/sum.txt").read_text() == "71"
    executed = nbformat.read(row.out_root / "01_first/01_first.ipynb", as_version=4)
    assert executed.cells[-1].execution_count == 5
    facts = paths.read_json(row.out_root / "01_first/receipt.json")["facts"]
    assert facts["parameter budget"] == "smoke" and facts["the data"] == "key" and "helper deep.py" in facts
    assert not list(row.out_root.rglob("running.ipynb"))
    pipeline.walk(row)
    assert capsys.readouterr().out == "nothing to do: 2 notebooks are up to date\n"


@pytest.mark.chain
def test_the_kernel_is_this_interpreter(row, monkeypatch, tmp_path):
    spec = tmp_path / "user" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/nowhere/python"], "display_name": "another", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "user"))
    notebook(row, "01_first", 'import sys\n(out / "python.txt").write_text(sys.executable)')
    pipeline.walk(row, "01")
    assert (row.out_root / "01_first/python.txt").read_text() == sys.executable
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "user")


def test_a_changed_parameter_is_named_and_only_its_stage_runs(row, counted, capsys):
    again(row, counted)
    changed = replace(row, asked={"factor": "2.5"})
    assert again(changed, counted) == ["02_second"]  # 01_first has no factor
    said = "02_second runs again: parameter factor changed (1.0 -> 2.5), about 3 min last time"
    assert said in capsys.readouterr().out
    assert again(replace(row, asked={"factor": "2.50"}), counted) == []


def test_what_is_downstream_runs_only_if_what_it_reads_changed(row, counted):
    again(row, counted)
    assert again(replace(row, asked={"seed": "3"}), counted) == ["01_first", "02_second"]  # both have a seed
    notebook(row, "01_first", FIRST + "\n")
    assert again(replace(row, asked={"seed": "3"}), counted) == ["01_first"]  # wrote the same bytes
    notebook(row, "01_first", FIRST, parameters="count: int = 7")
    assert again(replace(row, asked={"seed": "3", "count": "8"}), counted) == ["01_first", "02_second"]


def test_a_helper_counts_by_its_content(row, counted, capsys):
    again(row, counted)
    (row.helpers / "other.py").write_text("number = 1\n")
    (row.helpers / "deep.py").write_bytes(b"number = 1\r\n")  # as another system checks it out
    assert again(row, counted) == []
    (row.helpers / "deep.py").write_text("number = 2\n")
    assert again(row, counted) == ["01_first"]  # through tool.py; 02_second uses neither
    assert "01_first runs again: helper deep.py changed" in capsys.readouterr().out


def test_parameters_in_the_collapsed_cell_count_like_the_others(row, capsys):
    path = row.notebooks / "02_second.ipynb"
    book = nbformat.read(path, as_version=4)
    more = nbformat.v4.new_code_cell("power: int = 3  # rarely turned", metadata={"tags": ["more-parameters"]})
    book.cells = [more, *book.cells]
    book.cells[-1].source = '(out / "sum.txt").write_text(str(factor**power))'
    nbformat.write(book, path)
    stage = pipeline.look_into(path, row.helpers)
    assert stage.defaults["power"] == 3 and stage.defaults["factor"] == 1.0
    asked = replace(row, asked={"power": "5", "factor": "2"})
    assert pipeline.facts(stage, asked)["parameter power"] == 5
    pipeline.walk(asked, "02")
    assert (row.out_root / "02_second" / "sum.txt").read_text() == "32.0"
    assert "unknown" not in "".join(capsys.readouterr())


def test_a_module_two_folders_deep_counts_and_what_starts_notebooks_does_not(row, counted):
    files = {
        "deep.py": "from .a import b\n",
        "a/__init__.py": "from . import beside\n",
        "a/beside.py": "",
        "a/b/__init__.py": "",
        "a/b/c.py": "from ..other import d as number\nfrom toolbox import workbook, run\n"
        "LATER = {'one': 'toolbox.a.named:Name', 'more': ('toolbox.a.nowhere', 'toolbox.run:main')}\n",
        "a/named.py": "",
        "a/other/__init__.py": "",
        "a/other/d.py": "",
        **dict.fromkeys(("workbook/__init__.py", "run.py", "a/b/unused.py"), ""),
    }
    for name, content in files.items():
        (row.helpers / name).parent.mkdir(parents=True, exist_ok=True)
        (row.helpers / name).write_text(content)
    notebook(row, "01_first", IMPORT, "def later():\n    import toolbox.a.b.c\n", "%matplotlib inline")
    again(row, counted)
    facts = paths.read_json(row.out_root / "01_first/receipt.json")["facts"]
    counting = ["__init__", "a/__init__", "a/b/__init__", "a/b/c", "a/beside", "a/named", "a/other/__init__"]
    counting += ["a/other/d", "deep", "tool"]
    assert [name for name in facts if name.startswith("helper ")] == [f"helper {name}.py" for name in counting]
    for name in files:
        (row.helpers / name).write_text(f"{files[name]}# changed\n")
        stem = name.removesuffix(".py")
        assert again(row, counted, "01") == (["01_first"] if stem in counting else []), name


def test_what_writes_onnx_files_is_no_helper_of_whoever_loads_a_model():
    helpers = receipts.helper_digests(["from fer_helpers import models"], paths.ROOT / "fer_helpers")
    assert {"networks.py", "transfer/backbones.py"} < {*helpers} and not {"publishing/export.py", "predict.py"} & {
        *helpers
    }


def test_prose_and_results_of_a_cell_cost_no_run(row, counted):
    again(row, counted)
    path = row.notebooks / "01_first.ipynb"
    book = nbformat.read(path, as_version=4)
    book.cells[2].source = "## Said better"
    book.cells.insert(0, nbformat.v4.new_markdown_cell("A word before"))
    book.cells[-1].outputs = [nbformat.v4.new_output("stream", text="counting 0")]
    nbformat.write(book, path)
    assert again(row, counted) == []
    book.cells[-1].source += "  # another comment"
    nbformat.write(book, path)
    assert again(row, counted) == ["01_first"]


def test_what_lies_where_a_parameter_points_counts(row, counted, tmp_path, capsys):
    notebook(row, "01_first", FIRST, parameters='pictures: str = ""')
    (tmp_path / "holiday").mkdir()
    named = replace(row, asked={"pictures": str(tmp_path / "holiday")})
    assert again(named, counted, "01") == ["01_first"] and again(named, counted, "01") == []
    (tmp_path / "holiday" / "beach.jpg").write_text("a picture")
    assert again(named, counted, "01") == ["01_first"] and again(named, counted, "01") == []
    assert f"input pictures={tmp_path / 'holiday'} changed" in capsys.readouterr().out
    named = replace(row, asked={"pictures": str(tmp_path / "holiday" / "beach.jpg")})
    assert again(named, counted, "01") == ["01_first"] and again(named, counted, "01") == []


def test_a_kept_model_that_changed_counts(row, counted, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "kept" / "reference")
    (tmp_path / "kept" / "reference" / "03").mkdir(parents=True)
    notebook(row, "01_first", FIRST, reads=["?reference/0[38]*/*.safetensors"])
    assert again(row, counted, "01") == ["01_first"]
    (tmp_path / "kept" / "reference" / "03" / "m.safetensors").write_text("weights")
    assert again(row, counted, "01") == ["01_first"] and again(row, counted, "01") == []


def test_other_data_run_everything(row, counted):
    again(row, counted)
    moved = replace(row, fixed=row.fixed | {"data": "another/place", "cluster": "tcp://10.0.0.1:8786"})
    assert again(moved, counted) == []
    assert again(replace(row, data_key="other"), counted) == ["01_first", "02_second"]


def test_a_deleted_or_damaged_output_is_made_again(row, counted):
    again(row, counted)
    (row.out_root / "02_second/sum.txt").unlink()
    assert again(row, counted) == ["02_second"]
    (row.out_root / "01_first/count.txt").write_text("8")  # the same size
    assert again(row, counted) == ["01_first"]
    (row.out_root / "01_first/01_first.ipynb").write_text("saved by JupyterLab, where somebody looked at it")
    assert again(row, counted) == []
    (row.out_root / "01_first/receipt.json").rename(row.out_root / "01_first/note.txt")
    assert again(row, counted) == ["01_first"]
    assert not (row.out_root / "01_first/note.txt").exists()


def test_a_manifest_edited_by_hand_is_kept_and_obeyed(row, counted):
    notebook(row, "02_second", SECOND, reads=["01_first/manifest.csv"])
    again(row, counted)
    (row.out_root / "01_first/manifest.csv").write_text("as it was written")
    again(row, counted)
    assert receipts.read(row.out_root / "01_first") and again(row, counted) == []
    settled = receipts.written(row.out_root / "01_first")
    made = paths.read_json(row.out_root / "01_first/receipt.json")
    paths.write_json(row.out_root / "01_first/receipt.json", made | {"written": settled})
    (row.out_root / "01_first/manifest.csv").write_text("edited by hand")
    assert again(row, counted) == ["02_second"], "what reads it runs again, what wrote it doesn't"
    (row.out_root / "01_first/manifest.csv").unlink()
    assert "01_first" in again(row, counted), "one that is gone is made again"


@pytest.mark.chain
def test_an_edited_manifest_that_must_be_made_anew_is_kept_apart(row, capsys):
    notebook(row, "01_first", '(out / "manifest.csv").write_text("as it was written")')
    pipeline.walk(row, "01")
    (row.out_root / "01_first/manifest.csv").write_text("edited by hand...")  # as long as the other
    pipeline.walk(replace(row, data_key="other"), "01")
    kept = row.out_root / "edited_by_hand/01_first/manifest.csv"
    assert kept.read_text() == "edited by hand..." and f"the edited one is {kept}" in capsys.readouterr().out
    assert (row.out_root / "01_first/manifest.csv").read_text() == "as it was written"
    kept.unlink()
    pipeline.walk(row, "01")
    assert not kept.exists(), "what nobody edited isn't kept"


def test_one_notebook_brings_what_it_needs_but_not_what_may_be_absent(row, counted):
    notebook(row, "03_third", reads=["02_*/**/*.txt"])
    notebook(row, "04_fourth", reads=["?03_third/sum.txt", "01_first/*.txt"])
    assert again(row, counted, "04") == ["01_first", "04_fourth"]
    assert again(row, counted, "03") == ["02_second", "03_third"]
    assert again(row, counted, "04") == ["04_fourth"]  # the file that may be absent is there now
    with pytest.raises(UserError, match=r"no notebook 09 in .*01, 02, 03, 04"):
        pipeline.walk(row, "09")


def test_the_studies_bring_what_they_need_and_are_not_in_the_main_row(row, counted):
    notebook(row, "06_study", reads=["01_first/*.txt"])
    notebook(row, "07_study", reads=["?06_study/sum.txt"])
    assert again(row, counted, "studies") == ["01_first", "06_study", "07_study"]
    assert again(row, counted) == ["02_second"]
    assert again(row, counted, "studies") == []
    for study in row.notebooks.glob("0[67]*"):
        study.unlink()
    with pytest.raises(UserError, match="no notebook studies"):
        pipeline.walk(row, "studies")


@pytest.mark.chain
def test_a_failure_ends_with_the_place_and_the_reason_and_loses_nothing(row, capsys):
    pipeline.walk(row)
    notebook(row, "01_first", "1 + 1", 'print("half")\nraise ValueError("no faces here")', 'print("never")')
    with pytest.raises(UserError) as stop:
        pipeline.walk(row)
    copy, aside = row.out_root / "01_first/failed.ipynb", row.out_root / ".previous/01_first"
    assert str(stop.value).splitlines() == [
        '01_first stopped in cell [5], section "The heart of it"',
        "reason: ValueError: no faces here",
        f"its copy, to read: {copy}",
        f"its results from before: {aside}",
        "the next make run-all goes on from here",
    ]
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert "01_first runs again: the notebook changed" in said
    assert re.search(r"The heart of it \(\d+ s so far, about \d+ s left\)\n$", said), "`half` is in the copy alone"
    assert "ValueError" in copy.read_text()
    assert sorted(path.name for path in aside.iterdir()) == ["01_first.ipynb", "count.txt", "receipt.json"]
    notebook(row, "01_first", FIRST)  # put right, to what it was
    pipeline.walk(row)
    assert "01_first: its results from before are what is asked for" in capsys.readouterr().out
    assert (row.out_root / "01_first/count.txt").exists() and not copy.exists() and not aside.exists()


def test_after_a_failure_the_finished_ones_are_not_run_again(row, counted, monkeypatch):
    def fail(path, *rest):
        if path.stem == "02_second":
            raise UserError("02_second stopped", code=1)
        return pretend(path, *rest)

    pretend = execution.run
    monkeypatch.setattr(execution, "run", fail)
    with pytest.raises(UserError, match="stopped"):
        pipeline.walk(row)
    monkeypatch.setattr(execution, "run", pretend)
    assert again(row, counted) == ["02_second"]


@pytest.mark.chain
@pytest.mark.parametrize(
    ("cell", "reason"),
    [("import os\nos._exit(1)", "Python process died.*memory"), ("import sys\nsys.exit()", "ended itself before")],
)
def test_a_notebook_that_was_cut_short_is_not_taken_for_finished(row, cell, reason):
    notebook(row, "01_first", cell, "2")
    with pytest.raises(UserError, match=rf"(?s)01_first stopped in cell \[4\].*{reason}"):
        pipeline.walk(row, "01")
    assert (row.out_root / "01_first/failed.ipynb").exists()
    assert not (row.out_root / "01_first/receipt.json").exists()


# What is started in the background inherits that Ctrl-C is ignored: the test must not depend on how it was started
INTERRUPTED = """
import signal, sys
from pathlib import Path
from fer_helpers.workbook import cli, pipeline
signal.signal(signal.SIGINT, signal.default_int_handler)
root = Path(sys.argv[1])
out = root / "out put"
row = pipeline.Row(root / "notebooks", root / "toolbox", out, {"out_root": str(out)}, verbose=True)
cli.parse = lambda words: ("help", {})
cli.do = lambda command, options: pipeline.walk(row, "01")
sys.exit(cli.main([]))
"""


@pytest.mark.chain
def test_ctrl_c_ends_the_kernel_and_keeps_the_checkpoint(row, counted, tmp_path):
    wait = 'import os, time\n(out / "checkpoints").mkdir()\n(out / "checkpoints/m.pt").write_text("7")\n'
    notebook(row, "01_first", wait + '(out / "half.txt").write_text("")\nprint(os.getpid())\ntime.sleep(600)')
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    child = subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "01_first" in child.stdout.readline()
    kernel = next(int(line) for line in child.stdout if line.strip().isdigit())  # printed while the cell goes on
    with pytest.raises(UserError, match="Another run is writing into"):
        pipeline.walk(row)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130 and errors.strip().endswith("the same command goes on from here.")
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    assert again(row, counted, "01") == ["01_first"]
    left = sorted(path.name for path in (row.out_root / "01_first").rglob("*.*"))
    assert left == ["01_first.ipynb", "count.txt", "m.pt", "receipt.json"]
    (row.out_root / "01_first/checkpoints/m.pt").unlink()  # not a result
    assert again(row, counted, "01") == []


def test_results_made_by_hand_are_kept_for_good(row, counted):
    by_hand = row.out_root / "01_first" / "model.txt"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_text("hours of work")
    assert again(row, counted, "01") == ["01_first"]
    assert not by_hand.exists(), "old and new results are never mixed"
    again(replace(row, fixed=row.fixed | {"seed": "5"}), counted, "01")
    assert (row.out_root / "earlier" / "01_first_by_hand" / "model.txt").read_text() == "hours of work"


def test_results_made_by_hand_over_finished_ones_are_kept_for_good(row, counted):
    again(row, counted, "01")
    folder = row.out_root / "01_first"
    (folder / "metrics.json").write_text("by the command")
    paths.write_json(folder / paths.RECEIPT, receipts.read(folder) | {"written": receipts.written(folder)})
    for name in ("metrics.json", "count.txt"):
        (folder / name).write_text("by hand")
    assert again(row, counted, "01") == ["01_first"]
    (kept,) = row.out_root.glob("earlier/01_first_*/metrics.json")
    assert kept.read_text() == "by hand" and not (row.out_root / "01_first" / "metrics.json").exists()


def test_results_made_by_hand_after_a_failure_are_kept_and_those_from_before_too(row, counted):
    again(row, counted, "01")
    first, aside = row.out_root / "01_first", row.out_root / ".previous" / "01_first"
    aside.parent.mkdir()
    first.rename(aside)  # as a run of other parameters leaves it that fails
    first.mkdir()
    (first / "failed.ipynb").write_text("")
    time.sleep(0.02)
    (first / "metrics.json").write_text("by hand")
    again(row, counted, "01")
    assert (row.out_root / "earlier" / "01_first_by_hand" / "metrics.json").read_text() == "by hand"
    assert not (first / "metrics.json").exists()


def test_checkpoints_stay_when_results_are_replaced(row, counted, monkeypatch):
    again(row, counted)
    kept, other = row.out_root / "01_first/checkpoints/m/a.pt", row.out_root / "01_first/m/checkpoint.pt"
    for path in (kept, other):
        path.parent.mkdir(parents=True)
        path.write_text("old")
    assert again(row, counted) == [], "neither of them is a result that the receipt knows"
    changed = replace(row, asked={"seed": "1"})
    assert again(changed, counted)[0] == "01_first"
    assert kept.read_text() == "old" and not other.exists()

    def stop(path, folder, *rest):
        (folder / "running.ipynb").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.walk(row, "01")
    (row.out_root / "01_first/running.ipynb").unlink()  # stopped before it was there
    with pytest.raises(KeyboardInterrupt):
        pipeline.walk(row, "01")
    assert kept.read_text() == "old"
    assert again(changed, counted) == [], "what was set aside is asked for again, and is taken back"
    assert kept.read_text() == "old"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"sed": "1"}, "has a parameter sed. Did you mean seed. They have: cluster, factor, fast, seed"),
        ({"seed": "1.5"}, "seed=1.5 doesn't fit: in 01_first it is a whole number"),
        ({"factor": "two"}, "factor=two doesn't fit: in 02_second it is a number"),
        ({"fast": "maybe"}, "fast=maybe doesn't fit: in 02_second it is true or false"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_before_anything_runs(row, counted, asked, sentence):
    with pytest.raises(UserError, match=sentence):
        pipeline.walk(replace(row, asked=asked))
    assert counted == []


def test_a_switch_understands_both_cases(row):
    second = pipeline.stages(row)[1]
    for word, value in {"true": True, "FALSE": False, "1": True}.items():
        assert pipeline.values(second, replace(row, asked={"fast": word}))["fast"] is value


def test_a_file_that_is_no_notebook_is_named(row):
    (row.notebooks / "01_first.ipynb").write_text("{")
    with pytest.raises(UserError, match=r"01_first.ipynb can't be read as a notebook"):
        pipeline.walk(row)


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="/sys is a folder that not even root may write")
def test_a_folder_that_cannot_be_written_is_named():
    def lock():
        with execution.alone(Path("/sys/fer")):
            pass

    for call in (lock, lambda: paths.stage("01_first", "/sys/fer"), lambda: paths.write_json("/sys/fer/a.json", {})):
        with pytest.raises(OSError, match=r"/sys/fer.* can't be written: its folder is read-only; give another folder"):
            call()


@pytest.mark.parametrize(
    ("now", "kept"), [({"seed": "2"}, True), ({"budget": "full"}, False), ({"data": "elsewhere"}, False)]
)
def test_results_of_other_parameters_are_kept_beside_the_new_ones(row, counted, now, kept, capsys):
    again(row, counted, "01")
    again(replace(row, fixed=row.fixed | now, data_key=now.get("data", "key")), counted, "01")
    assert bool([*row.out_root.glob("earlier/*/count.txt")]) == kept == ("are kept in" in capsys.readouterr().out)
