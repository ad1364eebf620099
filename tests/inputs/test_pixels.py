"""Images of every mode become RGB, upright."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from inputs.pictures import load_all, random_rgb, read_hwc
from PIL import ExifTags, Image

# What to do with the stored pixels to see them upright, by the EXIF standard.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(tmp_path, orientation, suffix):
    (stored,) = random_rgb(1)
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(path, exif=exif)
    np.testing.assert_array_equal(read_hwc(path), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_tiff_of_any_mode_is_turned(tmp_path, mode):
    grey = random_rgb(1)[0, :6, :9, 0]
    picture = Image.fromarray(grey if mode in ("L", "P") else grey.astype(np.uint16))
    if mode in ("RGBA", "CMYK"):
        picture = Image.fromarray(grey).convert("RGB").convert(mode)
    if mode == "P":
        picture = picture.convert("P")
    upright = np.asarray(Image.fromarray(grey).convert("RGB"))
    path = tmp_path / "turned.tif"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)
    plain = tmp_path / "plain.tif"
    picture.save(plain)
    np.testing.assert_array_equal(read_hwc(path), UPRIGHT[6](read_hwc(plain)))
    with Image.open(path) as unread:
        (lazy,) = load_all([unread])
    np.testing.assert_array_equal(lazy.permute(1, 2, 0), read_hwc(path))
    if mode == "L":
        np.testing.assert_array_equal(read_hwc(plain), upright)


def test_grey_and_bilevel_files(tmp_path):
    (grey,) = random_rgb(1)[..., 0]
    for name, mode, expected in [
        ("grey.png", "L", grey),
        ("alpha.png", "LA", grey),
        ("bilevel.png", "1", None),
    ]:
        image = Image.fromarray(grey).convert(mode)
        image.save(tmp_path / name)
        expected = np.array(image.convert("L")) if expected is None else expected
        pixels = read_hwc(tmp_path / name)
        np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, axis=2))


def palette_image(n_colours=16):
    """Palette, indices, and the colours they stand for."""
    rng = np.random.RandomState(0)
    palette = rng.randint(0, 256, (n_colours, 3)).astype(np.uint8)
    indices = rng.randint(n_colours, size=(12, 10)).astype(np.uint8)
    image = Image.frombytes("P", (10, 12), indices.tobytes())
    image.putpalette(palette.tobytes())
    return image, palette[indices]


@pytest.mark.parametrize("name", ["palette.png", "palette.gif"])
def test_palette_files(tmp_path, name):
    image, expected = palette_image()
    image.save(tmp_path / name)
    np.testing.assert_array_equal(read_hwc(tmp_path / name), expected)


def test_palette_file_with_an_alpha_per_colour(tmp_path):
    # Warnings are errors here: Pillow's own would appear once per image.
    image, expected = palette_image()
    image.save(tmp_path / "alpha.png", transparency=bytes([0, 128] * 8))
    np.testing.assert_array_equal(read_hwc(tmp_path / "alpha.png"), expected)


def test_16_bit_grey_files_are_scaled_to_8_bits(tmp_path):
    values = np.arange(120).reshape(12, 10).astype(np.uint16) * 550
    expected = np.repeat((values // 256).astype(np.uint8)[..., None], 3, axis=2)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(values).save(tmp_path / name)
        np.testing.assert_array_equal(read_hwc(tmp_path / name), expected)


def test_rgba_file_drops_alpha(tmp_path):
    (rgb,), (alpha,) = random_rgb(1), random_rgb(1, seed=1)[..., :1]
    path = tmp_path / "rgba.png"
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(path)
    np.testing.assert_array_equal(read_hwc(path), rgb)


def test_cmyk_jpeg_is_not_inverted(tmp_path, photos):
    path = tmp_path / "cmyk.jpg"
    Image.fromarray(photos[0]).convert("CMYK").save(path, quality=95)
    difference = read_hwc(path).astype(int) - photos[0]
    assert np.abs(difference).mean() < 4


def test_images_given_are_left_as_they_were():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    given = Image.fromarray(random_rgb(1)[0])
    given.getexif().update(exif)
    before = given.tobytes()
    (loaded,) = load_all([given])
    loaded.zero_()
    assert given.tobytes() == before
    assert given.size == (10, 12)


def grey(levels, mode):
    """A PIL image of one row of grey levels, in a mode of more than 8 bits."""
    dtype = {"F": np.float32, "I": np.int32, "I;16": np.uint16, "I;16B": ">u2"}[mode]
    array = np.array([levels], dtype=dtype)
    image = Image.frombytes(mode, (len(levels), 1), array.tobytes())
    assert image.mode == mode
    return image


@pytest.mark.parametrize(
    ("mode", "levels", "expected"),
    [
        ("I;16", [0, 255, 256, 40000, 65535], [0, 0, 1, 156, 255]),
        ("I;16B", [0, 255, 256, 40000, 65535], [0, 0, 1, 156, 255]),
        ("I", [0, 7, 255], [0, 7, 255]),
        ("I", [0, 255, 256, 65535], [0, 0, 1, 255]),
        ("F", [0, 0.2, 0.5, 1], [0, 51, 128, 255]),
        ("F", [0, 7.4, 128, 255], [0, 7, 128, 255]),
    ],
)
def test_grey_of_more_than_8_bits(mode, levels, expected):
    (loaded,) = load_all([grey(levels, mode)])
    assert loaded.tolist() == [[expected]] * 3


@pytest.mark.parametrize(
    ("mode", "levels", "match"),
    [
        ("F", [0, 300], "from 0 to 300 are outside of 0 to 255; scale"),
        ("F", [-0.5, 1], "from -0.5 to 1 are outside"),
        ("F", [np.nan, 1], "nan.* outside"),
        ("I", [0, 70000], "outside of 0 to 65535; scale"),
        ("I", [-1, 5], "from -1 to 5 are outside"),
    ],
)
def test_grey_levels_out_of_range(mode, levels, match):
    with pytest.raises(ValueError, match=match):
        load_all([grey(levels, mode)])


def test_a_photo_is_turned_upright_whatever_else_its_exif_holds(tmp_path):
    # A description that is a float, where text belongs, and orientation 6.
    entries = struct.pack(">HHIf", 0x10E, 11, 1, 1.0)
    entries += struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    block = b"MM\0*" + struct.pack(">IH", 8, 2) + entries + b"\0" * 8
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 8)).save(path, exif=b"Exif\0\0" + block)
    assert read_hwc(path).shape == (16, 8, 3)


def test_damaged_exif_is_passed_over(tmp_path):
    (stored,) = random_rgb(1)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path, exif=b"Exif\0\0MM\0*")
    with pytest.raises(Exception), Image.open(path) as image:  # noqa: B017
        image.getexif()
    np.testing.assert_array_equal(read_hwc(path), stored)
