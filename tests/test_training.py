"""The loop: it learns, it obeys the protocol, it goes on where it stopped."""

import pickle
import platform
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fer_helpers import augment, devices, models, paths, settings, training
from fer_helpers.faces import Faces, shuffled


def stripes(count, split, seed=0):
    """Faces whose label is the brighter one of seven bands, so that a network learns it in seconds."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 7
    images = torch.randint(0, 120, (count, 48, 48), generator=generator)
    for k in range(count):
        images[k, 6 * labels[k] + 3 : 6 * labels[k] + 9] += 120
    names = np.array([f"{split}_{k}" for k in range(count)])
    return Faces(images.to(torch.uint8), labels, np.full(count, split), names, {"name": "stripes"})


@pytest.fixture(scope="module")
def sets():
    return stripes(210, "train"), stripes(70, "val", seed=1)


CHANGE = augment.Augment(flip=0, degrees=3, shift=0.02, scale=0)
CFG = settings.TrainConfig(epochs=3, batch_size=32, peak_lr=2e-3, precision="float32", augment=CHANGE)
AVERAGED = replace(CFG, ema_decay=0.95, mixup=0.4, balanced_sampling=0.5, keep="last")


def network(seed=0):
    training.seed_everything(seed)
    return models.build("baseline", filters=(8, 8, 8), hidden=32)


def train(sets, cfg=CFG, **options):
    model, lines = network(cfg.seed), []
    return model, training.fit(model, *sets, cfg, log=lines.append, **options), lines


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def share_right(model, people):
    return (training.predict_proba(model, people).argmax(axis=1) == people.labels.numpy()).mean()


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_and_keeps_the_best_epoch(sets):
    model, fit, lines = train(sets, replace(CFG, epochs=12))
    assert fit.kept["val_accuracy"] > 0.8 and fit.kept["val_accuracy"] == max(r["val_accuracy"] for r in fit.history)
    assert share_right(model, sets[1]) == pytest.approx(fit.kept["val_accuracy"]), "it holds the kept epoch's weights"
    assert lines[2].startswith("epoch   3/12") and lines[-1].endswith("0:00:00 left")


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(sets):
    first, again = train(sets), train(sets)
    assert same_weights(first[0], again[0]) and without_seconds(first[1].history) == without_seconds(again[1].history)
    assert not same_weights(first[0], train(sets, replace(CFG, seed=1))[0])


@pytest.mark.parametrize(("cfg", "after"), [(CFG, 2), (AVERAGED, 1), (replace(CFG, optimizer="muon"), 2)])
def test_an_interrupted_training_ends_like_an_undisturbed_one(sets, tmp_path, cfg, after):
    def stop(line):
        if line.startswith(f"epoch   {after}"):
            raise KeyboardInterrupt

    whole, path = train(sets, cfg), tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        training.fit(network(), *sets, cfg, checkpoint=path, log=stop)
    resumed = train(sets, cfg, checkpoint=path)
    assert f"going on after epoch {after}" in resumed[2][0] and len(resumed[2]) == 1 + 3 - after
    assert same_weights(whole[0], resumed[0])
    assert without_seconds(whole[1].history) == without_seconds(resumed[1].history)
    finished = train(sets, cfg, checkpoint=path)
    assert "after epoch 3" in finished[2][0] and len(finished[2]) == 1 and same_weights(whole[0], finished[0])


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_used(sets, tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(sets, replace(CFG, epochs=1), checkpoint=path)
    _, fit, lines = train(sets, checkpoint=path)
    assert "3 are a new schedule" in lines[0] and len(fit.history) == 3
    _, fit, lines = train(sets, replace(CFG, peak_lr=1e-3), checkpoint=path)
    assert "other settings" in lines[0] and len(fit.history) == 3
    _, fit, lines = train(sets, replace(CFG, peak_lr=1e-3, precision="bfloat16"), checkpoint=path)
    assert "was trained in float32" in lines[0] and fit.precision == "bfloat16"
    _, fit, lines = train(sets, replace(CFG, peak_lr=1e-3, precision="auto"), checkpoint=path)
    assert "going on after epoch 3" in lines[0] and fit.precision == "bfloat16"
    whole = path.read_bytes()
    for damage in (lambda: path.write_bytes(whole[:1000]), lambda: torch.save([1], path)):
        damage()
        _, fit, lines = train(sets, checkpoint=path)
        assert "can't be read" in lines[0] and len(fit.history) == 3


def test_more_epochs_go_on_from_a_finished_checkpoint_where_the_schedule_allows_it(sets, tmp_path):
    cfg, path = replace(CFG, schedule="plateau"), tmp_path / "checkpoint.pt"
    train(sets, replace(cfg, epochs=2), checkpoint=path)
    longer, whole = train(sets, cfg, checkpoint=path), train(sets, cfg)
    assert "going on after epoch 2" in longer[2][0] and len(longer[2]) == 2 and same_weights(longer[0], whole[0])
    assert without_seconds(longer[1].history) == without_seconds(whole[1].history)
    _, fit, lines = train(sets, replace(cfg, epochs=1), checkpoint=path)
    assert "holds more epochs than 1" in lines[0] and len(fit.history) == 1
    assert not training.open_ended(replace(cfg, progressive_resizing=0.5)) and not training.open_ended(CFG)


def test_a_training_begins_with_given_weights(sets, tmp_path):
    first, model, path = network(1), network(), tmp_path / "mine.safetensors"
    models.save(first, path)
    assert models.start_from(model, path) and same_weights(model, first)
    assert not models.start_from(model, path, others=("baseline",))
    with pytest.raises(ValueError, match=r"mine\.safetensors holds another network \('baseline'\) than the small_cnn"):
        models.start_from(models.build("small_cnn"), path)


def test_the_engines_numbers_change_only_with_its_version(sets):
    """Losses of two epochs through most of what an engine does; another machine rounds them otherwise from 1e-5 on."""
    ingredients = {"class_weighting": 0.5, "label_smoothing": 0.1, "mixup": 0.2, "ema_decay": 0.9}
    cfg = replace(CFG, epochs=2, optimizer="sgd", peak_lr=0.05, balanced_sampling=0.5, **ingredients)
    uneven = sets[0].select((sets[0].labels.numpy() != 1) | (np.arange(210) < 50))
    _, fit, _ = train((uneven, sets[1]), cfg)
    losses = [row[part] for row in fit.history for part in ("train_loss", "val_loss")]
    engine, golden = 2, [1.99823, 1.94647, 2.14109, 1.94532]
    assert engine == training.ENGINE and losses == pytest.approx(golden, abs=1e-4), (
        f"A training gives other numbers than engine {engine} did. If that is meant, raise training.ENGINE, so that no "
        f"checkpoint or kept run of the old one is used, and write the new number and these losses here: {losses}"
    )


def test_muons_rate_is_a_fifth_of_the_peak():
    """The golden losses are SGD's; a constant in place of this share once went unnoticed."""
    model = network().to(memory_format=torch.channels_last)
    groups = settings.make_optimizer(model, replace(CFG, optimizer="muon", peak_lr=0.15)).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.15, 0.03])


def test_what_decides_the_training_is_part_of_the_key(sets, monkeypatch):
    model, cfg, (train_faces, val) = network(), replace(CFG, augment=augment.Augment()), sets
    soft = replace(train_faces, soft_labels=torch.full((210, 7), 1 / 7))
    key = lambda train=train_faces, val=val, **other: training.checkpoint_key(model, train, val, replace(cfg, **other))  # noqa: E731
    before = key()
    assert before == key() == key(precision="auto"), "the precision is the checkpoint's own"
    by_emotion = augment.ByEmotion(1, CHANGE, augment.Augment())
    others = [key(peak_lr=0.1), key(augment=None), key(augment=CHANGE), key(augment=by_emotion), key(soft)]
    others += [key(soft, distillation=0.5), key(train_faces.select(range(200))), key(val=val.select(range(60)))]
    next(model.parameters()).requires_grad_(False)
    others.append(key())
    next(model.parameters()).data.add_(1.0)
    others.append(key())
    monkeypatch.setattr(training, "ENGINE", training.ENGINE + 1)
    others.append(key())
    assert len({before, *others}) == len(others) + 1


def test_a_setting_left_at_its_default_changes_no_key():
    """So a setting that is added later leaves every key as it was."""
    assert training.changed(settings.TrainConfig()) == {"kind": "TrainConfig"}
    others = training.changed(settings.TrainConfig(epochs=9, augment=augment.Augment(degrees=3.0)))
    assert others == {"kind": "TrainConfig", "epochs": 9, "augment": {"kind": "Augment", "degrees": 3.0}}


def test_test_faces_are_refused(sets, tmp_path):
    final, model = stripes(14, "test"), network()
    with pytest.raises(ValueError, match="test faces"):
        training.fit(model, sets[0], final, CFG)
    with pytest.raises(ValueError, match="test faces"):
        training.predict_proba(model, final)
    evaluate = {"stage": "03", "name": "baseline", "out_root": tmp_path}
    for _ in range(2):
        probs = training.evaluate_on_test(model, final, **evaluate)
    assert probs.shape == (14, 7) and np.allclose(probs.sum(axis=1), 1, atol=1e-5)
    log = lambda: list(pd.read_csv(tmp_path / "test_evaluations.csv").test_faces)  # noqa: E731
    assert log() == [14], "the same weights on the same faces again are no new look"
    training.evaluate_on_test(model, final.select(range(7)), **evaluate)
    assert log() == [14, 7], "other faces are"
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    training.evaluate_on_test(model, final, **evaluate)
    assert log() == [14, 7, 14], "other weights too"


def test_early_stopping_counts_from_the_best_epoch():
    rows = [{"epoch": k + 1, "val_accuracy": a, "val_loss": 1.0} for k, a in enumerate([0.2, 0.5, 0.4, 0.5])]
    assert training.best_row(rows)["epoch"] == 2, "of equals the earlier epoch is kept"
    assert training.stalled(rows, 2) and not training.stalled(rows, 3) and not training.stalled(rows, 0)
    assert not training.stalled([], 1)


@pytest.mark.parametrize("optimizer", settings.CHOICES["optimizer"])
@pytest.mark.parametrize("schedule", ["one-cycle", "plateau", "constant"])
def test_every_optimiser_goes_with_every_schedule(sets, optimizer, schedule, tmp_path):
    cfg = replace(CFG, epochs=1, optimizer=optimizer, schedule=schedule, patience=1, class_weighting=1.0)
    _, fit, _ = train(sets, cfg, checkpoint=tmp_path / "c.pt")
    assert len(fit.history) == 1
    assert train(sets, cfg, checkpoint=tmp_path / "c.pt")[1].history == fit.history


def test_a_loss_that_is_no_number_ends_with_advice(sets):
    with pytest.raises(ValueError, match="lower peak_lr"):
        train(sets, replace(CFG, peak_lr=1e30, optimizer="sgd", schedule="constant"))
    with pytest.raises(ValueError, match="lower peak_lr"):  # by its last step: only val can tell
        train(sets, replace(CFG, peak_lr=1e30, optimizer="sgd", schedule="constant", epochs=1, batch_size=512))


def test_loss_weights():
    counts = np.array([10, 0, 40, 50, 0, 0, 0])
    assert settings.loss_weights(counts, 0.0).tolist() == pytest.approx([1, 0, 1, 1, 0, 0, 0])
    weights = settings.loss_weights(counts, 1.0).numpy()
    assert (weights * counts)[[0, 2, 3]] == pytest.approx([100 / 3] * 3, rel=1e-5)


def test_devices_and_budgets_are_checked(monkeypatch):
    with pytest.raises(ValueError, match="choose auto, smoke, quick, full"):
        devices.pick_budget("fast")
    with pytest.raises(ValueError, match="choose auto, cpu or cuda"):
        devices.pick_device("gpu")
    assert [devices.pick_budget("auto", torch.device(kind)) for kind in ("cpu", "cuda")] == ["quick", "full"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch sees no CUDA device here"):
        devices.pick_device("cuda")


@pytest.mark.parametrize("units", [True, False])
def test_auto_takes_bfloat16_where_the_device_has_units_for_it(monkeypatch, units):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: units)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: units)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for device in map(torch.device, ("cpu", "cuda")):
        assert devices.pick_precision("auto", device) == ("bfloat16" if units else "float32")
        assert devices.pick_precision("bfloat16", device) == "bfloat16"


def test_earlier_stages_learn_at_lower_rates():
    model = models.build("transfer")
    optimizer = settings.make_optimizer(model, settings.TrainConfig(peak_lr=1.0, layer_lr_decay=0.5))
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    settings.make_schedule(optimizer, settings.TrainConfig(epochs=10), 10)
    begun = [group["lr"] for group in optimizer.param_groups]
    assert [rate / begun[-1] for rate in begun] == pytest.approx(rates), "the schedule keeps the proportions"
    only = settings.make_optimizer(model.unfreeze(1), settings.TrainConfig(peak_lr=1.0, layer_lr_decay=0.5))
    assert [group["lr"] for group in only.param_groups] == [0.5, 1]
    with pytest.raises(ValueError, match="needs a network with a list of stages"):
        settings.make_optimizer(models.build("small_cnn"), settings.TrainConfig(layer_lr_decay=0.5))


@pytest.mark.slow
def test_the_first_epochs_may_see_smaller_faces(sets):
    """Two of four epochs at 32×32, two thirds of the side; val is always scored at 48×48."""
    sides, model = [], models.build("small_cnn")
    model.register_forward_pre_hook(lambda module, given: sides.append((module.training, given[0].shape[-1])))
    cfg = settings.TrainConfig(epochs=4, batch_size=512, progressive_resizing=0.5, precision="float32")
    training.fit(model, *sets, cfg, log=lambda line: None)
    assert [side for learning, side in sides if learning] == [32, 32, 48, 48]
    assert {side for learning, side in sides if not learning} == {48}


def test_the_average_follows_the_weights_and_is_what_is_kept(sets):
    layer = torch.nn.Linear(1, 1, bias=False)
    averaged = settings.make_ema(layer, 0.9)
    assert settings.make_ema(layer, 0.0) is None
    expected = None
    for step in range(60):
        layer.weight.data.fill_(float(step))
        expected = 0.0 if step == 0 else expected + max(0.1, 9 / (10 + step)) * (step - expected)
        averaged.update_parameters(layer)
    assert averaged.module.weight.item() == pytest.approx(expected, rel=1e-5)
    last, _, _ = train(sets, replace(CFG, keep="last"))
    model, fit, _ = train(sets, replace(CFG, ema_decay=0.9, keep="last"))
    assert not same_weights(last, model), "the model ends with the average"
    assert share_right(model, sets[1]) == pytest.approx(fit.kept["val_accuracy"]), "and the average is what is scored"


def test_mixup_blends_faces_and_labels_by_the_same_share():
    faces, labels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2), torch.arange(4)
    assert settings.apply_mixup(faces, labels, 0.0) == (faces, labels)
    blended, shares = settings.apply_mixup(faces, labels, 1.0)
    assert torch.allclose(shares.sum(dim=1), torch.ones(4))
    for row in range(4):
        share = shares[row, row].item()
        assert 0 < share < 1 and shares[row, (row - 1) % 4].item() == pytest.approx(1 - share)
        assert blended[row, 0, 0, 0].item() == pytest.approx(share * row + (1 - share) * ((row - 1) % 4), abs=1e-6)
    assert shares.diagonal().unique().numel() == 4, "each face has a share of its own"


def test_mixup_ends_after_its_share_of_the_epochs(sets, monkeypatch):
    epochs, mixed = [], settings.apply_mixup
    monkeypatch.setattr(settings, "apply_mixup", lambda *given: epochs.append(given[2]) or mixed(*given))
    cfg = replace(CFG, epochs=4, batch_size=512, mixup=0.2, mixup_until=0.5)
    train(sets, cfg)
    assert epochs == [0.2, 0.2], "one step an epoch, in the first two of four"
    train(sets, replace(cfg, mixup_until=1.0))
    assert len(epochs) == 2 + 4


def test_a_student_learns_what_the_soft_labels_say_of_each_face(sets):
    """Here they say happy of every face; and each batch takes its own faces' rows."""
    people, val = sets
    happy = replace(people, soft_labels=torch.eye(7)[3].expand(210, 7))
    model, _, _ = train((happy, val), replace(CFG, distillation=1.0))
    assert (training.predict_proba(model, val).argmax(1) == 3).all()
    rows, part = torch.rand(210, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([4, 207, 11])
    soft = replace(people, soft_labels=rows)
    for share in (1.0, 0.9, 0.0):
        cfg = replace(CFG, distillation=share)
        _, labels, targets = training.batch_of(model, soft, part, cfg, torch.Generator(), 0)
        share = share or 1.0  # no teacher: they came with the data
        expected = share * rows[part] + (1 - share) * torch.eye(7)[people.labels[part]]
        assert torch.equal(labels, people.labels[part]) and torch.allclose(targets, expected)
    with pytest.raises(ValueError, match=r"distillation is 0\.5: it needs faces with soft labels"):
        train((people, val), replace(CFG, distillation=0.5))


def test_logit_adjustment_is_the_priors_log_in_the_loss_alone():
    counts, logits, labels = np.array([10, 0, 30, 60, 0, 0, 0]), torch.randn(5, 7), torch.zeros(5, dtype=torch.int64)
    loss = settings.make_loss(counts, replace(CFG, logit_adjustment=2.0))(logits, labels)
    prior = torch.tensor([0.1, 0.01, 0.3, 0.6, 0.01, 0.01, 0.01]).log()
    assert loss == pytest.approx(F.cross_entropy(logits + 2 * prior, labels).item(), rel=1e-5)


def test_balanced_sampling_draws_emotions_alike(sets):
    people = sets[0].select([*range(0, 210, 7), 1])  # 30 angry faces, one disgusted
    for balance, fewest, most in ((1.0, 8, 23), (0.0, 1, 1)):
        drawn = torch.cat([*shuffled(people, 8, torch.Generator().manual_seed(0), balance=balance)])
        assert len(drawn) == 31 and fewest <= (people.labels[drawn] == 1).sum() <= most


def test_an_epoch_never_waits_for_the_device(sets, monkeypatch):
    """Whatever turns a tensor into a Python number waits for all that was queued; that may happen between epochs."""
    asked, inside = [], []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, given=(), named=None):
            waits = function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
            files = [frame.filename for frame in traceback.extract_stack()] if waits and inside else []
            if files and not any(file.endswith("swa_utils.py") for file in files):
                asked.append(files)  # torch's average counts its steps in a tensor of its own, on the CPU
            return function(*given, **(named or {}))

    def watched(*given, **named):
        yield from shuffled(*given, **named)
        inside.clear()

    whole = training.score_val
    monkeypatch.setattr(training, "shuffled", lambda *given, **named: inside.append(1) or watched(*given, **named))
    monkeypatch.setattr(training, "score_val", lambda *given: inside.clear() or whole(*given))
    change = augment.ByEmotion(1, augment.Augment(erase=0.5, noise=0.1), augment.Augment())
    cfg = replace(CFG, optimizer="sgd", epochs=2, ema_decay=0.9, mixup=0.2, label_smoothing=0.1, augment=change)
    with Watch():
        train(sets, cfg)
    assert not asked


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "on the CUDA device.*smaller batch_size, or device=cpu"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "on this machine"),
        (MemoryError(), "on this machine.*smaller batch_size. Finished epochs are kept"),
    ],
)
def test_running_out_of_memory_says_what_to_change_and_keeps_the_epochs(sets, tmp_path, monkeypatch, error, message):
    path, steps, mixed = tmp_path / "c.pt", iter(range(100)), settings.apply_mixup

    def fail(*given):
        if next(steps) == 10:  # in the second of seven steps' epochs
            raise error
        return mixed(*given)

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match=f"(?s)Memory ran out.*{message}"):
        patch.setattr(settings, "apply_mixup", fail)
        train(sets, checkpoint=path)
    _, fit, lines = train(sets, checkpoint=path)
    assert "going on after epoch 1" in lines[0] and len(fit.history) == 3


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_memory_that_a_step_freed_is_used_again():
    code = (
        "import resource, torch; from fer_helpers import devices; count = lambda: resource.getrusage(0).ru_minflt\n"
        "for keep in (False, True):\n"
        "    if keep: devices.keep_memory()\n"
        "    for _ in range(30): torch.ones(10_000_000)\n"
        "    before = count()\n"
        "    for _ in range(9): torch.ones(10_000_000)\n"
        "    print(count() - before)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT)
    usual, kept = map(int, output.split())
    # 40 MB, since up to 32 MB glibc keeps of itself. Something small may come to lie in a freed block: after three
    # steps up to five of the nine were new, after thirty none.
    assert kept < usual / 2, "page faults: new pages for 40 MB, nine times over"


def test_a_real_shortage_of_memory_is_reported(sets):
    model = network()
    model.preprocess = lambda images: torch.empty(2**50)  # a petabyte
    with pytest.raises(MemoryError, match="Memory ran out on this machine"):
        training.fit(model, *sets, CFG)


def test_a_full_disk_is_reported_and_the_last_checkpoint_stays(sets, tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "c.pt"
    train(sets, replace(CFG, epochs=1), checkpoint=path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # writing fails as on a full disk
    try:
        with pytest.raises(OSError, match=r"c\.pt can't be written: the disk is full; make room"):
            train(sets, checkpoint=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["c.pt"]


def test_a_checkpoint_that_is_a_malicious_pickle_does_nothing(sets, tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path(tmp_path / "harm").write_text, ("done",))

    path = tmp_path / "c.pt"
    for write in (lambda: torch.save(Harm(), path), lambda: path.write_bytes(pickle.dumps(Harm()))):
        write()
        _, fit, lines = train(sets, checkpoint=path)
        assert "can't be read" in lines[0] and len(fit.history) == 3
    assert not (tmp_path / "harm").exists()
    torch.save(Harm(), path)
    torch.load(path, weights_only=False)
    assert (tmp_path / "harm").exists(), "the file is harmful to who trusts it"
