from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sklearn_turn.selection.mixture import (
    TwoGaussians,
    _split_in_two,
    fit_two_gaussians,
)

OPTIONS = {"max_iter": 100, "tol": 1e-3, "reg_covar": 5e-4}


def _random_values(rng):
    """Losses of one class: two populations of random shape, scaled to [0, 1]."""
    n_low, n_high = rng.randint(5, 120, size=2)
    low = rng.gamma(rng.uniform(0.5, 3), rng.uniform(0.05, 0.5), n_low)
    high = rng.normal(rng.uniform(0.5, 4), rng.uniform(0.1, 1.5), n_high)
    x = np.r_[low, high]
    return (x - x.min()) / np.ptp(x)


def _best_split(x):
    """The exact 2-means split by trying all cuts: mask of the lower part."""
    ordered = np.sort(x)
    inertia = [
        ordered[:k].var() * k + ordered[k:].var() * (len(x) - k)
        for k in range(1, len(x))
    ]
    return x < ordered[1 + int(np.argmin(inertia))]


def _sklearn_mixture(x, *, max_iter, tol, reg_covar):
    """scikit-learn's mixture from the same start: moments of the best split."""
    parts = [x[_best_split(x)], x[~_best_split(x)]]
    mixture = GaussianMixture(
        2,
        max_iter=max_iter,
        tol=tol,
        reg_covar=reg_covar,
        weights_init=[len(part) / len(x) for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[[[1 / (part.var() + reg_covar)]] for part in parts],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(x[:, None])


def _random_mixtures(rng, n, ratio=None):
    means = np.sort(rng.normal(size=(n, 2)), axis=1)
    weight = rng.uniform(0.02, 0.98, size=(n, 1))
    variances = np.exp(rng.uniform(-4, 1, size=(n, 2)))
    if ratio is not None:
        variances[:, 0] = ratio * variances[:, 1]
    return TwoGaussians(np.hstack([weight, 1 - weight]), means, variances)


def _bayes(mixtures, k, x):
    """Posterior of the lower component of mixture ``k`` by Bayes' rule."""
    low, high = (
        mixtures.weights[k, j]
        * norm.pdf(x, mixtures.means[k, j], np.sqrt(mixtures.variances[k, j]))
        for j in (0, 1)
    )
    return low / (low + high)


@pytest.mark.parametrize("max_iter, tol", [(100, 1e-3), (1, 1e-3), (200, 1e-8)])
def test_mixtures_are_those_of_scikit_learn(max_iter, tol):
    rng = np.random.RandomState(0)
    problems = [_random_values(rng) for _ in range(50)]
    groups = np.repeat(np.arange(50), [len(x) for x in problems])
    options = {"max_iter": max_iter, "tol": tol, "reg_covar": 5e-4}
    shuffled = rng.permutation(len(groups))
    found = fit_two_gaussians(
        np.concatenate(problems)[shuffled], groups[shuffled], 50, **options
    )
    for k, x in enumerate(problems):
        expected = _sklearn_mixture(x, **options)
        order = np.argsort(expected.means_.ravel())
        np.testing.assert_allclose(
            found.weights[k], expected.weights_[order], rtol=1e-7
        )
        np.testing.assert_allclose(
            found.means[k], expected.means_.ravel()[order], rtol=1e-7, atol=1e-9
        )
        np.testing.assert_allclose(
            found.variances[k], expected.covariances_.ravel()[order], rtol=1e-7
        )


def test_the_round_a_mixture_stops_at_is_scikit_learns():
    for seed in range(10):
        x = _random_values(np.random.RandomState(seed))
        found = fit_two_gaussians(x, np.zeros(len(x), dtype=int), 1, **OPTIONS)
        assert found.n_iter == _sklearn_mixture(x, **OPTIONS).n_iter_


def test_a_group_is_fitted_as_if_it_were_alone():
    rng = np.random.RandomState(1)
    problems = [_random_values(rng) for _ in range(5)]
    groups = np.repeat(np.arange(5), [len(x) for x in problems])
    together = fit_two_gaussians(np.concatenate(problems), groups, 5, **OPTIONS)
    for k, x in enumerate(problems):
        alone = fit_two_gaussians(x, np.zeros(len(x), dtype=int), 1, **OPTIONS)
        np.testing.assert_allclose(together.means[k], alone.means[0], rtol=1e-12)
        np.testing.assert_allclose(together.weights[k], alone.weights[0], rtol=1e-12)


def test_the_lower_component_comes_first():
    rng = np.random.RandomState(2)
    for _ in range(30):
        x = rng.uniform(size=rng.randint(3, 30)) ** rng.uniform(0.2, 5)
        found = fit_two_gaussians(x, np.zeros(len(x), dtype=int), 1, **OPTIONS)
        assert found.means[0, 0] <= found.means[0, 1]
        assert found.weights[0].sum() == pytest.approx(1)


def test_first_split_is_the_best_of_all_cuts():
    rng = np.random.RandomState(3)
    problems = [np.round(rng.gamma(1, size=rng.randint(2, 25)), 2) for _ in range(200)]
    problems = [x for x in problems if np.ptp(x) > 0]
    groups = np.repeat(np.arange(len(problems)), [len(x) for x in problems])
    low = _split_in_two(np.concatenate(problems), groups, len(problems)) == 1
    for k, x in enumerate(problems):
        mine, best = low[groups == k], _best_split(x)
        assert mine.any() and not mine.all()
        assert x[mine].max() <= x[~mine].min()
        cost, least = (
            x[part].var() * part.sum() + x[~part].var() * (~part).sum()
            for part in (mine, best)
        )
        assert cost == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("ratio", [None, 0.01, 1.0, 100.0])
def test_posterior_never_rises_with_the_loss(ratio):
    # A ratio of 100 is the trap: past a point the wide low component takes over.
    mixtures = _random_mixtures(np.random.RandomState(4), 40, ratio)
    x = np.linspace(-8, 8, 2001)
    for k in range(40):
        posterior = mixtures.low_posterior(x, np.full(len(x), k))
        assert np.all(np.diff(posterior) <= 1e-12)
        assert posterior.min() >= 0 and posterior.max() <= 1


def test_plain_bayes_would_rise_with_the_loss():
    # What the guard is for: a wide low component takes the highest losses back.
    wide = TwoGaussians(
        np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]]), np.array([[1.0, 0.01]])
    )
    x = np.array([1.0, 5.0])
    assert _bayes(wide, 0, x)[1] > 0.99
    guarded = wide.low_posterior(x, np.zeros(2, dtype=int))
    assert guarded[1] <= guarded[0] < 0.5


def test_posterior_is_bayes_rule_between_the_means():
    # There the guard never acts, whichever component is the wider.
    mixtures = _random_mixtures(np.random.RandomState(5), 40)
    for k in range(40):
        x = np.linspace(*mixtures.means[k], 50)
        np.testing.assert_allclose(
            mixtures.low_posterior(x, np.full(50, k)), _bayes(mixtures, k, x), rtol=1e-9
        )


def test_posterior_survives_values_far_from_both_means():
    mixtures = _random_mixtures(np.random.RandomState(6), 3, ratio=1.0)
    posterior = mixtures.low_posterior(np.array([-1e4, 1e4]), np.array([1, 1]))
    np.testing.assert_allclose(posterior, [1, 0])


def test_separation_is_ashmans_d():
    mixtures = TwoGaussians(
        np.array([[0.5, 0.5]]), np.array([[1.0, 4.0]]), np.array([[1.0, 3.0]])
    )
    expected = np.sqrt(2) * 3 / np.sqrt(1 + 3)
    np.testing.assert_allclose(mixtures.separation, [expected])
