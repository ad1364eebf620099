"""Which samples are copies of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

# Fewest different samples, of all, where equal ones are copies: what repeats more often
# is a value, as in tables of few categories.
_DIFFERENT = 1 / 4
# Equal pairs that chance would make of columns which are independent; of more, equal
# samples need not be copies. Decided on so many samples and columns.
_BY_CHANCE, _SAMPLES, _COLUMNS = 0.05, 2000, 256


def copies_of(X: Any) -> NDArray[np.intp] | None:
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
    # Sorted: groups are in the order of their hashes, which differ between processes.
    some = np.random.RandomState(0).permutation(np.sort(first))[:_SAMPLES]
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


def _equal_by_chance(X: Any, rows: NDArray[np.intp]) -> float:
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
    counts = [np.unique(c, return_counts=True)[1].astype(float) for c in table]
    m = len(rows)
    if len(counts) == 1:  # all that is different is so in this column
        return 1 / m
    return float(np.prod([c @ (c - 1) / (m * (m - 1)) for c in counts]))
