"""Every layout of the data, every bad input, the cache, and Kaggle with and without a network; all on made-up faces."""

import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_helpers import paths
from fer_helpers.data import cache, keys, layouts, sources, splits, synthetic
from fer_helpers.data import kaggle as kaggle_room
from fer_helpers.faces import EMOTIONS, SPLITS, pixel_sha256

TITLES = {"train": ["Training"] * 6, "test": ["PublicTest", "PrivateTest"] * 2}
CSV_ORDER = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.fixture(autouse=True)
def workbook(tmp_path, monkeypatch):
    """An empty workbook, so that neither its data folder nor its cache is a real one."""
    root = tmp_path / "workbook"
    root.mkdir()
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.chdir(tmp_path)
    for name in ("FER_DATA", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no account of Kaggle's, no earlier download
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")  # kagglehub then asks localhost:7777
    return root


def encoded(array, kind="PNG", **how):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **how)
    return buffer.getvalue()


def tree(titles=TITLES, official=True, without="nothing"):
    """name -> bytes of a small data set in Kaggle's folders; every face is another random picture."""
    rng, files = np.random.default_rng(0), {}
    for folder, emotion in itertools.product(titles, EMOTIONS):
        for number, title in enumerate(titles[folder]):
            name = f"{folder}/{emotion}/{title if official else 'im'}_{number}.jpg"
            files[name] = encoded(rng.integers(0, 256, (48, 48), dtype=np.uint8))
    return {name: content for name, content in files.items() if without not in name}


def folder_of(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zip_of(files, path):
    with zipfile.ZipFile(path, "w") as archive:
        for item in files.items():
            archive.writestr(*item)
    return path


def csv_of(path, rows=(), header="emotion,pixels,Usage"):
    """A CSV in which each split has every label twice, then `rows`; the face in row n has the grey value n."""
    usages, lines = ("Training", "Training", "PublicTest", "PrivateTest"), [header]
    for number in range(28):
        row = {"emotion": f"{number % 7}", "pixels": " ".join([str(number)] * 2304), "Usage": usages[number // 7]}
        lines.append(",".join(row[title.strip()] for title in header.split(",")))
    path.write_text("\n".join([*lines, *rows]) + "\n")
    return path


def load(data, **how):
    """The faces and the lines that were printed."""
    lines = []
    return sources.load(data, log=lines.append, **how), lines


def problem(people, *parts):
    """The one problem that has all these parts in it."""
    (sentence,) = [each for each in people.source["problems"] if all(part in each for part in parts)]
    return sentence


# Layouts


def check_official(people, layout):
    assert people.source["layout"] == layout
    assert people.source["official_split"] and people.source["kind"] == "folder"
    assert people.source["counts"] == {"train": [6] * 7, "val": [2] * 7, "test": [2] * 7}
    files, splits = tree(), {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    assert people.names.tolist() == sorted(files)
    for name, image, label, split in zip(people.names, people.images, people.labels, people.split, strict=True):
        assert np.array_equal(image, Image.open(io.BytesIO(files[name])))
        _, emotion, file = name.split("/")
        assert EMOTIONS[label] == emotion and splits[file.split("_")[0]] == split


@pytest.mark.parametrize("around", ["", "archive/", "archive/fer2013/"])
def test_kaggle_folder_and_zip_at_any_depth(tmp_path, around):
    nested = {around + name: content for name, content in tree().items()}  # not in the order of their names
    check_official(load(folder_of(nested, tmp_path / "mine"))[0], "train/test folders")
    nested |= {"__MACOSX/train/angry/._x.jpg": b"x", f"{around}train/.DS_Store": b"x", f"{around}README.md": b"x"}
    people, lines = load(zip_of(nested, tmp_path / "archive.zip"))
    check_official(people, "zip of train/test folders")
    assert lines[0] == "archive.zip (named by data): 42 train, 14 val, 14 test faces"
    assert not any("DS_Store" in line or "README" in line for line in lines)
    json.dumps(people.source)


def test_names_keep_the_case_of_their_folders(tmp_path):
    files = {name.replace("train/", "Train/").replace("/angry/", "/Angry/"): data for name, data in tree().items()}
    assert "Train/Angry/Training_0.jpg" in load(folder_of(files, tmp_path / "mine"))[0].names


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_three_folders_are_used_as_they_are(tmp_path, validation):
    titles = {"train": ["a"] * 3, validation: ["b"] * 2, "test": ["c"] * 1}
    people, _ = load(folder_of(tree(titles, official=False), tmp_path / "mine"))
    assert people.source["counts"] == {"train": [3] * 7, "val": [2] * 7, "test": [1] * 7}
    assert people.source["layout"] == "train/val/test folders"
    assert people.source["title"] == people.source["name"] == "mine"
    assert not people.source["official_split"] and not people.source["problems"]


@pytest.mark.parametrize(
    "name, header", [("fer2013.csv", "emotion,pixels,Usage"), ("icml_face_data.csv", "emotion, Usage, pixels")]
)
def test_csv_maps_its_label_order(tmp_path, name, header):
    file = csv_of(tmp_path / name, header=header)
    archive = zip_of({f"data/{name}": file.read_bytes()}, tmp_path / "archive.zip")
    for people, layout in ((load(file)[0], name), (load(archive)[0], f"zip of {name}")):
        assert people.source["layout"] == layout and people.source["official_split"]
        assert people.labels.tolist() == [0, 1, 2, 3, 5, 6, 4] * 4
        assert people.images[:, 0, 0].tolist() == list(range(28)) and (people.images[17] == 17).all()
        assert people.names[17] == "row_00017"
        assert [int((people.split == split).sum()) for split in SPLITS] == [14, 7, 7]
        assert "angry 2 for 3,995" in problem(people, "counts aren't those of FER-2013")


def test_counts_of_the_published_set_make_it_fer2013(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FER2013", {"train": (6,) * 7, "val": (2,) * 7, "test": (2,) * 7})
    people, _ = load(folder_of(tree(), tmp_path / "mine"))
    assert people.source["kind"] == "fer2013" and people.source["title"] == "FER-2013"
    assert people.source["problems"] == []
    monkeypatch.setitem(sources.FER2013, "val", (2, 2, 2, 2, 2, 2, 3))
    people, lines = load(tmp_path / "mine")
    assert people.source["kind"] == "folder" and "surprise 2 for 3" in problem(people, "counts") and len(lines) == 2


# Splits that aren't there


def test_validation_cut_keeps_duplicates_on_one_side(tmp_path):
    files = tree({"train": ["x"] * 20, "test": ["x"] * 2}, official=False)
    for emotion, number in itertools.product(EMOTIONS, range(1, 10, 2)):
        files[f"train/{emotion}/im_{number}.jpg"] = files[f"train/{emotion}/im_{number - 1}.jpg"]
    people, _ = load(folder_of(files, tmp_path / "mine"))
    assert "of 140 training faces" in problem(people, "No validation split")
    assert not people.source["official_split"]
    assert people.part("test").counts().tolist() == [2] * 7
    assert people.part("val").counts().min() >= 2 and 24 <= len(people.part("val")) <= 32
    train, val = (set(pixel_sha256(people.part(split).images.numpy())) for split in ("train", "val"))
    assert not train & val
    again = layouts.read(tmp_path / "mine", "folder")
    assert (again.split == people.split).all()


def test_validation_cut_keeps_near_duplicates_on_one_side():
    drawn = synthetic.draw(700)
    train = drawn.select(drawn.split != "test")
    cut = splits.complete(replace(train, split=np.full(len(train), "train")), "mine", {})
    side = dict(zip(cut.names, cut.split, strict=True))
    pairs = [plant for plant in drawn.source["planted"] if plant["twin"] in side and plant["kind"] != "blank"]
    assert {"jpeg", "brightness", "shift", "mirrored"} <= {plant["kind"] for plant in pairs}
    assert all(side[plant["name"]] == side[plant["twin"]] for plant in pairs)
    assert 0.15 < (cut.split == "val").mean() < 0.25
    again = splits.complete(replace(train, split=np.full(len(train), "train")), "mine", {})
    assert (again.split == cut.split).all() and not cut.source["official_split"]


def test_only_some_recoverable_names_are_told(tmp_path):
    files = tree()
    files["test/sad/mine.jpg"] = files.pop("test/sad/PublicTest_0.jpg")
    people, _ = load(folder_of(files, tmp_path / "mine"))
    assert "test/sad/mine.jpg" in problem(people, "official splits", "their folder decides")
    assert people.split[people.names == "test/sad/mine.jpg"] == "test"
    assert people.part("val").counts().tolist() == [2, 2, 2, 2, 2, 1, 2]
    assert not people.source["official_split"] and problem(people, "test has 15 faces for 3,589")


def test_a_few_recoverable_names_are_no_validation_split(tmp_path):
    files = tree(official=False)
    files["test/sad/PublicTest_1.jpg"] = files.pop("test/sad/im_0.jpg")
    people, _ = load(folder_of(files, tmp_path / "mine"))
    assert problem(people, "No validation split") and len(people.part("test")) == 28


# Files that are odd, left out or converted

NOISE = np.random.default_rng(1).integers(0, 256, (300, 500, 3), dtype=np.uint8)
ODD_IMAGES = {
    "text": (b"this is no picture", "can't be decoded", "(not an image of a kind"),
    "empty": (b"", "can't be decoded", "(empty file)"),
    "truncated": (encoded(NOISE, "JPEG")[:9000], "can't be decoded", "truncated"),
    "photo": (encoded(NOISE, "JPEG"), "converted", "(500×300 RGB)"),
    "rgba": (encoded(np.dstack([NOISE[:48, :48], NOISE[:48, :48, 0]])), "converted", "(48×48 RGBA)"),
    "deep": (encoded(NOISE[:48, :48, 0].astype(np.uint16) << 8), "converted", "(48×48 16-bit grey)"),
}


@pytest.mark.parametrize("odd", ODD_IMAGES)
@pytest.mark.parametrize("pack", [folder_of, zip_of])
def test_odd_images_are_named(tmp_path, odd, pack):
    content, kind, reason = ODD_IMAGES[odd]
    name, converted = "train/happy/Training_0.jpg", kind == "converted"
    people, lines = load(pack({**tree(), name: content}, tmp_path / "mine.zip"))
    sentence = problem(people, kind)
    assert name in sentence and reason in sentence and any(kind in line for line in lines)
    assert (name in people.names) == converted and people.source["counts"]["train"][3] == 5 + converted
    if odd == "deep":
        assert np.array_equal(people.images[people.names == name][0], NOISE[:48, :48, 0])


def test_decompression_bomb_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    people, _ = load(folder_of({**tree(), "train/sad/Training_0.jpg": encoded(NOISE)}, tmp_path / "mine"))
    assert "Training_0.jpg (too many pixels" in problem(people, "can't be decoded")


def test_folders_missing_misspelt_and_empty_are_named(tmp_path):
    files = {name.replace("train/angry", "train/angri"): data for name, data in tree(without="test/disgust").items()}
    folder = folder_of(files, tmp_path / "mine")
    shutil.rmtree(folder / "test/fear")
    (folder / "test/fear").mkdir()
    (folder / "train/left.jpg").write_bytes(b"x")
    (folder / "train/sad/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    people, _ = load(folder)
    assert problem(people, "read as what they mean").endswith("(1): angri as angry.")
    assert problem(people, "are missing").endswith("(1): test/disgust.")
    assert problem(people, "are empty").endswith("(1): test/fear.")
    assert "train/left.jpg" in problem(people, "outside the emotion folders")
    assert "train/sad/gone.jpg (No such file" in problem(people, "can't be decoded")
    assert str(tmp_path) not in json.dumps(people.source)
    assert people.source["counts"]["train"] == [6] * 7


def test_dangerous_zip_entries_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "LARGEST", 1_000_000)
    extra = {"train/sad/big.jpg": bytes(2_000_000), "../train/sad/up.jpg": b"x", "train/sad/../../up.jpg": b"x"}
    people, _ = load(zip_of({**tree(), **extra}, tmp_path / "archive.zip"))
    assert "train/sad/big.jpg (2 MB)" in problem(people, "for their size (1)")
    assert "../train/sad/up.jpg, train/sad/../../up.jpg" in problem(people, "or are no files (2)")
    assert len(people) == 70


def test_a_zip_that_would_unpack_to_a_hundred_gigabytes_is_refused(tmp_path):
    path = zip_of(tree(), tmp_path / "archive.zip")
    content, at = bytearray(path.read_bytes()), -1
    for _ in range(26):  # the directory at the end claims 4 GB for each of 26 files
        at = content.find(b"PK\x01\x02", at + 1)
        content[at + 24 : at + 28] = (4_000_000_000).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="would unpack to 104 GB, FER-2013 to less than 1"):
        load(path)


def test_a_damaged_zip_entry_is_named(tmp_path):
    path = zip_of(tree(), tmp_path / "archive.zip")
    content = bytearray(path.read_bytes())
    content[content.find(b"PNG") + 60] ^= 255
    path.write_bytes(content)
    assert "train/angry/Training_0.jpg (Bad CRC-32" in problem(load(path)[0], "can't be decoded")


PIXELS = " ".join(["7"] * 2304)
ODD_ROWS = {
    "3": "it has 1 fields",
    f"3,{PIXELS[:-2]},Training": "it has 2,303 pixels instead of 2,304",
    f"3,999{PIXELS[1:]},Training": "a pixel is 999, not 0 to 255",
    f"3,x{PIXELS[1:]},Training": "its pixels aren't whole numbers",
    f"9,{PIXELS},Training": "its label is 9",
    f"3,{PIXELS},Holiday": "its Usage is Holiday",
}


def test_odd_csv_rows_are_named_by_number(tmp_path):
    people, _ = load(csv_of(tmp_path / "fer2013.csv", [*ODD_ROWS, f"6,{PIXELS},Training"]))
    sentence = problem(people, "CSV rows left out (6)")
    for number, reason in enumerate(ODD_ROWS.values(), start=28):
        assert f"row_{number:05d} ({reason}" in sentence
    assert len(people) == 29 and people.names[-1] == "row_00034" and (people.images[-1] == 7).all()


def test_many_problems_stay_readable(tmp_path):
    odd = {f"train/sad/Training_x{number:03d}.jpg": b"x" for number in range(100)}
    people, lines = load(folder_of({**tree(), **odd}, tmp_path / "mine"))
    assert problem(people, "can't be decoded").count(".jpg") == 100, "metrics.json names every one"
    assert max(map(len, lines)) < 260


# What stops the run


FATAL = {
    "empty folder": (lambda at: at.mkdir(), "is empty. Expected is a folder or zip"),
    "other files": (lambda at: folder_of({"holiday/a.jpg": b"x"}, at), "nothing that looks like the data"),
    "no train": (lambda at: folder_of(tree(without="train/"), at), "has no usable training faces"),
    "no test": (lambda at: folder_of(tree(without="test/") | {"test/sad/a.jpg": b"x"}, at), "has no usable test faces"),
    "one emotion": (lambda at: folder_of({n: d for n, d in tree().items() if "sad" in n}, at), "one emotion only"),
    "nothing decodes": (lambda at: folder_of(dict.fromkeys(tree(), b"x"), at), "What was noticed: Files that can't be"),
    "few faces": (lambda at: folder_of(tree({"train": "x", "test": "x"}), at), "too few different training faces"),
    "broken.zip": (lambda at: at.write_bytes(b"PK\x03\x04 half a download"), "is a broken zip"),
    "empty.zip": (lambda at: zip_of({"a.txt": b"x"}, at), "holds nothing that looks like the data"),
    "faces.7z": (lambda at: at.write_bytes(b"x"), "neither a folder nor a .zip, .tar.gz or .csv"),
    "bare.csv": (lambda at: csv_of(at, header="emotion,Usage"), "has no column pixels; its first line is: emotion"),
    "nothing.csv": (lambda at: at.write_bytes(b""), "has no column emotion and no pixels"),
    "quote.csv": (lambda at: csv_of(at, ['"' + "1 " * 100_000]), "isn't readable as CSV near line 30"),
}


@pytest.mark.parametrize("name", FATAL)
def test_unusable_data_stops_with_a_sentence(tmp_path, name):
    make, sentence = FATAL[name]
    make(tmp_path / name)
    with pytest.raises(ValueError) as caught:
        load(tmp_path / name)
    assert sentence in str(caught.value) and name in str(caught.value)


def test_missing_path_tells_where_it_looked():
    with pytest.raises(FileNotFoundError, match=r"data=faces\.zip: there is no .* and no .*workbook.*Give the path"):
        sources.find("faces.zip")
    with pytest.raises(FileNotFoundError, match="Did you mean synthetic"):
        sources.find("sythetic")


# Finding


def test_paths_count_from_here_then_from_the_workbook(tmp_path, workbook):
    zip_of(tree(), workbook / "mine.zip")
    assert sources.find("mine.zip").path == workbook / "mine.zip"
    zip_of(tree(), tmp_path / "mine.zip")
    assert sources.find("mine.zip").path == tmp_path / "mine.zip"


@pytest.mark.parametrize("place", ["data", "data/fer2013", "data/archive.zip", "data/fer2013.csv"])
def test_auto_takes_the_data_folder(workbook, place):
    (workbook / "data").mkdir()
    (workbook / "data" / "notes.txt").write_text("mine")
    makers = {"": lambda at: folder_of(tree(), at), ".zip": lambda at: zip_of(tree(), at), ".csv": csv_of}
    makers[(workbook / place).suffix](workbook / place)
    location = sources.find()
    assert location.path == workbook / place and "in the workbook's data folder" in location.why


def test_fer_data_comes_before_the_data_folder(tmp_path, workbook, monkeypatch):
    folder_of(tree(), workbook / "data")
    monkeypatch.setenv("FER_DATA", str(zip_of(tree(), tmp_path / "mine.zip")))
    assert sources.find("auto").path == tmp_path / "mine.zip"
    assert sources.find("auto").why == "mine.zip (named by FER_DATA)"
    assert sources.find("synthetic").layout == "synthetic"


def test_synthetic_faces_have_a_card_and_a_key():
    small, lines = load("synthetic", budget="smoke")
    assert len(small) == 700 and small.is_synthetic and lines[0].startswith("synthetic faces (data=synthetic): ")
    assert {"why", "key", "counts", "planted", "problems", "official_split"} <= set(small.source)
    assert sum(map(sum, small.source["counts"].values())) == 700
    assert load("synthetic", budget="smoke")[0].source["key"] == small.source["key"]


# Cache


def test_second_reading_comes_from_the_cache(tmp_path, workbook, monkeypatch):
    path = zip_of({**tree(), "train/sad/Training_9.jpg": b"x"}, tmp_path / "archive.zip")
    first, lines = load(path)
    monkeypatch.setattr(layouts, "read", None)
    moved = path.rename(tmp_path / "moved.zip")
    second, again = load(moved)
    renamed = {"name": "moved.zip", "title": "moved.zip", "why": "moved.zip (named by data)"}
    assert again[1:] == lines[1:] and second.source == {**first.source, **renamed}
    assert cache.with_keys(second).source == second.source, "images, labels, splits and names are those of its key"
    assert len(list((workbook / ".cache").iterdir())) == 1
    monkeypatch.setattr(cache, "READER", 0)
    with pytest.raises(TypeError):  # another reader's cache isn't used
        load(moved)


def test_a_cache_is_named_by_what_its_source_looks_like(tmp_path):
    folder, table = folder_of(tree(), tmp_path / "mine"), csv_of(tmp_path / "a.csv")
    where = {folder: "folder", table: "csv", zip_of(tree(), tmp_path / "a.zip"): "zip"}
    before, again = ([*itertools.starmap(cache.fingerprint, where.items())] for _ in range(2))
    assert before == again and len(set(before)) == 3
    os.utime(folder / "train/sad/Training_0.jpg", ns=(1, 1))
    csv_of(table, ["6,1,Training"])
    zip_of({**tree(), "train/sad/Training_0.jpg": b"x"}, tmp_path / "a.zip")
    assert not set(before) & set(itertools.starmap(cache.fingerprint, where.items()))


def test_the_same_faces_have_the_same_keys_however_they_come(tmp_path):
    """As a zip, a folder, out of the cache, and but for the names as a CSV in another order."""
    rows = ["emotion,pixels,Usage"]
    for name, content in reversed(tree().items()):
        pixels = " ".join(map(str, np.asarray(Image.open(io.BytesIO(content))).ravel()))
        _, emotion, file = name.split("/")
        rows.append(f"{CSV_ORDER.index(emotion)},{pixels},{file.split('_')[0]}")
    (tmp_path / "fer2013.csv").write_text("\n".join(rows))
    archive, folder = zip_of(tree(), tmp_path / "a.zip"), folder_of(tree(), tmp_path / "mine")
    *same, table = (load(path)[0].source for path in (archive, archive, folder, tmp_path / "fer2013.csv"))
    assert len({source["key"] for source in same}) == 1 and table["key"] != same[0]["key"]
    assert len({source["pixels"] for source in (*same, table)}) == 1


def test_keys_tell_labels_splits_and_names_apart():
    data = [((0, 1, 2), SPLITS, "abc"), ((1, 0, 2), SPLITS, "abc"), ((0, 1, 2), SPLITS[::-1], "abc")]
    both = [keys.of("012", labels, splits, names) for labels, splits, names in [*data, ((0, 1, 2), SPLITS, "abç")]]
    assert [len({each[kind] for each in both}) for kind in ("key", "pixels")] == [4, 2]


# READER -> key of a folder with odd files: whoever changes what is read from it raises READER and states the new key
READ = {3: "8e1c8490d2a42042"}


def test_the_reader_is_raised_when_the_same_files_are_read_otherwise(tmp_path):
    odd = {f"train/happy/Training_{name}.png": content for name, (content, _, _) in ODD_IMAGES.items()}
    odd["train/happy/Training_photo.png"] = encoded(NOISE)  # decoders of JPEG differ
    people, _ = load(folder_of({**tree(), **odd}, tmp_path / "mine"))
    assert people.source["key"] == READ[cache.READER]


PYTHONS = sorted(
    path
    for path in Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin/python")
    if tuple(map(int, path.parents[1].name.split(".")[:2])) >= (3, 11)
)
COMPUTE = """
import sys, types, hashlib, random
try:
    import numpy
except ImportError:
    sys.modules["numpy"] = types.ModuleType("numpy")  # the keys of a data set need none
from fer_helpers.data import keys
faces = [hashlib.sha256(bytes((7 * i + j) % 256 for j in range(2304))).hexdigest() for i in range(9)]
names = ["train/sad/Training_%d.jpg" % i for i in range(8)] + ["train/sad/\u00fcber \u2713.jpg"]
print(*keys.of(faces, [i % 7 for i in range(9)], ["train", "val", "test"] * 3, names).values())
"""


@pytest.mark.parametrize("python", PYTHONS or [Path(sys.executable)], ids=lambda path: path.parents[1].name)
def test_keys_are_the_same_on_every_python(python):
    environment = {"PYTHONPATH": str(Path(layouts.__file__).parents[2]), "PYTHONHASHSEED": "1"}
    done = subprocess.run([python, "-c", COMPUTE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["b2104958c6f62f15", "cccbc9c8c38356a9"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"x", lambda data: b""])
def test_damaged_cache_is_told_and_made_again(tmp_path, workbook, damage):
    path = zip_of(tree(), tmp_path / "archive.zip")
    first, _ = load(path)
    (file,) = (workbook / ".cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    second, lines = load(path)
    assert "is damaged and is made again" in lines[1] and (first.images == second.images).all()
    assert not any("damaged" in line for line in load(path)[1])


def test_cache_that_cannot_be_written_is_told(tmp_path, workbook):
    (workbook / ".cache").write_text("in the way")
    people, lines = load(zip_of(tree(), tmp_path / "archive.zip"))
    assert len(people) == 70 and "couldn't be kept in .cache" in lines[1]


def test_only_the_newest_caches_are_kept(tmp_path, workbook):
    files = []
    for number in range(cache.KEPT + 1):
        path = zip_of({**tree(), f"train/sad/Training_x{number}.jpg": b"x"}, tmp_path / f"{number}.zip")
        load(path)
        files += set((workbook / ".cache").iterdir()) - set(files)
        os.utime(files[-1], ns=(number, number))
    assert set((workbook / ".cache").iterdir()) == set(files[1:])


# Kaggle


class Kaggle(BaseHTTPRequestHandler):
    """Gives a small zip, or the status in its server's `answer`."""

    def do_HEAD(self):
        self.send_response(404)  # any answer says that there is a network
        self.end_headers()

    def do_POST(self):
        self.server.asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        time.sleep(self.server.delay)
        content = zip_of(tree(), io.BytesIO()).getvalue() if self.server.answer == 200 else b"{}"
        self.send_response(self.server.answer)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def kaggle():
    with ThreadingHTTPServer(("localhost", 7777), Kaggle) as server:
        server.answer, server.asked, server.delay = 200, [], 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_kaggle_downloads_once_and_then_works_offline(kaggle, monkeypatch):
    monkeypatch.setattr(kaggle_room, "ANSWER_SECONDS", 1)
    kaggle.delay = 2  # a slow download of a Kaggle that answers is waited for
    location = sources.find("auto")
    assert location.name == "fer2013" and "from Kaggle, msambare/fer2013/versions/1" in location.why
    people, _ = load("kaggle")
    check_official(people, "train/test folders")
    assert people.source["name"] == "fer2013" and len(kaggle.asked) == 1
    assert b'"fer2013"' in kaggle.asked[0][1] and kaggle.asked[0][0].endswith("/DownloadDataset")
    kaggle.shutdown()
    kaggle.server_close()
    assert sources.find("kaggle").path == location.path


@pytest.mark.parametrize("answer, said", [(403, "wants an account"), (500, "Kaggle gave an error")])
def test_kaggle_that_refuses_is_told(kaggle, answer, said):
    kaggle.answer = answer
    with pytest.raises(ConnectionError, match=f"{said}.*Download archive.zip by hand.*DATA="):
        sources.find("kaggle")


def test_offline_auto_falls_through_to_synthetic_faces(workbook):
    (workbook / "data").mkdir()
    people, lines = load("auto", budget="smoke")
    assert people.is_synthetic
    assert lines[0].startswith("synthetic faces (the workbook's data folder holds no data set. Kaggle doesn't answer")
    with pytest.raises(ConnectionError, match=r"no network\?.*archive.zip"):
        sources.load("kaggle")


def test_kaggle_that_swallows_requests_does_not_hang(monkeypatch):
    monkeypatch.setattr(kaggle_room, "ANSWER_SECONDS", 3)
    with socket.create_server(("localhost", 7777)), pytest.raises(ConnectionError, match="doesn't answer"):
        sources.find("kaggle")


def test_a_download_that_takes_too_long_is_stopped(kaggle, monkeypatch):
    monkeypatch.setattr(kaggle_room, "DOWNLOAD_SECONDS", 0.01)
    with pytest.raises(ConnectionError, match="took longer than"):
        sources.find("kaggle")
