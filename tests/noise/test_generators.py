"""What all generators do with labels and rates."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sklearn_turn import noise


def _on_features(generator):
    """An instance generator as a function of the labels alone."""

    def corrupt(y, noise_rate, **kwargs):
        X = np.random.RandomState(0).normal(size=(len(y), 4))
        return generator(X, y, noise_rate, **kwargs)

    return corrupt


def _n_classes(y, labels):
    return len(set(np.asarray(y if labels is None else labels, object).ravel()))


def _pmd(y, noise_rate, labels=None, **kwargs):
    """PMD noise as a function of the labels alone."""
    n_classes = _n_classes(y, labels)
    proba = np.random.RandomState(0).dirichlet([1.0] * n_classes, size=len(y))
    return noise.pmd(proba, y, noise_rate, labels=labels, **kwargs)


def _by_matrix(y, noise_rate, labels=None, **kwargs):
    """Noise from the transition matrix of symmetric noise."""
    n_classes = _n_classes(y, labels)
    T = np.full((n_classes, n_classes), noise_rate / max(n_classes - 1, 1))
    np.fill_diagonal(T, 1 - noise_rate)
    return noise.from_transition_matrix(y, T, labels=labels, **kwargs)


GENERATORS = {
    "symmetric": noise.symmetric,
    "symmetric with true": partial(noise.symmetric, include_true=True),
    "asymmetric": noise.asymmetric,
    "pair_flip": noise.pair_flip,
    "instance_cheng2021": _on_features(noise.instance_cheng2021),
    "instance_xia2020": _on_features(noise.instance_xia2020),
    "pmd": _pmd,
}
of_rates = pytest.mark.parametrize("name", list(GENERATORS))
GENERATORS["from_transition_matrix"] = _by_matrix
of_labels = pytest.mark.parametrize("name", list(GENERATORS))


@of_labels
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
def test_labels_of_any_type(name, y):
    corrupt = GENERATORS[name]
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


@of_labels
@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 1], "at least two classes, got 1; labels=..."),
        (["a", "b", None], "1 missing labels.* index 2"),
        (["a", np.nan, "b"], "missing labels.* index 1"),
        (np.array([0.0, np.nan, 1.0]), "missing labels"),
        (np.array([1, "a"], dtype=object), "do not sort"),
        ([1, "a", 2, "b"], "mix types"),
        (np.zeros((2, 2)), "one-dimensional"),
    ],
)
def test_unusable_labels(name, y, message):
    with pytest.raises(ValueError, match=message):
        GENERATORS[name](y, 0.4)


@of_rates
@pytest.mark.parametrize("rate", [40, -0.1, np.nan, "0.2", None])
def test_a_rate_that_is_none_is_named(name, rate):
    message = rf"noise_rate must be in \[0, 1\], got {rate!r}"
    with pytest.raises(ValueError, match=message):
        GENERATORS[name]([0, 1] * 5, rate)


@of_labels
def test_imbalanced_classes_and_classes_without_samples(name):
    y = np.repeat(["b", "d"], [997, 3])
    labels = ["d", "b", "a", "a longer name"]
    y_noisy = GENERATORS[name](y, 1.0, labels=labels, random_state=0)
    assert set(y_noisy) <= set(labels)
    assert y_noisy.dtype == np.asarray(labels).dtype
    if name == "symmetric with true":
        assert 0.2 < (y_noisy == y).mean() < 0.3  # a quarter
    elif "instance" in name:
        assert (y_noisy != y).mean() > 0.85  # rates are truncated at 1
    else:
        assert (y_noisy != y).all()
    if name == "pair_flip":  # in the order given
        assert (y_noisy[y == "d"] == "b").all() and (y_noisy[y == "b"] == "a").all()


@of_labels
@pytest.mark.parametrize("labels", [["a"], ["a", "b", "b"], [0, 1]])
def test_unusable_class_lists(name, labels):
    with pytest.raises(ValueError, match="labels must list each class once, and all"):
        GENERATORS[name](["a", "b", "a"], 0.4, labels=labels)


def test_missing_pandas_labels():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="1 missing labels.* index 1"):
        noise.symmetric(pandas.Series([0, None, 1], dtype="Int64"), 0.4)
