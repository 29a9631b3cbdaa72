"""The kept reference: what a run replaces, and what it leaves as it was."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_helpers import augment, cleaning, models, paths, readme, recipe, report, results, synthetic


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A reference that holds a study, in place of the workbook's own."""
    model = paths.REFERENCE / report.GIVEN_AWAY
    folder = tmp_path / "reference"
    monkeypatch.setattr(paths, "REFERENCE", folder)
    monkeypatch.setattr(readme, "write", lambda: None)
    for stage in ("01_exploration", "06_price_of_leakage"):
        (folder / stage).mkdir(parents=True)
        paths.write_json(folder / stage / "metrics.json", {"made": "before"})
        (folder / stage / "mean_faces.png").write_text("before")
        (folder / stage / "README.md").write_text("written by hand")
    (folder / "notebooks").mkdir()
    for stage in ("01_exploration", "06_price_of_leakage"):
        (folder / "notebooks" / f"{stage}.ipynb").write_text("before")
    seconds = {"01_exploration": 1, "06_price_of_leakage": 6}
    paths.write_json(folder / "times.json", {"seconds": seconds})
    for name, kind in (("out", "fer2013"), ("drawn", "synthetic")):
        out = tmp_path / name
        for stage in ("01_exploration", "02_cleaning", "03_baseline_cnn"):
            card = {"kind": kind, "source": kind, "demonstration": kind == "synthetic"}
            paths.write_json(out / stage / "metrics.json", {"data": card})
            paths.write_json(out / stage / "receipt.json", {"seconds": 10})
            (out / stage / "copies.png").write_text("faces of people")
            paths.write_json(out / stage / f"{stage}.ipynb", {"metadata": {}, "cells": []})
        table = pd.DataFrame([["a", "train", "sad", "0", 0, True, "kept", ""]], columns=cleaning.COLUMNS)
        paths.write_csv(out / "02_cleaning" / "manifest.csv", table)
        card["cleaned"] = {"manifest": cleaning.digest(table)}
        paths.write_json(out / "02_cleaning" / "metrics.json", {"data": card})
        (out / "test_openings.csv").write_text("when\n")
        (out / report.GIVEN_AWAY).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(model, out / report.GIVEN_AWAY)
    return tmp_path, folder


def test_a_study_that_was_not_run_keeps_its_copy(kept):
    root, folder = kept
    (root / "out" / "06_price_of_leakage").mkdir()  # begun, not finished
    paths.write_json(root / "out" / "06_price_of_leakage" / "metrics.json", {"made": "half"})
    report.reference(root / "out", root / "drawn")
    assert paths.read_json(folder / "06_price_of_leakage" / "metrics.json") == {"made": "before"}
    assert "before" not in paths.read_json(folder / "01_exploration" / "metrics.json").values()
    assert not (folder / "01_exploration" / "mean_faces.png").exists(), "old and new results are never mixed"
    assert not list(folder.rglob("copies.png"))
    assert (folder / "01_exploration" / "README.md").read_text() == "written by hand"
    assert (folder / "notebooks" / "06_price_of_leakage.ipynb").read_text() == "before"
    assert (folder / "notebooks" / "01_exploration.ipynb").read_text() != "before"
    seconds = paths.read_json(folder / "times.json")["seconds"]
    assert seconds["06_price_of_leakage"] == 6 and seconds["01_exploration"] == 10 and "03_baseline_cnn" in seconds


def test_the_time_of_a_run_that_only_read_its_trainings_is_not_kept(kept):
    root, folder = kept
    paths.write_json(folder / "times.json", {"seconds": {"03_baseline_cnn": 300}})
    card = {"run": {"seconds": 11}}  # the stage took 10
    paths.write_json(root / "out" / "03_baseline_cnn" / "small" / "metrics.json", card)
    report.reference(root / "out", root / "drawn")
    seconds = paths.read_json(folder / "times.json")["seconds"]
    assert seconds["03_baseline_cnn"] == 300 and seconds["01_exploration"] == 10


def test_an_edited_manifest_makes_no_reference(kept):
    root, _ = kept
    path = root / "out" / "02_cleaning" / "manifest.csv"
    path.write_text(path.read_text().replace("True", "False"))
    with pytest.raises(ValueError, match="edited by hand; the reference is made without"):
        report.reference(root / "out", root / "drawn")


def test_a_study_that_was_run_replaces_its_copy(kept):
    root, folder = kept
    for name, text in (("metrics.json", '{"made": "now"}'), ("price.png", ""), ("receipt.json", '{"seconds": 60}')):
        (root / "out" / "06_price_of_leakage").mkdir(exist_ok=True)
        (root / "out" / "06_price_of_leakage" / name).write_text(text)
    report.reference(root / "out", root / "drawn")
    study = folder / "06_price_of_leakage"
    assert sorted(path.name for path in study.iterdir()) == ["README.md", "metrics.json", "price.png"]
    assert paths.read_json(study / "metrics.json") == {"made": "now"}


def test_the_lines_for_other_code_bases_apply_the_list(tmp_path, monkeypatch, capsys):
    text = (paths.REFERENCE / "02_cleaning" / "README.md").read_text(encoding="utf-8")
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(snippet.splitlines()) <= 13
    people = synthetic.draw(100)
    for name, image in zip(people.names, people.images.numpy(), strict=True):
        (tmp_path / "fer2013" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "fer2013" / name)
    manifest = cleaning.build(people)[0]
    removed = manifest.loc[~manifest.keep, ["name", "reason", "twin", "sha256"]]
    paths.write_csv(tmp_path / "removed.csv", removed)
    monkeypatch.chdir(tmp_path)
    made = {}
    exec(snippet, made)
    kept = manifest.name[manifest.keep & (manifest.split == "train")]
    assert {path.relative_to("fer2013").as_posix() for path in made["training"]} == set(kept) and len(removed) > 3
    Image.fromarray(255 - people.images.numpy()[0]).save(tmp_path / "fer2013" / removed.name.iloc[0])
    with pytest.raises(AssertionError, match="isn't the image that was meant"):
        exec(snippet, {})


def test_a_training_can_be_repeated_from_what_was_stored():
    cfg, change = recipe.TrainConfig(epochs=3, optimiser="sgd", averaging=0.9), augment.Augment(degrees=3)
    stored = json.loads(json.dumps(results.settings(cfg, change, dropout=0.5)))
    assert results.recipe_of(stored) == (cfg, change)
    assert results.recipe_of(results.settings(cfg)) == (cfg, None)
    older = {name: value for name, value in stored.items() if name != "averaging"}
    assert results.recipe_of(older)[0] == recipe.TrainConfig(epochs=3, optimiser="sgd"), "a setting that came later"


def test_what_val_taught_travels_with_the_weights_that_are_given_away(kept):
    root, folder = kept
    probs = np.full((60, 7), 0.1, np.float32)
    probs[:, 3] = np.linspace(0.4, 0.9, 60)
    labels, split = np.where(np.arange(60) < 10, 0, 3), np.array(["val"] * 60)
    results.write_predictions(
        (root / "out" / report.GIVEN_AWAY).parent / "predictions.npz",
        names=split,
        labels=labels,
        split=split,
        probs=probs,
    )
    report.reference(root / "out", root / "drawn")
    table = models.read_card(folder / report.GIVEN_AWAY)["metrics"]["sureness"]
    assert table == results.sureness_table(root / "out" / report.GIVEN_AWAY)
    assert [each["accuracy"] for each in table][:2] == [0.5, 0.51] and table[0]["coverage"] == 1.0
    assert table[-1]["threshold"] > table[0]["threshold"] and table[-1]["right"] >= 0.99
