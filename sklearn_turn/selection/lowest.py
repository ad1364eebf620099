"""Samples with the lowest values of each class, and classes that would have none."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import CleansingWarning
from .mixture import Floats, Ints


def rank_in_class(values: NDArray[Any], codes: Ints) -> Ints:
    """How many samples of its class come before each sample, by value; NaN is last.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Of equal ones, the first comes first.
    codes : ndarray of shape (n_samples,), int

    Returns
    -------
    ndarray of shape (n_samples,), int
    """
    order = np.lexsort((values, codes))
    counts = np.bincount(codes)
    first = np.cumsum(counts) - counts
    rank = np.empty(len(codes), dtype=np.intp)
    rank[order] = np.arange(len(codes)) - first[codes[order]]
    return rank


def lowest_of_each_class(
    values: Floats, codes: Ints, quota: int | Ints
) -> NDArray[np.bool_]:
    """Mark the samples with the lowest values of each class.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        NaN is never marked.
    codes : ndarray of shape (n_samples,), int
    quota : int or ndarray of shape (n_classes,), int
        Most samples of each class.

    Returns
    -------
    ndarray of shape (n_samples,), bool
    """
    most = quota[codes] if isinstance(quota, np.ndarray) else quota
    return (rank_in_class(values, codes) < most) & ~np.isnan(values)


def one_of_each_class(
    clean: NDArray[np.bool_],
    values: Floats,
    codes: Ints,
    noise_filter: Any,
) -> NDArray[np.bool_]:
    """Select the lowest value of each class that would have nothing, and warn.

    Parameters
    ----------
    clean : ndarray of shape (n_samples,), bool
    values : ndarray of shape (n_samples,)
        The lower, the cleaner.
    codes : ndarray of shape (n_samples,), int
    noise_filter : estimator
        With ``classes_``, which codes stand for.

    Returns
    -------
    ndarray of shape (n_samples,), bool

    Warns
    -----
    CleansingWarning
    """
    empty = np.setdiff1d(codes, codes[clean])
    if not len(empty):
        return clean
    warn_of_empty_classes(noise_filter, noise_filter.classes_, empty)
    return clean | (lowest_of_each_class(values, codes, 1) & np.isin(codes, empty))


def warn_of_empty_classes(
    noise_filter: Any, classes: NDArray[Any], empty: Ints
) -> None:
    """Warn that of some classes the best-ranked sample is kept, and no other."""
    warnings.warn(
        f"{type(noise_filter).__name__} selects no sample of {len(empty)} of "
        f"{len(classes)} classes: {', '.join(map(str, classes[empty][:10]))}. Their "
        "best-ranked sample is kept. Train longer before labels are selected, if "
        "this happens often.",
        CleansingWarning,
        stacklevel=4,
    )
