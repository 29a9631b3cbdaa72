"""The workbook's commands, as a terminal would run them."""

import os
import subprocess
import sys

from fer_helpers import paths

OFFLINE = {"HTTPS_PROXY": "http://127.0.0.1:9"}  # nobody answers there: nothing is downloaded
SMOKE = ("DATA=synthetic", "BUDGET=smoke")


def call(*words: str, **environment: str) -> tuple[int, str]:
    """Run a command; returns its exit status and what it printed on both streams."""
    command = [sys.executable, "-m", "fer_helpers.run", *words]
    process = subprocess.run(
        command, cwd=paths.ROOT, capture_output=True, text=True, env=os.environ | OFFLINE | environment
    )
    return process.returncode, process.stdout + process.stderr


def succeeds(*words: str, **environment: str) -> str:
    """Run a command that must end well; returns what it printed."""
    status, output = call(*words, **environment)
    assert status == 0, output[-3000:]
    return output
