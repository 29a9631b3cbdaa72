"""Headless Chromium, spoken to through its debugging pipe: what a page shows, what went wrong, what it asked for."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from itertools import count

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SEEN = """new Promise(done => {
  const told = () => done({
    images: [...document.images].map(one => ({alt: one.alt, wide: one.naturalWidth})),
    wide: document.documentElement.scrollWidth, window: innerWidth,
    loaded_ms: performance.getEntriesByType("navigation")[0].loadEventEnd,
    sections: [...document.querySelectorAll("section")].map(one => one.getBoundingClientRect().height),
  });
  for (const one of document.images) one.loading = "eager";
  const all = [...document.images].map(one => one.decode().catch(() => 0));
  Promise.all(all).then(() => setTimeout(told, 50));
})"""


class Chromium:
    """A running browser with one empty page."""

    def __init__(self, to, of):
        self.to, self.of, self.numbers, self.events = to, of, count(1), []
        target = self.ask("Target.createTarget", {"url": "about:blank"}, page=False)["targetId"]
        attach = {"targetId": target, "flatten": True}
        self.session = self.ask("Target.attachToTarget", attach, page=False)["sessionId"]
        for part in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{part}.enable")

    def message(self) -> dict:
        """The next message of the browser; events are kept."""
        text = b""
        while not text.endswith(b"\0"):
            piece = self.of.read(1)
            if not piece:
                raise RuntimeError("Chromium ended.")
            text += piece
        found = json.loads(text[:-1])
        if "method" in found:
            self.events.append(found)
        return found

    def ask(self, method: str, parameters: dict | None = None, page: bool = True) -> dict:
        """Send a command, wait for its answer."""
        number = next(self.numbers)
        words = {"id": number, "method": method, "params": parameters or {}}
        words |= {"sessionId": self.session} if page else {}
        self.to.write(json.dumps(words).encode() + b"\0")
        self.to.flush()
        while (found := self.message()).get("id") != number:
            pass
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        return found["result"]

    def visit(self, url: str, wide: int = 1280, high: int = 900, dark: bool = False) -> dict:
        """Open a page in a window of this size, and tell what is seen, errors, and addresses asked for."""
        self.events.clear()
        size = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": wide < 600}
        self.ask("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.ask("Page.navigate", {"url": url})
        while not any(each["method"] == "Page.loadEventFired" for each in self.events):
            self.message()
        asked = {"expression": SEEN, "awaitPromise": True, "returnByValue": True}
        seen = self.ask("Runtime.evaluate", asked)["result"]["value"]
        return seen | {"errors": list(self.errors()), "asked": list(self.addresses())}

    def errors(self):
        """Everything that the console would show as an error or a warning."""
        for each in self.events:
            told = each["params"]
            if each["method"] == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                yield told["entry"]["text"] + " " + told["entry"].get("url", "")
            elif each["method"] == "Runtime.exceptionThrown":
                yield told["exceptionDetails"]["text"]
            elif each["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
                yield str([one.get("value") for one in told["args"]])

    def addresses(self):
        """Every address that the page asked for."""
        for each in self.events:
            if each["method"] == "Network.requestWillBeSent":
                yield each["params"]["request"]["url"]

    def picture(self, path, anchor: str = "") -> None:
        """A screenshot of the window as PNG, scrolled to an element."""
        if anchor:
            scroll = f"document.getElementById({anchor!r}).scrollIntoView({{behavior: 'instant'}})"
            self.ask("Runtime.evaluate", {"expression": scroll})
        content = self.ask("Page.captureScreenshot", {"format": "png"})["data"]
        path.write_bytes(base64.b64decode(content))


@contextmanager
def chromium():
    """A browser that is ended afterwards."""
    read, to = os.pipe()
    of, written = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = f"--headless --no-sandbox --disable-gpu --no-first-run --user-data-dir={profile}"
        command = ["sh", "-c", f'exec "{PROGRAM}" {flags} --remote-debugging-pipe 3<&{read} 4>&{written}']
        process = subprocess.Popen(command, pass_fds=(read, written), stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(written)
        with os.fdopen(to, "wb") as out, os.fdopen(of, "rb") as back:
            try:
                yield Chromium(out, back)
            finally:
                process.terminate()
                process.wait(timeout=30)
