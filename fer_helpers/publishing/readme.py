"""The README's numbers and tables, made from outputs/reference/, and the repository's address everywhere.

What they say stands in templates/readme.md.j2, a block for each place of the README.
"""

import json
import re
from pathlib import Path

import pandas as pd

from fer_helpers import paths, predict
from fer_helpers.publishing import rendering

README = paths.ROOT / "README.md"
TEMPLATE = "readme.md.j2"


def blocks() -> dict[str, str]:
    """Everything in the README that is made: place -> text."""
    return {name: block(name) for name in rendering.blocks(TEMPLATE)}


def block(name: str) -> str:
    """What stands at one place of the README; '' where the reference doesn't hold yet what it is about."""
    return rendering.block(
        TEMPLATE,
        name,
        kept=kept,
        bench=lambda section: (read("bench.json") or {}).get(section),
        leaderboard=leaderboard,
        evaluations=lambda: len(pd.read_csv(paths.REFERENCE / "test_evaluations.csv")),
        minutes=minutes,
        notebooks=notebooks,
        question=question,
        badge=badge,
        given_away=lambda: predict.given_away().relative_to(paths.ROOT).as_posix(),
    )


def read(name: str) -> dict | None:
    """A JSON file of the reference; None if it isn't there."""
    path = paths.REFERENCE / name
    return paths.read_json(path) if path.exists() else None


def kept(stage: str) -> dict | None:
    """The kept metrics of a stage, or of a model in a folder of one; None if there are none."""
    return read(f"{stage}/metrics.json")


def leaderboard() -> list[dict]:
    """The kept leaderboard, a dictionary a model in the order of val; None where a cell is empty."""
    table = pd.read_csv(paths.REFERENCE / "09_results" / "leaderboard.csv")
    return table.astype(object).where(table.notna(), None).to_dict("records")


def minutes() -> dict[str, float]:
    """How long the kept run of the main row took, notebook by notebook."""
    seconds = read("times.json")["seconds"]
    return {stage[:2]: time / 60 for stage, time in seconds.items() if stage[:2] in paths.MAIN_ROW}


def write() -> None:
    """Put the reference's numbers into README.md, between `<!-- name -->` and `<!-- /name -->`."""
    text = README.read_text(encoding="utf-8")
    for name, block in blocks().items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place '<!-- {name} -->' … '<!-- /{name} -->' for the numbers.")
        text = pattern.sub(lambda place, block=block: f"{place[1]}{block}\n{place[2]}", text)
    with paths.whole(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


def notebooks() -> list[Path]:
    """The notebooks in their order."""
    return sorted((paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def badge(notebook: Path) -> str:
    """The Markdown of a notebook's Colab badge, at the address that pyproject.toml states."""
    place = paths.repository().removeprefix("https://github.com/")
    target = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{notebook.name}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({target})"


def question(notebook: Path) -> str:
    """What a notebook asks: its title."""
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    return re.search(r"^# \d\d · (.+)$", first, re.MULTILINE)[1]


def address() -> None:
    """Carry the repository's address from pyproject.toml into every notebook (badge, clone) and the README."""
    url = paths.repository()
    for path in [README, *notebooks()]:
        text = path.read_text(encoding="utf-8")
        old = re.search(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob", text)[1]
        text = text.replace(f"/github/{old}/blob", f"/github/{url.removeprefix('https://github.com/')}/blob")
        text = text.replace(f"https://github.com/{old}", url)
        with paths.whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write()
    print(f"Notebooks and README point at {url}.")
