"""Two folders of results side by side, on predictions that are known."""

import numpy as np
import pytest

from fer_helpers import paths, results
from fer_helpers.publishing import compare
from fer_helpers.statistics import Difference, paired_difference
from fer_helpers.workbook import cli

NAMES = np.array([f"face_{k:03}" for k in range(400)])
SPLIT = np.repeat(["val", "test"], 200)
LABELS = np.arange(400) % 7


def folder(root, right, *, names=NAMES, labels=LABELS, seed=0, code="a", key="k", config=None):
    """Results of notebook 03 with one model that is right on the first `right` faces of val and of test."""
    stage = root / "03_baseline_cnn"
    guess = np.where(np.arange(400) % 200 < right, labels, (labels + 1) % 7)
    order = np.random.default_rng(seed).permutation(400)  # files of two runs need not be in one order
    stage.mkdir(parents=True)
    arrays = {"names": names, "labels": labels, "split": SPLIT, "probs": np.eye(7, dtype=np.float32)[guess]}
    results.write_predictions(stage / "predictions.npz", **{name: each[order] for name, each in arrays.items()})
    part = {"accuracy": right / 200}
    data = {"key": key, "source": f"{key}.zip", "counts": {"train": 9}}
    metrics = {"model": "baseline", "epochs_seen": 3, "val": part, "test": part, "data": data}
    metrics |= {"config": config or {"epochs": 3}, "run": {"commit": code, "when": str(seed), "seconds": seed}}
    paths.write_json(stage / "metrics.json", metrics)
    facts = {"the notebook": code, "helper training.py": "same", "parameter seed": seed, "the data": key}
    facts["input 03_baseline_cnn/history.csv"] = code
    paths.write_json(stage / "receipt.json", {"facts": facts, "written": {}, "seconds": 1})
    return root


def test_what_differs_is_named_and_scores_are_paired(tmp_path, capsys):
    a = folder(tmp_path / "a", 120)
    b = folder(tmp_path / "b", 140, seed=1, code="b", config={"epochs": 5})
    (b / "05_grad_cam").mkdir()
    paths.write_json(b / "05_grad_cam" / "metrics.json", {})
    assert cli.do("compare", {"A": str(a), "B": str(b), "OUT": str(tmp_path)}) is None
    comparison = paths.read_json(tmp_path / "compare.json")
    sentences = {"parameters": "seed: 0 -> 1", "code": "the notebook: differs", "machine": "commit: a -> b"}
    assert comparison["differs"] == {kind: {each: ["03"]} for kind, each in sentences.items()} | {"data": {}}
    one = comparison["scores"]["03_baseline_cnn"]
    assert one["settings"] == ["epochs: 3 -> 5"]
    before, after = np.arange(200) < 120, np.arange(200) < 140
    val = one["parts"]["val"]
    assert one["parts"] == {"val": val, "test": val} and (val["n"], val["a"], val["b"]) == (200, 0.6, 0.7)
    assert Difference.read(val) == paired_difference(after, before) and val["p"] == 2 * 0.5**20
    assert val["verdict"] == "higher"
    assert (comparison["only_in_a"], comparison["only_in_b"]) == ([], ["05_grad_cam"])
    printed = capsys.readouterr().out
    assert "val  60.0% -> 70.0%  +10.0 points (6.0 to 14.5), p 1.9e-06" in printed
    assert "data: the same" in printed and "only in B: 05_grad_cam" in printed


def test_a_folder_with_itself_differs_in_nothing(tmp_path, capsys):
    a = folder(tmp_path / "a", 120)
    compare.folders(str(a), str(a), tmp_path / "c.json")
    printed = capsys.readouterr().out
    assert printed.count(": the same") == 4 and "+0.0 points (0.0 to 0.0), inconclusive, p 1" in printed


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"key": "l"}, "the data differ, so a name may mean another face"),
        ({"names": NAMES[::-1]}, "val doesn't hold the same faces with the same labels (A has 200, B 200, 0 names"),
        ({"labels": (LABELS + 1) % 7}, "(A has 200, B 200, 200 names are in both)"),
    ],
)
def test_other_faces_are_not_compared(tmp_path, capsys, other, why):
    a, b = folder(tmp_path / "a", 120), folder(tmp_path / "b", 140, **other)
    compare.folders(str(a), str(b), tmp_path / "c.json")
    printed = capsys.readouterr().out
    assert why in printed and "60.0% -> 70.0%" in printed and "points" not in printed


def test_results_without_receipt_or_predictions_are_compared_as_far_as_they_go(tmp_path, capsys):
    a, b = folder(tmp_path / "a", 120), folder(tmp_path / "b", 140)
    (b / "03_baseline_cnn" / "predictions.npz").unlink()
    (b / "03_baseline_cnn" / "receipt.json").unlink()
    compare.folders(str(a), str(b), tmp_path / "c.json")
    printed = capsys.readouterr().out
    assert all(f"{kind}\n  not known: a folder has no receipt.json" in printed for kind in ("parameters", "code"))
    assert "predictions.npz is missing" in printed


def test_what_can_not_be_compared_is_a_sentence(tmp_path):
    a = folder(tmp_path / "a", 120)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"No notebook was run in both: .* has 03_baseline_cnn, .* has nothing"):
        compare.folders(str(a), str(tmp_path / "empty"), tmp_path / "c.json")
    with pytest.raises(FileNotFoundError, match="isn't a folder of results"):
        compare.folders(str(a), str(tmp_path / "none"), tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()
