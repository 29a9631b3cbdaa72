"""How a page is judged: by its HTML alone, and in headless Chromium, spoken to through its debugging pipe."""

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome") if os.name == "posix" else ()
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
SEEN = """new Promise(done => {
  const report = () => done({
    images: [...document.images].map(one => ({alt: one.alt, wide: one.naturalWidth})),
    wide: document.documentElement.scrollWidth, window: innerWidth,
    loaded_ms: performance.getEntriesByType("navigation")[0].loadEventEnd,
    sections: [...document.querySelectorAll("section")].map(one => one.getBoundingClientRect().height),
  });
  for (const one of document.images) one.loading = "eager";
  const all = [...document.images].map(one => one.decode().catch(() => 0));
  Promise.all(all).then(() => setTimeout(report, 50));
})"""
LOADS = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}


class Html(HTMLParser):
    """What stands in a page: images, links, sections, everything that is loaded, and the text."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.images, self.links, self.sections, self.loads, self.text = path, [], [], [], [], ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        of = dict(attrs)
        self.images += [of] if tag == "img" else []
        self.links += [of["href"]] if tag == "a" else []
        self.sections += [of["id"]] if tag == "section" else []
        self.loads += [of[LOADS[tag]]] if of.get(LOADS.get(tag)) else []

    def handle_data(self, data):
        self.text += data

    def check(self):
        """It says what its pictures show, and loads nothing but what lies beside it."""
        assert self.source.startswith('<!doctype html>\n<html lang="en">') and 'name="viewport"' in self.source
        for image in self.images:
            assert len(image["alt"]) > 5, f"what does it show? {image['src'][:80]}"
        for address in self.loads:
            assert address.startswith("data:") or (self.path.parent / address).exists(), address[:80]
        assert "url(" not in self.source and "@import" not in self.source and "<script" not in self.source


class Chromium:
    """A running browser with one empty page."""

    def __init__(self, to, of):
        self.to, self.of, self.rest, self.numbers, self.events = to, of, b"", count(1), []
        target = self.ask("Target.createTarget", {"url": "about:blank"}, page=False)["targetId"]
        attach = {"targetId": target, "flatten": True}
        self.session = self.ask("Target.attachToTarget", attach, page=False)["sessionId"]
        for part in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{part}.enable")

    def message(self) -> dict:
        """The next message of the browser; events are kept."""
        while b"\0" not in self.rest:  # a picture inside a page is an address of half a megabyte
            if not (piece := self.of.read1(1 << 20)):
                raise RuntimeError("Chromium ended.")
            self.rest += piece
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        self.events += [message] if "method" in message else []
        return message

    def ask(self, method: str, parameters: dict | None = None, page: bool = True) -> dict:
        """Send a command, wait for its answer."""
        number = next(self.numbers)
        words = {"id": number, "method": method, "params": parameters or {}}
        words |= {"sessionId": self.session} if page else {}
        self.to.write(json.dumps(words).encode() + b"\0")
        self.to.flush()
        while (answer := self.message()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def visit(self, url: str, wide: int = 1280, high: int = 900) -> dict:
        """Open a page in a window of this size, and return what is seen, errors, and addresses asked for."""
        self.events.clear()
        size = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": wide < 600}
        self.ask("Emulation.setDeviceMetricsOverride", size)
        self.ask("Page.navigate", {"url": url})
        while not any(each["method"] == "Page.loadEventFired" for each in self.events):
            self.message()
        asked = {"expression": SEEN, "awaitPromise": True, "returnByValue": True}
        seen = self.ask("Runtime.evaluate", asked)["result"]["value"]
        return seen | {"errors": list(self.errors()), "asked": self.addresses()}

    def errors(self):
        """Everything that the console would show as an error or a warning."""
        for each in self.events:
            event = each["params"]
            if each["method"] == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
                yield event["entry"]["text"] + " " + event["entry"].get("url", "")
            elif each["method"] == "Runtime.exceptionThrown":
                yield event["exceptionDetails"]["text"]
            elif each["method"] == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"):
                yield str([one.get("value") for one in event["args"]])

    def addresses(self) -> list[str]:
        """Every address that the page asked for."""
        sent = [each["params"] for each in self.events if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]


@contextmanager
def chromium(*more: str):
    """A browser with `more` flags, ended afterwards; it reads what it is asked from its file 3, answers into file 4."""
    import fcntl  # Windows has none, and its browsers no such pipe

    (read, to), (of, written) = os.pipe(), os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (read, written)]  # neither is 3 or 4 itself
    os.close(read)
    os.close(written)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe", *more]
        pipes = {"preexec_fn": lambda: (os.dup2(ends[0], 3), os.dup2(ends[1], 4)), "close_fds": False}
        command = [PROGRAM, *flags, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)
        for end in ends:
            os.close(end)
        with os.fdopen(to, "wb") as out, os.fdopen(of, "rb") as back:
            try:
                yield Chromium(out, back)
            finally:
                process.terminate()
                process.wait(timeout=30)
