"""The benchmarks are tried, small: they run, count right and say on what."""

import pytest

from fer_helpers import paths, report, run
from tests.benchmarks import __main__ as bench


def test_the_benchmark_of_copies_measures_and_keeps_the_other_sections(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "module", lambda name, *words: bench.main(*words))
    paths.write_json(tmp_path / "bench.json", {"another": {"seconds": 1}})
    run.bench({"DATA": "synthetic", "OUT": str(tmp_path), "PARAMS": "copies small"})
    told = paths.read_json(tmp_path / "bench.json")
    assert told["another"] == {"seconds": 1}
    found = told["copies"]
    assert found["small"] and found["data"]["kind"] == "synthetic" and found["run"]["device"].startswith("cpu: ")
    assert [each["images"] for each in found["growth"]["runs"]] == [300, 600]
    (build,) = found["build"]["runs"]
    assert build["images"] == 4000 and build["memory_peak_mb"] >= build["memory_before_mb"] > 50
    beside = found["side_by_side"]
    assert beside["planted"] == 5 * 19 and beside["images"] < 4000 + 95  # blanks and exact copies are out
    assert beside["ours"]["planted_missed"] == 0 and beside["ours"]["pairs"] >= 95


def test_a_benchmark_that_does_not_exist_is_refused():
    with pytest.raises(SystemExit, match="copys; PARAMS takes cluster, copies"):
        bench.main("synthetic", "outputs", "copys")


def test_the_reference_keeps_full_measurements_of_fer2013_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    real, drawn = ({"data": {"kind": kind}, "small": False} for kind in ("fer2013", "synthetic"))
    paths.write_json(tmp_path / "reference" / "bench.json", {"a": real | {"of": "before"}, "b": real})
    paths.write_json(tmp_path / "bench.json", {"a": real, "b": drawn, "c": real | {"small": True}})
    report.keep_benchmarks(tmp_path / "bench.json")
    assert paths.read_json(tmp_path / "reference" / "bench.json") == {"a": real, "b": real}
