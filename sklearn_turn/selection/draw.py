"""The training subset: a balanced draw from the samples selected as clean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .lowest import rank_in_class
from .mixture import Ints

Mask = NDArray[np.bool_]


def draw_balanced(
    clean_mask: Mask,
    y: Ints,
    balance: str | float | None,
    random_state: np.random.RandomState,
) -> Ints:
    """Draw the training subset from the samples selected as clean.

    TURN draws the same number n from every class, n being the smallest class's clean
    count.

    Parameters
    ----------
    clean_mask : ndarray of shape (n_samples,), bool
    y : ndarray of shape (n_samples,), int
        Labels in ``0 .. n_classes - 1``.
    balance : "min", float >= 1 or None
        At most n per class ("min"), ``balance * n`` (a number), or all (None).
    random_state : RandomState

    Returns
    -------
    ndarray of shape (n_drawn,), int
        Sorted indices.
    """
    chosen = np.flatnonzero(clean_mask)
    if balance is None or not len(chosen):
        return chosen
    counts = np.bincount(y[chosen])
    factor = 1.0 if balance == "min" else float(balance)
    # 1.15 * 100 is less than 115 by rounding.
    limit = int(factor * counts[counts > 0].min() + 1e-9)
    # One shuffle, then the first of each class.
    chosen = random_state.permutation(chosen)
    rank = rank_in_class(np.arange(len(chosen)), y[chosen])
    return np.sort(chosen[rank < limit])
