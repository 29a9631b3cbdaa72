"""The page of results: `index.html` tells the row of notebooks, a screen each; beside it the notebooks as HTML.

Everything is made from files that are there, needs no network and no script, and is written whole or not at all.
"""

import base64
import hashlib
import re
from html import escape
from pathlib import Path

from fer_helpers import paths
from fer_helpers.publishing import story
from fer_helpers.publishing.story import Section

DEMONSTRATION = "DEMONSTRATION on drawn faces: it shows that the workbook runs, no more"
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #595959; --paper: #fff; --line: #d9d9d9; --link: #0161a0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #b3b3b3; --paper: #16181b; --line: #3a3f45; --link: #7cc4ff; } }
* { box-sizing: border-box; }
html:has(.drawn) { scroll-padding-top: 4rem; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: break-word; }
a { color: var(--link); }
.drawn { margin: 0; position: sticky; top: 0; z-index: 1; padding: .5rem 1rem; background: #a63a00; color: #fff;
  text-align: center; font-size: .9375rem; font-weight: 700; }
main { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
h1 { margin: 0; font-size: clamp(2rem, 6vw, 3.5rem); line-height: 1.1; }
h2 { margin: 0 0 1.25rem; font-size: clamp(1.5rem, 4vw, 2.25rem); line-height: 1.2; }
img { max-width: 100%; height: auto; }
nav ol { display: grid; gap: .3rem 2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
  padding: 0; list-style: none; }
.stage, .soft { margin: 0; color: var(--soft); font-size: .875rem; }
.badge { display: inline-block; margin-left: .5rem; padding: .05rem .5rem; border-radius: 1rem; background: #a63a00;
  color: #fff; font-weight: 700; }
.kept { background: #3d5a80; }
.number { margin: 1rem 0; }
.number strong { display: block; font-size: clamp(2.2rem, 6vw, 3.25rem); line-height: 1.1; }
"""
INDEX = """
header, section { min-height: 100vh; min-height: 100svh; padding: 2.5rem 0; display: flex; flex-direction: column;
  justify-content: center; border-bottom: 1px solid var(--line); }
.parts { display: grid; gap: 1.25rem 2.5rem; align-items: start; }
.parts > * { min-width: 0; }
@media (min-width: 60rem) { .parts { grid: "figure said" auto "figure more" 1fr / 3fr 2fr; }
  .long { grid: "figure said" auto "more said" 1fr / 3fr 2fr; }
  figure { grid-area: figure; } .said { grid-area: said; } .more { grid-area: more; } }
figure { margin: 0; padding: .75rem; background: #fff; border: 1px solid var(--line); border-radius: .5rem;
  text-align: center; }
figure img { display: block; margin: auto; max-height: 70vh; width: auto; }
.finding { margin: 0; font-size: 1.25rem; font-weight: 600; line-height: 1.35; }
.reading { margin: 0; padding: 0; list-style: none; font-size: .9375rem; }
.reading li { margin-bottom: .4rem; }
"""
NOTEBOOK = """
main { max-width: 60rem; padding-bottom: 4rem; }
h2 { margin-top: 3rem; }
pre { overflow-x: auto; margin: .75rem 0; font-size: .8125rem; line-height: 1.45; }
.output_text pre { white-space: pre-wrap; }
.highlight { margin: .75rem 0; padding: .1rem .75rem; background: #f6f6f6; color: #1a1a1a; border-radius: .4rem; }
.highlight pre { color: inherit; }
.output_png img { background: #fff; border-radius: .4rem; }
.output_html, .rendered_html { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .2rem .6rem; border: 1px solid var(--line); text-align: left; }
.prompt { display: none; }
"""
SHEET = """
main { max-width: none; padding-bottom: 4rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.25rem; }
.figures { columns: 24rem; column-gap: 1rem; }
figure { margin: 0 0 1rem; padding: .5rem; break-inside: avoid; background: #fff; color: #1a1a1a;
  border: 1px solid var(--line); }
figcaption { font-size: .8125rem; }
"""


def make(out_root: Path, notebooks: Path = paths.ROOT / "notebooks") -> None:
    """Write index.html, contact_sheet.html and notebooks/<stage>.html into out_root, and say where and how large."""
    told = [story.tell(path, out_root) for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))]
    folder = out_root / "notebooks"
    executed = {folder / f"{each.stage}.html": each for each in told if each.executed}
    for path in set(folder.glob("*.html")) - set(executed):  # its notebook is no longer there
        path.unlink()
    for path, section in executed.items():
        write(path, notebook(section, path))
    write(out_root / "contact_sheet.html", contact_sheet(told, out_root))
    write(out_root / "index.html", index(told))
    size = (out_root / "index.html").stat().st_size / 1e6
    others = sum(path.stat().st_size for path in executed) / 1e6
    print(f"the page: {out_root / 'index.html'} ({size:.1f} MB; {len(executed)} executed notebooks, {others:.1f} MB)")


def after_run(out_root: Path) -> None:
    """The page at the end of a run; whatever goes wrong here is told and spoils nothing."""
    try:
        make(out_root)
    except Exception as error:
        print(f"The page could not be made ({type(error).__name__}: {error}). The results are whole; try: make report")


def write(path: Path, text: str) -> None:
    """Write a page, unless it is there already, byte for byte."""
    content = text.encode()
    if not path.exists() or path.read_bytes() != content:
        with paths.whole(path) as temporary:
            temporary.write_bytes(content)


def document(title: str, style: str, body: str, *, drawn: bool, head: str = "") -> str:
    """A page that loads nothing; `drawn` puts the banner over it that stays."""
    banner = f'<p class="drawn" role="note">{DEMONSTRATION}</p>\n' if drawn else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{head}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # else a browser asks for one
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{banner}{body}\n</body>\n</html>\n"
    )


def index(told: list[Section]) -> str:
    """The whole story: a first screen with the best model's number, then a screen a notebook."""
    folders = [each.folder for each in told if each.folder and each.stage[:2] in ("03", "04", "08")]
    chosen, drawn = story.best(folders), any(each.drawn for each in told)
    number = _number(chosen[1]) + _about(chosen[0]["data"], chosen[0]["run"]) if chosen else ""
    places = "".join(
        f'<li><a href="#{each.stage}">{each.stage[:2]}</a> {escape(each.question)}{_badges(each)}</li>' for each in told
    )
    top = (
        "<header>\n<h1>The FER workbook</h1>\n<p>From raw FER-2013 to an emotion classifier whose numbers can be "
        f'believed, a notebook a question.</p>\n{number}\n<nav aria-label="Notebooks"><ol>{places}</ol>'
        '<p class="soft"><a href="contact_sheet.html">All figures side by side</a></p></nav>\n</header>'
    )
    sections = "\n".join(_section(each) for each in told)
    return document("The FER workbook", INDEX, f"<main>\n{top}\n{sections}\n</main>", drawn=drawn)


def _badges(section: Section) -> str:
    drawn = '<span class="badge">drawn faces</span>' if section.drawn else ""
    kept = '<span class="badge kept">kept run on FER-2013</span>' if section.kept else ""
    return drawn + kept


def _section(section: Section) -> str:
    title = f'<p class="stage">{section.stage}{_badges(section)}</p>\n<h2>{escape(section.question)}</h2>'
    if not section.folder:
        said = f"<p>Not run yet: <code>make {section.stage[:2]}</code></p>"
        return f'<section id="{section.stage}">\n{title}\n{said}\n</section>'
    kept = "<p>Not run in this folder: this is the run that is kept in <code>outputs/reference</code>.</p>"
    lines = "".join(f"<li>{escape(line)}</li>" for line in section.reading)
    where = f"notebooks/{section.stage}.html"
    said = [
        kept if section.kept else "",
        f'<p class="finding">{escape(section.finding)}</p>' if section.finding else "",
        _number(section.number) if section.number else "",
    ]
    more = [
        f'<ul class="reading">{lines}</ul>' if lines else "",
        f'<p><a href="{where}">The whole notebook, with code and figures</a></p>' if section.executed else "",
        _about(section.data, section.run),
    ]
    wide, high = _size(section.figure) if section.figure else (1, 1)
    below = sum(map(len, section.reading)) > 600 and wide > 2 * high  # much to read, a flat figure: to fit on a screen
    place = "parts long" if below else "parts"
    return (
        f'<section id="{section.stage}">\n{title}\n<div class="{place}">\n<div class="said">{"".join(said)}</div>\n'
        f'{_figure(section)}\n<div class="more">{"".join(more)}</div>\n</div>\n</section>'
    )


def _number(number: story.Number) -> str:
    return (
        f'<p class="number"><strong>{escape(number.value)}</strong> {escape(number.of)}<br>'
        f'<span class="soft">{escape(number.interval)}</span></p>'
    )


def _about(data: dict, run: dict) -> str:
    words = [data.get("title"), data.get("source"), f"budget {run['budget']}" if run.get("budget") else ""]
    words += [run.get("device"), run.get("when", "")[:10], f"commit {run['commit']}" if run.get("commit") else ""]
    return f'<p class="soft">{escape(" · ".join(dict.fromkeys(filter(None, words))))}</p>'


def _figure(section: Section) -> str:
    """The figure inside the page itself, so that both are of one run."""
    if not section.figure:
        return ""
    content = section.figure.read_bytes()
    wide, high = _size(section.figure)
    image = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    alt = escape(f"{section.finding}. {section.caption}" if section.finding else section.question)
    return f'<figure><img src="{image}" alt="{alt}" width="{wide}" height="{high}" loading="lazy"></figure>'


def _size(figure: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    content = figure.read_bytes()[16:24]
    return int.from_bytes(content[:4]), int.from_bytes(content[4:])


def notebook(section: Section, before: Path) -> str:
    """An executed notebook as HTML; the text of `before` where that was made from the same copy by the same code."""
    made_of = hashlib.sha256(section.executed.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    head = f'<meta name="made-of" content="{made_of}">\n'
    if before.exists() and head in (text := before.read_text(encoding="utf-8")):
        return text
    import nbformat
    from nbconvert import HTMLExporter

    book = nbformat.read(section.executed, as_version=4)
    heading = ""
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\[!\[.*?]\(.*?\)]\(.*?\)", "", cell.source)  # a badge would be loaded from elsewhere
            heading = [heading, *re.findall(r"(?m)^#+ (.+)$", cell.source)][-1]
        for out in cell.get("outputs", []):
            if "image/png" in out.get("data", {}):  # plots says what it shows; older copies have the heading alone
                out.metadata.setdefault("image/png", {}).setdefault("alt", f"Figure: {heading}")
    exporter = HTMLExporter(template_name="basic", embed_images=True, exclude_anchor_links=True)
    body, resources = exporter.from_notebook_node(book)
    style = NOTEBOOK + "".join(resources["inlining"]["css"])
    back = f'<p><a href="../index.html#{section.stage}">Back to the page</a></p>'
    whole = f"<main>\n{back}\n{body}\n{back}\n</main>"
    return document(f"{section.stage}: {section.question}", style, whole, drawn=section.drawn, head=head)


def contact_sheet(told: list[Section], out_root: Path) -> str:
    """All figures of the row side by side, to compare their style."""
    parts = []
    for section in told:
        figures = sorted((out_root / section.stage).rglob("*.png"))
        shown = []
        for path in figures:
            title, caption = story.words_of(path)
            alt, where = escape(f"{title}. {caption}" if title else path.stem), path.relative_to(out_root).as_posix()
            shown.append(
                f'<figure><img src="{escape(where)}" alt="{alt}" loading="lazy">'
                f"<figcaption>{escape(path.relative_to(out_root / section.stage).as_posix())}</figcaption></figure>"
            )
        if shown:
            parts.append(f'<h2>{section.stage}</h2>\n<div class="figures">{"".join(shown)}</div>')
    body = '<main>\n<h1>All figures</h1>\n<p><a href="index.html">Back to the page</a></p>\n' + "\n".join(parts)
    return document("All figures", SHEET, body + "\n</main>", drawn=any(each.drawn for each in told))
