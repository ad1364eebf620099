"""Which labels are clean: as many of each class, by the divergence of UNICON."""

from __future__ import annotations

from numbers import Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval

from ..labels import encode_labels
from ..validation import checked_input, validated_fit
from .lowest import lowest_of_each_class, warn_of_empty_classes
from .mixture import Floats


class UNICONNoiseFilter(BaseEstimator):
    r"""Select the samples of each class whose prediction diverges least from the label.

    The Jensen-Shannon divergence of the prediction p and the given label, in bits, is
    in [0, 1] and a function of p_y alone:

    .. math:: d = 1 - \tfrac{1}{2} [(1 + p_y) \log_2 (1 + p_y) - p_y \log_2 p_y].

    Labels whose divergence is below a cutoff make up a share R of all. From each of C
    classes the n R / C samples of least divergence are selected, or all of a smaller
    class: the clean set is as uniform over the classes as it can be. The cutoff is the
    mean divergence; when that exceeds ``largest_cutoff``, it is moved towards the
    least divergence, by 1 / ``shrinkage`` of the way. Divergences that are all equal
    count as below it.

    Parameters
    ----------
    largest_cutoff : float in [0, 1], default=0.7
        The paper's d_μ.
    shrinkage : float >= 1, default=5.0
        The paper's τ.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The given labels, sorted.
    divergence_ : ndarray of shape (n_samples,), float64
        d of each sample; NaN where the loss is not a number.
    cutoff_ : float
    clean_proba_ : ndarray of shape (n_samples,), float64
        1 - d; 0 where the loss is not a number.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Which labels are selected; at least one of each class.
    noise_rate_ : float
        1 - R.
    n_features_in_ : int

    Notes
    -----
    The published code leaves places of a class that is smaller than its quota filled
    with sample 0, and fails where the mean exceeds d_μ. Here the class is taken whole.

    References
    ----------
    Karim et al., "UNICON: Combating Label Noise Through Uniform Selection and
    Contrastive Learning", CVPR 2022, equations 2 to 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.selection import UNICONNoiseFilter
    >>> losses = np.array([0.1, 0.2, 3.0, 0.1, 2.0, 4.0])[:, None]
    >>> UNICONNoiseFilter().fit(losses, [0, 0, 0, 1, 1, 1]).clean_mask_
    array([ True, False, False,  True, False, False])
    """

    _parameter_constraints = {
        "largest_cutoff": [Interval(Real, 0, 1, closed="both")],
        "shrinkage": [Interval(Real, 1, None, closed="left")],
    }

    evidence = "losses"
    scores_only = True

    def __init__(self, largest_cutoff: float = 0.7, *, shrinkage: float = 5.0):
        self.largest_cutoff = largest_cutoff
        self.shrinkage = shrinkage

    @validated_fit
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Select the clean labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, 1) or (n_samples, T)
            Cross-entropy of each given label in nats, -log p_y, or those of T epochs,
            which are averaged.
        y : array-like of shape (n_samples,)
            Given labels.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the losses are one-dimensional, or X and y differ in length.
        """
        losses, labels = checked_input(self, X, y, ensure_all_finite=False)
        self.classes_, codes = encode_labels(labels)
        loss = losses.mean(axis=1)
        # Losses are not negative; what rounding made so is a probability of one.
        self.divergence_ = label_divergence(np.exp(-np.maximum(loss, 0)))
        known = self.divergence_[~np.isnan(self.divergence_)]
        self.cutoff_ = self._cutoff(known) if len(known) else np.nan
        n_below = int((known < self.cutoff_).sum())
        if len(known) and np.ptp(known) < 1e-9:
            n_below = len(known)  # nothing tells them apart but rounding
        quota = n_below // len(self.classes_)
        if not quota:
            every = np.arange(len(self.classes_))
            warn_of_empty_classes(self, self.classes_, every)
            quota = 1
        # The order is that of the divergence, which near 1 is rounded to it.
        self.clean_mask_ = lowest_of_each_class(loss, codes, quota)
        self.clean_proba_ = 1.0 - np.nan_to_num(self.divergence_, nan=1.0)
        self.noise_rate_ = 1.0 - n_below / len(codes)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _cutoff(self, divergence: Floats) -> float:
        mean = float(divergence.mean())
        if mean > self.largest_cutoff:
            mean -= (mean - float(divergence.min())) / self.shrinkage
        return mean


def label_divergence(proba: Floats) -> Floats:
    """Jensen-Shannon divergence, in bits, of a prediction from a label.

    Parameters
    ----------
    proba : ndarray of shape (n,)
        What the prediction gives to the label.

    Returns
    -------
    ndarray of shape (n,)
        From 0, where ``proba`` is 1, to 1, where it is 0.
    """
    nats = xlogy(1 + proba, 1 + proba) - xlogy(proba, proba)
    return np.clip(1 - nats / (2 * np.log(2)), 0, 1)
