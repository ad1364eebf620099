"""Where a fitted noise channel is not to be trusted, or its labels are not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import CleansingWarning
from .mixture import Floats, Ints
from .transition import Channel, says_little

# Standard errors.
_BEYOND_CHANCE = 3.0
# Share of wrong labels that it is worth a warning not to have found, in how many.
_MANY, _SOME = 0.05, 100
# Share that is hardly any.
_FEW = 0.01


def warn_of_other_labels(matrix: Floats, sizes: Floats, classes: NDArray[Any]) -> None:
    """Warn of classes that the channel takes to be labelled as another mostly.

    Parameters
    ----------
    matrix : ndarray of shape (n_classes, n_classes)
        Rows are true classes, columns given labels.
    sizes : ndarray of shape (n_classes,)
        Expected samples of each true class.
    classes : ndarray of shape (n_classes,)
    """
    names, usual = classes.tolist(), matrix.argmax(axis=1)
    # How many are labelled so, and how many as they should be.
    so, right = sizes * matrix.max(axis=1), sizes * np.diag(matrix)
    other = np.flatnonzero(so - right > _BEYOND_CHANCE * np.sqrt(so + right))
    if not len(other):
        return
    found = ", ".join(
        f"{names[k]!r} as {names[usual[k]]!r} ({matrix[k, usual[k]]:.2f})"
        for k in other[:10]
    )
    _warn(
        f"Of {len(other)} of {len(names)} classes most samples seem to have another "
        f"label: {found}. If that cannot be, what is flagged and suggested is wrong: "
        "these classes are too rare, or too like others, for what predicted; or "
        "predictions of your own have columns in another order than the sorted labels."
    )


def warn_of_unknown_classes(
    codes: Ints, clean: NDArray[np.bool_], predicted: Ints, classes: NDArray[Any]
) -> None:
    """Warn of classes whose labels are flagged because none is ever predicted.

    Parameters
    ----------
    codes, predicted : ndarray of shape (n_samples,), int
        Of the given labels, and of the most probable ones by the classifier alone.
    clean : ndarray of shape (n_samples,), bool
    classes : ndarray of shape (n_classes,)
    """
    given, kept, found = (
        np.bincount(c, minlength=len(classes)) for c in (codes, codes[clean], predicted)
    )
    unknown = np.flatnonzero((given > 1) & (kept == 0) & (found == 0))
    if not len(unknown):
        return
    named = [f"{classes[k]}: {given[k]}" for k in unknown[:10]]
    _warn(
        f"{len(unknown)} of {len(classes)} classes are never predicted, so that all "
        f"their labels are flagged, right or wrong: {', '.join(named)}. Look at them "
        "yourself, train the classifier for longer, or use GMMNoiseFilter "
        "(noise_filter='gmm'), which keeps samples of every class."
    )


def warn_of_doubt(
    channel: Channel, codes: Ints, interval: tuple[float, float], n_flagged: int
) -> None:
    """Warn where predictions do not tell right labels from wrong ones.

    Of few samples they never say much.

    Parameters
    ----------
    channel : Channel
    codes : ndarray of shape (n_samples,), int
        Of the given labels.
    interval : tuple of float
        Of the share of wrong labels.
    n_flagged : int
    """
    if len(codes) < _SOME:
        return
    if says_little(channel, codes):
        _warn(
            f"What is predicted of the {len(codes)} labels is little better than "
            "chance, so that few wrong ones can be told from right ones. Use other "
            "features or another classifier, of images at the size that the backbone "
            "was trained for, or more samples; or compare with GMMNoiseFilter."
        )
    elif n_flagged < _FEW * len(codes) and interval[0] < _FEW and interval[1] > _MANY:
        _warn(
            f"{n_flagged or 'No'} {'labels are' if n_flagged > 1 else 'label is'} "
            f"flagged, but up to {interval[1]:.0%} of the labels may be "
            "wrong by what is predicted: there are too few samples, or too poor "
            "predictions, to tell. The order of clean_proba_ still says which to look "
            "at first."
        )


def _warn(text: str) -> None:
    # Of who calls the filter's fit.
    warnings.warn(text, CleansingWarning, stacklevel=5)
