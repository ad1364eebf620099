"""Labels are checked before anything is made of them."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import DataConversionWarning

from sklearn_turn.labels import (
    check_labels,
    check_no_missing_labels,
    encode_known,
    encode_labels,
    label_vector,
    log_frequencies,
    plain_labels,
)


def objects(*labels):
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


MIXED = {
    "str and int": (["a", "b", 1], "int, str"),
    "int and str": ((1, "a"), "int, str"),
    "bool and str": ([True, "a"], "bool, str"),
    "float and str": (["a", 0.5], "float, str"),
    "bytes and str": ([b"a", "a"], "bytes, str"),
    "bytes and int": ([b"a", 1], "bytes, int"),
    "NumPy scalars": ([np.str_("a"), np.int64(1)], "int64, str_"),
    "objects": (objects("a", 1, "b"), "int, str"),
    "objects, bool": (objects(True, "a"), "bool, str"),
    "objects, bytes": (objects(b"a", "a"), "bytes, str"),
    "series": (pd.Series(["a", 1]), "int, str"),
    "categories": (pd.Series(pd.Categorical(["a", 1])), "int, str"),
}


@pytest.mark.parametrize("case", MIXED)
def test_mixed_labels_are_refused(case):
    y, kinds = MIXED[case]
    with pytest.raises(ValueError, match=f"mix types.*: {kinds}. Convert"):
        check_labels(y)


@pytest.mark.parametrize(
    "y",
    [
        [1, 2.0],
        [True, 2],
        [0.5, Decimal("1")],
        [np.int64(1), 2, np.float32(3)],
        ["a", np.str_("b")],
        [b"a", np.bytes_(b"b")],
        objects(1, 2.0, True),
        objects("a", np.str_("b")),
        pd.Series(["a", "b"], dtype="category"),
        pd.Series(["a", "b"], dtype="string"),
        pd.array([1, 2], dtype="Int64"),
        torch.tensor([1, 0]),
        np.array([[0, 1], [1, 0]]),  # left to scikit-learn
    ],
    ids=repr,
)
def test_labels_of_one_kind_pass(y):
    check_labels(y)


@pytest.mark.parametrize(
    "y",
    [
        ["a", None, "b", None],
        ["a", float("nan"), "b", float("nan")],
        [1.0, np.nan, 2.0, np.nan],
        objects("a", np.nan, "b", None),
        np.array([0, np.nan, 1, np.nan]),
        pd.Series(["a", None, "b", None], dtype="string"),
        pd.array([1, None, 2, None], dtype="Int64"),
        [1, pd.NaT, 2, pd.NA],
    ],
    ids=repr,
)
def test_missing_labels_are_counted(y):
    with pytest.raises(ValueError, match="labels contains NaN: 2 missing.*index 1"):
        check_no_missing_labels(y, "labels")
    with pytest.raises(ValueError, match="Input y contains NaN: 2 missing"):
        check_labels(y)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinite_labels_are_refused(bad):
    with pytest.raises(ValueError, match="Input y contains infinity"):
        check_labels([0.0, bad])


@pytest.mark.parametrize(
    "y",
    [
        np.array([7, -3, 7, 0]),
        np.array(["b", "a", "b", "cc"]),
        np.array([True, False, True]),
        objects("b", "a", "b"),
        objects(2.5, 1, 2.5, True),
    ],
    ids=repr,
)
def test_codes_are_places_among_the_sorted_labels(y):
    classes, codes = encode_labels(y)
    assert classes.tolist() == sorted(set(y.tolist()))
    assert codes.tolist() == [classes.tolist().index(label) for label in y.tolist()]


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (pd.Series([2**53, 2**53 + 1], dtype="Int64"), np.array([2**53, 2**53 + 1])),
        (pd.array([True, False], dtype="boolean"), np.array([True, False])),
        (pd.Series([1, 0], dtype="Int8"), np.array([1, 0], dtype=np.int8)),
        (
            pd.DataFrame({"y": [2**53, 2**53 + 1]}, dtype="Int64"),
            np.array([[2**53], [2**53 + 1]]),
        ),
    ],
)
def test_nullable_labels_keep_their_type(y, expected):
    plain = plain_labels(y)
    assert plain.dtype == expected.dtype
    np.testing.assert_array_equal(plain, expected)


@pytest.mark.parametrize(
    "y", [[1, 0], np.array([1, 0]), pd.Series([1, 0]), pd.array([1, None], "Int64")]
)
def test_other_labels_are_left_alone(y):
    assert plain_labels(y) is y


def test_places_of_known_labels():
    classes = np.array(["a", "c", "d"])
    assert encode_known(np.array(["d", "a", "d"]), classes).tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match=r"not fitted on: \['b', 'e'\]"):
        encode_known(np.array(["b", "a", "e", "b"]), classes)
    with pytest.raises(ValueError, match=r"not fitted on: \[-1, 7\]"):
        encode_known(np.array([7, 1, -1]), np.arange(7))
    ids = np.array([2**53, 2**53 + 1])
    assert encode_known(ids[::-1], ids).tolist() == [1, 0]


@pytest.mark.parametrize("n_classes", [4, 20, 100])
def test_text_is_no_number(n_classes):
    """As text, numbers have another order."""
    classes, text = np.arange(n_classes), np.array(["3", "2", "1"])
    with pytest.raises(ValueError, match="of two types, '3' and 0"):
        encode_known(text, classes)
    with pytest.raises(ValueError, match="of two types, 0 and '0'"):
        encode_known(classes, np.sort(classes.astype(str)))


def test_labels_as_a_vector():
    ids = [2**53, 2**53 + 1, 2**53]
    np.testing.assert_array_equal(label_vector(pd.Series(ids, dtype="Int64")), ids)
    column = pd.DataFrame({"y": ids}, dtype="Int64")
    with pytest.warns(DataConversionWarning):
        np.testing.assert_array_equal(label_vector(column, warn=True), ids)
    with pytest.raises(ValueError, match="first at index 1"):
        label_vector(pd.array([1, None], dtype="Int64"))


@pytest.mark.parametrize(
    "counts",
    [
        [100] * 10,
        [60, 40],
        [120, 80] * 5,
        [7, 3] * 20,  # what chance makes of few
        [420, 180, 300, 300, 300],  # 40 % of a class taken for another
    ],
    ids=str,
)
def test_classes_of_about_one_size_are_equal(counts):
    assert (
        log_frequencies(np.repeat(np.arange(len(counts)), counts), len(counts)) is None
    )


@pytest.mark.parametrize(
    "counts", [[900, 100], [400, 200], [1000, 500, 200, 50], [2000, 10, 0]], ids=str
)
def test_very_unequal_frequencies_are_told(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    found = log_frequencies(y, len(counts))
    shares = np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum()
    np.testing.assert_allclose(np.exp(found), shares, rtol=0.15)
    assert np.exp(found).sum() == pytest.approx(1.0)
    assert found.argmax() == np.argmax(counts)
