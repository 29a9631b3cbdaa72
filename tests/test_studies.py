"""Studies: every run once, whatever happens in between; the protocol; the control of notebook 06."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fer_helpers import augment, identity, models, paths, settings, training
from fer_helpers.faces import EMOTIONS, Faces
from fer_helpers.statistics import Difference
from fer_helpers.studies import cluster as clusters
from fer_helpers.studies import record, stored
from fer_helpers.studies import run as runs
from fer_helpers.studies import study as studies

STAGE = "06_price_of_leakage"
CFG = settings.TrainConfig(epochs=2, batch_size=16, keep="last", precision="float32")
FASTER = replace(CFG, peak_lr=0.01)


@pytest.fixture
def people(monkeypatch):
    """56 train, 7 val and 7 test faces of noise, in place of the loaded data."""
    images = torch.randint(0, 256, (70, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = np.repeat(["train", "val", "test"], [56, 7, 7])
    names = np.array([f"{part}_{k:02d}" for k, part in enumerate(split)])
    made = Faces(images, torch.arange(70) % 7, split, names, {"name": "noise"})
    monkeypatch.setattr(runs, "loaded", lambda data, budget: made)
    return made


@pytest.fixture
def fits(monkeypatch):
    """The number of faces and the seed of every training that is begun."""
    began, real = [], training.fit

    def counted(model, train, val, cfg, **options):
        began.append((len(train), cfg.seed))
        return real(model, train, val, cfg, **options)

    monkeypatch.setattr(training, "fit", counted)
    return began


@pytest.fixture
def whole(people):
    return studies.Condition("all", people.split == "train", CFG)


@pytest.fixture
def half(people, whole):
    return replace(whole, name="half", train_counts=whole.train_counts & (np.arange(70) < 28))


@pytest.fixture
def study(people, tmp_path):
    """A study of these faces, silent, of one seed and in `tmp_path` unless it is said otherwise."""

    def results(*chosen, seeds=(0,), out=tmp_path, splits=runs.VAL_AND_TEST, log=lambda line: None, **more):
        return studies.study(chosen, seeds, where(out, splits), log=log, **more)

    return results


def where(out_root, splits=runs.VAL_AND_TEST):
    return studies.Where(STAGE, "noise", "smoke", "cpu", out_root, splits)


def spec_of(condition, people, out_root):
    """A run as its study asks for it."""
    spec = studies.RunSpec(condition, 0, where(out_root))
    return replace(spec, key=runs.key_of(spec, people))


def finished_model(condition, result, tmp_path):
    return record.finished_model("", studies.RunSpec(condition, 0, where(tmp_path)), result, {})


def evaluations(folder):
    return list(pd.read_csv(folder / "test_evaluations.csv").model)


def test_finished_runs_are_read_and_not_trained_again(whole, half, fits, study, tmp_path):
    first = study(whole, half, seeds=(0, 1))
    assert fits == [(56, 0), (28, 0), (56, 1), (28, 1)], "whole seeds, one after the other"
    assert [(each["condition"], each["seed"]) for each in first] == [("all", 0), ("half", 0), ("all", 1), ("half", 1)]
    assert first[0]["probs"].shape == (14, 7) and len(first[0]["history"]) == 2
    again = study(whole, half, seeds=(0, 1))
    assert len(fits) == 4
    for one, other in zip(first, again, strict=True):
        assert (one.pop("probs") == other.pop("probs")).all() and (one.pop("answers") == other.pop("answers")).all()
        assert one == other
    assert evaluations(tmp_path) == ["all_seed0", "half_seed0", "all_seed1", "half_seed1"], "one test evaluation a run"
    study(whole, half, seeds=range(3))
    assert fits[4:] == [(56, 2), (28, 2)], "another seed is two more runs"


def test_an_interrupted_study_goes_on_at_the_epoch(whole, half, fits, study, tmp_path):
    lines, later = [], []

    def stop(line):
        lines.append(line)
        if sum("epoch " in each for each in lines) == 3:  # in the first epoch of the second run
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(whole, half, seeds=(0, 1), log=stop)
    assert [line for line in lines if line.startswith("[")][-1].startswith("[2/4] half_seed0: 28 faces")
    resumed = study(whole, half, seeds=(0, 1), log=later.append)
    assert fits == [(56, 0), (28, 0), (28, 0), (56, 1), (28, 1)]
    assert "all_seed0 is finished" in later[0] and any("going on after epoch 1" in line for line in later)
    at_once = study(whole, half, seeds=(0, 1), out=tmp_path / "another")
    assert all((a["probs"] == b["probs"]).all() for a, b in zip(resumed, at_once, strict=True))
    assert not list((tmp_path / STAGE / "checkpoints").glob("*.pt")), "what a finished run needs no more is gone"


def test_what_was_changed_or_damaged_is_trained_again(whole, half, fits, study, tmp_path):
    study(whole, half)
    half = replace(half, config=FASTER)
    study(replace(whole, config=FASTER), half)
    assert len(fits) == 4, "other settings"
    study(replace(whole, config=replace(FASTER, augment=augment.Augment())), half)
    assert fits[4:] == [(56, 0)], "another augmentation, in one condition"
    file = tmp_path / STAGE / "checkpoints" / "half_seed0.npz"
    for damaged in (file.read_bytes()[:-100], b"no archive", b""):
        file.write_bytes(damaged)
        before = len(fits)
        study(half)
        assert fits[before:] == [(28, 0)]


def test_a_condition_that_can_not_be_trained_fairly_is_refused(people, whole, half, fits, study):
    trains_on = {part: np.isin(people.split, ["train", part]) for part in ("val", "test")}
    short = replace(whole, name="short", train_counts=np.array([True, True, False]))
    choosing = replace(whole, train_counts=trains_on["val"], config=replace(CFG, keep="best"))
    with pytest.raises(ValueError, match="one name"):
        study(whole, replace(half, name="all"))
    for condition, splits, why in (
        (short, runs.VAL_AND_TEST, "Condition short speaks of 3 faces, and 70 are loaded"),
        (replace(whole, train_counts=trains_on["val"]), runs.VAL_AND_TEST, "Condition all trains on faces of val"),
        (replace(whole, train_counts=trains_on["test"]), runs.VAL_AND_TEST, "Condition all trains on faces of test"),
        (replace(whole, train_counts=trains_on["test"]), runs.TEST_ONLY, "trains on faces of test"),
        (choosing, runs.TEST_ONLY, "set keep to last"),
        *((half, splits, "splits is") for splits in (("test",), ("train",), (), ("train", "val"))),
    ):
        with pytest.raises(ValueError, match=why):
            study(condition, splits=splits)
    assert not fits


@pytest.mark.parametrize("counts", [[], [0, 0], [1, -1], [0.5, 1.0], [[True, False]]])
def test_counts_that_mean_nothing_are_refused(counts):
    with pytest.raises(ValueError, match="Condition odd: train_counts is"):
        studies.Condition("odd", np.array(counts), CFG)


def test_a_study_that_chooses_leaves_test_alone(people, half, fits, study, tmp_path, monkeypatch):
    with monkeypatch.context() as shut:
        shut.setattr(training, "evaluation", None)
        (alone,) = study(half, splits=("val",))
    assert alone["probs"].shape == (7, 7) and not (tmp_path / "test_evaluations.csv").exists()
    assert (study(half, splits=["val"])[0]["probs"] == alone["probs"]).all() and len(fits) == 1
    (evaluated,) = study(half)
    assert len(fits) == 2 and evaluations(tmp_path) == ["half_seed0"], "what was scored is part of which run it is"
    val = people.part("val", "test").split == "val"
    assert (evaluated["probs"][val] == alone["probs"]).all() and evaluated["train"] == alone["train"]
    (again,) = study(half, splits=("val",))
    assert len(fits) == 3 and again["probs"].shape == (7, 7)


def test_a_condition_may_keep_its_networks(people, whole, fits, study, tmp_path):
    keeping = replace(whole, weights=True)
    assert not study(whole)[0]["weights"]
    study(keeping)
    assert len(fits) == 2, "a result without the network is not enough"
    (again,) = study(keeping)
    study(whole)
    assert len(fits) == 2, "one with the network is as good as one without"
    ten = replace(keeping, views=10)
    (moved,) = study(ten)
    assert len(fits) == 3 and not np.allclose(moved["probs"], again["probs"], atol=1e-5), "scored with ten views"
    assert moved["history"][-1]["val_loss"] == again["history"][-1]["val_loss"] and moved["train"] == again["train"]
    for condition, result in ((keeping, again), (ten, moved)):
        probs = training.predict_proba(finished_model(condition, result, tmp_path).network, people.part("val"))
        assert np.allclose(probs, result["probs"][:7], atol=1e-5), "the network that gave these answers"


def test_the_last_training_may_use_val_and_then_only_test_is_scored(people, whole, fits, study, tmp_path):
    both = replace(whole, name="both", train_counts=people.split != "test")
    (result,) = study(both, splits=runs.TEST_ONLY)
    assert fits == [(63, 0)] and result["probs"].shape == (7, 7) and evaluations(tmp_path) == ["both_seed0"]
    assert result["train"]["n"] == 63
    model = finished_model(both, result, tmp_path)
    assert model.fit.kept == result["history"][-1] and model.fit.images_per_second == 63 * 2 / result["seconds"]
    assert model.network is None and len(model.trained_on) == 63


def test_a_face_stands_as_often_as_its_count_says(people, whole, half, fits, study, monkeypatch):
    times = whole.train_counts * np.where(people.labels.numpy() == 1, 3, 1)
    thrice = replace(whole, train_counts=times)
    taken = thrice.train_faces(people)
    assert taken.counts().tolist() == [8, 24, 8, 8, 8, 8, 8]
    names, stands = np.unique(taken.names, return_counts=True)
    assert dict(zip(names, stands, strict=True)) == dict(zip(people.names[times > 0], times[times > 0], strict=True))
    once = replace(half, train_counts=half.train_counts.astype(int))
    assert (once.train_faces(people).names == half.train_faces(people).names).all()
    (run,) = study(thrice, splits=("val",))
    assert fits == [(72, 0)] and run["train"]["n"] == 56, "what it knows of train counts every face once"
    study(whole, splits=("val",))
    assert fits[1:] == [(56, 0)], "other counts are another run"
    monkeypatch.setattr(runs, "ASKED", 10)
    (run,) = study(whole, seeds=[1], splits=("val",))
    assert run["train"]["n"] == 12, "every fifth of 56"


def test_better_takes_a_firm_gain_of_macro_f1_that_costs_no_accuracy():
    above, below, around = (0.001, 0.02), (-0.02, -0.001), (-0.02, 0.02)

    def gain(macro_f1, shared, accuracy, value=0.01):
        of_f1 = Difference(value, macro_f1, "macro_f1", shared=shared)
        return {"macro_f1": of_f1, "accuracy": Difference(0.0, accuracy, shared=around)}

    gains = {
        "firm": gain(above, above, around),
        "firmer": gain(above, above, above, value=0.02),
        "by luck": gain(above, around, around, value=0.03),
        "dear": gain(above, above, below, value=0.04),
        "worse": gain(below, below, around),
    }
    assert studies.better(gains) == ["firmer", "firm"] and studies.better({}) == []


@pytest.fixture(params=["shared", "own"])
def folder(request, monkeypatch, tmp_path):
    """Where the one worker of a pretended cluster has its files: in the study's folder, or in another."""
    place = tmp_path / "study" if request.param == "shared" else tmp_path / "worker"

    def pretend(address, task, calls, *, log):
        for name, call in reversed(calls.items()):  # in any order
            task, (spec,) = pickle.loads(pickle.dumps((task, call)))
            there = replace(spec, where=replace(spec.where, out_root=place))
            yield name, pickle.loads(pickle.dumps(task(there)))

    monkeypatch.setattr(clusters, "results", pretend)
    return place


def test_what_a_cluster_did_is_kept_where_the_study_was_begun(whole, half, fits, study, folder, tmp_path):
    out, lines = tmp_path / "study", []
    first = study(whole, half, out=out, log=lines.append, cluster="tcp://somewhere")
    assert [(each["condition"], each["threads"]) for each in first] == [("all", 1), ("half", 1)]
    assert "[2/2] half_seed0 is done: train" in lines[0] and lines[0].endswith("on cpu, threads: 1")
    (out / "test_evaluations.csv").unlink()  # as if this machine had been stopped before it heard of the runs
    again = study(whole, half, out=out)
    assert len(fits) == 2, "a finished run is not done again, here or there"
    assert all((one["probs"] == other["probs"]).all() for one, other in zip(first, again, strict=True))
    study(whole, half, seeds=(0, 1), out=out, cluster="tcp://somewhere")
    assert fits[2:] == [(28, 1), (56, 1)] and len(list((out / STAGE / "checkpoints").glob("*.npz"))) == 4
    assert evaluations(out) == ["all_seed0", "half_seed0", "half_seed1", "all_seed1"], "one test evaluation a run"
    assert folder == out or not (folder / "test_evaluations.csv").exists()


def test_a_machine_that_would_train_something_else_refuses(people, whole, fits, tmp_path, monkeypatch):
    spec = spec_of(whole, people, tmp_path)
    blank_test = torch.where(torch.arange(70)[:, None, None] < 69, people.images, 0)
    changed = [replace(people, images=each) for each in (people.images.flip(2), blank_test)]
    for other in (*changed, people.select(range(69))):
        monkeypatch.setattr(runs, "loaded", lambda data, budget, other=other: other)
        with pytest.raises(ValueError, match="would train something else than this study asks for"):
            runs.run(spec)
    assert not fits


def test_a_machine_that_keeps_the_data_elsewhere_finds_it(people, half, fits, tmp_path, monkeypatch):
    def faces(data, budget):
        if data != "auto labels=ferplus":
            raise FileNotFoundError(data)
        return people

    spec = spec_of(half, people, tmp_path)
    monkeypatch.setattr(runs, "loaded", faces)
    elsewhere = replace(spec, where=replace(spec.where, data="/not/here labels=ferplus"))
    assert runs.run(elsewhere, log=lambda line: None)["key"] == spec.key


def test_another_device_is_another_run_only_where_one_is_named(people, whole, study, tmp_path):
    study(whole)
    spec = spec_of(whole, people, tmp_path)
    places = {name: replace(spec.where, device=name) for name in ("auto", "cpu", "cuda")}
    on = {name: runs.finished(replace(spec, where=place)) for name, place in places.items()}
    assert on["auto"]["device"] == "cpu" and on["cpu"] and on["cuda"] is None
    for precision, found in (("float32", True), ("bfloat16", False)):  # trained in float32
        asked = replace(spec.condition, config=replace(spec.condition.config, precision=precision))
        assert bool(runs.finished(replace(spec, condition=asked))) == found


def test_a_run_that_the_repository_keeps_is_not_trained_again(people, half, fits, study, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    condition, clone = replace(half, weights=True), tmp_path / "clone"
    (trained,) = study(condition)
    stored.write(spec_of(condition, people, clone).published, trained | {"weights": {}})  # the repository keeps none
    (read,) = study(condition, out=clone)
    assert fits == [(28, 0)] and (read["probs"] == trained["probs"]).all()
    assert evaluations(clone) == ["half_seed0"], "its test evaluation counts here too"


def test_a_kept_run_takes_its_weights_from_the_model_that_is_given_away(people, half, study, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    condition, clone = replace(half, weights=True), tmp_path / "clone"
    (trained,) = study(condition)
    spec = spec_of(condition, people, clone)
    network = finished_model(condition, trained, tmp_path).network
    own, given = [*trained["weights"]][-1], spec.published.parents[1] / "half" / "record_half.safetensors"
    digest = identity.digest_arrays(*(trained["weights"][name] for name in sorted(trained["weights"])))
    result = trained | {"weights_in": {"file": "half/record_half.safetensors", "digest": digest}}
    stored.write(spec.published, result | {"weights": {own: trained["weights"][own]}})
    assert not stored.read(spec.published)["weights"], "a part of them is none"
    with torch.no_grad():
        network.state_dict()[own].zero_()  # as notebook 08 corrects the last bias of what it gives away
    models.save(network, given)
    (read,) = study(condition, out=clone)
    assert read["weights"].keys() == trained["weights"].keys()
    assert all(np.array_equal(part, trained["weights"][name]) for name, part in read["weights"].items())
    with torch.no_grad():
        next(network.parameters()).zero_()
    models.save(network, given)
    assert not stored.read(spec.published)["weights"], "it is another network's by now"
    given.write_bytes(given.read_bytes()[:100])
    damaged = stored.read(spec.published)
    assert not damaged["weights"] and (damaged["probs"] == trained["probs"]).all()


def test_a_condition_may_ask_about_training_faces_that_it_was_not_trained_on(people, half, fits, study, tmp_path):
    held_out = (people.split == "train") & ~half.train_counts
    (result,) = study(replace(half, asked=held_out, weights=True))
    network = finished_model(half, result, tmp_path).network
    assert np.allclose(result["answers"], training.predict_proba(network, people.select(held_out)), atol=1e-5)
    (plain,) = study(half)
    assert plain["answers"].shape == (0, 7) and len(fits) == 2, "what is asked is part of which run it is"
    assert (plain["probs"] == result["probs"]).all(), "and changes nothing of it"


def test_soft_labels_are_part_of_a_condition(whole, fits, study):
    cfg, sad = replace(FASTER, epochs=4, distillation=1.0), np.tile(np.eye(7)[5], (70, 1))
    (result,) = study(replace(whole, config=cfg, soft_labels=sad))
    assert (result["probs"].argmax(axis=1) == 5).all()
    study(replace(whole, config=cfg, soft_labels=np.full((70, 7), 1 / 7)))
    assert len(fits) == 2, "others are another run"


def test_right_has_a_row_a_seed():
    each = [(condition, seed, np.eye(7)[[0, seed, 2]]) for seed in (1, 0) for condition in "ba"]
    results = [dict(zip(("condition", "seed", "probs"), values, strict=True)) for values in each]
    made = studies.right(results, np.array([0, 1, 2]))
    assert set(made) == {"a", "b"} and made["a"].tolist() == [[True, False, True], [True, True, True]]


def manifest(leaked=3, kept=10):
    """Of each emotion: `leaked` train faces that a test face duplicates, a surplus one, `kept` others; a test face."""
    rows = []
    for emotion in EMOTIONS:
        rows.append((f"test_{emotion}", "test", emotion, emotion, True, "kept"))
        rows += [(f"leak_{emotion}_{k}", "train", emotion, emotion, False, "duplicate_of_test") for k in range(leaked)]
        rows.append((f"surplus_{emotion}", "train", emotion, f"{emotion}_0", False, "duplicate"))
        rows += [(f"kept_{emotion}_{k}", "train", emotion, f"{emotion}_{k}", True, "kept") for k in range(kept)]
    return pd.DataFrame(rows, columns=["name", "split", "label", "group", "keep", "reason"])


def test_the_control_drops_as_many_faces_of_each_emotion_and_no_leaked_duplicate():
    table = manifest()
    kept = studies.control(table)
    train = table.split == "train"
    assert not kept[~train].any() and kept[table.reason == "duplicate_of_test"].all()
    assert (table[kept].label.value_counts() == table[train & table.keep].label.value_counts()).all()
    assert (studies.control(table) == kept).all() and (studies.control(table, seed=1) != kept).any()
    mixed = table.sample(frac=1, random_state=0)
    assert set(mixed.name[studies.control(mixed)]) == set(table.name[kept]), "the order of the faces tells nothing"
    with pytest.raises(ValueError, match=r"must drop 5 angry faces .* there are 3"):
        studies.control(manifest(leaked=4, kept=2))
