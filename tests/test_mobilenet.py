"""MobileNet: its beginning from the weights of face recognition, and how those came out of TensorFlow.js's file."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer_helpers import models, paths
from fer_helpers.settings import TrainConfig
from fer_helpers.studies.run import Condition, RunSpec, Where
from fer_helpers.transfer import mobilenet


def write_tfjs(path, layers):
    """A .json and .bin as TensorFlow.js keeps a MobileNet: (kernel OIHW, scale or None, bias) of every convolution."""
    nodes, listed, stored = [], [], b""

    def weight(name, values):
        nonlocal stored
        half = values.numpy().astype(np.float16)
        stored += half.tobytes()
        kind = {"dtype": "float32", "quantization": {"dtype": "float16"}}
        listed.append({"name": name, "shape": list(half.shape), **kind})
        nodes.append({"name": name, "op": "Const"})

    before = "input"
    for k, (kernel, scale, bias) in enumerate(layers):
        depthwise = kernel.shape[1] == 1
        weight(f"kernel{k}", kernel.permute((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))
        op = "DepthwiseConv2dNative" if depthwise else "Conv2D"
        nodes.append({"name": f"conv{k}", "op": op, "input": [before, f"kernel{k}"]})
        before = f"conv{k}"
        if scale is not None:
            weight(f"scale{k}", scale.view(1, 1, 1, -1))
            nodes.append({"name": f"mul{k}", "op": "Mul", "input": [before, f"scale{k}"]})
            before = f"mul{k}"
        weight(f"bias{k}", bias)
        nodes.append({"name": f"add{k}", "op": "Add", "input": [before, f"bias{k}"]})
        before = f"add{k}"
    file = {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": listed}]}
    path.write_text(json.dumps(file))
    path.with_suffix(".bin").write_bytes(stored)


def plainly(faces, layers):
    """The maps of those layers, by TensorFlow's rules for borders."""
    for k, (kernel, scale, bias) in enumerate(layers):
        halves = k in (0, 3, 7, 11, 23)  # the first, and the depthwise ones of blocks 1, 3, 5 and 11
        side = kernel.shape[-1]
        faces = F.pad(faces, (0, 1, 0, 1) if halves else [side // 2] * 4)
        kernel = kernel if scale is None else kernel * scale.view(-1, 1, 1, 1)
        groups = faces.shape[1] if kernel.shape[1] == 1 else 1
        faces = F.relu6(F.conv2d(faces, kernel, bias, stride=2 if halves else 1, groups=groups))
    return faces


def test_a_converted_network_answers_as_the_file_does(tmp_path):
    torch.manual_seed(0)
    shapes = [part.weight.shape for part in models.build("mobilenet").features if isinstance(part, nn.Conv2d)]
    layers = []
    for shape in shapes:
        kernel = torch.randn(shape) / (shape[1] * shape[2] * shape[3]) ** 0.5
        scale = torch.rand(shape[0]) + 0.5 if shape[1] == 1 else None
        layers.append([each if each is None else each.half().float() for each in (kernel, scale, torch.rand(shape[0]))])
    layers[0][0] = (layers[0][0] / 100).half().float()  # it sees grey levels up to 150
    write_tfjs(tmp_path / "net.json", layers)
    images = torch.randint(0, 256, (12, 48, 48), dtype=torch.uint8)
    network = mobilenet.convert(tmp_path / "net.json", images).eval()
    with torch.inference_mode():
        faces = network.preprocess(images)
        assert faces.min() > -125 and faces.max() > 100, "grey levels, less a mean"
        mine, wanted = network.features(faces), plainly(faces, layers)
    assert mine.shape == (12, 1024, 5, 5) and wanted.std() > 0.1
    assert torch.allclose(mine, wanted, atol=1e-3)
    network.train()
    assert torch.allclose(network.features(faces.clone()), wanted, atol=0.05), (
        "in training, too: it starts where it was"
    )


def test_it_begins_with_face_recognition_and_its_head_at_random():
    network = models.build("mobilenet", size=64, pretrained=True)
    before = {name: part.clone() for name, part in network.state_dict().items()}
    mobilenet.begin(network)
    same = {name for name, part in network.state_dict().items() if torch.equal(part, before[name])}
    assert {name.split(".")[0] for name in same if not name.endswith("tracked")} == {"head"}
    assert network.eval().features(network.preprocess(torch.zeros(1, 48, 48, dtype=torch.uint8))).shape[-1] == 2


def test_without_the_file_a_sentence_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(mobilenet, "START", tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no weights of face recognition in .*gone\.safetensors"):
        mobilenet.begin(models.build("mobilenet", size=32))
    with pytest.raises(ValueError, match=r"size is 48: .* a multiple of 32"):
        models.build("mobilenet", size=48)


def test_the_weights_are_there_for_fewer_emotions_too():
    code = "from fer_helpers.transfer.mobilenet import START; assert START.is_file(), START"
    environment = os.environ | {"FER_EMOTIONS": "happy sad"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=paths.ROOT)


def test_weights_in_whole_numbers_are_refused(tmp_path):
    (tmp_path / "net.bin").write_bytes(b"1234")
    weight = {"name": "k", "shape": [4], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 2, "min": 0}}
    (tmp_path / "net.json").write_text(json.dumps({"weightsManifest": [{"weights": [weight]}]}))
    with pytest.raises(ValueError, match=r"net\.json keeps its weights as uint8"):
        mobilenet.convert(tmp_path / "net.json", torch.zeros(1, 48, 48, dtype=torch.uint8))


def test_a_run_begins_where_its_condition_says():
    def ones(network):
        network.head[1].bias.data.fill_(1)

    mask = np.ones(4, bool)
    tiny = {"size": 32, "width": 0.125}
    condition = Condition("tiny", mask, TrainConfig(), "mobilenet", tiny | {"pretrained": True}, start=ones)
    spec = RunSpec(condition, 0, Where("08_record"))
    assert (spec.build().head[1].bias == 1).all()
    plain = replace(condition, start=None, arguments=tiny)
    assert (RunSpec(plain, 0, spec.where).build().head[1].bias != 1).all()
    for wrong in ({"start": None}, {"arguments": tiny}):  # it would be known as the other run
        with pytest.raises(ValueError, match="start and the argument pretrained=True go together"):
            replace(condition, **wrong)


def test_ten_views_move_an_enlarged_face_by_as_much_of_its_side():
    class Corner(nn.Module):
        """Answers by the upper left pixel alone."""

        views, preprocess = 10, staticmethod(lambda images: images)

        def forward(self, faces):
            seen.append(faces[:, 0, 0, 0].clone())
            return torch.zeros(len(faces), 7)

    for side, shift in ((48, 2), (96, 4), (160, 7)):
        seen = []
        ramp = torch.arange(side, dtype=torch.float32).expand(1, 1, side, side)
        models.probabilities(Corner(), ramp)
        assert max(float(each) for each in seen[::2]) == shift, "each view and then its mirror image"
