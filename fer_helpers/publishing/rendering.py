"""The templates of the page, the README's blocks and the model cards, and the filters that they use."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fer_helpers import paths
from fer_helpers.statistics import Difference

TEMPLATES = Path(__file__).parent / "templates"
ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=select_autoescape(["html.j2"]),
    undefined=StrictUndefined,  # a name that isn't known is an error instead of nothing
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters |= {
    "fmt": format,  # as in an f-string: {{ share|fmt(".1%") }}
    "difference": lambda card: str(Difference.read(card)),
    "interval": lambda ends, form=".1%": f"{ends[0]:{form}} to {ends[1]:{form}}",
    "spoken": lambda name: name.replace("_", " "),
    "memory": lambda runs: max(run["memory_peak_mb"] - run["memory_before_mb"] for run in runs),
    "on_gpu": lambda device: " partly" * (" and cuda" in device) + " on a GPU" * ("cuda" in device),
    "machine": lambda run: (
        f"{run['threads']} thread{'s' * (run['threads'] != 1)}, {run['device'].replace('cpu: ', '')}"
    ),
}


def render(template: str, **values) -> str:
    """A whole template with these values."""
    return ENVIRONMENT.get_template(template).render(**values)


def write(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all, unless it is there already, byte for byte."""
    content = text.encode()
    if not path.exists() or path.read_bytes() != content:
        with paths.whole(path) as temporary:
            temporary.write_bytes(content)
