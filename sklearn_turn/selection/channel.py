"""Which labels are clean: a noise channel between true classes and given labels."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ..labels import encode_known, encode_labels, own_index
from ..validation import checked_input, validated_fit
from .doubts import warn_of_doubt, warn_of_other_labels, warn_of_unknown_classes
from .interval import rate_interval
from .mixture import Floats, Ints
from .posterior import log_joint_of, log_odds_of, posterior_of
from .protocol import check_log_proba
from .transition import STRENGTHS, Channel, fit_channel, says_little
from .verified import offset_beside, verified_codes, with_certainty

# No temperature could soften the zeros that forests and nearest neighbours give.
_LEAST_LOG_PROBA = -35.0


class NoiseChannelFilter(TransformerMixin, BaseEstimator):
    r"""Find wrong labels from what a classifier predicts for the whole set of classes.

    The given label is taken for the output of a noisy channel whose input is the true
    class: true class k gives label j with probability T[k, j], and a classifier that
    did not see sample i says how probable each k is, p_i(k), up to a temperature t.
    T and t are found by maximum likelihood,

    .. math:: \max \sum_i \log \sum_k p_i(k)\, T_{k, y_i}, \qquad
              p_i(k) = \mathrm{softmax}(\mathrm{logits}_i / t)_k,

    and Bayes' rule gives the probability of every true class, so also that the given
    label is right. The noise rate need not be known: it is estimated, and the same
    settings serve any rate, even above one half, as long as the right label is
    the most frequent one of each class. Where noise explains the labels hardly better
    than doubts of the classifier do, none is flagged.

    With many classes and few samples, T has more entries than there are wrong labels.
    Its rows are therefore drawn towards one noise rate for all, as strongly as the
    data ask for.

    Parameters
    ----------
    tau : float in [0, 1], default=0.8
        A label is selected as clean when its probability to be right is greater. Where
        mistakes depend on the image, a classifier learns part of them and the
        probabilities are too high, hence more than 0.5.
    noise_rate : float in [0, 1), default=None
        Share of wrong labels, where it is known: the log-odds of all given labels are
        shifted by one amount, so that ``1 - clean_proba_.mean()`` is this share. None
        leaves the probabilities as the channel gives them.
    verified_labels : array-like of shape (n_samples,), default=None
        The right labels of samples that people have checked, in the order of ``y``,
        and None or NaN for the others; see
        :func:`~sklearn_turn.inspection.verified_labels`. Their probabilities are 0 and
        1. They are told by position, so that estimators which fit on parts of the
        samples, or bootstraps, cannot be given them. Pass ``y`` as it was given, not
        corrected: once the labels that look wrong are corrected, those that are left
        look like doubts of the classifier, and no noise is found.
    prior_strength : float > 0, default=None
        How strongly the rows of T are drawn together, in samples per row; infinity
        is one noise rate for all classes. None chooses from 1 to infinity by the
        likelihood of held-out labels.
    n_folds : int, default=5
        Folds of the held-out likelihood, dealt by the order of the samples. The
        probabilities of a sample come from a T that was fitted without its fold.
    max_iter : int, default=100
        Most rounds of expectation-maximisation.
    tol : float, default=1e-05
        Stop when the mean log-likelihood changes by less.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The given labels, sorted.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each given label is right.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Which labels are selected as clean.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label in nats.
    label_proba_ : ndarray of shape (n_samples, n_classes), float64
        Probability of each true class, given prediction and label.
    given_labels_, suggested_labels_ : ndarray of shape (n_samples,)
        The labels as given, and the most probable true class of each sample.
    sample_index_ : pandas.Index of length n_samples
        Index of ``y``, or of ``X``, where pandas gives it one of its own; else absent.
    noise_rate_ : float
        Estimated share of wrong labels, ``1 - clean_proba_.mean()``.
    noise_rate_interval_ : tuple of float
        Lowest and highest share that explain the labels about as well, with any
        temperature: a likelihood interval of some 95 %; after fine-tuning, that of the
        rate found before. ``noise_rate_`` twice if you told it.
    agreement_ : float
        Share of the given labels that are predicted; the others are wrong, or the
        predictions are.
    transition_matrix_ : ndarray of shape (n_classes, n_classes), float64
        T: rows are true classes, columns given labels.
    offset_ : float
        Shift of the log-odds of the given labels; 0 unless ``noise_rate`` is given.
    temperature_ : float
        t: above 1, the classifier was too sure of itself.
    prior_strength_ : float
        The strength used; infinity where no noise is found.
    n_iter_ : int
        Rounds of expectation-maximisation used.
    n_features_in_ : int
        Number of classes.

    See Also
    --------
    GMMNoiseFilter : From losses alone, the rule of TURN.

    Notes
    -----
    Predictions on samples the classifier was trained on agree with wrong labels, and
    the noise is then underestimated: use predictions of a model that did not see the
    sample. Noise that the classifier has learned is hidden as well: mistakes of people
    on images that look like the other class, and a class's mistakes that are all alike
    and nearly as frequent as its right labels.

    Predictions must take the classes to be as frequent as they are. Those of a
    classifier with balanced class weights do not, and right labels of frequent classes
    then look wrong.

    Fitting takes six to seven times the memory of X in float64, some 50 bytes per
    sample and class: for millions of samples of a thousand classes use
    :class:`GMMNoiseFilter`.

    References
    ----------
    Goldberger and Ben-Reuven, "Training deep neural-networks using a noise adaptation
    layer", ICLR 2017; Raykar et al., "Learning from crowds", JMLR 11, 2010.

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

    evidence = "log_proba"

    _parameter_constraints = {
        "tau": [Interval(Real, 0, 1, closed="both")],
        "noise_rate": [Interval(Real, 0, 1, closed="left"), None],
        "verified_labels": ["array-like", None],
        "prior_strength": [Interval(Real, 0, np.inf, closed="right"), None],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        tau: float = 0.8,
        *,
        noise_rate: float | None = None,
        verified_labels: ArrayLike | None = None,
        prior_strength: float | None = None,
        n_folds: int = 5,
        max_iter: int = 100,
        tol: float = 1e-5,
    ):
        self.tau = tau
        self.noise_rate = noise_rate
        self.verified_labels = verified_labels
        self.prior_strength = prior_strength
        self.n_folds = n_folds
        self.max_iter = max_iter
        self.tol = tol

    @validated_fit
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
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
            If the rows of ``X`` are not log-probabilities, their number of columns is
            not that of the labels, there is only one label, or ``verified_labels`` do
            not fit them.

        Warns
        -----
        CleansingWarning
            If a class seems to be labelled as another one mostly, or is never predicted
            and has all its labels flagged; or, of 100 samples or more, if predictions
            are little better than chance, or labels are explained by none that is wrong
            about as well as by many.
        """
        index = own_index(y, X)
        X, labels = self._check(X, y, reset=True)
        self.classes_, codes = encode_labels(labels)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has only one class, {self.classes_.tolist()[0]!r}; the filter "
                "needs two or more to tell right labels from wrong ones."
            )
        verified = verified_codes(self.verified_labels, self.classes_, len(codes))
        # What replaces the zeros of trees is known from here on.
        self._least = X.min(initial=_LEAST_LOG_PROBA, where=np.isfinite(X))
        log_proba = self._log_proba(X)
        strengths: tuple[float, ...] = STRENGTHS
        if self.prior_strength is not None:
            strengths = (float(self.prior_strength),)
        channel, fold = fit_channel(
            log_proba,
            codes,
            strengths=strengths,
            n_folds=self.n_folds,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        self.transition_matrix_ = channel.matrices[-1]
        self.temperature_ = channel.temperature
        self.prior_strength_ = channel.strength
        self.n_iter_ = channel.n_iter
        # Each sample's probabilities by the matrix that was fitted without it.
        noise = channel.matrices[fold, :, codes]
        log_joint = log_joint_of(log_proba, channel.temperature, noise)
        self.offset_ = 0.0
        if self.noise_rate is not None:
            log_odds = log_odds_of(log_joint, codes)
            self.offset_ = offset_beside(
                log_odds, verified == codes, verified >= 0, self.noise_rate
            )
        posterior = posterior_of(log_joint, codes, self.offset_)
        self.label_proba_ = with_certainty(posterior, verified)
        self.clean_proba_ = self.label_proba_[np.arange(len(codes)), codes]
        self.losses_ = -log_proba[np.arange(len(codes)), codes]
        self.given_labels_ = labels.copy()  # the caller may correct y in place
        self.suggested_labels_ = self.classes_[self.label_proba_.argmax(axis=1)]
        self.__dict__.pop("sample_index_", None)
        if index is not None:
            self.sample_index_ = index
        self.noise_rate_ = float(1.0 - self.clean_proba_.mean())
        # Certainty passes every threshold, also that of 1.
        self.clean_mask_ = (self.clean_proba_ > self.tau) | (self.clean_proba_ == 1)
        self.agreement_ = _agreement(log_proba, codes)
        self.noise_rate_interval_ = self._interval(channel, log_proba, codes, verified)
        warn_of_other_labels(
            self.transition_matrix_, self.label_proba_.sum(axis=0), self.classes_
        )
        warn_of_unknown_classes(
            codes, self.clean_mask_, log_proba.argmax(axis=1), self.classes_
        )
        # What was not trained predicts one thing.
        if np.ptp(log_proba, axis=0).any():
            n_flagged = int((~self.clean_mask_).sum())
            warn_of_doubt(channel, codes, self.noise_rate_interval_, n_flagged)
        return self

    def _interval(
        self, channel: Channel, log_proba: Floats, codes: Ints, verified: Ints
    ) -> tuple[float, float]:
        rate = self.noise_rate_
        if self.noise_rate is not None:
            return rate, rate
        low, high = rate_interval(log_proba, codes, channel.temperature)
        if says_little(channel, codes):
            # Any rate does, up to that of labels unrelated to what is predicted.
            shares = np.bincount(codes) / len(codes)
            low, high = 0.0, float(1.0 - shares @ shares)
        # What is known to be wrong adds to the share of the rest.
        known = float(np.mean((verified >= 0) & (verified != codes)))
        rest = float(np.mean(verified < 0))
        high = min(max(high, known + high * rest), known + rest)
        return min(max(low, known), rate), max(high, rate)

    def transform(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """Probability that the labels of new samples are right.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_classes)
            Log-probabilities, as in :meth:`fit`.
        y : array-like of shape (n_samples,), default=None
            Given labels. Without them, the probability that a label which the channel
            gives such a sample is right, whatever ``noise_rate`` is.

        Returns
        -------
        ndarray of shape (n_samples, 1), float64

        Raises
        ------
        ValueError
            If the rows of ``X`` are not log-probabilities, or ``y`` has other labels
            than those of :meth:`fit`.
        """
        check_is_fitted(self)
        X, labels = self._check(X, y, reset=False)
        if labels is None:
            proba = np.exp(log_softmax(self._log_proba(X) / self.temperature_, axis=1))
            return (proba @ np.diag(self.transition_matrix_))[:, None]
        given = encode_known(labels, self.classes_)[:, None]
        return np.take_along_axis(self.label_proba(X, labels), given, axis=1)

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

        Raises
        ------
        ValueError
            If the rows of ``X`` are not log-probabilities, or ``y`` has other labels
            than those of :meth:`fit`.
        """
        check_is_fitted(self)
        X, labels = self._check(X, y, reset=False)
        codes = encode_known(labels, self.classes_)
        noise = self.transition_matrix_.T[codes]
        log_joint = log_joint_of(self._log_proba(X), self.temperature_, noise)
        return posterior_of(log_joint, codes, self.offset_)

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Name of the output column, ``["clean_proba"]``."""
        check_is_fitted(self)
        return np.asarray(["clean_proba"], dtype=object)

    def _check(self, X: Any, y: Any, *, reset: bool) -> tuple[Floats, Any]:
        """``X`` as a matrix of floats, ``y`` as a vector of labels or None."""
        options = {"ensure_all_finite": False, "reset": reset}
        if y is None and not reset:
            return validate_data(self, X, dtype=np.float64, **options), None
        return checked_input(self, X, y, **options)

    def _log_proba(self, X: Floats) -> Floats:
        """``X`` checked, normalised, and finite."""
        checked = check_log_proba(X, len(self.classes_))
        # What is finite stays: its scale is a matter of the temperature.
        finite = np.isfinite(checked)
        least = checked.min(axis=1, initial=self._least, where=finite)[:, None]
        log_proba: Floats = log_softmax(np.where(finite, checked, least), axis=1)
        return log_proba

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _agreement(log_proba: Floats, codes: Ints) -> float:
    """Share of the labels that are predicted; of several alike, each in part."""
    best = log_proba == log_proba.max(axis=1, keepdims=True)
    return float((best[np.arange(len(codes)), codes] / best.sum(axis=1)).mean())
