"""Kinds of what may be asked of a workbook that holds results already: the input, and what must happen."""

import http.server
import io
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import nbformat
import numpy as np
import pytest

from fer_helpers import emotions, paths, predict, settings
from fer_helpers.augment import Augment, ByEmotion
from fer_helpers.data import cache, sources, synthetic
from fer_helpers.errors import UserError
from fer_helpers.publishing import folders, reference
from fer_helpers.workbook import cli, commands, environment, execution, pipeline

FER = {"key": "k1", "pixels": "p1", "demonstration": False, "source": "fer2013.zip"}
CSV = FER | {"key": "k2", "source": "fer2013.csv"}  # the same faces under other names
MINE = {"key": "k3", "pixels": "p3", "demonstration": False, "source": "my faces"}
DRAWN = {"key": "k4", "pixels": "p4", "demonstration": True, "source": "synthetic faces"}
FEWER = DRAWN | {"key": "k5", "pixels": "p5"}  # the smaller synthetic set
OF_TWO = {"emotions": ["happy", "sad"]}


def leave(out_root, data, budget, stage="03_baseline_cnn"):
    """Results as a finished notebook leaves them."""
    paths.write_json(out_root / stage / "metrics.json", {"data": data, "run": {"budget": budget}})


HERE = ""
PLACES = [  # what lies there, what is asked for, and where that goes
    (None, DRAWN, "smoke", HERE),
    ((FER, "quick"), FER, "quick", HERE),
    ((FER, "quick"), FER, "full", HERE),
    ((FER, "quick"), CSV, "quick", HERE),
    ((FER, "quick"), FER, "smoke", "on_fer2013_zip_smoke"),
    ((FER, "quick"), DRAWN, "quick", "on_synthetic_quick"),
    ((FER, "smoke"), DRAWN, "full", "on_synthetic_full"),
    ((FER, "quick"), MINE, "full", "on_my_faces_full"),
    ((FER | {"pixels": None}, "quick"), MINE | {"pixels": None}, "quick", "on_my_faces_quick"),
    ((DRAWN, "full"), FER, "smoke", HERE),
    ((DRAWN, "quick"), FEWER, "smoke", "on_synthetic_smoke"),
    ((FEWER, "smoke"), DRAWN, "quick", HERE),
    ((DRAWN, "smoke"), FEWER | OF_TWO, "full", "on_synthetic_full"),  # of fewer emotions, and the other way round
    ((FEWER | OF_TWO, "smoke"), FER, "full", "on_fer2013_zip_full"),
    ((FEWER | OF_TWO, "smoke"), DRAWN | OF_TWO, "quick", HERE),
]


@pytest.mark.parametrize(("there", "data", "budget", "goes"), PLACES)
def test_a_run_never_replaces_what_is_greater(there, data, budget, goes, tmp_path, capsys):
    if there:
        leave(tmp_path, *there)
    assert folders.choose(tmp_path, data, budget) == tmp_path / goes
    assert ("keeps what it holds" in capsys.readouterr().out) == bool(goes)
    assert budget in folders.BUDGETS == commands.CHOICES["BUDGET"]


def test_results_of_fewer_emotions_never_lie_beside_those_of_seven(tmp_path, monkeypatch):
    paths.stage("03_baseline_cnn", tmp_path / "seven")
    paths.stage("03_baseline_cnn", tmp_path / "seven")
    monkeypatch.setattr(emotions, "FEWER", ("happy", "sad"))
    with pytest.raises(ValueError, match="holds results of all seven emotions, and now it is about happy sad"):
        paths.stage("04_transfer_learning", tmp_path / "seven")
    assert not (tmp_path / "seven" / "04_transfer_learning").exists()
    for name in ("03_baseline_cnn", "04_transfer_learning"):
        paths.stage(name, tmp_path / "two")
    with pytest.raises(FileNotFoundError, match=r"knows angry, .* alone: train one"):
        monkeypatch.setattr(predict, "FEWER", ("happy", "sad"))
        predict.given_away(tmp_path / "two")
    (file := tmp_path / "two" / predict.GIVEN_AWAY[1]).parent.mkdir(parents=True)
    file.touch()
    assert predict.given_away(tmp_path / "two") == file
    monkeypatch.setattr(emotions, "FEWER", ())
    with pytest.raises(ValueError, match="holds results of happy sad"):
        paths.stage("03_baseline_cnn", tmp_path / "two")


def test_a_folder_of_its_own_is_never_shared_either(tmp_path):
    leave(tmp_path, FER, "quick")
    leave(tmp_path / "on_my_faces_quick", MINE | {"key": "other", "pixels": "other"}, "quick")
    assert folders.choose(tmp_path, MINE, "quick") == tmp_path / "on_my_faces_quick_2"
    leave(tmp_path / "on_my_faces_quick_2", MINE, "quick")
    assert folders.choose(tmp_path, MINE, "quick") == tmp_path / "on_my_faces_quick_2"
    leave(tmp_path / "new", FER, "quick", "09_results")
    assert folders.choose(tmp_path / "new", DRAWN, "smoke") == tmp_path / "new", "it shows the reference's"
    assert folders.overview(tmp_path)[0] == f"{tmp_path}: fer2013.zip, budget quick: 03"


def test_what_waits_for_a_run_that_failed_counts_and_what_cannot_be_read_does_not(tmp_path):
    leave(tmp_path / paths.ASIDE, FER, "quick")
    paths.write_json(tmp_path / paths.ASIDE / "03_baseline_cnn" / paths.RECEIPT, {"facts": {}})
    assert folders.choose(tmp_path, DRAWN, "quick") != tmp_path
    (tmp_path / paths.ASIDE / "03_baseline_cnn" / "metrics.json").write_text("[")
    assert folders.choose(tmp_path, DRAWN, "quick") == tmp_path


@pytest.fixture
def walked(monkeypatch):
    """The rows that would be walked, with their goal."""
    rows = []
    monkeypatch.delenv("FER_DATA", raising=False)
    monkeypatch.setattr(pipeline, "walk", lambda row, goal="": rows.append((row, goal)))
    monkeypatch.setattr("fer_helpers.publishing.page.after_run", lambda out: None)
    return rows


def test_a_demonstration_after_results_goes_elsewhere_and_is_told(walked, tmp_path, capsys):
    leave(tmp_path, FER, "quick")
    assert cli.main(["run-all", "DATA=synthetic", "BUDGET=smoke", f"OUT={tmp_path}"]) == 0
    row, _ = walked[0]
    assert row.out_root == tmp_path / "on_synthetic_smoke" and row.fixed["out_root"] == str(row.out_root)
    assert f"{tmp_path} keeps what it holds (fer2013.zip, budget quick: 03)" in capsys.readouterr().out
    assert not (tmp_path / folders.LAST_DATA).exists(), "synthetic faces are nothing to come back to"


def test_the_data_named_last_is_used_again_while_it_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FER_DATA", raising=False)
    data, out = tmp_path / "faces.zip", {"OUT": str(tmp_path)}
    data.touch()
    assert cli.data_of(out) == "auto"
    folders.remember(tmp_path, str(data))
    assert cli.data_of(out) == str(data) and cli.data_of(out | {"DATA": "auto"}) == "auto"
    assert folders.overview(tmp_path) == [f"data, unless DATA= names other: {data}"]
    monkeypatch.setenv("FER_DATA", "synthetic")
    assert cli.data_of(out) == "auto", "which FER_DATA explains"
    monkeypatch.delenv("FER_DATA")
    data.unlink()
    assert cli.data_of(out) == "auto"
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    leave(tmp_path / "outputs", FER, "quick")
    assert cli.main(["help"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'outputs'}: fer2013.zip, budget quick: 03\n")


def test_notebook_09_takes_what_exists_and_trains_nothing(walked, tmp_path):
    assert cli.main(["09", f"OUT={tmp_path}"]) == 0
    row, goal = walked[0]
    assert "data" not in row.fixed and goal == "09", "no data set is looked for"
    reads = pipeline.look_into(row.notebooks / "09_results.ipynb", row.helpers).reads
    assert all(name.startswith("?") for name in reads) and any("reference/" in name for name in reads)


NAN, WIDE = float("nan"), "from 0 to below 1"
REFUSED = [  # a setting or a notebook's parameter, and what it may be
    ("epochs", -3, r"0 \(as the budget says\) or more"),
    ("batch_size", 0, "1 or more"),
    ("seed", -1, "0 or more"),
    ("fps", 0.0, "more than 0"),
    ("a_second", NAN, "more than 0"),
    ("peak_lr", NAN, "more than 0"),
    ("peak_lr", float("inf"), "more than 0"),
    ("weight_decay", NAN, "0 or more"),
    ("dropout", 1.0, WIDE),
    ("ema_decay", 1.0, WIDE),
    ("accuracy", 80.0, "from 0.5 to 0.99"),
    ("layer_lr_decay", 0.0, "more than 0, at most 1"),
    ("never_heard_of", -0.1, "0 or more"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), REFUSED)
def test_a_number_out_of_range_is_refused_with_what_it_may_be(name, value, wanted):
    with pytest.raises(ValueError, match=rf"^{name} is {value}: give {wanted}\.$"):
        settings.check({"seeds": 3, name: value})


def test_a_training_with_such_settings_cannot_be_put_together():
    wishes = [("epochs", -3), ("epochs", 0), ("batch_size", 0), ("peak_lr", NAN), ("optimizer", "adamm")]
    for name, value in [*wishes, ("keep", "x"), ("schedule", "cosine"), ("precision", "half")]:
        with pytest.raises(ValueError, match=f"^{name} is "):
            settings.TrainConfig(**{name: value})
    assert replace(settings.TrainConfig(), epochs=1, seed=7).seed == 7
    with pytest.raises(ValueError, match=r"^flip is 7"):
        settings.TrainConfig(augment=ByEmotion(1, Augment(flip=7), Augment()))


def test_the_defaults_of_every_notebook_can_be():
    for path in sorted((paths.ROOT / "notebooks").glob("*.ipynb")):
        stage = pipeline.look_into(path, paths.ROOT / "tests")  # its helpers don't matter here
        settings.check(stage.defaults)
        for name, value in {"seed": "-1", "epochs": "-3", "accuracy": "nan"}.items():
            if name in stage.defaults:
                with pytest.raises(ValueError, match=f"{name} is {value}: give"):
                    pipeline.values(stage, pipeline.Row(path, path, path, {name: value}))


WORDS = [  # as typed into PARAMS, and the value that arrives, or what the refusal shows
    (r"pictures=C:\Users\me\pics", r"C:\Users\me\pics"),
    (r"film=holiday\film.mp4", r"holiday\film.mp4"),
    (r"'pictures=C:\my pics\new'", r"C:\my pics\new"),
    ("pictures='my pictures'", "my pictures"),
    ('pictures="home/it\'s mine"', "home/it's mine"),
    ("pictures=#1", "#1"),
    ("pictures=größer;(1)", "größer;(1)"),
    ("pictures=my pictures", None),
    ("pictures=home/it's", None),
]


@pytest.mark.parametrize(("words", "arrives"), WORDS)
def test_a_path_in_params_arrives_as_it_was_typed(words, arrives):
    if arrives is None:
        with pytest.raises(UserError, match="pictures='my pictures'"):
            cli.notebook_parameters({"PARAMS": words})
    else:
        assert [*cli.notebook_parameters({"PARAMS": words}).values()] == [arrives]


@pytest.mark.parametrize("installed", [False, True])
def test_a_notebook_alone_says_what_to_do_unless_the_package_is_installed(installed, tmp_path):
    finder = nbformat.read(paths.ROOT / "notebooks" / "01_exploration.ipynb", as_version=4).cells[2].source
    bare = [sys.executable, "-S", "-c"]  # without what is installed here
    start = f"import sys\nsys.path.append({str(paths.ROOT)!r})\n" if installed else ""
    done = subprocess.run([*bare, start + finder], cwd=tmp_path, capture_output=True, text=True)
    if installed:
        assert done.returncode == 0, done.stderr
    else:
        said = f"ModuleNotFoundError: git clone {paths.repository()}, and open this notebook there"
        assert done.stderr.splitlines()[-1].startswith(said)


SHOWN = [  # what a notebook prints, and whether the terminal shows it without VERBOSE
    ("epoch   1/30  train loss 1.9 accuracy 21.0%  3 s, 0:01:30 left", True),
    ("going on after epoch 7 of an earlier run (small_cnn.pt)", True),
    ("06 plain seed 3: 23,534 faces, 30 epochs", True),
    ("07 plain is finished: train 70.1%", True),
    ("careful: some runs used float32 and some bfloat16; name one with precision", True),
    ("manifest.csv isn't as notebook 02 wrote it, so it was edited by hand: it is obeyed", True),
    ("  These faces are synthetic: every result from here on is a DEMONSTRATION.", True),
    ("resnet18: not pretrained, the control from scratch runs alone. No network.", True),
    ("200 of 1,000 pictures", True),
    ("23,534 faces to learn from, 3,589 to choose by", False),
    ("", False),
]


@pytest.mark.parametrize(("line", "shown"), SHOWN)
def test_the_terminal_shows_epochs_and_warnings_and_the_notebook_keeps_the_rest(line, shown, capsys):
    for everything in (False, True):
        execution.Progress(everything=everything).write(line + "\n")
        assert (capsys.readouterr().out.strip() == line.strip()) == (shown or everything or not line)


def test_where_a_run_is_stands_in_one_line_on_a_terminal_and_in_plain_lines_in_a_log(monkeypatch, capsys):
    cells = [nbformat.v4.new_markdown_cell("## Loading"), nbformat.v4.new_code_cell("#no heading"), None]
    cells[2] = nbformat.v4.new_markdown_cell("# A title\n\n## The small CNN\n\nIs it good?")

    def walk():
        progress = execution.Progress("[3/7] 03_x", "make 03", 400, everything=False)
        for cell in cells:
            progress.cell(cell=cell, cell_index=3)
        progress.started -= 125
        progress.row_started -= 600
        progress.write("epoch 1/2\n")
        progress.close()

    walk()
    assert capsys.readouterr().out.split("\n") == [
        *("      Loading (0 s so far, about 7 min left)", "      The small CNN (0 s so far, about 7 min left)"),
        *("      epoch 1/2", ""),
    ]
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    sys.stdout.isatty = lambda: True
    walk()
    lines = sys.stdout.getvalue().split("\n")
    assert len(lines) == 2, "but for the epochs, one line"
    assert re.search("\r\\[3/7\\] 03_x: The small CNN \\(0 s so far, about 7 min left\\) +\r +epoch 1/2 +$", lines[0])
    assert re.search("\r\\[3/7\\] 03_x: The small CNN \\(10 min so far, about 5 min left\\) +\r +\r$", lines[1])


class Index(http.server.BaseHTTPRequestHandler):
    """An index of packages: /quick answers, /slow takes its time, all else isn't there."""

    def do_GET(self):
        time.sleep(2 if "slow" in self.path else 0)
        self.send_response(404 if "none" in self.path else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("path", "platform", "gpu", "taken"),
    [
        ("quick", "linux", None, True),
        ("quick", "linux", "/usr/bin/nvidia-smi", False),
        ("quick", "darwin", None, False),  # PyPI's are CPU wheels there
        ("slow", "linux", None, False),
        ("none", "linux", None, False),
        (None, "linux", None, False),
    ],
)
def test_cpu_wheels_are_taken_where_no_gpu_is_and_their_index_answers(path, platform, gpu, taken, monkeypatch):
    monkeypatch.setattr(environment, "PATIENCE", 0.7)
    monkeypatch.setattr(environment.shutil, "which", lambda name: gpu)
    monkeypatch.setattr(environment.os.path, "exists", lambda path: False)
    monkeypatch.setattr(sys, "platform", platform)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        index = f"http://127.0.0.1:{server.server_port if path else 9}/{path}"
        started = time.monotonic()
        assert environment.lighter(index) == (index if taken else "")
        assert time.monotonic() - started < 1.9
        server.shutdown()


def test_duplicates_are_those_of_the_data_that_the_model_was_trained_on(monkeypatch, capsys):
    own = cache.with_keys(synthetic.draw(200, seed=0))
    other = cache.with_keys(synthetic.draw(140, seed=1))
    seen = own.part("train").select(np.arange(20))
    mixed = other.part("train").join(replace(seen, split=np.array(["test"] * 20))).join(other.part("val"))
    mixed = cache.with_keys(replace(mixed, names=np.array([f"{n}.png" for n in range(len(mixed))])))
    monkeypatch.setattr(sources, "load", lambda data, log: {"own": own, "another": other}[data])
    card, test = own.card(), mixed.part("val", "test").split == "test"
    leaked = reference._leaked(mixed, card, "own")
    assert leaked[test].all() and not leaked[~test].all(), "it was trained on all of the test faces"
    assert len(capsys.readouterr().out.splitlines()) == 1
    for known in ("", "another"):
        assert reference._leaked(mixed, card, known).all()
        assert "whether it has seen these faces isn't known" in capsys.readouterr().out
    assert 0 < reference._leaked(own, card, "").sum() < (own.split != "train").sum()
    assert reference._leaked(own, {}, "").all(), "a card that doesn't say"


def test_what_notebook_10_would_look_at_is_checked_first_and_its_answers_are_shown(walked, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for asked in ("pictures=no/such", f"pictures={tmp_path / 'empty'}", "film=no.mp4", "network=no.safetensors"):
        assert cli.main(["10", f"OUT={tmp_path}", "DATA=synthetic", f"PARAMS={asked}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1 and not walked
    folder = tmp_path / "10_your_photos"
    for number in range(30):
        row = {"picture": f"{number}.jpg", "face": 1, "answer": "happy", "probability": 0.9}
        paths.add_line(folder / "predictions.csv", row)
    paths.add_line(folder / "unread.csv", {"picture": "a.pdf", "reason": "not a picture"})
    lines = folders.answers(folder)
    assert lines[1] == "  0.jpg, face 1: happy (0.9)" and lines[-2] == "  ... and 11 more"
    assert len(lines) == 23 and str(folder / "predictions.csv") in lines[-1]
    (folder / "predictions.csv").unlink()
    assert "  a.pdf: no answer, not a picture" in folders.answers(folder)


def test_a_training_never_begins_from_a_file_that_it_replaces(tmp_path):
    (tmp_path / "03_baseline_cnn").mkdir()
    (file := tmp_path / "03_baseline_cnn" / "baseline.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"lies where notebook 03 writes anew"):
        cli.check_files({"start": str(file)}, tmp_path)
    cli.check_files({"start": str(file)}, tmp_path / "other")
