"""scikit-learn's checks of an estimator's parameters and input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import _fit_context
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from .labels import check_labels, plain_labels

F = TypeVar("F", bound=Callable[..., Any])


def validated_fit(function: F) -> F:
    """Method decorator: check the estimator's parameters first.

    scikit-learn's own hides the method's signature from type checkers.
    """
    decorate: Callable[[F], F] = _fit_context(prefer_skip_nested_validation=True)
    return decorate(function)


def validated_meta_fit(function: F) -> F:
    """The same for an estimator around others, which check theirs themselves."""
    decorate: Callable[[F], F] = _fit_context(prefer_skip_nested_validation=False)
    return decorate(function)


def checked_input(
    estimator: Any, X: Any, y: Any, **options: Any
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """What a noise filter is fitted on, as ``validate_data`` checks it.

    Parameters
    ----------
    estimator : estimator
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Given labels.
    **options
        Of ``validate_data``.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
    y : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
    """
    if y is not None:  # which validate_data refuses
        check_labels(y)
    X, y = validate_data(estimator, X, plain_labels(y), dtype=np.float64, **options)
    check_classification_targets(y)
    return X, y
