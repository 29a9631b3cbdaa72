"""A person's own pictures: opened whatever they are, faces found and cut as FER-2013's, answered or told why not."""

import io
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from fer_helpers import models, paths, predict, results
from fer_helpers.data import synthetic
from fer_helpers.faces import Faces
from fer_helpers.photos import album, detection, framing
from fer_helpers.photos.detection import Box
from fer_helpers.predict import predict_emotion


def saved(picture, form, **options):
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    stream.seek(0)
    return stream


def largest(boxes):
    return max(boxes, key=lambda box: box.side)


def test_the_face_of_the_astronaut_is_found_and_happy(model, astronaut):
    faces = detection.look(model, astronaut)
    face = max(faces, key=lambda each: each.box.side)
    assert face.found and album.hit(face.box, album.CARRIED["astronaut.png"][0]) and face.likeliest == "happy"
    assert [each.box.left for each in faces] == sorted(each.box.left for each in faces)
    assert face.label(0.0) == "happy" and face.label(1.01) == "not sure"


def test_where_no_face_is_found_the_centre_square_is_answered_and_said_so(model):
    picture = detection.opened(album.carried()["coffee.png"]).picture
    (face,) = detection.look(model, picture)
    assert not face.found and face.box == Box(100, 0, 400)
    assert face.probabilities == pytest.approx([*predict_emotion(model, picture).probabilities.values()], abs=1e-6)


def test_most_small_faces_are_found_and_nothing_on_the_cuttings():
    found = album.detected()
    assert found["100 small faces"]["faces"] == 100 and found["100 small faces"]["found"] >= 90
    assert found["100 cuttings without one"] == {"faces": 0, "found": 0, "false_alarms": 0}
    assert found["astronaut.png"]["found"] == 1 and found["camera.png"] == {"faces": 1, "found": 0, "false_alarms": 0}


def test_heaps_are_merged_and_what_lies_on_one_goes_with_it():
    heap = [(50 + k, 60, 40) for k in range(5)]
    lone, inside = [(200, 200, 40)], [(55, 65, 15)] * 4
    assert detection.merged(np.array([*heap, *lone, *inside], dtype=float)) == pytest.approx(np.array([[52, 60, 40]]))
    assert len(detection.merged(np.zeros((0, 3)))) == 0
    other = [(152, 60, 40)] * 4
    assert detection.merged(np.array([*other, *heap], dtype=float))[:, 0] == pytest.approx([52, 152]), "largest first"


def test_a_cut_beyond_the_edge_goes_on_with_the_last_pixels():
    picture = Image.fromarray(np.repeat(np.arange(96, dtype=np.uint8)[None], 96, axis=0)).convert("RGB")
    assert (detection.cut(picture, Box(-94, 0, 96)) <= 2).all() and (
        detection.cut(picture, Box(95, 60, 48)) == 95
    ).all()
    inside = detection.cut(picture, Box(20, 30, 48))
    assert (inside == np.arange(20, 68)).all(), "48 pixels stay what they are"


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_a_picture_upright(astronaut, turn):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = turn
    wide = astronaut.crop((0, 0, 512, 400))
    lying = wide.transpose(undo[turn]) if turn in undo else wide
    found = detection.opened(saved(lying, "PNG", exif=exif))
    assert np.array_equal(np.asarray(found.picture), np.asarray(wide))
    assert found.notes == ("turned upright after its EXIF" if turn > 1 else "")


def test_every_kind_of_picture_gives_the_same_face(astronaut):
    true = largest(detection.find(astronaut))
    grey = np.asarray(astronaut.convert("L"))
    clear = astronaut.copy()
    clear.putalpha(255)
    kinds = {
        "16 bits": saved(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "CMYK": saved(astronaut.convert("CMYK"), "JPEG", quality=95),
        "the first of 2 pictures": saved(astronaut, "GIF", save_all=True, append_images=[astronaut.rotate(90)]),
        "": saved(clear, "PNG"),
    }
    for note, stream in kinds.items():
        photo = detection.opened(stream)
        assert photo.notes == note and photo.picture.mode == "RGB" and photo.scale == 1
        assert album.hit(largest(detection.find(photo.picture)), true), note
    faint = astronaut.copy()
    faint.putalpha(0)
    assert (np.asarray(detection.opened(saved(faint, "PNG")).picture) == 255).all(), "what is clear is white"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"%PDF-1.7 no picture", "no picture of a kind that can be read"),
        (b"", "no picture of a kind that can be read"),
        (saved(Image.new("RGB", (1, 1)), "PNG").getvalue(), "it is 1×1 pixels, too small"),
        (saved(Image.new("L", (24, 3000)), "PNG").getvalue(), "it is 24×3000 pixels, too small or too narrow"),
        (saved(Image.new("RGB", (300, 300)), "JPEG").getvalue()[:700], "it is damaged"),
        (saved(Image.new("F", (100, 100)), "TIFF").getvalue(), "fractions"),
        (b"P5 20000 20000 255 ", "more than 179 megapixels"),
    ],
)
def test_what_cannot_be_answered_says_why(content, says):
    with pytest.raises(ValueError, match=says):
        detection.opened(io.BytesIO(content))


@pytest.mark.parametrize(("form", "most"), [("JPEG", 150), ("PNG", 560)])
def test_a_hundred_megapixels_are_answered_in_bounded_memory(tmp_path, form, most, astronaut):
    """A PNG has every pixel in memory once, four bytes each, while it is made smaller; a JPEG never has."""
    file = tmp_path / f"large.{form.lower()}"
    large = "Image.open(sys.argv[1]).resize((10000, 10000)).save(sys.argv[2], compress_level=1)"
    make = f"from PIL import Image; import sys; {large}"
    astronaut.save(tmp_path / "small.png")
    subprocess.run([sys.executable, "-c", make, str(tmp_path / "small.png"), str(file)], check=True)
    look = (
        "import resource, sys; from fer_helpers import photos; peak = lambda: resource.getrusage("
        "resource.RUSAGE_SELF).ru_maxrss / 1024; before = peak(); photo = detection.opened(sys.argv[1]); "
        "print(photo.notes, peak() - before, photo.picture.size, len(detection.find(photo.picture)), sep='|')"
    )
    told = subprocess.check_output([sys.executable, "-c", look, str(file)], cwd=paths.ROOT, text=True).split("|")
    assert told[0] == "100 megapixels, made smaller" and float(told[1]) < most
    assert told[2] == "(1600, 1600)" and int(told[3]) >= 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


@pytest.mark.slow
def test_a_thousand_files_and_three_broken_ones_are_997_answers_and_three_reasons(tmp_path, model):
    small = album.sheet()[0].crop((25, 25, 125, 125)).resize((40, 40))
    for k in range(997):
        folder = tmp_path / f"{k % 3}"
        folder.mkdir(exist_ok=True)
        small.save(folder / f"{k:03}.JPG", "JPEG") if k < 3 else shutil.copy(
            tmp_path / "0" / "000.JPG", folder / f"{k:03}.jpg"
        )
    (tmp_path / "a.jpg").write_bytes(b"%PDF-1.7")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.jpeg").write_bytes((tmp_path / "0" / "000.JPG").read_bytes()[:-200])
    (tmp_path / "notes.txt").write_text("no picture by its name")
    (tmp_path / "._hidden.jpg").write_text("of macOS")
    told, lines, reasons = [], [], {}
    for name, photo, faces in album.looked(model, album.gathered(str(tmp_path)), log=told.append):
        if faces:
            lines += album.rows(name, photo, faces, 0.5)
        else:
            reasons[name] = photo
    assert len({line["picture"] for line in lines}) == 997 and set(reasons) == {"a.jpg", "b.png", "c.jpeg"}
    assert told[-1] == "1,000 of 1,000 pictures" and "damaged" in reasons["c.jpeg"]


def test_places_are_told_in_pixels_of_the_file(model, astronaut, tmp_path):
    astronaut.resize((4096, 4096)).save(tmp_path / "large.png")
    ((name, photo, faces),) = album.looked(model, album.gathered(str(tmp_path / "large.png")))
    lines = album.rows(name, photo, faces, 1.01)
    true = Box(*(8 * value for value in album.CARRIED["astronaut.png"][0]))
    assert any(album.hit(Box(line["left"], line["top"], line["side"]), true) for line in lines)
    assert {line["answer"] for line in lines} == {"not sure"} and lines[0]["notes"] == "17 megapixels, made smaller"


def test_what_is_asked_about(tmp_path, monkeypatch):
    assert next(iter(album.gathered(""))) == "astronaut.png" and "faces.png" in album.gathered("")
    for asked, says in ((str(tmp_path), "holds no picture"), ("no/such/place", "no file and no folder")):
        with pytest.raises(ValueError, match=says):
            album.gathered(asked)
    with pytest.raises(ValueError, match="upload is for Colab"):
        album.gathered("upload")


def test_the_annotated_picture_marks_found_faces_and_leaves_the_picture_alone(model, astronaut):
    before = np.asarray(astronaut).copy()
    faces = detection.look(model, astronaut)
    made = np.asarray(album.annotated(astronaut, faces, 0.0))
    assert np.array_equal(before, np.asarray(astronaut)) and (made == album.COLOURS[True]).all(axis=2).any()
    nobody = detection.look(model, Image.new("RGB", (90, 60)))
    assert (np.asarray(album.annotated(Image.new("RGB", (90, 60)), nobody, 0.0)) == album.COLOURS[False]).all(2).any()


def test_a_model_of_drawn_faces_is_refused(tmp_path, model):
    told = {**model.card["metrics"], "data": {**model.card["metrics"]["data"], "demonstration": True}}
    models.save(model, tmp_path / "drawn.safetensors", metrics=told)
    models.save(model, tmp_path / "unknown.safetensors")
    for name in ("drawn", "unknown"):
        with pytest.raises(ValueError, match="doesn't say that it learnt from photographs"):
            detection.load(tmp_path / f"{name}.safetensors", 0.8)


def test_the_threshold_travels_with_a_model_or_lies_beside_it(tmp_path, model):
    _, sure = detection.load(predict.given_away(), 0.8)
    assert sure["accuracy"] == 0.8 and sure["right"] >= 0.8 and 0 < sure["coverage"] < 1
    assert f"{sure['threshold']:.2f} on" in detection.told(sure) and detection.least(sure) == sure["threshold"]
    told = {name: value for name, value in model.card["metrics"].items() if name != "confidence_thresholds"}
    models.save(model, tmp_path / "m.safetensors", metrics=told)
    assert detection.load(tmp_path / "m.safetensors", 0.8)[1] is None and detection.least(None) == 0
    probs = np.full((100, 7), 0.1, np.float32)
    probs[:, 0], labels = np.where(np.arange(100) < 60, 0.4, 0.3), np.where(np.arange(100) < 50, 0, 1)
    split = np.where(np.arange(100) < 90, "val", "test")
    results.write_predictions(tmp_path / "predictions.npz", names=split, labels=labels, split=split, probs=probs)
    sure = detection.load(tmp_path / "m.safetensors", 0.8)[1]
    assert sure["threshold"] == pytest.approx(0.4) and sure["coverage"] == round(60 / 90, 4)
    with pytest.raises(ValueError, match=r"between 0.5 and 0.99, not at 1.5"):
        detection.load(tmp_path / "m.safetensors", 1.5)


@pytest.mark.slow
def test_faces_pasted_into_photographs_are_found_in_their_frame(model):
    """scikit-image's small faces stand for FER-2013's."""
    sheet, places = album.sheet()
    images = torch.from_numpy(np.stack([detection.cut(sheet, place) for place in places[:40]]))
    people = Faces(images, torch.full((40,), 4), np.full(40, "val"), np.arange(40).astype(str))
    found = framing.measure(model, people, count=30, log=lambda line: None)
    assert (
        found["faces"] == 30 and len(found["cases"]) == 6 and set(found["widths"]) == {str(w) for w in framing.WIDTHS}
    )
    upright, turned = found["cases"][1], found["cases"][5]
    assert upright["side"] == turned["side"] == 72 and upright["found"] > 0.6 > 0.4 > turned["found"]
    assert 0.8 < found["frame_in_windows"] < 1.4
    assert upright["true_frame_accuracy"] == pytest.approx(upright["bare_accuracy"], abs=0.1)


def test_the_scene_holds_the_face_where_it_says(model):
    image, ground = np.full((48, 48), 255, np.uint8), Image.new("L", (300, 200))
    made, true = framing.scene(image, ground, 80, 0, np.random.default_rng(3))
    left, top, side = (int(value) for value in true)
    pixels = np.asarray(made)
    assert (pixels[top + 8 : top + side - 8, left + 8 : left + side - 8] == 255).all()
    pixels = pixels.copy()
    pixels[top : top + side, left : left + side] = 0
    assert not pixels.any()
    assert framing.wider(Box(10, 10, 20), 1.5) == Box(5, 5, 30)


def test_landmarks_are_where_the_dark_rows_are():
    images = torch.full((2, 48, 48), 200, dtype=torch.uint8)
    images[:, 18, 8:40], images[:, 37, 16:32] = 0, 0
    people = Faces(images, torch.zeros(2, dtype=torch.long), np.full(2, "train"), np.array(["a", "b"]))
    told = framing.landmarks(people)
    assert (told["eyes"], told["mouth"]) == (round(18.5 / 48, 3), round(37.5 / 48, 3))
    assert told["frame_in_windows"] is None, "that is no face"
    assert framing.landmarks(synthetic.draw(100)).keys() == told.keys()
