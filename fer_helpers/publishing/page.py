"""The page of results: `index.html` tells the row of notebooks, a screen each; beside it the notebooks as HTML.

Everything is made from files that are there, without network or script, and written whole or not at all. Nothing is
computed: a section is the headline that a notebook wrote into its metrics.json, beside the figure that it names.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from fer_helpers import paths, results
from fer_helpers.publishing import readme, rendering

HEADLINE = ("value", "interval", "of", "reading", "figure")  # what `paths.save_headline` writes


@dataclass(frozen=True)
class Section:
    """One notebook's part of the page.

    folder: of its results, None if there are none. kept: they are those of outputs/reference, for want of others.
    headlines: as `paths.save_headline` wrote them. problem: why there is none, in a sentence.
    """

    stage: str
    question: str
    folder: Path | None = None
    kept: bool = False
    metrics: dict = field(default_factory=dict)
    headlines: tuple[dict, ...] = ()
    problem: str = ""

    @property
    def synthetic(self) -> bool:
        """Are these results of synthetic faces?"""
        return bool((self.metrics.get("data") or {}).get("demonstration"))

    @property
    def executed(self) -> Path | None:
        """The executed copy; that of a kept run was executed on synthetic faces, and isn't shown beside its numbers."""
        path = self.folder / f"{self.stage}.ipynb" if self.metrics and not self.kept else None
        return path if path and path.exists() else None

    def figure(self, headline: dict) -> dict | None:
        """The figure that a headline names, to be put into the page itself, so that both are of one run."""
        path = self.folder / headline["figure"]
        if not path.is_file():
            return None
        return picture(path) | {"base64": base64.b64encode(path.read_bytes()).decode()}

    @property
    def figures(self) -> dict[str, dict]:
        """All figures of this run, by their path in its folder; none of a kept run."""
        files = sorted(self.folder.rglob("*.png")) if self.folder and not self.kept else []
        return {path.relative_to(self.folder).as_posix(): picture(path) for path in files}


def make(out_root: Path) -> None:
    """Write index.html, contact_sheet.html and notebooks/<stage>.html into out_root, and say where and how large."""
    sections = [section(path, out_root) for path in readme.notebooks()]
    folder, synthetic = out_root / "notebooks", any(each.synthetic for each in sections)
    executed = {folder / f"{each.stage}.html": each for each in sections if each.executed}
    for path in set(folder.glob("*.html")) - set(executed):  # its notebook is no longer there
        path.unlink()
    for path, each in executed.items():
        rendering.write(path, notebook(each, path))
    trained = [each for each in sections if each.metrics and each.stage[:2] in ("03", "04", "08")]
    trained = [each for each in trained if not each.kept] or trained  # those of one data set
    models = [paths.read_json(path) for each in trained for path in sorted(each.folder.glob("**/metrics.json"))]
    words = {"synthetic": synthetic, "sections": sections, "best": results.best_on_val(models), "about": about}
    for name, title in {"index": "The FER workbook", "contact_sheet": "All figures"}.items():
        rendering.write(out_root / f"{name}.html", rendering.render(f"{name}.html.j2", title=title, **words))
    index, others = out_root / "index.html", sum(path.stat().st_size for path in executed) / 1e6
    size = index.stat().st_size / 1e6
    print(f"the page: {index} ({size:.1f} MB; {len(executed)} executed notebooks, {others:.1f} MB)")


def after_run(out_root: Path) -> None:
    """The page at the end of a run; whatever goes wrong here is reported and spoils nothing."""
    try:
        make(out_root)
    except Exception as error:
        print(f"The page could not be made ({type(error).__name__}: {error}). The results are whole; try: make report")


def section(notebook: Path, out_root: Path) -> Section:
    """The section of a notebook: of the run in out_root, else of the kept reference, else its question alone."""
    stage, question = notebook.stem, readme.question(notebook)
    files = [root / stage / "metrics.json" for root in (out_root, paths.REFERENCE)]
    file = next((each for each in files if each.exists()), None)
    if file is None:
        return Section(stage, question)
    try:
        metrics = paths.read_json(file)
        several = metrics["headline"] if isinstance(metrics["headline"], list) else [metrics["headline"]]
        headlines = tuple({name: each[name] for name in HEADLINE} for each in several)
    except (KeyError, TypeError, ValueError) as error:
        again = f"{file} isn't as this version writes it ({error!r}): make {stage[:2]} makes it anew"
        return Section(stage, question, file.parent, problem=again)
    return Section(stage, question, file.parent, file == files[1], metrics, headlines)


def about(metrics: dict) -> list[str]:
    """What a run was made from and where, in words."""
    data, run = metrics.get("data") or {}, metrics.get("run") or {}
    words = [data.get("title"), data.get("source"), f"budget {run['budget']}" if run.get("budget") else ""]
    words += [run.get("device"), run.get("when", "")[:10], f"commit {run['commit']}" if run.get("commit") else ""]
    return list(dict.fromkeys(filter(None, words)))


def picture(path: Path) -> dict:
    """Size of a PNG, and the finding and the alternative text that `paths.save_figure` put into it; '' without."""
    with Image.open(path) as image:
        title, caption = (image.info.get(name, "") for name in ("Title", "Description"))
        width, height = image.size
    return {"title": title, "alt": f"{title}. {caption}" if title else "", "width": width, "height": height}


def notebook(section: Section, before: Path) -> str:
    """An executed notebook as HTML; the text of `before` where that was made from the same copy by the same code."""
    code = (Path(__file__), rendering.TEMPLATES / "base.html.j2", rendering.TEMPLATES / "notebook.html.j2")
    made_of = hashlib.sha256(b"".join(path.read_bytes() for path in (section.executed, *code))).hexdigest()
    if before.exists() and made_of in (text := before.read_text(encoding="utf-8")):
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
    words = {"title": f"{section.stage}: {section.question}", "stage": section.stage, "synthetic": section.synthetic}
    css = "".join(resources["inlining"]["css"])
    return rendering.render("notebook.html.j2", **words, made_of=made_of, css=css, body=body)
