"""The noise channel's likelihood, against direct maximisation and slow loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from sklearn_turn.selection import transition
from sklearn_turn.selection.blocks import Blocks
from sklearn_turn.selection.transition import fit_channel, fit_matrices

EXACT = {"max_iter": 20_000, "tol": 1e-14}


def _problem(seed, n_samples=150, n_classes=3):
    """Random predictions, and labels that agree with them more often than not."""
    rng = np.random.RandomState(seed)
    log_proba = log_softmax(2 * rng.normal(size=(n_samples, n_classes)), axis=1)
    codes = np.array([rng.choice(n_classes, p=softmax(row)) for row in log_proba])
    wrong = rng.uniform(size=n_samples) < 0.3
    codes[wrong] = (codes[wrong] + 1) % n_classes
    return log_proba, codes


def _likelihood(T, temperature, log_proba, codes):
    """Mean log-likelihood by a loop over samples."""
    total = 0.0
    for row, j in zip(log_proba, codes, strict=True):
        total += np.log(softmax(row / temperature) @ T[:, j])
    return total / len(codes)


def _one_rate(rate, n_classes):
    T = np.full((n_classes, n_classes), rate / (n_classes - 1))
    T[np.diag_indices(n_classes)] = 1 - rate
    return T


@pytest.mark.parametrize("seed", range(4))
def test_one_rate_and_temperature_maximise_the_likelihood(seed):
    log_proba, codes = _problem(seed)

    def loss(x):
        T = _one_rate(1 / (1 + np.exp(-x[0])), 3)
        return -_likelihood(T, np.exp(x[1]), log_proba, codes)

    best = min(
        (minimize(loss, (-1, start), method="Nelder-Mead") for start in (-1.0, 0.5)),
        key=lambda found: found.fun,
    )
    blocks, _ = Blocks.of(log_proba, codes, 2)
    found = max(
        (fit_matrices(blocks, t, np.inf, **EXACT) for t in np.geomspace(0.1, 10, 200)),
        key=lambda channel: channel.held_out,
    )
    assert found.held_out == pytest.approx(-best.fun, abs=1e-4)
    rate = 1 / (1 + np.exp(-best.x[0]))
    np.testing.assert_allclose(found.matrices[-1], _one_rate(rate, 3), atol=0.01)
    assert found.temperature == pytest.approx(np.exp(best.x[1]), rel=0.03)


@pytest.mark.parametrize("strength", [1.0, 10.0, 300.0])
@pytest.mark.parametrize("seed", range(3))
def test_matrix_maximises_the_penalised_likelihood(seed, strength):
    log_proba, codes = _problem(seed)
    channel, _ = fit_channel(
        log_proba, codes, strengths=(strength,), n_folds=2, **EXACT
    )
    T = channel.matrices[-1]
    # The prior's rate is the share of wrong labels that the matrix leads to expect.
    proba = softmax(log_proba / channel.temperature, axis=1)
    right = [p[j] * T[j, j] / (p @ T[:, j]) for p, j in zip(proba, codes, strict=True)]
    prior = strength * _one_rate(1 - np.mean(right), 3)

    def loss(x):
        free = softmax(x.reshape(3, 3), axis=1)
        fitted = _likelihood(free, channel.temperature, log_proba, codes)
        return -len(codes) * fitted - (prior * np.log(free)).sum()

    best = minimize(loss, np.log(prior).ravel(), options={"gtol": 1e-6})
    np.testing.assert_allclose(T, softmax(best.x.reshape(3, 3), axis=1), atol=1e-4)


@pytest.mark.parametrize("strength", [1.0, 30.0, np.inf])
@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_temperature_is_that_of_the_best_held_out_likelihood(strength, scale):
    log_proba, codes = _problem(0, n_samples=3000)
    log_proba = log_softmax(scale * log_proba, axis=1)
    options = {"n_folds": 3, "max_iter": 500, "tol": 1e-8}
    channel, _ = fit_channel(log_proba, codes, strengths=(strength,), **options)
    blocks, _ = Blocks.of(log_proba, codes, 3)
    grid = scale * np.geomspace(0.2, 5, 25)
    best = max(fit_matrices(blocks, t, strength, **options).held_out for t in grid)
    assert channel.held_out > best - 2e-3


def test_strength_is_that_of_the_best_held_out_likelihood():
    log_proba, codes = _problem(3, n_samples=1000, n_classes=6)
    options = {"n_folds": 3, **EXACT}
    each = {
        strength: fit_channel(log_proba, codes, strengths=(strength,), **options)[0]
        for strength in (np.inf, 100.0, 10.0, 1.0)
    }
    chosen, _ = fit_channel(log_proba, codes, strengths=tuple(each), **options)
    best = max(each.values(), key=lambda channel: channel.held_out)
    assert chosen.strength == best.strength != np.inf
    assert chosen.held_out == pytest.approx(best.held_out, abs=1e-3)


def test_a_weaker_prior_is_tried_after_one_that_does_not_help(monkeypatch):
    log_proba, codes = _problem(0)
    held_out = {np.inf: 0.0, 100.0: -1.0, 30.0: 1.0, 10.0: 0.5, 3.0: 0.4, 1.0: 2.0}
    tried = []

    def fit(blocks, temperature, strength, **options):
        tried.append(strength)
        channel = fit_matrices(blocks, temperature, strength, **options)
        return replace(channel, held_out=held_out[strength])

    monkeypatch.setattr(transition, "fit_matrices", fit)
    chosen, _ = fit_channel(log_proba, codes, n_folds=2, max_iter=3, tol=1e-3)
    assert chosen.strength == 30
    assert list(dict.fromkeys(tried)) == [np.inf, 100.0, 30.0, 10.0, 3.0]


@pytest.mark.parametrize("strength", [3.0, np.inf])
def test_each_fold_is_held_out_of_its_matrix(strength, monkeypatch):
    monkeypatch.setattr(transition, "_is_likely", lambda *args: True)
    log_proba, codes = _problem(1)
    channel, fold = fit_channel(
        log_proba, codes, strengths=(strength,), n_folds=4, **EXACT
    )
    held_out = 0.0
    for f in range(4):
        kept = fold != f
        alone, _ = Blocks.of(log_proba[kept], codes[kept], 1)
        T = fit_matrices(alone, channel.temperature, strength, **EXACT).matrices[-1]
        np.testing.assert_allclose(channel.matrices[f], T, atol=1e-5)
        held_out += (~kept).sum() * _likelihood(
            T, channel.temperature, log_proba[~kept], codes[~kept]
        )
    assert channel.held_out == pytest.approx(held_out / len(codes), abs=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_no_noise_unless_it_explains_the_held_out_labels_better(rate, monkeypatch):
    rng = np.random.RandomState(0)
    y_true = np.arange(600) % 3
    logits = rng.normal(size=(600, 3)) + 2 * np.eye(3)[y_true]
    log_proba = log_softmax(logits, axis=1)
    codes = np.where(rng.uniform(size=600) < rate, (y_true + 1) % 3, y_true)
    options = {"n_folds": 3, **EXACT}
    chosen, _ = fit_channel(log_proba, codes, **options)
    monkeypatch.setattr(transition, "_is_likely", lambda *args: True)
    noisy, _ = fit_channel(log_proba, codes, **options)
    # Each fold by the temperature that suits the others best.
    _, fold = fit_channel(log_proba, codes, **options)
    temperatures = np.geomspace(0.25, 4, 400)
    given = np.array(
        [
            log_softmax(log_proba / t, axis=1)[np.arange(600), codes]
            for t in temperatures
        ]
    )
    none = sum(
        given[given[:, fold != f].sum(axis=1).argmax(), fold == f].sum()
        for f in range(3)
    )
    none /= 600
    # Temperatures are near 1, where they cost nothing.
    assert (600 * (noisy.held_out - none) > 3) == bool(rate)
    if rate:
        np.testing.assert_array_equal(chosen.matrices, noisy.matrices)
    else:
        assert np.abs(chosen.matrices - np.eye(3)).max() < 1e-5
    blocks, _ = Blocks.of(log_proba, codes, 3)
    found = transition._without_noise(blocks, 3).held_out
    assert found == pytest.approx(none, abs=1e-4)


def test_folds_are_of_one_size_and_share_every_class():
    codes = np.random.RandomState(0).permutation(
        np.repeat(np.arange(5), [9, 3, 1, 2, 8])
    )
    blocks, order = Blocks.of(np.zeros((23, 5)), codes, 4)
    np.testing.assert_array_equal(blocks.codes, codes[order])
    sizes = np.bincount(blocks.fold)
    assert sizes.max() - sizes.min() <= 1
    for c in range(5):
        in_class = np.bincount(blocks.fold[blocks.codes == c], minlength=4)
        assert in_class.max() - in_class.min() <= 1


def test_thinning_keeps_classes_and_folds_in_proportion():
    codes = np.repeat([0, 1, 2], [300, 200, 100])
    log_proba = np.arange(1800.0).reshape(600, 3)
    blocks, _ = Blocks.of(log_proba, codes, 5)
    few = blocks.thinned(60)
    np.testing.assert_array_equal(np.diff(few.bounds), [30, 20, 10])
    np.testing.assert_array_equal(np.bincount(few.fold), [12] * 5)
    place = (few.log_proba[:, 0] // 3).astype(int)
    np.testing.assert_array_equal(few.codes, codes[place])
    np.testing.assert_array_equal(few.fold, blocks.fold[place])
    assert blocks.thinned(400) is blocks


def test_large_data_are_fitted_whole_at_the_temperature_of_a_part(monkeypatch):
    log_proba, codes = _problem(2, n_samples=2000)
    options = {"strengths": (10.0,), "n_folds": 3, **EXACT}
    whole, _ = fit_channel(log_proba, codes, **options)
    monkeypatch.setattr(transition, "ENOUGH", 3 * 500)
    part, _ = fit_channel(log_proba, codes, **options)
    assert part.temperature == pytest.approx(whole.temperature, rel=0.2)
    blocks, _ = Blocks.of(log_proba, codes, 3)
    expected = fit_matrices(blocks, part.temperature, 10.0, n_folds=3, **EXACT)
    np.testing.assert_array_equal(part.matrices, expected.matrices)
