"""The way from a bare Python to a running command: which interpreter, what is installed, what is said."""

import ast
import json
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tomllib

import pytest

from fer_helpers.errors import UserError
from fer_helpers.workbook import cli, commands, environment
from fer_helpers.workbook.environment import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A workbook with nothing but its pyproject.toml, and a Python of the system."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("CONDA_PREFIX", "CONDA_DEFAULT_ENV", "COLAB_RELEASE_TAG", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(environment, "lighter", lambda: "")
    return tmp_path


class Processes(list):
    """What would have been run: words of each command; those with one of the words in `failing` fail."""

    failing = ()


@pytest.fixture
def ran(bare, monkeypatch):
    """The processes that would have been started: `venv` makes an empty interpreter, pip nothing."""
    ran = Processes()

    def pretend(command, **_):
        ran.append(command[2:])
        if command[2] == "venv":
            python = environment.python_in(bare / ".venv")
            shutil.rmtree(bare / ".venv", ignore_errors=True)
            python.parent.mkdir(parents=True)
            python.write_text("")
        failed = any(word in ran[-1] for word in ran.failing)
        return subprocess.CompletedProcess(command, int(failed), "".join(f"line {i}\n" for i in range(20)))

    monkeypatch.setattr(subprocess, "run", pretend)
    return ran


def installs(ran):
    """The arguments of the pip installations, and venv for each environment made; the list is emptied."""
    installed = ["venv" if words[0] == "venv" else " ".join(words[4:]) for words in ran if "--version" not in words]
    ran.clear()
    return installed


PROJECT_ITSELF = "--editable .[lab,pretrained,dev]"


def test_a_first_call_installs_once_and_says_how_much_before(bare, ran, monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    assert environment.ensure(root=bare) == environment.python_in(bare / ".venv")
    assert ran[-1][1:4] == ["install", "--quiet", "--disable-pip-version-check"]
    assert installs(ran) == ["venv", PROJECT_ITSELF]
    output = capsys.readouterr().out
    assert "6 GB" in output and f"torch comes from {environment.PYPI}, with CUDA libraries; TORCH_INDEX=" in output
    environment.ensure(root=bare)
    assert ran == [] and capsys.readouterr().out == ""


def test_without_a_gpu_the_first_call_takes_cpu_wheels_unless_told_otherwise(bare, ran, monkeypatch, capsys):
    monkeypatch.setattr(environment, "lighter", lambda: environment.CPU_WHEELS)
    environment.ensure(environment.PYPI, bare)
    assert installs(ran) == ["venv", f"torch torchvision --index-url {environment.PYPI}", PROJECT_ITSELF]
    environment.ensure(root=bare)
    assert installs(ran) == [], "the choice holds"
    shutil.rmtree(bare / ".venv")
    environment.ensure(root=bare)
    assert installs(ran) == ["venv", f"torch torchvision --index-url {environment.CPU_WHEELS}", PROJECT_ITSELF]
    assert "1.7 GB on disk" in (said := capsys.readouterr().out) and f"comes from {environment.CPU_WHEELS};" in said


def test_a_changed_pyproject_installs_again_into_the_same_environment(bare, ran):
    environment.ensure(root=bare)
    installs(ran)
    text = (bare / "pyproject.toml").read_text()
    (bare / "pyproject.toml").write_text(text.replace("a thin", "the thin").replace("testpaths", "test_paths"))
    environment.ensure(root=bare)
    assert installs(ran) == []  # nothing that is installed changed
    (bare / "pyproject.toml").write_text(text.replace('"safetensors>=0.5"', '"safetensors>=0.6"'))
    environment.ensure(root=bare)
    assert installs(ran) == [PROJECT_ITSELF]


def test_an_interrupted_installation_is_repeated_from_the_same_wheels(bare, ran):
    ran.failing = ("--editable",)
    with pytest.raises(UserError, match=r"pip couldn't install --editable .*(?s:.*)line 12\n(?s:.*)line 19") as stop:
        environment.ensure(environment.CPU_WHEELS, bare)
    assert "line 11" not in str(stop.value)
    installs(ran)
    ran.failing = ()
    environment.ensure(root=bare)
    assert installs(ran) == [f"torch torchvision --index-url {environment.CPU_WHEELS}", PROJECT_ITSELF]
    environment.ensure(root=bare)
    assert installs(ran) == []


def test_another_source_of_torch_starts_from_nothing(bare, ran):
    environment.ensure(root=bare)
    environment.ensure("https://example.org/cu130", bare)
    torch = "torch torchvision --index-url https://example.org/cu130"
    assert installs(ran) == ["venv", PROJECT_ITSELF, "venv", torch, PROJECT_ITSELF]
    environment.ensure(root=bare)  # not given: the choice holds
    environment.ensure("https://example.org/cu130", bare)
    assert installs(ran) == []


def test_a_broken_environment_is_made_anew(bare, ran):
    environment.ensure(root=bare)
    (bare / ".venv/fer_stamp").unlink()
    ran.failing = ("--version",)  # its pip doesn't start
    environment.ensure(root=bare)
    assert installs(ran) == ["venv", PROJECT_ITSELF, "venv", PROJECT_ITSELF]


def test_the_demo_gets_an_environment_of_its_own_on_top_of_this_one(bare, monkeypatch, capsys):
    folder, ran, failing = bare / ".venv" / "demo", [], ["install"]
    base = {"base": str(folder), "platbase": str(folder)}
    below = pathlib.Path(sysconfig.get_path("purelib", "venv", vars=base)) / "below.pth"

    def pretend(command, **_):
        ran.append(command[2:])
        below.parent.mkdir(parents=True, exist_ok=True)
        return subprocess.CompletedProcess(command, int(any(word in command for word in failing)), "")

    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr(environment, "missing", lambda lines: lines)
    monkeypatch.setattr(environment, "usable", pathlib.Path.exists)
    with pytest.raises(UserError, match="pip couldn't install gradio"):
        environment.with_demo(bare)
    failing.clear()
    installs(ran)
    python = environment.with_demo(bare)
    assert installs(ran) == ["venv", " ".join(PROJECT["optional-dependencies"]["demo"])]
    assert repr(sysconfig.get_path("purelib")) in below.read_text() and python.is_relative_to(folder)
    assert "about 0.3 GB" in capsys.readouterr().out
    python.parent.mkdir()
    python.write_text("")
    assert environment.with_demo(bare) == python and installs(ran) == []
    monkeypatch.setattr(environment, "missing", lambda lines: [])
    assert str(environment.with_demo(bare)) == sys.executable


def test_debian_without_venv_is_told_what_to_install(bare, ran, monkeypatch):
    ran.failing = ("venv",)
    monkeypatch.setattr(environment.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="sudo apt install python3-venv"):
        environment.ensure(root=bare)


def test_a_full_disk_is_told_before_pip(bare, ran, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0.4e9))
    with pytest.raises(UserError, match=r"Only 0\.4 GB are free"):
        environment.ensure(root=bare)
    assert ran == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1.2e9))
    environment.ensure(root=bare)
    assert "only 1.2 GB are free" in capsys.readouterr().out


def active(monkeypatch, bare, kind, name="fer-workbook"):
    """Pretend to run inside an environment of that kind."""
    prefix = bare / ".venv" if kind == "own" else bare / "elsewhere"
    if kind in ("venv", "own", "conda"):
        monkeypatch.setattr(sys, "prefix", str(prefix))
    if kind == "conda":
        monkeypatch.setattr(sys, "base_prefix", str(prefix))  # conda's environments have no other base
    if kind in ("conda", "conda of another python"):
        monkeypatch.setenv("CONDA_PREFIX", str(prefix))
        monkeypatch.setenv("CONDA_DEFAULT_ENV", name)


PLACES = {("conda", "base"): "system", ("conda of another python", "fer-workbook"): "system"}
PLACES |= {(kind, "fer-workbook"): kind for kind in ("system", "own", "venv", "conda")}


@pytest.mark.parametrize(("kind", "name"), PLACES)
def test_where_the_interpreter_lives(bare, monkeypatch, kind, name):
    place = PLACES[kind, name]
    active(monkeypatch, bare, kind, name)
    assert environment.place(bare) == place
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert environment.place(bare) == "colab"


@pytest.mark.parametrize("kind", ["own", "venv", "conda"])
def test_an_active_environment_that_has_everything_is_used(bare, ran, monkeypatch, kind):
    active(monkeypatch, bare, kind)
    monkeypatch.setattr(environment, "missing", lambda lines: [])
    assert str(environment.ensure(root=bare)) == sys.executable
    assert ran == []


def test_an_active_environment_that_lacks_something(bare, ran, monkeypatch, capsys):
    monkeypatch.setattr(environment, "missing", lambda lines: [line for line in lines if line.startswith("imagehash")])
    active(monkeypatch, bare, "venv")
    assert environment.ensure(root=bare) == environment.python_in(bare / ".venv")  # somebody else's is left alone
    assert installs(ran) == ["venv", PROJECT_ITSELF]
    active(monkeypatch, bare, "own")
    environment.ensure(root=bare)
    assert installs(ran) == [PROJECT_ITSELF]  # in spite of the stamp
    active(monkeypatch, bare, "conda")
    with pytest.raises(UserError, match=r'lacks imagehash>=4.3.*conda env update --name "fer-workbook" --file env'):
        environment.ensure(root=bare)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert str(environment.ensure(root=bare)) == sys.executable
    assert installs(ran) == ["imagehash>=4.3"]


@pytest.mark.parametrize("in_kernel", [True, False])
def test_colabs_own_kernel_server_and_torch_are_never_installed_over(bare, ran, monkeypatch, in_kernel):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    if in_kernel:
        monkeypatch.setitem(sys.modules, "google.colab", object())
        monkeypatch.delenv("COLAB_RELEASE_TAG")  # either tells that this is Colab
    old = ("imagehash", "kagglehub", "papermill", "jupyterlab", "ipykernel")  # absent, or older than asked for
    monkeypatch.setattr(environment, "missing", lambda lines: [line for line in lines if line.startswith(old)])
    environment.ensure(root=bare)
    wanted = "imagehash>=4.3 kagglehub>=1.0,<2"
    assert installs(ran) == [wanted if in_kernel else f"{wanted} papermill>=2.6"]
    monkeypatch.setattr(environment, "missing", lambda lines: [line for line in lines if line.startswith("torch")])
    with pytest.raises(UserError, match=r"needs torch>=.* and torchvision>=.*choose the latest runtime version"):
        environment.ensure(root=bare)
    assert ran == []


def test_missing_compares_versions_as_numbers(monkeypatch):
    have = {"torch": "2.11.0+cpu", "kagglehub": "1.0.3", "pillow": "9.5"}

    def version(name):
        if name not in have:
            raise environment.metadata.PackageNotFoundError(name)
        return have[name]

    monkeypatch.setattr(environment.metadata, "version", version)
    assert environment.missing(["torch>=2.9", "kagglehub>=1.0,<2", "pillow"]) == []
    assert environment.missing(["torch>=2.12", "pillow>=11", "nothing"]) == ["torch>=2.12", "pillow>=11", "nothing"]


def test_environment_yml_is_in_step_with_pyproject():
    lines = [line.partition(" #") for line in (ROOT / "environment.yml").read_text().splitlines()]
    text = [line.rstrip() for line, _, _ in lines]
    assert text[0] == "name: fer-workbook"
    python = f"python{PROJECT['requires-python']}"
    assert text[3:] == ["dependencies:", f"  - {python}", "  - pip", "  - pip:", "      - -e .[lab,pretrained,dev]"]
    assert all(comment.strip() for line, _, comment in lines if line.lstrip().startswith("- ")), "say what it is for"
    assert PROJECT["requires-python"] == ">=" + ".".join(map(str, environment.OLDEST))


WORKBOOK = ("workbook/__init__", "workbook/cli", "workbook/commands", "workbook/environment")
OPENED_FIRST = ("__init__", "run", "errors", *WORKBOOK)


@pytest.mark.parametrize("name", OPENED_FIRST)
def test_an_old_python_gets_as_far_as_the_sentence(name, monkeypatch, capsys):
    tree = ast.parse((ROOT / "fer_helpers" / f"{name}.py").read_text(), feature_version=(3, 8))
    modules = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert {each.split(".")[0] for each in modules} <= {"fer_helpers", *sys.stdlib_module_names} - {"tomllib"}
    inside = {each.partition("fer_helpers.")[2].replace(".", "/") for each in modules}
    assert inside <= {*OPENED_FIRST, "workbook", ""}, "what it opens is looked at here too"
    monkeypatch.setattr(sys, "version_info", (3, 9, 6))
    assert cli.main(["setup"]) == 2
    assert "This is Python 3.9.6" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_hands_on_what_was_given_and_nothing_else(tmp_path, monkeypatch):
    python = tmp_path / "my python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    python.chmod(0o755)
    monkeypatch.setenv("DATA", "of the shell")
    given = [f'{name}=a b\'s "$c" #;' for name in commands.VARIABLES if name != "DATA"]
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), f"PYTHON={python}"]
    for target in [*commands.COMMANDS, "10", "no-such-thing"]:
        done = subprocess.run([*command, target, *given], cwd=tmp_path, capture_output=True, text=True, check=True)
        words = json.loads(done.stdout)
        assert words[:3] == ["-m", "fer_helpers.run", target] and sorted(words[3:]) == sorted(given)
    assert "fer_helpers.run help" in " ".join(json.loads(subprocess.check_output(command, cwd=tmp_path)))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run-al"], "There is no command run-al. Did you mean run-all?"),
        (["11"], "There is no command 11."),
        (["run-all", "budget=smoke"], "There is no variable budget. Did you mean BUDGET?"),
        (["run-all", "smoke"], "smoke isn't NAME=value"),
        (["run-all", "BUDGET=fast"], "BUDGET=fast isn't known: choose from auto, smoke, quick, full."),
        (["03", "DEVICE=gpu"], "DEVICE=gpu isn't known: choose from auto, cpu, cuda."),
        (["03", "PARAMS=epochs"], "epochs in PARAMS isn't name=value"),
        (["03", "PARAMS=seed=1"], "Write SEED=1 by itself, not inside PARAMS."),
        (["06", "PARAMS=cluster=tcp://a:1"], "Write CLUSTER=tcp://a:1 by itself, not inside PARAMS."),
        (["03", "CLUSTER=tcp://a:1"], "03 doesn't take CLUSTER"),
        (["clean", "OUT=elsewhere"], "clean doesn't take OUT"),
        (["video"], "Which film? make video VIDEO=film.mp4"),
        (["evaluate"], "Which model? make evaluate MODEL=outputs/03"),
        (["compare"], "Compare with which folder of results? make compare A=outputs B="),
    ],
)
def test_a_slip_of_the_hand_is_one_sentence(words, sentence, capsys):
    assert cli.main(words) == 2
    output = capsys.readouterr()
    assert output.err.startswith(sentence) and output.err.count("\n") == 1 and output.out == ""


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["run-all", "DATA=no/such/folder"], "no/such/folder"),
        (["03", "PARAMS=epoch=3"], "epochs"),
        (["evaluate", "MODEL=none.safetensors"], "no model file"),
    ],
)
def test_what_does_not_exist_is_a_sentence(words, part, tmp_path, capsys):
    assert cli.main([*words[:1], "DATA=synthetic", *words[1:], f"OUT={tmp_path}"]) == 2
    assert part in capsys.readouterr().err


def test_parameters_keep_their_blanks():
    words = ["3", 'PARAMS=epochs=5 backbones="resnet18 vgg16" model=x', "DATA=/a b/c", "OUT="]
    command, options = cli.parse(words)
    assert (command, options["DATA"], "OUT" in options) == ("03", "/a b/c", False)
    assert cli.notebook_parameters(options) == {"epochs": "5", "backbones": "resnet18 vgg16", "model": "x"}


@pytest.mark.parametrize(
    ("cuda", "device", "budget"), [(True, "auto", "full"), (True, "cpu", "quick"), (False, "auto", "quick")]
)
def test_the_budget_asks_the_machine_unless_it_is_given(monkeypatch, cuda, device, budget):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    assert cli.budget_of({"DEVICE": device}) == cli.budget_of({"DEVICE": device, "BUDGET": "auto"}) == budget
    assert cli.budget_of({"BUDGET": "smoke"}) == "smoke"


def test_what_helpers_raise_for_the_user_is_a_sentence_and_a_mistake_of_ours_is_not(monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "do", fail)
    for error in (ValueError("No faces in it."), FileNotFoundError("No such folder."), ConnectionError("No Kaggle.")):
        assert cli.main(["help"]) == 2
        assert capsys.readouterr().err == f"{error}\n"
    error = KeyError("oh")
    with pytest.raises(KeyError):
        cli.main(["help"])


def test_clean_keeps_the_reference_and_the_environment(tmp_path, capsys):
    kept = ["outputs/reference/a.json", "outputs/.gitkeep", "outputs/README.md", ".venv/x", "data/train.zip"]
    gone = [*(f"outputs/{name}" for name in ("03_baseline_cnn/m.json", ".previous/a", "log.csv")), ".cache/c"]
    gone += [".import_linter_cache/c", "fer_helpers/data/__pycache__/t"]
    for name in [*kept, *gone]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * 300_000)
    environment.clean(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)
    assert "removed outputs/03_baseline_cnn: 0.3 MB" in capsys.readouterr().out
