"""Notebook 04 with ImageNet's weights, which come with pip: every method, without a network."""

import shutil

import pytest

from fer_helpers import paths
from tests import commands

pytestmark = pytest.mark.chain
METHODS = ("probe", "partial", "full", "scratch")  # of using a backbone


def test_all_methods_run_without_a_network_and_are_compared_with_their_control(cleaned, tmp_path):
    out = shutil.copytree(cleaned, tmp_path / "out")
    output = commands.succeeds("04", "VERBOSE=1", *commands.SMOKE, f"OUT={out}", HF_HOME=str(tmp_path / "hub"))
    assert "ImageNet's weights are loaded" in output and "was not measured" not in output
    made = out / "04_transfer_learning"
    runs = [paths.read_json(made / f"efficientnet_lite0_{method}_48" / "metrics.json") for method in METHODS]
    assert [each["pretrained"] for each in runs] == [True, True, True, False]
    trained = [each["trained_weights"] for each in runs]
    assert trained[0] == 1280 * 7 + 7 < trained[1] < trained[2] == trained[3] == runs[3]["weights"]
    assert [each["config"]["method"] for each in runs] == [*METHODS] and {each["epochs_seen"] for each in runs} == {3}
    assert runs[2]["config"]["layer_lr_decay"] < 1 == runs[3]["config"]["layer_lr_decay"]
    assert [each["config"]["passes_stored"] for each in runs] == [2, 2, 0, 0]
    told = paths.read_json(made / "metrics.json")
    assert len(told["gains"]) == 3 and all({"accuracy", "macro_f1"} == set(each) for each in told["gains"].values())


def test_a_part_of_the_faces_stands_in_names_and_metrics(cleaned, tmp_path):
    """From scratch alone, and without the package of the network: ResNet18 takes its place."""
    out = shutil.copytree(cleaned, tmp_path / "out")
    some = 'PARAMS=methods=scratch faces=100 epochs=1 backbones="efficientnet_lite0"'
    (tmp_path / "hidden" / "timm").mkdir(parents=True)
    (tmp_path / "hidden" / "timm" / "__init__.py").write_text("raise ImportError('not here')\n")
    hide = {"PYTHONPATH": str(tmp_path / "hidden"), "TORCH_HOME": str(tmp_path / "torch")}
    output = commands.succeeds("04", "VERBOSE=1", *commands.SMOKE, f"OUT={out}", some, **hide)
    assert "efficientnet_lite0: not pretrained" in output and 'pip install -e ".[pretrained]"' in output
    run = paths.read_json(out / "04_transfer_learning" / "resnet18_scratch_48_100_faces" / "metrics.json")
    assert run["data"]["counts"]["train"] == 100 and 0 < run["config"]["share_of_faces"] < 1
