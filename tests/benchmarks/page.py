"""How large is the page of results, how long does it take to make, and how soon does it stand in a browser?"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from fer_helpers import paths
from fer_helpers.publishing import page
from tests import pages

WINDOWS = {"desk": (1280, 900), "phone": (390, 844)}


def measure(data, small: bool, out_root: str) -> dict:
    """The page of the results in out_root, made in a copy of what it is made from; opened several times from disk."""
    if pages.PROGRAM is None:
        raise ValueError("The page is measured in Chromium: install it, so that chromium is found on the PATH.")
    visits, results = 1 if small else 9, paths.ROOT / out_root
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("*.json", "*.png", "*.ipynb"):
            for path in results.glob(f"[0-9][0-9]_*/**/{name}"):
                target = copy / path.relative_to(results)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        start = time.perf_counter()
        page.make(copy)
        seconds = time.perf_counter() - start
        with pages.chromium() as browser:
            browser.visit((copy / "index.html").as_uri())  # warms the browser up
            loaded = {
                name: [browser.visit((copy / "index.html").as_uri(), *size)["loaded_ms"] for _ in range(visits)]
                for name, size in WINDOWS.items()
            }
        books = [path.stat().st_size for path in (copy / "notebooks").glob("*.html")]
        index = (copy / "index.html").stat().st_size
    return {
        "index_mb": round(index / 1e6, 3),
        "notebooks": len(books),
        "notebooks_mb": round(sum(books) / 1e6, 2),
        "make_seconds": round(seconds, 2),
        "visits": visits,
        "loaded_ms": {name: round(statistics.median(each), 1) for name, each in loaded.items()},
    }
