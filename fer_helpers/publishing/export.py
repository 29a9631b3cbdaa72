"""A model as one ONNX file, for what has no torch: phones, browsers, other languages. Needs the extra `export`.

The file takes `faces`, (N, 48, 48) uint8, and returns `probabilities`, (N, 7) float32. Preprocessing and test-time
augmentation are inside; the order of the emotions, the card and the model card's text are in its metadata.
"""

import copy
import json
import logging
import tempfile
import time
from contextlib import contextmanager
from importlib import util
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fer_helpers import models, paths, predict
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS, SIDE, Faces

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
PUBLISHED = ("small_cnn_distilled", "nano_cnn")  # weights that are given away as ONNX too
TOLERANCE = 1e-4  # between the probabilities of the file and PyTorch's
CALIBRATION = 500  # training faces from which int8's scales are measured
MOST_LOST = 0.003  # of val accuracy by int8


class _Answers(nn.Module):
    """A network with its preprocessing and views: (N, 48, 48) uint8 -> (N, 7) float32 probabilities.

    The views pass the network one after another, as in PyTorch: all at once would be a smaller graph, but a thousand
    faces in ten views would take 4 GB.
    """

    def __init__(self, model: nn.Module, views: int):
        super().__init__()
        self.model, self.views = model, views

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return models.probabilities(self.model, faces, self.views)


def export(model: nn.Module, target: str | Path, *, views: int | None = None, model_card: str = "") -> Path:
    """Write a model as ONNX and return the path; a file that doesn't answer as PyTorch does is not written.

    model: as models.load gives it; an ensemble becomes one file like any other. views: None for the model's own.
    model_card: text that travels along, beside the model's `card`.
    Raises UserError where the extra `export` is missing, ValueError for what can't be exported.
    """
    if lacking := [name for name in PACKAGES if util.find_spec(name) is None]:
        install = f"pip install {' '.join(PACKAGES)}"
        raise UserError(f"Exporting needs {', '.join(lacking)}, of the extra `export`: {install}")
    import onnx

    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE), dtype=np.uint8))
    answers = _Answers(copy.deepcopy(model).cpu(), views or getattr(model, "views", 2)).eval()
    proto = _graph(answers, faces)
    notes = {"emotions": json.dumps(EMOTIONS), "views": str(answers.views), "model_card": model_card}
    onnx.helper.set_model_props(proto, {**notes, "card": json.dumps(getattr(model, "card", model.recipe))})
    with paths.whole(target) as temporary, torch.inference_mode():
        onnx.save(proto, temporary)
        difference = np.abs(probabilities(temporary, faces.numpy()) - answers(faces).numpy()).max()
        if difference > TOLERANCE:
            raise ValueError(f"The ONNX file answers differently from PyTorch, by up to {difference:.1g}: not written.")
    return Path(target)


def quantise(source: Path, target: Path, faces: np.ndarray) -> Path:
    """Write an ONNX file with its convolutions in int8: a scale for each channel's weights and for each view's maps.

    faces: (N, 48, 48) uint8 of training, which show how large the maps' values get. The metadata stay.
    """
    import onnx
    from onnxruntime import quantization

    class Batches(quantization.CalibrationDataReader):
        batches = iter(np.array_split(faces, -(-len(faces) // 50)))

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else {"faces": batch}

    kinds = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    kinds |= {"per_channel": True, "op_types_to_quantize": ["Conv", "MaxPool"]}
    proto = onnx.load(source)
    with paths.whole(target) as temporary, _quiet(None):  # it misses a preparation that torch's exporter has done
        quantization.quantize_static(proto, temporary, Batches(), **kinds)
    return target


def calibration(everyone: Faces) -> np.ndarray:
    """(N, 48, 48) uint8 faces of training, drawn once and for all, from which int8's scales are measured."""
    train = everyone.part("train").images.numpy()
    return train[np.random.default_rng(0).choice(len(train), min(CALIBRATION, len(train)), replace=False)]


def session(path: str | Path, threads: int = 1):
    """A file opened by onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors alone
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def probabilities(path: str | Path, faces: np.ndarray) -> np.ndarray:
    """(N, 48, 48) uint8 faces -> (N, 7) float32, what an ONNX file answers; the counterpart of `predict`'s."""
    runs = session(path)
    parts = np.array_split(faces, -(-len(faces) // predict.BATCH))
    return np.concatenate([runs.run(None, {"faces": part})[0] for part in parts])


def _graph(answers: nn.Module, faces: torch.Tensor):
    """The ONNX graph, with any number of faces, and without the lines of source that torch notes at every node."""
    with _quiet("onnxscript"):
        named = {"input_names": ["faces"], "output_names": ["probabilities"]}
        any_count = ({0: torch.export.Dim("count")},)
        program = torch.onnx.export(answers, (faces,), dynamo=True, verbose=False, dynamic_shapes=any_count, **named)
    proto = program.model_proto
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output, proto.graph):
        del part.metadata_props[:]
        part.doc_string = ""
    return proto


@contextmanager
def _quiet(name: str | None):
    """Let this logger, or the root, tell errors alone."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def run(command: str, options: dict[str, str], out: Path) -> None:
    """`make export`, and `make demo FORMAT=web`. options: as the command line names them; out: folder of the files."""
    form, known = options.get("FORMAT", "onnx"), ("web",) if command == "demo" else ("onnx", "web")
    if form not in known:
        raise UserError(f"FORMAT={form} isn't known: {command} takes {' or '.join(known)}.")
    if options.get("PARAMS"):
        raise UserError("The page with FORMAT=web takes no PARAMS.")
    from fer_helpers.publishing import browser

    source = Path(options.get("MODEL") or predict.given_away())
    network, card = models.load(source), source.with_name("MODEL_CARD.md")
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    with tempfile.TemporaryDirectory() as folder:  # what lies there of another model of this name stays
        views = browser.VIEWS if form == "web" else None
        content = export(network, Path(folder, "m.onnx"), views=views, model_card=text).read_bytes()
    target = out / f"{source.stem}.onnx"
    if form == "web":
        other = lambda page: (page / "model.onnx").exists() and (page / "model.onnx").read_bytes() != content  # noqa: E731
        target = paths.free(out / f"{source.stem}_web", other, "-") / "model.onnx"
    path = paths.write_beside(target, content)
    answers = f"probabilities (N, {len(EMOTIONS)})"
    print(f"written to {path}: {path.stat().st_size / 1e6:.1f} MB, uint8 faces (N, 48, 48) to {answers}")
    refused = None
    try:
        path = _int8(path, options.get("DATA", "auto")) if options.get("INT8") == "1" else path
    except UserError as error:  # then the page is of the float32 file
        refused = error
    if form == "web":
        folder = browser.make(path, source.stem)
        print(f"The page is in {folder}: any file server can show it, and nothing is computed there.")
    if refused:
        raise refused
    if command == "demo":
        browser.serve(folder)


def _int8(path: Path, data: str) -> Path:
    """The int8 file beside a float32 one, calibrated on training faces; prints what both cost and give on val.

    Raises UserError, and writes nothing, where it loses more than MOST_LOST on val, or no photographs are at hand.
    """
    from fer_helpers.data import sources

    everyone = sources.load(data)
    if everyone.is_synthetic:
        raise UserError(f"{path} is written; int8 needs FER-2013 for its scales and its score: give DATA=archive.zip.")
    people, answers, right = everyone.part("val"), {}, {}
    val, labels = people.images.numpy(), people.labels.numpy()
    with tempfile.TemporaryDirectory() as folder:
        small = quantise(path, Path(folder, "m.onnx"), calibration(everyone))
        for name, file in (("float32", path), ("int8", small)):
            start = time.process_time()
            answers[name] = probabilities(file, val).argmax(1)
            took = 1000 * (time.process_time() - start) / len(val)
            right[name], size = (answers[name] == labels).mean(), file.stat().st_size / 1e6
            cost = f"{took:.2f} ms a face on one thread, {size:.1f} MB"
            print(f"{name}: {right[name]:.1%} of {len(val):,} val faces, {cost}")
        print(f"The same label for {(answers['float32'] == answers['int8']).mean():.1%} of them.")
        if (lost := right["float32"] - right["int8"]) > MOST_LOST:
            limit = f"{100 * MOST_LOST:.1f} are the most that it may"
            raise UserError(f"int8 loses {100 * lost:.2f} points on val, and {limit}: {path} stays in float32.", code=1)
        written = paths.write_beside(path.with_stem(f"{path.stem}_int8"), small.read_bytes())
    print(f"written to {written}")
    return written
