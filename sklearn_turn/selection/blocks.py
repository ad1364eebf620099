"""Predictions sorted by given label, as the fit of a noise channel reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from .mixture import Floats, Ints


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
