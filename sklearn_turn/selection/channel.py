"""Which labels are clean: a noise channel between true classes and given labels."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, logsumexp
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..labels import check_labels, encode_labels
from .mixture import Floats, Ints
from .transition import STRENGTHS, Blocks, fit_channel

Mask = NDArray[np.bool_]

# A probability of exactly zero would let no noise explain a label.
_LEAST_LOG_PROBA = -35.0
# Log-probabilities in half precision sum to one only about this well.
_SUM_TOLERANCE = 0.01
# Range of the filter's own threshold.
_TAU_RANGE = (0.5, 0.8)


class NoiseChannelFilter(TransformerMixin, BaseEstimator):
    r"""Find wrong labels from what a classifier predicts for the whole set of classes.

    The given label is taken for the output of a noisy channel whose input is the true
    class: true class k gives label j with probability T[k, j], and a classifier that
    did not see sample i says how probable each k is, p_i(k), up to a temperature t.
    T and t maximise

    .. math:: \sum_i \log \sum_k p_i(k)\, T_{k, y_i}, \qquad
              p_i(k) = \mathrm{softmax}(\mathrm{logits}_i / t)_k,

    and Bayes' rule gives the probability of every true class, so also that the given
    label is right. The noise rate need not be known, and is estimated; no rate,
    from none to more than half, needs other settings, as long as the right label is
    the most frequent one of each class.

    With many classes and few samples, T has more entries than there are wrong labels.
    Its rows are therefore drawn towards one noise rate for all, and how strongly is
    chosen from the data: by the likelihood of held-out labels. The probabilities of a
    sample come from a T that was fitted without it.

    Parameters
    ----------
    tau : float in [0, 1], default=None
        A label is selected as clean when its probability to be right is greater. None
        maximises the F1 score that these probabilities lead to expect, with ``tau``
        from 0.5 to 0.8.
    prior_strength : float > 0, default=None
        How strongly the rows of T are drawn together, in samples per row; infinity
        is one noise rate for all classes. None chooses from 1 to infinity.
    n_folds : int, default=5
        Folds of the held-out likelihood.
    max_iter : int, default=100
        Most rounds of expectation-maximisation.
    tol : float, default=1e-5
        Stop when the mean log-likelihood grows by less.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The given labels, sorted.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each given label is right.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Which labels are selected as clean.
    label_proba_ : ndarray of shape (n_samples, n_classes), float64
        Probability of each true class, given prediction and label.
    suggested_labels_ : ndarray of shape (n_samples,)
        The most probable true class of each sample, one of ``classes_``.
    noise_rate_ : float
        Estimated share of wrong labels, ``1 - clean_proba_.mean()``.
    transition_matrix_ : ndarray of shape (n_classes, n_classes), float64
        T: rows are true classes, columns given labels.
    temperature_ : float
        t: above 1, the classifier was too sure of itself.
    prior_strength_ : float
        The strength used.
    tau_ : float
        The threshold used.
    n_features_in_ : int
        Number of classes.

    See Also
    --------
    GMMNoiseFilter : From losses alone, the rule of TURN.

    Notes
    -----
    Predictions on samples the classifier was trained on agree with wrong labels, and
    the noise is then underestimated: use predictions of a model that did not see the
    sample. A classifier that has learned the noise (all of a class's mistakes alike,
    and nearly as frequent as its right labels) hides it as well.

    References
    ----------
    Goldberger and Ben-Reuven, "Training deep neural-networks using a noise adaptation
    layer", ICLR 2017; Raykar et al., "Learning from crowds", JMLR 11, 2010; Lipton,
    Elkan and Naryanaswamy, "Optimal thresholding of classifiers to maximize F1
    measure", ECML 2014 (the threshold).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.selection import NoiseChannelFilter
    >>> rng = np.random.RandomState(0)
    >>> y_true = rng.randint(3, size=300)
    >>> y = np.where(rng.rand(300) < 0.2, (y_true + 1) % 3, y_true)
    >>> logits = 3 * np.eye(3)[y_true] + rng.normal(size=(300, 3))
    >>> log_proba = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    >>> found = NoiseChannelFilter().fit(log_proba, y)
    >>> bool(((y == y_true) == found.clean_mask_).mean() > 0.95)
    True
    """

    #: What the filter is fitted on, beside the labels.
    evidence = "log_proba"

    _parameter_constraints = {
        "tau": [Interval(Real, 0, 1, closed="both"), None],
        "prior_strength": [Interval(Real, 0, None, closed="neither"), None],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        tau: float | None = None,
        *,
        prior_strength: float | None = None,
        n_folds: int = 5,
        max_iter: int = 100,
        tol: float = 1e-5,
    ):
        self.tau = tau
        self.prior_strength = prior_strength
        self.n_folds = n_folds
        self.max_iter = max_iter
        self.tol = tol

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> NoiseChannelFilter:
        """Fit the channel and select the clean labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_classes)
            Log-probabilities by a classifier that did not see the sample, columns in
            the order of the sorted distinct labels. Minus infinity is allowed.
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
        X, labels = self._check(X, y, reset=True)
        self.classes_, codes = encode_labels(labels)
        log_proba = self._as_log_proba(X)
        n_samples, n_classes = log_proba.shape
        blocks, order = Blocks.of(log_proba, codes, self.n_folds)
        strengths = STRENGTHS
        if self.prior_strength is not None:
            strengths = (float(self.prior_strength),)
        channel = fit_channel(
            blocks, strengths, self.n_folds, max_iter=self.max_iter, tol=self.tol
        )
        self.transition_matrix_ = channel.matrices[-1]
        self.temperature_ = channel.temperature
        self.prior_strength_ = channel.strength
        self.label_proba_ = np.empty((n_samples, n_classes))
        given = codes[order]
        # Each sample's probabilities by the matrix that was fitted without it.
        columns = channel.matrices[blocks.fold, :, given]
        self.label_proba_[order] = _posterior(
            blocks.proba(channel.temperature), columns
        )
        self.clean_proba_ = self.label_proba_[np.arange(n_samples), codes]
        self.suggested_labels_ = self.classes_[self.label_proba_.argmax(axis=1)]
        self.noise_rate_ = float(1.0 - self.clean_proba_.mean())
        self.tau_ = self.tau
        if self.tau is None:
            self.tau_ = best_tau(self.clean_proba_)
        # Certainty passes every threshold, also that of 1.
        self.clean_mask_ = (self.clean_proba_ > self.tau_) | (self.clean_proba_ == 1)
        return self

    def transform(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """Probability that the labels of new samples are right.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_classes)
            Log-probabilities, as in :meth:`fit`.
        y : array-like of shape (n_samples,), default=None
            Given labels. Without them, the probability that a label which the channel
            gives such a sample is right.

        Returns
        -------
        ndarray of shape (n_samples, 1), float64
        """
        if y is None:
            proba = self._tempered(X)
            return (proba @ np.diag(self.transition_matrix_))[:, None]
        codes, posterior = self._label_proba(X, y)
        return posterior[np.arange(len(codes)), codes][:, None]

    def label_proba(self, X: ArrayLike, y: ArrayLike) -> Floats:
        """Probability of each true class of new samples with given labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_classes)
            Log-probabilities, as in :meth:`fit`.
        y : array-like of shape (n_samples,)
            Given labels.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
        """
        return self._label_proba(X, y)[1]

    def _label_proba(self, X: ArrayLike, y: ArrayLike) -> tuple[Ints, Floats]:
        check_is_fitted(self)
        X, labels = self._check(X, y, reset=False)
        unknown = ~np.isin(labels, self.classes_)
        if unknown.any():
            raise ValueError(
                "y contains labels the filter was not fitted on: "
                f"{np.unique(labels[unknown])[:5].tolist()}."
            )
        codes = np.searchsorted(self.classes_, labels)
        log_proba = self._as_log_proba(X)
        proba = np.exp(log_softmax(log_proba / self.temperature_, axis=1))
        return codes, _posterior(proba, self.transition_matrix_.T[codes])

    def _tempered(self, X: ArrayLike) -> Floats:
        check_is_fitted(self)
        X, _ = self._check(X, None, reset=False)
        log_proba = self._as_log_proba(X)
        return np.exp(log_softmax(log_proba / self.temperature_, axis=1))

    def _check(
        self, X: Any, y: Any, *, reset: bool
    ) -> tuple[Floats, NDArray[Any]]:
        """``X`` as a matrix of floats, ``y`` as a vector of labels."""
        options = {"dtype": np.float64, "ensure_all_finite": False, "reset": reset}
        if y is None and not reset:
            return validate_data(self, X, **options), np.empty(0)
        if y is not None:
            check_labels(y)
        X, y = validate_data(self, X, y, **options)
        check_classification_targets(y)
        return X, y

    def _as_log_proba(self, X: Floats) -> Floats:
        """Check that rows are log-probabilities of ``classes_``; normalise them."""
        n_classes = len(self.classes_)
        if X.shape[1] != n_classes:
            raise ValueError(
                f"X has {X.shape[1]} columns, but y has {n_classes} distinct labels. X "
                "must hold one log-probability for each of them, in sorted order."
            )
        if np.isnan(X).any():
            raise ValueError(
                f"Input X contains NaN: {np.isnan(X).any(axis=1).sum()} samples have "
                "log-probabilities that are not numbers. If training diverged, lower "
                "the learning rate."
            )
        if (X > _SUM_TOLERANCE).any():
            raise ValueError(
                f"X has positive values (up to {X.max():.3g}), so these are no "
                "log-probabilities. Apply log_softmax to logits, or log to "
                "probabilities."
            )
        sums = np.exp(logsumexp(X, axis=1))
        off = np.abs(sums - 1.0) > _SUM_TOLERANCE
        if off.any():
            raise ValueError(
                f"X does not hold log-probabilities: the exponentials of {off.sum()} "
                f"of {len(X)} rows do not sum to one (row {off.argmax()}: "
                f"{sums[off.argmax()]:.3g}). Apply log_softmax to logits, or log to "
                "probabilities."
            )
        return log_softmax(np.maximum(X, _LEAST_LOG_PROBA), axis=1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.requires_fit = True
        return tags


def _posterior(proba: Floats, columns: Floats) -> Floats:
    """Bayes' rule: classifier's probability times that of the given label."""
    joint = proba * columns
    return joint / joint.sum(axis=1, keepdims=True)


def best_tau(clean_proba: Floats) -> float:
    """Threshold with the highest expected F1 score of the labels it flags.

    Of the k least probable labels, the expected F1 is 2 * wrong among them / (k +
    wrong in all); k is the best one.

    Parameters
    ----------
    clean_proba : ndarray of shape (n_samples,)

    Returns
    -------
    float
        From 0.5 to 0.8.
    """
    ordered = np.sort(clean_proba)
    wrong = np.cumsum(1.0 - ordered)
    expected = 2.0 * wrong / (np.arange(1, len(ordered) + 1) + wrong[-1])
    return float(np.clip(ordered[expected.argmax()], *_TAU_RANGE))
