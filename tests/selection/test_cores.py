"""The sample sieve, against a loop."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.selection import CORESNoiseFilter


def test_sieve_by_a_loop():
    proba = np.random.RandomState(0).dirichlet(np.full(4, 0.5), 200)
    y = np.arange(200) % 4
    found = CORESNoiseFilter().fit(np.log(proba), y)
    for i in range(200):
        losses = [-np.log(proba[i, k]) for k in range(4)]
        assert found.clean_mask_[i] == (losses[y[i]] <= sum(losses) / 4)
        mean = np.prod(proba[i]) ** 0.25
        share = proba[i, y[i]] / (proba[i, y[i]] + mean)
        assert_allclose(found.clean_proba_[i], share)
    assert 0.3 < found.clean_mask_.mean() < 0.7
    assert_allclose(found.noise_rate_, 1 - found.clean_mask_.mean())


@pytest.mark.parametrize("n_classes", [2, 3, 6, 7, 10, 100])
def test_an_undecided_model_keeps_all(n_classes):
    log_proba = np.full((5 * n_classes, n_classes), -np.log(n_classes))
    found = CORESNoiseFilter().fit(log_proba, np.arange(5 * n_classes) % n_classes)
    assert found.clean_mask_.all()
    assert_array_equal(found.clean_proba_, 0.5)


def test_certainty_counts_as_a_small_probability():
    log_proba = np.where(np.eye(3)[[0, 0, 1, 2]], 0.0, -np.inf)
    found = CORESNoiseFilter().fit(log_proba, [0, 1, 1, 2])
    assert_array_equal(found.clean_mask_, [True, False, True, True])


def test_every_class_keeps_one_with_a_warning():
    proba = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.7, 0.02, 0.28]])
    proba = np.r_[proba, proba]
    y = np.array([1, 1, 1, 0, 0, 2])
    with pytest.warns(CleansingWarning, match="of 1 of 3 classes: 1. Their best"):
        found = CORESNoiseFilter().fit(np.log(proba), y)
    assert_array_equal(found.clean_mask_, [False, True, False, True, True, True])


def test_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="do not sum to one"):
        CORESNoiseFilter().fit(np.full((4, 2), -3.0), [0, 1, 0, 1])
