"""Fit, filter, refit: label filtering that works inside plain scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    _fit_context,
    clone,
)
from sklearn.model_selection import cross_val_predict
from sklearn.utils import Tags, _safe_indexing, column_or_1d, get_tags, indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .inputs.labels import check_labels, encode_labels
from .selection import GMMNoiseFilter
from .selection.mixture import Floats

# Forests and nearest neighbours give probabilities of exactly zero. Their infinite
# losses, or merely large ones, would leave no scale on which the others differ.
_LEAST_LIKELY = 5e-3


def _estimator_has(method: str) -> Any:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class NoiseFilteredClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit a classifier, filter the labels by its losses, refit on what is believed.

    This is the form of filtering that works inside scikit-learn: the rows are
    dropped within ``fit``, so ``Pipeline``, ``cross_validate`` and ``GridSearchCV``
    need know nothing of it. With
    :class:`~sklearn_turn.FeatureExtractor` before it, any classifier becomes an image
    classifier that withstands wrong labels.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``, default=None
        Cloned for each fit. None is
        :class:`~sklearn.linear_model.LogisticRegression` behind a
        :class:`~sklearn.preprocessing.StandardScaler`.
    noise_filter : estimator with ``clean_mask_`` and ``clean_proba_``, default=None
        Fitted on ``(losses, y)``. None is :class:`GMMNoiseFilter`.
    cv : int, cross-validation splitter or None, default=None
        None takes the losses on the training samples themselves, which suits models
        that cannot memorise them. With a value, each loss comes from a model that
        did not see the sample (:func:`~sklearn.model_selection.cross_val_predict`):
        needed for trees, nearest neighbours and other models that memorise.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimator_ : classifier
        Fitted on the samples whose labels are believed.
    noise_filter_ : estimator
        The fitted filter.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label, at most that of a probability of 0.005.
    clean_mask_ : ndarray of shape (n_samples,), bool
    clean_proba_ : ndarray of shape (n_samples,), float64
    n_features_in_ : int
        When the classifier has it.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import NoiseFilteredClassifier
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.7)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = NoiseFilteredClassifier().fit(X, y_noisy)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "noise_filter": [HasMethods(["fit"]), None],
        "cv": ["cv_object"],
    }

    def __init__(
        self, estimator: Any = None, noise_filter: Any = None, *, cv: Any = None
    ):
        self.estimator = estimator
        self.noise_filter = noise_filter
        self.cv = cv

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: ArrayLike) -> NoiseFilteredClassifier:
        """Fit, filter, refit.

        Parameters
        ----------
        X : any samples the estimator takes
            Rows are selected with scikit-learn's indexing.
        y : array-like of shape (n_samples,)
            Given labels.

        Returns
        -------
        self
        """
        if y is None:
            raise ValueError(
                "NoiseFilteredClassifier requires y to be passed, but the target y "
                "is None."
            )
        check_labels(y)
        check_classification_targets(y)
        labels: NDArray[Any] = column_or_1d(y, warn=True)
        self.classes_, codes = encode_labels(labels)
        (X,) = indexable(X)
        estimator = self._default_or_clone()
        if self.cv is None:
            proba = clone(estimator).fit(X, labels).predict_proba(X)
        else:
            proba = cross_val_predict(
                estimator, X, labels, cv=self.cv, method="predict_proba"
            )
        likelihood = proba[np.arange(len(codes)), codes]
        self.losses_ = -np.log(np.maximum(likelihood, _LEAST_LIKELY))
        self.noise_filter_ = (
            GMMNoiseFilter() if self.noise_filter is None else clone(self.noise_filter)
        ).fit(self.losses_.reshape(-1, 1), labels)
        self.clean_mask_ = self.noise_filter_.clean_mask_
        self.clean_proba_ = self.noise_filter_.clean_proba_
        kept = np.flatnonzero(self.clean_mask_)
        self.estimator_ = estimator.fit(_safe_indexing(X, kept), labels[kept])
        return self

    def _default_or_clone(self) -> Any:
        if self.estimator is not None:
            return clone(self.estimator)
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))

    @property
    def n_features_in_(self) -> int:
        """Number of features the classifier saw."""
        check_is_fitted(self)
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the features the classifier saw."""
        check_is_fitted(self)
        return self.estimator_.feature_names_in_

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict labels with the refitted classifier.

        Parameters
        ----------
        X : any samples the estimator takes

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def predict_proba(self, X: Any) -> Floats:
        """Predict class probabilities with the refitted classifier.

        Parameters
        ----------
        X : any samples the estimator takes

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> Floats:
        """Decision values of the refitted classifier, where it has them."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            inner = get_tags(self.estimator)
            tags.input_tags = inner.input_tags
            tags.classifier_tags = inner.classifier_tags
        return tags
