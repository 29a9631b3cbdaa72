"""A web page in which an exported model answers a webcam: nothing is computed elsewhere; any file server shows it."""

import shutil
import subprocess
import tarfile
import tempfile
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fer_helpers import paths
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS
from fer_helpers.publishing import rendering

RUNTIME = "onnxruntime-web@1.30.0"  # of npm; 33 MB to download, of which these two files are used
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
VIEWS = 2  # ten take five times as long, and a webcam's next frame moves the face anyway


def make(model: Path, name: str) -> Path:
    """Write the page and onnxruntime-web beside an exported model, the network called `name`; returns their folder."""
    folder = model.parent
    for file in FILES:
        with paths.whole(folder / file) as temporary:
            shutil.copyfile(runtime() / file, temporary)
    page = rendering.render("browser.html.j2", name=name, file=model.name, emotions=EMOTIONS, runtime=FILES[0])
    rendering.write(folder / "index.html", page)
    return folder


def runtime() -> Path:
    """The folder of onnxruntime-web in .cache, fetched by npm once. Raises UserError where npm can't."""
    folder = paths.ROOT / ".cache" / RUNTIME.replace("@", "-")
    if all((folder / name).exists() for name in FILES):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"The page needs {RUNTIME}, which npm fetches: install Node.js (nodejs.org), which has npm.")
    print(f"Fetching {RUNTIME} with npm, 33 MB, once.")
    with tempfile.TemporaryDirectory() as place:
        command = [npm, "pack", RUNTIME, "--silent", "--pack-destination", place]
        process = subprocess.run(command, cwd=place, capture_output=True, text=True, errors="replace")
        archives = list(Path(place).glob("*.tgz"))
        if process.returncode or not archives:
            last = (process.stderr.strip() or "is there a network?").splitlines()[-1]
            raise UserError(f"npm couldn't fetch {RUNTIME} ({last}); the same command tries again.", code=1)
        with tarfile.open(archives[0]) as archive:
            for name in FILES:
                with paths.whole(folder / name) as temporary:
                    temporary.write_bytes(archive.extractfile(f"package/dist/{name}").read())
    return folder


class _Files(SimpleHTTPRequestHandler):
    """Serves a folder; the types don't depend on what else is installed on this computer."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, *_):
        pass


def serve(folder: Path, *, block: bool = True) -> ThreadingHTTPServer:
    """Show the page on this computer's own address until stopped; `block` False: return the server, not started."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))  # nobody else in the network
    address = f"http://127.0.0.1:{server.server_port}"
    print(f"The page is at {address} on this computer alone; Ctrl-C ends it.")
    if block:
        webbrowser.open(address)
        with server:
            server.serve_forever()
    return server
