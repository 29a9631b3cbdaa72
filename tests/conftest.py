"""What all tests share: one thread a process, the order on several workers, and the row of notebooks, run once."""

import os

os.environ.pop("FER_EMOTIONS", None)  # of the shell
os.environ["OMP_NUM_THREADS"] = "1"  # of this process and of the kernels and workers that tests start

import shutil

import filelock
import pytest
import torch

from fer_helpers import models, predict
from fer_helpers.photos import album, detection
from tests import commands

torch.set_num_threads(1)  # the networks of the tests are tiny: two threads would wait for each other
FIRST = {mark: place for place, mark in enumerate(("chain", "bench", "slow", "cluster", "browser"))}
MARKS = {"scheduler": "cluster", "served": "browser"}  # what takes these fixtures is marked so


def pytest_itemcollected(item):
    """Marks that follow from a test's fixtures."""
    for fixture in set(item.fixturenames) & MARKS.keys():
        item.add_marker(MARKS[fixture])


def pytest_collection_modifyitems(items):
    """The longest first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: min((FIRST.get(mark.name, 9) for mark in item.iter_markers()), default=9))


@pytest.fixture(scope="session")
def cleaned(tmp_path_factory, worker_id):
    """Results of notebook 02 at `smoke`, made by the worker that comes first: a folder to be copied."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    out = shared / "cleaned"
    with filelock.FileLock(shared / "cleaned.lock"):
        if not out.exists():
            commands.succeeds("02", *commands.SMOKE, f"OUT={shared / 'making'}")
            (shared / "making").rename(out)
    return out


@pytest.fixture(scope="session")
def row(tmp_path_factory, cleaned):
    """The main row at `smoke`: its folder, the command's variables and what the terminal showed."""
    out = tmp_path_factory.mktemp("row") / "outputs"
    shutil.copytree(cleaned, out)
    settings = [*commands.SMOKE, f"OUT={out}", "PARAMS=backbones=resnet18"]
    return out, settings, commands.succeeds("run-all", *settings, TORCH_HOME=str(tmp_path_factory.mktemp("torch")))


@pytest.fixture(autouse=True)
def seed():
    """First weights and noise are the same in every test, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model():
    """The network that users get before they trained any; a test file may have a `model` of its own."""
    return models.load(predict.given_away())


@pytest.fixture(scope="module")
def astronaut():
    """scikit-image's astronaut, a photograph with one face."""
    return detection.read(album.samples()["astronaut.png"]).image
