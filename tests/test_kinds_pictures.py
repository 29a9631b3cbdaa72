"""Kinds of pictures that people hand over: each is the face that it shows, or is refused in a sentence."""

import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import ExifTags, Image

from fer_helpers import images, models, paths
from fer_helpers.photos import album, detection, plots
from fer_helpers.predict import predict_emotion

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))  # by hand: FUZZ_EXAMPLES=100000, for ten minutes
GREY = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
GREY[0, :2] = 0, 255
PICTURE = Image.fromarray(GREY)
RED = np.zeros((48, 48, 3), np.uint8)
RED[..., 0] = 255
FTYP = b"\0\0\0\x18ftyp"


def encoded(form: str, picture=PICTURE, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


class FromTheWeb(io.RawIOBase):
    """A stream that can't go back."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def read(self, *given):
        return self.content.read(*given)


THE_FACE = {  # all of them the same face, to a level or as near as the format keeps it
    "bytes": encoded("PNG"),
    "bytearray": bytearray(encoded("PNG")),
    "a stream read to its end": io.BytesIO(encoded("PNG")),
    "a stream of the web": FromTheWeb(encoded("PNG")),
    "fractions": GREY / 255,
    "fractions in 16 bits": (GREY / 255).astype(np.float16),
    "whole numbers, float": GREY.astype(np.float32),
    "whole numbers, int64": GREY.astype(np.int64),
    "list of rows": GREY.tolist(),
    "(H, W, 1)": GREY[:, :, None],
    "(1, H, W)": GREY[None],
    "(3, H, W)": np.stack([GREY] * 3),
    "(H, W, 3)": np.stack([GREY] * 3, -1),
    "(H, W, 4), opaque": np.dstack([GREY] * 3 + [np.full_like(GREY, 255)]),
    "PIL, RGB": PICTURE.convert("RGB"),
    "ToTensor()": torch.from_numpy(GREY)[None] / 255,
    "tensor (3, H, W) that learns": (torch.from_numpy(GREY).float() / 255).expand(3, 48, 48).requires_grad_(),
    "tensor, 8 bits": torch.from_numpy(GREY),
    "PIL, fractions": Image.fromarray((GREY / 255).astype(np.float32)),
    "PIL, mode I": PICTURE.convert("I"),
    "TIFF of fractions": encoded("TIFF", Image.fromarray((GREY / 255).astype(np.float32))),
    "TIFF of fractions, 0 to 255": encoded("TIFF", Image.fromarray(GREY.astype(np.float32))),
    "16-bit PNG that holds 0 to 255": encoded("PNG", Image.fromarray(GREY.astype(np.uint16))),
    "16-bit PNG that holds 12 bits": encoded("PNG", Image.fromarray(GREY.astype(np.uint16) * 16)),
    "16-bit PNG": encoded("PNG", Image.fromarray(GREY.astype(np.uint16) * 257)),
    "big-endian array": (GREY.astype(np.uint16) * 257).astype(">u2"),
    "TGA": encoded("TGA"),
    "JPEG 2000": encoded("JPEG2000"),
    "ICO": encoded("ICO", PICTURE, sizes=[(48, 48)]),
}


@pytest.mark.parametrize("kind", THE_FACE)
def test_every_kind_shows_the_same_face(kind):
    face = images.grey_square(images.read(THE_FACE[kind]).image).astype(int)
    assert np.abs(face - GREY).max() <= 1, kind


def test_a_mask_is_black_and_white_and_avif_is_read():
    for mask in (GREY > 99, (GREY > 99).astype(int)):
        assert np.array_equal(np.asarray(images.read(mask).image), np.where(GREY > 99, 255, 0))
    if "AVIF" in Image.SAVE:
        assert images.read(encoded("AVIF")).image.size == (48, 48)


def test_blue_green_red_is_told_and_tells_red_from_blue():
    for source in (RED, RED.transpose(2, 0, 1), np.dstack([RED, np.full((48, 48), 255, np.uint8)])):
        assert images.read(source).image.getpixel((0, 0)) == (255, 0, 0)
        assert images.read(source, bgr=True).image.getpixel((0, 0)) == (0, 0, 255)
    assert images.read(GREY, bgr=True).image.mode == "L"


LYING = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_90 TRANSVERSE ROTATE_270".split()  # noqa: SIM905


def face(source):
    return images.grey_square(images.read(source).image)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "I;16", "LA"])
def test_any_mode_becomes_grey_or_rgb(mode):
    picture = Image.new("L", (500, 300), 200)
    picture = picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
    photo, square = images.read(picture), face(picture)
    assert photo.image.mode in ("L", "RGB") and (photo.size, photo.mode) == ((500, 300), mode)
    assert square.shape == (48, 48) and square.dtype == np.uint8
    assert (square == 200).all() or mode not in ("L", "RGB", "RGBA", "LA")


def test_sixteen_bits_keep_their_upper_eight():
    levels = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) % 256
    assert np.array_equal(face(Image.fromarray(levels * 256 + 17)), levels.astype(np.uint8))


def test_transparent_parts_are_white_and_the_centre_is_kept():
    assert (face(Image.new("RGBA", (96, 48), (0, 0, 0, 0))) == 255).all()
    wide, tall = np.zeros((48, 144), dtype=np.uint8), np.zeros((300, 100), dtype=np.uint8)
    wide[:, 48:96] = tall[100:200] = 99
    assert (face(wide) == 99).all() and (face(tall) == 99).all()


@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_upright(orientation, deep):
    upright = np.arange(12 * 20).reshape(12, 20).astype(np.uint8)
    lie = lambda picture: picture.transpose(Image.Transpose[LYING[orientation - 2]]) if orientation > 1 else picture  # noqa: E731
    lying = lie(Image.fromarray(upright.astype(np.uint16) * 256) if deep else Image.fromarray(upright))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = images.read(encoded("PNG", lying, exif=exif))
    assert np.array_equal(np.asarray(photo.image), upright) and photo.size == lying.size
    assert photo.notes == ("turned upright after its EXIF",) * (orientation > 1) + ("16 bits",) * deep
    assert np.array_equal(face(encoded("PNG", lie(PICTURE), exif=exif)), GREY), "a face of 48 pixels is turned too"


def test_a_large_picture_is_made_smaller_and_the_callers_own_stays_as_it_is():
    picture = Image.new("L", (300, 200), 7)
    photo = images.read(picture, longest=150)
    assert photo.image.size == (150, 100) and photo.scale == 2 and photo.notes == ("0 megapixels, made smaller",)
    assert picture.size == (300, 200) and images.read(picture, longest=300).notes == ()


def test_a_missing_file_is_missing_and_formats_that_call_other_programs_stay_shut(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.jpg"):
        images.read(tmp_path / "none.jpg")
    Image.new("L", (9, 9)).save(tmp_path / "face.eps")
    with pytest.raises(ValueError, match="not an image"):
        images.read(tmp_path / "face.eps")


REFUSED = {
    "OpenCV's imread gives None": None,
    "empty file": b"",
    "damaged .*truncated": encoded("JPEG", Image.new("RGB", (300, 300)))[:700],
    "too many pixels": encoded("PNG", Image.new("1", (15000, 15000))),
    "HEIC: pip install pillow-heif": FTYP + b"heic\0\0\0\0mif1heic" + b"\0" * 99,
    "a film; make video": FTYP + b"qt  " + b"\0" * 99,
    "not an image": b"<html></html>",
    "float32 from -2.1": torch.tensor([[-2.1, 2.6]]),
    "float64 from nan": np.full((48, 48), np.nan),
    "float64 from 0.3 to 254.5": np.array([[0.3, 254.5]]),
    "int64 from 0 to 70000": np.array([[0, 70000]]),
    "float32 from 0 to 7.5": Image.fromarray(np.array([[0, 7.5]], np.float32)),
    "hold no more than 255": None,  # a 16-bit PNG of colours, below
    r"has shape .* this one \(2, 3, 4, 4\)": np.zeros((2, 3, 4, 4)),
    r"this one \(48, 48, 2\)": np.zeros((48, 48, 2)),
    r"this one \(48,\)": np.zeros(48),
    r"this one \(0, 48\)": np.zeros((0, 48)),
    r"this one \(\)": 7,
    "numbers, not <U1": np.array([["a"]]),
    r"\(N, C, H, W\); this one": {"a": 1},
}


def deep_png(colours: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which PIL doesn't write."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    high, wide, _ = colours.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    head = struct.pack(">IIBBBBB", wide, high, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_picture_is_a_value_error_with_the_reason(reason):
    source = deep_png(RED.astype(np.uint16)) if "hold no more" in reason else REFUSED[reason]
    with pytest.raises(ValueError, match=reason):
        images.read(source)
    assert images.read(deep_png(RED.astype(np.uint16) * 257)).image.getpixel((0, 0)) == (255, 0, 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(0)
    return models.build("baseline", filters=(4, 4, 4), hidden=8)


def test_a_list_or_a_batch_gives_a_list_computed_as_one_batch(small, tmp_path, monkeypatch):
    PICTURE.save(tmp_path / "a.png")
    other = GREY[::-1].copy()
    asked, real = [], models.probabilities
    monkeypatch.setattr(models, "probabilities", lambda *given: asked.append(len(given[1])) or real(*given))
    one, two = predict_emotion(small, GREY), predict_emotion(small, other)
    batch, lists = np.stack([GREY, other]), ([tmp_path / "a.png", other], (PICTURE, other))
    for several in (*lists, batch[:, None], batch[..., None], torch.from_numpy(batch)[:, None]):
        asked.clear()
        answers = predict_emotion(small, several)
        assert asked == [2] and [each.label for each in answers] == [one.label, two.label]
        for answer, expected in zip(answers, (one, two), strict=True):
            assert [*answer.probabilities.values()] == pytest.approx([*expected.probabilities.values()], abs=1e-6)
    assert predict_emotion(small, []) == [] and len(predict_emotion(small, GREY[None, None])) == 1


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (None, "The picture can't be used: no image: OpenCV's imread"),
        ([GREY, None], "Picture 2 can't be used: no image"),
        ("cut.jpg", r"cut\.jpg can't be used: damaged"),
        (["cut.jpg"], r"cut\.jpg can't be used: damaged"),
        ("", "can't be used: (can't be read|damaged)"),  # the folder itself; each system has its words
        ("none.jpg", r"^There is no file .*none\.jpg"),  # a FileNotFoundError passes as it is
        ("https://example.org/a.jpg", "There is no file https:"),
    ],
)
def test_every_refusal_is_a_value_error_that_names_the_picture(small, tmp_path, image, says):
    (tmp_path / "cut.jpg").write_bytes(encoded("JPEG", Image.new("RGB", (300, 300)))[:700])
    local = lambda each: str(tmp_path / each) if isinstance(each, str) and "//" not in each else each  # noqa: E731
    with pytest.raises(ValueError, match=says):
        predict_emotion(small, [local(each) for each in image] if isinstance(image, list) else local(image))
    with pytest.raises(FileNotFoundError):
        predict_emotion(small, tmp_path / "none.jpg")


def test_every_file_of_a_folder_gets_an_answer_or_a_reason(model, astronaut, tmp_path):
    kinds = {"b.jfif": "JPEG", "c.jpe": "JPEG", "d": "JPEG", "f.jp2": "JPEG2000", "GROSS.JPG": "JPEG", "猫.png": "PNG"}
    for name, form in kinds.items():
        (tmp_path / name).write_bytes(encoded(form, astronaut))
    odd = {"IMG_0001.HEIC": FTYP + b"heic" + b"\0" * 99, "IMG_0001.MOV": FTYP + b"qt  ", "notes.txt": b"a note"}
    hidden = (".DS_Store", "Thumbs.db", ".thumbnails/x.png", "@eaDir/x.png", "__MACOSX/._a.jpg")
    for name, content in (odd | dict.fromkeys(hidden, b"hidden")).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with suppress(OSError):  # a file system of text alone
        Path(tmp_path, os.fsdecode(b"caf\xe9.png")).write_bytes(encoded("PNG", astronaut))
        kinds[r"caf\udce9.png"] = "PNG"
    found = {name: (photo, faces) for name, photo, faces in album.recognise(model, album.collect(str(tmp_path)))}
    answered = {name for name, (_, faces) in found.items() if faces}
    assert answered == kinds.keys() and found.keys() - answered == {*odd, "gone.jpg"}
    assert all(name.encode() and isinstance(photo, str) for name, (photo, faces) in found.items() if not faces)


def test_a_name_with_dollars_is_no_formula(model, astronaut, tmp_path):
    faces = detection.recognise(model, astronaut)
    title = {"title": "a cost$_$5^.jpg: happy", "caption": r"$\x"}
    heats = [face.image / 255 for face in faces]
    paths.save_figure(plots.annotated(astronaut, faces, heats, threshold=0.4, **title), tmp_path / "answer.png")


KINDS = arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.unsigned_integer_dtypes() | arrays.floating_dtypes()
NUMBERS = arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NUMBERS, st.booleans())
def test_any_array_is_a_picture_or_refused(array, bgr):
    try:
        photo = images.read(array, bgr=bgr)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 250
    else:
        pixels = np.asarray(photo.image)
        assert photo.image.mode in ("L", "RGB") and images.grey_square(photo.image).shape == (48, 48)
        assert array.dtype == np.uint8 or array.ndim > 3 or pixels.any() or array.max() < 0.01, "never seen as black"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "ICO"]), st.data())
def test_any_damage_to_a_file_is_a_picture_or_refused(form, data):
    content = bytearray(encoded(form))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=9)):
        content[at] = value
    try:
        photo = images.read(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 250
    else:
        assert photo.image.mode in ("L", "RGB")
