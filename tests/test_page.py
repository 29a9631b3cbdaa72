"""The page of results: what it says, what it loads, and how it looks in a browser."""

import base64
import shutil

import nbformat
import numpy as np
import pytest
from matplotlib.transforms import Bbox
from nbformat import v4
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fer_helpers import colours, paths, plots
from fer_helpers.faces import EMOTIONS
from fer_helpers.publishing import page, readme
from fer_helpers.workbook import cli
from tests import pages

NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
KEPT = [path.name for path in sorted(paths.REFERENCE.glob("[0-9][0-9]_*")) if (path / "metrics.json").exists()]
BANNER = "DEMONSTRATION on synthetic faces"
COLAB = "https://colab.research.google.com"


def executed(folder, figure, alt):
    """The executed copy of a notebook that shows this figure."""
    shown = {"image/png": base64.b64encode((folder / figure).read_bytes()).decode(), "text/plain": "<Figure>"}
    about = {"image/png": {"alt": alt}} if alt else {}
    code = v4.new_code_cell("fig", outputs=[v4.new_output("display_data", shown, metadata=about)])
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB})"
    cells = [v4.new_markdown_cell(f"{badge}\n\n# {folder.name[:2]} · What?\n"), code]
    nbformat.write(v4.new_notebook(cells=cells), folder / f"{folder.name}.ipynb")


@pytest.fixture
def outputs(request, tmp_path, monkeypatch):
    """A folder of results with the reference's metrics, as of synthetic faces where a test says so; no reference."""
    out = tmp_path / "outputs"
    for stage in KEPT:
        metrics = paths.read_json(paths.REFERENCE / stage / "metrics.json")
        metrics["data"]["demonstration"] = getattr(request, "param", False)
        metrics["headline"]["reading"] = ["Seven <bars>.", "No more."]
        paths.write_json(out / stage / "metrics.json", metrics)
        words, figure = PngInfo(), metrics["headline"]["figure"]
        words.add_text("Title", f"Finding of {stage} & 1 < 2")
        words.add_text("Description", "7 faces")
        Image.new("L", (800, 420), 128).save(out / stage / figure, pnginfo=words)
        executed(out / stage, figure, "" if stage[:2] == "01" else "Finding of a figure")
    small = "03_baseline_cnn/small_cnn/metrics.json"
    paths.write_json(out / small, paths.read_json(paths.REFERENCE / small))
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    return out


def test_a_figure_carries_its_title_and_the_notebook_its_alternative_text(tmp_path):
    fig = plots.bars({"a": np.arange(7)}, ylabel="faces", title="Half − “all” of them", caption="FER-2013 · 7 faces")
    paths.save_figure(fig, tmp_path / "a.png")
    picture = page.picture(tmp_path / "a.png")
    assert (picture["title"], picture["alt"]) == ("Half − “all” of them", "Half − “all” of them. FER-2013 · 7 faces")
    from IPython.core.formatters import DisplayFormatter

    _, metadata = DisplayFormatter().format(fig)
    assert metadata == {"image/png": {"alt": picture["alt"]}}


def test_ticks_of_an_axis_in_decades_are_plain_numbers():
    point = {"name": "", "group": "a", "shape": "accuracy", "hollow": False}
    points = [{**point, "x": 1.6, "y": 44}, {**point, "x": 9.7, "y": 66}]
    figure = plots.scatter(points, xlabel="minutes", ylabel="%", log=True, title="", caption="")
    (axes,) = figure.axes
    ticks = [tick.get_text() for minor in (False, True) for tick in axes.get_xticklabels(minor=minor)]
    assert {"2", "5", "10"} < set(ticks) and not any("10^" in tick for tick in ticks)


def test_names_in_a_figure_lie_over_no_other_name_and_no_point():
    point, places = {"group": "a", "shape": "s", "hollow": False}, ((0.9, 45.6), (6.2, 55.2), (10.2, 55.7), (10, 41.5))
    names = ("linear probe", "partial fine-tuning", "full fine-tuning", "from scratch")
    points = [{**point, "name": name, "x": x, "y": y} for name, (x, y) in zip(names, places, strict=True)]
    figure = plots.scatter(points, xlabel="minutes", ylabel="%", log=True, title="", caption="")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    boxes += [Bbox([mark - 5, mark + 5]) for mark in axes.transData.transform(places)]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_an_emotion_a_split_and_a_model_keep_a_colour_of_their_own():
    train, val, test = colours.of_series(["plain, train", "PublicTest", "test"])
    ensemble, small, taught = colours.of_series(["08 ensemble", "small_cnn", "Small CNN distilled"])
    kinds = [*map(tuple, colours.COLOURS.values()), train, val, test, ensemble, small, taught]
    assert len(set(kinds)) == len(kinds) == len(EMOTIONS) + 6
    assert colours.of_series(["train (augmented)", "a", "b", "Training"]) == [train, *colours.PALETTE[:2], train]
    no_splits = ["trained with them", "both test parts", "published, chosen on val or tested once"]
    assert colours.of_series(no_splits) == colours.PALETTE[:3]


def test_every_notebook_has_its_screen_with_finding_number_reading_and_link(outputs, capsys):
    assert cli.do("report", {"OUT": str(outputs)}) is None and "the page: " in capsys.readouterr().out
    html = pages.Html(outputs / "index.html")
    html.check()
    assert html.sections == [path.stem for path in NOTEBOOKS] and len(html.images) == len(KEPT)
    assert all(readme.question(path) in html.text for path in NOTEBOOKS)
    for stage in KEPT:
        headline = paths.read_json(outputs / stage / "metrics.json")["headline"]
        assert all(headline[word] in html.text for word in ("value", "interval", "of"))
        assert f"Finding of {stage} & 1 < 2" in html.text
        assert f"Finding of {stage} & 1 < 2. 7 faces" in [image["alt"] for image in html.images]
        assert f"notebooks/{stage}.html" in html.links and (outputs / "notebooks" / f"{stage}.html").exists()
    assert html.text.count("Seven <bars>.") == len(KEPT)
    assert not [link for link in html.links if not link.startswith(("#", "notebooks/", "contact_sheet.html"))]
    for stage in {path.stem for path in NOTEBOOKS} - set(KEPT):
        assert f"Not run yet: make {stage[:2]}" in html.text
    test = paths.read_json(outputs / "03_baseline_cnn" / "small_cnn" / "metrics.json")["test"]
    first = html.text.split("All figures side by side")[0]
    assert f"{test['accuracy']:.1%} of the" in first and "small cnn, the best on val of 2 networks" in first


def test_the_best_is_one_of_this_run_and_a_damaged_file_spoils_no_page(outputs):
    better = paths.read_json(outputs / "03_baseline_cnn/metrics.json")
    better["val"]["accuracy"], better["model"] = 1, "kept_one"
    paths.write_json(paths.REFERENCE / "08_record/metrics.json", better)  # perhaps of other data
    shutil.rmtree(outputs / "08_record", ignore_errors=True)
    page.make(outputs)
    first = pages.Html(outputs / "index.html").text.split("All figures side by side")[0]
    assert "small cnn, the best on val of 2 networks" in first
    (outputs / "04_transfer_learning/metrics.json").write_text("[")
    page.make(outputs)
    assert "isn't as this version writes it" in pages.Html(outputs / "index.html").text


def test_the_kept_headlines_are_the_numbers_of_their_files():
    kept = {stage[:2]: paths.read_json(paths.REFERENCE / stage / "metrics.json") for stage in KEPT}
    headline = {stage: metrics["headline"] for stage, metrics in kept.items()}
    test = paths.read_json(paths.REFERENCE / "03_baseline_cnn" / "small_cnn" / "metrics.json")["test"]
    low, high = test["accuracy_ci95"]
    assert headline["03"]["value"] == f"{test['accuracy']:.1%}"
    assert headline["03"]["interval"] == f"95 % interval {low:.1%} to {high:.1%}"
    leaked, faces = kept["02"]["with_duplicate_in_training"]["test"], kept["02"]["data"]["counts"]["test"]
    assert headline["02"]["value"] == f"{leaked / faces:.1%}"
    price = kept["06"]["price"]["plain"]["test_price"]
    assert headline["06"]["value"] == f"{100 * price['value']:+.1f} points"
    assert headline["06"]["interval"] == "95 % interval {:.1f} to {:.1f}".format(*(100 * x for x in price["ci95"]))
    networks = {name: of for name, of in kept["05"]["claims"].items() if "finer" not in name and name != "second seed"}
    holding = [name for name, of in networks.items() if of["happy"]["verdict"] == "holds"]
    assert headline["05"]["value"] == f"{len(holding)} of {len(networks)}" and "2400" not in str([*networks])
    pair = kept["09"]["pairs"][0]
    assert headline["09"]["value"] == f"{100 * pair['value']:+.1f} points" and pair["a"] in headline["09"]["of"]


@pytest.mark.parametrize("outputs", [True, False], indirect=True)
def test_a_demonstration_is_unmistakable_and_nothing_else_is_called_one(outputs):
    synthetic = paths.read_json(outputs / "01_exploration" / "metrics.json")["data"]["demonstration"]
    page.make(outputs)
    files = [outputs / "index.html", outputs / "contact_sheet.html", *sorted((outputs / "notebooks").glob("*.html"))]
    assert len(files) == 2 + len(KEPT)
    for path in files:
        html = pages.Html(path)
        html.check()
        assert ('<p class="synthetic"' in html.source) == (BANNER in html.text) == synthetic, path.name
    assert pages.Html(outputs / "index.html").text.count("synthetic faces") >= (2 * len(KEPT) if synthetic else 0)
    alternatives = [image["alt"] for path in files[2:4] for image in pages.Html(path).images]
    assert alternatives == ["Figure: 01 · What?", "Finding of a figure"], "an older copy knows its heading alone"


def test_what_was_not_run_here_is_shown_as_kept(outputs):
    paths.REFERENCE.mkdir()
    (outputs / "06_price_of_leakage").rename(paths.REFERENCE / "06_price_of_leakage")
    page.make(outputs)
    html = pages.Html(outputs / "index.html")
    assert html.text.count("kept run on FER-2013") == 2 and "Not run in this folder" in html.text
    assert "notebooks/06_price_of_leakage.html" not in html.links


def test_a_notebook_may_have_several_headlines(outputs):
    metrics = paths.read_json(outputs / "07_imbalance" / "metrics.json")
    second = metrics["headline"] | {"value": "+55.4 points", "of": "of recall of disgust"}
    paths.write_json(outputs / "07_imbalance" / "metrics.json", metrics | {"headline": [metrics["headline"], second]})
    page.make(outputs)
    html = pages.Html(outputs / "index.html")
    assert metrics["headline"]["of"] in html.text and "+55.4 points of recall of disgust" in html.text
    assert len(html.images) == len(KEPT) + 1


def test_a_page_that_is_up_to_date_is_left_alone_and_one_of_a_notebook_that_is_gone_goes(outputs, capsys):
    page.make(outputs)
    before = {path: path.stat().st_mtime_ns for path in outputs.rglob("*.html")}
    page.make(outputs)
    assert before == {path: path.stat().st_mtime_ns for path in outputs.rglob("*.html")}
    copy = outputs / "02_cleaning" / "02_cleaning.ipynb"
    copy.write_text(copy.read_text().replace("What?", "What else?"))
    (outputs / "01_exploration" / "01_exploration.ipynb").unlink()
    page.make(outputs)
    assert "What else?" in (outputs / "notebooks" / "02_cleaning.html").read_text()
    assert not (outputs / "notebooks" / "01_exploration.html").exists()
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"{outputs / 'index.html'} (" in last and f"{len(KEPT) - 1} executed notebooks" in last


def test_what_is_wrong_with_one_file_spoils_neither_page_nor_run(outputs, capsys):
    page.make(outputs)
    before = (outputs / "index.html").read_text()
    paths.write_json(outputs / "05_grad_cam" / "metrics.json", {"data": {}})
    page.make(outputs)
    html = pages.Html(outputs / "index.html")
    assert "isn't as this version writes it (KeyError('headline')): make 05" in html.text
    assert paths.read_json(outputs / "06_price_of_leakage/metrics.json")["headline"]["value"] in html.text
    (outputs / "02_cleaning" / "02_cleaning.ipynb").write_text("no notebook")
    page.after_run(outputs)
    printed = capsys.readouterr().out
    assert "The page could not be made (NotJSONError" in printed and "The results are whole" in printed
    assert (outputs / "index.html").read_text() == html.source != before and not list(outputs.glob(".*"))


@pytest.mark.browser
@pytest.mark.parametrize("outputs", [True, False], indirect=True)
@pytest.mark.skipif(pages.PROGRAM is None, reason="needs chromium")
def test_in_a_browser_every_image_loads_without_an_error_on_a_desk_and_on_a_phone(outputs):
    page.make(outputs)
    with pages.chromium() as browser:
        for name in ("index.html", "contact_sheet.html", "notebooks/02_cleaning.html"):
            address = (outputs / name).as_uri()
            for wide, high in ((1280, 900), (360, 740)):
                seen = browser.visit(address, wide, high)
                assert seen["errors"] == [] and seen["wide"] <= wide
                assert seen["images"] and all(image["wide"] > 0 for image in seen["images"])
                assert all(each.startswith((outputs.as_uri(), "data:")) for each in seen["asked"])
                assert all(tall <= 901 for tall in seen["sections"]) or wide < 600, "a screen each"
        broken = outputs / "broken.html"
        text = (outputs / "contact_sheet.html").read_text().replace("leakage_by_emotion.png", "none.png")
        broken.write_text(text + "<script>console.error('ouch'); oh()</script>")
        seen = browser.visit(broken.as_uri())
        assert [image["wide"] for image in seen["images"]].count(0) == 1 and len(seen["errors"]) == 3
        assert "ERR_FILE_NOT_FOUND" in (errors := " ".join(seen["errors"])) and "ouch" in errors
