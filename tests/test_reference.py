"""The kept reference: what a run replaces, and what it leaves as it was."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_helpers import augment, models, paths, plots, results, settings
from fer_helpers import metrics as scoring
from fer_helpers.cleaning import manifest as manifests
from fer_helpers.data import synthetic
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS
from fer_helpers.publishing import leaderboard, readme, reference
from fer_helpers.transfer import mobilenet
from fer_helpers.workbook import cli

SMALL = Path("03_baseline_cnn/small_cnn/small_cnn.safetensors")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A reference that holds a study, in place of the workbook's own."""
    model = paths.REFERENCE / SMALL
    folder = tmp_path / "reference"
    monkeypatch.setattr(paths, "REFERENCE", folder)
    monkeypatch.setattr(readme, "write", lambda: None)
    (folder / "notebooks").mkdir(parents=True)
    for stage in ("01_exploration", "06_price_of_leakage"):
        paths.write_json(folder / stage / "metrics.json", {"made": "before"})
        (folder / stage / "mean_faces.png").write_text("before")
        (folder / stage / "README.md").write_text("written by hand")
        (folder / "notebooks" / f"{stage}.ipynb").write_text("before")
    paths.write_json(folder / "times.json", {"seconds": {"01_exploration": 1, "06_price_of_leakage": 6}})
    out, card = tmp_path / "out", {"kind": "fer2013", "source": "fer2013", "demonstration": False}
    for stage in ("01_exploration", "02_cleaning", "03_baseline_cnn"):
        paths.write_json(out / stage / "metrics.json", {"data": card})
        paths.write_json(out / stage / "receipt.json", {"seconds": 10, "facts": {paths.MOSAIC: True}})
        (out / stage / "duplicates.png").write_text("faces of people")
        paths.write_json(out / stage / f"{stage}.ipynb", {"metadata": {}, "cells": []})
    table = pd.DataFrame([["a", "train", "sad", "0", 0, True, "kept", ""]], columns=manifests.COLUMNS)
    paths.write_csv(out / "02_cleaning" / "manifest.csv", table)
    card["cleaned"] = {"manifest": manifests.digest(table)}
    paths.write_json(out / "02_cleaning" / "metrics.json", {"data": card, "label_agreement": {"agreement": 0.91}})
    (out / "test_evaluations.csv").write_text("when,model\n2026-02-02,new\n")
    (out / SMALL).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(model, out / SMALL)
    metrics = paths.read_json(model.parent / "metrics.json")
    metrics["run"]["seconds"] = 9  # less than the stage's 10
    paths.write_json(out / SMALL.parent / "metrics.json", metrics)
    return tmp_path, folder


def test_a_reference_is_of_fer2013_alone(kept):
    out = kept[0] / "out"
    with pytest.raises(UserError, match="made from FER-2013: name it"):
        cli.do("reference", {"DATA": "synthetic", "OUT": str(out)})
    metrics = paths.read_json(out / "02_cleaning" / "metrics.json")
    metrics["data"] |= {"kind": "folder", "source": "my faces"}
    paths.write_json(out / "02_cleaning" / "metrics.json", metrics)
    with pytest.raises(ValueError, match="from FER-2013, not from 'my faces'"):
        reference.make(out)


def test_a_study_that_was_not_run_keeps_its_copy(kept):
    root, folder = kept
    (root / "out" / "06_price_of_leakage").mkdir()  # begun, not finished
    paths.write_json(root / "out" / "06_price_of_leakage" / "metrics.json", {"made": "half"})
    reference.make(root / "out")
    assert paths.read_json(folder / "06_price_of_leakage" / "metrics.json") == {"made": "before"}
    assert "before" not in paths.read_json(folder / "01_exploration" / "metrics.json").values()
    assert not (folder / "01_exploration" / "mean_faces.png").exists(), "old and new results are never mixed"
    assert not list(folder.rglob("duplicates.png"))
    assert (folder / "01_exploration" / "README.md").read_text() == "written by hand"
    assert (folder / "notebooks" / "06_price_of_leakage.ipynb").read_text() == "before"
    assert (folder / "notebooks" / "01_exploration.ipynb").read_text() != "before"
    seconds = paths.read_json(folder / "times.json")["seconds"]
    assert seconds["06_price_of_leakage"] == 6 and seconds["01_exploration"] == 10 and "03_baseline_cnn" in seconds


def test_weights_of_an_unfinished_notebook_are_not_given_away(kept):
    root, folder = kept
    (root / "out" / SMALL.parts[0] / "receipt.json").unlink()
    reference.make(root / "out")
    assert not (folder / SMALL).exists(), "their metrics would be another run's"


def test_weights_are_given_away_in_half_precision_with_a_card(kept):
    root, folder = kept
    reference.make(root / "out")
    model, metrics = models.load(folder / SMALL), paths.read_json(root / "out" / SMALL.parent / "metrics.json")
    assert (folder / SMALL).stat().st_size < 2.1 * metrics["weights"] and not (folder / "08_record").exists()
    assert model.card["metrics"]["test"]["accuracy"] == metrics["test"]["accuracy"]
    card = (folder / SMALL.parent / "MODEL_CARD.md").read_text()
    low, high = metrics["test"]["accuracy_ci95"]
    disgust = metrics["test"]["per_class"]["disgust"]
    assert f"| {metrics['test']['accuracy']:.1%} ({low:.1%} to {high:.1%}) |" in card
    assert "the same label about\n  91% of the time" in card
    low, high = scoring.accuracy_interval(round(disgust["recall"] * disgust["n"]), disgust["n"])
    assert f"| disgust | {disgust['n']} | {disgust['recall']:.0%} ({low:.0%} to {high:.0%}) |" in card
    assert "two views, the face and its mirror image" in card
    parts = ("## Data, cleaning and protocol", "## Meant for", "## Limits", "## Licence", "23,534 Training faces")
    assert all(part in card for part in parts) and "distilled from" not in card and "{" not in card
    taught = reference._model_card(metrics | {"pretrained": "X, through its teachers"})
    assert "data but X, through its teachers." in taught and "also rests on X, through" in taught
    assert "also rests on" not in card


def test_the_time_of_a_run_that_only_read_its_trainings_is_not_kept(kept):
    root, folder = kept
    paths.write_json(folder / "times.json", {"seconds": {"03_baseline_cnn": 300}})
    card = {"run": {"seconds": 11}}  # the stage took 10
    paths.write_json(root / "out" / "03_baseline_cnn" / "small" / "metrics.json", card)
    reference.make(root / "out")
    seconds = paths.read_json(folder / "times.json")["seconds"]
    assert seconds["03_baseline_cnn"] == 300 and seconds["01_exploration"] == 10


def test_a_run_that_saw_the_faces_less_often_replaces_no_longer_one(kept, capsys):
    root, folder = kept
    for place, passes, made in ((folder, 3.1, "kept"), (root / "out", 0.3, "new")):
        runs = {"runs": {"full": {"passes": passes}, "probe": {"passes": 2 * passes}}, "made": made}
        paths.write_json(place / "01_exploration" / "metrics.json", runs)
    reference.make(root / "out")
    assert paths.read_json(folder / "01_exploration" / "metrics.json")["made"] == "kept"
    assert "01_exploration stays as it is kept" in capsys.readouterr().out
    for more, made in (({}, "kept"), ({"probe_900_faces": {"passes": 9}}, "new")):  # a method may not get lost
        runs = {"runs": {"full": {"passes": 3.1}} | more, "made": "new"}
        paths.write_json(root / "out" / "01_exploration" / "metrics.json", runs)
        reference.make(root / "out")
        assert paths.read_json(folder / "01_exploration" / "metrics.json")["made"] == made


def test_evaluations_of_before_stay_counted(kept):
    root, folder = kept
    (folder / "test_evaluations.csv").write_text("when,model\n2026-01-01,old\n")
    for _ in range(2):
        reference.make(root / "out")
        lines = (folder / "test_evaluations.csv").read_text().split()
        assert lines == ["when,model", "2026-01-01,old", "2026-02-02,new"], "each once, those of another folder too"


def test_an_edited_manifest_makes_no_reference(kept):
    root, _ = kept
    path = root / "out" / "02_cleaning" / "manifest.csv"
    path.write_text(path.read_text().replace("True", "False"))
    with pytest.raises(ValueError, match="edited by hand; the reference is made without"):
        reference.make(root / "out")


def test_a_run_that_shows_faces_of_people_makes_no_reference(kept):
    root, folder = kept
    paths.write_json(root / "out" / "01_exploration" / "receipt.json", {"seconds": 10, "facts": {}})
    with pytest.raises(ValueError, match="01_exploration shows people's faces: run it by make reference"):
        reference.make(root / "out")
    assert (folder / "notebooks" / "01_exploration.ipynb").read_text() == "before"


def test_a_kept_copy_names_the_data_and_no_folder_of_one_machine(kept):
    root, folder = kept
    place = root / "out" / "01_exploration" / "01_exploration.ipynb"
    cell = {"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}, "outputs": []}
    text = f'# Parameters\ndata = "{root}/my data/fer2013.zip"\nout_root = "{root}/out"\n'
    paths.write_json(place, {"metadata": {}, "cells": [cell | {"source": text}]})
    reference.make(root / "out")
    (copied,) = paths.read_json(folder / "notebooks" / place.name)["cells"]
    assert copied["source"] == '# Parameters\ndata = "fer2013.zip"\nout_root = "outputs"\n'


@pytest.mark.parametrize("shareable", [False, True])
def test_single_faces_are_mosaics_where_the_copies_are_given_away(monkeypatch, shareable):
    face = np.arange(48 * 48, dtype=np.float32).reshape(48, 48)
    words = {"title": "a face", "caption": "1 face"}
    draw = lambda: plots.grid([face, face.astype(np.uint8)], shareable=shareable, **words)  # noqa: E731
    pictures = lambda figure: [axes.images[0].get_array().data for axes in figure.axes if axes.images]  # noqa: E731
    assert (pictures(draw())[0] == face).all() and draw()._supxlabel.get_text() == "1 face"
    monkeypatch.setenv(paths.MOSAIC, "1")
    shown = pictures(figure := draw())
    assert [len(np.unique(each)) > 64 for each in shown] == [shareable] * 2
    assert shareable or (shown[0][:6, :6] == face[:6, :6].mean()).all()
    assert ("each face is a mosaic of 8×8 mean grey levels" in figure._supxlabel.get_text()) != shareable


def test_a_study_that_was_run_replaces_its_copy(kept):
    root, folder = kept
    run = root / "out" / "06_price_of_leakage"
    paths.write_json(run / "metrics.json", {"made": "now"})
    paths.write_json(run / "receipt.json", {"seconds": 60, "facts": {paths.MOSAIC: True}})
    (run / "price.png").write_text("")
    (folder / run.name / "runs").mkdir()
    (folder / run.name / "runs" / "raw_seed0.npz").write_text("a training of hours")
    paths.write_json(run / f"{run.name}.ipynb", {"metadata": {}, "cells": []})
    reference.make(root / "out")
    study = folder / "06_price_of_leakage"
    assert sorted(path.name for path in study.iterdir()) == ["README.md", "metrics.json", "price.png", "runs"]
    assert (study / "runs" / "raw_seed0.npz").exists()
    assert paths.read_json(study / "metrics.json") == {"made": "now"}


def snippet_with(word):
    text = (paths.REFERENCE / "02_cleaning" / "README.md").read_text(encoding="utf-8")
    return next(each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in each)


def test_the_lines_for_other_code_bases_apply_the_list(tmp_path, monkeypatch, capsys):
    snippet = snippet_with("data.glob")
    assert len(snippet.splitlines()) <= 13
    people = synthetic.draw(100)
    for name, image in zip(people.names, people.images.numpy(), strict=True):
        (tmp_path / "fer2013" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "fer2013" / name)
    manifest = manifests.build(people)[0]
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


def test_the_lines_for_datasets_users_leave_the_same_number_of_each_picture(tmp_path, monkeypatch):
    people = synthetic.draw(100)
    manifest = manifests.build(people)[0]
    paths.write_csv(tmp_path / "removed.csv", manifest.loc[~manifest.keep, ["name", "reason", "twin", "sha256"]])
    train = np.flatnonzero(people.split == "train")[::-1]  # in another order than the list's

    class Split(list):
        def select(self, numbers):
            return [self[number] for number in numbers]

    rows = [{"image": Image.fromarray(people.images[k].numpy()), "label": int(people.labels[k])} for k in train]
    (faces := Split(rows)).features = {"label": SimpleNamespace(names=list(EMOTIONS))}
    loaded = SimpleNamespace(load_dataset=lambda kind, data_dir, split: faces)
    monkeypatch.setitem(sys.modules, "datasets", loaded)
    monkeypatch.chdir(tmp_path)
    exec(snippet_with("load_dataset"), made := {})
    kept = manifest[manifest.keep & (manifest.split == "train")]
    digests = [hashlib.sha256(row["image"].tobytes()).hexdigest() for row in made["training"]]
    labels = [EMOTIONS[row["label"]] for row in made["training"]]
    assert sorted(zip(digests, labels, strict=True)) == sorted(zip(kept.sha256, kept.label, strict=True))
    assert len(kept) < len(train)


def test_the_lines_for_a_csv_take_the_manifest_that_was_made_for_it(tmp_path, monkeypatch):
    people = synthetic.draw(100)
    people = replace(people, names=np.array([f"row_{number:05d}" for number in range(len(people))]))
    manifest = manifests.build(people)[0]
    paths.write_csv(tmp_path / "outputs" / "02_cleaning" / "manifest.csv", manifest.sample(frac=1, random_state=0))
    usage = [{"train": "Training", "val": "PublicTest", "test": "PrivateTest"}[part] for part in people.split]
    paths.write_csv(tmp_path / "fer2013.csv", pd.DataFrame({"emotion": 0, " Usage": usage}))
    monkeypatch.chdir(tmp_path)
    exec(snippet_with("fer2013.csv"), made := {})
    assert {*made["training"].index} == {*manifest.name[manifest.keep & (manifest.split == "train")]}


def test_a_training_can_be_repeated_from_what_was_stored():
    cfg = settings.TrainConfig(epochs=3, optimizer="sgd", ema_decay=0.9, augment=augment.Augment(degrees=3))
    stored = json.loads(json.dumps(asdict(cfg) | {"dropout": 0.5}))
    assert results.train_config(stored) == cfg
    assert results.train_config(stored | {"augment": None}) == replace(cfg, augment=None)
    older = {name: value for name, value in stored.items() if name != "ema_decay"}
    assert results.train_config(older) == replace(cfg, ema_decay=0.0), "a setting that came later"


def trained(root, stage, key="faces", kind="fer2013", **more):
    """A metrics file as a trained model leaves it."""
    data = {"key": key, "kind": kind, "source": "zip", "title": "FER-2013", "cleaned": {"manifest": "m"}}
    paths.write_json(root / stage / "metrics.json", {"stage": stage.split("/")[0], "data": data, **more})


def test_what_was_not_trained_here_is_taken_from_the_reference_if_the_faces_are_the_same(tmp_path, monkeypatch):
    kept, scored = tmp_path / "reference", {"val": {}, "test": {}, "epochs_seen": 3, "config": {}}
    scored["run"] = {"budget": "quick"}
    monkeypatch.setattr(paths, "REFERENCE", kept)
    trained(kept, "02_cleaning")
    trained(kept, "06_price_of_leakage", price=3)
    for stage in ("03_baseline_cnn", "08_record/single"):
        trained(kept, stage, **scored)
    trained(kept, "08_record")  # a study's summary is no model
    stages = lambda name: [(each["stage"], each["reference"]) for each in leaderboard.all_metrics(tmp_path / name)[0]]  # noqa: E731
    assert stages("empty") == [("03_baseline_cnn", True), ("08_record", True)]
    trained(tmp_path / "own", "02_cleaning")
    trained(tmp_path / "own", "03_baseline_cnn", **scored)
    assert stages("own") == [("03_baseline_cnn", False), ("08_record", True)]
    trained(tmp_path / "synthetic", "02_cleaning", key="other", kind="synthetic")
    trained(tmp_path / "synthetic", "03_baseline_cnn", key="other", kind="synthetic", **scored)
    assert stages("synthetic") == [("03_baseline_cnn", False)]
    trained(tmp_path / "synthetic", "04_transfer_learning", **scored)
    assert "other data" in leaderboard.all_metrics(tmp_path / "synthetic")[1][0]
    data = leaderboard.all_metrics(tmp_path / "own")[0][0]["data"]
    found = leaderboard.study("06_price_of_leakage", data, tmp_path / "own")
    assert found | {"data": 0} == {"stage": "06_price_of_leakage", "price": 3, "reference": True, "data": 0}
    assert leaderboard.study("06_price_of_leakage", {**data, "kind": "synthetic"}, tmp_path / "own") is None
    trained(tmp_path / "own", "06_price_of_leakage", price=4)
    assert leaderboard.study("06_price_of_leakage", data, tmp_path / "own")["price"] == 4


def data_cards(content):
    """Every `data` of a kept file, however deep: what a result was made from."""
    if isinstance(content, list):
        return [card for each in content for card in data_cards(each)]
    if not isinstance(content, dict):
        return []
    own = [content["data"]] if isinstance(content.get("data"), dict) else []
    return own + [card for each in content.values() for card in data_cards(each)]


def test_all_that_is_kept_was_made_from_the_same_faces_and_stands_in_the_leaderboard(tmp_path):
    files = {path: paths.read_json(path) for path in sorted(paths.REFERENCE.rglob("*.json"))}
    ours = [path for path in sorted(paths.REFERENCE.rglob("*.safetensors")) if path != mobilenet.START]
    weights = [models.load(path).card for path in ours]
    kept = [card for card in data_cards([*files.values(), *weights]) if card["kind"] == "fer2013"]
    assert len(kept) > 30 and len({card["key"] for card in kept}) == 1
    models_of = {path.parent: each for path, each in files.items() if "epochs_seen" in each and each["test"]}
    scored = {folder for folder, each in models_of.items() if results.seen_enough(each)}
    fitting, left_out = leaderboard.all_metrics(tmp_path)
    assert {each["folder"] for each in fitting} == scored and len(scored) == 15 and not left_out


def test_the_confidence_thresholds_travel_with_the_weights_that_are_given_away(kept):
    root, folder = kept
    probs = np.full((60, 7), 0.1, np.float32)
    probs[:, 3] = np.linspace(0.4, 0.9, 60)
    labels, split = np.where(np.arange(60) < 10, 0, 3), np.array(["val"] * 60)
    file = root / "out" / SMALL.parent / "predictions.npz"
    results.write_predictions(file, names=split, labels=labels, split=split, probs=probs)
    reference.make(root / "out")
    table = models.read_card(folder / SMALL)["metrics"]["confidence_thresholds"]
    assert table == results.confidence_table(root / "out" / SMALL)
    assert [each["accuracy"] for each in table][:2] == [0.5, 0.51] and table[0]["coverage"] == 1.0
    assert table[-1]["threshold"] > table[0]["threshold"] and table[-1]["right"] >= 0.99


def code_cells(path: Path) -> list[str]:
    """The code of a notebook, without what papermill put in and the cell with the repository's address."""
    cells = [cell for cell in paths.read_json(path)["cells"] if cell["cell_type"] == "code"]
    own = [cell for cell in cells if "injected-parameters" not in cell["metadata"].get("tags", [])]
    return [text for cell in own if "google.colab" not in (text := "".join(cell["source"]))]


@pytest.mark.parametrize("source", sorted((paths.ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_kept_copies_were_executed_from_the_notebooks_as_they_are(source):
    copy = paths.REFERENCE / "notebooks" / source.name
    assert code_cells(copy) == code_cells(source), "make reference executes it anew"
    assert sum(path.stat().st_size for path in copy.parent.iterdir()) < 6_000_000
