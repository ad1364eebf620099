"""Which of two predictions explains labels better."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import log_softmax

from sklearn_turn.noise import symmetric
from sklearn_turn.selection import comparison
from sklearn_turn.selection.comparison import explains_better


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_better_predictions_win_and_equal_ones_do_not(rate):
    rng = np.random.RandomState(0)
    truth = rng.randint(3, size=600)
    y = symmetric(truth, rate, random_state=0) if rate else truth
    scores = 2 * np.eye(3)[truth] + rng.normal(size=(600, 3))
    good = log_softmax(scores, axis=1)
    poor = log_softmax(scores + 3 * rng.normal(size=(600, 3)), axis=1)
    assert explains_better(good, poor, y)
    assert not explains_better(poor, good, y)
    assert not explains_better(good, good, y)


def test_of_many_samples_both_are_judged_by_the_same_part(monkeypatch):
    """What a channel without noise is likely by would else be of a part alone."""
    seen = []

    def fitted(log_proba, codes, **options):
        seen.append((log_proba, codes))
        return SimpleNamespace(held_out=-1.0), None

    monkeypatch.setattr(comparison, "ENOUGH", 300)
    monkeypatch.setattr(comparison, "fit_channel", fitted)
    log_proba = np.log(np.full((1000, 3), 1 / 3)) + np.arange(1000)[:, None] * 1e-9
    explains_better(log_proba, log_proba, np.arange(1000))
    assert len(seen) == 2
    for part, codes in seen:
        assert 80 < len(part) <= 100
        np.testing.assert_array_equal(part, log_proba[codes])
