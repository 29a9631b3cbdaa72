"""FER-2013 from Kaggle through kagglehub, with a time limit around it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

HANDLE = "msambare/fer2013/versions/1"  # without its version kagglehub asks the network even for what it has
ADDRESS = "https://www.kaggle.com/datasets/msambare/fer2013"
ANSWER_SECONDS = 10  # within which Kaggle has to answer, or kagglehub's own cache
DOWNLOAD_SECONDS = 15 * 60
# A process of its own, because kagglehub has no time limit and a thread that waits for a name server can't be stopped
DOWNLOAD = """
import os, threading
try:
    import kagglehub, requests
    from kagglesdk.kaggle_env import get_endpoint, get_env
    clock = threading.Timer({seconds}, os._exit, [3])
    clock.daemon = True
    clock.start()
    try:
        requests.head(get_endpoint(get_env()), timeout={seconds} / 2)
        clock.cancel()
    except requests.RequestException:
        pass  # kagglehub's cache may have it
    print("\\npath", kagglehub.dataset_download({handle!r}))
except Exception as error:
    print("\\nerror", type(error).__name__, " ".join(str(error).split()))
"""


def fetch() -> Path:
    """The folder of FER-2013, out of kagglehub's cache or the network; never asks for a password.

    Raises ConnectionError, within ANSWER_SECONDS where Kaggle doesn't answer.
    """
    call = [sys.executable, "-X", "utf8", "-c", DOWNLOAD.format(seconds=ANSWER_SECONDS, handle=HANDLE)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}  # its bar of progress goes to the terminal
    quiet = {**os.environ, "KAGGLEHUB_VERBOSITY": "error"}
    try:
        done = subprocess.run(call, **streams, env=quiet, timeout=DOWNLOAD_SECONDS)
        kind, _, rest = done.stdout.decode(errors="replace").strip().split("\n")[-1].partition(" ")
        if kind == "path" and Path(rest).is_dir():
            return Path(rest)
        reason = _reason(kind, rest, done.returncode)
    except subprocess.TimeoutExpired:
        reason = f"The download from Kaggle took longer than {DOWNLOAD_SECONDS / 60:g} minutes"
    raise ConnectionError(f"{reason}. Download archive.zip by hand from {ADDRESS} and give its path: DATA=archive.zip")


def _reason(kind, rest, status):
    """Why there is nothing from Kaggle, as a sentence without its end."""
    error, _, text = rest.partition(" ")
    if status == 3 or (kind == "error" and ("Timeout" in error or error in ("ConnectionError", "SSLError"))):
        return "Kaggle doesn't answer from here (no network?)"
    if text.startswith(("401", "403")) or error == "UnauthenticatedError":
        return f"Kaggle wants an account ({textwrap.shorten(text, 40)}); with one, set KAGGLE_API_TOKEN to its token"
    return f"Kaggle gave an error: {textwrap.shorten(rest, 200) or f'exit {status}'}"
