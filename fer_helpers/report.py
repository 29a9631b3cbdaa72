"""What is told from results: a model scored again, the kept reference, the numbers in the README, the address."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd

from fer_helpers import paths

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
    "loss_curve.png",
    "accuracy_curve.png",
    "confusion_matrix.png",
    "confusion_matrix_train.png",
    "comparison.png",
    "memorising.png",
    "price.png",
    "runs.csv",
    "class_average.png",
    "sanity.png",
    "leaderboard.png",
    "reliability.png",
)
GIVEN_AWAY = "03_baseline_cnn/baseline.safetensors"  # the weights that users get before they trained any
README = paths.ROOT / "README.md"


def evaluate(model: str, data: str, out_root: str, budget: str = "quick") -> None:
    """Score a model file on val and test: print a table, write `<out_root>/evaluate/<model>.json`, log the opening."""
    from fer_helpers import cleaning, machine, models, scoring, sources, training

    network = models.load(model).to(machine.pick_device())
    everyone = sources.load(data, budget=budget)
    learnt = network.card.get("metrics", {}).get("data", {})
    if everyone.drawn != learnt.get("demonstration", everyone.drawn):
        print("Careful: of the model's faces and these, one set is drawn and the other photographed.")
    judged = everyone.part("val", "test")
    manifest = cleaning.build(everyone)[0].set_index("name").loc[everyone.names]  # leaves notebook 02's alone
    copied = cleaning.has_training_copy(manifest)[everyone.split != "train"]
    name = Path(model).stem
    probs = training.open_test(network, judged, stage="evaluate", name=name, out_root=out_root)
    parts = scoring.parts(judged, probs, copied)
    keys = ["n", "accuracy", "accuracy_ci95", "loss", "macro_f1", "balanced_accuracy", "ece"]
    print(pd.DataFrame({part: {key: each[key] for key in keys} for part, each in parts.items() if each}).T.to_string())
    run = machine.run_card(machine.pick_device())
    written = paths.stage("evaluate", out_root) / f"{name}.json"
    paths.write_json(written, {"stage": "evaluate", "model": name, "data": judged.card(), **parts, "run": run})
    print(f"written to {written}")


def reference(out_root: Path, drawn_root: Path) -> None:
    """Copy what may be given away of a run on the real data, and the executed notebooks of a run on drawn faces.

    Raises ValueError if the run isn't one on FER-2013: the reference holds nothing else.
    """
    card = paths.read_json(paths.need("02_cleaning", "metrics.json", out_root))["data"]
    if card["kind"] != "fer2013":
        raise ValueError(f"The reference is made from FER-2013, not from '{card['source']}': give DATA= the real data.")
    drawn = paths.read_json(paths.need("02_cleaning", "metrics.json", drawn_root))["data"]
    if not drawn["demonstration"]:
        raise ValueError(f"The notebooks in {drawn_root} were run on '{drawn['source']}', not on drawn faces.")
    seconds = {path.parent.name: paths.read_json(path)["seconds"] for path in sorted(out_root.glob("*/receipt.json"))}
    for name in seconds:  # a study that wasn't run, or isn't finished, keeps the copy that it has
        shutil.rmtree(paths.REFERENCE / name, ignore_errors=True)
        for path in sorted((out_root / name).rglob("*")):
            if path.name in KEPT:
                copy_whole(path, paths.REFERENCE / path.relative_to(out_root))
    for path in sorted(drawn_root.glob("[0-9][0-9]_*/[0-9][0-9]_*.ipynb")):
        keep_notebook(path, paths.REFERENCE / "notebooks" / path.name)
    manifest = pd.read_csv(paths.need("02_cleaning", "manifest.csv", out_root), keep_default_na=False)
    removed = manifest.loc[~manifest.keep, ["name", "reason", "twin", "sha256"]]
    paths.write_csv(paths.REFERENCE / "02_cleaning" / "removed.csv", removed)
    log = out_root / "test_openings.csv"
    copy_whole(log, paths.REFERENCE / log.name)
    times = paths.REFERENCE / "times.json"
    before = paths.read_json(times)["seconds"] if times.exists() else {}
    paths.write_json(times, {"seconds": dict(sorted({**before, **seconds}.items()))})
    from fer_helpers import models

    network = models.load(out_root / GIVEN_AWAY)
    models.save(network, paths.REFERENCE / GIVEN_AWAY, half=True, metrics=network.card["metrics"])
    readme()


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


def readme() -> None:
    """Put the reference's numbers into README.md, between `<!-- name -->` and `<!-- /name -->`."""
    text = README.read_text(encoding="utf-8")
    blocks = {"results": results_table(), "cleaning": cleaning_lines(), "badges": badges(), "times": times_line()}
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place '<!-- {name} -->' … '<!-- /{name} -->' for the numbers.")
        text = pattern.sub(lambda found, block=block: f"{found[1]}{block}\n{found[2]}", text)
    with paths.whole(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


def results_table() -> str:
    """The leaderboard of the reference as Markdown, order of val."""
    table = pd.read_csv(paths.REFERENCE / "09_results" / "leaderboard.csv")
    lines = [
        "| model | PrivateTest (95 % interval) | both parts | without copies | macro-F1 | disgust found | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        interval = f"**{row.test_accuracy:.1%}** ({row.test_low:.1%} to {row.test_high:.1%})"
        lines.append(
            f"| {row.model.replace('_', ' ')}, {row.epochs} epochs | {interval} | {row.test_7178_accuracy:.1%} "
            f"| {row.test_without_copies_accuracy:.1%} | {row.test_macro_f1:.1%} | {row.test_recall_disgust:.0%} "
            f"| {row.seconds / 60:.0f} |"
        )
    openings = len(pd.read_csv(paths.REFERENCE / "test_openings.csv"))
    began = "with" if table.pretrained.any() else "without"
    told = (
        f"Budget `{table.budget.iloc[0]}`, {table.device.iloc[0].replace('cpu: ', '')}, {began} ImageNet's weights. "
        f"Epochs were chosen on PublicTest; PrivateTest was opened {openings} times in the folder of this run, each "
        f"time by a finished model."
    )
    return "\n".join([*lines, "", told])


def cleaning_lines() -> str:
    """What notebook 02 counted on FER-2013, in sentences."""
    found = paths.read_json(paths.REFERENCE / "02_cleaning" / "metrics.json")
    counts, leaked, exact = found["data"]["counts"], found["with_copy_in_training"], found["exact"]
    gone = sum(found["training"].values()) - found["training"]["kept"]
    twins = exact["with_exact_twin_in_training"]["test"]
    return (
        f"- **At least {leaked['test']:,} of the {counts['test']:,} PrivateTest faces "
        f"({leaked['test'] / counts['test']:.0%}) also stand in Training**, {twins:,} of them pixel for pixel, "
        f"the others saved again, shifted or mirrored; of PublicTest {leaked['val']:,} "
        f"({leaked['val'] / counts['val']:.0%}).\n"
        f"- {exact['images']:,} images are {exact['distinct']:,} distinct pictures; "
        f"{exact['groups_with_several_labels']} pictures carry more than one label on their exact copies.\n"
        f"- {gone:,} training images leave (copies of test and val, surplus copies, conflicts, blanks), "
        f"{found['training']['kept']:,} stay. The list is "
        f"[outputs/reference/02_cleaning/removed.csv](outputs/reference/02_cleaning/removed.csv)."
    )


def times_line() -> str:
    """How long the kept run of the main row took, notebook by notebook."""
    from fer_helpers import pipeline

    seconds = paths.read_json(paths.REFERENCE / "times.json")["seconds"]
    seconds = {stage: time for stage, time in seconds.items() if stage[:2] in pipeline.MAIN}
    run = paths.read_json(paths.REFERENCE / "03_baseline_cnn" / "metrics.json")["run"]
    each = ", ".join(f"{stage[:2]} {time / 60:.1f}" for stage, time in seconds.items())
    processor = run["device"].replace("cpu: ", "")
    total = sum(seconds.values()) / 60
    return (
        f"Measured once, `{run['budget']}`, {run['threads']} threads ({processor}, {run['precision']}): "
        f"{total:.0f} minutes for the row; by notebook, in minutes: {each}."
    )


def badge(notebook: Path) -> str:
    """The Markdown of a notebook's Colab badge, at the address that pyproject.toml states."""
    place = paths.repository().removeprefix("https://github.com/")
    target = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{notebook.name}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({target})"


def badges() -> str:
    """A table of the notebooks with their questions and badges."""
    lines = ["| notebook | question | open |", "|---|---|---|"]
    for path in sorted((paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        question = re.search(r"^# \d\d · (.+)$", first, re.MULTILINE)[1]
        lines.append(f"| [{path.stem}](notebooks/{path.name}) | {question} | {badge(path)} |")
    return "\n".join(lines)


def address() -> None:
    """Carry the repository's address from pyproject.toml into every notebook (badge, clone) and the README."""
    url = paths.repository()
    for path in [README, *sorted((paths.ROOT / "notebooks").glob("*.ipynb"))]:
        text = path.read_text(encoding="utf-8")
        old = re.search(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob", text)[1]
        text = text.replace(f"/github/{old}/blob", f"/github/{url.removeprefix('https://github.com/')}/blob")
        text = text.replace(f"https://github.com/{old}", url)
        with paths.whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    readme()
    print(f"Notebooks and README point at {url}.")
