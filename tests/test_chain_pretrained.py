"""Notebook 04 where ImageNet's weights are at hand."""

import shutil
from pathlib import Path

import pytest
import torch
import torchvision

from fer_helpers import paths
from tests import commands

pytestmark = pytest.mark.chain


WAYS = ("frozen", "last_stage", "whole", "scratch")  # of using a backbone


def test_with_imagenet_weights_at_hand_all_ways_run(cleaned, tmp_path):
    """The file has the right name, place and keys; its numbers are random, since nothing can be downloaded here."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    torch.save(torchvision.models.resnet18().state_dict(), folder / name)
    out = shutil.copytree(cleaned, tmp_path / "out")
    settings = [*commands.SMOKE, f"OUT={out}", "PARAMS=backbones=resnet18"]
    output = commands.succeeds("04", "VERBOSE=1", *settings, TORCH_HOME=str(tmp_path / "torch"))
    assert "ImageNet's weights are loaded" in output and "not measured" not in output
    made = tmp_path / "out" / "04_transfer_learning"
    ways = {way: paths.read_json(made / f"resnet18_{way}_48" / "metrics.json") for way in WAYS}
    assert [each["pretrained"] for each in ways.values()] == [True, True, True, False]
    trained = [each["trained_weights"] for each in ways.values()]
    assert trained[0] == 512 * 7 + 7 < trained[1] < trained[2] == trained[3] == ways["scratch"]["weights"]
    assert all(each["config"]["way"] == way for way, each in ways.items())
    assert ways["whole"]["config"]["layer_lr_decay"] < 1 == ways["scratch"]["config"]["layer_lr_decay"]
    assert paths.read_json(made / "metrics.json")["channels"]["chosen"] in (1, 3)
