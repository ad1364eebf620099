"""How well wrong labels are found, where the true ones are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)
from sklearn.utils import check_consistent_length, column_or_1d


def label_issue_scores(
    is_wrong: ArrayLike, is_label_issue: ArrayLike
) -> dict[str, float]:
    """Precision, recall and F1 score of the labels that were flagged.

    Parameters
    ----------
    is_wrong : array-like of shape (n_samples,), bool
        Which given labels really are wrong, ``y != y_true``.
    is_label_issue : array-like of shape (n_samples,), bool
        Which were flagged, ``~clean_mask_``.

    Returns
    -------
    dict
        ``"precision"``: share of the flagged labels that are wrong, 0 when none is
        flagged; ``"recall"``: share of the wrong labels that are flagged, 0 when none
        is wrong; ``"f1"``: their harmonic mean; ``"flagged"``: share of all labels
        that are flagged.

    Examples
    --------
    >>> from sklearn_turn.metrics import label_issue_scores
    >>> scores = label_issue_scores([1, 1, 0, 0], [1, 0, 0, 0])
    >>> scores["precision"], scores["recall"], scores["flagged"]
    (1.0, 0.5, 0.25)
    """
    wrong, flagged = _masks(is_wrong, is_label_issue)
    precision, recall, f1, _ = precision_recall_fscore_support(
        wrong, flagged, average="binary", zero_division=0.0
    )
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "flagged": float(flagged.mean()),
    }


def label_issue_ranking_scores(
    is_wrong: ArrayLike, label_quality: ArrayLike
) -> dict[str, float]:
    """How well a score ranks wrong labels before right ones.

    Parameters
    ----------
    is_wrong : array-like of shape (n_samples,), bool
        Which given labels really are wrong.
    label_quality : array-like of shape (n_samples,)
        Lower means more likely wrong: ``clean_proba_``, or a loss times -1.

    Returns
    -------
    dict
        ``"average_precision"``, ``"auroc"``, and ``"best_f1"``, the highest F1 score
        of any threshold below which all labels are flagged. NaN when no label is
        wrong, or all are.

    Raises
    ------
    ValueError
        If a score is not finite.

    Examples
    --------
    >>> from sklearn_turn.metrics import label_issue_ranking_scores
    >>> label_issue_ranking_scores([1, 1, 0, 0], [0.1, 0.4, 0.3, 0.9])["auroc"]
    0.75
    """
    quality = np.asarray(column_or_1d(label_quality), dtype=np.float64)
    wrong = _mask(is_wrong)
    check_consistent_length(wrong, quality)
    if not np.isfinite(quality).all():
        raise ValueError("label_quality holds NaN or infinity; replace them first.")
    if wrong.all() or not wrong.any():
        return dict.fromkeys(("average_precision", "auroc", "best_f1"), float("nan"))
    return {
        "average_precision": float(average_precision_score(wrong, -quality)),
        "auroc": float(roc_auc_score(wrong, -quality)),
        "best_f1": _best_f1(wrong, quality),
    }


def noise_rate_error(is_wrong: ArrayLike, noise_rate: float) -> float:
    """Estimated minus true share of wrong labels.

    Parameters
    ----------
    is_wrong : array-like of shape (n_samples,), bool
        Which given labels really are wrong.
    noise_rate : float
        The estimate, such as ``noise_filter_.noise_rate_``.

    Returns
    -------
    float
        Positive when the rate is overestimated.

    Examples
    --------
    >>> from sklearn_turn.metrics import noise_rate_error
    >>> round(noise_rate_error([1, 0, 0, 0, 0], 0.25), 2)
    0.05
    """
    if not 0 <= noise_rate <= 1:
        raise ValueError(f"noise_rate must be in [0, 1], got {noise_rate}.")
    return float(noise_rate) - float(_mask(is_wrong).mean())


def transition_matrix_error(
    T_true: ArrayLike, T_estimated: ArrayLike, *, weights: ArrayLike | None = None
) -> float:
    """Total variation between the rows of two transition matrices, on average.

    Parameters
    ----------
    T_true, T_estimated : array-like of shape (n_classes, n_classes)
        Rows are true classes, columns given labels; rows sum to one.
    weights : array-like of shape (n_classes,), default=None
        Of the true classes in the average, such as their counts; None weighs all
        alike.

    Returns
    -------
    float
        From 0, the same matrices, to 1.

    Raises
    ------
    ValueError
        If the shapes differ, or rows do not sum to one.

    Examples
    --------
    >>> from sklearn_turn.metrics import transition_matrix_error
    >>> T = [[0.5, 0.5], [0.0, 1.0]]
    >>> transition_matrix_error([[1, 0], [0, 1]], T)
    0.25
    """
    first, second = (_transition_matrix(T) for T in (T_true, T_estimated))
    if first.shape != second.shape:
        raise ValueError(
            f"The matrices have {len(first)} and {len(second)} classes; they must be "
            "of the same."
        )
    distances = 0.5 * np.abs(first - second).sum(axis=1)
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        is_right = weights.shape == distances.shape and (weights >= 0).all()
        if not is_right or not 0 < weights.sum() < np.inf:
            raise ValueError(
                f"weights must be {len(first)} non-negative numbers, not all zero."
            )
    return float(np.average(distances, weights=weights))


def _masks(*masks: ArrayLike) -> tuple[NDArray[np.bool_], ...]:
    checked = tuple(_mask(mask) for mask in masks)
    check_consistent_length(*checked)
    return checked


def _mask(mask: ArrayLike) -> NDArray[np.bool_]:
    values = np.asarray(column_or_1d(mask))
    if not len(values):
        raise ValueError("The mask is empty: there are no labels to score.")
    if not np.isin(values, [0, 1]).all():
        raise ValueError(
            "A mask must hold True and False, but there are other values, such as "
            f"{values[~np.isin(values, [0, 1])][0]!r}. To compare labels, pass "
            "y != y_true."
        )
    return values.astype(bool)


def _best_f1(wrong: NDArray[np.bool_], quality: NDArray[np.float64]) -> float:
    order = np.argsort(quality, kind="stable")
    hits = np.cumsum(wrong[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + wrong.sum())
    # A threshold cannot part equal scores.
    is_last = np.append(np.diff(quality[order]) > 0, True)
    return float(f1[is_last].max())


def _transition_matrix(T: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(T, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"A transition matrix is square; this has shape {matrix.shape}."
        )
    if (matrix < 0).any() or not np.allclose(matrix.sum(axis=1), 1, atol=1e-6):
        raise ValueError(
            "The rows of a transition matrix are probabilities of given labels: "
            "they must be non-negative and sum to one."
        )
    return matrix
