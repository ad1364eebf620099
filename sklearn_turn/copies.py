"""Samples that are there several times."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse

from .selection.mixture import Ints

# Of all samples. What is equal more often is a value that repeats, as in tables of few
# categories, and no copy.
_MOST = 1 / 20


def copies_of(X: Any) -> Ints | None:
    """Which samples are copies of each other, as bootstraps and oversampling make them.

    A classifier that was trained on one of them has seen the label of all.

    Parameters
    ----------
    X : array-like, sparse matrix, DataFrame or list
        Samples. Those of other kinds, and those that have no hash, are nobody's copies.

    Returns
    -------
    ndarray of shape (n_samples,), int, or None
        Equal for copies; None where there are none.
    """
    keys = _keys(X)
    if len(set(keys)) == len(keys):
        return None
    _, groups = np.unique(np.array(keys, dtype=np.int64), return_inverse=True)
    sizes = np.bincount(groups)
    alone = np.flatnonzero(sizes[groups] > max(2, _MOST * len(groups)))
    groups[alone] = len(sizes) + np.arange(len(alone))
    return groups if len(np.unique(groups)) < len(groups) else None


def _keys(X: Any) -> list[int]:
    """A hash of each sample; none where samples are no rows, paths or texts."""
    if issparse(X):
        X = X.tocsr()
        rows = [slice(*X.indptr[i : i + 2]) for i in range(X.shape[0])]
        return [hash((X.indices[r].tobytes(), X.data[r].tobytes())) for r in rows]
    if hasattr(X, "iloc"):
        X = X.to_numpy()
    if hasattr(X, "__array__"):
        X = np.asarray(X)
    if not isinstance(X, np.ndarray | list | tuple):
        return []
    return [_key(sample, i) for i, sample in enumerate(X)]


def _key(sample: Any, place: int) -> int:
    if isinstance(sample, np.ndarray):
        sample = tuple(sample) if sample.dtype == object else sample.tobytes()
    try:
        return hash(sample)
    except TypeError:
        return place
