"""Near-duplicates, contradicting labels and outliers."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from scipy.stats import iqr

from sklearn_turn.inspection import neighbor_issues
from sklearn_turn.inspection._neighbors import _intrinsic_dimension, _search

pd = pytest.importorskip("pandas")


def spread(n, d, seed=0):
    return np.random.RandomState(seed).normal(size=(n, d))


@pytest.fixture(scope="module")
def copies():
    """200 samples in 12 dimensions, of which some are nearly copies of others."""
    X = spread(200, 12)
    rng = np.random.RandomState(1)
    for copy, of in ((5, 4), (6, 5), (50, 100), (101, 100), (199, 0)):
        X[copy] = X[of] + 0.02 * rng.normal(size=12)
    X[77] = X[33]
    return X, rng.randint(0, 3, 200)


def by_hand(X, y, k=10, share=0.35, normalised=True):
    """Pairs, sets and scores by loops over all pairs."""
    if normalised:
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
    n = len(X)
    D = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in X] for a in X])
    np.fill_diagonal(D, np.inf)
    nearest = np.sort(D, axis=1)[:, :k]
    limit = share * np.median(nearest[:, -1])
    sets = [None] * n
    number = 0
    for start in range(n):
        if sets[start] is not None or not (D[start] <= limit).any():
            continue
        todo = [start]
        while todo:
            i = todo.pop()
            if sets[i] is None:
                sets[i] = number
                todo += np.flatnonzero(D[i] <= limit).tolist()
        number += 1
    contradicting = [
        s is not None and len({y[j] for j in range(n) if sets[j] == s}) > 1
        for s in sets
    ]
    mean = nearest.mean(axis=1)
    return sets, contradicting, (mean - np.quantile(mean, 0.75)) / iqr(mean)


@pytest.mark.parametrize("metric", [None, "cosine", "euclidean"])
def test_against_loops_over_all_pairs(copies, metric):
    X, y = copies
    # In 12 dimensions few are near by chance, so that the threshold is the one given.
    found = neighbor_issues(X, y, metric=metric, duplicate_distance=0.2)
    sets, contradicting, scores = by_hand(
        X, y, share=0.2, normalised=metric != "euclidean"
    )
    assert len({s for s in sets if s is not None}) == 4
    assert (
        found["duplicate_set"].astype(object).where(lambda s: s.notna(), None).tolist()
        == sets
    )
    assert found["is_near_duplicate"].tolist() == [s is not None for s in sets]
    assert found["contradicting"].tolist() == contradicting
    assert any(contradicting)
    np.testing.assert_allclose(found["outlier_score"], scores, rtol=1e-6)
    np.testing.assert_array_equal(found["is_outlier"], scores > 1.5)
    assert found.index.name == "index"


def test_chains_are_one_set(copies):
    X, y = copies
    found = neighbor_issues(X, y)["duplicate_set"]
    assert found[4] == found[5] == found[6]
    assert found[50] == found[100] == found[101]


@pytest.mark.parametrize(("d", "n"), [(1, 3000), (2, 3000), (3, 3000), (6, 3000)])
def test_few_are_near_duplicates_by_chance(d, n):
    X = np.random.RandomState(0).uniform(size=(n, d))
    found = neighbor_issues(X, metric="euclidean")
    # One in a thousand is expected; here up to four.
    assert found["is_near_duplicate"].mean() < 4e-3


@pytest.mark.parametrize("d", [2, 5, 10])
def test_intrinsic_dimension_of_a_plane_in_space(d):
    flat = np.random.RandomState(0).uniform(size=(3000, d))
    X = flat @ np.linalg.qr(spread(40, d))[0].T
    distances, _ = _search(X, 10)
    assert _intrinsic_dimension(distances) == pytest.approx(d, rel=0.2)


def test_copies_of_all_samples_are_found():
    X = spread(300, 12)
    noise = 1e-3 * spread(300, 12, seed=1)
    found = neighbor_issues(np.r_[X, X + noise])
    assert found["is_near_duplicate"].all()
    sets = found["duplicate_set"].to_numpy(dtype=int)
    np.testing.assert_array_equal(sets[:300], sets[300:])
    assert len(set(sets)) == 300


def test_exact_copies_in_few_dimensions():
    X = spread(200, 2)
    X[9] = X[3]
    found = neighbor_issues(X.astype(np.float32))
    assert found["is_near_duplicate"][[3, 9]].all()


@pytest.mark.parametrize("n", [2, 30])
def test_all_equal(n):
    found = neighbor_issues(np.ones((n, 5)), np.arange(n) % 2)
    assert (found["duplicate_set"] == 0).all()
    assert found["contradicting"].all()
    assert not found["is_outlier"].any()


def test_equal_distances_are_no_outliers():
    found = neighbor_issues(np.eye(30))
    assert not found["is_outlier"].any()
    assert np.isfinite(found["outlier_score"]).all()


def test_planted_outliers_come_first():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(200, 8)) * 0.1 + np.eye(8)[rng.randint(0, 2, 200)]
    X[[11, 22]] = -np.eye(8)[[3, 4]]
    found = neighbor_issues(X)
    assert set(found["outlier_score"].nlargest(2).index) == {11, 22}
    assert found["is_outlier"][[11, 22]].all()
    assert found["is_outlier"].mean() < 0.05


def test_scale_of_rows_is_no_matter_to_cosine(copies):
    X, y = copies
    scaled = X * np.random.RandomState(0).uniform(0.1, 10, size=(200, 1))
    found, expected = neighbor_issues(scaled, y), neighbor_issues(X, y)
    pd.testing.assert_frame_equal(found, expected)
    # Of up to three columns the length counts.
    line = np.arange(1.0, 31)[:, None] * [1.0, 1.0]
    assert not neighbor_issues(line)["is_near_duplicate"].any()
    assert neighbor_issues(line, metric="cosine")["is_near_duplicate"].all()


def test_without_labels_nothing_contradicts(copies):
    X, _ = copies
    found = neighbor_issues(X)
    assert found["is_near_duplicate"].any()
    assert not found["contradicting"].any()


def test_labels_of_any_type(copies):
    X, y = copies
    names = np.array(["cat", "dog", "eel"])[y]
    pd.testing.assert_frame_equal(neighbor_issues(X, names), neighbor_issues(X, y))


def test_memory_grows_with_samples_and_not_with_pairs():
    X = spread(6000, 32).astype(np.float32)
    tracemalloc.start()
    neighbor_issues(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000**2  # a byte for each pair


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.ones((1, 4))}, "minimum of 2 is required"),
        ({"features": np.full((4, 4), np.nan)}, "NaN"),
        ({"features": np.ones(4)}, "2D array"),
        ({"y": [0, 1]}, "features of 4 samples, but 2 labels"),
        ({"y": [0, 1, None, 1]}, "missing labels"),
        ({"metric": "l1"}, "'cosine' or 'euclidean', not 'l1'"),
        ({"n_neighbors": 0}, "n_neighbors must be positive"),
        ({"duplicate_distance": -1}, "duplicate_distance must be positive"),
        ({"outlier_fence": 0}, "outlier_fence must be positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        neighbor_issues(**{"features": spread(4, 4), **arguments})


def test_without_pandas_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-turn\[plots\]'"):
        neighbor_issues(spread(4, 4))


@pytest.mark.parametrize("n_features", [2, 16])
def test_samples_with_more_copies_than_neighbours(n_features):
    originals = np.random.RandomState(0).normal(size=(50, n_features))
    copies = np.repeat(originals, 20, axis=0).astype(np.float32)
    found = neighbor_issues(copies)
    assert found["is_near_duplicate"].all()
    assert found["duplicate_set"].nunique() == 50
    sets = found["duplicate_set"].to_numpy(dtype=int).reshape(50, 20)
    assert len(np.unique(sets[:, :1])) == 50
    assert neighbor_issues(np.full((5, n_features), 0.3))["is_near_duplicate"].all()


def test_contradictions_of_large_nullable_labels():
    ids = pd.Series([2**53, 2**53 + 1, 2**53, 2**53], dtype="Int64")
    X = np.array([[0.0, 1.0], [0.0, 1.0], [9.0, 0.0], [0.0, 9.0]])
    assert neighbor_issues(X, ids)["contradicting"].tolist() == [True, True, 0, 0]
