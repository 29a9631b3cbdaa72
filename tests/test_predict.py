"""One image, one answer: the same for a file, a picture and an array."""

import numpy as np
import pytest
import torch
from PIL import Image

from fer_helpers import models, paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.predict import GIVEN_AWAY, as_face, given_away, load_model, predict_emotion


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    models.save(models.build("baseline"), tmp_path / "m.safetensors")
    return load_model(tmp_path / "m.safetensors")


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)


def test_the_answer_is_a_name_and_seven_probabilities(model, grey):
    label, probabilities = predict_emotion(model, grey)
    assert list(probabilities) == list(EMOTIONS) and sum(probabilities.values()) == pytest.approx(1)
    assert label == max(probabilities, key=probabilities.get)


def test_the_preprocessing_is_that_of_training(model, grey):
    with torch.inference_mode():
        faces = model.preprocess(torch.from_numpy(grey)[None])
        expected = (model(faces).softmax(1)[0] + model(faces.flip(-1)).softmax(1)[0]) / 2
    assert list(predict_emotion(model, grey).probabilities.values()) == pytest.approx(expected.tolist())


def test_every_form_of_the_same_image_gets_the_same_answer(model, grey, tmp_path):
    expected = predict_emotion(model, grey)
    Image.fromarray(grey).save(tmp_path / "face.png")
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    opaque = np.dstack([colour, np.full((48, 48), 255, np.uint8)])
    forms = [tmp_path / "face.png", str(tmp_path / "face.png"), Image.fromarray(grey), grey[:, :, None], grey / 255]
    for form in [*forms, colour, opaque, Image.fromarray(colour)]:
        assert predict_emotion(model, form) == expected


def test_any_size_is_cut_to_its_centre_square():
    tall = np.zeros((300, 100), dtype=np.uint8)
    tall[100:200] = 77
    assert (as_face(tall) == 77).all()


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros(48), "has shape"),
        (np.zeros((2, 48, 48, 3)), "has shape"),
        (np.zeros((48, 48, 2)), "has shape"),
        (np.zeros((0, 48)), "has shape"),
        (np.full((48, 48), 200.0), "from 0 to 1"),
        (np.full((48, 48), np.nan), "from 0 to 1"),
        (np.zeros((48, 48), dtype=np.int64), "uint8"),
    ],
)
def test_arrays_that_are_no_images_are_refused(image, says):
    with pytest.raises(ValueError, match=says):
        as_face(image)


def test_files_that_are_no_images_are_refused(tmp_path):
    (tmp_path / "face.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match="not an image"):
        as_face(tmp_path / "face.jpg")
    with pytest.raises(FileNotFoundError):
        as_face(tmp_path / "none.jpg")


def test_the_first_weights_that_are_there_are_given_away(tmp_path, monkeypatch):
    assert given_away().with_name("MODEL_CARD.md").exists()
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    for name in reversed(GIVEN_AWAY):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        assert given_away() == tmp_path / name
