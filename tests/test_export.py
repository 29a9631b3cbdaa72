"""Exported models: the file answers as PyTorch does, the README's example needs no torch, the page needs no server."""

import json
import re
import shutil
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_helpers import images, models, paths, predict
from fer_helpers.data import sources, synthetic
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import album
from fer_helpers.publishing import browser, export
from fer_helpers.workbook import cli
from tests import pages, webcam

onnx = pytest.importorskip("onnx")
WEIGHTS = sorted(path for name in export.PUBLISHED for path in paths.REFERENCE.rglob(f"{name}.safetensors"))
FACES = np.random.default_rng(1).integers(0, 256, (20, 48, 48), dtype=np.uint8)


def notes(path):
    """A file's metadata."""
    return {each.key: each.value for each in onnx.load(path).metadata_props}


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda path: path.stem)
def test_what_is_published_lies_beside_its_weights_and_answers_alike(weights):
    file, model = weights.with_suffix(".onnx"), models.load(weights)
    for faces in (FACES[:1], FACES):
        assert np.abs(export.probabilities(file, faces) - predict.probabilities(model, faces)).max() < 1e-4
    assert tuple(json.loads(notes(file)["emotions"])) == EMOTIONS and notes(file)["views"] == str(model.views)
    assert json.loads(notes(file)["card"]) == model.card
    assert notes(file)["model_card"] == weights.with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    assert not re.search(rb"site-packages|fer_helpers/", file.read_bytes()), "no folder of the machine that made it"


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda path: path.stem)
def test_a_thousand_faces_get_the_labels_that_pytorch_gives_them(weights, tmp_path):
    faces, model = synthetic.draw(1000).images.numpy()[:1000], models.load(weights)
    file = models.export(model, tmp_path / "model.onnx", views=2)
    exported, own = export.probabilities(file, faces), predict.probabilities(model, faces, 2)
    assert exported.dtype == np.float32 and len(exported) == 1000 and np.abs(exported - own).max() < 1e-4
    assert (exported.argmax(1) == own.argmax(1)).all()


def test_an_ensemble_is_one_file_and_int8_is_a_smaller_one(tmp_path):
    model = models.build("ensemble", count=2, filters=(8, 32, 32)).eval()
    file = export.export(model, tmp_path / "both.onnx", views=1)
    own = predict.probabilities(model, FACES, 1)
    assert np.abs(export.probabilities(file, FACES) - own).max() < 1e-4
    small = export.quantise(file, tmp_path / "small.onnx", FACES)
    assert np.abs(export.probabilities(small, FACES) - own).max() < 1e-3
    assert notes(small).items() >= notes(file).items() and small.stat().st_size < 0.7 * file.stat().st_size


@pytest.mark.slow
def test_int8_is_written_only_if_it_loses_next_to_nothing_on_photographs(tmp_path, monkeypatch):
    options = {"MODEL": str(predict.given_away()), "INT8": "1"}
    with pytest.raises(UserError, match="int8 needs FER-2013 for its scales"):
        export.run("export", options | {"DATA": "synthetic"}, tmp_path / "out")
    people = synthetic.draw(140)
    photographs = replace(people, source=people.source | {"kind": "fer2013"})
    monkeypatch.setattr(sources, "load", lambda data: photographs)
    for share, files in ((-1.0, 1), (2.0, 2)):  # at least so much is too much
        monkeypatch.setattr(export, "MOST_LOST", share)
        with pytest.raises(UserError, match="points on val") if share < 0 else nullcontext():
            export.run("export", options, tmp_path / f"out{share}")
        assert len(list((tmp_path / f"out{share}").glob("*.onnx"))) == files
    (tmp_path / "npm").mkdir()
    for name in browser.FILES:
        (tmp_path / "npm" / name).touch()
    monkeypatch.setattr(browser, "runtime", lambda: tmp_path / "npm")
    monkeypatch.setattr(export, "MOST_LOST", -1.0)
    with pytest.raises(UserError, match="points on val"):
        export.run("export", options | {"FORMAT": "web"}, tmp_path / "page")
    (page,) = (tmp_path / "page").rglob("index.html")
    assert sorted(each.name for each in page.parent.iterdir()) == sorted(["index.html", "model.onnx", *browser.FILES])


def test_what_cannot_be_exported_is_a_sentence_and_leaves_no_file(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(predict.given_away().read_bytes()[:100_000])
    for name, form, sentence in (
        ("none", "onnx", "There is no model file"),
        ("cut", "onnx", "not a whole safetensors file"),
        ("none", "tflite", "FORMAT=tflite isn't known: export takes onnx or web"),
    ):
        with pytest.raises((UserError, ValueError, OSError), match=sentence):
            export.run("export", {"MODEL": str(tmp_path / f"{name}.safetensors"), "FORMAT": form}, tmp_path / "out")
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.slow
def test_two_models_of_one_name_are_two_files(tmp_path):
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.save(models.build("baseline", filters=(4, 4, 4), hidden=8), tmp_path / "mine.safetensors")
        export.run("export", {"MODEL": str(tmp_path / "mine.safetensors")}, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mine-2.onnx", "mine.onnx"]


def test_a_demo_has_one_format():
    for words, sentence in ((["FORMAT=onnx"], "demo takes web"), (["FORMAT=web", "PARAMS=fps=5"], "takes no PARAMS")):
        with pytest.raises(UserError, match=sentence):
            cli.do(*cli.parse(["demo", *words]))


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match="needs onnxscript, of the extra `export`: pip install onnx onnxscript onnxru"):
        export.export(models.build("baseline"), tmp_path / "model.onnx")
    assert all(f'  "{name}>=' in (paths.ROOT / "pyproject.toml").read_text() for name in export.PACKAGES)


@pytest.mark.parametrize("shape", [(48, 48), (200, 150, 3)])
def test_the_readmes_example_needs_neither_torch_nor_this_package(shape, tmp_path, monkeypatch, capsys):
    text = (paths.REFERENCE / "README.md").read_text(encoding="utf-8")
    example = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "onnxruntime" in block)
    file = re.search(r'InferenceSession\("(.+?)"\)', example)[1]
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "picture.npy", picture)
    (tmp_path / file).parent.mkdir(parents=True)
    shutil.copy(paths.ROOT / file, tmp_path / file)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        for name in ("torch", "fer_helpers", "PIL"):
            patch.setitem(sys.modules, name, None)
        exec(example, names := {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert tuple(emotion for emotion, _ in lines) == EMOTIONS and all(chance.endswith("%") for _, chance in lines)
    if len(shape) == 2:  # nothing is made smaller, so the answer is the model's own
        own = export.probabilities(paths.ROOT / file, picture[None])
        assert np.allclose(names["probabilities"], own, atol=1e-6)


@pytest.mark.parametrize(("npm", "sentence"), [(None, "install Node.js"), ("false", "couldn't fetch")])
def test_without_npm_or_a_network_a_sentence_says_what_is_missing(npm, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    program = shutil.which(npm) if npm else None
    monkeypatch.setattr(shutil, "which", lambda name: program)
    with pytest.raises(UserError, match=sentence):
        browser.runtime()
    assert not list(tmp_path.rglob("*.wasm"))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page's address and its model; left out where there is no Chromium, and where npm can't fetch the runtime."""
    if pages.PROGRAM is None:
        pytest.skip("needs Chromium")
    try:
        browser.runtime()
    except UserError as error:
        pytest.skip(str(error))
    model = tmp_path_factory.mktemp("page") / "model.onnx"
    shutil.copy(predict.given_away().with_suffix(".onnx"), model)
    server = browser.serve(browser.make(model, "small_cnn"), block=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", model
    server.shutdown()
    server.server_close()


def until(page, condition):
    """The value of a JavaScript expression, once it is true."""
    ask = f"const ask = () => {{ const value = {condition}; value ? done(value) : setTimeout(ask, 50); }}; ask();"
    waits = f"new Promise(done => {{ {ask} }})"
    answer = page.ask("Runtime.evaluate", {"expression": waits, "awaitPromise": True, "returnByValue": True})
    return answer["result"]["value"]


def test_the_page_answers_a_camera_and_a_picture_as_the_file_does_and_asks_nobody(served, tmp_path):
    address, model = served
    film = webcam.film(tmp_path)
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    face = images.read(album.samples()["astronaut.png"]).image.crop((170, 50, 290, 190))
    face.save(tmp_path / "face.png")
    (tmp_path / "pdf.jpg").write_bytes(b"%PDF-1.7")
    with pages.chromium(*fake, f"--use-file-for-fake-video-capture={film}") as page:
        page.visit(address)
        until(page, "!document.querySelector('#file').disabled")
        document = page.ask("DOM.getDocument")["root"]["nodeId"]
        node = page.ask("DOM.querySelector", {"nodeId": document, "selector": "#file"})["nodeId"]
        page.ask("DOM.setFileInputFiles", {"nodeId": node, "files": [str(tmp_path / "pdf.jpg")]})
        until(page, "document.querySelector('#answer').innerText.includes('be read as a picture')")
        page.ask("DOM.setFileInputFiles", {"nodeId": node, "files": [str(tmp_path / "face.png")]})
        picture = until(page, "window.answered")
        until(page, "(document.querySelector('#start').click(), true)")
        frame = until(page, f"window.answered.face != '{','.join(map(str, picture['face']))}' && window.answered")
        until(page, f"window.answered.face != '{','.join(map(str, frame['face']))}'")
        shutil.copy(tmp_path / "face.png", tmp_path / "again.png")
        page.ask("DOM.setFileInputFiles", {"nodeId": node, "files": [str(tmp_path / "again.png")]})
        until(page, f"window.answered.face == '{','.join(map(str, picture['face']))}'")  # no frame takes its place
        until(page, "document.querySelector('#frame').hidden && !document.querySelector('#start').disabled")
        assert not list(page.errors())
        assert all(url.startswith((address, "data:", "blob:")) for url in page.addresses())
    assert np.abs(np.array(picture["face"]).reshape(48, 48) - images.grey_square(face).astype(int)).mean() < 6
    for each in (picture, frame):
        asked = np.array(each["face"], dtype=np.uint8).reshape(1, 48, 48)
        assert np.abs(export.probabilities(model, asked)[0] - each["chances"]).max() < 1e-3
    assert EMOTIONS[int(np.argmax(picture["chances"]))] == "happy"
