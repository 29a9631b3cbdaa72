"""The README's numbers and tables, made from outputs/reference/, and the repository's address everywhere."""

import json
import re
from pathlib import Path

import pandas as pd

from fer_helpers import paths, pipeline

README = paths.ROOT / "README.md"


def write() -> None:
    """Put the reference's numbers into README.md, between `<!-- name -->` and `<!-- /name -->`."""
    text = README.read_text(encoding="utf-8")
    blocks = {"results": results_table(), "cleaning": cleaning_lines(), "price": price_lines()}
    blocks |= {"badges": badges(), "times": times_line(), "speed": speed_lines()}
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
    by_emotion = found["with_copy_by_emotion"]["PrivateTest"]
    most = sorted(by_emotion, key=by_emotion.get, reverse=True)[:2]
    meant = [each for each in found["trial"] if each["meant"]]
    planted, caught, by_hash = (sum(each[name] for each in meant) for name in ("planted", "found", "hash_found"))
    right, wrong = (sum(each[name] for each in meant) for name in ("right", "wrong"))
    labels = found["label_agreement"]
    loose, tight = (found["test_with_copy_by_threshold"][level] for level in ("0.80", "0.90"))
    return (
        f"- **{leaked['test']:,} of the {counts['test']:,} PrivateTest faces "
        f"({leaked['test'] / counts['test']:.0%}) also stand in Training**, {twins:,} of them pixel for pixel, "
        f"the others saved again, cut, shifted, marked or mirrored; of PublicTest {leaked['val']:,} "
        f"({leaked['val'] / counts['val']:.0%}). Of *{most[0]}* it is {by_emotion[most[0]]:.0f}%, of *{most[1]}* "
        f"{by_emotion[most[1]]:.0f}%. Where the line is drawn matters little: {loose:,} PrivateTest faces if it "
        f"is drawn at a correlation of 0.80, {tight:,} at 0.90.\n"
        f"- {exact['images']:,} images are {exact['distinct']:,} distinct pictures; "
        f"{exact['groups_with_several_labels']} pictures carry more than one label on their exact copies, "
        f"{found['disputed_pictures']} if near copies count. Two copies of a picture carry the same label "
        f"{labels['agreement']:.1%} of the time (pictures that were collected twice may be clearer than others).\n"
        f"- {gone:,} training images leave (copies of test and val, surplus copies, conflicts, blanks), "
        f"{found['training']['kept']:,} stay. The list, and the lines that apply it in any code base, are in "
        f"[outputs/reference/02_cleaning](outputs/reference/02_cleaning).\n"
        f"- How good is the search? Of {planted:,} copies that were made on purpose it finds {caught:,} "
        f"({caught / planted:.1%}), a perceptual hash alone {by_hash / planted:.0%}; of the pairs with a "
        f"planted one that it calls copies {right / (right + wrong):.1%} are of one picture's group. "
        f"{speed_of_search()}"
    )


def speed_of_search() -> str:
    """What `make bench` measured of the search for copies and of its rival, in a sentence or two."""
    found = paths.read_json(paths.REFERENCE / "bench.json")["copies"]
    build, beside, run = found["build"], found["side_by_side"], found["run"]
    memory = [each["memory_peak_mb"] - each["memory_before_mb"] for each in build["runs"]]
    peak = max(each["memory_peak_mb"] for each in build["runs"])
    machine = f"{run['threads']} threads, {run['device'].replace('cpu: ', '')}"
    told = (
        f"From pixels to the list it takes {build['median_seconds']:.0f} seconds and {max(memory):.0f} MB, {peak:,.0f} "
        f"MB with Python, torch and the faces (median of {len(build['runs'])} runs, {machine}); "
        f"time grows with the number of faces to the power {found['growth']['exponent']['all']}."
    )
    ours, rival = beside["ours"], beside["imagededup"]
    if isinstance(rival, str):
        return told
    return told + (
        f" Side by side on the same {beside['images']:,} pictures, {beside['planted']:,} of them made as copies: "
        f"{ours['seconds']:.0f} seconds and {ours['planted_missed']:,} missed, imagededup's PHash "
        f"{rival['seconds']:.0f} seconds and {rival['planted_missed']:,} missed, and of the {rival['pairs']:,} pairs "
        f"that it finds {rival['pairs_refused_by_pixels']:,} aren't the same picture by our comparison of pixels."
    )


def speed_lines() -> str:
    """What `make bench` measured of training, in a few lines; '' while the reference has no such measurement."""
    path = paths.REFERENCE / "bench.json"
    found = paths.read_json(path).get("engine") if path.exists() else None
    if not found:
        return ""
    run, runs, turns = found["run"], found["growth"]["runs"], len(found["epoch"]["baseline"]["runs"])
    lines = [
        f"Training without validation, {run['threads']} threads ({run['device'].replace('cpu: ', '')}), each loop in "
        f"turn on the same {found['measured_faces']:,} faces, medians of {turns} turns. The layers are the "
        f"same; ours draws dropout faster (`networks.Dropout`):\n"
    ]
    for network, epoch in found["epoch"].items():
        work = found["networks"][network]
        lines.append(
            f"- {network.replace('_', '-')} network: **{epoch['ours']:,.0f} faces a second, "
            f"{epoch['usual_loop_ratio']:.1f} times the usual loop** (image files, PIL transforms, 2 workers, float32: "
            f"{epoch['usual_loop']:,.0f}) and {epoch['cached_rival_ratio']:.1f} times a loop that keeps the faces in "
            f"memory and computes in our precision, {epoch['runs'][0]['precision']} ({epoch['cached_rival']:,.0f}). "
            f"{work['share_of_product_rate']:.0%} of the machine's rate of matrix products; "
            f"{work['share_outside_forward_backward']:.0%} of the time is outside forward and backward."
        )
    lines.append(
        f"- {runs[-1]['images']:,} faces are an epoch of {runs[-1]['seconds']:.0f} seconds and "
        f"{runs[-1]['memory_peak_mb']:,.0f} MB for the whole process; time grows with the number of faces to the "
        f"power {found['growth']['exponent']['all']}."
    )
    return "\n".join(lines)


def price_lines() -> str:
    """What notebook 06 measured on FER-2013: the price of leakage, a line a regime."""
    found = paths.read_json(paths.REFERENCE / "06_price_of_leakage" / "metrics.json")
    lines = []
    for regime, price in found["price"].items():
        told = {
            part: f"{100 * price[part]['mean']:+.1f} points ({100 * price[part]['ci95'][0]:+.1f} to "
            f"{100 * price[part]['ci95'][1]:+.1f}"
            + (", not decided)" if price[part]["verdict"] == "not decided" else ")")
            for part in ("test_with_copy", "test_without_copy", "test", "test_price")
        }
        known = found["arms"][f"control_{regime}"]["train_accuracy"]
        known, seeds, epochs = sum(known) / len(known), found["run"]["seeds"], found["config"]["epochs"]
        lines.append(
            f"- **What the copies are worth**: the same network with the leaked copies and without, on equally many "
            f"faces of each emotion ({regime}: {epochs} epochs, {seeds} seeds an arm, {known:.0%} right on the "
            f"faces learnt from). On the PrivateTest faces that have a copy: {told['test_with_copy']}; on the others: "
            f"{told['test_without_copy']}; the price of leakage, their difference: **{told['test_price']}**, "
            f"{100 * price['test_price_same_mix']:+.1f} with the others in "
            f"the same mix of emotions. On all of PrivateTest: {told['test']}."
        )
    return "\n".join(lines)


def times_line() -> str:
    """How long the kept run of the main row took, notebook by notebook."""
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
    write()
    print(f"Notebooks and README point at {url}.")
