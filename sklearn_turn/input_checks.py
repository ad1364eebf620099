"""Whether X and y are what a classifier takes; checked before any work."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, check_X_y, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _get_feature_names, check_is_fitted, validate_data
from torch import nn

from .exceptions import SkippedImageWarning
from .inputs import FeatureRows, Source, Subset, as_rows, as_source, is_images
from .inputs.readable import find_readable
from .labels import check_labels, encode_labels
from .processes import Processes

Mask = NDArray[np.bool_]


def check_training_data(
    classifier: Any, X: Any, y: Any
) -> tuple[Source, NDArray[Any], NDArray[np.intp], Mask]:
    """What a classifier is to be fitted on, before any work.

    Parameters
    ----------
    classifier : BaseClassifier
    X : images, file paths, a dataset or features
    y : array-like of shape (n_samples,)
        Given labels.

    Returns
    -------
    source : Source
        Of the samples that are used.
    classes : ndarray of shape (n_classes,)
        Sorted.
    codes : ndarray of shape (n_used,), int
        Of the labels of these samples.
    used : ndarray of shape (n_samples,), bool
        Which samples are used.

    Raises
    ------
    ValueError, ImageReadError
        If X or y is not as ``fit`` describes them.

    Warns
    -----
    SkippedImageWarning
    """
    name = type(classifier).__name__
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    check_labels(y)
    source: Source
    if is_images(X):
        source = as_source(X, check=classifier.on_bad_image == "raise")
        check_consistent_length(source, y)
        y = column_or_1d(y, warn=True)
    else:
        _get_feature_names(X)  # refuses names of mixed types
        X, y = check_X_y(
            as_rows(X),
            y,
            dtype=np.float32,
            ensure_min_samples=2,
            force_writeable=True,
            estimator=classifier,
        )
        source = FeatureRows(X)
    check_classification_targets(y)
    used = np.ones(len(source), dtype=bool)
    if classifier.on_bad_image == "skip":
        used = find_readable(source, Processes.of(classifier.distributed))
    if not used.all():
        source = Subset(source, np.flatnonzero(used))
    classes, codes = encode_labels(np.asarray(y)[used])
    gone = np.setdiff1d(np.asarray(y), classes)
    if len(gone):
        warnings.warn(
            f"No image of {len(gone)} classes can be read; they are never "
            f"predicted: {', '.join(map(str, gone[:10]))}.",
            SkippedImageWarning,
            stacklevel=4,
        )
    if len(classes) < 2:
        only = np.asarray(classes)[:1].tolist()
        raise ValueError(
            f"{name} needs samples of at least 2 classes, but the data contains "
            f"only one class: {only[0]!r}."
        )
    return source, classes, codes, used


def check_new_data(classifier: Any, X: Any) -> Source:
    """What a fitted classifier is to predict, which must be like what it was fitted on.

    Parameters
    ----------
    classifier : BaseClassifier
    X : images, file paths, a dataset or features

    Returns
    -------
    Source
        As its backbone takes it.

    Raises
    ------
    NotFittedError
    ValueError
        If X is of another kind or shape than in ``fit``.
    """
    check_is_fitted(classifier)
    embed, name = classifier.net_.module_.embed, type(classifier).__name__
    on_features = isinstance(embed, nn.Identity)
    if is_images(X) == on_features and (on_features or np.ndim(X) == 2):
        fitted, given = ("2-D features", "images")[:: 1 if on_features else -1]
        if getattr(classifier, "_is_raw", False):
            fitted = "RawInputs"
        raise ValueError(
            f"This {name} was fitted on {fitted}, but X holds {given}. One image "
            "of a set is X[:1], with all its dimensions."
        )
    if on_features:
        rows = validate_data(classifier, as_rows(X), reset=False, dtype=np.float32)
        return FeatureRows(rows)
    source = as_source(X, check=False)  # reading names what is missing
    if source.is_raw != classifier._is_raw:
        fitted, given = ("RawInputs", "images")[:: 1 if classifier._is_raw else -1]
        raise ValueError(f"This {name} was fitted on {fitted}, but X holds {given}.")
    if None not in (source.item_shape, classifier.input_shape_) and (
        source.item_shape != classifier.input_shape_
    ):
        raise ValueError(
            f"X holds samples of shape {source.item_shape}, but {name} was fitted "
            f"on samples of shape {classifier.input_shape_}. Resize them, or fit and "
            "predict on file paths, which may have any size."
        )
    sized: Source = embed.sized(source)
    return sized
