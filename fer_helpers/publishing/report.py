"""What is told from results: a model scored again, and the kept reference."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd

from fer_helpers import paths
from fer_helpers.predict import GIVEN_AWAY
from fer_helpers.publishing import cards, readme

# Figures and files that show no face of FER-2013. What isn't named here is never copied into the reference.
KEPT = (
    "metrics.json",
    "history.csv",
    "leaderboard.csv",
    "label_doubts.csv",
    "train_distribution.png",
    "test_distribution.png",
    "brightness_contrast.png",
    "mean_faces.png",
    "similarity.png",
    "conflicts.png",
    "leakage.png",
    "leakage_by_emotion.png",
    "recall.png",
    "recall_by_emotion.png",
    "loss_curve.png",
    "accuracy_curve.png",
    "confusion_matrix.png",
    "confusion_matrix_train.png",
    "comparison.png",
    "memorising.png",
    "price.png",
    "runs.csv",
    "ingredients.png",
    "members.png",
    "record.png",
    "grids.png",
    "boxes.png",
    "class_average.png",
    "regions.png",
    "deletion.png",
    "faithful.png",
    "sanity.png",
    "seeds.png",
    "predictions.npz",
    "leaderboard.png",
    "published.png",
    "cost.png",
    "reliability.png",
    "coverage.png",
    "framing.png",
)
SECOND = "05_grad_cam/second_seed.safetensors"  # the same network from another seed, so that nobody must train it


def evaluate(model: str, data: str, out_root: str, budget: str = "quick") -> None:
    """Score a model file on val and test: print a table, write `<out_root>/evaluate/<model>.json`, log the opening."""
    from fer_helpers import devices, metrics, models, training
    from fer_helpers.cleaning import manifest as manifests
    from fer_helpers.data import sources

    network = models.load(model).to(devices.pick_device())
    everyone = sources.load(data, budget=budget)
    learnt = network.card.get("metrics", {}).get("data", {})
    if everyone.drawn != learnt.get("demonstration", everyone.drawn):
        print("Careful: of the model's faces and these, one set is drawn and the other photographed.")
    judged = everyone.part("val", "test")
    manifest = manifests.build(everyone)[0].set_index("name").loc[everyone.names]  # leaves notebook 02's alone
    copied = manifests.has_training_copy(manifest)[everyone.split != "train"]
    name = Path(model).stem
    probs = training.open_test(network, judged, stage="evaluate", name=name, out_root=out_root)
    parts = metrics.parts(judged, probs, copied)
    keys = ["n", "accuracy", "accuracy_ci95", "loss", "macro_f1", "balanced_accuracy", "ece"]
    print(pd.DataFrame({part: {key: each[key] for key in keys} for part, each in parts.items() if each}).T.to_string())
    run = devices.run_card(devices.pick_device())
    written = paths.stage("evaluate", out_root) / f"{name}.json"
    paths.write_json(written, {"stage": "evaluate", "model": name, "data": judged.card(), **parts, "run": run})
    print(f"written to {written}")


def reference(out_root: Path, drawn_root: Path) -> None:
    """Copy what may be given away of a run on the real data, and the executed notebooks of a run on drawn faces.

    Raises ValueError if the run isn't one on FER-2013: the reference holds nothing else.
    """
    from fer_helpers import models, results
    from fer_helpers.cleaning import manifest as manifests

    card = paths.read_json(paths.need("02_cleaning", "metrics.json", out_root))["data"]
    if card["kind"] != "fer2013":
        raise ValueError(f"The reference is made from FER-2013, not from '{card['source']}': give DATA= the real data.")
    drawn = paths.read_json(paths.need("02_cleaning", "metrics.json", drawn_root))["data"]
    if not drawn["demonstration"]:
        raise ValueError(f"The notebooks in {drawn_root} were run on '{drawn['source']}', not on drawn faces.")
    seconds = {path.parent.name: paths.read_json(path)["seconds"] for path in sorted(out_root.glob("*/receipt.json"))}
    for name in seconds:  # a study that wasn't run, or isn't finished, keeps the copy that it has
        for old in (paths.REFERENCE / name).rglob("*"):
            if old.is_file() and old.name != "README.md":  # written by hand
                old.unlink()
        for path in sorted((out_root / name).rglob("*")):
            if path.name in KEPT:
                copy_whole(path, paths.REFERENCE / path.relative_to(out_root))
    for path in sorted(drawn_root.glob("[0-9][0-9]_*/[0-9][0-9]_*.ipynb")):
        keep_notebook(path, paths.REFERENCE / "notebooks" / path.name)
    manifest = pd.read_csv(paths.need("02_cleaning", "manifest.csv", out_root), keep_default_na=False)
    if card["cleaned"]["manifest"] != manifests.digest(manifest):
        raise ValueError(f"The manifest in {out_root} was edited by hand; the reference is made without: delete it.")
    removed = manifest.loc[~manifest.keep, ["name", "reason", "twin", "sha256"]]
    paths.write_csv(paths.REFERENCE / "02_cleaning" / "removed.csv", removed)
    keep_openings(out_root / "test_openings.csv")
    keep_benchmarks(out_root / "bench.json")
    times = paths.REFERENCE / "times.json"
    before = paths.read_json(times)["seconds"] if times.exists() else {}
    fresh = {name: time for name, time in seconds.items() if time >= trained_for(out_root / name)}
    paths.write_json(times, {"seconds": dict(sorted({**before, **fresh}.items()))})
    agreement = paths.read_json(paths.REFERENCE / "02_cleaning" / "metrics.json")["label_agreement"]["agreement"]
    for name in filter(lambda name: (out_root / name).exists(), (*GIVEN_AWAY, SECOND)):
        network, target = models.load(out_root / name), paths.REFERENCE / name
        told = network.card["metrics"]
        if table := results.sureness_table(out_root / name):  # so that the file alone knows when it is sure enough
            told = {**told, "sureness": table}
        models.save(network, target, half=True, metrics=told)
        if name != SECOND:
            cards.write(target.parent / "MODEL_CARD.md", paths.read_json(target.parent / "metrics.json"), agreement)
    readme.write()


def trained_for(folder: Path) -> float:
    """Seconds of a stage's trainings; a run that took less read them from checkpoints, so its time tells nothing."""
    return sum(paths.read_json(path).get("run", {}).get("seconds", 0) for path in folder.glob("**/metrics.json"))


def keep_openings(log: Path) -> None:
    """Add a run's openings of test to the kept ones, each once: a fresh clone's log begins empty, the count doesn't."""
    kept = paths.REFERENCE / log.name
    both = [pd.read_csv(each, dtype=str, keep_default_na=False) for each in (kept, log) if each.exists()]
    paths.write_csv(kept, pd.concat(both).drop_duplicates().sort_values("when", kind="stable"))


def keep_benchmarks(path: Path) -> None:
    """Of what `make bench` measured keep the sections that were measured in full and on FER-2013."""
    kept = paths.REFERENCE / path.name
    before, found = (paths.read_json(each) if each.exists() else {} for each in (kept, path))
    found = {name: each for name, each in found.items() if each["data"]["kind"] == "fer2013" and not each["small"]}
    paths.write_json(kept, dict(sorted({**before, **found}.items())))


def keep_notebook(path: Path, target: Path) -> None:
    """Copy an executed notebook without what it says of this machine: folders, times, warnings of the kernel."""
    book = json.loads(path.read_text(encoding="utf-8"))
    book["metadata"].pop("papermill", None)
    for cell in book["cells"]:
        cell["metadata"] = {"tags": cell["metadata"]["tags"]} if cell["metadata"].get("tags") else {}
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["source"] = re.sub(r'(?m)^out_root = ".*"$', 'out_root = "outputs"', "".join(cell["source"]))
        outputs = [out for out in cell.get("outputs", []) if out.get("name") != "stderr"]
        cell |= {"outputs": outputs} if cell["cell_type"] == "code" else {}
    text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    text = text.replace(str(paths.ROOT), "fer-workbook").replace(str(Path.home()), "~")
    with paths.whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def copy_whole(path: Path, target: Path) -> None:
    """Copy a file; the target is written whole or not at all."""
    with paths.whole(target) as temporary:
        shutil.copyfile(path, temporary)
