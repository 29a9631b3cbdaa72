"""The benchmarks are tried, small: they run, count right and say on what."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fer_helpers import paths, training
from fer_helpers.data import synthetic
from fer_helpers.faces import EMOTIONS
from fer_helpers.publishing import readme, reference, rendering
from fer_helpers.workbook import cli
from tests.benchmarks import __main__ as bench
from tests.benchmarks import accuracy, peers, usual, work


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Tries a benchmark on synthetic faces, and gives its section; what the README says then comes from it."""

    def section(name):
        bench.main("synthetic", str(tmp_path), name, "small")
        monkeypatch.setattr(paths, "REFERENCE", tmp_path)
        measured = paths.read_json(tmp_path / "bench.json")[name]
        assert measured["small"] and measured["data"]["kind"] == "synthetic"
        return measured

    return section


@pytest.mark.bench
def test_the_benchmark_of_duplicates_measures_and_keeps_the_other_sections(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "module", lambda name, *words: bench.main(*words))
    paths.write_json(tmp_path / "bench.json", {"another": {"seconds": 1}})
    cli.do("bench", {"DATA": "synthetic", "OUT": str(tmp_path), "PARAMS": "duplicates small"})
    bench_json = paths.read_json(tmp_path / "bench.json")
    section = bench_json["duplicates"]
    assert bench_json["another"] == {"seconds": 1} and section["run"]["device"].startswith("cpu: ")
    assert [each["images"] for each in section["growth"]["runs"]] == [300, 600]
    (build,) = section["build"]["runs"]
    assert build["images"] == 4000 and build["memory_peak_mb"] >= build["memory_before_mb"] > 50
    beside = section["side_by_side"]
    assert beside["planted"] == 5 * 19 and beside["images"] < 4000 + 95  # blanks and exact duplicates are out
    assert beside["ours"]["planted_missed"] == 0 and beside["ours"]["pairs"] >= 95


def numbers(section):
    """Every number in nested dicts and lists."""
    if isinstance(section, dict | list):
        for value in section.values() if isinstance(section, dict) else section:
            yield from numbers(value)
    elif isinstance(section, int | float):
        yield section


@pytest.mark.bench
def test_the_benchmark_of_the_engine_measures_and_its_numbers_hang_together(tried):
    section = tried("engine")
    assert section["measured_faces"] == 128
    for network in ("baseline", "four_layer"):
        loops = section["epoch"][network]
        (row,) = loops["runs"]
        for rival in ("usual_loop", "cached_rival"):
            assert row[f"{rival}_ratio"] == loops[f"{rival}_ratio"]
            assert row[f"{rival}_ratio"] == pytest.approx(row["ours"] / row[rival], abs=1e-3)
        parts = section["networks"][network]
        assert sum(parts["epoch"].values()) == pytest.approx(1, abs=1e-3)
        assert sum(parts["operations"].values()) == pytest.approx(1, abs=1e-3)
        assert parts["epoch"]["products at full rate"] == parts["share_of_product_rate"] > 0
        assert {"preprocess and augment", "forward", "backward"} < set(parts["step_ms"])
        assert min(*parts["step_ms"].values(), *(row[name] for name in usual.LOOPS)) > 0
    assert [row["precision"] for row in section["products"]] == ["float32", "bfloat16"]
    assert [each["images"] for each in section["growth"]["runs"]] == [128, 256]
    assert section["growth"]["runs"][0]["memory_peak_mb"] > 100
    assert all(math.isfinite(number) for number in numbers(section))
    lines = readme.block("speed")
    assert f"{section['epoch']['baseline']['ours']:,.0f} faces a second" in lines
    assert section["run"]["device"].replace("cpu: ", "") in lines


def test_multiplications_are_counted_from_the_shapes():
    batch = torch.randn(4, 1, 48, 48), torch.zeros(4, dtype=torch.int64)
    linear, small = nn.Linear(2304, 7), nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 46 * 46, 7))
    assert work.flops(nn.Sequential(nn.Flatten(), linear), *batch) == 2 * (2 * 4 * 2304 * 7), "none to the pixels"
    convolved, head = 2 * 4 * 46 * 46 * 8 * 9, 2 * 4 * 8 * 46 * 46 * 7
    assert work.flops(small, *batch) == 2 * convolved + 3 * head


def test_the_rivals_get_the_same_faces(tmp_path):
    people = synthetic.draw(200)
    usual.write_faces(people, tmp_path, 100)
    files = sorted((tmp_path / "jpeg").rglob("*.jpg"), key=lambda path: path.name)
    train, first = int((people.split == "train").sum()), usual.read_faces(str(tmp_path), 100)
    assert len(files) == 100 and [EMOTIONS.index(path.parent.name) for path in files] == first.labels.tolist()
    more = usual.read_faces(str(tmp_path), train + 10)
    assert len(more) == train + 10 and torch.equal(more.images[train:], first.images[:10])
    assert np.array_equal(np.sort(more.labels[:train]), np.sort(people.part("train").labels))


@pytest.mark.bench
def test_accuracy_is_measured_once_and_resumed(tmp_path, monkeypatch, capsys):
    began, real = [], training.fit
    monkeypatch.setattr(training, "fit", lambda *given, **named: began.append(1) or real(*given, **named))
    monkeypatch.setattr(cli, "module", lambda name, *words: bench.main(*words))
    first, again = {}, {}
    for sections in (first, again):
        cli.do("bench-accuracy", {"DATA": "synthetic", "OUT": str(tmp_path), "PARAMS": "small"})
        sections |= paths.read_json(tmp_path / "bench.json")
        assert len(began) == 4, "two seeds of each, when it is tried small; finished runs are read"
    printed = capsys.readouterr().out
    assert set(again) == {"accuracy", "with_duplicates"}
    for name, result in again.items():
        assert result["runs"] == first[name]["runs"] and result["averaged"] == first[name]["averaged"]
        assert [each["seed"] for each in result["runs"]] == [0, 1] and result["training_faces"] == 300
        assert all(each["seconds"] > 0 and 0 <= each["test_7178"] <= 1 for each in result["runs"])
        assert result["median"]["val"] == pytest.approx(np.mean([each["val"] for each in result["runs"]]))
        assert not result["reached"] and result["verdict"] in printed and "not reached" in result["verdict"]
    assert len(pd.read_csv(tmp_path / "bench_small" / "test_evaluations.csv")) == 4, "one test evaluation a run"
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    record = {"weights": 2_600_000, "epochs_seen": 60, "test": {"accuracy": 0.7, "accuracy_ci95": [0.685, 0.715]}}
    record["run"] = {"seconds": 3600, "threads": 2, "device": "cpu: one", "precision": "bfloat16"}
    paths.write_json(tmp_path / "08_record" / "single" / "metrics.json", record)
    *lines, line = readme.block("accuracy").splitlines()
    for name, each in zip(("accuracy", "with_duplicates"), lines, strict=True):
        assert f"{again[name]['median']['test']:.1%} on PrivateTest" in each
    assert all(part in line for part in ("2,600,000 weights", "70.0% on PrivateTest", "68.5% to 71.5%", "60 minutes"))


def judged(probs, goal=accuracy.FOUR_LAYER, seconds=1.0):
    """What is said of runs with these probabilities for the first test faces of a hundred."""
    people = synthetic.draw(100)
    result = {"seed": 0, "precision": "float32", "seconds": seconds, "history": [{}]}
    condition = accuracy.recipe(people.split == "train")
    return accuracy.judged(goal, condition, [result | {"probs": each} for each in probs(people.labels.numpy())], people)


@pytest.mark.parametrize(("seconds", "right", "reached"), [(500, 66, True), (700, 66, False), (500, 64, False)])
def test_a_goal_is_reached_by_accuracy_and_time_together(seconds, right, reached):
    probs = lambda labels: [np.eye(7)[(labels + (np.arange(100) >= right)) % 7]] * 3  # noqa: E731  so many are right
    section = judged(probs, accuracy.Goal("test_7178", 0.65, 10), seconds)
    assert section["reached"] == reached and section["median"]["test_7178"] == right / 100
    assert section["averaged"]["test_7178"] == right / 100 and section["averaged"]["seconds"] == 3 * seconds
    section = judged(probs, accuracy.Goal("test_7178", 0.65, None), seconds)
    assert section["reached"] == (right >= 65) and "65.00% on both test parts together: " in section["verdict"]


def test_an_ensemble_may_be_right_where_each_network_is_wrong():
    sure = lambda labels, k: 0.4 * np.eye(7)[labels] + 0.6 * np.eye(7)[(labels + k) % 7]  # noqa: E731
    section = judged(lambda labels: [sure(labels, 1), sure(labels, 2)])
    assert section["median"]["test_7178"] == 0 and section["averaged"]["test_7178"] == 1 and not section["reached"]


@pytest.mark.bench
def test_the_time_on_a_cluster_is_measured_and_calculated(tried):
    pytest.importorskip("distributed")
    section = tried("cluster")
    rows = section["measured"]["runs"]
    assert [each["workers"] for each in rows] == [1, 2] and {each["runs"] for each in rows} == {3}
    assert all(each["seconds"] > each["overhead_seconds_a_run"] > 0 for each in rows)
    by = {(each["workers"], each["runs"]): each["minutes"] for each in section["calculated"]["runs"]}
    assert by[1, 15] > by[2, 15] > by[50, 15] < by[50, 150], "more workers, less time; more runs, more time"
    assert f"15 runs on 50: {by[50, 15]:.0f} min" in readme.block("cluster")


def test_a_benchmark_that_does_not_exist_is_refused():
    with pytest.raises(SystemExit, match=r"copys; PARAMS takes duplicates, engine, .*peers and small"):
        bench.main("synthetic", "outputs", "copys")


def test_the_reference_keeps_full_measurements_of_fer2013_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    real, drawn = ({"data": {"kind": kind}, "small": False} for kind in ("fer2013", "synthetic"))
    paths.write_json(tmp_path / "reference" / "bench.json", {"a": real | {"of": "before"}, "b": real})
    paths.write_json(tmp_path / "bench.json", {"a": real, "b": drawn, "c": real | {"small": True}})
    reference.keep_benchmarks(tmp_path / "bench.json")
    assert paths.read_json(tmp_path / "reference" / "bench.json") == {"a": real, "b": real}


@pytest.mark.bench
def test_the_benchmark_of_photos_measures_and_is_published(tmp_path, tried):
    section = tried("photos")
    assert len(section["photographs_a_second"]) == 3 and len(section["memory_mb"]) == 2
    assert min(numbers([section[key] for key in ("faces_a_second", "live_a_second", "photographs_a_second")])) > 0
    assert f"{section['faces_a_second']:,} cropped faces a second" in readme.block("photos")
    worse = {"of": "accuracy", "value": -0.021, "ci95": [-0.05, 0.01]}
    cases = [{"turn": turn, "detected": share, "against_bare": worse} for turn, share in ((0, 0.6), (20, 0.3))]
    photos = {"framing": {"faces": 50, "cases": cases}, "confidence_threshold": {"accuracy": 0.8, "coverage": 0.6}}
    photos["detection"] = {"100 small faces": {"faces": 100, "detected": 94}}
    paths.write_json(tmp_path / "10_your_photos" / "metrics.json", photos)
    text = readme.block("photos")
    assert all(part in text for part in ("20° 30%", "-2.1 points", "-5.0 to +1.0", "answers 60%", "94 are detected"))


@pytest.mark.bench
def test_the_first_steps_are_measured_in_a_clone_and_published(tried):
    section = tried("start")
    took = section["seconds"]
    assert 0 < took["cloned"] < took["installed"] < min(took["prediction"], took["figure"])
    assert re.fullmatch(r"[a-z]+ \d+%", section["answer"])
    assert f"first prediction {took['prediction'] / 60:.1f} minutes after" in readme.block("start")


def test_what_a_peer_does_not_answer_is_wrong_and_its_words_are_ours():
    guess = peers.labels_of(["happy", "", "fearful", "disgusted"])
    assert [EMOTIONS[k] if k >= 0 else "" for k in guess] == ["happy", "", "fear", "disgust"]
    people = synthetic.draw(100)
    labels = people.labels.numpy()
    given = np.where(np.arange(len(labels)) < 30, -1, labels)
    line = peers.row("fer", peers.CROP, given, people, [3.0, 1.0, 2.0], 100)
    assert line["accuracy"] == 0.7 and line["answered"] == 0.7 and line["ms"] == 2 and line["macro_f1"] < 0.9
    assert line["accuracy_ci95"][0] < 0.7 < line["accuracy_ci95"][1]
    assert peers.row("fer", peers.CROP, labels, people, [1.0], 100)["macro_f1"] == 1


def test_peers_are_told_with_intervals_and_drawn_beside_exported_files():
    people, lines = synthetic.draw(100), []
    for name, way, ms in (("fer", peers.CROP, 0.4), ("a_cnn", "1 view, PyTorch", 3.0), ("a_cnn", "1 view, ONNX", 1.0)):
        lines.append(peers.row(name, way, people.labels.numpy(), people, [ms], 100, 4.7 if "ONNX" in way else None))
    assert peers.edge(lines) == [f"fer ({peers.CROP})"], "as often right and faster"
    slow = [lines[0] | {"accuracy": 0.9}, *lines[1:]]
    assert peers.edge(slow) == [f"fer ({peers.CROP})", "a cnn (1 view, ONNX)"], "the slower one is right more often"
    silent = peers.row("face-api", "its own detector", np.full(len(people), -1), people, [9], 100)
    alt = peers.figure([*lines, silent], people)._repr_mimebundle_()[1]["image/png"]["alt"]
    assert "unanswered: face-api, its own detector" in alt
    title = peers.figure(lines, people).get_suptitle()
    assert title == "a cnn, 1 view, ONNX: 100.0% in 1.00 ms a face; the best peer, fer: 100.0% in 0.40 ms"
    found = {"rows": lines, "faces": 100, "edge": peers.edge(lines), "repeats": 1, "run": {"device": "cpu: one"}}
    told = rendering.ENVIRONMENT.get_template("peers.md.j2").module.peers(found | {"trained_on": peers.TRAINED_ON})
    assert "| a cnn | 1 view, ONNX | 100.0% (96.3% to 100.0%) | 100.0% | 1.00 | 4.7 |" in told
    assert "more often right than fer (the crop as it is)." in told
    assert "fer: FER-2013's Training with its duplicates" in told


@pytest.mark.bench
def test_our_published_model_is_measured_without_peers_when_small(tried, tmp_path):
    pytest.importorskip("onnxruntime")
    section = tried("peers")
    assert {each["way"] for each in section["rows"]} >= {"1 view, PyTorch", "2 views, ONNX", "2 views, ONNX int8"}
    assert all(each["ms"] > 0 for each in section["rows"]) and (tmp_path / "peers.png").exists()
    assert len(pd.read_csv(tmp_path / "test_evaluations.csv")) == 1, "an evaluation of the weights, whatever asks them"
