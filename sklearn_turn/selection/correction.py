"""What the label of a sample should be, by a fitted noise filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..labels import encode_known
from .mixture import Floats, Ints


def suggested_codes(
    noise_filter: Any, predicted: Ints, codes: Ints, classes: NDArray[Any]
) -> Ints:
    """The label each sample should have.

    Parameters
    ----------
    noise_filter : estimator
        Fitted. One that sets ``suggested_labels_`` is followed; of others, a label that
        is not clean gives way to the classifier's prediction.
    predicted : ndarray of shape (n_samples,), int
        Codes of the most probable classes.
    codes : ndarray of shape (n_samples,), int
        Of the given labels.
    classes : ndarray of shape (n_classes,)
        The labels that codes stand for, sorted.

    Returns
    -------
    ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If the filter suggests a label that is none of the classes.
    """
    suggested = getattr(noise_filter, "suggested_labels_", None)
    if suggested is not None:
        name = type(noise_filter).__name__
        return encode_known(
            suggested, classes, f"{name}.suggested_labels_ holds labels that y does not"
        )
    return np.where(noise_filter.clean_mask_, codes, predicted)


def label_posterior(
    noise_filter: Any,
    evidence: Mapping[str, NDArray[Any]],
    codes: Ints,
    suggested: Ints,
) -> Floats:
    """Probability of each true class of the samples: soft labels to train on.

    A filter that sets ``label_proba_`` is followed. Of others, the given label counts
    with the probability w that it is clean, and with the rest the label that the filter
    suggests, or the classifier's prediction p where it suggests none: w y + (1 - w) p,
    the co-refinement of DivideMix.

    Parameters
    ----------
    noise_filter : estimator
        Fitted.
    evidence : mapping of str to ndarray
        With "log_proba" unless the filter sets ``label_proba_``.
    codes : ndarray of shape (n_samples,), int
        Of the given labels.
    suggested : ndarray of shape (n_samples,), int
        By :func:`suggested_codes`.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), float64

    References
    ----------
    Li, Socher and Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised
    Learning", ICLR 2020, equation 3.
    """
    posterior: Floats | None = getattr(noise_filter, "label_proba_", None)
    if posterior is not None:
        return posterior
    log_proba = evidence["log_proba"]
    if hasattr(noise_filter, "suggested_labels_"):
        proba = np.eye(log_proba.shape[1])[suggested]
    else:
        proba = np.exp(log_proba)
    clean = noise_filter.clean_proba_
    posterior = (1 - clean)[:, None] * proba
    posterior[np.arange(len(codes)), codes] += clean
    return posterior


def hard_labels(
    codes: Ints,
    suggested: Ints,
    clean: NDArray[np.bool_],
    sure: NDArray[np.bool_],
    known: NDArray[np.bool_] | None = None,
) -> tuple[Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    """One label to train each sample on, and which samples have one.

    A sample keeps its label where that is clean, has the suggested one where that is
    sure, and has none otherwise. A class that would have no sample left keeps all of
    its own, as given.

    Parameters
    ----------
    codes, suggested : ndarray of shape (n_samples,), int
        Codes of the given labels and of the suggested ones.
    clean, sure : ndarray of shape (n_samples,), bool
        Which given and which suggested labels to trust. Where none is clean, the
        filter knows nothing, and all are kept as given.
    known : ndarray of shape (n_samples,), bool, default=None
        Samples whose suggested label is certain, and never gives way.

    Returns
    -------
    trained : ndarray of shape (n_samples,), int
        Codes to train on.
    used : ndarray of shape (n_samples,), bool
        Which samples have a label.
    kept : ndarray of shape (n_samples,), bool
        Which of them have theirs because their class would have been lost.
    """
    trained = np.where(clean, codes, suggested)
    used = clean | sure
    kept = np.zeros(len(codes), dtype=bool)
    if not clean.any():
        return codes, ~kept, kept
    open_ = np.ones(len(codes), dtype=bool) if known is None else ~known
    while len(empty := np.setdiff1d(codes[open_], trained[used])):
        # What goes back to a class may have been all that another one had.
        kept |= np.isin(codes, empty) & open_
        trained, used = np.where(kept, codes, trained), used | kept
    return trained, used, kept


def trained_labels(
    noise_filter: Any,
    evidence: Mapping[str, NDArray[Any]],
    codes: Ints,
    suggested: Ints,
    label_correction: str | None,
) -> tuple[NDArray[Any] | None, Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    """What samples are to be trained on.

    Parameters
    ----------
    noise_filter, evidence, codes, suggested
        As for :func:`label_posterior`.
    label_correction : {"hard", "soft"} or None
        As of :class:`~sklearn_turn.Cleansing`.

    Returns
    -------
    targets : ndarray of shape (n_samples,), int, or (n_samples, n_classes), float32
        Labels or soft labels; None is the given labels.
    trained : ndarray of shape (n_samples,), int
        Codes of the most probable of them, by which classes are balanced.
    used : ndarray of shape (n_samples,), bool
        Which samples to train on.
    kept : ndarray of shape (n_samples,), bool
        As of :func:`hard_labels`.
    """
    clean: NDArray[np.bool_] = noise_filter.clean_mask_
    none = np.zeros(len(codes), dtype=bool)
    if label_correction is None:
        return None, codes, clean, none
    posterior = label_posterior(noise_filter, evidence, codes, suggested)
    if label_correction == "soft":
        return posterior.astype(np.float32), posterior.argmax(axis=1), ~none, none
    proba = posterior[np.arange(len(codes)), suggested]
    verified = getattr(noise_filter, "verified_labels", None) is not None
    known = (proba == 1) & verified
    sure = (proba > getattr(noise_filter, "tau", 0.5)) | known
    trained, used, kept = hard_labels(codes, suggested, clean, sure, known)
    return trained, trained, used, kept
