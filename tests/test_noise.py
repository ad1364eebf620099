from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom, chisquare, truncnorm

from sklearn_turn import noise
from sklearn_turn.noise import instance_dependent

# In the order of the class indices.
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer"]
CIFAR10 += ["dog", "frog", "horse", "ship", "truck"]
INSTANCE = [noise.instance_cheng2021, noise.instance_xia2020]


def _on_features(generator):
    """The instance generator as a function of the labels alone."""

    def corrupt(y, noise_rate, **kwargs):
        X = np.random.RandomState(0).normal(size=(len(y), 4))
        return generator(X, y, noise_rate, **kwargs)

    return corrupt


SYMMETRIC_WITH_TRUE = partial(noise.symmetric, include_true=True)
GENERATORS = [noise.symmetric, SYMMETRIC_WITH_TRUE, noise.asymmetric, noise.pair_flip]
GENERATORS += map(_on_features, INSTANCE)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.333, 0.9, 1.0])
def test_symmetric_flips_exactly_the_rate(rate):
    y = np.arange(1003) % 7
    y_noisy = noise.symmetric(y, rate, random_state=0)
    assert (y_noisy != y).sum() == round(rate * 1003)


def test_symmetric_draws_wrong_classes_uniformly():
    y = np.zeros(60_000, dtype=int)
    y[:5] = np.arange(5)
    y_noisy = noise.symmetric(y, 0.6, random_state=0)
    assert chisquare(np.bincount(y_noisy[y_noisy != y])[1:]).pvalue > 1e-3


def test_symmetric_with_true_class_lowers_the_rate():
    n, rate, n_classes = 50_000, 0.6, 10
    y = np.arange(n) % n_classes
    y_noisy = noise.symmetric(y, rate, include_true=True, random_state=0)
    low, high = binom.ppf([1e-4, 1 - 1e-4], round(rate * n), 1 - 1 / n_classes)
    assert low <= (y_noisy != y).sum() <= high
    assert chisquare(np.bincount(y_noisy[y_noisy != y])).pvalue > 1e-3


def test_cifar10_map_flips_both_cats_and_dogs():
    y = np.repeat(CIFAR10, 100)
    by_name = partial(noise.asymmetric, class_map=noise.CIFAR10_ASYMMETRIC)
    y_noisy = by_name(y, 0.4, random_state=0)
    T = noise.transition_matrix(y, y_noisy, labels=CIFAR10)
    expected = np.eye(10)
    for source, target in [(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)]:
        expected[source, [source, target]] = 0.6, 0.4
    np.testing.assert_allclose(T, expected)

    indices = np.repeat(np.arange(10), 100)
    by_index = partial(noise.asymmetric, class_map=noise.CIFAR10_ASYMMETRIC_INDICES)
    same = np.take(CIFAR10, by_index(indices, 0.4, random_state=0))
    np.testing.assert_array_equal(same, y_noisy)


def test_blocks_of_100_classes_are_circles_of_five():
    y = np.repeat(np.arange(100), 10)
    T = noise.transition_matrix(y, noise.asymmetric(y, 0.4, random_state=0))
    for c in range(100):
        target = c - 4 if c % 5 == 4 else c + 1
        assert T[c, c] == 0.6
        assert T[c, target] == 0.4


@pytest.mark.parametrize(
    ("block_size", "targets"),
    [
        (5, [1, 2, 3, 4, 0, 6, 5]),
        (6, [1, 2, 3, 4, 5, 0, 6]),
        (9, [1, 2, 3, 4, 5, 6, 0]),
    ],
)
def test_short_blocks(block_size, targets):
    y_noisy = noise.asymmetric(np.arange(7), 1.0, block_size=block_size)
    assert y_noisy.tolist() == targets


def test_asymmetric_counts_each_class_by_itself():
    sizes = {"a": 7, "b": 100, "c": 33}
    y = np.repeat(list(sizes), list(sizes.values()))
    y_noisy = noise.asymmetric(y, 0.3, class_map={"a": "c", "b": "c"}, random_state=0)
    assert [(y_noisy[y == c] == "c").sum() for c in sizes] == [2, 30, 33]


def test_pair_flip_goes_to_the_next_sorted_class():
    y = np.repeat([30, -1, 7], 10)
    y_noisy = noise.pair_flip(y, 0.3, random_state=0)
    expected = [[0.7, 0.3, 0], [0, 0.7, 0.3], [0.3, 0, 0.7]]  # -1, 7, 30
    np.testing.assert_allclose(noise.transition_matrix(y, y_noisy), expected)


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
    X, y = np.tile(pair, (20_000, 1)), np.tile([0, 1], 20_000)
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


@pytest.mark.parametrize("corrupt", GENERATORS)
@pytest.mark.parametrize(
    "y",
    [
        np.repeat([-3, 10, 11], 20),
        np.repeat(["cat", "dog", "a longer name"], 20),
        np.repeat(np.array(["cat", "dog", "owl"], dtype=object), 20),
        np.repeat([1.0, 2.5], 20),
        ["b", "a"] * 20,
        [True, False] * 20,
    ],
    ids=lambda y: str(np.asarray(y).dtype),
)
def test_labels_of_any_type(corrupt, y):
    before = np.array(y)
    y_noisy = corrupt(y, 0.5, random_state=0)
    assert y_noisy.dtype == before.dtype
    assert y_noisy.shape == before.shape
    assert set(y_noisy) <= set(before)
    assert (y_noisy != before).any()
    np.testing.assert_array_equal(y, before)  # not mutated
    np.testing.assert_array_equal(corrupt(y, 0.5, random_state=0), y_noisy)
    assert (corrupt(y, 0.5, random_state=1) != y_noisy).any()
    np.testing.assert_array_equal(corrupt(y, 0.0), before)


@pytest.mark.parametrize("corrupt", GENERATORS)
@pytest.mark.parametrize(
    ("y", "rate", "message"),
    [
        ([0, 1], 40, r"noise_rate must be in \[0, 1\], got 40"),
        ([0, 1], -0.1, "noise_rate must be"),
        ([0, 1], np.nan, "noise_rate must be"),
        ([1, 1], 0.4, "at least two classes, got 1"),
        (["a", "b", None], 0.4, "1 missing labels.* index 2"),
        (["a", np.nan, "b"], 0.4, "missing labels.* index 1"),
        (np.array([0.0, np.nan, 1.0]), 0.4, "missing labels"),
        (np.array([1, "a"], dtype=object), 0.4, "do not sort"),
        (np.zeros((2, 2)), 0.4, "one-dimensional"),
    ],
)
def test_unusable_labels(corrupt, y, rate, message):
    with pytest.raises(ValueError, match=message):
        corrupt(y, rate)


def test_missing_pandas_labels():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="1 missing labels.* index 1"):
        noise.symmetric(pandas.Series([0, None, 1], dtype="Int64"), 0.4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_map": {"cat": "cow"}}, r"class_map names \['cow'\]"),
        ({"class_map": {0: "cat"}}, r"class_map names \[0\]"),
        ({"class_map": "superclasses"}, "'blocks' or a dict"),
        ({"block_size": 1}, "block_size must be at least 2"),
    ],
)
def test_unusable_class_map(kwargs, message):
    with pytest.raises(ValueError, match=message):
        noise.asymmetric(["cat", "dog"], 0.4, **kwargs)


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


def test_transition_matrix():
    y_true, y_noisy = ["b", "b", "b", "b", "a"], ["b", "a", "c", "c", "a"]
    expected = [[1, 0, 0], [0.25, 0.25, 0.5], [0, 0, 0]]
    np.testing.assert_allclose(noise.transition_matrix(y_true, y_noisy), expected)
    reordered = noise.transition_matrix(y_true, y_noisy, labels=["c", "d", "b", "a"])
    expected = [[0] * 4, [0] * 4, [0.5, 0, 0.25, 0.25], [0, 0, 0, 1]]
    np.testing.assert_allclose(reordered, expected)


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "b"]])
def test_transition_matrix_with_unusable_labels(labels):
    with pytest.raises(ValueError, match="each class once"):
        noise.transition_matrix(["a", "b"], ["a", "b"], labels=labels)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        noise.transition_matrix(["a", "b"], ["a"])


@pytest.mark.parametrize("rate", ["0.2", None, float("nan"), 2])
def test_a_rate_that_is_none_is_named(rate):
    with pytest.raises(
        ValueError, match=rf"noise_rate must be in \[0, 1\], got {rate!r}"
    ):
        noise.symmetric([0, 1] * 5, rate)


def test_labels_of_mixed_types_are_refused():
    with pytest.raises(ValueError, match="mix types"):
        noise.symmetric([1, "a", 2, "b"], 0.5)
