"""The README's numbers and tables, made from outputs/reference/, and the repository's address everywhere."""

import json
import re
from pathlib import Path

import pandas as pd

from fer_helpers import paths, predict
from fer_helpers.publishing import measured
from fer_helpers.workbook import pipeline

README = paths.ROOT / "README.md"
MEASURES = ("accuracy", "macro_f1", "recall_disgust")


def blocks() -> dict[str, str]:
    """Everything in the README that is made: place -> text."""
    return {
        "surprise": surprise_line(),
        "top": top_table(),
        "results": results_table(),
        "cleaning": cleaning_lines(),
        "price": price_lines(),
        "imbalance": imbalance_lines(),
        "claims": measured.claims_line(),
        "badges": badges(),
        "times": f"{times_line()} {measured.start_line()}".strip(),
        "page": measured.page_line(),
        "speed": measured.speed_lines(),
        "accuracy": measured.accuracy_lines(),
        "cluster": measured.cluster_line(),
        "snippet": snippet(),
        "photos": measured.photos_lines(),
    }


def write() -> None:
    """Put the reference's numbers into README.md, between `<!-- name -->` and `<!-- /name -->`."""
    text = README.read_text(encoding="utf-8")
    for name, block in blocks().items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place '<!-- {name} -->' … '<!-- /{name} -->' for the numbers.")
        text = pattern.sub(lambda found, block=block: f"{found[1]}{block}\n{found[2]}", text)
    with paths.whole(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


def surprise_line() -> str:
    """What people should know of FER-2013 before anything else."""
    found = paths.read_json(paths.REFERENCE / "02_cleaning" / "metrics.json")
    copied, faces = found["with_copy_in_training"]["test"], found["data"]["counts"]["test"]
    price = next(iter(paths.read_json(paths.REFERENCE / "06_price_of_leakage" / "metrics.json")["price"].values()))
    return (
        f"**{copied / faces:.0%} of the test faces also stand in Training**, and we know of no published accuracy "
        f"without them. To one and the same network they were worth {points(price['test'], ' points')} on PrivateTest."
    )


def top_table(most: int = 3) -> str:
    """The best networks by val, in few columns; the whole table follows further down."""
    table = pd.read_csv(paths.REFERENCE / "09_results" / "leaderboard.csv")
    lines = [
        "| chosen on val, no copies in training | PrivateTest (95 % interval) | weights | minutes |",
        "|---|---|---|---|",
    ]
    for row in table[table.val_accuracy.notna()].head(most).itertuples():
        lines.append(f"| {row.model.replace('_', ' ')} | {_interval(row)} | {row.weights:,} | {row.seconds / 60:.0f} |")
    return "\n".join(lines)


def _interval(row) -> str:
    return f"**{row.test_accuracy:.1%}** ({row.test_low:.1%} to {row.test_high:.1%})"


def snippet() -> str:
    """How the given-away network is asked, with its present path."""
    path = predict.given_away().relative_to(paths.ROOT).as_posix()
    return f"""```python
from fer_helpers.predict import load_model, predict_emotion

model = load_model("{path}")
answer = predict_emotion(model, "face.jpg")  # a path, a PIL image or an array; any size, grey or colour
print(answer.label, f"{{answer.probabilities[answer.label]:.0%}}")
```"""


def results_table() -> str:
    """The leaderboard of the reference as Markdown, order of val."""
    table = pd.read_csv(paths.REFERENCE / "09_results" / "leaderboard.csv")
    lines = [
        "| model | PrivateTest (95 % interval) | both parts | without copies | macro-F1 | disgust found | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        both = "–" if pd.isna(row.test_7178_accuracy) else f"{row.test_7178_accuracy:.1%}"  # it learnt from val
        lines.append(
            f"| {row.model.replace('_', ' ')}, {row.epochs} epoch{'s' * (row.epochs != 1)} | {_interval(row)} | {both} "
            f"| {row.test_without_copies_accuracy:.1%} | {row.test_macro_f1:.1%} | {row.test_recall_disgust:.0%} "
            f"| {row.seconds / 60:.0f} |"
        )
    openings = len(pd.read_csv(paths.REFERENCE / "test_openings.csv"))
    pairs = paths.read_json(paths.REFERENCE / "09_results" / "metrics.json")["pairs"]
    unsure = [f"{each['a']} against {each['b']}" for each in pairs if each["verdict"] == "not decided"]
    began = "with" if table.pretrained.any() else "without"
    made = f"Budget `{table.budget.iloc[0]}`, {table.device.iloc[0].replace('cpu: ', '')}, {began} ImageNet's weights"
    test = f"finished models, some gone since, opened PrivateTest {openings} times (a few more were not logged)"
    told = f"{made}; chosen on PublicTest; {test}. Not decided on PrivateTest: {'; '.join(unsure) or 'no neighbours'}."
    return "\n".join([*lines, "", f"{told}{record_lines()}"])


def record_lines() -> str:
    """What the table of results can't say of notebook 08's rows; '' while they aren't kept."""
    folder = paths.REFERENCE / "08_record"
    if not (folder / "metrics.json").exists():
        return ""
    shift = paths.read_json(folder / "distilled" / "metrics.json")["config"]["shift"]
    gain = paths.read_json(folder / "metrics.json")["with_val_against_same"]
    views = (
        f" Notebook 08's networks are asked about ten views of a face (moved by {shift} pixels, and mirrored), the "
        f"others about two."
    )
    return views * bool(shift) + (
        f" *Record with val* is to be compared with its own recipe and seed without val alone, which isn't record "
        f"single's: {points({**gain, 'mean': gain['difference']}, ' points')}. The ensemble's weights "
        f"aren't kept here: `make 08` trains them."
    )


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
    loose, middle, tight = (found["test_with_copy_by_threshold"][level] for level in ("0.80", "0.85", "0.90"))
    return (
        f"- **{leaked['test']:,} of the {counts['test']:,} PrivateTest faces "
        f"({leaked['test'] / counts['test']:.0%}) also stand in Training**, {twins:,} of them pixel for pixel, "
        f"the others saved again, cut, shifted, marked or mirrored; of PublicTest {leaked['val']:,} "
        f"({leaked['val'] / counts['val']:.0%}). Of *{most[0]}* it is {by_emotion[most[0]]:.0f}%, of *{most[1]}* "
        f"{by_emotion[most[1]]:.0f}%. Where the line is drawn matters little: {loose:,}, {middle:,} or {tight:,} "
        f"if copies begin at a correlation of 0.80, 0.85 (ours) or 0.90, copies of copies not counted.\n"
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
        f"{measured.speed_of_search()}"
    )


def points(found: dict, unit: str = "") -> str:
    """A difference that `scoring.crossed` found, with its interval, in points."""
    low, high = found["ci95"]
    undecided = ", not decided" * (found["verdict"] == "not decided")
    return f"{100 * found['mean']:+.1f}{unit} ({100 * low:+.1f} to {100 * high:+.1f}{undecided})"


def price_lines() -> str:
    """What notebook 06 measured on FER-2013: the price of leakage, a line a regime."""
    found = paths.read_json(paths.REFERENCE / "06_price_of_leakage" / "metrics.json")
    lines = []
    for regime, price in found["price"].items():
        told = {
            part: points(price[part], " points")
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


def imbalance_lines() -> str:
    """What notebook 07 measured on FER-2013: every remedy against nothing, and the default that follows."""
    found = paths.read_json(paths.REFERENCE / "07_imbalance" / "metrics.json")
    faces, decision, level = found["faces"], found["decision"], found["arms"]["nothing"]["val"]
    lines = [
        "| remedy | accuracy | macro-F1 | recall of disgust |",
        "|---|---|---|---|",
        "| nothing | " + " | ".join(f"{level[key]['mean']:.1%}" for key in MEASURES) + " |",
    ]
    for remedy, gain in found["gain"].items():
        lines.append(f"| {remedy.replace('_', ' ')} | " + " | ".join(points(gain[key]) for key in MEASURES) + " |")
    default = decision["default"].replace("_", " ")
    return "\n".join(lines) + (
        f"\n\nThe baseline, {found['config']['epochs']} epochs, {found['run']['seeds']} seeds an arm, judged on "
        f"{faces['val']:,} faces of val, {faces['val_disgust']} of disgust ({faces['train_disgust']} to learn from); "
        f"remedies as points against nothing, each interval for itself. The rule fixed beforehand takes **{default}**."
    )


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
        lines.append(f"| [{path.stem}](notebooks/{path.name}) | {question(path)} | {badge(path)} |")
    return "\n".join(lines)


def question(notebook: Path) -> str:
    """What a notebook asks: its title."""
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    return re.search(r"^# \d\d · (.+)$", first, re.MULTILINE)[1]


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
