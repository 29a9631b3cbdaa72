"""What all tests share."""

import pytest
import torch

from fer_helpers import models, predict
from fer_helpers.photos import album, detection

# The networks of the unit tests are tiny: one thread is faster than two that wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model():
    """The network that users get before they trained any; a test file may have a `model` of its own."""
    return models.load(predict.given_away())


@pytest.fixture(scope="module")
def astronaut():
    """scikit-image's astronaut, a photograph with one face."""
    return detection.opened(album.carried()["astronaut.png"]).picture
