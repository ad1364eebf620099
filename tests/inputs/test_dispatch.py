"""What is taken as images, and what is refused."""

from __future__ import annotations

from pathlib import Path

import datasets as hf
import numpy as np
import pandas as pd
import pytest
import torch
from inputs.pictures import load_all, random_rgb
from PIL import Image
from scipy.sparse import csr_array, csr_matrix

from sklearn_turn.inputs import RawInputs, as_source, is_images


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
        (pd.DataFrame({"a": ["1.5", "2"], "b": [1, 2]}), False),
        ([None, "a.png"], True),
        (pd.Series([np.nan, "a.png"]), True),
        (pd.Series([pd.NA, Path("a.png")]), True),
        (np.array([None, "a.png"], dtype=object), True),
        ([np.nan, np.nan], False),
        (np.zeros(3), False),
        (np.array([["a", "b"]]), False),
        (np.array([[1, "b"]], dtype=object), False),
        (np.zeros((2, 4), dtype=complex), False),
        (csr_matrix(np.eye(3)), False),
        (csr_array(np.eye(3)), False),
        (range(3), False),
        (pd.Series([0.5, 1.5]), False),
    ],
)
def test_is_images(X, expected):
    assert is_images(X) is expected


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


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


PICTURE = np.zeros((8, 8, 3), dtype=np.uint8)
REFUSED = {
    "empty list": ([], "empty list.*check the pattern"),
    "column of paths": (pd.DataFrame({"a": ["x", "y"]}), r"Pass that column: X\['a'\]"),
    "paths and labels": (
        pd.DataFrame({"label": [0, 1], "path": [np.nan, "x"]}),
        r"column of str, 'path'. Pass that column: X\['path'\]",
    ),
    "None": (None, "X is None. Pass an array of images"),
    "path": ("a.png", r"one path, 'a.png'. Pass a list of paths: \['a.png'\]"),
    "Path": (Path("a.png"), "one path"),
    "bytes": (b"\x89PNG" * 10_000, "one path"),
    "list of bytes": ([b"a.png"], "holds bytes.*str.*BytesIO"),
    "image": (Image.new("RGB", (8, 8)), r"one image.*\[X\]"),
    "dict": ({"image": [1], "label": [0]}, "dict, with the keys 'image', 'label'"),
    "set": ({1, 2}, r"set, without order.*list\(X\)"),
    "generator": ((i for i in range(3)), r"generator, without.*list\(X\)"),
    "iterator": (iter([1]), r"list_iterator, without.*list\(X\)"),
    "file": (open, "without length. Pass an array"),
    "5-D": (np.zeros((2, 1, 8, 8, 3)), r"5 dimensions, shape \(2, 1, 8, 8, 3\)"),
    "5-D tensor": (torch.zeros(2, 1, 8, 8, 3), "5 dimensions"),
    "batches": ([np.zeros((2, 8, 8, 3))] * 3, "4 dimensions.*np.concatenate"),
    "objects": (np.full((2, 8, 8), None), "array of object, not of numbers"),
    "stream": (Stream(), "Stream, an iterable dataset.*map-style"),
    "hf stream": (hf.IterableDataset.from_generator(iter), "iterable.*map-style"),
    "loader": (torch.utils.data.DataLoader([1, 2]), "DataLoader.*X.dataset"),
    "rows": ([{"image": PICTURE, "label": 0}], "is a dict.*load_dataset"),
    "pairs": ([(PICTURE, 0), (PICTURE, 1)], "is a tuple.*load_dataset"),
    "PIL pairs": ([(Image.new("L", (8, 8)), 0)], "is a tuple.*load_dataset"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_set_of_samples_is_named(case):
    X, match = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=match) as caught:
        is_images(X)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "case", ["empty list", "column of paths", "path", "dict", "stream", "rows"]
)
def test_a_source_is_not_made_of_it_either(case):
    X, match = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=match):
        as_source(X)


def test_parts_of_a_source_stay_of_its_kind():
    rows = torch.rand(6, 5, 7)
    raw = RawInputs(rows)
    part = torch.utils.data.Subset(torch.utils.data.Subset(raw, [4, 2, 0]), [2, -2])
    source = as_source(part)
    assert source.is_raw
    torch.testing.assert_close(load_all(source), rows[[0, 2]])
    assert source.keys([0, 1]) == raw.keys([0, 2])
    first, _ = torch.utils.data.random_split(raw, [4, 2])
    torch.testing.assert_close(load_all(as_source(first)), rows[first.indices])


class Flipped(torch.utils.data.Subset):
    def __getitem__(self, index):
        return 1 - self.dataset[self.indices[index]]

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def test_parts_that_change_a_source_are_taken_at_their_word():
    images = as_source(np.zeros((4, 8, 8, 3), dtype=np.float32))
    assert (load_all(Flipped(images, [2, 3])) == 1).all()


def test_images_in_bfloat16():
    images = torch.rand(2, 3, 8, 8).bfloat16()
    for X in (images, list(images), torch.utils.data.TensorDataset(images)):
        assert torch.equal(load_all(X), images.float())
