"""Which labels are clean: the sample sieve of CORES."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.base import BaseEstimator

from ..labels import encode_labels
from ..validation import checked_input, validated_fit
from .lowest import one_of_each_class
from .protocol import check_log_proba

# No mean over classes could outweigh the zeros that trees and neighbours give.
_LEAST_LOG_PROBA = -35.0


class CORESNoiseFilter(BaseEstimator):
    r"""Select labels more probable than labels are on average.

    A sample passes the sieve when its cross-entropy is at most the mean of the
    cross-entropies it would have with each label,

    .. math:: -\log p_y \le \frac{1}{C} \sum_k -\log p_k,

    that is, when the given label is more probable than the geometric mean of all. No
    threshold and no noise rate are needed. The rule is meant for confident models:
    under an undecided one about all labels pass that are not among the least likely.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The given labels, sorted.
    clean_proba_ : ndarray of shape (n_samples,), float64
        p_y / (p_y + g), with g the geometric mean; at least 1/2 where the sieve passes.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Which labels are selected; at least one of each class.
    noise_rate_ : float
        Share of labels that are not selected.
    n_features_in_ : int
        Number of classes.

    References
    ----------
    Cheng et al., "Learning with Instance-Dependent Label Noise: A Sample Sieve
    Approach", ICLR 2021, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.selection import CORESNoiseFilter
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    >>> CORESNoiseFilter().fit(np.log(proba), [0, 1, 1]).clean_proba_.round(2)
    array([0.75, 0.33, 0.6 ])
    """

    _parameter_constraints: dict[str, list[object]] = {}

    evidence = "log_proba"
    scores_only = True

    @validated_fit
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Select the clean labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_classes)
            Log-probabilities, columns in the order of the sorted distinct labels.
            What is below -35 counts as -35.
        y : array-like of shape (n_samples,)
            Given labels.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the rows of ``X`` are not log-probabilities, or their number of columns
            is not that of the labels.
        """
        raw, labels = checked_input(self, X, y, ensure_all_finite=False)
        self.classes_, codes = encode_labels(labels)
        log_proba = np.maximum(
            check_log_proba(raw, len(self.classes_)), _LEAST_LOG_PROBA
        )
        surplus = log_proba[np.arange(len(codes)), codes] - log_proba.mean(axis=1)
        surplus[np.abs(surplus) < 1e-9] = 0.0  # an undecided prediction, rounded
        self.clean_proba_ = expit(surplus)
        self.clean_mask_ = one_of_each_class(surplus >= 0, -surplus, codes, self)
        self.noise_rate_ = float(1.0 - self.clean_mask_.mean())
        return self
