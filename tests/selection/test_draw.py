"""The balanced draw from the samples selected as clean."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_turn.selection import draw_balanced


@pytest.mark.parametrize("balance", ["min", 1.0, 1.5, 3, None])
@pytest.mark.parametrize("seed", range(10))
def test_balanced_draw_takes_as_many_per_class_as_a_loop_would(balance, seed):
    rng = np.random.RandomState(seed)
    y = rng.randint(5, size=300)
    clean = rng.uniform(size=300) < np.array([0.9, 0.6, 0.5, 0.2, 0.8])[y]
    drawn = draw_balanced(clean, y, balance, rng)
    assert clean[drawn].all()
    assert np.all(np.diff(drawn) > 0)
    available = [int((clean & (y == c)).sum()) for c in range(5)]
    limit = {"min": min(available), None: 300}.get(balance)
    if limit is None:
        limit = int(balance * min(available))
    for c in range(5):
        assert (y[drawn] == c).sum() == min(limit, available[c])


def test_balanced_draw_is_uniform_within_a_class():
    y = np.repeat([0, 1], [10, 4])
    rng = np.random.RandomState(0)
    drawn = [draw_balanced(np.ones(14, bool), y, "min", rng) for _ in range(2000)]
    share = np.bincount(np.concatenate(drawn), minlength=14) / 2000
    np.testing.assert_allclose(share[:10], 0.4, atol=0.05)
    np.testing.assert_array_equal(share[10:], 1)


def test_balanced_draw_passes_over_classes_without_clean_samples():
    y = np.repeat([0, 1, 2], 5)
    clean = y != 1
    clean[0] = False
    drawn = draw_balanced(clean, y, "min", np.random.RandomState(0))
    assert np.bincount(y[drawn], minlength=3).tolist() == [4, 0, 4]


def test_balanced_draw_of_nothing_is_empty():
    nothing = np.zeros(6, dtype=bool)
    drawn = draw_balanced(nothing, np.arange(6) % 2, "min", np.random.RandomState(0))
    assert len(drawn) == 0


def test_a_share_of_the_smallest_class_is_not_rounded_down():
    y = np.repeat([0, 1], [100, 200])
    drawn = draw_balanced(np.ones(300, bool), y, 1.15, np.random.RandomState(0))
    assert np.bincount(y[drawn]).tolist() == [100, 115]
