"""How large is the page of results, how long does it take to make, and how soon does it stand in a browser?"""

import shutil
import statistics
import tempfile
from pathlib import Path

from fer_helpers import paths
from fer_helpers.publishing import page
from tests import pages
from tests.benchmarks.fresh import timed

MADE_FROM = ("", ".json", ".png", ".ipynb")  # files' suffixes, and folders
WINDOWS = {"desk": (1280, 900), "phone": (390, 844)}


def measure(data, small: bool, out_root: str) -> dict:
    """The page of the results in out_root, made in a copy of what it is made from; opened several times from disk."""
    if pages.PROGRAM is None:
        raise ValueError("The page is measured in Chromium: install it, so that chromium is found on the PATH.")
    visits, others = 1 if small else 9, lambda _, names: [name for name in names if Path(name).suffix not in MADE_FROM]
    with tempfile.TemporaryDirectory() as folder:
        for stage in (paths.ROOT / out_root).glob("[0-9][0-9]_*"):
            shutil.copytree(stage, Path(folder) / stage.name, ignore=others)
        _, seconds = timed(page.make, Path(folder))
        index = Path(folder) / "index.html"
        with pages.chromium() as browser:
            browser.visit(index.as_uri())  # warms the browser up
            loaded = {
                name: statistics.median(browser.visit(index.as_uri(), *size)["loaded_ms"] for _ in range(visits))
                for name, size in WINDOWS.items()
            }
        books = [path.stat().st_size for path in (Path(folder) / "notebooks").glob("*.html")]
        sizes = {"index_mb": round(index.stat().st_size / 1e6, 3), "notebooks_mb": round(sum(books) / 1e6, 2)}
    times = {"make_seconds": round(seconds, 2), "loaded_ms": {name: round(each, 1) for name, each in loaded.items()}}
    return {"notebooks": len(books), "visits": visits} | sizes | times
