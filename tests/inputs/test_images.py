"""Every kind of image input, and what happens to a batch on its way to a backbone."""

from __future__ import annotations

import pickle
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import ExifTags, Image
from scipy.stats import binom, kstest
from sklearn.datasets import load_sample_images
from timm.data import create_transform

from sklearn_turn import TURNClassifier
from sklearn_turn.backbones import BatchTransform
from sklearn_turn.backbones.augment import light_augment
from sklearn_turn.exceptions import ImageReadError
from sklearn_turn.inputs import as_source, is_images, raise_if_unreadable

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def random_rgb(n=5, height=12, width=10, seed=0):
    shape = (n, height, width, 3)
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def load_all(X):
    source = as_source(X)
    return source.load(list(range(len(source))))


def transformed(X, size, **options):
    """Evaluation batch in 0..1, without normalisation."""
    return BatchTransform(size, **{**UNIT, **options}).eval()(load_all(X))


def write_pngs(folder, images):
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def read_hwc(path):
    (image,) = load_all([path])
    return image.permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def photos():
    """Two photos of 427 x 640 pixels that come with scikit-learn."""
    return np.stack(load_sample_images().images)


@pytest.fixture
def damaged(tmp_path):
    """One good file, and the ways a file can be bad."""
    (good,) = write_pngs(tmp_path, random_rgb(1, 40, 40))
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(good.read_bytes()[:2000])
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    return {
        "good": str(good),
        "missing": str(tmp_path / "missing.jpg"),
        "text": str(text),
        "empty": str(empty),
        "folder": str(tmp_path),
        "truncated": str(truncated),
    }


# -- arrays --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_channels_may_come_first_or_last(dtype):
    X = random_rgb() if dtype == np.uint8 else (random_rgb() / 255).astype(dtype)
    last, first = load_all(X), load_all(X.transpose(0, 3, 1, 2))
    assert last.shape == (5, 3, 12, 10)
    assert torch.equal(last, first)
    np.testing.assert_allclose(last[2, 1].numpy(), X[2, :, :, 1], rtol=1e-6)


def test_grey_images_are_rgb_with_equal_channels():
    grey = random_rgb()[..., 0]
    expected = transformed(np.repeat(grey[..., None], 3, axis=3), 8)
    for X in (grey, grey[..., None], grey[:, None]):
        torch.testing.assert_close(transformed(X, 8), expected)


@pytest.mark.parametrize("axis", [1, 3])
def test_alpha_is_dropped(axis):
    rgb = random_rgb()
    alpha = random_rgb(seed=1)[..., :1]
    rgba = np.moveaxis(np.concatenate([rgb, alpha], axis=3), 3, axis)
    assert torch.equal(transformed(rgba, 8), transformed(rgb, 8))


def test_loaded_batches_keep_their_precision():
    assert load_all(random_rgb()).dtype == torch.uint8
    for dtype in (np.float16, np.float32, np.float64):
        assert load_all((random_rgb() / 255).astype(dtype)).dtype == torch.float32


def test_floats_in_the_other_byte_order():
    X = (random_rgb() / 255).astype(np.float32)
    assert torch.equal(load_all(X.astype(">f4")), load_all(X))


def test_indices_select_in_the_order_asked():
    X = random_rgb()
    batch = as_source(X).load([3, 0, 3])
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), X[[3, 0, 3]])


def test_integers_and_floats_give_the_same_pixels():
    X = random_rgb(height=32, width=32)
    as_float = (X / 255).astype(np.float32)
    torch.testing.assert_close(transformed(X, 32), transformed(as_float, 32))
    # Resizing 8-bit images rounds to 8 bits, once per direction.
    resized = [transformed(x, 20, interpolation="bilinear") for x in (X, as_float)]
    assert (resized[0] - resized[1]).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_array_is_not_copied(dtype):
    X = np.zeros((200, 64, 64, 3), dtype=dtype)
    tracemalloc.start()
    source = as_source(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 10
    X[7] = 1
    assert (source.load([7]) == 1).all()


def test_memory_map_is_read_late(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, random_rgb())
    source = as_source(np.load(path, mmap_mode="r"))
    writable = np.load(path, mmap_mode="r+")
    writable[3] = 77
    writable.flush()
    assert (source.load([3]) == 77).all()


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.full((2, 8, 8, 3), 255.0), r"\[0, 1\], but values from 255 to 255"),
        (np.full((2, 8, 8, 3), -0.1), r"\[0, 1\], but values from -0.1 to -0.1"),
        (np.zeros((2, 8, 8, 3), dtype=np.int64), "uint8.*int64"),
        (np.zeros((2, 8, 8, 3), dtype=bool), "uint8.*bool"),
        (np.zeros((2, 8, 8, 5), dtype=np.uint8), r"\(8, 8, 5\).*1, 3 or 4 channels"),
        (np.zeros((2, 2, 8, 8), dtype=np.uint8), r"\(2, 8, 8\).*1, 3 or 4 channels"),
        (np.zeros(8), r"shape \(8,\)"),
        (np.zeros((2, 8)), r"shape \(2, 8\)"),
        (np.zeros((2, 1, 8, 8, 3), dtype=np.uint8), r"shape \(2, 1, 8, 8, 3\)"),
        (np.full((2, 8, 8), "a"), "type <U1"),
    ],
)
def test_arrays_that_are_no_images(X, match):
    with pytest.raises(ValueError, match=match):
        as_source(X)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_first_image_with_a_non_finite_value_is_named(bad):
    X = np.zeros((600, 2, 2, 3), dtype=np.float32)
    X[[301, 450], 1, 0, 2] = bad
    with pytest.raises(ValueError, match=r"image 301\b"):
        as_source(X)


def test_no_images_at_all():
    X = np.zeros((0, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"0 samples|empty|no images"):
        as_source(X)


# -- files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "collect",
    [
        lambda paths: [str(p) for p in paths],
        lambda paths: tuple(str(p) for p in paths),
        list,
        lambda paths: np.array([str(p) for p in paths]),
        lambda paths: np.array([str(p) for p in paths], dtype=object),
        lambda paths: np.array(paths, dtype=object),
        lambda paths: pd.Series([str(p) for p in paths], index=[7, 5, 3]),
        lambda paths: pd.Series(paths, index=[2, 1, 0]),
        lambda paths: pd.Series([str(p) for p in paths], dtype="category"),
    ],
    ids=[
        "list",
        "tuple",
        "paths",
        "str_array",
        "object_array",
        "path_array",
        "series",
        "path_series",
        "categorical",
    ],
)
def test_paths_come_in_many_collections(tmp_path, collect):
    images = random_rgb(3)
    X = collect(write_pngs(tmp_path, images))
    assert is_images(X)
    batch = load_all(X)
    assert batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), images)


def test_files_have_no_common_shape_but_arrays_do(tmp_path):
    images = random_rgb(2)
    assert as_source(images).item_shape == (12, 10, 3)
    assert as_source(write_pngs(tmp_path, images)).item_shape is None


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


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path, orientation):
    (stored,) = random_rgb(1)
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(path, exif=exif)
    np.testing.assert_array_equal(read_hwc(path), UPRIGHT[orientation](stored))


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


def test_large_jpeg_is_decoded_small_but_not_too_small(tmp_path, photos):
    path = tmp_path / "large.jpg"
    Image.fromarray(photos[0]).resize((1600, 1200)).save(path, quality=95)
    source = as_source([path])
    small = source.sized_for(100).load([0])
    assert source.load([0]).shape == (1, 3, 1200, 1600)
    assert 200 <= min(small.shape[-2:]) <= 400
    full = load_all(np.array(Image.open(path))[None])
    transform = BatchTransform(100, **UNIT).eval()
    difference = (transform(small) - transform(full)).abs() * 255
    assert difference.mean() < 2


def test_mixed_sizes_in_one_batch(tmp_path):
    sizes = [(12, 10), (30, 20), (16, 40), (12, 10)]
    images = [random_rgb(1, *size, seed=i)[0] for i, size in enumerate(sizes)]
    source = as_source(write_pngs(tmp_path, images))
    transform = BatchTransform(16, crop_pct=0.9, **IMAGENET).eval()
    together = transform(source.load([0, 1, 2, 3]))
    for i, image in enumerate(images):
        alone = transform(load_all(image[None]))
        torch.testing.assert_close(together[i : i + 1], alone)


# -- objects -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "collect",
    [
        torch.from_numpy,
        lambda images: torch.from_numpy(images).permute(0, 3, 1, 2),
        list,
        lambda images: [torch.from_numpy(image) for image in images],
        lambda images: [Image.fromarray(image) for image in images],
        lambda images: torch.utils.data.TensorDataset(
            torch.from_numpy(images), torch.arange(len(images))
        ),
        lambda images: as_source(images)[np.arange(len(images))],
    ],
    ids=["tensor", "tensor_nchw", "arrays", "tensors", "pil", "dataset", "subset"],
)
def test_images_come_in_many_collections(collect):
    images = random_rgb(4)
    X = collect(images)
    assert is_images(X)
    batch = load_all(X)
    assert batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), images)


# -- bad files -----------------------------------------------------------------------


def test_every_bad_file_is_reported_with_its_reason(damaged):
    paths = [damaged[k] for k in ("missing", "good", "text", "empty", "folder")]
    with pytest.raises(ImageReadError, match="4 of 5 images") as caught:
        as_source(paths)
    bad = [path for path in paths if path != damaged["good"]]
    assert caught.value.paths == bad
    lines = str(caught.value).splitlines()
    for path in bad:
        assert sum(line.startswith(f"  {path}: ") for line in lines) == 1
    assert f"  {damaged['missing']}: not found" in lines


def test_ten_bad_paths_are_listed_and_the_rest_counted(damaged):
    paths = [damaged["good"], *(f"absent_{i}.jpg" for i in range(13))]
    with pytest.raises(ImageReadError, match="13 of 14 images") as caught:
        as_source(paths)
    message = str(caught.value)
    listed = [path for path in paths if path in message]
    assert listed == paths[1:11]
    assert "and 3 more" in message
    assert caught.value.paths == paths[1:]


def test_truncated_file_is_found_by_decoding_only(damaged):
    paths = [damaged["good"], damaged["truncated"]]
    source = as_source(paths)
    raise_if_unreadable(source)
    with pytest.raises(ImageReadError, match="1 of 2") as caught:
        raise_if_unreadable(source, decode=True)
    assert caught.value.paths == paths[1:]


def test_a_failed_read_names_the_files_of_its_batch(tmp_path, damaged):
    content = Path(damaged["truncated"]).read_bytes()
    copies = [tmp_path / f"copy_{i}.png" for i in range(3)]
    for copy in copies:
        copy.write_bytes(content)
    source = as_source([damaged["good"], *copies])
    assert source.load([0]).shape == (1, 3, 40, 40)
    with pytest.raises(ImageReadError, match="2 of 3 images read together") as caught:
        source.load([0, 1, 2])
    assert caught.value.paths == [str(copy) for copy in copies[:2]]


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_files_read_in_threads_keep_their_order(tmp_path, four_threads, monkeypatch):
    pixels = random_rgb(n=40)
    source = as_source(write_pngs(tmp_path, pixels))
    readers, decode = set(), source.decode

    def slow_to_start(index):
        readers.add(threading.get_ident())
        time.sleep(0.01 if index % 4 == 0 else 0)
        return decode(index)

    monkeypatch.setattr(source, "decode", slow_to_start)
    order = np.random.RandomState(0).permutation(40)
    batch = source.load(order.tolist())
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1), pixels[order])
    assert len(readers) > 1


def test_datasets_are_read_in_one_thread(four_threads):
    class OneReader(torch.utils.data.Dataset):
        """Like a file handle, to be used by one thread."""

        owner = threading.get_ident()

        def __len__(self):
            return 12

        def __getitem__(self, index):
            assert threading.get_ident() == self.owner
            return np.full((4, 4, 3), index, dtype=np.uint8)

    source = as_source(OneReader())
    assert source.load(list(range(12)))[:, 0, 0, 0].tolist() == list(range(12))
    assert source.problems(decode=True) == []


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


def test_read_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageReadError("Two are bad.", ["a", "b"])))
    assert (str(error), error.paths) == ("Two are bad.", ["a", "b"])


# -- what is taken as images ---------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.zeros((2, 4, 4)), True),
        (np.zeros((2, 4, 4, 3)), True),
        (["a.png", "b.png"], True),
        ([Path("a.png")], True),
        (np.array(["a.png"]), True),
        (pd.Series(["a.png"], index=[3]), True),
        ([np.zeros((4, 4, 3), dtype=np.uint8)], True),
        (np.zeros((2, 4)), False),
        ([[0.0, 1.0], [2.0, 3.0]], False),
        (((0.0, 1.0), (2.0, 3.0)), False),
        ([np.zeros(4), np.ones(4)], False),
        (pd.DataFrame({"a": [0.0, 1.0]}), False),
        (pd.DataFrame({"a": ["x", "y"]}), False),
        (np.zeros(3), False),
        ([], False),
        ("a.png", False),
        (None, False),
    ],
)
def test_is_images(X, expected):
    assert is_images(X) is expected


# -- transform -----------------------------------------------------------------------


def assert_as_timm(X, size, crop_pct, interpolation, crop_mode="center"):
    """Compare with timm's Pillow pipeline, in grey levels of 0 to 255.

    Measured over 108 settings on photos: mean difference at most 0.008 grey levels,
    largest 2, from the different order of rounding in torchvision and Pillow.
    """
    reference = create_transform(
        (3, size, size),
        is_training=False,
        crop_pct=crop_pct,
        interpolation=interpolation,
        crop_mode=crop_mode,
        **IMAGENET,
    )
    expected = torch.stack([reference(Image.fromarray(x)) for x in X])
    transform = BatchTransform(
        size,
        crop_pct=crop_pct,
        interpolation=interpolation,
        crop_mode=crop_mode,
        **IMAGENET,
    ).eval()
    std = torch.tensor(IMAGENET["std"]).view(3, 1, 1)
    levels = ((transform(load_all(X)) - expected) * std * 255).abs()
    assert levels.shape == (len(X), 3, size, size)
    assert levels.mean() < 0.05
    assert levels.max() <= 3.01


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "crop_pct"), [(32, 1.0), (96, 0.9), (224, 0.875), (224, 0.95), (448, 1.0)]
)
def test_evaluation_is_timms(photos, size, crop_pct, interpolation):
    assert_as_timm(photos, size, crop_pct, interpolation)


@pytest.mark.parametrize(("size", "crop_pct"), [(96, 0.9), (224, 1.0), (427, 1.0)])
def test_evaluation_squashes_as_timm_does(photos, size, crop_pct):
    assert_as_timm(photos, size, crop_pct, "bicubic", "squash")


def test_evaluation_is_timms_for_tall_images(photos):
    # Not above 2:1, where Pillow resizes in the other order and rounds otherwise.
    tall = np.ascontiguousarray(photos.transpose(0, 2, 1, 3)[:, :451, 100:331])
    assert_as_timm(tall, 160, 0.875, "bicubic")


@pytest.fixture(scope="module")
def pacs(assets, tmp_path_factory):
    """Paths of 30 of the photos, from all classes."""
    folder = tmp_path_factory.mktemp("pacs")
    with zipfile.ZipFile(assets / "pacs_photo.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        chosen = names[:: len(names) // 30][:30]
        archive.extractall(folder, chosen)
    return [folder / name for name in chosen]


@pytest.mark.parametrize(
    ("size", "crop_pct", "interpolation"),
    [(96, 0.9, "bicubic"), (224, 0.875, "bilinear"), (160, 0.95, "bicubic")],
)
def test_evaluation_is_timms_on_photo_files(pacs, size, crop_pct, interpolation):
    decoded = []
    for path in pacs:
        with Image.open(path) as image:
            decoded.append(np.array(image.convert("RGB")))
    assert torch.equal(load_all(pacs), load_all(np.stack(decoded)))
    assert_as_timm(np.stack(decoded), size, crop_pct, interpolation)


def test_mean_and_std_are_applied_per_channel():
    X = np.zeros((1, 4, 4, 3), dtype=np.float32)
    X[...] = [0.2, 0.5, 0.8]
    out = BatchTransform(4, (0.1, 0.3, 0.8), (0.1, 0.2, 0.5)).eval()(load_all(X))
    expected = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)


def test_bicubic_overshoot_stays_in_range():
    X = np.zeros((1, 8, 8, 3), dtype=np.float32)
    X[:, :, 4:] = 1
    out = transformed(X, 32, interpolation="bicubic")
    assert out.min() == 0
    assert out.max() == 1


def test_augmentation_sees_floats_and_training_batches_only():
    seen = []

    def black(images):
        seen.append(images)
        return torch.zeros_like(images)

    X = random_rgb(height=20, width=24)
    transform = BatchTransform(16, augment=black, **UNIT)
    plain = BatchTransform(16, **UNIT).eval()(load_all(X))
    assert torch.equal(transform.eval()(load_all(X)), plain)
    assert not seen
    assert (transform.train()(load_all(X)) == 0).all()
    torch.testing.assert_close(seen[0], plain)


# -- augmentation --------------------------------------------------------------------


def coordinate_ramps(n, size=32):
    """Images whose channels are x, y and 0, in -1 .. 1 at the outer pixel edges.

    Bilinear resampling of a linear image is exact inside, so the geometry of an
    augmentation can be read off its output.
    """
    centres = (2 * torch.arange(size) + 1) / size - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]).expand(n, 3, size, size)


def read_geometry(images):
    """Scale and centre along x and y, each of shape (n, 2); flips have a scale < 0."""
    size = images.shape[-1]
    inner = slice(size // 4, size - size // 4)
    span = (size // 2 - 1) * 2 / size
    along_x = images[:, 0, :, inner].mean(dim=1)
    along_y = images[:, 1, inner, :].mean(dim=2)
    scale = [(line[:, -1] - line[:, 0]) / span for line in (along_x, along_y)]
    centre = [line.mean(dim=1) for line in (along_x, along_y)]
    return torch.stack(scale, dim=1).numpy(), torch.stack(centre, dim=1).numpy()


def test_light_augment_is_a_flip_and_a_square_crop():
    torch.manual_seed(0)
    n = 400
    out = light_augment(coordinate_ramps(n))
    assert out.shape == (n, 3, 32, 32)
    assert (out[:, 2] == 0).all()
    scale, centre = read_geometry(out)
    np.testing.assert_allclose(np.abs(scale[:, 0]), scale[:, 1], atol=1e-4)
    side = scale[:, 1]
    assert kstest((side - 0.8) / 0.2, "uniform").pvalue > 1e-3
    # The crop lies inside the image, anywhere there.
    room = (1 - side)[:, None]
    assert (np.abs(centre) <= room + 1e-3).all()
    assert (np.abs(centre[side < 0.9]) > 0.5 * room[side < 0.9]).any(axis=0).all()
    flips = (scale[:, 0] < 0).sum()
    assert binom.cdf(flips, n, 0.5) > 1e-4
    assert binom.sf(flips - 1, n, 0.5) > 1e-4


def test_light_augment_treats_each_image_by_itself():
    torch.manual_seed(0)
    scale, centre = read_geometry(light_augment(coordinate_ramps(50)))
    assert len(np.unique(scale[:, 1].round(4))) > 40
    assert len(np.unique(centre[:, 0].round(4))) > 40


def test_light_augment_follows_the_seed():
    batch = torch.rand(8, 3, 16, 16)
    torch.manual_seed(3)
    first = light_augment(batch)
    second = light_augment(batch)
    torch.manual_seed(3)
    assert torch.equal(light_augment(batch), first)
    assert not torch.equal(first, second)


def test_light_augment_keeps_the_range_of_values():
    batch = torch.rand(64, 3, 8, 12)
    before = batch.clone()
    out = light_augment(batch)
    assert torch.equal(batch, before)
    assert torch.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


# -- through a classifier ------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(images):
    probe = TURNClassifier(
        "test_resnet",
        pretrained=False,
        input_size=32,
        lp_epochs=1,
        cleansing=None,
        fft_epochs=0,
        device="cpu",
        random_state=0,
    )
    return probe.fit(images.X, images.y)


def test_prediction_refuses_other_shapes(fitted, images):
    with pytest.raises(ValueError, match=r"\(8, 9, 3\).*\(8, 8, 3\)"):
        fitted.predict(np.zeros((2, 8, 9, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"fitted on images.*2-D features"):
        fitted.predict(images.X.reshape(24, -1))


def test_files_predict_as_the_arrays_they_hold(fitted, images, tmp_path):
    paths = write_pngs(tmp_path, images.X)
    np.testing.assert_array_equal(
        fitted.predict_proba(paths), fitted.predict_proba(images.X)
    )


def test_bad_images_are_refused_before_the_backbone_is_built(images):
    built = []
    model = TURNClassifier(lambda: built.append(1), device="cpu")
    for X, match in [
        (images.X.astype(np.float32), "Float images must lie in"),
        (images.X.astype(np.int64), "int64"),
        ([f"absent_{i}.png" for i in range(24)], "24 of 24 images"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.fit(X, images.y)
    assert not built
