"""Divergence and uniform selection of UNICON, against loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.selection import UNICONNoiseFilter
from sklearn_turn.selection.unicon import label_divergence


def kl_bits(p, q):
    return sum(a * np.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def test_divergence_by_a_loop():
    """JSD of prediction and label, by its definition, depends on p_y alone."""
    proba = np.random.RandomState(0).dirichlet(np.full(5, 0.4), 50)
    for row in proba:
        for y in range(5):
            label = np.eye(5)[y]
            middle = (row + label) / 2
            expected = (kl_bits(row, middle) + kl_bits(label, middle)) / 2
            found = label_divergence(row[[y]])[0]
            assert_allclose(found, expected, atol=1e-12)
    assert_array_equal(label_divergence(np.array([0.0, 1.0])), [1, 0])


@pytest.mark.parametrize("scale", [0.5, 5.0])
def test_selection_by_a_loop(scale):
    """Small losses are cut at the mean divergence, large ones below it."""
    rng = np.random.RandomState(0)
    y = rng.choice(["a", "b", "c"], 90, p=[0.7, 0.25, 0.05])
    losses = scale * rng.exponential(size=90)
    found = UNICONNoiseFilter().fit(losses[:, None], y)

    d = label_divergence(np.exp(-losses))
    cutoff = d.mean()
    assert (cutoff > 0.7) == (scale == 5.0), "both branches are tested"
    if cutoff > 0.7:
        cutoff -= (cutoff - d.min()) / 5
    rate = sum(value < cutoff for value in d) / 90
    expected = np.zeros(90, dtype=bool)
    for label in "abc":
        members = sorted(np.flatnonzero(y == label), key=lambda i: d[i])
        expected[members[: int(round(90 * rate) // 3)]] = True
    assert_array_equal(found.clean_mask_, expected)
    assert_allclose(found.cutoff_, cutoff)
    assert_allclose(found.clean_proba_, 1 - d)
    assert_allclose(found.noise_rate_, 1 - rate)


def test_losses_whose_divergence_rounds_to_one_keep_their_order():
    losses = np.r_[0.1, 0.2, 0.3, 60.0, 50.0, 45.0][:, None]
    found = UNICONNoiseFilter().fit(losses, [0, 0, 0, 1, 1, 1])
    assert found.divergence_[3:].tolist() == [1, 1, 1]
    assert found.clean_mask_[3:].tolist() == [False, False, True]


def test_every_class_keeps_one_with_a_warning():
    losses = np.full((9, 1), 2.0)
    losses[4] = 1.0
    with pytest.warns(CleansingWarning, match="selects no sample of 3 of 3 classes"):
        found = UNICONNoiseFilter().fit(losses, np.arange(9) % 3)
    assert np.bincount(np.flatnonzero(found.clean_mask_) % 3).tolist() == [1, 1, 1]
    assert found.clean_mask_[4]


def test_losses_that_are_no_numbers_are_never_clean():
    losses = np.array([0.1, np.nan, 0.2, 5.0, 0.1, np.inf])[:, None]
    found = UNICONNoiseFilter().fit(losses, [0, 0, 0, 1, 1, 1])
    assert not found.clean_mask_[[1, 5]].any()
    assert_array_equal(found.clean_proba_[[1, 5]], 0)


def test_losses_of_epochs_are_averaged():
    losses = np.random.RandomState(0).exponential(size=(40, 3))
    y = np.arange(40) % 2
    many = UNICONNoiseFilter().fit(losses, y)
    one = UNICONNoiseFilter().fit(losses.mean(axis=1, keepdims=True), y)
    assert_array_equal(many.clean_mask_, one.clean_mask_)


@pytest.mark.parametrize("n_classes", [2, 3, 5, 6, 7, 10, 20, 100])
def test_an_undecided_model_keeps_all(n_classes):
    losses = np.full((5 * n_classes, 1), np.log(n_classes))
    found = UNICONNoiseFilter().fit(losses, np.arange(5 * n_classes) % n_classes)
    assert found.clean_mask_.all()
    assert found.noise_rate_ == 0
