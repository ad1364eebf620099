"""What is around a classifier."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline, make_pipeline


def take_apart(estimator: Any) -> tuple[Any, Any]:
    """The steps before a classifier, or None, and the classifier.

    Parameters
    ----------
    estimator : classifier, Pipeline or search, or one inside of the other
    """
    before: list[Any] = []
    while True:
        estimator = getattr(estimator, "best_estimator_", estimator)
        if not isinstance(estimator, Pipeline):
            break
        if len(estimator) > 1:
            before.append(estimator[:-1])
        estimator = estimator[-1]
    return (make_pipeline(*before) if before else None), estimator
