"""Which shares of wrong labels are not ruled out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from sklearn_turn import NoiseChannelFilter
from sklearn_turn.noise import symmetric


def _drawn(truth, scale, seed=0):
    rng = np.random.RandomState(seed)
    n_classes = truth.max() + 1
    return rng.normal(size=(len(truth), n_classes)) + scale * np.eye(n_classes)[truth]


def test_a_part_of_many_samples_is_of_all_classes():
    """Sorted by class, and only the second half of the classes has wrong labels."""
    truth = np.repeat(np.arange(100), 100)
    y = truth.copy()
    y[5000:] = 50 + symmetric(truth[5000:] - 50, 0.4, random_state=0)
    log_proba = log_softmax(_drawn(truth, 8), axis=1)
    low, high = NoiseChannelFilter().fit(log_proba, y).noise_rate_interval_
    assert 0.1 < low < high < 0.3


def test_the_interval_is_that_of_the_scale_that_suits():
    truth = np.arange(600) % 3
    y = symmetric(truth, 0.2, random_state=0)
    scores = _drawn(truth, 3)
    for divisor in (1, 64):
        log_proba = log_softmax(scores / divisor, axis=1)
        low, high = NoiseChannelFilter().fit(log_proba, y).noise_rate_interval_
        assert 0.1 < low < high < 0.3, divisor


def test_the_interval_holds_what_is_known():
    """All labels were checked, and three are wrong, whatever predictions say."""
    truth = np.arange(600) % 3
    y = symmetric(truth, 0.2, random_state=0)
    log_proba = log_softmax(_drawn(truth, 3), axis=1)
    right = np.where(np.arange(600) < 3, (y + 1) % 3, y)
    found = NoiseChannelFilter(verified_labels=right).fit(log_proba, y)
    assert found.noise_rate_interval_ == pytest.approx((3 / 600, 3 / 600))
    some = [label if i % 2 else None for i, label in enumerate(right.tolist())]
    found = NoiseChannelFilter(verified_labels=some).fit(log_proba, y)
    low, high = found.noise_rate_interval_
    assert low <= found.noise_rate_ <= high <= 0.5 + 1 / 600
