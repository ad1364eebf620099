"""Labels that people have checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from ..labels import encode_known, is_missing, without_missing
from .mixture import Floats, Ints
from .posterior import offset_for


def verified_codes(
    verified: Any, classes: NDArray[Any], n_samples: int
) -> NDArray[np.intp]:
    """Codes of the labels that were checked, and -1 for the rest.

    Parameters
    ----------
    verified : array-like of shape (n_samples,) or None
        Labels; None, NaN or pandas' NA for samples that nobody has checked.
    classes : ndarray of shape (n_classes,)
        Sorted.
    n_samples : int

    Returns
    -------
    ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If it has another length, or labels that are none of the classes.
    """
    codes = np.full(n_samples, -1, dtype=np.intp)
    if verified is None:
        return codes
    # As objects: np.asarray makes text of the None in a list of text.
    entries = np.asarray(verified, dtype=object)
    if entries.shape != (n_samples,):
        raise ValueError(
            f"verified_labels has shape {entries.shape}, but there are {n_samples} "
            "labels. Give one entry for each, in their order: the label where it was "
            "checked, else None. Leave out samples that are left out of y, or skipped."
        )
    rows = np.flatnonzero([not is_missing(label) for label in entries])
    if len(rows):
        labels = np.asarray(entries[rows].tolist())
        wrong = "verified_labels contains labels that y does not"
        codes[rows] = encode_known(labels, classes, wrong)
    return codes


def filter_of_used(noise_filter: Any, used: NDArray[np.bool_]) -> Any:
    """A noise filter for those samples alone that are used.

    Parameters
    ----------
    noise_filter : estimator
    used : ndarray of shape (n_samples,), bool
        Which of the samples given to ``fit`` could be read.

    Returns
    -------
    estimator
        The same, or a clone with the verified labels of these samples.
    """
    verified = getattr(noise_filter, "verified_labels", None)
    if verified is None or len(verified) != len(used):
        return noise_filter
    of_used = without_missing(verified)[used]
    return clone(noise_filter).set_params(verified_labels=of_used)


def offset_beside(
    log_odds: Floats,
    is_right: NDArray[np.bool_],
    is_known: NDArray[np.bool_],
    rate: float,
) -> float:
    """What to add to the log-odds of labels so that a share of all is wrong.

    Parameters
    ----------
    log_odds : ndarray of shape (n_samples,)
        That each label is right.
    is_right, is_known : ndarray of shape (n_samples,), bool
        Which labels are known to be right, and of which it is known.
    rate : float
        Of all labels. If those that are known to be wrong are more, or there are no
        others, the nearest is found.
    """
    others = log_odds[~is_known]
    if not len(others):
        return 0.0
    right = (1.0 - rate) * len(log_odds) - is_right.sum()
    return offset_for(others, float(np.clip(right / len(others), 0.0, 1.0)))


def with_certainty(label_proba: Floats, verified: Ints) -> Floats:
    """Probabilities of true classes, 0 and 1 where labels were checked; in place."""
    rows = np.flatnonzero(verified >= 0)
    label_proba[rows] = 0.0
    label_proba[rows, verified[rows]] = 1.0
    return label_proba
