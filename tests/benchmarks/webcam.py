"""Pictures a second that a browser shows answered, from its (fake) camera through the page of `make demo` and back.

Needs what `make demo` installs, Playwright and Chromium: .venv/demo/bin/python -m tests.benchmarks auto outputs webcam
"""

import tempfile
from pathlib import Path

from fer_helpers import predict
from fer_helpers.photos import detection, webapp
from tests import webcam

COUNT = """() => {
  window.shown = [];
  let last = "";
  new MutationObserver(() => {
    const now = document.querySelector('img[src^="data:image/jpeg"]')?.src;
    if (now && now !== last) { last = now; window.shown.push(performance.now()); }
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


def measure(data: str, small: bool, out_root: str) -> dict:
    """`answered_a_second`: pictures that differ from the one before, counted in the browser's page."""
    model, confidence = detection.load(predict.given_away(), 0.8)
    page, address = webapp.serve(model, detection.threshold_of(confidence), block=False, browser=False)
    seconds = 3 if small else 30
    with tempfile.TemporaryDirectory() as folder, webcam.opened(address, webcam.film(Path(folder))) as browser:
        webcam.begin(browser)
        browser.evaluate(COUNT)
        browser.wait_for_timeout(1000 * seconds)
        shown = browser.evaluate("window.shown")
    page.close()
    span, asked = (shown[-1] - shown[0]) / 1000, {"model": predict.given_away().stem, "asked": webapp.FPS}
    return {"answered_a_second": round((len(shown) - 1) / span, 1), "seconds": round(span, 1), **asked}
