"""Alignment with the main direction of a class, against a loop over eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs

from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.noise import symmetric
from sklearn_turn.selection import FINENoiseFilter, GMMNoiseFilter


@pytest.fixture(scope="module")
def noisy():
    """Classes of different sizes, with more and with fewer samples than features."""
    sizes = [100, 60, 50]
    X, y_true = make_blobs(sizes, n_features=62, cluster_std=5.0, random_state=0)
    return X, symmetric(y_true, 0.3, random_state=0), y_true


@pytest.mark.parametrize("standardize", [False, True])
def test_scores_by_a_loop(standardize, noisy):
    X, y, _ = noisy
    found = FINENoiseFilter(standardize=standardize).fit(X, y)
    Z = X
    if standardize:
        mean = np.mean([X[y == c].mean(axis=0) for c in range(3)], axis=0)
        square = [((X[y == c] - mean) ** 2).mean(axis=0) for c in range(3)]
        Z = (X - mean) / np.sqrt(np.mean(square, axis=0))
    for c in range(3):
        gram = np.zeros((62, 62))
        for z in Z[y == c]:
            gram += np.outer(z, z)
        vector = np.linalg.eigh(gram)[1][:, -1]
        if vector @ sum(Z[y == c]) < 0:
            vector = -vector
        assert_allclose(found.components_[c], vector, atol=1e-9)
        for i in np.flatnonzero(y == c):
            cosine = vector @ Z[i] / np.linalg.norm(Z[i])
            expected = cosine**2 if cosine > 0 else -(cosine**2)
            assert_allclose(found.scores_[i], expected, atol=1e-12)
    assert found.scores_.min() >= -1 and found.scores_.max() <= 1
    sizes = np.bincount(y)
    assert sizes.min() < 62 < sizes.max(), "both Gram matrices are tested"


def test_labels_of_the_higher_component_are_clean(noisy):
    X, y, y_true = noisy
    found = FINENoiseFilter().fit(X, y)
    for c in range(3):
        clean = found.clean_mask_[y == c]
        scores = found.scores_[y == c]
        assert scores[clean].min() > scores[~clean].max()
    assert (found.clean_mask_ == (y == y_true)).mean() > 0.8
    assert_allclose(found.noise_rate_, 1 - found.clean_proba_.mean())


def test_two_classes_point_in_opposite_directions():
    X, y_true = make_blobs(300, n_features=16, centers=2, random_state=0)
    y = symmetric(y_true, 0.3, random_state=0)
    found = FINENoiseFilter().fit(X, y)
    assert_array_equal(found.clean_mask_, y == y_true)


def test_classes_may_be_strings_and_scale_does_not_matter(noisy):
    X, y, _ = noisy
    names = np.array(["x", "y", "z"])
    plain = FINENoiseFilter().fit(X, y)
    constant = np.full((len(X), 1), 7.0)
    other = FINENoiseFilter().fit(np.hstack([1000 * X + 5, constant]), names[y])
    assert_array_equal(other.classes_, names)
    assert_array_equal(other.clean_mask_, plain.clean_mask_)


def test_a_higher_threshold_keeps_fewer_and_never_nothing_of_a_class(noisy):
    X, y, _ = noisy
    X = X + np.random.RandomState(0).normal(scale=10, size=X.shape)
    some = FINENoiseFilter(0.2).fit(X, y).clean_mask_
    fewer = FINENoiseFilter(0.7).fit(X, y).clean_mask_
    assert fewer.sum() < some.sum() and not (fewer & ~some).any()
    with pytest.warns(CleansingWarning, match="kept no sample: .*Those most likely"):
        found = FINENoiseFilter(1.0).fit(X, y)
    assert (np.bincount(y[found.clean_mask_]) > 0).all()


@pytest.mark.filterwarnings("ignore:.*too few for a mixture")
def test_features_without_direction():
    found = FINENoiseFilter(standardize=False).fit(np.zeros((6, 3)), [0, 1] * 3)
    assert_array_equal(found.scores_, 0)
    assert found.clean_mask_.all(), "nothing speaks against them"


def test_works_where_a_noise_filter_is_taken(noisy):
    from sklearn_turn import NoiseFilteredClassifier

    X, y, y_true = noisy
    clf = NoiseFilteredClassifier(noise_filter=FINENoiseFilter()).fit(X, y)
    assert clf.score(X, y_true) > 0.8
    assert GMMNoiseFilter.evidence != FINENoiseFilter.evidence
