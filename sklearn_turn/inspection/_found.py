"""What a fitted classifier found about its training labels, for what shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..training.cleansing import Cleansing


def has_looked(estimator: Any) -> bool:
    """Whether an estimator has found which of its labels look wrong."""
    return hasattr(estimator, "suggested_labels_") and hasattr(
        estimator, "given_labels_"
    )


def check_no_cleansing(estimator: Any) -> None:
    """Raise for a skorch net with :class:`Cleansing`, whose findings lie elsewhere.

    Raises
    ------
    ValueError
    """
    for name, callback in getattr(estimator, "callbacks_", ()):
        if isinstance(callback, Cleansing):
            raise ValueError(
                f"{type(estimator).__name__} keeps in its callback what Cleansing "
                f"found: found = dict(net.callbacks_)[{name!r}] has found.losses_, "
                "found.noise_filter_.clean_mask_, found.noise_filter_.clean_proba_ and "
                "found.suggested_codes_. For a table of labels judged by networks that "
                "did not see them, fit NoiseFilteredClassifier around a new net."
            )


def filter_of(estimator: Any) -> Any:
    """The noise filter of a fitted classifier, or None; a filter is its own."""
    own = None if hasattr(estimator, "predict") else estimator
    return getattr(estimator, "noise_filter_", own)


@dataclass(frozen=True)
class Found:
    """Arrays of one entry per training sample, in the order given to ``fit``.

    Attributes
    ----------
    estimator : classifier
        Fitted.
    classes : ndarray of shape (n_classes,)
    given, suggested : ndarray of shape (n_samples,)
        Labels.
    quality : ndarray of shape (n_samples,), float64
        Probability that the given label is right, unless ``scores_only``.
    is_issue : ndarray of shape (n_samples,), bool
        Labels that look wrong.
    losses : ndarray of shape (n_samples,), float64
        NaN where unknown.
    used : ndarray of shape (n_samples,), bool
        False for samples that could not be read; these are no issues.
    """

    estimator: Any
    classes: NDArray[Any]
    given: NDArray[Any]
    suggested: NDArray[Any]
    quality: NDArray[np.float64]
    is_issue: NDArray[np.bool_]
    losses: NDArray[np.float64]
    used: NDArray[np.bool_]

    @classmethod
    def of(cls, estimator: Any) -> Found:
        """What a classifier found.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it was fitted without a look at the labels.
        """
        check_is_fitted(estimator)
        if not has_looked(estimator):
            check_no_cleansing(estimator)
            if hasattr(estimator, "clean_mask_") and not hasattr(estimator, "predict"):
                raise ValueError(
                    f"{type(estimator).__name__} keeps clean_mask_ and clean_proba_, "
                    "but not the labels. Pass the classifier that it is the filter of, "
                    "or a NoiseChannelFilter."
                )
            raise ValueError(
                f"This {type(estimator).__name__} has not looked for wrong labels. "
                "Pass a TURNClassifier fitted with cleansing='epoch' or 'once', a "
                "NoiseFilteredClassifier, a pipeline that ends with one, or a "
                "NoiseChannelFilter."
            )
        given = np.asarray(estimator.given_labels_)
        used = np.ones(len(given), dtype=bool)
        used[getattr(estimator, "skipped_", [])] = False
        return cls(
            estimator=estimator,
            classes=estimator.classes_,
            given=given,
            suggested=np.asarray(estimator.suggested_labels_),
            quality=np.asarray(estimator.clean_proba_),
            is_issue=used & ~estimator.clean_mask_,
            losses=getattr(estimator, "losses_", np.full(len(given), np.nan)),
            used=used,
        )

    @property
    def scores_only(self) -> bool:
        """Whether ``quality`` ranks labels but is no probability."""
        decided_by = (self.estimator, filter_of(self.estimator))
        return any(getattr(one, "scores_only", False) for one in decided_by)

    def ranking(self) -> NDArray[np.intp]:
        """Positions of all samples, the least probable labels first, unread ones last.

        Many probabilities are zero: among these, the higher loss comes first.
        """
        return np.lexsort((-self.losses, self.quality, ~self.used))

    def suspects(self) -> NDArray[np.intp]:
        """Positions of the issues, the least probable labels first."""
        order = self.ranking()
        found: NDArray[np.intp] = order[self.is_issue[order]]
        return found

    def codes(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        """Places of labels of used samples among the classes."""
        return np.searchsorted(self.classes, labels)
