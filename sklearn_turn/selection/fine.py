"""Which labels are clean: alignment with the main direction of each class."""

from __future__ import annotations

from numbers import Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from ..labels import encode_labels
from ..validation import checked_input, validated_fit
from .gmm import GMMNoiseFilter
from .mixture import Floats, Ints


class FINENoiseFilter(BaseEstimator):
    r"""Select samples whose features point where most of their class point to.

    Of each given class c, v_c is the eigenvector of the largest eigenvalue of
    :math:`\sum_{y_i = c} z_i z_i^T`, pointing to where their sum points to. With
    a the cosine of a sample's features with it, the sample scores

    .. math:: s_i = a_i |a_i|, \qquad a_i = \langle v_{y_i}, z_i / |z_i| \rangle.

    A mixture of two Gaussians is fitted to the scores of each class; a label is
    clean when the posterior of the component with the higher mean exceeds ``zeta``.

    Parameters
    ----------
    zeta : float in [0, 1], default=0.5
        A label is clean when its posterior is greater.
    standardize : bool, default=True
        Shift and scale each feature to mean 0 and variance 1 first, as they are when
        every class counts alike. Features of a pre-trained backbone have a large mean
        in common, which else is the main direction of every class: the paper's code has
        features of networks trained from scratch, and leaves them as they are.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The given labels, sorted.
    scores_ : ndarray of shape (n_samples,), float64
        s, in [-1, 1].
    components_ : ndarray of shape (n_classes, n_features), float64
        v of each class, of length 1.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each label is clean.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Which labels are selected; at least one of each class.
    noise_rate_ : float
        Estimated share of wrong labels, ``1 - clean_proba_.mean()``.
    n_features_in_ : int

    Notes
    -----
    The paper squares the cosine, and its code takes the absolute value. Neither tells
    opposite directions apart, as those of two classes with mean 0 are; here the sign
    stays. A class whose samples lie around the mean of all points nowhere, and most of
    its right labels may be flagged; of a single class nothing can be told. A class with
    fewer than 10 samples carries no mixture and is kept whole, as is one whose samples
    all score alike; see :class:`GMMNoiseFilter`, which scales the scores of a class to
    [0, 1], where the published mixture takes them as they are, and lets no posterior
    fall where the score rises.

    References
    ----------
    Kim, Ko, Cho, Choi and Yun, "FINE Samples for Learning with Noisy Labels",
    NeurIPS 2021, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.selection import FINENoiseFilter
    >>> rng = np.random.RandomState(0)
    >>> y_true = np.repeat([0, 1, 2], 50)
    >>> Z = 5 * np.eye(8)[y_true] + rng.normal(size=(150, 8))
    >>> y = np.where(rng.rand(150) < 0.2, (y_true + 1) % 3, y_true)
    >>> found = FINENoiseFilter().fit(Z, y)
    >>> bool((found.clean_mask_ == (y == y_true)).mean() > 0.9)
    True
    """

    _parameter_constraints = {
        "zeta": [Interval(Real, 0, 1, closed="both")],
        "standardize": ["boolean"],
    }

    evidence = "features"

    def __init__(self, zeta: float = 0.5, *, standardize: bool = True):
        self.zeta = zeta
        self.standardize = standardize

    @validated_fit
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Score the samples and select the clean labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Given labels.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If values are not finite, or X and y differ in length.
        """
        Z, labels = checked_input(self, X, y)
        self.classes_, codes = encode_labels(labels)
        if self.standardize:
            Z = standardized(Z, codes)
        self.components_ = main_directions(Z, codes)
        self.scores_ = alignment(Z, codes, self.components_)
        mixtures = GMMNoiseFilter(
            self.zeta, min_separation=0.0, min_kept=0.0, tol=1e-6, reg_covar=1e-6
        ).fit(1.0 - self.scores_[:, None], labels)
        self.clean_proba_ = mixtures.clean_proba_
        self.clean_mask_ = mixtures.clean_mask_
        self.noise_rate_ = mixtures.noise_rate_
        return self


def standardized(features: Floats, codes: Ints) -> Floats:
    """Features with mean 0 and variance 1 when each class has the same weight.

    Else those of a very large class would have no direction: they would lie at 0.
    """
    weight = (1.0 / np.bincount(codes))[codes]
    centred = features - np.average(features, axis=0, weights=weight)
    variance = np.average(centred**2, axis=0, weights=weight)
    scale = np.sqrt(variance)
    # A constant feature is one up to rounding.
    varies = scale > 1e-9 * np.abs(features).max(axis=0)
    return np.divide(centred, scale, out=np.zeros_like(centred), where=varies)


def main_directions(features: Floats, codes: Ints) -> Floats:
    """First eigenvector of the Gram matrix of each class's features.

    Parameters
    ----------
    features : ndarray of shape (n_samples, width)
    codes : ndarray of shape (n_samples,), int

    Returns
    -------
    ndarray of shape (n_classes, width)
        Each of length 1.
    """
    width = features.shape[1]
    directions = np.empty((codes.max() + 1, width))
    for code in range(len(directions)):
        own = features[codes == code]
        # Of the smaller of the two Gram matrices, that of features or of samples.
        gram = own.T @ own if len(own) > width else own @ own.T
        _, vector = eigh(gram, subset_by_index=[len(gram) - 1, len(gram) - 1])
        direction = vector[:, 0] if len(own) > width else own.T @ vector[:, 0]
        length = np.linalg.norm(direction)
        direction = direction if (own @ direction).sum() >= 0 else -direction
        # Features that are all zero have no direction.
        directions[code] = direction / length if length > 0 else 0.0
    return directions


def alignment(features: Floats, codes: Ints, directions: Floats) -> Floats:
    """Squared cosine of each sample's features with its class, its sign kept.

    Returns
    -------
    ndarray of shape (n_samples,)
        0 for features that are all zero.
    """
    projected = (features * directions[codes]).sum(axis=1)
    length = np.linalg.norm(features, axis=1)
    cosine = np.divide(projected, length, out=np.zeros_like(length), where=length > 0)
    return np.clip(cosine * np.abs(cosine), -1.0, 1.0)
