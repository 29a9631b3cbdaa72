"""Other people's data: what they have, and what must happen; and at random, what nobody has thought of."""

import io
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_helpers import emotions, faces
from fer_helpers.data import cache, finding, layouts, sources, vocabulary
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS
from fer_helpers.workbook import cli, commands
from tests.test_sources import encoded, folder_of, load, problem, tree, workbook, zip_of  # noqa: F401, the fixture

NOUNS = ["Anger", "Disgusted", "FEARFUL", "Happiness", "neutrality", "Sadness", "suprise"]
RAF = dict(zip("1234567", vocabulary.RAF_ORDER, strict=True))
FER = dict(zip("0123456", vocabulary.CSV_ORDER, strict=True))
TWO = {"train": "x" * 6, "test": "x" * 2}


def called(names, titles=TWO, above="{split}/"):
    """name -> bytes of a small data set whose folders for EMOTIONS have these names."""
    own = dict(zip(EMOTIONS, names, strict=True))
    parts = ((name.split("/"), content) for name, content in tree(titles, official=False).items())
    return {f"{above.format(split=split)}{own[of]}/{split}_{file}": data for (split, of, file), data in parts}


def numbered(order):
    return called([next(number for number, name in order.items() if name == emotion) for emotion in EMOTIONS])


def tar_of(files, path, links=()):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind, to in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, to
            archive.addfile(info)
    return path


def table(comma=",", usages=("Training",) * 6 + ("PublicTest", "PrivateTest"), blank=" ", label=str, code="utf-8"):
    """A CSV as bytes: 16 faces of each emotion; label: number 0 to 6 -> what stands for it."""
    rng, quote = np.random.default_rng(0), '"' if comma in blank else ""
    lines = [comma.join(["emotion", "pixels", "Usage"][: 3 if usages else 2])]
    for row in range(112):
        pixels = quote + blank.join(map(str, rng.integers(0, 256, 2304))) + quote
        lines.append(comma.join([label(row % 7), pixels, *([usages[row // 7 % len(usages)]] if usages else [])]))
    return "\n".join(lines).encode(code)


CLASSES = called(EMOTIONS, {"train": "x" * 12}, above="")
ADDED = {"train/contempt/a.png": b"x", "train/lost+found/a.png": b"x"}
OFFICIAL = {"Training": "x" * 6, "PublicTest": "x" * 2, "PrivateTest": "x" * 2}
TABLE = table()
KINDS = {  # what people have: (name -> bytes, counts of an emotion in train, val and test or None, what is told)
    "nouns": (called(NOUNS), None, "(7): Anger as angry, Disgusted as disgust, FEARFUL as fear"),
    "numbers before names": (called([f"{k}_{name}" for k, name in enumerate(EMOTIONS)]), None, "0_angry as angry"),
    "0 to 6": (numbered(FER), None, "4 as sad, 5 as surprise, 6 as neutral"),
    "1 to 7": (numbered(RAF), None, "1 as surprise, 2 as fear, 3 as disgust"),
    "contempt beside them": (called(EMOTIONS) | ADDED, None, "not read (1): train/contempt."),
    "a folder in a folder": (called(EMOTIONS) | {"train/happy/more/a.png": b"x"}, None, "Files outside the emotion"),
    "capitals": (called(NOUNS, {"Train": "x" * 6, "TEST": "x" * 2}), None, "Anger as angry"),
    "official folders": (called(EMOTIONS, OFFICIAL), (6, 2, 2), ""),
    "no test": (called(EMOTIONS, {"train": "x" * 10, "validation": "x"}), (8, 2, 1), "validation split became"),
    "no splits": (CLASSES, None, "No splits were there: "),
    "train alone": (called(EMOTIONS, {"train": "x" * 12}), None, "No splits were there: "),
    "a folder beside the splits": (called(EMOTIONS) | {"extra/a.png": b"x"}, None, "not read (1): extra."),
    "deep": ({f"a/b/c/d/e/{name}": data for name, data in called(EMOTIONS).items()}, None, "of 42 training faces"),
}
TABLES = {
    "as it should be": {},
    "semicolons": {"comma": ";"},
    "tabs": {"comma": "\t"},
    "UTF-16": {"code": "utf-16"},
    "UTF-16 without its mark": {"code": "utf-16-be"},
    "a mark before UTF-8": {"code": "utf-8-sig"},
    "train, val, test": {"usages": ("train",) * 6 + ("val", "test")},
    "commas between pixels": {"blank": ", "},
    "brackets": {"blank": " ", "label": lambda k: f"{k}.0"},
    "names": {"label": lambda k: vocabulary.CSV_ORDER[k].upper()},
    "1 to 7": {"label": lambda k: next(n for n, name in RAF.items() if name == vocabulary.CSV_ORDER[k])},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pack", [folder_of, zip_of, tar_of])
def test_folders_are_understood(tmp_path, kind, pack):
    files, counts, told = KINDS[kind]
    people, _ = load(pack(files, tmp_path / {folder_of: "mine", zip_of: "mine.zip", tar_of: "mine.tar.gz"}[pack]))
    assert len(people) == sum(data != b"x" for data in files.values())
    assert told in " ".join(people.source["problems"]) and people.part("train").counts().min() > 0
    if counts:
        assert [people.part(split).counts().tolist() for split in ("train", "val", "test")] == [[n] * 7 for n in counts]
    assert people.source["official_split"] == (kind == "official folders")


@pytest.mark.parametrize("order", [FER, RAF])
def test_numbers_mean_the_emotions_of_their_order(tmp_path, order):
    people, _ = load(zip_of(numbered(order), tmp_path / "mine.zip"))
    for name, label in zip(people.names, people.labels.tolist(), strict=True):
        assert EMOTIONS[label] == order[name.split("/")[1]]


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_understood(tmp_path, kind):
    (tmp_path / "fer2013.csv").write_bytes(table(**TABLES[kind]))
    (tmp_path / "plain.csv").write_bytes(TABLE)
    people, plain = (load(tmp_path / name)[0] for name in ("fer2013.csv", "plain.csv"))
    assert people.source["pixels"] == plain.source["pixels"] and people.split.tolist() == plain.split.tolist()
    assert people.source["official_split"] == (kind != "train, val, test")
    if kind == "1 to 7":  # another order than the usual: all are told
        assert "(7): 1 as surprise, 2 as fear" in problem(people, "Names of emotions")


def test_beside_the_table_may_lie_one_without_labels_and_a_link_to_nowhere(tmp_path):
    (tmp_path / "train.csv").write_bytes(TABLE)
    (tmp_path / "test.csv").write_bytes(b"pixels\n0 0 0\n")
    (tmp_path / "old.csv").symlink_to(tmp_path / "nowhere")
    assert len(load(tmp_path)[0]) == 112


def test_a_table_without_usage_is_split(tmp_path):
    (tmp_path / "train.csv").write_bytes(table(usages=()))
    people, lines = load(tmp_path)
    assert any("No splits were there" in line for line in lines) and not people.source["official_split"]
    assert people.part("val").counts().min() > 0 and 8 <= len(people.part("test")) <= 15


def test_emotions_that_nobody_shows_are_told(tmp_path):
    (tmp_path / "fer2013.csv").write_bytes(table(label=lambda k: ["happy", "sad", "neutral"][k % 3]))
    people, lines = load(tmp_path / "fer2013.csv")
    assert "(4): angry, disgust, fear, surprise." in problem(people, "Emotions without a training face")
    assert any("no network can learn" in line for line in lines) and not people.part("train").counts()[0]


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_archives_in_archives(tmp_path, pack):
    inner = zip_of(CLASSES, tmp_path / "inner.zip").read_bytes()
    name = {zip_of: "o.zip", tar_of: "o.tgz"}[pack]
    (tmp_path / "fer2013").mkdir()
    outer = pack({"a/inner.zip": inner, "a/readme.txt": b"x"}, tmp_path / "fer2013" / name)
    people, _ = load(outer)
    assert people.source["layout"] == f"{'zip' if pack is zip_of else 'tar'} of zip of emotion folders"
    with_table = pack({"fer2013/fer2013.csv": TABLE, "fer2013/README": b"x"}, outer)
    assert load(with_table)[0].source["counts"]["train"] == [12] * 7


def test_a_tar_keeps_its_links_and_names_what_leads_out_of_it(tmp_path):
    first = next(name for name in CLASSES if "/angry/" in name or name.startswith("angry/"))
    links = [("angry/same.png", tarfile.LNKTYPE, first), ("angry/out.png", tarfile.SYMTYPE, "/etc/passwd")]
    people, _ = load(tar_of(CLASSES | {"../angry/up.png": b"x"}, tmp_path / "mine.tar.gz", links))
    assert "angry/same.png" in people.names and len(people) == len(CLASSES) + 1
    assert "or are no files (2): ../angry/up.png, angry/out.png" in " ".join(people.source["problems"])


def test_several_tables_are_not_chosen_from(tmp_path):
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_bytes(TABLE)
    with pytest.raises(ValueError, match=r"several files that may be the data: test\.csv, train\.csv\. Name one"):
        load(tmp_path)
    (tmp_path / "fer2013.csv").write_bytes(TABLE)
    assert load(tmp_path)[0].source["name"] == "fer2013.csv"
    for pack, name in ((zip_of, "both.zip"), (tar_of, "both.tar.gz")):
        (tmp_path / "apart").mkdir(exist_ok=True)
        path = pack({"a/train.csv": TABLE, "a/test.csv": TABLE}, tmp_path / "apart" / name)
        with pytest.raises(ValueError, match=rf"{name} must be unpacked first\. a holds several files"):
            load(path)


def test_fewer_numbers_than_seven_are_told_and_a_name_of_odd_bytes_can_be_written(tmp_path):
    (tmp_path / "five.csv").write_bytes(table(label=lambda k: str(k % 5)))
    assert "(5): 0 as angry, 1 as disgust" in problem(load(tmp_path / "five.csv")[0], "Names of emotions")
    folder_of(CLASSES, tmp_path / "mine")
    try:
        (tmp_path / "mine" / "happy" / os.fsdecode(b"caf\xe9.png")).write_bytes(next(iter(CLASSES.values())))
    except OSError:  # a file system of text alone
        return
    assert r"happy/caf\udce9.png" in load(tmp_path / "mine")[0].names


def test_a_neighbour_that_nobody_may_read_is_passed_over(tmp_path, monkeypatch):
    folder_of({f"disk/{name}": data for name, data in CLASSES.items()}, tmp_path)
    (tmp_path / "apart").mkdir()
    (tmp_path / "disk" / "lost+found").mkdir()
    own = Path.iterdir

    def iterdir(path):
        if path.name in ("apart", "lost+found"):
            raise PermissionError(13, "Permission denied")
        return own(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert len(load(tmp_path)[0]) == 84


def locked(path):
    data = bytearray(zip_of(tree(), path).read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + at] |= 1  # the flag that says: encrypted
    path.write_bytes(data)


STRANGE, SIX = called(["wut", *EMOTIONS[1:]]), {n: d for n, d in numbered(FER).items() if "/0/" not in n}
REFUSED = {  # name of the file or folder: (what makes it, parts of the sentence)
    "half": (lambda at: folder_of(STRANGE, at), ("has nothing for angry", "aren't known: wut", "Rename")),
    "half.zip": (lambda at: zip_of(STRANGE, at), ("has nothing for angry", "aren't known: wut")),
    "half.csv": (lambda at: at.write_bytes(table(label=lambda k: "abcdefg"[k])), ("half.csv has nothing for angry",)),
    "not happy": (lambda at: folder_of(called([*EMOTIONS[:3], "xhappy", *EMOTIONS[4:]]), at), ("for happy", "xhappy")),
    "0 to 7": (lambda at: folder_of(numbered(FER) | {"train/7/a.png": b"x"}, at), ("order can't be known", "RAF-DB")),
    "1 to 8": (lambda at: folder_of(numbered(RAF) | {"train/8/a.png": b"x"}, at), ("order can't be known",)),
    "compound": (lambda at: folder_of(numbered(RAF) | {"train/11/a.png": b"x"}, at), ("order can't be known",)),
    "1 to 6": (lambda at: folder_of(SIX, at), ("can't be known",)),
    "locked.zip": (locked, ("locked.zip is locked with a password. Unpack it",)),
    "broken.tar.gz": (lambda at: at.write_bytes(b"\x1f\x8b half"), ("is a broken tar",)),
    "usage.csv": (lambda at: at.write_bytes(table(usages=("Holiday",))), ("left out (112): row_00000, row_00001,",)),
    "many.csv": (lambda at: at.write_bytes(b"emotion,pixels\n" + b"1,2 3\n" * 40_000), ("(40,000)", "39,997 more")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused_in_a_sentence(tmp_path, name):
    make, parts = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(ValueError) as caught:
        load(tmp_path / name)
    assert all(part in str(caught.value) for part in parts) and len(str(caught.value)) < 1000


def test_words_near_an_emotion_are_read_and_others_are_not():
    of = vocabulary.meanings({"hapy", "Surprized", "unhappy", "contempt", "02-Fear", "nuetral", "tear"}, (), {})
    meant = {"hapy": "happy", "Surprized": "surprise", "unhappy": "sad", "02-Fear": "fear", "nuetral": "neutral"}
    assert {word: EMOTIONS[label] for word, label in of.items()} == meant


# FER+: other labels for the rows of fer2013.csv

VOTED = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]


def ferplus(path, winners, usages=("Training",) * 6 + ("PublicTest", "PrivateTest")):
    """fer2013new.csv for `table()`; winners: row -> the columns that share the most votes."""
    lines = [",".join(["Usage", "Image name", *VOTED])]
    for row in range(112):
        votes = [5 if name in winners(row) else 1 for name in VOTED]
        lines.append(",".join(map(str, [usages[row // 7 % 8], f"fer{row:07d}.png", *votes])))
    path.write_text("\n".join(lines))


def test_ferplus_gives_other_labels_to_the_same_rows(tmp_path):
    strange = {0: ["NF"], 1: ["contempt"], 2: ["fear", "happiness"], 3: ["anger"]}
    (tmp_path / "fer2013.csv").write_bytes(TABLE)
    ferplus(tmp_path / "fer2013new.csv", lambda row: strange.get(row, [VOTED[row % 7]]))
    own, lines = load(tmp_path / "fer2013.csv")
    assert any("LABELS=ferplus takes its labels" in line for line in lines) and "labels" not in own.source
    people, lines = load(tmp_path / "fer2013.csv labels=ferplus")
    told = problem(people, "FER+'s, by most votes")
    assert all(part in told for part in ("3 faces are left out", "a tie 1", "nf 1", "contempt 1"))
    assert "row_00001" not in people.names and people.names[0] == "row_00003" and EMOTIONS[people.labels[0]] == "angry"
    assert EMOTIONS[people.labels[people.names == "row_00009"][0]] == "surprise"
    assert people.source["key"] != own.source["key"] and people.source["pixels"] != own.source["pixels"]
    card = people.card()
    assert not card["official_split"], "some of its test faces are left out: no number of 7,178 faces"
    assert card["title"] == card["source"] == "fer2013.csv with FER+ labels"
    given = sources.find(f"{tmp_path / 'fer2013.csv'} labels=ferplus").given
    assert load(given)[0].source["key"] == people.source["key"]


def test_votes_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "fer2013.csv").write_bytes(TABLE)
    for data, said in (("synthetic", "need fer2013new.csv"), (tmp_path / "fer2013.csv", "in the folder of")):
        with pytest.raises(ValueError, match=said):
            load(f"{data} labels=ferplus")
    ferplus(tmp_path / "fer2013new.csv", lambda row: ["anger"], ("PrivateTest",) * 8)
    with pytest.raises(ValueError, match="follows the rows of"):
        load(f"{tmp_path / 'fer2013.csv'} labels=ferplus")


def test_other_labels_have_results_of_their_own():
    _, options = cli.parse(["run-all", "DATA=fer2013.csv", "LABELS=ferplus"])
    assert cli.out_of(options).name == "on_ferplus" and cli.out_of({}).name == "outputs"
    with pytest.raises(UserError, match="doesn't take LABELS"):
        cli.parse(["reference", "LABELS=ferplus"])


def test_votes_are_soft_labels_of_the_same_faces(tmp_path, monkeypatch):
    (tmp_path / "fer2013.csv").write_bytes(TABLE)
    ferplus(tmp_path / "fer2013new.csv", lambda row: [VOTED[row % 7], "NF"] if row == 0 else [VOTED[row % 7]])
    by_most, by_votes = (load(f"{tmp_path / 'fer2013.csv'} labels={name}")[0] for name in ("ferplus", "ferplus_votes"))
    assert by_votes.names.tolist() == by_most.names.tolist() and (by_votes.labels == by_most.labels).all()
    assert by_votes.names[0] == "row_00001" and EMOTIONS[by_votes.labels[0]] == "happy"
    shares = np.full(7, 1 / 11) + np.eye(7)[3] * 4 / 11  # five votes of eleven; unknown, contempt, no face don't count
    assert np.allclose(by_votes.soft_labels[0], shares) and by_most.soft_labels is None
    assert (by_votes.soft_labels.argmax(1) == by_votes.labels).all()
    keys = {people.source[name] for people in (by_most, by_votes) for name in ("key", "pixels")}
    assert len(keys) == 4 and by_votes.card()["source"] == "fer2013.csv with FER+ votes"
    only(monkeypatch, "happy", "neutral", "sad")
    fewer, _ = load(f"{tmp_path / 'fer2013.csv'} labels=ferplus_votes")
    assert np.allclose(fewer.soft_labels[0], [5 / 7, 1 / 7, 1 / 7]) and fewer.labels[0] == 0


# Fewer emotions on purpose


def only(monkeypatch, *names):
    """As if this Python had begun with these emotions."""
    suffix = f", only {', '.join(names)}"
    rooms = {sources: "EMOTIONS FEWER ONLY", vocabulary: "EMOTIONS", faces: "FEWER ONLY", cache: "FEWER"}
    for room, what in rooms.items():
        for name in what.split():
            monkeypatch.setattr(room, name, suffix if name == "ONLY" else names)


THREE = ("happy", "neutral", "sad")
FEWER = {  # what is there: name -> bytes, and what is told
    "all seven": (called(EMOTIONS), "32 other faces are left out (angry 8, disgust 8, fear 8, surprise 8)."),
    "other words": (called(NOUNS), "32 other faces are left out"),
    "no splits": (CLASSES, "48 other faces are left out"),
    "these alone, and one that nobody knows": (
        {n: data for n, data in called(EMOTIONS).items() if n.split("/")[1] in THREE} | {"train/bored/a.png": b"x"},
        "train/bored",
    ),
}


@pytest.mark.parametrize("kind", FEWER)
def test_fewer_emotions_are_read_alone_and_the_others_are_counted(tmp_path, monkeypatch, kind):
    files, told = FEWER[kind]
    place = folder_of(files, tmp_path / "mine")
    if "alone" in kind:
        with pytest.raises(ValueError, match="has nothing for angry"):
            load(place)
    else:
        seven, _ = load(place)
    with monkeypatch.context() as then:
        only(then, *THREE)
        people, _ = load(place)
    if "alone" in kind:
        with pytest.raises(ValueError, match="has nothing for angry"):
            load(place)  # although three emotions of it lie in the cache
    only(monkeypatch, *THREE)
    assert told in " ".join(people.source["problems"]) and {*people.labels.tolist()} == {0, 1, 2}
    word = dict(zip(NOUNS, EMOTIONS, strict=True))
    for name, label in zip(people.names, people.labels.tolist(), strict=True):
        assert THREE[label] in (name.split("/")[-2], word.get(name.split("/")[-2]))
    assert people.source["counts"]["test"] == [(people.part("test").labels == k).sum() for k in range(3)]
    card = people.card()
    assert card["title"] == card["source"] == "mine, only happy, neutral, sad" and tuple(card["emotions"]) == THREE
    assert not card["official_split"] and card["kind"] == "folder" and "mine, only happy" in people.caption()
    if "alone" not in kind:
        kept = {name: split for name, split in zip(seven.names, seven.split, strict=True) if name in people.names}
        assert kept == dict(zip(people.names, people.split, strict=True)), "the splits are those of all seven"
        assert seven.source["key"] != people.source["key"]


def test_synthetic_faces_of_fewer_emotions_know_what_was_planted_among_them(monkeypatch):
    only(monkeypatch, "fear", "sad")
    people, _ = load("synthetic", budget="smoke")
    assert people.is_synthetic and {name.split("/")[1] for name in people.names} == {"fear", "sad"}
    assert {each["name"] for each in people.source["planted"]} < {*people.names}
    assert people.caption().startswith("DEMONSTRATION on synthetic faces, only fear, sad · ")


def test_an_emotion_that_is_asked_for_and_not_there_is_named(tmp_path, monkeypatch):
    place = folder_of({n: data for n, data in called(EMOTIONS).items() if "train/sad" not in n}, tmp_path / "mine")
    only(monkeypatch, *THREE)
    with pytest.raises(ValueError, match="has no training face of sad"):
        load(place)


def test_emotions_are_asked_for_by_name():
    assert emotions.chosen("") == emotions.chosen(" ".join(emotions.SEVEN)) == emotions.SEVEN
    assert emotions.chosen("sad,happy neutral") == THREE
    with pytest.raises(ValueError, match=r"anger isn't one of angry, .* Did you mean angry"):
        emotions.chosen("Fear FEAR anger")
    with pytest.raises(ValueError, match="only happy is named"):
        emotions.chosen("happy happy")


def test_every_command_of_results_knows_emotions_and_others_leave_the_shells_alone(monkeypatch, capsys):
    monkeypatch.setenv("FER_EMOTIONS", "sad happy")
    commands.settle_emotions("run-all", {})
    assert os.environ["FER_EMOTIONS"] == "sad happy"
    commands.settle_emotions("reference", {})
    assert "FER_EMOTIONS" not in os.environ
    _, options = cli.parse(["run-all", "EMOTIONS=happy sad", "LABELS=ferplus_votes"])
    monkeypatch.setattr(emotions, "FOLDER", "happy_sad")
    assert cli.out_of(options).name == "on_ferplus_votes_happy_sad" and cli.out_of({"OUT": "a"}).name == "a"


# At random: faces or one sentence, whatever it is. FUZZ=100000 for a long run by hand

fuzz = settings(max_examples=int(os.environ.get("FUZZ", "12")), deadline=None)
PNG = [encoded(np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)) for seed in range(20)]
WORDS = ["train", "Test", "val", "PublicTest", *EMOTIONS, *NOUNS, *"0123457a", "contempt", "lost+found", "..", "é\n"]
PIXELS = st.sampled_from([" ".join([str(grey)] * 2304) for grey in range(0, 256, 5)] + ["1 2 3", "300 " * 2304, "x"])
FIELD = st.one_of(st.text(max_size=8), st.sampled_from(["Training", "PublicTest", "test", *"0123456789", *NOUNS]))
ROW = st.lists(st.one_of(FIELD, PIXELS), max_size=4) | st.tuples(st.sampled_from("0123456"), PIXELS, FIELD)


def faces_or_a_sentence(path, layout):
    try:
        people = layouts.read(path, layout)
    except ValueError as error:
        assert 20 < len(str(error)) < 3000
        return str(error).replace(str(path), "")
    assert {*people.split} <= {"train", "val", "test"}
    assert len({len(column) for column in people._columns().values()}) == 1
    assert people.images.shape[1:] == (48, 48) and people.labels.min() >= 0 and people.labels.max() < 7
    return people.names.tolist()


@fuzz
@given(
    st.sampled_from(["emotion,pixels,Usage", "emotion;pixels", "Label\tpixels\tsplit", "x", ""]),
    st.lists(ROW, max_size=60),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "latin-1"]),
)
def test_any_table_gives_faces_or_a_sentence(header, rows, code):
    comma = next((each for each in ",;\t" if each in header), ",")
    text = "\n".join([header, *(comma.join(row) for row in rows)])
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "fer2013.csv").write_bytes(text.encode(code, errors="replace"))
        faces_or_a_sentence(path, "csv")


@fuzz
@given(
    st.lists(st.tuples(st.lists(st.sampled_from(WORDS), max_size=4), st.integers(0, 40)), max_size=60), st.booleans()
)
def test_any_tree_gives_faces_or_a_sentence(files, whole):
    named = {"/".join([*folders, f"{number}.png"]): PNG[number % 20] for folders, number in files}
    named |= called(EMOTIONS) if whole else {}
    with tempfile.TemporaryDirectory() as folder:
        in_zip = faces_or_a_sentence(zip_of(named, Path(folder) / "a.zip"), "zip")
        apart = {name: data for name, data in named.items() if ".." not in name}
        there = finding.look(folder_of(apart, Path(folder) / "a" / "b") if apart else Path(folder))
        if there and there[1] == "folder" and isinstance(in_zip, list):
            assert faces_or_a_sentence(*there) == in_zip
