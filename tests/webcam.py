"""A browser before the page of `make demo`, with a camera that is fed from a file. Needs Playwright and Chromium."""

from contextlib import contextmanager

import numpy as np

from fer_helpers.photos import album, detection
from tests import pages


def film(folder):
    """A film for Chromium's fake camera, 640×480, two seconds: the astronaut, moving from side to side."""
    astronaut, path = detection.read(album.samples()["astronaut.png"]).image, folder / "camera.y4m"
    with path.open("wb") as stream:
        stream.write(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n")
        for k in range(60):
            left = 40 + 40 * np.sin(k / 30 * np.pi)
            picture = astronaut.resize((640, 480), box=(left, 0, left + 400, 300))
            light, *colours = picture.convert("YCbCr").split()
            parts = [light, *(part.resize((320, 240)) for part in colours)]
            stream.write(b"FRAME\n" + b"".join(part.tobytes() for part in parts))
    return path


@contextmanager
def opened(address, camera, allowed=True):
    """The page in headless Chromium; `asked_for` holds every address that it asks for."""
    from playwright.sync_api import sync_playwright

    fake = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
    fake += ["--use-fake-ui-for-media-stream"] * allowed
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pages.PROGRAM, args=["--no-sandbox", *fake])
        page = browser.new_context(permissions=["camera"] * allowed).new_page()
        page.asked_for = []
        page.on("request", lambda request: page.asked_for.append(request.url))
        page.goto(address, timeout=120_000)
        page.wait_for_selector("text=Click to Access Webcam", timeout=120_000)
        yield page
        browser.close()


def begin(page):
    """Let the camera run until the first answer stands there."""
    page.click("text=Click to Access Webcam")
    page.click("text=Record")
    page.wait_for_function("document.querySelector('#answer')?.innerText.includes('happy')", timeout=120_000)
