"""The README keeps its promises: its numbers are the files', its snippet runs, its names exist."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_helpers import paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.publishing import readme
from fer_helpers.workbook.commands import COMMANDS, VARIABLES

TEXT = (paths.ROOT / "README.md").read_text()
ALL = "".join(path.read_text(encoding="utf-8") for path in readme.READMES)


def block(name):
    """What stands at a place of a README; wherever it stands twice both must be alike."""
    (found,) = {*re.findall(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", ALL, re.DOTALL)}
    return found


@pytest.mark.parametrize("name", readme.TEMPLATE.blocks)
def test_numbers_are_those_of_the_reference(name):
    assert block(name) == readme.block(name), "make reference, or make address, writes these lines"


def test_what_was_not_measured_yet_is_not_mentioned(tmp_path, monkeypatch):
    assert "was trained on val as well" in block("results") and "ten views" in block("results")
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    for name in ("start", "page", "speed", "accuracy", "cluster", "photos"):
        assert block(name) and readme.block(name) == "", name
    paths.write_json(tmp_path / "bench.json", {"duplicates": {}})
    assert readme.block("speed") == ""


def test_a_trial_of_a_few_passes_has_no_number_in_the_table_of_answers(monkeypatch):
    kept, stage = readme.kept, "04_transfer_learning"
    found = kept(stage) | {"headline": {"value": "+9.9 points", "of": "of something"}}
    for passes, cell in ((3.1, "**+9.9 points** of something"), (0.6, "–")):
        runs = {"full": {"passes": passes}, "probe": {"passes": 9}}
        monkeypatch.setattr(readme, "kept", lambda name, r=runs: found | {"runs": r} if name == stage else kept(name))
        line = next(line for line in readme.block("learn").splitlines() if f"notebooks/{stage}.ipynb)" in line)
        assert f"| {cell} |" in line


def test_the_snippet_runs(tmp_path, monkeypatch, capsys):
    snippet = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
    model = re.search(r'load_model\("(.+?)"\)', snippet)[1]
    (tmp_path / model).parent.mkdir(parents=True)
    shutil.copy(paths.ROOT / model, tmp_path / model)
    face = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    Image.fromarray(face).save(tmp_path / "face.jpg")
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
    label, chance = capsys.readouterr().out.split()
    assert label in EMOTIONS and re.fullmatch(r"\d+%", chance)


@pytest.mark.parametrize("file", [*readme.READMES, paths.REFERENCE / "02_cleaning" / "README.md"], ids=str)
def test_commands_variables_and_files_that_it_names_exist(file):
    text = file.read_text(encoding="utf-8")
    code = "".join(re.findall(r"`[^`]+`|```.*?```", text, re.DOTALL))
    for command in re.findall(r"\bmake ([a-z][a-z-]+|\d\d)\b", code):
        assert command in COMMANDS or command.isdigit(), command
    for variable in re.findall(r"\bmake [^`\n]*? ([A-Z_\d]+)=", code):
        assert variable in {*VARIABLES, "PYTHON"}, variable
    for path, heading in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        target = file.parent / path if path else file
        assert target.exists(), path
        if heading:
            titles = re.findall(r"(?m)^#+ (.+)$", target.read_text(encoding="utf-8"))
            assert heading in {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}, heading


def test_the_readme_can_be_read_in_five_minutes_and_every_folders_readme_is_linked():
    prose = re.sub(r"```.*?```|^\|.*?$|<!--.*?-->|\]\([^)]*\)", " ", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert len(prose.split()) < 1300
    for path in readme.READMES[1:]:
        linked = path.relative_to(paths.ROOT).as_posix()
        assert f"({linked}" in TEXT or f"({path.parent.name}/README.md)" in ALL, linked


def test_a_card_says_how_many_views_its_network_takes():
    cards = {}
    for card in paths.REFERENCE.rglob("MODEL_CARD.md"):
        views = paths.read_json(card.with_name("metrics.json"))["views"]
        cards[views] = text = card.read_text(encoding="utf-8")
        assert ("ten views" in text, "two views" in text) == (views == 10, views == 2), card
    assert len(cards) == 2


def test_the_address_is_carried_everywhere_and_a_missing_place_is_named(tmp_path, monkeypatch, capsys):
    copies = [Path(shutil.copy(path, tmp_path / f"{k}.md")) for k, path in enumerate(readme.READMES)]
    notebook, citation = (shutil.copy(path, tmp_path) for path in (readme.notebooks()[0], paths.ROOT / "CITATION.cff"))
    for name, value in {"READMES": copies, "README": copies[0], "notebooks": lambda: [Path(notebook)]}.items():
        monkeypatch.setattr(readme, name, value)
    monkeypatch.setattr(paths, "repository", lambda: "https://github.com/me/mine")
    readme.address()
    for path in (copies[0], Path(notebook)):
        text = path.read_text(encoding="utf-8")
        assert "colab.research.google.com/github/me/mine/blob" in text and "github.com/me/mine" in text
        assert "fer-workbook/fer-workbook" not in text
    assert 'repository-code: "https://github.com/me/mine"' in Path(citation).read_text()
    copies[0].write_text("no place here", encoding="utf-8")
    with pytest.raises(ValueError, match=r"No README has a place .* for .*surprise"):
        readme.write()


def test_the_address_stands_in_one_place():
    for url in re.findall(r"github\.com/([\w.-]+/fer-workbook)", TEXT):
        assert f"https://github.com/{url}" == paths.repository()


def test_the_reference_is_of_fer2013_and_says_how_it_was_made():
    every = [paths.read_json(path) for path in sorted(paths.REFERENCE.glob("0[3-8]_*/**/metrics.json"))]
    finished = [metrics for metrics in every if {"run", "data"} <= {*metrics}]
    assert len(finished) > 10
    for metrics in finished:
        assert metrics["data"]["kind"] == "fer2013" and not metrics["data"]["demonstration"]
        assert metrics["run"]["commit"] != "unknown"
    assert (paths.REFERENCE / "02_cleaning" / "removed.csv").exists()
