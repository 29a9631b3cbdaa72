"""A model card beside each file of weights that is given away: made from its metrics, never typed.

What a card should say: Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

from pathlib import Path

from fer_helpers import metrics as scoring
from fer_helpers import paths
from fer_helpers.faces import EMOTIONS

TEXT = """---
license: mit
pipeline_tag: image-classification
tags: [facial-expression-recognition, fer2013, pytorch]
---
# {name}

{weights:,} weights, half precision; input one grey face of 48×48 pixels, output one of seven emotions: {emotions}.

In a clone of [the workbook]({address}), whose README says how to set it up:

```python
from fer_helpers.predict import load_model, predict_emotion

print(predict_emotion(load_model("{file}"), "face.jpg").label)
```

## How good it is

{scores}

Its answer is the mean over {views}. Intervals are over the faces; one training was
run, and another seed would score somewhat differently.

PrivateTest by emotion, with 95 % intervals over its faces:

| emotion | faces | found (recall) | right when said (precision) |
|---|---|---|---|
{classes}

On faces that it learnt from it is right {train:.1%} of the time.

## Data, cleaning and protocol

- {counts} Training faces of {data} ([Goodfellow et al., 2013](https://arxiv.org/abs/1307.0414)), {removed:,} others
  removed from Training: copies of a PublicTest or PrivateTest face, copies of each other, blanks and label conflicts
  (`outputs/reference/02_cleaning/removed.csv`). No other data{pretrained}.
- Choices were made on PublicTest, never on PrivateTest. PublicTest and PrivateTest are as published.
- {seconds:.0f} minutes of training ({device}, {precision}), {epochs} epochs{teachers}; commit {commit}; all settings
  in `metrics.json`.

## Meant for

Learning, teaching, comparing methods on FER-2013, trying it on pictures of your own.

**Not meant for** judging people: hiring, teaching, policing, health, advertising. It names the expression that
FER-2013's annotators would have written under a picture, not what a person feels. In the European Union it is against
the law to infer emotions of people at work or at school, save for medical or safety reasons (Artificial Intelligence
Act, article 5).

## Limits

- Labels disagree with themselves: two copies of one picture carry the same label about {agreement} of the time.
  Disgust has {disgust} PrivateTest faces, so its numbers are rough.
- Pictures from a web search of 2013, often posed, often of actors. Who is in them is not known: nobody can say how
  well it does by age, sex or skin colour.
- Its probabilities are off by {ece:.1f} points on average (ECE); notebook 09 fits a temperature on
  PublicTest against that.
- Faces must fill the picture, as in FER-2013: notebook 10 frames them so, and measures what is lost where a face has
  to be found first (the README tells it).

## Licence

MIT, like the code. FER-2013 was made for a contest from pictures found on the web, and we know of no licence for the
pictures themselves; whether you may sell something that learnt from them is for you to find out.
"""


def write(target: Path, metrics: dict, agreement: float) -> None:
    """Write `target` (Markdown) for the model that these metrics are of; its file lies beside it.

    agreement: how often copies of one picture carry the same label, in [0, 1], as notebook 02 found.
    """
    test, data, run = metrics["test"], metrics["data"], metrics["run"]
    teachers = metrics["config"].get("teachers")
    text = TEXT.format(
        name=metrics["model"].replace("_", " "),
        address=paths.repository(),
        views=_views(metrics["config"].get("shift", 0)),
        file=f"{metrics['model']}.safetensors",
        weights=metrics["weights"],
        emotions=", ".join(EMOTIONS),
        scores=_scores(metrics),
        classes="\n".join(_emotion(name, each) for name, each in test["per_class"].items()),
        train=metrics["train"]["accuracy"],
        counts=f"{data['counts']['train']:,}",
        data=data["title"],
        removed=data["cleaned"]["removed_from_training"],
        pretrained=" but ImageNet's" if metrics["pretrained"] else "",
        seconds=run["seconds"] / 60,
        device=run["device"].replace("cpu: ", ""),
        precision=run["precision"],
        epochs=metrics["epochs_seen"],
        teachers=f", taught by an ensemble of {teachers} larger networks, whose minutes are counted" * bool(teachers),
        commit=run["commit"],
        agreement=f"{agreement:.0%}",
        disgust=test["per_class"]["disgust"]["n"],
        ece=100 * test["ece"],
    )
    with paths.whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _scores(metrics: dict) -> str:
    """A table of the parts that were scored, with intervals."""
    parts = {
        "PublicTest (chosen on it)": "val",
        "PrivateTest": "test",
        "PrivateTest without copies": "test_without_copies",
    }
    lines = ["| faces | accuracy (95 % interval) | macro-F1 | balanced accuracy |", "|---|---|---|---|"]
    for title, part in parts.items():
        if each := metrics[part]:
            low, high = each["accuracy_ci95"]
            told = f"{each['accuracy']:.1%} ({low:.1%} to {high:.1%})"
            lines.append(
                f"| {title}, {each['n']:,} | {told} | {each['macro_f1']:.1%} | {each['balanced_accuracy']:.1%} |"
            )
    return "\n".join(lines)


def _views(shift: int) -> str:
    """What is averaged when the network is asked, see `models.probabilities`."""
    if not shift:
        return "two views, the face and its mirror image"
    return f"ten views: the face, the face moved by {shift} pixels to each corner, and the mirror images of these five"


def _emotion(name: str, each: dict) -> str:
    """One emotion's line: recall has an interval; precision's would need how often the emotion was said."""
    low, high = scoring.accuracy_interval(round(each["recall"] * each["n"]), each["n"])
    return f"| {name} | {each['n']} | {each['recall']:.0%} ({low:.0%} to {high:.0%}) | {each['precision']:.0%} |"
