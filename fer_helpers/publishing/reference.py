"""The kept reference: what may be given away of a run on FER-2013; and a model file evaluated again."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fer_helpers import paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.predict import GIVEN_AWAY
from fer_helpers.publishing import export, folders, leaderboard, readme, rendering

# Figures and files that show no face of FER-2013. What isn't named here is never copied into the reference.
KEPT = frozenset(
    """
    metrics.json history.csv predictions.npz runs.csv leaderboard.csv label_doubts.csv
    train_distribution.png test_distribution.png brightness_contrast.png mean_faces.png
    similarity.png conflicts.png leakage.png leakage_by_emotion.png recall.png recall_by_emotion.png
    learning_rate.png loss_curve.png accuracy_curve.png confusion_matrix.png confusion_matrix_train.png comparison.png
    memorising.png price.png screening.png class_weights.png members.png record.png
    grids.png boxes.png class_average.png regions.png deletion.png faithful.png sanity.png seeds.png
    leaderboard.png pairs.png published.png cost.png reliability.png coverage.png framing.png
    peers.png synthetic_faces.png
    """.split()  # noqa: SIM905, a line a notebook can be read
)
LARGE = "08_record/pretrained/record_pretrained.safetensors"  # for those who have more time than a webcam leaves
SECOND = "05_grad_cam/second_seed.safetensors"  # the same network from another seed, so that nobody must train it


def evaluate(model: str, data: str, out_root: str, budget: str, known: str) -> None:
    """Score a model file on val and test: print a table, write `<out_root>/evaluate/<model>.json`, log that.

    known: a data set that may be the model's own where `data` isn't.
    """
    from fer_helpers import devices, metrics, models, training
    from fer_helpers.data import sources

    device, name = devices.pick_device(), Path(model).stem
    print(f"[1/3] reading {name} and the data")
    network, everyone = models.load(model).to(device), sources.load(data, budget=budget)
    trained_on = network.card.get("metrics", {}).get("data", {})
    if everyone.is_synthetic != trained_on.get("demonstration", everyone.is_synthetic):
        print("Careful: of the model's faces and these, one set is synthetic and the other photographed.")
    judged, leaked = everyone.part("val", "test"), _leaked(everyone, trained_on, known)
    print(f"[3/3] answering {len(judged):,} faces of val and test")
    probs = training.evaluate_on_test(network, judged, stage="evaluate", name=name, out_root=out_root)
    parts = metrics.parts(judged, probs, leaked)
    keys = ["n", "accuracy", "accuracy_ci95", "loss", "macro_f1", "balanced_accuracy", "ece"]
    print(pd.DataFrame({part: each for part, each in parts.items() if each}).loc[keys].T.to_string())
    asked = {"model": name, "file": str(Path(model).resolve()), "data": judged.card()}
    place = paths.stage("evaluate", out_root) / f"{name}.json"
    written = paths.free(place, lambda path: path.exists() and not asked.items() <= paths.read_json(path).items())
    paths.write_json(written, {"stage": "evaluate", **asked, **parts, "run": devices.run_card(device)})
    print(f"written to {written}")


def _leaked(everyone, trained_on: dict, known: str) -> np.ndarray:
    """(N,) bool of val and test, True where the model's own raw training data hold a duplicate.

    Where that can't be known all are True: then nothing is said of faces without duplicates.
    """
    from fer_helpers.cleaning import manifest
    from fer_helpers.data import sources

    def is_own(people) -> bool:
        return any(trained_on.get(key) and trained_on[key] == people.source.get(key) for key in ("key", "pixels"))

    people = everyone
    if not is_own(everyone):
        own = sources.load(known, log=lambda line: None) if known else everyone
        if not is_own(own):
            its = trained_on.get("title") or trained_on.get("source") or "faces that it does not name"
            unknown = "whether it has seen these faces isn't known, nor are duplicates counted."
            print(f"[2/3] The model was trained on {its}: {unknown}")
            return np.ones((everyone.split != "train").sum(), bool)
        train = own.part("train")
        names = np.array([f"of the model/{name}" for name in train.names])
        people = replace(train, names=names).join(everyone.part("val", "test"))
    print(f"[2/3] looking for duplicates among {len(people):,} faces")
    table = manifest.build(people)[0].set_index("name").loc[people.names]  # leaves notebook 02's alone
    return manifest.has_training_duplicate(table)[people.split != "train"]


def make(out_root: Path) -> None:
    """Copy what may be given away of a run on the real data that showed single faces as mosaics.

    Raises ValueError if the run isn't one on FER-2013: the reference holds nothing else; or if it showed faces.
    """
    table = _checked_manifest(out_root)
    times = (readme.read("times.json") or {"seconds": {}})["seconds"]
    for path in sorted(out_root.glob(f"*/{paths.RECEIPT}")):  # an unfinished study keeps the copy that it has
        stage, receipt = path.parent.name, paths.read_json(path)
        seconds = receipt["seconds"]
        if not receipt["facts"].get(paths.MOSAIC):
            raise ValueError(f"{path.parent} shows people's faces: run it by make reference.")
        new, old = _passes(path.parent), _passes(paths.REFERENCE / stage)
        if any(new.get(name, 0) < passes for name, passes in old.items()):
            print(f"{stage} stays as it is kept: its trainings are more, or saw the faces more often, than this run's.")
            continue
        _keep_results(path.parent, paths.REFERENCE / stage)
        _keep_notebook(path.parent / f"{stage}.ipynb", paths.REFERENCE / "notebooks" / f"{stage}.ipynb")
        for name in (*GIVEN_AWAY, LARGE, SECOND):  # never weights without the metrics of their own run
            if name.startswith(stage) and (out_root / name).exists():
                _keep_weights(out_root / name, paths.REFERENCE / name)
        trainings = [paths.read_json(each).get("run", {}) for each in path.parent.glob("**/metrics.json")]
        # a run that took less than its trainings read them from checkpoints: its time says nothing
        if seconds >= sum(each.get("seconds", 0) for each in trainings):
            times[stage] = seconds
    paths.write_json(paths.REFERENCE / "times.json", {"seconds": dict(sorted(times.items()))})
    removed = table.loc[~table.keep, ["name", "reason", "twin", "sha256"]]
    paths.write_csv(paths.REFERENCE / "02_cleaning" / "removed.csv", removed)
    _keep_evaluations(out_root / "test_evaluations.csv")
    readme.write()


def _passes(folder: Path) -> dict[str, float]:
    """How often each method of notebook 04 saw all faces, whatever their number; empty for other notebooks."""
    runs = folders.content(folder / "metrics.json").get("runs", {})
    return {re.sub(r"_\d+_faces$", "", name): each["passes"] for name, each in runs.items()}


def _checked_manifest(out_root: Path) -> pd.DataFrame:
    """The manifest of a run on FER-2013, nowhere edited by hand."""
    from fer_helpers.cleaning import manifest

    folder = out_root / "02_cleaning"
    real = paths.read_json(folder / "metrics.json")["data"]
    if real["kind"] != "fer2013":
        raise ValueError(f"The reference is made from FER-2013, not from '{real['source']}': give DATA= the real data.")
    table = pd.read_csv(folder / "manifest.csv", keep_default_na=False)
    if real["cleaned"]["manifest"] != manifest.digest(table):
        raise ValueError(f"The manifest in {out_root} was edited by hand; the reference is made without: delete it.")
    return table


def _keep_results(folder: Path, target: Path) -> None:
    """Put what may be given away of a stage's folder in the place of all that was kept of it.

    A README, written by hand, stays, and so do a study's trainings, which a fresh clone would need days for.
    """
    for old in target.rglob("*"):
        if old.is_file() and old.name != "README.md" and old.parent.name != "runs":
            old.unlink()
    for path in sorted(folder.rglob("*")):
        if path.name in KEPT:
            with paths.whole(target / path.relative_to(folder)) as temporary:
                shutil.copyfile(path, temporary)


def _keep_weights(path: Path, target: Path) -> None:
    """Keep a model file in half precision, with its confidence thresholds and, save for the second seed's, its card."""
    from fer_helpers import models, results

    network, table = models.load(path), results.confidence_table(path)
    thresholds = {"confidence_thresholds": table} if table else {}  # the file alone knows when it is confident enough
    models.save(network, target, half=True, metrics=network.card["metrics"] | thresholds)
    if not target.match(SECOND):
        text = _model_card(paths.read_json(target.parent / "metrics.json"))
        rendering.write(target.parent / "MODEL_CARD.md", text)
        if target.stem in export.PUBLISHED:  # from the weights in half precision, so that both files answer alike
            export.export(models.load(target), target.with_suffix(".onnx"), model_card=text)


def _model_card(card: dict) -> str:
    """The Markdown of a card, made from a model's metrics, never typed.

    What it should say: Mitchell et al., "Model Cards for Model Reporting" (2019).
    """
    from fer_helpers.metrics import accuracy_interval

    parts = {"PublicTest (chosen on it)": card["val"], "PrivateTest": card["test"]}
    parts["PrivateTest without duplicates"] = card["test_without_duplicates"]
    values = {
        "metrics": card,
        "others": leaderboard.other_data(card),
        "parts": parts,
        "emotions": EMOTIONS,
        "address": paths.repository(),
    }
    values["agreement"] = readme.kept("02_cleaning")["label_agreement"]["agreement"]  # of duplicates' labels
    values["recall_interval"] = lambda each: accuracy_interval(round(each["recall"] * each["n"]), each["n"])
    return rendering.render("model_card.md.j2", **values)


def _keep_evaluations(log: Path) -> None:
    """Add a run's evaluations on test to the kept ones, each once: a fresh clone's log is empty, the count isn't."""
    kept = paths.REFERENCE / log.name
    both = [pd.read_csv(each, dtype=str, keep_default_na=False) for each in (kept, log) if each.exists()]
    paths.write_csv(kept, pd.concat(both).drop_duplicates().sort_values("when", kind="stable"))


def keep_benchmarks(path: Path) -> None:
    """Of what `make bench` measured keep the sections that were measured in full and on FER-2013."""
    measured = paths.read_json(path) if path.exists() else {}
    full = {name: each for name, each in measured.items() if each["data"]["kind"] == "fer2013" and not each["small"]}
    paths.write_json(paths.REFERENCE / path.name, dict(sorted(((readme.read(path.name) or {}) | full).items())))
    if "peers" in full:
        with paths.whole(paths.REFERENCE / "peers.png") as temporary:
            shutil.copyfile(path.with_name("peers.png"), temporary)


def _smaller(png: str) -> str:
    """A figure of an executed copy, base64, in 256 colours: git keeps every version of it."""
    written = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def _keep_notebook(path: Path, target: Path) -> None:
    """Copy an executed notebook without what it says of this machine: folders, times, warnings of the kernel."""
    book = paths.read_json(path)
    book["metadata"].pop("papermill", None)
    for cell in book["cells"]:
        tags = cell["metadata"].get("tags", [])
        cell["metadata"] = {key: cell["metadata"][key] for key in ("tags", "jupyter") if cell["metadata"].get(key)}
        if "injected-parameters" in tags:
            source = re.sub(r'(?m)^out_root = ".*"$', 'out_root = "outputs"', "".join(cell["source"]))
            cell["source"] = re.sub(r'(?m)^data = ".*[/\\]', 'data = "', source)
        if cell["cell_type"] == "code":
            cell["outputs"] = [out for out in cell.get("outputs", []) if out.get("name") != "stderr"]
            for data in (out["data"] for out in cell["outputs"] if "image/png" in out.get("data", {})):
                data["image/png"] = _smaller(data["image/png"])
    text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    for place, name in ((paths.ROOT, "fer-workbook"), (Path.home(), "~")):
        if place.name:  # a container's user may be at home in /
            text = text.replace(json.dumps(str(place), ensure_ascii=False)[1:-1], name)  # as JSON has backslashes
    rendering.write(target, text)
