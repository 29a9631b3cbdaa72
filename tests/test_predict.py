"""One image, one answer: the same for a file, a picture and an array."""

import numpy as np
import pytest
import torch
from PIL import Image

from fer_helpers import models, paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.predict import GIVEN_AWAY, given_away, load_model, predict_emotion, probabilities


@pytest.fixture
def model(tmp_path):
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


def test_a_file_an_array_and_a_picture_get_the_same_answer(model, grey, tmp_path):
    expected = predict_emotion(model, grey)
    Image.fromarray(grey).save(tmp_path / "face.png")
    for form in (tmp_path / "face.png", str(tmp_path / "face.png"), Image.fromarray(grey), grey / 255):
        assert predict_emotion(model, form) == expected


def test_views_are_a_setting_of_prediction(model, grey):
    faces = np.stack([grey, grey[::-1]])
    one, two, ten = (probabilities(model, faces, views) for views in (1, 2, 10))
    mirrored = probabilities(model, faces[:, :, ::-1], 1)
    assert two == pytest.approx((one + mirrored) / 2, abs=1e-6) and np.abs(ten - two).max() > 1e-6
    assert [*predict_emotion(model, grey, views=10).probabilities.values()] == pytest.approx(ten[0], abs=1e-6)


def test_the_first_weights_that_are_there_are_given_away(tmp_path, monkeypatch):
    assert given_away().with_name("MODEL_CARD.md").exists()
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    for name in reversed(GIVEN_AWAY):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        assert given_away() == tmp_path / name
