"""The READMEs' numbers and tables, made from outputs/reference/, and the repository's address everywhere.

What they say stands in templates/readme.md.j2, a block for each place of a README.
"""

import re
from pathlib import Path

import pandas as pd

from fer_helpers import paths, predict, results
from fer_helpers.publishing import rendering

README = paths.ROOT / "README.md"
HELPERS = ("fer_helpers", "fer_helpers/studies", "fer_helpers/photos")
FOLDERS = ("notebooks", "outputs/reference", *HELPERS, "tests/benchmarks")
READMES = (README, *(paths.ROOT / folder / "README.md" for folder in FOLDERS))
TEMPLATE = rendering.ENVIRONMENT.get_template("readme.md.j2")


def block(name: str) -> str:
    """What stands at one place of a README; '' where the reference doesn't hold yet what it is about.

    A paragraph or list item is one line, however the template breaks it.
    """
    values = globals() | {"bench": lambda section: (read("bench.json") or {}).get(section), "enough": results.ENOUGH}
    values["evaluations"] = lambda: len(pd.read_csv(paths.REFERENCE / "test_evaluations.csv"))
    values["given_away"] = lambda: predict.given_away().relative_to(paths.ROOT).as_posix()
    text = "".join(TEMPLATE.blocks[name](TEMPLATE.new_context(values))).strip()
    return text if "```" in text else re.sub(r"(?<=\S)\n *(?!\s|\||- )", " ", text)


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


def notebooks() -> list[Path]:
    """The notebooks in their order."""
    return sorted((paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def question(notebook: Path) -> str:
    """What a notebook asks: its title."""
    first = "".join(paths.read_json(notebook)["cells"][0]["source"])
    return re.search(r"^# \d\d · (.+)$", first, re.MULTILINE)[1]


def minutes_of(stage: str) -> str:
    """How long the kept run of a notebook took, or a study's trainings; a dash where that isn't known."""
    seconds = read("times.json")["seconds"].get(stage) or (kept(stage) or {}).get("run", {}).get("seconds")
    return f"{max(seconds / 60, 1):.0f}" if seconds else "–"


def colab(notebook: Path) -> str:
    """Where a notebook opens in Colab, at the address that pyproject.toml states."""
    place = paths.repository().removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{notebook.name}"


def write() -> None:
    """Put the reference's numbers into the READMEs, between `<!-- name -->` and `<!-- /name -->`."""
    missing = {*TEMPLATE.blocks}
    for path in READMES:
        text = path.read_text(encoding="utf-8")
        for name in TEMPLATE.blocks:
            place, made = rf"(?s)(<!-- {name} -->\n).*?(<!-- /{name} -->)", block(name).replace("\\", r"\\")
            text, count = re.subn(place, rf"\g<1>{made}\n\g<2>", text)
            missing -= {name} if count else set()
        rendering.write(path, text)
    if missing:
        raise ValueError(f"No README has a place '<!-- name -->' … '<!-- /name -->' for {', '.join(sorted(missing))}.")


def address() -> None:
    """Carry the repository's address from pyproject.toml into every notebook (badge, clone), CITATION.cff, README."""
    url, badge = paths.repository(), r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob"
    known = re.search(badge, README.read_text(encoding="utf-8"))
    for path in [*notebooks(), README.with_name("CITATION.cff"), README]:  # the README, which is `known`, comes last
        text = path.read_text(encoding="utf-8")
        old = (re.search(badge, text) or known)[1]
        text = text.replace(f"/github/{old}/blob", f"/github/{url.removeprefix('https://github.com/')}/blob")
        rendering.write(path, text.replace(f"https://github.com/{old}", url))
    write()
    print(f"Notebooks, CITATION.cff and README point at {url}.")
