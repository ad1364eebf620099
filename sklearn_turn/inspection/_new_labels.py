"""Labels of samples that a classifier was not fitted on."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from ..labels import encode_known
from ..predictions import log_of
from ..selection import NoiseChannelFilter
from ._found import Found, check_no_cleansing

# New labels per class, on average, of which the noise can be estimated anew.
_MANY = 50
# Share of the labels that few classifiers predict unless they learned them, and number
# of labels from which that says something.
_BY_HEART, _TOO_FEW_TO_TELL = 0.99, 50


def check_new(classifier: Any, X: Any, y: NDArray[Any] | None) -> None:
    """Raise where labels of new samples cannot be judged; called before any pass.

    Parameters
    ----------
    classifier : classifier
        Fitted.
    X : samples or None
    y : ndarray of shape (n_samples,) or None

    Raises
    ------
    ValueError
        If samples or labels are missing, the classifier tells no probabilities, or
        there are labels it does not know, or none of a class from which the noise must
        be estimated.
    """
    name = type(classifier).__name__
    if y is None:
        if not hasattr(classifier, "predict"):
            Found.of(classifier)  # says what a filter lacks
        check_no_cleansing(classifier)
        raise ValueError(
            f"This {name} has not looked for wrong labels in fit. Pass new samples "
            "with their labels, or fit one that does: TURNClassifier with "
            "cleansing='epoch' or 'once', or NoiseFilteredClassifier(classifier, "
            "'channel', cv=5)."
        )
    if X is None:
        raise ValueError("There are labels but no samples: pass X and y.")
    if not hasattr(classifier, "predict_proba"):
        raise ValueError(
            f"{name} has no predict_proba, which tells whether labels are right."
        )
    classes = np.sort(classifier.classes_)
    codes = encode_known(y, classes, f"y contains labels that {name} does not know")
    absent = np.delete(classes, codes)
    if len(absent) and _channel_of(classifier) is None:
        raise ValueError(
            f"There is no new sample labelled {absent[:10].tolist()}. The noise of new "
            "labels is estimated from labels of all classes: pass more samples, or fit "
            "with noise_filter='channel', whose estimate is used then."
        )


def judge_new(classifier: Any, X: Any, y: NDArray[Any]) -> Found:
    """Whether labels of new samples are right, by one pass and a noise channel.

    Parameters
    ----------
    classifier : classifier
        Fitted.
    X : samples
        As the classifier takes them.
    y : ndarray of shape (n_samples,)
        As :func:`check_new` accepts them.

    Returns
    -------
    Found
    """
    order = np.argsort(classifier.classes_)
    classes = classifier.classes_[order]
    codes = encode_known(y, classes)
    log_proba = log_of(classifier.predict_proba(X)[:, order])
    agreement = float(np.mean(log_proba.argmax(axis=1) == codes))
    channel = _channel_of(classifier)
    counts = np.bincount(codes, minlength=len(classes))
    if channel is None or (counts.all() and counts.mean() >= _MANY):
        # They may have been labelled with more care than those of fit, or with less.
        own = NoiseChannelFilter() if channel is None else clone(channel)
        channel = own.set_params(noise_rate=None, verified_labels=None).fit(
            log_proba, y
        )
        posterior = channel.label_proba_
    else:
        posterior = channel.label_proba(log_proba, y)
    rows = np.arange(len(y))
    quality = posterior[rows, codes]
    is_issue = (quality <= channel.tau) & (quality < 1)
    # Of a classifier of ours it is known what it was trained on.
    if not (hasattr(classifier, "given_labels_") or is_issue.any()):
        _warn_of_labels_known_by_heart(classifier, len(y), agreement)
    return Found(
        estimator=classifier,
        classes=classes,
        given=classes[codes],
        suggested=classes[posterior.argmax(axis=1)],
        quality=quality,
        is_issue=is_issue,
        losses=-log_proba[rows, codes],
        used=np.ones(len(y), dtype=bool),
    )


def _warn_of_labels_known_by_heart(classifier: Any, n: int, agreement: float) -> None:
    if n < _TOO_FEW_TO_TELL or agreement < _BY_HEART:
        return
    name = type(classifier).__name__
    warnings.warn(
        f"No label is flagged, and {name} predicts {agreement:.1%} of them. If it was "
        "trained on these samples, it may know their labels by heart, right or wrong: "
        f"fit NoiseFilteredClassifier({name}(...)), which predicts out of fold.",
        UserWarning,
        stacklevel=4,
    )


def _channel_of(classifier: Any) -> NoiseChannelFilter | None:
    """The channel fitted with the classifier, if it has one."""
    found = getattr(classifier, "noise_filter_", None)
    return found if isinstance(found, NoiseChannelFilter) else None
