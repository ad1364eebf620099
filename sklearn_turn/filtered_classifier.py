"""Fit, filter, refit: label filtering that works inside plain scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    clone,
)
from sklearn.utils import Tags, _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .constructor import SHARE
from .exceptions import CleansingWarning
from .labels import class_names, encode_labels, label_vector, own_index
from .predictions import (
    all_columns,
    check_network,
    default_predictions,
    folds_of,
    log_of,
    losses_of,
    predict_training_samples,
)
from .selection.correction import suggested_codes
from .selection.mixture import Floats, Ints
from .selection.protocol import (
    check_noise_filter,
    evidence_of,
    fit_filter,
    make_filter,
)
from .validation import validated_meta_fit

# Share of labels that are predicted, below which it is doubtful that so few are wrong.
_DOUBTFUL, _FEW = 0.75, 0.05
# What a fit publishes, all at once.
_FITTED = (
    "classes_",
    "estimator_",
    "noise_filter_",
    "losses_",
    "clean_mask_",
    "clean_proba_",
    "given_labels_",
    "sample_index_",
    "suggested_labels_",
)


def _estimator_has(method: str) -> Any:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class NoiseFilteredClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit a classifier, filter the labels by what it predicts, refit on the clean ones.

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
        :class:`~sklearn.preprocessing.StandardScaler`, with ``C`` one over the number
        of features, which keeps it from learning wrong labels by heart. Labels of
        unequal frequency are judged with ``class_weight="balanced"`` as well, and that
        is kept where a channel then explains them clearly better (by 5 nats): some were
        wrong in one direction.
    noise_filter : {"channel", "gmm"} or estimator, default="channel"
        :class:`NoiseChannelFilter`, :class:`GMMNoiseFilter`, or a filter of your own
        (:mod:`sklearn_turn.selection.protocol`). A filter of features is given X
        itself, which must then be a numeric array of two dimensions.
    tau : float in [0, 1], default=None
        A label is clean when its clean probability is greater. None is the filter's
        own threshold: 0.8 for "channel", 0.6 for "gmm". No effect on an estimator,
        which has its own.
    cv : int, cross-validation splitter or None, default=5
        Each sample is predicted by a model that did not see it, as in
        :func:`~sklearn.model_selection.cross_val_predict`. Every sample must be in one
        test fold; an integer is lowered to the size of the largest class. None takes
        the predictions of one model for its own training samples, which saves the fits
        of the folds and only suits models that cannot learn labels by heart: no trees,
        no nearest neighbours, no wide features.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimator_ : classifier
        Fitted on the samples whose labels are clean.
    noise_filter_ : estimator
        The fitted filter.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label in nats, at most that of a probability of
        0.005, or of a tenth of chance where that is less.
    clean_mask_ : ndarray of shape (n_samples,), bool
    clean_proba_ : ndarray of shape (n_samples,), float64
    given_labels_, suggested_labels_ : ndarray of shape (n_samples,)
        The labels as given, and as they should be.
    sample_index_ : pandas.Index of length n_samples
        Index of ``y``, or of ``X``, where pandas gives it one of its own; else absent.
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
        "noise_filter": [StrOptions({"gmm", "channel"}), HasMethods(["fit"])],
        "tau": [SHARE, None],
        "cv": ["cv_object"],
    }

    def __init__(
        self,
        estimator: Any = None,
        noise_filter: Any = "channel",
        *,
        tau: float | None = None,
        cv: Any = 5,
    ):
        self.estimator = estimator
        self.noise_filter = noise_filter
        self.tau = tau
        self.cv = cv

    @validated_meta_fit
    def fit(self, X: Any, y: ArrayLike) -> Self:
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

        Raises
        ------
        TypeError
            If ``noise_filter`` is no noise filter, or a network is given text labels.
        ValueError
            If the estimator is a network whose copies would know what it was trained
            on, labels are missing, a fold of ``cv`` leaves a class without training
            samples, its test folds are no partition of the samples, the filter cannot
            work with X, or it selects samples of fewer than two classes. After an
            error in fitting nothing is fitted.

        Warns
        -----
        CleansingWarning
            If the filter selects no sample of a class, if the classifier is certain of
            all the labels it was trained on, if none is flagged though many are not
            what is predicted, and as the filter warns.
        """
        for name in _FITTED:
            self.__dict__.pop(name, None)
        if y is None:
            raise ValueError(
                "NoiseFilteredClassifier requires y to be passed, but the target y "
                "is None."
            )
        if self.estimator is None and getattr(X, "ndim", 2) > 2:
            raise ValueError(
                f"X has {X.ndim} dimensions; the default estimator takes 2. For "
                "images, put a FeatureExtractor before: "
                "make_pipeline(FeatureExtractor(...), NoiseFilteredClassifier())."
            )
        noise_filter = make_filter(self.noise_filter, self.tau)
        index = own_index(y, X)
        labels = label_vector(y, warn=True)
        check_noise_filter(noise_filter, labels)
        check_classification_targets(labels)
        classes, codes = encode_labels(labels)
        X, _ = indexable(X, labels)
        evidence = {}
        if evidence_of(noise_filter) == "features":
            evidence["features"] = _numeric(X)
        check_network(self.estimator, classes)
        folds = folds_of(self.cv, X, labels)
        if self.estimator is None:
            estimator, proba = default_predictions(X, labels, folds)
        else:
            estimator = clone(self.estimator)
            proba = predict_training_samples(estimator, X, labels, folds)
        losses = losses_of(proba, codes)
        evidence["losses"] = losses[:, None]
        certain = not (proba[np.arange(len(codes)), codes] < 1).any()
        if self.cv is None and certain:
            warnings.warn(
                "The classifier is certain of each label it was trained on, so that "
                "none can look wrong. Set cv=5, which judges labels by classifiers "
                "that did not see them.",
                CleansingWarning,
                stacklevel=3,
            )
        evidence["log_proba"] = log_of(proba)
        fitted = fit_filter(noise_filter, evidence, labels)
        predicted = proba.argmax(axis=1)
        whole = evidence_of(noise_filter) == "log_proba"
        if whole and fitted.clean_mask_.all() and not (self.cv is None and certain):
            _warn_of_none(fitted, self.cv, float((predicted == codes).mean()))
        suggested = suggested_codes(fitted, predicted, codes, classes)
        _check_clean_classes(fitted, codes, classes)
        kept = np.flatnonzero(fitted.clean_mask_)
        self.estimator_ = estimator.fit(_safe_indexing(X, kept), labels[kept])
        self.classes_ = classes
        self.noise_filter_ = fitted
        self.losses_ = losses
        self.clean_mask_ = fitted.clean_mask_
        self.clean_proba_ = fitted.clean_proba_
        self.given_labels_ = labels.copy()  # the caller may correct y in place
        self.suggested_labels_ = classes[suggested]
        if index is not None:
            self.sample_index_ = index
        return self

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
        seen = getattr(self.estimator_, "classes_", ())
        if np.isin(seen, self.classes_).all():
            predicted = self.estimator_.predict(X)
            if np.isin(predicted, seen).all() or not len(seen):
                return predicted
        # It knows classes that are not labelled, or have no clean sample.
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> Floats:
        """Predict class probabilities with the refitted classifier.

        Parameters
        ----------
        X : any samples the estimator takes

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``, zero for a class without a clean
            sample.
        """
        check_is_fitted(self)
        proba = self.estimator_.predict_proba(X)
        return all_columns(self.estimator_, proba, self.classes_, absent=0.0)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> Floats:
        """Decision values of the refitted classifier, where it has them.

        Parameters
        ----------
        X : any samples the estimator takes

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            The lowest finite number for a class without a clean sample.
        """
        check_is_fitted(self)
        values = self.estimator_.decision_function(X)
        least = np.finfo(values.dtype).min
        return all_columns(self.estimator_, values, self.classes_, absent=least)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if self.estimator is not None:
            inner = get_tags(self.estimator)
            tags.input_tags = inner.input_tags
            tags.classifier_tags = inner.classifier_tags
        return tags


def _numeric(X: Any) -> NDArray[Any]:
    """X as an array of features, or an error if it is none."""
    try:
        features = np.asarray(X)
    except ValueError:  # a ragged list
        features = np.empty(0, dtype=object)
    if features.ndim != 2 or features.dtype.kind not in "buif":
        raise ValueError(
            "The noise filter wants features, so X must be a numeric array of shape "
            f"(n_samples, width); it is a {type(X).__name__}. Compute features first, "
            "with FeatureExtractor or another transformer in a Pipeline, or use a "
            "filter of losses or log-probabilities."
        )
    return features


def _warn_of_none(fitted: Any, cv: Any, agreement: float) -> None:
    """Warn that nothing is flagged, where that tells little."""
    if cv is None:
        text = (
            "No label is flagged, by predictions of a classifier for the samples "
            "that it was trained on, whose labels it may have learned, right or "
            "wrong. Set cv=5, which judges labels by classifiers that did not see "
            "them."
        )
    elif agreement < _DOUBTFUL and getattr(fitted, "noise_rate_", 1.0) < _FEW:
        text = (
            f"No label is flagged, though {1 - agreement:.0%} are not what was "
            "predicted by classifiers that did not see them. Either these are poor, or "
            "they have learned to expect wrong labels as often as there are: take "
            "fewer epochs, stronger regularisation or LinearProbing(loss='gce')."
        )
    else:
        return
    warnings.warn(text, CleansingWarning, stacklevel=4)


def _check_clean_classes(fitted: Any, codes: Ints, classes: NDArray[Any]) -> None:
    clean = np.unique(codes[fitted.clean_mask_])
    lost = np.setdiff1d(codes, clean)
    if not len(lost):
        return
    name = type(fitted).__name__
    if len(clean) == 1:
        raise ValueError(
            f"{name} selected samples of {class_names(classes[clean])} only, so that "
            "no classifier can be fitted. Lower its threshold, or use "
            "noise_filter='gmm', which keeps samples of every class."
        )
    warnings.warn(
        f"{name} selected no sample of {class_names(classes[lost])}: they are never "
        "predicted, and their probability is 0.",
        CleansingWarning,
        stacklevel=4,
    )
