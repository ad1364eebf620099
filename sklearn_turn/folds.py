"""Folds of the samples, and which of these must share one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from .exceptions import CleansingWarning
from .selection.mixture import Ints

# Fewest different samples, of all, where equal ones are copies: what repeats more often
# is a value, as in tables of few categories.
_DIFFERENT = 1 / 4
# Equal pairs that chance would make of columns which are independent; of more, equal
# samples need not be copies. Decided on so many samples and columns.
_BY_CHANCE, _SAMPLES, _COLUMNS = 0.05, 2000, 256


def deal_folds(
    y: NDArray[np.intp], n_folds: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Fold of each sample; classes are spread over the folds evenly.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        Codes of the given labels.
    n_folds : int
    random_state : RandomState

    Returns
    -------
    ndarray of shape (n_samples,), int
        In ``0 .. n_folds - 1``.

    Warns
    -----
    CleansingWarning
        If a class has one sample: no probe can know it without having seen it.
    """
    lone = int((np.bincount(y) == 1).sum())
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
    folds = np.empty(len(y), dtype=np.intp)
    folds[order] = np.arange(len(y)) % min(n_folds, len(y))
    return folds


def with_copies_together(folds: Ints, y: Ints, X: Any) -> Ints:
    """Folds in which copies of a sample share one, that of the first.

    A classifier that was trained on a copy has seen the label. A class that is one
    sample, many times, stays as it is: its judges would not know it.

    Parameters
    ----------
    folds : ndarray of shape (n_samples,), int
    y : ndarray of shape (n_samples,), int
        Codes of the given labels.
    X : samples
        See :func:`copies_of`.

    Returns
    -------
    ndarray of shape (n_samples,), int
        In ``0 .. n_folds - 1``, of which there may be fewer than before.
    """
    copies = copies_of(X)
    if copies is None:
        return folds
    n, n_folds = len(y), folds.max() + 1
    different = np.bincount(np.unique(y * n + copies) // n)
    alone = different[y] < 2
    copies[alone] = n + np.arange(alone.sum())
    _, first, copies = np.unique(copies, return_index=True, return_inverse=True)
    folds, sizes = folds[first][copies], np.bincount(copies)
    for code in np.flatnonzero(different > 1):
        members = np.flatnonzero(y == code)
        if np.ptp(folds[members]) == 0:  # no judge of the class would know it
            fewest = copies[members][sizes[copies[members]].argmin()]
            folds[copies == fewest] = (folds[members[0]] + 1) % n_folds
    return np.unique(folds, return_inverse=True)[
        1
    ]  # of few samples, some are empty now


def copies_of(X: Any) -> Ints | None:
    """Which samples are copies of each other, as bootstraps and oversampling make them.

    Samples are copies where equal ones are not to be expected: most must be different,
    and in a table so few columns as to be equal by chance are not enough.

    Parameters
    ----------
    X : array-like, sparse matrix, DataFrame or list of paths, texts or arrays
        Samples of other kinds are nobody's copies.

    Returns
    -------
    ndarray of shape (n_samples,), int, or None
        Equal for copies; None where there are none.
    """
    try:
        X = _plain(X)
        keys = None if X is None else _keys(X)
    except (TypeError, ValueError, RuntimeError):
        return None  # lists in a frame, sparse tensors: a fit must not fail for it
    if keys is None or not len(keys):
        return None
    _, first, groups = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(keys) or len(first) < _DIFFERENT * len(keys):
        return None
    some = np.random.RandomState(0).permutation(first)[:_SAMPLES]
    if len(first) ** 2 / 2 * _equal_by_chance(X, np.sort(some)) > _BY_CHANCE:
        return None
    return groups


def _plain(X: Any) -> Any:
    """Samples as an array, a sparse matrix, a DataFrame or a list; else None."""
    if hasattr(X, "detach"):  # a tensor, wherever it is and of whatever type
        if X.is_meta:
            return None
        X = X.detach().cpu()
        return (X.float() if X.is_floating_point() else X).numpy()
    if issparse(X):
        return X.tocsr()
    if hasattr(X, "iloc") or isinstance(X, np.ndarray):
        return X
    if isinstance(X, Sequence) and len(X) and not isinstance(X, str):
        if all(isinstance(sample, list | tuple) for sample in X):
            equal = len({len(sample) for sample in X}) == 1
            return np.asarray(X) if equal else None
        is_known = all(isinstance(sample, str | np.ndarray) for sample in X)
        return X if is_known else None
    return None


def _keys(X: Any) -> NDArray[np.int64]:
    """A hash of each sample."""
    if hasattr(X, "iloc"):
        import pandas as pd

        hashed: Any = pd.util.hash_pandas_object(X, index=False)
        return hashed.to_numpy().view(np.int64)
    if issparse(X):
        rows = [slice(*X.indptr[i : i + 2]) for i in range(X.shape[0])]
        keys = [hash((X.indices[r].tobytes(), X.data[r].tobytes())) for r in rows]
    else:
        keys = [_key(sample) for sample in X]
    return np.array(keys, dtype=np.int64)


def _key(sample: Any) -> int:
    if isinstance(sample, np.ndarray):
        # Objects compare by what they print: -1 and -2, or NaN and NaN, by no hash.
        is_plain = sample.dtype != object
        return hash(sample.tobytes() if is_plain else repr(sample.tolist()))
    return hash(repr(sample))


def _equal_by_chance(X: Any, rows: Ints) -> float:
    """Probability that two samples are equal, were their columns independent.

    0 for texts, paths and images of several sizes.
    """
    if isinstance(X, Sequence) or X.ndim < 2:
        return 0.0
    width = int(np.prod(X.shape[1:]))
    columns = np.unique(np.linspace(0, width - 1, _COLUMNS).astype(int))
    if hasattr(X, "iloc"):
        table = [X.iloc[rows, c].astype(str).to_numpy() for c in columns]
    else:
        # Row by row: photos are large.
        some = [X[[i]].toarray() if issparse(X) else X[i] for i in rows]
        stacked = np.stack([np.ravel(sample)[columns] for sample in some], axis=1)
        is_object = stacked.dtype == object
        table = list(stacked.astype(str) if is_object else stacked)
    shares = [np.unique(c, return_counts=True)[1] / len(rows) for c in table]
    return float(np.prod([share @ share for share in shares]))
