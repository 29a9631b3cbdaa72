"""The templates of the page, the README's blocks and the model cards, and the filters that they use."""

import re
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fer_helpers.statistics import Difference

TEMPLATES = Path(__file__).parent / "templates"


FILTERS = {
    "fmt": format,  # as in an f-string: {{ share|fmt(".1%") }}
    "difference": lambda card: str(Difference.read(card)),
    "interval": lambda ends, form=".1%": f"{ends[0]:{form}} to {ends[1]:{form}}",
    "spoken": lambda name: name.replace("_", " "),
    "memory": lambda runs: max(run["memory_peak_mb"] - run["memory_before_mb"] for run in runs),
    "machine": lambda run: f"{run['threads']} threads, {run['device'].replace('cpu: ', '')}",
}


@lru_cache
def environment() -> Environment:
    """Jinja's environment: HTML is escaped, and a name that isn't known is an error instead of nothing."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= FILTERS
    return made


def render(template: str, **values) -> str:
    """A whole template with these values."""
    return environment().get_template(template).render(**values)


def blocks(template: str) -> list[str]:
    """The names of a template's blocks, in their order."""
    return list(environment().get_template(template).blocks)


def block(template: str, name: str, **values) -> str:
    """One block of a Markdown template, a line a paragraph or list item, however the template breaks its lines."""
    found = environment().get_template(template)
    text = "".join(found.blocks[name](found.new_context(values))).strip()
    return text if "```" in text else re.sub(r"(?<=\S)\n *(?!\s|\||- )", " ", text)
