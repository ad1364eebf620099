"""Folds of the samples, and which of these must share one."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from .exceptions import CleansingWarning
from .selection.mixture import Ints

# Of all samples. What is equal more often is a value that repeats, as in tables of few
# categories, and no copy.
_MOST = 1 / 20


def deal_folds(
    y: NDArray[np.intp],
    n_folds: int,
    random_state: np.random.RandomState,
    copies: NDArray[np.intp] | None = None,
) -> NDArray[np.intp]:
    """Fold of each sample; classes are spread over the folds evenly.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        Codes of the given labels.
    n_folds : int
    random_state : RandomState
    copies : ndarray of shape (n_samples,), int, default=None
        Equal for samples that must share a fold.

    Returns
    -------
    ndarray of shape (n_samples,), int
        In ``0 .. n_folds - 1``.

    Warns
    -----
    CleansingWarning
        If a class has one sample: no probe can know it without having seen it.
    """
    _, firsts, copies = np.unique(
        np.arange(len(y)) if copies is None else copies,
        return_index=True,
        return_inverse=True,
    )
    n_different = np.bincount(np.unique(y * len(y) + copies) // max(len(y), 1))
    lone = int((n_different == 1).sum())
    if lone:
        warnings.warn(
            f"Classes of one sample: {lone}. No probe that did not see it knows the "
            "class, so that its label cannot be judged. Give each class two samples or "
            "more, or set cleansing_folds=None.",
            CleansingWarning,
            stacklevel=5,
        )
    # Sorted by class and shuffled within, the samples are dealt in turn.
    shuffled = random_state.permutation(len(y))
    order = shuffled[np.argsort(y[shuffled], kind="stable")]
    order = order[np.isin(order, firsts)]
    folds = np.empty(len(y), dtype=np.intp)
    folds[order] = np.arange(len(order)) % min(n_folds, len(order))
    return folds[firsts][copies]


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
    found, groups = np.unique(groups, return_inverse=True)
    return groups if len(found) < len(groups) else None


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
