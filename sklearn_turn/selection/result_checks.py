"""Whether a noise filter set what one must; checked after each of its fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Probabilities in half precision sum to one only about this well.
SUM_TOLERANCE = 0.01


def check_result(
    fitted: Any, n_samples: int, log_proba: NDArray[Any] | None = None
) -> None:
    """Raise unless a fitted filter set masks and probabilities of every sample.

    Parameters
    ----------
    fitted : estimator
    n_samples : int
    log_proba : ndarray of shape (n_samples, n_classes), default=None
        Predictions, where they are known: as many probabilities of the true classes
        the filter may set.

    Raises
    ------
    TypeError
        If something is missing.
    ValueError
        If it is of another kind or shape, or holds no probabilities.
    """
    _check_attribute(fitted, "clean_mask_", (n_samples,), np.bool_)
    _check_attribute(fitted, "clean_proba_", (n_samples,), np.floating)
    _check_probabilities(fitted, "clean_proba_")
    if hasattr(fitted, "suggested_labels_"):
        _check_attribute(fitted, "suggested_labels_", (n_samples,))
    if hasattr(fitted, "label_proba_") and log_proba is not None:
        _check_attribute(fitted, "label_proba_", log_proba.shape, np.floating)
        _check_probabilities(fitted, "label_proba_")
        _check_sums(fitted, "label_proba_")


def _check_attribute(
    fitted: Any, attribute: str, shape: tuple[int, ...], dtype: type = np.generic
) -> None:
    name = type(fitted).__name__
    wanted = f"an ndarray of shape {shape}" + (
        "" if dtype is np.generic else f" and dtype {dtype.__name__}"
    )
    if not hasattr(fitted, attribute):
        raise TypeError(
            f"{name}.fit did not set {attribute}, as a noise filter must: {wanted}, "
            "one entry per sample."
        )
    value = getattr(fitted, attribute)
    if not isinstance(value, np.ndarray):
        found = f"a {type(value).__name__}"
    elif value.shape != shape or not np.issubdtype(value.dtype, dtype):
        found = f"of shape {value.shape} and dtype {value.dtype}"
    else:
        return
    raise ValueError(
        f"{name}.{attribute} must be {wanted}, one entry per sample; it is {found}."
    )


def _check_probabilities(fitted: Any, attribute: str) -> None:
    proba = getattr(fitted, attribute)
    outside = ~((proba >= -1e-6) & (proba <= 1 + 1e-6))  # True for NaN as well
    if outside.any():
        first = np.argwhere(outside)[0].tolist()
        raise ValueError(
            f"{type(fitted).__name__}.{attribute} must hold probabilities in [0, 1], "
            f"but {outside.sum()} of {outside.size} values are not, the first at index "
            f"{', '.join(map(str, first))}: {proba[tuple(first)]}."
        )


def _check_sums(fitted: Any, attribute: str) -> None:
    sums = getattr(fitted, attribute).sum(axis=1)
    off = np.abs(sums - 1.0) > SUM_TOLERANCE
    if off.any():
        first = off.argmax()
        raise ValueError(
            f"The rows of {type(fitted).__name__}.{attribute} must sum to one, but "
            f"{off.sum()} of {len(off)} do not: that of sample {first} is "
            f"{sums[first]:.3g}."
        )
