"""The parts of `make rehearse`, and what of Colab can be tried in seconds: first cells, Drive, what is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from fer_helpers import paths
from fer_helpers.errors import UserError
from fer_helpers.workbook import environment
from fer_helpers.workbook.environment import ROOT
from tests.rehearsal import rehearsal

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def colab(monkeypatch):
    """The stand-in for google.colab, imported as Colab's kernel does."""
    monkeypatch.syspath_prepend(rehearsal.STAND_IN)
    import google.colab

    yield google.colab
    for name in [name for name in sys.modules if name == "google.colab" or name.startswith("google.colab.")]:
        del sys.modules[name]


def test_results_on_drive_ask_for_it_and_others_dont(colab, tmp_path, monkeypatch, capsys):
    drive = tmp_path / "drive"
    monkeypatch.setattr(paths, "DRIVE", drive)
    paths.stage("03_baseline_cnn", tmp_path / "outputs")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(colab.drive, "mount", lambda folder: print(folder, Path(folder).exists()))
    assert paths.stage("03_baseline_cnn", drive / "MyDrive" / "fer").is_dir()
    assert capsys.readouterr().out == f"{drive} False\n", "Colab mounts nothing on a folder that holds files"
    monkeypatch.setattr(Path, "is_mount", lambda path: path == drive)
    paths.stage("03_baseline_cnn", drive / "MyDrive" / "fer")
    assert capsys.readouterr().out == "", "asked once"


def test_elsewhere_a_folder_of_that_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DRIVE", tmp_path)
    assert "google.colab" not in sys.modules and paths.stage("03_baseline_cnn", tmp_path / "fer").is_dir()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_takes_its_folder_before_it_uses_out_root(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    first = next(line for line in text.splitlines() if "out_root" in line and not line.startswith("out_root: "))
    assert first == f'out = paths.stage("{path.stem}", out_root)', "that is what asks for Drive"


@pytest.mark.skipif(not shutil.which("git") or not (ROOT / ".git").exists(), reason="clones this folder")
def test_in_colab_the_first_cells_fetch_the_workbook_into_an_empty_folder(tmp_path):
    new, content = tmp_path / "python", tmp_path / "content"
    content.mkdir()
    python = rehearsal.fresh(Path(sys.executable), new)
    cells = [cell.source for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells[1:3]]  # the same in all
    where = "import fer_helpers\nprint(fer_helpers.__file__)"
    code = "\n".join([rehearsal.STARTUP, *cells, where])
    output = subprocess.check_output([python, "-c", code], cwd=content, env=rehearsal.variables(new), text=True)
    assert output == f"{content / 'fer-workbook' / 'fer_helpers' / '__init__.py'}\n", "nothing was lacking"
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=content / "fer-workbook", text=True)
    assert head.split() == rehearsal.git("rev-parse", "HEAD")
    assert rehearsal.packages(new) == {}


@pytest.mark.parametrize("folder", ["notebooks", "."])
def test_in_a_clone_the_same_cells_find_it(folder, tmp_path):
    for name in ("fer_helpers", "notebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "fer_helpers" / "__init__.py").write_text("")
    finder = nbformat.read(NOTEBOOKS[0], as_version=4).cells[2].source
    where = "import fer_helpers\nprint(fer_helpers.__file__, 'google.colab' in sys.modules)"
    done = subprocess.check_output([sys.executable, "-c", f"{finder}\n{where}"], cwd=tmp_path / folder, text=True)
    assert done == f"{tmp_path / 'fer_helpers' / '__init__.py'} False\n"


def test_a_new_runtime_sees_colabs_packages_and_keeps_its_own(tmp_path):
    python = rehearsal.fresh(Path(sys.executable), tmp_path / "new")
    code = "import numpy, google.colab, sys; print(numpy.__version__, sys.prefix)"
    import numpy

    output = subprocess.check_output([python, "-c", code], text=True)
    assert output == f"{numpy.__version__} {tmp_path / 'new'}\n"
    record = environment.site(tmp_path / "new") / "Some_thing-1.2.dist-info" / "METADATA"
    record.parent.mkdir()
    record.write_text("Metadata-Version: 2.1\nName: Some_thing\nVersion: 1.2\n")
    assert rehearsal.packages(tmp_path / "new") == {"some-thing": "1.2"}


def test_what_is_installed_over_colabs_is_told_unless_it_was_too_old():
    brought = {"torch": "2.11.0", "kagglehub": "0.3.13", "numpy": "2.1.3"}
    installed = {"torch": "2.15.0", "kagglehub": "1.0.2", "imagehash": "4.3.2"}
    sentences = rehearsal.judge(brought, installed, {"kagglehub", "imagehash"})
    assert sentences == ["torch 2.15.0 was installed over Colab's 2.11.0"]
    assert rehearsal.plain("Scikit_Learn>=1.6") == "scikit-learn"


def test_what_a_run_must_leave(tmp_path):
    clone, kept = tmp_path / "fer-workbook", tmp_path / "kept"
    kept.mkdir()
    assert rehearsal.left(clone, "03_a", kept) == ["the repository was not cloned"]
    (clone / ".git").mkdir(parents=True)
    (clone / "outputs" / "03_a").mkdir(parents=True)
    assert rehearsal.left(clone, "03_a", kept) == ["outputs/03_a is empty"]
    (clone / "outputs" / "03_a" / "metrics.json").write_text("{}")
    (kept / "03_a.ipynb").write_text("no calls")
    assert rehearsal.left(clone, "03_a", kept) == []
    (kept / "03_a.ipynb").write_text("stand-in: drive.mount('/content/drive')")
    assert rehearsal.left(clone, "03_a", kept) == ["Drive was asked for, although results don't go there"]


def test_only_the_parameters_that_a_notebook_has_are_changed():
    assert rehearsal.smoke(NOTEBOOKS[0]) == {"data": "synthetic", "budget": "smoke"}
    assert rehearsal.smoke(ROOT / "notebooks" / "09_results.ipynb") == {}


def test_a_machine_without_colabs_python_takes_its_own_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert rehearsal.newest() == Path(sys.executable)
    assert f"This machine has no Python {rehearsal.PYTHON}" in capsys.readouterr().out
    broken = tmp_path / "versions" / f"{rehearsal.PYTHON}.0" / "bin" / "python"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    assert rehearsal.newest() == Path(sys.executable)
    broken.write_text(f"#!/bin/sh\necho {rehearsal.PYTHON}\n")
    assert rehearsal.newest() == broken


def test_a_full_disk_and_a_wrong_number_are_told_first(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 2e9))
    monkeypatch.setattr(environment, "run_quietly", lambda *words: pytest.fail("nothing is built"))
    with pytest.raises(UserError, match=r"Only 2\.0 GB are free"):
        rehearsal.runtime(tmp_path / "colab")
    if (ROOT / ".git").exists():
        with pytest.raises(UserError, match="No committed notebook has the number 77"):
            rehearsal.walk(["77"], tmp_path)
