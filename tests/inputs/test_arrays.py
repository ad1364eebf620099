"""Images in one array."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from inputs.pictures import load_all, random_rgb, transformed

from sklearn_turn.inputs import FeatureRows, RawInputs, as_rows, as_source
from sklearn_turn.inputs.keys import content_key


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
        (np.zeros((9, 8, 3), dtype=np.uint8), r"one image of 9 x 8 pixels.*X\[None\]"),
        (np.zeros((8, 9, 4), dtype=np.uint8), "one image of 8 x 9"),
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


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("last", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("as_list", [False, True])
def test_channels_are_told_only_by_one_short_axis(first, last, as_list):
    channels = {1, 3, 4}
    X = np.random.RandomState(0).randint(0, 256, (2, first, 7, last)).astype(np.uint8)
    given = list(X) if as_list else X
    if (first in channels) == (last in channels):
        wrong = "first or last.*PIL images" if first in channels else "have no axis"
        with pytest.raises(ValueError, match=rf"\({first}, 7, {last}\).*{wrong}"):
            load_all(given)
    else:
        expected = X if first in channels else X.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(load_all(given).numpy(), expected)


def test_three_dimensions_are_grey_images_of_floats_too():
    X = np.random.RandomState(0).random((2, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(load_all(X).numpy(), X[:, None])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_keys_are_those_of_the_images_as_read(dtype):
    X = (random_rgb(4) // 255).astype(dtype)
    expected = [content_key(image) for image in X[[2, 0, 2]].transpose(0, 3, 1, 2)]
    assert as_source(X).keys([2, 0, 2]) == expected


@pytest.mark.parametrize("dtype", [">i8", ">f4", "f2", "u1", "?"])
def test_raw_inputs_of_any_type(dtype):
    values = np.arange(12).reshape(4, 3) % 2
    batch = RawInputs(values.astype(dtype)).load([3, 1])
    assert batch.dtype == (torch.float32 if "f" in dtype else torch.int64)
    np.testing.assert_array_equal(batch.numpy(), values[[3, 1]])


@pytest.mark.parametrize("turn", [np.s_[::-1], np.s_[:, ::-1]])
def test_features_in_reversed_order(turn):
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)[turn]
    np.testing.assert_array_equal(FeatureRows(rows).load([0, 2]), rows[[0, 2]])


def test_the_values_of_tensors():
    ones = torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    rows = as_rows(ones)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.ones((2, 2)))
    assert as_rows(rows) is rows


def test_raw_integers_that_do_not_fit():
    largest = np.array([[2**63 - 1, 0]], dtype=np.uint64)
    assert RawInputs(largest).load([0]).tolist() == [[2**63 - 1, 0]]
    with pytest.raises(ValueError, match="9223372036854775808 is too large"):
        RawInputs(largest + np.uint64(1))
    assert len(RawInputs(largest[:0])) == 0
