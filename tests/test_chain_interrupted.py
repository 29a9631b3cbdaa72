"""What strikes in the middle of a run: kill -9, and data that can't be used."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image

from fer_helpers import paths
from fer_helpers.faces import EMOTIONS
from fer_helpers.workbook import cli
from tests import commands

pytestmark = pytest.mark.chain


def children(process):
    """The numbers of a process's direct children, from /proc."""
    numbers = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == process:
                numbers.append(int(path.parent.name))
    return numbers


def test_faces_of_one_grey_value_are_refused_in_a_sentence(tmp_path, capsys):
    for k in range(14):
        for split in ("train", "val", "test"):
            file = tmp_path / "flat" / split / EMOTIONS[k % 7] / f"{k}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (48, 48), 9 * k).save(file)
    assert cli.main(["02", f"DATA={tmp_path}/flat", "BUDGET=smoke", f"OUT={tmp_path}/out"]) != 0
    assert "faces are blank" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel's process is found in /proc")
def test_after_kill_9_the_training_goes_on_and_ends_like_an_undisturbed_one(cleaned, tmp_path):
    whole, broken = (Path(shutil.copytree(cleaned, tmp_path / name)) for name in ("whole", "broken"))
    settings = [*commands.SMOKE, "PARAMS=precision=float32 epochs=6 small_epochs=1 patience=0"]
    commands.succeeds("03", *settings, f"OUT={whole}")
    command = [sys.executable, "-m", "fer_helpers.run", "03", *settings, f"OUT={broken}"]
    killed = subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True)
    assert any(re.search(r"epoch +2/6", line) for line in killed.stdout), "it ended before its second epoch"
    for process in (*children(killed.pid), killed.pid):
        os.kill(process, signal.SIGKILL)
    killed.communicate()
    assert not (broken / "03_baseline_cnn" / "baseline.safetensors").exists()
    output = commands.succeeds("03", *settings, f"OUT={broken}")
    epoch = re.search(r"going on after epoch (\d+) ", output)
    assert epoch and 2 <= int(epoch[1]) < 6, output[-3000:]
    whole, broken = whole / "03_baseline_cnn", broken / "03_baseline_cnn"
    for name in ("baseline.safetensors", "small_cnn/small_cnn.safetensors"):
        weights, others = (safetensors.torch.load_file(folder / name) for folder in (whole, broken))
        assert all(torch.equal(weights[each], others[each]) for each in weights)
    histories = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (whole, broken)]
    assert histories[0].equals(histories[1]) and len(histories[0]) == 6
    answers = [dict(np.load(folder / "predictions.npz")) for folder in (whole, broken)]
    assert all(answers[0][name].tobytes() == answers[1][name].tobytes() for name in answers[0])
