"""Checks and encoding of labels, made before any work starts."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.utils import assert_all_finite, column_or_1d

# Times the deviation from equal frequencies which chance makes that labels may have and
# mean nothing: people prefer some classes when in doubt.
_MEANINGLESS = 3.0
# Times a class must be as frequent as another for classifiers to know the frequencies:
# where some of several classes are taken for others, labels are less equal than they.
_UNEQUAL, _UNEQUAL_OF_TWO = 2.25, 1.5


def check_no_missing_labels(y: Any, name: str = "y") -> None:
    """Raise if a label is missing: None, NaN or pandas' NA.

    Parameters
    ----------
    y : array-like
    name : str, default="y"
        What the caller calls it.

    Raises
    ------
    ValueError
    """
    dtype = getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "iub":  # pandas' Int64 has NA
        return
    # As objects: np.asarray makes strings of the None and NaN in a list of strings.
    labels = y if isinstance(y, (list, tuple)) else np.asarray(y)
    missing = [is_missing(v) for v in np.asarray(labels, dtype=object).ravel()]
    if any(missing):
        raise ValueError(
            f"Input {name} contains NaN: {sum(missing)} missing labels (None or NaN), "
            f"the first at index {missing.index(True)}. Drop these samples first."
        )


def check_labels(y: Any, name: str = "y") -> None:
    """Raise if labels are missing, infinite or of mixed types.

    scikit-learn's own checks fail on these with messages about something else, or
    make strings of them.

    Parameters
    ----------
    y : array-like
    name : str, default="y"
        What the caller calls it.

    Raises
    ------
    ValueError
    """
    check_no_missing_labels(y, name)
    # An array of objects is compared as it is, other arrays have one type.
    if isinstance(y, (list, tuple)) and len({_kind(label) for label in y}) > 1:
        _refuse_mixture(y)
    labels = np.asarray(y)
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name=name)
    if labels.dtype.kind == "O":
        encode_labels(labels.ravel())


def check_same_kind(first: NDArray[Any], second: NDArray[Any], names: str) -> None:
    """Raise if one of two arrays of labels holds text and the other does not.

    Parameters
    ----------
    first, second : ndarray of shape (n_samples,)
    names : str
        What the caller calls both.

    Raises
    ------
    ValueError
    """
    examples = first[:1].tolist() + second[:1].tolist()
    if len({_kind(label) for label in examples}) > 1:
        raise ValueError(
            f"{names} are of two types, {' and '.join(map(repr, examples))}. Name the "
            "classes alike in both."
        )


def plain_labels(y: Any) -> Any:
    """Labels of pandas' nullable types as NumPy's; others, and missing ones, as given.

    scikit-learn would make floats of them, in which large numbers merge.

    Parameters
    ----------
    y : array-like

    Returns
    -------
    array-like
    """
    # A data frame of one column has its type there.
    is_frame = hasattr(y, "iloc") and np.ndim(y) == 2 and y.shape[1] == 1
    column = y.iloc[:, 0] if is_frame else y
    plain = getattr(getattr(column, "dtype", None), "numpy_dtype", None)
    if plain is None or column.isna().any():
        return y
    return np.asarray(column, dtype=plain).reshape(np.shape(y))


def label_vector(y: Any, name: str = "y", *, warn: bool = False) -> NDArray[Any]:
    """Labels as a checked vector.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, 1)
    name : str, default="y"
        What the caller calls it.
    warn : bool, default=False
        Whether to warn of a column.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        As :func:`check_labels` does, and if there are several columns.
    """
    check_labels(y, name)
    labels: NDArray[Any] = column_or_1d(plain_labels(y), warn=warn)
    return labels


def own_index(*samples: Any) -> Any:
    """Index of the first pandas object that has one of its own.

    Parameters
    ----------
    *samples : Series, DataFrame or anything else
        Labels or samples.

    Returns
    -------
    pandas.Index or None
        None where rows are counted from 0, or nothing is of pandas.
    """
    for rows in samples:
        if hasattr(rows, "iloc"):
            entries = np.asarray(rows.index)
            if not np.array_equal(entries, np.arange(len(entries))):
                return rows.index
    return None


def plain_index(index: Any) -> NDArray[Any]:
    """A pandas index as an array that goes into files.

    Entries that are neither numbers, text nor dates without a time zone become text.
    """
    entries: NDArray[Any] = np.asarray(index)
    if entries.dtype.kind == "O" and any(
        not isinstance(v, str | Real) for v in entries
    ):
        entries = np.array([str(value) for value in entries], dtype=object)
    return entries


def encode_known(
    labels: NDArray[Any],
    classes: NDArray[Any],
    wrong: str = "y contains labels the filter was not fitted on",
) -> NDArray[np.intp]:
    """Place of each label among the sorted classes of an earlier fit.

    Raises
    ------
    ValueError
        If a label is none of them: what is ``wrong``, and these labels; or if one of
        both is text and the other is not.
    """
    # np.isin and np.searchsorted compare numbers with text as text.
    check_same_kind(labels, classes, "The labels and the classes known from fit")
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    known = classes[codes] == labels
    if not known.all():
        unknown = np.unique(labels[~known])[:10].tolist()
        raise ValueError(f"{wrong}: {unknown}.")
    return codes


def sorted_classes(classes: ArrayLike | None) -> NDArray[Any] | None:
    """Labels that codes stand for, as an array.

    Raises
    ------
    ValueError
        If they are not sorted: columns of predictions would be in another order.
    """
    if classes is None:
        return None
    labels = np.asarray(classes)
    if labels.ndim != 1 or not (labels[:-1] < labels[1:]).all():
        raise ValueError(
            "classes must be the sorted labels, each once, that the codes 0, 1, ... of "
            "the dataset stand for: make both with np.unique(y, return_inverse=True)."
        )
    return labels


def decoded(codes: NDArray[np.intp], classes: NDArray[Any] | None) -> NDArray[Any]:
    """Labels that codes stand for, themselves if nobody said which.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
    classes : ndarray of shape (n_classes,) or None
        As :func:`sorted_classes` returns them.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If there are more codes than classes.
    """
    if classes is None:
        return codes
    if codes.max() >= len(classes):
        raise ValueError(
            f"The dataset has the code {codes.max()}, but classes are {len(classes)}: "
            "pass every label that codes stand for, sorted."
        )
    labels: NDArray[Any] = classes[codes]
    return labels


def log_frequencies(y: NDArray[np.intp], n_classes: int) -> NDArray[np.float64] | None:
    """Logarithms of the classes' shares of the labels, where these are very unequal.

    Drawn towards equal shares by as much as chance and noise part them: else few wrong
    labels would be found likely because they are there.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        Codes of the given labels.
    n_classes : int

    Returns
    -------
    ndarray of shape (n_classes,), float64, or None
        None where no class is, so drawn, far more frequent than another.
    """
    # A fold may have no sample of a tiny class.
    counts = np.bincount(y, minlength=n_classes).clip(0.5)
    expected = counts.mean()
    chi_squared = ((counts - expected) ** 2).sum() / expected
    meaningless = _MEANINGLESS * (n_classes - 1) / max(chi_squared, 1e-12)
    logs = (1 - min(meaningless, 1.0)) * np.log(counts / expected)
    least = np.log(_UNEQUAL_OF_TWO if n_classes == 2 else _UNEQUAL)
    return log_softmax(logs) if np.ptp(logs) >= least else None


def class_names(labels: NDArray[Any]) -> str:
    """Classes as a message names them, at most ten."""
    names = list(map(repr, labels.tolist()))
    more = f", ... ({len(names)} in all)" if len(names) > 10 else ""
    return ("class " if len(names) == 1 else "classes ") + (
        ", ".join(names[:10]) + more
    )


def _kind(label: Any) -> type:
    """str or bytes, into which np.asarray would turn other labels; else object."""
    return next((kind for kind in (str, bytes) if isinstance(label, kind)), object)


def encode_labels(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Sorted distinct labels, and each label's place among them.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        As :func:`check_labels` accepts them.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_samples,), int
        ``classes[codes]`` equals ``y``.

    Raises
    ------
    ValueError
        If the labels mix types.
    """
    try:
        return np.unique(y, return_inverse=True)
    except TypeError:
        _refuse_mixture(y)


def _refuse_mixture(y: Iterable[Any]) -> NoReturn:
    kinds = sorted({type(v).__name__ for v in y})
    raise ValueError(
        f"The labels mix types that do not sort: {', '.join(kinds)}. Convert them to "
        "one type, for example with [str(label) for label in y]."
    ) from None


def without_missing(labels: Any) -> NDArray[np.object_]:
    """Labels as objects, with None for those that are missing."""
    entries = np.asarray(labels, dtype=object)
    return np.array([None if is_missing(v) else v for v in entries], dtype=object)


def is_missing(label: Any) -> bool:
    """Whether a label is None, NaN or pandas' NA."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA has no truth value
        return True
