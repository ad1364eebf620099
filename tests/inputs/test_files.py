"""Image files: collections of paths, reduced decoding, mixed sizes."""

from __future__ import annotations

import contextlib
import gzip
import os
import pickle
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from inputs.pictures import UNIT, load_all, random_rgb, write_pngs
from PIL import Image

from sklearn_turn import FeatureExtractor
from sklearn_turn.backbones import BatchTransform
from sklearn_turn.inputs import ImageFiles, Ragged, as_source, is_images

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


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


def test_a_size_is_asked_of_a_copy(tmp_path, photos):
    path = tmp_path / "large.jpg"
    Image.fromarray(photos[0]).resize((1600, 1200)).save(path)
    source = ImageFiles([path] * 3)
    part = source[np.array([2, 0])]
    for whole in (source, part):
        small, medium = whole.sized_for(50), whole.sized_for(250)
        assert len(small) == len(medium) == len(whole)
        # JPEG can be decoded at an eighth, a quarter or a half of its size.
        assert whole.load([1]).shape[-2:] == (1200, 1600)
        assert medium.load([1]).shape[-2:] == (600, 800)
        assert small.load([1]).shape[-2:] == (150, 200)
    assert np.shares_memory(source.sized_for(50)._paths, source._paths)


def test_images_of_one_size_but_two_types_keep_them():
    whole = random_rgb(2, height=8, width=8)
    batch = load_all([whole[0], (whole[1] / 255).astype(np.float32)])
    assert isinstance(batch, Ragged)
    assert [image.dtype for image in batch.images] == [torch.uint8, torch.float32]
    transform = BatchTransform(8, **UNIT).eval()
    torch.testing.assert_close(transform(batch), transform(load_all(whole)))


def test_paths_are_kept_as_given(tmp_path):
    unusual = [
        str(tmp_path / name) for name in ("ä b.png", "\udce9.png", "a" * 200 + ".png")
    ]
    source = ImageFiles([*unusual, tmp_path / "c.png", os.fsencode(unusual[0])])
    assert source.paths == [*unusual, str(tmp_path / "c.png"), unusual[0]]
    assert [source.name(i) for i in range(5)] == source.paths
    assert pickle.loads(pickle.dumps(source)).paths == source.paths
    assert ImageFiles([]).paths == []


def test_an_item_that_is_no_path():
    with pytest.raises(ValueError, match="Item 1 of the paths is 3, not a path"):
        ImageFiles(["a.png", 3])


def test_a_path_that_is_missing_is_named_wherever_it_is():
    for place in range(3):
        paths = ["a.png", "b.png", "c.png"]
        paths[place] = np.nan
        with pytest.raises(ValueError, match=rf"Item {place} of the paths is nan"):
            as_source(pd.Series(paths))


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "tiff", "webp"])
@pytest.mark.parametrize("how", ["handle", "deleted", "temporary"])
def test_loader_processes_leave_an_open_file_as_it_is(kind, how, tmp_path, monkeypatch):
    """They share its position with others; reading must not move it."""
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: "one")
    path = tmp_path / f"a.{kind}"
    Image.fromarray(random_rgb(1, 40)[0]).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    with contextlib.ExitStack() as opened:
        if how == "temporary":
            file = opened.enter_context(tempfile.NamedTemporaryFile())
            file.write(path.read_bytes())
        else:
            file = opened.enter_context(open(path, "rb"))
        image = Image.open(file)
        if how == "deleted":
            path.unlink()
        position = file.tell()
        for _ in range(2):
            (found,) = load_all([image])
            np.testing.assert_array_equal(found.permute(1, 2, 0), expected)
            assert file.tell() == position


def test_open_files_without_a_name_in_loader_processes(tmp_path):
    pixels = random_rgb(6, 40)
    paths = write_pngs(tmp_path, pixels)
    options = {"pretrained": False, "input_size": 32, "random_state": 0}
    expected = FeatureExtractor("test_resnet", **options).fit_transform(paths)
    extract = FeatureExtractor("test_resnet", num_workers=1, **options)
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(open(path, "rb")) for path in paths]
        images = [Image.open(file) for file in files]
        for path in paths:
            os.unlink(path)
        for _ in range(2):
            found = extract.fit_transform(images)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_was_asked_of_an_open_image_stays(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(random_rgb(1, 40)[0]).save(path)
    with open(path, "rb") as file:
        image = Image.open(file)
        path.unlink()
        image.draft("RGB", (10, 10))
        assert load_all([image]).shape[-1] == 10


def test_an_image_that_is_unpacked_on_the_way_is_read(tmp_path):
    pixels = random_rgb(1, 40)[0]
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        Image.fromarray(pixels).save(file, format="png")
    with gzip.open(tmp_path / "a.gz") as file:
        (found,) = load_all([Image.open(file)])
    np.testing.assert_array_equal(found.permute(1, 2, 0), pixels)


def test_an_open_image_is_read_from_its_own_file(tmp_path, monkeypatch):
    for grey in (0, 255):
        (tmp_path / str(grey)).mkdir()
        Image.new("L", (8, 8), grey).save(tmp_path / str(grey) / "a.png")
    monkeypatch.chdir(tmp_path / "0")
    lazy = [Image.open("a.png"), Image.open(tmp_path / "0" / "a.png")]
    monkeypatch.chdir(tmp_path / "255")  # another file of the first one's name
    os.replace("a.png", tmp_path / "0" / "a.png")  # and one in place of the second
    Image.new("L", (8, 8), 255).save("a.png")
    assert (load_all(lazy) == 0).all()
    for image in lazy:
        image.close()
