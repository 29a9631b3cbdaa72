"""The workbook's commands, as a terminal would run them."""

import os
import subprocess
import sys

from fer_helpers import paths
from fer_helpers.workbook import cli

OFFLINE = {"HTTPS_PROXY": "http://127.0.0.1:9"}  # nobody answers there: nothing is downloaded
SMOKE = ("DATA=synthetic", "BUDGET=smoke")


def succeeds(*words: str, **environment: str) -> str:
    """Run a command that must end well, in a process of its own; returns what it printed on both streams."""
    command, streams = [sys.executable, "-m", "fer_helpers.run", *words], {"capture_output": True, "text": True}
    process = subprocess.run(command, cwd=paths.ROOT, env=os.environ | OFFLINE | environment, **streams)
    assert process.returncode == 0, (process.stdout + process.stderr)[-3000:]
    return process.stdout + process.stderr


def here(capsys, *words: str) -> str:
    """Run a command that must end well in this process, where torch is imported already; returns what it printed."""
    capsys.readouterr()
    assert cli.main([*words]) == 0, capsys.readouterr()
    return capsys.readouterr().out
