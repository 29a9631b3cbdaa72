"""One door for every picture: whatever its form, format, colours and orientation, the same upright 8-bit image."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from fer_helpers.images import grey_square, read

GREY = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
LYING = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_90 TRANSVERSE ROTATE_270".split()  # noqa: SIM905


def face(source):
    return grey_square(read(source).image)


def encoded(picture, form="PNG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "I;16", "LA"])
def test_any_mode_becomes_grey_or_rgb(mode):
    picture = Image.new("L", (500, 300), 200)
    picture = picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
    photo, square = read(picture), face(picture)
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
    photo = read(encoded(lying, exif=exif))
    assert np.array_equal(np.asarray(photo.image), upright) and photo.size == lying.size
    assert photo.notes == ("turned upright after its EXIF",) * (orientation > 1) + ("16 bits",) * deep
    square = encoded(lie(Image.fromarray(GREY)), exif=exif)
    assert np.array_equal(face(square), GREY), "a face of 48 pixels is turned too"


def test_a_large_picture_is_made_smaller_and_the_callers_own_stays_as_it_is():
    picture = Image.new("L", (300, 200), 7)
    photo = read(picture, longest=150)
    assert photo.image.size == (150, 100) and photo.scale == 2 and photo.notes == ("0 megapixels, made smaller",)
    assert picture.size == (300, 200) and read(picture, longest=300).notes == ()


def test_a_missing_file_is_missing_and_formats_that_call_other_programs_stay_shut(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.jpg"):
        read(tmp_path / "none.jpg")
    Image.new("L", (9, 9)).save(tmp_path / "face.eps")
    with pytest.raises(ValueError, match="not an image"):
        read(tmp_path / "face.eps")
