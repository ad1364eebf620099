"""Folds of the samples, and which of these must share one."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .copies import copies_of
from .exceptions import CleansingWarning
from .selection.mixture import Ints


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


def given_folds(
    folds: Any, y: Ints, classes: NDArray[Any], used: NDArray[np.bool_]
) -> Ints:
    """Folds that the user gave, checked.

    Parameters
    ----------
    folds : array-like of shape (n_given,), int
        For all samples given to ``fit``.
    y : ndarray of shape (n_samples,), int
        Codes of the given labels of those that are used.
    classes : ndarray of shape (n_classes,)
    used : ndarray of shape (n_given,), bool

    Returns
    -------
    ndarray of shape (n_samples,), int
        In ``0 .. n_folds - 1``.

    Raises
    ------
    ValueError
        If they are no integers, one for each sample, fewer than two, or one has all
        samples of a class.
    """
    values = np.asarray(folds)
    if values.shape != used.shape or values.dtype.kind not in "iu":
        raise ValueError(
            f"cleansing_folds has shape {values.shape} and dtype {values.dtype}; give "
            f"an integer for each of {len(used)} samples, its fold, or a number of "
            "folds."
        )
    dealt = np.unique(values[used], return_inverse=True)[1]
    if dealt.max() == 0:
        raise ValueError("cleansing_folds has one fold; there must be two or more.")
    for code, label in enumerate(classes.tolist()):
        members = dealt[y == code]
        if len(members) > 1 and np.ptp(members) == 0:
            raise ValueError(
                f"cleansing_folds has all samples labelled {label!r} in one fold, so "
                "that no probe could know the class when it judges them. Spread them "
                "over two folds or more; StratifiedGroupKFold helps."
            )
    return dealt


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
        See :func:`~sklearn_turn.copies.copies_of`.

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
    # Copies with several labels are moved for one class, and then for another.
    for _ in range(n_folds):
        moved = False
        for code in np.flatnonzero(different > 1):
            members = np.flatnonzero(y == code)
            if np.ptp(folds[members]) == 0:  # no judge of the class would know it
                fewest = copies[members][sizes[copies[members]].argmin()]
                folds[copies == fewest] = (folds[members[0]] + 1) % n_folds
                moved = True
        if not moved:
            break
    # Of few samples, some are empty now.
    return np.unique(folds, return_inverse=True)[1]
