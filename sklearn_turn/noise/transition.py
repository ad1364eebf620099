"""Transition matrices: counted from labels, and applied to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix
from sklearn.utils import check_consistent_length, check_random_state

from ..labels import check_same_kind
from ._checks import Floats, Seed, distributions, encode, one_dimensional


def transition_matrix(
    y_true: ArrayLike, y_noisy: ArrayLike, *, labels: ArrayLike | None = None
) -> Floats:
    """Estimate P(noisy label = j | true label = i) by counting.

    Parameters
    ----------
    y_true, y_noisy : array-like of shape (n_samples,)
        Labels before and after the noise.
    labels : array-like of shape (n_classes,), optional
        Order of the rows and columns; default: all labels in use, sorted.

    Returns
    -------
    T : ndarray of shape (n_classes, n_classes), dtype float64
        Rows sum to 1; the row of a class absent from `y_true` is 0.

    Raises
    ------
    ValueError
        If lengths or types of labels differ, there are fewer than two classes, or
        `labels` has duplicates or lacks a label in use.

    Examples
    --------
    >>> from sklearn_turn.noise import transition_matrix
    >>> transition_matrix(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    true = one_dimensional(y_true, "y_true")
    noisy = one_dimensional(y_noisy, "y_noisy")
    check_consistent_length(true, noisy)
    check_same_kind(true, noisy, "y_true and y_noisy")
    order, codes = encode(np.concatenate([true, noisy]), labels)
    pair = codes[: len(true)], codes[len(true) :]
    shares: Floats = confusion_matrix(
        *pair, labels=np.arange(len(order)), normalize="true"
    )
    return shares


def from_transition_matrix(
    y: ArrayLike,
    T: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    random_state: Seed = None,
) -> NDArray[Any]:
    """Draw each noisy label from its class's row of a transition matrix.

    Any noise that depends on the class alone: synthetic noise with the confusions of
    human annotators, for one, has the matrix that `transition_matrix` counts on them.

    Parameters
    ----------
    y, labels, random_state
        As in `symmetric`.
    T : array-like of shape (n_classes, n_classes)
        ``T[i, j]`` is the probability of label j for a sample of class i, in the order
        of `labels`, or else sorted. Rows of classes without samples may be 0.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y` or `labels`

    Raises
    ------
    ValueError
        As `symmetric`; also if `T` has another shape, an entry below 0, or a row that
        does not sum to 1 (within 1e-3) for a class with samples.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.noise import from_transition_matrix, transition_matrix
    >>> y = np.repeat(["cat", "dog"], 5000)
    >>> y_noisy = from_transition_matrix(y, [[0.7, 0.3], [0, 1]], random_state=0)
    >>> transition_matrix(y, y_noisy).round(1)
    array([[0.7, 0.3],
           [0. , 1. ]])
    """
    classes, codes = encode(y, labels)
    n = len(classes)
    in_use = np.unique(codes)
    remedy = "Row i is for the samples of class i: is T transposed?"
    rows = distributions(T, "T", (n, n), in_use, remedy)
    rng = check_random_state(random_state)
    noisy = codes.copy()
    for code in in_use:
        members = np.flatnonzero(codes == code)
        noisy[members] = rng.choice(n, size=len(members), p=rows[code])
    return classes[noisy]
