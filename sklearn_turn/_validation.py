"""Checks shared by every estimator, made before any work starts."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .memory import FeatureMemory

# Legal values of the parameters that say how a backbone is built and run; every
# estimator that has one shares them.
BACKBONE_CONSTRAINTS: dict[str, list[Any]] = {
    "backbone": [str, callable],
    "pretrained": ["boolean", str, os.PathLike],
    "input_size": [Interval(Integral, 1, None, closed="left"), None],
    "crop_pct": [Interval(Real, 0, 1, closed="right"), None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "num_workers": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
    "device": [str],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "memory": [str, os.PathLike, FeatureMemory, HasMethods(["cache"]), None],
    "verbose": ["verbose"],
}


def encode_labels(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Sorted distinct labels, and each label's place among them.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Given labels, of any type that sorts.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_samples,), int
        ``classes[codes]`` equals ``y``.

    Raises
    ------
    ValueError
        If a label is missing (None or NaN), or the labels mix types.
    """
    if y.dtype.kind in "fc":
        missing = np.isnan(y)
    elif y.dtype.kind == "O":
        # NaN is the value that differs from itself; pandas' NA has no truth value.
        missing = np.array([v is None or _is_nan(v) for v in y], dtype=bool)
    else:
        missing = np.zeros(len(y), dtype=bool)
    if missing.any():
        where = np.flatnonzero(missing)
        raise ValueError(
            f"Input y contains NaN or missing labels at {len(where)} positions, the "
            f"first at index {where[0]}. Drop these samples, or give them a label."
        )
    try:
        return np.unique(y, return_inverse=True)
    except TypeError:
        kinds = sorted({type(v).__name__ for v in y})
        raise ValueError(
            f"The labels mix types that cannot be sorted: {', '.join(kinds)}. "
            "Convert them to one type, for example with y.astype(str)."
        ) from None


def _is_nan(value: Any) -> bool:
    try:
        return bool(value != value)
    except TypeError:
        return True
