"""Noise that depends on the sample, against its formula for one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare, truncnorm

from sklearn_turn import noise
from sklearn_turn.noise import instance_dependent

INSTANCE = [noise.instance_cheng2021, noise.instance_xia2020]


def _one_by_one(X, y, rate, seed, class_specific, n_classes):
    """Each generator's formula, a sample at a time, with the same random draws.

    Returns the noisy labels and the probabilities they are drawn from.
    """
    rng = np.random.RandomState(seed)
    bounds = (0 - rate) / 0.1, (1 - rate) / 0.1
    q = truncnorm.rvs(*bounds, loc=rate, scale=0.1, size=len(y), random_state=rng)
    u = rng.uniform(size=len(y))
    y_noisy, P = np.array(y), np.zeros((len(y), n_classes))
    for group in range(n_classes) if class_specific else [None]:
        W = rng.normal(size=(X[0].size, n_classes))
        for i in range(len(y)):
            if group is not None and y[i] != group:
                continue
            wrong = [c for c in range(n_classes) if c != y[i]]
            a = np.array([float(X[i].ravel() @ W[:, c]) for c in wrong])
            P[i, wrong] = q[i] * np.exp(a - a.max()) / np.exp(a - a.max()).sum()
            P[i, y[i]] = 1 - q[i]
            if u[i] < q[i]:
                gumbel = rng.gumbel(size=n_classes)[wrong]
                y_noisy[i] = wrong[np.argmax(a + gumbel)]
    return y_noisy, P


@pytest.mark.parametrize("scale", [0.1, 255.0])
@pytest.mark.parametrize("generator", INSTANCE)
def test_instance_is_the_formula_sample_by_sample(generator, scale, monkeypatch):
    monkeypatch.setattr(instance_dependent, "_BLOCK_BYTES", 2000)  # several blocks
    X = scale * np.random.RandomState(1).uniform(size=(300, 4, 2, 3))
    y = np.random.RandomState(2).randint(6, size=300)
    class_specific = generator is noise.instance_xia2020
    expected, _ = _one_by_one(X, y, 0.4, 0, class_specific, n_classes=6)
    y_noisy = generator(X, y, 0.4, random_state=0)
    np.testing.assert_array_equal(y_noisy, expected)


@pytest.mark.parametrize("generator", INSTANCE)
def test_instance_has_the_published_distribution(generator):
    # Copies of two samples: the labels of each must follow its row of probabilities.
    pair = np.random.RandomState(1).uniform(size=(2, 5))
    X, y = np.tile(pair, (5_000, 1)), np.tile([0, 1], 5_000)
    X, y = np.vstack([X, np.zeros((2, 5))]), np.append(y, [2, 3])
    y_noisy = generator(X, y, 0.4, random_state=0)
    _, P = _one_by_one(X, y, 0.4, 0, generator is noise.instance_xia2020, n_classes=4)
    for c in (0, 1):
        counts = np.bincount(y_noisy[y == c], minlength=4)
        expected = P[y == c].sum(axis=0)
        assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0.0), (0.05, 0.101), (0.4, 0.4)])
@pytest.mark.parametrize("generator", INSTANCE)
def test_instance_rate(generator, rate, expected):
    n = 20_000
    X, y = np.random.RandomState(0).normal(size=(n, 4)), np.arange(n) % 5
    error = (generator(X, y, rate, random_state=0) != y).mean() - expected
    assert abs(error) <= 4 * np.sqrt(expected * (1 - expected) / n)


def test_shared_projection_of_raw_pixels_makes_attractors():
    # Images share a bright mean. Measured on CIFAR-10 with 100 pseudo-classes: top
    # class .50-.67 of the noise (CORES raw), .06-.07 (standardised), .03 (Xia).
    rng = np.random.RandomState(0)
    mean = rng.uniform(90, 150, size=192)
    smooth = rng.normal(size=(5000, 6)) @ rng.normal(size=(6, 192)) * 12
    X = np.clip(mean + smooth + rng.normal(0, 10, smooth.shape), 0, 255)
    X = X.astype(np.uint8).reshape(5000, 8, 8, 3)
    y = np.arange(5000) % 100

    def counts(generator, **kwargs):
        y_noisy = generator(X, y, 0.4, random_state=0, **kwargs)
        return np.bincount(y_noisy[y_noisy != y], minlength=100) / (y_noisy != y).sum()

    cheng, xia = counts(noise.instance_cheng2021), counts(noise.instance_xia2020)
    standardized = counts(noise.instance_cheng2021, standardize=True)
    assert cheng.max() > 0.3
    assert (cheng == 0).sum() > 50
    assert standardized.max() < 0.15
    assert xia.max() < 0.06
    assert (xia == 0).sum() < 10


def test_standardize_is_as_scaling_first_and_ignores_constant_features():
    rng = np.random.RandomState(0)
    X = rng.normal(5, [1, 2, 3, 0], size=(200, 4)) + [0, 1e6, 0, 0.1]
    y = np.arange(200) % 5
    scaled = (X - X.mean(axis=0)) / [*X.std(axis=0)[:3], 1]
    np.testing.assert_array_equal(
        noise.instance_cheng2021(X, y, 0.5, standardize=True, random_state=0),
        noise.instance_cheng2021(scaled, y, 0.5, random_state=0),
    )


@pytest.mark.parametrize("generator", INSTANCE)
@pytest.mark.parametrize(
    ("X", "kwargs", "message"),
    [
        (np.ones((3, 2)), {}, r"one sample for each label of y.*\[3, 2\]"),
        (np.ones(2), {}, r"shape \(n_samples, ...\)"),
        (np.ones((2, 0, 3)), {}, "0 feature"),
        (np.array([["a"], ["b"]]), {}, "must hold finite numbers"),
        (np.array([[0.0], [np.inf]]), {}, "must hold finite numbers.*infinity"),
        (np.array([[0.0], [np.nan]]), {}, "must hold finite numbers.*NaN"),
        (np.ones((2, 2)), {"rate_std": 0.0}, "rate_std must be"),
    ],
)
def test_unusable_samples(generator, X, kwargs, message):
    with pytest.raises(ValueError, match=message):
        generator(X, [0, 1], 0.4, **kwargs)
