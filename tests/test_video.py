"""Films and the web page: what needs the extra `demo` and Playwright is left out where they aren't there.

After `make demo`: .venv/demo/bin/python -m pip install playwright, .venv/demo/bin/python -m pytest tests/test_video.py
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_helpers import images, models, paths
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import album, video, webapp
from fer_helpers.photos.detection import Box
from tests import pages, webcam


def shot(path, pictures, rate=10):
    """A film of these pictures."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "yuv420p"
        for picture in pictures:
            film.mux(stream.encode(av.VideoFrame.from_image(picture)))
        film.mux(stream.encode())
    return path


def test_a_face_keeps_its_number_while_it_moves_on():
    last = {}
    assert video.track([Box(0, 0, 50), Box(200, 0, 60)], last) == [1, 2]
    assert video.track([Box(190, 10, 60)], last) == [2]
    assert video.track([Box(5, 5, 50), Box(400, 0, 50)], last) == [1, 3]
    assert video.track([Box(0, 0, 50), Box(8, 0, 50)], last)[0] == 1, "one number is one face"


def test_a_film_becomes_a_table(model, astronaut, tmp_path):
    pictures = [astronaut.crop((2 * k, 0, 400 + 2 * k, 300)) for k in range(30)]
    film = shot(tmp_path / "a film.mp4", pictures)
    target = video.write_table(model, film, tmp_path / "a film.csv", fps=5, threshold=0.4, annotated=True)
    table = pd.read_csv(target)
    assert list(table.columns) == video.COLUMNS and target.name == "a film.csv"
    marked, own = (list(video.frames(tmp_path / name, 1000)) for name in ("a film-annotated.mp4", film.name))
    assert [seconds for seconds, _ in marked] == pytest.approx([seconds for seconds, _ in own], abs=0.002)
    assert len(marked) == 30 and marked[0][1].size == (400, 300)
    drawn = [np.abs(np.asarray(a[1], int) - np.asarray(b[1], int)).max() for a, b in zip(marked, own, strict=True)]
    assert min(drawn) > 80, "every frame has its boxes, also between the moments"
    face = table[table.face == table.face.mode()[0]]
    assert face.seconds.is_monotonic_increasing and len(face) >= 12 and (face.likeliest == "happy").mean() > 0.8
    assert np.allclose(np.diff(sorted(table.seconds.unique())), 0.2, atol=0.001), "five a second"
    assert len(list(video.frames(film, 100))) == 30 and len(list(video.frames(film, 1))) == 3


CLOCKS = {  # a film's start, its frames' own times, and what they are: seconds from its start
    "from zero": (0.0, [0, 0.5, 1], [0, 0.5, 1]),
    "cut out of the middle of a broadcast": (3600.0, [3600, 3600.5], [0, 0.5]),
    "sound begins first": (10.0, [10.4, 10.9], [0.4, 0.9]),
    "no start is known": (None, [7, 7.5], [0, 0.5]),
    "no times at all": (None, [None, None, None], [0, 0.1, 0.2]),
    "a still of half a minute": (0.0, [0, 30], [0, 30]),
    "two films in one file": (0.0, [0, 0.5, 1, 0, 0.5], [0, 0.5, 1, 1.1, 1.6]),
    "a clock that leaps": (0.0, [0, 0.5, 95443, 95443.5], [0, 0.5, 0.6, 1.1]),
    "a first frame before the start": (0.0, [-0.02, 0.5], [0, 0.5]),
}


@pytest.mark.parametrize("kind", CLOCKS)
def test_times_count_from_the_films_own_start_and_jumps_are_told(kind):
    start, times, seconds = CLOCKS[kind]
    told = []
    clock = video.Clock(start, 0.1, told.append)
    assert [clock.seconds(time) for time in times] == pytest.approx(seconds, abs=0.03)
    assert len(told) == (kind in ("two films in one file", "a clock that leaps"))


def test_every_moment_has_a_row_and_tables_of_one_name_are_kept(model, astronaut, tmp_path, monkeypatch):
    blank = Image.new("RGB", astronaut.size)
    moments = [(0.0, astronaut), (0.2, blank), (0.4, astronaut)]
    monkeypatch.setattr(video, "frames", lambda path, fps, log: iter(moments))
    options = {"fps": 5, "threshold": 0.4}
    first = video.write_table(model, "monday/talk.mp4", tmp_path / "talk.csv", **options)
    table = pd.read_csv(first)
    assert [*table.seconds.unique()] == [0.0, 0.2, 0.4] and (table.answer[table.seconds == 0.2] == "no face").all()
    assert "0.2,,,,,no face" in first.read_text() and ".0," not in first.read_text().split("0.2,,")[1].split("0.4,")[0]
    assert video.write_table(model, "monday/talk.mp4", tmp_path / "talk.csv", **options) == first, "the same answers"
    monkeypatch.setattr(video, "frames", lambda path, fps, log: iter([(0.0, blank)]))
    second = video.write_table(model, "tuesday/talk.mov", tmp_path / "talk.csv", **options)
    assert second.name == "talk-2.csv" and len(pd.read_csv(first)) >= 3 and len(pd.read_csv(second)) == 1


def test_json_has_boxes_and_all_seven_probabilities(model, astronaut, tmp_path, monkeypatch):
    blank = Image.new("RGB", astronaut.size)
    monkeypatch.setattr(video, "frames", lambda path, fps, log: iter([(0.0, blank), (0.2, astronaut)]))
    table = video.write_table(model, "talk.mp4", tmp_path / "talk.json", fps=5, threshold=0.4)
    nobody, somebody = json.loads(table.read_text())
    assert nobody == {"seconds": 0.0, "faces": []} and somebody["seconds"] == 0.2
    face = max(somebody["faces"], key=lambda face: face["box"]["side"])
    assert album.matches(Box(**face["box"]), album.SAMPLES["astronaut.png"][0]) and face["likeliest"] == "happy"
    assert [*face["probabilities"]] == [*EMOTIONS] and sum(face["probabilities"].values()) == pytest.approx(1, abs=0.01)


def test_films_that_cannot_be_read_say_why(model, tmp_path):
    av = pytest.importorskip("av")
    (tmp_path / "text.mp4").write_text("no film")
    with av.open(str(tmp_path / "sound.wav"), "w") as film:
        stream = film.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        film.mux(stream.encode(sound))
    reasons = {"text.mp4": "can't be read as a film", "sound.wav": "no moving pictures", "none.mp4": "no film"}
    for name, says in reasons.items():
        with pytest.raises(ValueError, match=says):
            video.write_table(model, tmp_path / name, tmp_path / "t.csv", fps=5, threshold=0.4)


def test_a_film_that_breaks_off_keeps_what_came_before_and_is_told(astronaut, tmp_path):
    film = shot(tmp_path / "whole.avi", [astronaut.crop((0, 0, 400, 300)).rotate(k) for k in range(60)])
    (tmp_path / "broken.avi").write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    for name, told in (("whole", 0), ("broken", 1)):
        lines = []
        shown = len(list(video.frames(tmp_path / f"{name}.avi", 10, lines.append)))
        assert 0 < shown <= 60 and (shown < 60) == told
        assert len(lines) == told and all("of 6.0 seconds" in line for line in lines)


def test_a_film_that_breaks_off_warns(model, astronaut, monkeypatch):
    def interrupted(path, fps, log):
        yield 0.0, astronaut
        raise ValueError("It ended.")

    monkeypatch.setattr(video, "frames", interrupted)
    warnings = []
    ((_, frame, faces),) = video.follow(model, "film.avi", fps=5, log=warnings.append)
    assert frame.size == astronaut.size and 1 in faces
    assert warnings == ["Careful: It ended. 1 frames came before that."]


def test_without_the_extra_packages_a_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match=f'pip install "{video.PYAV}"'):
        list(video.frames(tmp_path / "film.mp4", 5))
    assert f'  "{video.PYAV}"' in (paths.ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("parameters", [{"accuracy": "high"}, {"acuracy": "1"}])
def test_slips_of_the_hand_are_sentences(parameters, tmp_path):
    with pytest.raises(UserError, match="takes numbers"):
        webapp.run("video", {}, tmp_path, parameters)
    with pytest.raises(UserError, match="FORMAT=csv or FORMAT=json, not onnx"):
        webapp.run("video", {"FORMAT": "onnx"}, tmp_path, {})


def test_the_answer_holds_the_picture_and_nothing_of_a_file_name_runs(model, astronaut):
    answer = webapp.answer_html(model, images.read(astronaut)._replace(notes=("<script>",)), 0.4)
    assert "data:image/jpeg;base64," in answer and "<script>" not in answer and answer.count("<tr>") == 7
    assert "no face found" in webapp.answer_frame(model, Image.new("RGB", (99, 99)), 0.4)


def test_a_webcam_takes_two_views_and_an_upload_the_models_own(model, astronaut, tmp_path, monkeypatch):
    views, real = [], models.probabilities
    monkeypatch.setattr(models, "probabilities", lambda *given: views.append(given[2]) or real(*given))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert "happy" in webapp.answer_frame(model, astronaut, 0.4)
    assert "happy" in webapp.answer_upload(model, album.samples()["astronaut.png"], 0.4)
    assert views == [2, None]


@pytest.fixture(scope="module")
def served(model):
    pytest.importorskip("gradio")
    page, address = webapp.serve(model, 0.47, block=False, browser=False)
    yield address
    page.close()


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """A film for Chromium's camera, where there is a Chromium and what drives it."""
    pytest.importorskip("playwright")
    if not pages.PROGRAM:
        pytest.skip("needs Chromium")
    return webcam.film(tmp_path_factory.mktemp("camera"))


def local(page, address):
    return [url for url in page.asked_for if not url.startswith((address, "data:", "blob:"))] == []


def test_the_camera_is_answered_and_nothing_leaves_the_computer(served, camera):
    with webcam.opened(served, camera) as page:
        webcam.begin(page)
        first = page.get_attribute("img[src^='data:image/jpeg']", "src")
        changed = "first => document.querySelector(\"img[src^='data:image/jpeg']\").src != first"
        page.wait_for_function(changed, arg=first, timeout=60_000)
        assert local(page, served)


def test_who_refuses_the_camera_reads_what_to_do(served, camera):
    with webcam.opened(served, camera, allowed=False) as page:
        assert not page.is_visible("#refused")
        page.click("text=Click to Access Webcam")
        page.wait_for_selector("#refused", state="visible", timeout=60_000)


def test_an_upload_is_answered_or_refused_and_not_kept(served, camera, tmp_path):
    (tmp_path / "pdf.jpg").write_bytes(b"%PDF-1.7")
    there = "says => [...document.querySelectorAll('#answer')].some(e => e.innerText.includes(says))"
    with webcam.opened(served, camera) as page:
        page.click("button[role=tab]:has-text('Picture')")
        for file, says in ((album.samples()["astronaut.png"], "happy"), (tmp_path / "pdf.jpg", "not an image")):
            page.set_input_files("input[type=file] >> nth=-1", file)
            page.wait_for_function(there, arg=says, timeout=120_000)
            page.click("[aria-label='Clear'], [aria-label='Remove this file']")
        assert local(page, served)
    assert not [each for each in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if each.is_file()]
