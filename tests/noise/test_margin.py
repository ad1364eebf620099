"""PMD noise, against its formula for one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from sklearn_turn.noise import pmd, transition_matrix

TAU = {
    1: lambda d: -0.5 * d**2 + 0.5,
    2: lambda d: 1 - abs(d) ** 3,
    3: lambda d: 1 - abs(d) ** 3 / 3 - abs(d) ** 2 / 3 - abs(d) / 3,
}
KINDS = pytest.mark.parametrize("kind", [1, 2, 3])


def _predictions(n, n_classes=6):
    return np.random.RandomState(1).dirichlet([0.3] * n_classes, size=n)


def _one_by_one(proba, y, rate, kind):
    """Rival class and chance of a flip of each sample."""
    rivals, tau = [], []
    for p, own in zip(proba, y, strict=True):
        rival = max((c for c in range(len(p)) if c != own), key=lambda c: p[c])
        rivals.append(rival)
        tau.append(TAU[kind](p[own] - p[rival]))

    def excess(log_factor):
        return np.mean([min(1, np.exp(log_factor) * t) for t in tau]) - rate

    factor = np.exp(brentq(excess, -30, 30, xtol=1e-14))
    return np.array(rivals), np.array([min(1, factor * t) for t in tau])


@KINDS
@pytest.mark.parametrize("rate", [0.1, 0.35, 0.7, 0.95])
def test_pmd_is_the_formula_sample_by_sample(kind, rate):
    proba = _predictions(400)
    y = proba.argmax(axis=1)
    y[::7] = np.random.RandomState(2).randint(6, size=len(y[::7]))  # not all on top
    rivals, chance = _one_by_one(proba, y, rate, kind)
    assert (chance == 1).any() == (rate == 0.95)
    u = np.random.RandomState(0).uniform(size=400)
    # The factor is solved for in two ways: a draw could fall between them.
    assert np.abs(u - chance).min() > 1e-9
    expected = np.where(u < chance, rivals, y)
    y_noisy = pmd(proba, y, rate, kind=kind, random_state=0)
    np.testing.assert_array_equal(y_noisy, expected)


@KINDS
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.35, 0.9, 1.0])
def test_the_rate_is_met(kind, rate):
    proba = _predictions(20_000)
    y = proba.argmax(axis=1)
    wrong = pmd(proba, y, rate, kind=kind, random_state=0) != y
    assert abs(wrong.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / 20_000)


@KINDS
def test_flips_diminish_with_the_margin(kind):
    tops = [0.51, 0.7, 0.9]  # margins .02, .4, .8
    proba = np.repeat([[top, 1 - top, 0] for top in tops], 20_000, axis=0)
    y = np.zeros(60_000, dtype=int)
    y_noisy = pmd(proba, y, 0.2, kind=kind, labels=range(3), random_state=0)
    assert set(y_noisy) == {0, 1}
    measured = (y_noisy != y).reshape(3, -1).mean(axis=1)
    tau = np.array([TAU[kind](d) for d in (0.02, 0.4, 0.8)])
    np.testing.assert_allclose(measured, 0.2 * tau / tau.mean(), atol=0.012)


@KINDS
def test_the_measured_transition_matrix(kind):
    n, n_classes = 20_000, 6
    proba = _predictions(n)
    y = proba.argmax(axis=1)
    rivals, chance = _one_by_one(proba, y, 0.35, kind)
    expected = np.zeros((n_classes, n_classes))
    for own, rival, p in zip(y, rivals, chance, strict=True):
        expected[own, own] += 1 - p
        expected[own, rival] += p
    expected /= np.bincount(y)[:, None]
    measured = transition_matrix(y, pmd(proba, y, 0.35, kind=kind, random_state=0))
    # Four standard errors of a share among the fewest of a class.
    np.testing.assert_allclose(
        measured, expected, atol=2 / np.sqrt(np.bincount(y).min())
    )


def test_sure_predictions_leave_too_few_to_flip():
    proba = np.vstack([np.tile([1.0, 0.0], (70, 1)), np.tile([0.6, 0.4], (30, 1))])
    y = np.zeros(100, dtype=int)
    with pytest.raises(ValueError, match="only 30 of 100 samples have a margin below"):
        pmd(proba, y, 0.31, labels=[0, 1])
    y_noisy = pmd(proba, y, 0.3, labels=[0, 1], random_state=0)
    np.testing.assert_array_equal(y_noisy, np.repeat([0, 1], [70, 30]))
    np.testing.assert_array_equal(pmd(proba[:70], y[:70], 0, labels=[0, 1]), y[:70])


def test_columns_in_the_order_of_labels():
    proba = [[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]
    labels = ["owl", "dog", "cat"]
    y_noisy = pmd(proba, ["cat", "owl"], 1.0, labels=labels)
    assert y_noisy.tolist() == ["dog", "dog"]


@pytest.mark.parametrize(
    ("proba", "kwargs", "message"),
    [
        (np.eye(2), {"kind": 4}, "kind must be 1, 2 or 3, got 4"),
        (np.eye(2), {"kind": "II"}, "kind must be"),
        (np.full((2, 3), 1 / 3), {}, r"shape \(2, 2\), got \(2, 3\).*as labels"),
        (np.full((3, 2), 0.5), {}, r"shape \(2, 2\), got \(3, 2\)"),
        ([[0.5, 0.5], [3.0, -2.0]], {}, "below 0"),
        ([[0.5, 0.5], [3.0, 2.0]], {}, "sum to 1; 1 do not.* row 1.*not logits"),
        ([[0.5, 0.5], [np.nan, 1.0]], {}, "NaN"),
    ],
)
def test_unusable_predictions(proba, kwargs, message):
    with pytest.raises(ValueError, match=message):
        pmd(proba, [0, 1], 0.4, **kwargs)
