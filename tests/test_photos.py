"""A person's own pictures: faces detected and cropped as FER-2013's, answered, or refused with a reason."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fer_helpers import models, predict, results
from fer_helpers.data import synthetic
from fer_helpers.faces import Faces
from fer_helpers.photos import album, detection, framing
from fer_helpers.photos.detection import Box
from fer_helpers.publishing import folders
from tests.benchmarks import fresh
from tests.test_kinds_pictures import encoded


def test_the_face_of_the_astronaut_is_detected_and_happy(model, astronaut):
    faces = detection.recognise(model, astronaut)
    face = detection.largest(faces)
    assert album.matches(face.box, album.SAMPLES["astronaut.png"][0]) and face.likeliest == "happy"
    assert [each.box.left for each in faces] == sorted(each.box.left for each in faces)
    assert face.label(0.0) == "happy" and face.label(1.01) == "not sure"


def test_where_no_face_is_found_there_is_no_answer(model, tmp_path):
    photo = detection.read(album.samples()["coffee.png"])
    assert detection.recognise(model, photo.image) == []
    (line,) = album.rows("coffee.png", photo, [], 0.4)
    assert (line["answer"], line["detected"], line["face"]) == ("no face", False, 0) and "happy" not in line
    assert album.nested([line]) == [{"picture": "coffee.png", "faces": []}]
    (tmp_path / "predictions.csv").write_text(pd.DataFrame([line]).to_csv(index=False))
    assert "  coffee.png: no face found" in folders.answers(tmp_path)


@pytest.mark.slow
def test_most_small_faces_are_detected_and_nothing_on_the_crops_without_one():
    counts = album.measure_detection()
    small, nobody = counts["100 small faces"], {"faces": 0, "detected": 0, "false_positives": 0}
    assert small["faces"] == 100 and small["detected"] >= 90 and counts["100 crops without one"] == nobody
    assert counts["astronaut.png"]["detected"] == 1 and counts["camera.png"] == nobody | {"faces": 1}


def test_clusters_are_merged_and_what_lies_on_one_goes_with_it():
    cluster = [(50 + k, 60, 40) for k in range(5)]
    lone, inside = [(200, 200, 40)], [(55, 65, 15)] * 4
    merged = detection.merge_windows(np.array([*cluster, *lone, *inside], dtype=float))
    assert merged == pytest.approx(np.array([[52, 60, 40]])) and len(detection.merge_windows(np.zeros((0, 3)))) == 0
    other = np.array([*[(152, 60, 40)] * 4, *cluster], dtype=float)
    assert detection.merge_windows(other)[:, 0] == pytest.approx([52, 152]), "largest first"


def test_a_crop_beyond_the_edge_goes_on_with_the_last_pixels():
    image = Image.fromarray(np.repeat(np.arange(96, dtype=np.uint8)[None], 96, axis=0)).convert("RGB")
    assert (detection.crop(image, Box(-94, 0, 96)) <= 2).all()
    assert (detection.crop(image, Box(95, 60, 48)) == 95).all()
    assert (detection.crop(image, Box(20, 30, 48)) == np.arange(20, 68)).all(), "48 pixels stay what they are"


def test_every_kind_of_picture_gives_the_same_face(astronaut):
    true, clear = detection.largest(detection.detect(astronaut)), astronaut.copy()
    clear.putalpha(255)
    grey = np.asarray(astronaut.convert("L")).astype(np.uint16)
    kinds = {
        ("16 bits",): encoded("PNG", Image.fromarray(grey * 257)),
        ("CMYK",): encoded("JPEG", astronaut.convert("CMYK"), quality=95),
        ("the first of 2 frames",): encoded("GIF", astronaut, save_all=True, append_images=[astronaut.rotate(90)]),
        (): encoded("PNG", clear),
    }
    for notes, stream in kinds.items():
        photo = detection.read(stream)
        assert photo.notes == notes and photo.image.mode == "RGB" and photo.scale == 1
        assert album.matches(detection.largest(detection.detect(photo.image)), true), notes


@pytest.mark.parametrize("size", [(1, 1), (24, 3000)])
def test_what_is_too_small_for_a_face_says_so(size):
    with pytest.raises(ValueError, match="{}×{} pixels, too small or too narrow".format(*size)):
        detection.read(encoded("PNG", Image.new("L", size)))
    with pytest.raises(ValueError, match="no such file"):
        detection.read("nowhere.png")


@pytest.mark.slow
@pytest.mark.parametrize(("form", "most"), [("JPEG", 160), ("PNG", 590)])
def test_a_hundred_megapixels_are_answered_in_bounded_memory(tmp_path, form, most, astronaut):
    """A PNG has every pixel in memory once, four bytes each, while it is made smaller; a JPEG never has. In MB."""
    file = tmp_path / f"large.{form.lower()}"
    astronaut.resize((10000, 10000)).save(file, compress_level=1)
    photo = detection.read(file)
    assert photo.notes == ("100 megapixels, made smaller",) and photo.image.size == (1600, 1600)
    assert detection.detect(photo.image) and 0 < fresh.measured("photos", "memory", file) < most


@pytest.mark.slow
def test_a_thousand_files_and_three_broken_ones_are_997_answers_and_three_reasons(tmp_path, model):
    small = encoded("JPEG", album.sheet()[0].crop((25, 25, 125, 125)).resize((40, 40)))
    for k in range(997):
        file = tmp_path / f"{k % 3}" / f"{k:03}.{'JPG' if k < 3 else 'jpg'}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(small)
    broken = {"a.jpg": b"%PDF-1.7", "notes.txt": b"", "c.jpeg": small[:-200]}
    for name, content in (broken | {"._hidden.jpg": b"of macOS"}).items():
        (tmp_path / name).write_bytes(content)
    logged, lines, reasons = [], [], {}
    for name, photo, faces in album.recognise(model, album.collect(str(tmp_path)), log=logged.append):
        lines += album.rows(name, photo, faces, 0.5) if faces else []
        reasons |= {} if faces else {name: photo}
    assert len({line["picture"] for line in lines}) == 997 and reasons.keys() == broken.keys()
    assert logged[-1] == "1,000 of 1,000 pictures" and "damaged" in reasons["c.jpeg"]


def test_boxes_are_in_pixels_of_the_file(model, astronaut, tmp_path):
    astronaut.resize((4096, 4096)).save(tmp_path / "large.png")
    ((name, photo, faces),) = album.recognise(model, album.collect(str(tmp_path / "large.png")))
    lines = album.rows(name, photo, faces, 1.01)
    true = Box(*(8 * value for value in album.SAMPLES["astronaut.png"][0]))
    assert any(album.matches(Box(line["left"], line["top"], line["side"]), true) for line in lines)
    assert {line["answer"] for line in lines} == {"not sure"} and lines[0]["notes"] == "17 megapixels, made smaller"


def test_which_pictures_are_collected(tmp_path):
    assert next(iter(album.collect(""))) == "astronaut.png" and "faces.png" in album.collect("")
    (tmp_path / "._hidden.jpg").write_text("of macOS")
    reasons = {str(tmp_path): "holds no file", "no/such/place": "no file and no fold", "upload": "upload is for Colab"}
    for asked, says in reasons.items():
        with pytest.raises(ValueError, match=says):
            album.collect(asked)


def test_the_annotated_picture_marks_detected_faces_and_leaves_the_picture_alone(model, astronaut):
    for image, found in ((astronaut, True), (Image.new("RGB", (90, 60)), False)):
        before = np.asarray(image).copy()
        marked = np.asarray(album.annotated(image, detection.recognise(model, image), 0.0))
        assert np.array_equal(before, np.asarray(image)) and (marked == album.COLOUR).all(axis=2).any() == found


def test_a_model_of_synthetic_faces_is_refused(tmp_path, model):
    metrics = model.card["metrics"] | {"data": model.card["metrics"]["data"] | {"demonstration": True}}
    for card in ({"metrics": metrics}, {}):
        models.save(model, tmp_path / "m.safetensors", **card)
        with pytest.raises(ValueError, match="doesn't say that it was trained on photographs"):
            detection.load(tmp_path / "m.safetensors", 0.8)


def test_the_threshold_travels_with_a_model_or_lies_beside_it(tmp_path, model):
    _, confidence = detection.load(predict.given_away(), 0.8)
    assert confidence["accuracy"] == 0.8 <= confidence["right"] and 0 < confidence["coverage"] < 1
    assert detection.threshold_of(confidence) == confidence["threshold"]
    assert f"{confidence['threshold']:.2f} on" in detection.threshold_sentence(confidence)
    metrics = {name: value for name, value in model.card["metrics"].items() if name != "confidence_thresholds"}
    models.save(model, tmp_path / "m.safetensors", metrics=metrics)
    assert detection.load(tmp_path / "m.safetensors", 0.8)[1] is None and detection.threshold_of(None) == 0
    probs = np.full((100, 7), 0.1, np.float32)
    probs[:, 0], labels = np.where(np.arange(100) < 60, 0.4, 0.3), np.where(np.arange(100) < 50, 0, 1)
    split = np.where(np.arange(100) < 90, "val", "test")
    results.write_predictions(tmp_path / "predictions.npz", names=split, labels=labels, split=split, probs=probs)
    _, confidence = detection.load(tmp_path / "m.safetensors", 0.8)
    assert confidence["threshold"] == pytest.approx(0.4) and confidence["coverage"] == round(60 / 90, 4)
    with pytest.raises(ValueError, match=r"between 0.5 and 0.99, not at 1.5"):
        detection.load(tmp_path / "m.safetensors", 1.5)


@pytest.mark.slow
def test_faces_pasted_into_photographs_are_detected_in_their_frame(model):
    """scikit-image's small faces stand for FER-2013's."""
    sheet, boxes = album.sheet()
    images = torch.from_numpy(np.stack([detection.crop(sheet, box) for box in boxes[:40]]))
    people = Faces(images, torch.full((40,), 4), np.full(40, "val"), np.arange(40).astype(str))
    measured = framing.measure(model, people, count=30, log=lambda line: None)
    assert measured["faces"] == 30 and set(measured["widths"]) == {str(width) for width in framing.WIDTHS}
    _, upright, *_, turned = measured["cases"]
    assert len(measured["cases"]) == 6 and upright["side"] == turned["side"] == 72
    assert upright["detected"] > 0.6 > 0.4 > turned["detected"] and 0.8 < measured["frame_in_windows"] < 1.4
    assert upright["true_frame_accuracy"] == pytest.approx(upright["bare_accuracy"], abs=0.1)


def test_the_scene_holds_the_face_where_it_says(model):
    image, ground = np.full((48, 48), 255, np.uint8), Image.new("L", (300, 200))
    scene, true = framing.paste(image, ground, 80, 0, np.random.default_rng(3))
    left, top, side = (int(value) for value in true)
    pixels = np.array(scene)
    assert (pixels[top + 8 : top + side - 8, left + 8 : left + side - 8] == 255).all()
    pixels[top : top + side, left : left + side] = 0
    assert not pixels.any()
    assert Box(10, 10, 20).scaled(1.5) == Box(5, 5, 30)


def test_landmarks_are_where_the_dark_rows_are():
    images = torch.full((2, 48, 48), 200, dtype=torch.uint8)
    images[:, 18, 8:40], images[:, 37, 16:32] = 0, 0
    people = Faces(images, torch.zeros(2, dtype=torch.long), np.full(2, "train"), np.array(["a", "b"]))
    rows = framing.landmarks(people)
    assert (rows["eyes"], rows["mouth"]) == (round(18.5 / 48, 3), round(37.5 / 48, 3))
    assert rows["frame_in_windows"] is None, "that is no face"
    assert framing.landmarks(synthetic.draw(100)).keys() == rows.keys()
