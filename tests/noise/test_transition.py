"""Transition matrices, counted and applied."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from sklearn_turn.noise import from_transition_matrix, symmetric, transition_matrix


def test_transition_matrix():
    y_true, y_noisy = ["b", "b", "b", "b", "a"], ["b", "a", "c", "c", "a"]
    expected = [[1, 0, 0], [0.25, 0.25, 0.5], [0, 0, 0]]
    np.testing.assert_allclose(transition_matrix(y_true, y_noisy), expected)
    reordered = transition_matrix(y_true, y_noisy, labels=["c", "d", "b", "a"])
    expected = [[0] * 4, [0] * 4, [0.5, 0, 0.25, 0.25], [0, 0, 0, 1]]
    np.testing.assert_allclose(reordered, expected)


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "b"]])
def test_transition_matrix_with_unusable_labels(labels):
    with pytest.raises(ValueError, match="each class once"):
        transition_matrix(["a", "b"], ["a", "b"], labels=labels)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        transition_matrix(["a", "b"], ["a"])


def test_labels_follow_the_rows():
    T = np.random.RandomState(0).dirichlet([0.5, 1, 2, 3], size=4)
    y = np.repeat(["b", "a", "d", "c"], [20_000, 5_000, 300, 10_000])
    y_noisy = from_transition_matrix(y, T, random_state=0)
    for row, name in zip(T, "abcd", strict=True):
        counts = [(y_noisy[y == name] == other).sum() for other in "abcd"]
        assert chisquare(counts, row * (y == name).sum()).pvalue > 1e-3


def test_rows_in_the_order_of_labels():
    T = [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
    y_noisy = from_transition_matrix([3, 1, 1, 2], T, labels=[3, 1, 2])
    assert y_noisy.tolist() == [1, 2, 2, 2]


def test_a_measured_matrix_can_be_applied():
    y = np.arange(30_000) % 3
    T = transition_matrix(y, symmetric(y, 0.3, random_state=0), labels=range(5))
    assert (T[3:] == 0).all()  # classes without samples
    again = from_transition_matrix(y, T, labels=range(5), random_state=1)
    measured = transition_matrix(y, again, labels=range(5))
    # Each entry is a mean of 10,000 draws.
    np.testing.assert_allclose(measured, T, atol=4 * np.sqrt(0.25 / 10_000))
    with pytest.raises(ValueError, match="Rows of T must sum to 1; 1 do not.* row 3"):
        from_transition_matrix(np.append(y, 3), T, labels=range(5))


def test_rows_in_half_precision():
    T = np.array([[0.9, 0.1], [1 / 3, 2 / 3]], dtype=np.float16)
    assert set(from_transition_matrix([0, 1] * 50, T, random_state=0)) == {0, 1}


@pytest.mark.parametrize(
    ("T", "message"),
    [
        ([[0.9, 0.1], [0.3, 0.6]], "sum to 1; 1 do not, the first row 1, with 0.9"),
        ([[0.9, 0.3], [0.1, 0.7]], "sum to 1; 2 do not.* row 0.* transposed"),
        ([[1.1, -0.1], [0, 1]], "below 0"),
        ([[np.nan, 1], [0, 1]], "NaN"),
        ([[np.inf, 1], [0, 1]], "sum to 1"),
        (np.eye(3), r"shape \(2, 2\), got \(3, 3\).*pass all of them as labels"),
        ([[0.5, 0.5]], r"shape \(2, 2\), got \(1, 2\)"),
        ([1, 0], r"shape \(2, 2\), got \(2,\)"),
        ([["a", "b"], ["c", "d"]], "T must hold probabilities"),
        ([[1], [0, 1]], "T must hold probabilities"),
    ],
)
def test_unusable_matrices(T, message):
    with pytest.raises(ValueError, match=message):
        from_transition_matrix(["cat", "dog", "cat"], T)


def test_codes_and_names_are_not_compared():
    with pytest.raises(ValueError, match="y_true and y_noisy are of two types, 0 and"):
        transition_matrix([0, 1, 0], ["0", "1", "1"])
