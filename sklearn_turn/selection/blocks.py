"""Predictions sorted by given label, as the fit of a noise channel reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from ..copies import copies_of
from .mixture import Floats, Ints


def distinct_samples(log_proba: Floats, codes: Ints) -> tuple[Ints, Ints] | None:
    """Samples without copies, which would vouch for each other's labels.

    A channel that is fitted without a sample has seen its copies, and each counts as
    evidence once more.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
    codes : ndarray of shape (n_samples,), int
        Given labels; copies have the same.

    Returns
    -------
    rows : ndarray of shape (n_distinct,), int
        The first of each.
    place : ndarray of shape (n_samples,), int
        Where in ``rows`` each sample, or what it is a copy of, is.
    """
    # The last column follows from the others; one alone tells no copies from chance.
    table, n_classes = log_proba[:, :-1], log_proba.shape[1]
    if n_classes == 2:
        table = np.column_stack([table, codes])
    copies = copies_of(table)
    if copies is None:
        return None
    _, rows, place = np.unique(
        copies * n_classes + codes, return_index=True, return_inverse=True
    )
    return rows, place


@dataclass(frozen=True)
class Blocks:
    """Log-probabilities with the samples sorted by given label, and their folds.

    Attributes
    ----------
    log_proba : ndarray of shape (n_samples, n_classes), float64
    bounds : ndarray of shape (n_classes + 1,), int
        Samples with given label j are ``bounds[j] : bounds[j + 1]``.
    fold : ndarray of shape (n_samples,), int
        Fold each sample is held out in.
    """

    log_proba: Floats
    bounds: Ints
    fold: Ints

    @classmethod
    def of(cls, log_proba: Floats, codes: Ints, n_folds: int) -> tuple[Blocks, Ints]:
        """Sort by given label; also return the order.

        Sorted like that, the samples are dealt to the folds in turn, so that classes
        are spread over the folds and the folds are of one size.
        """
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=log_proba.shape[1])
        fold = np.arange(len(codes)) % n_folds
        return cls(log_proba[order], np.r_[0, np.cumsum(counts)], fold), order

    @property
    def codes(self) -> Ints:
        """Given label of each sample."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    def thinned(self, n_samples: int) -> Blocks:
        """About that many samples, evenly spread over the sorted classes and the folds.

        Classes that are small in relation to the share that is kept may have none.
        """
        n_folds = int(self.fold.max()) + 1
        step = len(self.fold) // max(1, n_samples)
        if step <= 1:
            return self
        kept = np.flatnonzero(np.arange(len(self.fold)) // n_folds % step == 0)
        counts = np.bincount(self.codes[kept], minlength=len(self.bounds) - 1)
        return Blocks(
            self.log_proba[kept], np.r_[0, np.cumsum(counts)], self.fold[kept]
        )

    def proba(self, temperature: float) -> Floats:
        """p_i(k), of shape (n_samples, n_classes)."""
        proba: Floats = np.exp(log_softmax(self.log_proba / temperature, axis=1))
        return proba
