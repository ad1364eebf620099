"""What any classifier predicts, in the order of our classes."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit, StratifiedKFold, check_cv
from sklearn.utils import _safe_indexing

from .folds import with_copies_together
from .labels import check_same_kind, class_names, encode_labels
from .pipelines import take_apart
from .selection.comparison import explains_better
from .selection.mixture import Floats, Ints

Folds = list[tuple[Ints, Ints]]


def all_columns(
    estimator: Any, values: Floats, classes: NDArray[Any], *, absent: float
) -> Floats:
    """Columns in the order of ``classes``, also of those the estimator never saw.

    scikit-learn's classifiers sort their classes; others need not, and may know more.

    Parameters
    ----------
    estimator : classifier
        Fitted.
    values : ndarray of shape (n_samples,) or (n_samples, n_columns)
        Its probabilities or decisions.
    classes : ndarray of shape (n_classes,)
        Sorted.
    absent : float
        Value of a class it never saw: 0 for probabilities, less for decisions.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_classes)

    Raises
    ------
    ValueError
        If the columns are not one for each class the estimator knows.
    """
    seen = np.asarray(getattr(estimator, "classes_", classes))
    name = type(estimator).__name__
    check_same_kind(seen, classes, f"The labels and classes_ of {name}")
    # A network has an output for each code, whichever labels it was fitted on.
    by_code = np.array_equal(classes, np.arange(len(classes)))
    more = absent == 0.0 and len(seen) < values.shape[1] == len(classes) and by_code
    if more:
        values = values[:, seen.astype(np.intp)]
    if absent == 0.0 and values.shape[1] != len(seen):
        raise ValueError(
            f"predict_proba of {name} has {values.shape[1]} "
            f"columns, but its classes_ are {len(seen)}. A network needs one output "
            "for each label there is, and labels that are codes 0, 1, ...: "
            "np.unique(y, return_inverse=True)[1]."
        )
    if np.array_equal(seen, classes):
        return values
    is_binary = values.ndim == 1  # the decision between two classes
    if is_binary:
        values = np.column_stack([-values, values])
    _, classifier = take_apart(estimator)
    one_vs_one = getattr(classifier, "decision_function_shape", "") == "ovo"
    if values.shape[1] != len(seen) or (one_vs_one and absent < 0):
        raise ValueError(
            f"The decisions of {name} are not one column per "
            "class, so that none can be added for classes without a clean sample. "
            "Use decision_function_shape='ovr', or predict_proba."
        )
    columns = np.full((len(values), len(classes)), absent, values.dtype)
    known = np.isin(seen, classes)
    columns[:, np.searchsorted(classes, seen[known])] = values[:, known]
    if more or (absent == 0.0 and not known.all()):
        # One of the labelled classes that it knows is the true one.
        nothing = columns.sum(axis=1) == 0
        columns[np.ix_(nothing, np.isin(classes, seen))] = 1.0
        columns /= columns.sum(axis=1, keepdims=True)
    if is_binary and len(classes) == 2:
        return np.clip((columns[:, 1] - columns[:, 0]) / 2, absent, -absent)
    return columns


def default_predictions(
    X: Any, labels: NDArray[Any], folds: Folds | None
) -> tuple[Any, Floats]:
    """The classifier by which labels are judged where the user names none.

    A regularised logistic regression, with balanced classes where the labels are
    clearly better explained so: those that are wrong in one direction make the class
    they go to more frequent, which a classifier that knows the frequencies takes for
    the truth. Of classes that are unequal in truth, the other way round is wrong.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
    labels : ndarray of shape (n_samples,)
    folds : list of (ndarray, ndarray) or None
        See :func:`predict_training_samples`.

    Returns
    -------
    classifier : Pipeline
        Not fitted.
    proba : ndarray of shape (n_samples, n_classes)
        Its predictions for the training samples.
    """
    codes = encode_labels(labels)[1]
    counts = np.bincount(codes)
    plain = _logistic(X, None)
    proba = predict_training_samples(plain, X, labels, folds)
    if np.ptp(counts) == 0:
        return plain, proba
    balanced = _logistic(X, "balanced")
    by_balanced = predict_training_samples(balanced, X, labels, folds)
    if explains_better(log_of(by_balanced), log_of(proba), codes):
        return balanced, by_balanced
    return plain, proba


def _logistic(X: Any, class_weight: str | None) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Logits of standardised features are then of order 1 beforehand, however many
    # features there are.
    C = 1 / max(1, np.shape(X)[1]) if np.ndim(X) == 2 else 1.0
    return make_pipeline(
        StandardScaler(with_mean=not issparse(X)),
        LogisticRegression(C=C, class_weight=class_weight, max_iter=1000),
    )


def check_network(estimator: Any, classes: NDArray[Any]) -> None:
    """Raise for a skorch net that cannot be judged by, or not be trained.

    A clone of one that was trained knows what it was trained on, and cannot be told
    from one with weights from elsewhere.

    Parameters
    ----------
    estimator : classifier
        Not fitted, or around one that is not.
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    TypeError
        If labels are text.
    ValueError
        If it was trained.
    """
    net = estimator
    while hasattr(net, "steps") or hasattr(net, "estimator"):
        net = net.steps[-1][1] if hasattr(net, "steps") else net.estimator
    module = getattr(net, "module", None)
    if module is not None and hasattr(net, "criterion") and classes.dtype.kind in "UO":
        raise TypeError(
            f"{type(net).__name__} is trained on codes, not on text. Make them with "
            "classes, codes = np.unique(y, return_inverse=True), and pass codes."
        )
    is_object = hasattr(module, "state_dict") and not isinstance(module, type)
    if is_object and getattr(net, "history", None):
        name = type(net).__name__
        raise ValueError(
            f"This {name} was trained before, and its module is an object whose "
            "weights are copied with it, so that no copy judges labels it has not "
            f"seen. Make a new module (clone keeps the weights), or pass a {name} "
            "with a class as its module."
        )


def predict_training_samples(
    estimator: Any, X: Any, labels: NDArray[Any], folds: Folds | None
) -> Floats:
    """Class probabilities of samples that a classifier is trained on.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Cloned for each fit.
    X : samples
        As the estimator takes them.
    labels : ndarray of shape (n_samples,)
    folds : list of (ndarray, ndarray) or None
        Of :func:`folds_of`: each sample is predicted by a model that did not see it.
        None predicts by one model that saw them all.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Columns in the order of the sorted labels.
    """
    classes = encode_labels(labels)[0]
    if folds is None:
        fitted = clone(estimator).fit(X, labels)
        return all_columns(fitted, fitted.predict_proba(X), classes, absent=0.0)
    # Not cross_val_predict, which gives the estimator codes in place of the labels and
    # expects their order in its columns.
    parts = []
    for train, test in folds:
        fitted = clone(estimator).fit(_safe_indexing(X, train), labels[train])
        part = fitted.predict_proba(_safe_indexing(X, test))
        parts.append(all_columns(fitted, part, classes, absent=0.0))
    return np.concatenate(parts)[
        np.argsort(np.concatenate([test for _, test in folds]))
    ]


def folds_of(cv: Any, X: Any, labels: NDArray[Any]) -> Folds | None:
    """Training and test samples of each fold; every sample is tested once.

    Parameters
    ----------
    cv : int, cross-validation splitter or None
        An integer is lowered to the size of the largest class, and keeps copies of a
        sample together; a splitter decides itself what it does. None has no folds.
    X : samples
    labels : ndarray of shape (n_samples,)

    Returns
    -------
    list of (ndarray, ndarray) or None

    Raises
    ------
    ValueError
        If a fold leaves a class without training samples, or the test folds are no
        partition of the samples.
    """
    if cv is None:
        return None
    asked = cv
    classes, codes = encode_labels(labels)
    if np.bincount(codes, minlength=1).max() < 2:
        raise ValueError(
            "Each class has one sample, so that no label can be checked by a model "
            "that did not see it. Give each class two samples or more, or set cv=None."
        )
    with warnings.catch_warnings():
        # Of classes with fewer samples than folds, which are judged all the same.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        if isinstance(cv, Integral):
            cv = max(2, min(int(cv), int(np.bincount(codes).max())))
            dealt = np.empty(len(codes), dtype=np.intp)
            for fold, (_, test) in enumerate(StratifiedKFold(cv).split(codes, codes)):
                dealt[test] = fold
            cv = PredefinedSplit(with_copies_together(dealt, codes, X))
        folds: Folds = list(check_cv(cv, labels, classifier=True).split(X, labels))
    for train, _ in folds:
        absent = np.setdiff1d(codes, codes[train])
        if len(absent):
            raise ValueError(
                f"A fold of cv={asked!r} has no training sample of "
                f"{class_names(classes[absent])}, so that their labels cannot be "
                "checked. Give each class two samples or more, shuffle the "
                "splitter, or set cv=None."
            )
    tested = np.concatenate([test for _, test in folds])
    if not np.array_equal(np.sort(tested), np.arange(len(codes))):
        raise ValueError(
            f"The test folds of cv={asked!r} must hold each sample once. Use "
            "KFold, StratifiedKFold or another splitter that makes a partition."
        )
    return folds


def log_of(proba: Floats) -> Floats:
    """Log-probabilities, bounded as in scikit-learn's log_loss; NaN stays NaN.

    Parameters
    ----------
    proba : ndarray, of any shape

    Returns
    -------
    ndarray of the same shape, float64
    """
    least = np.finfo(np.float64).eps
    return np.log(np.maximum(proba.astype(np.float64), least))


def losses_of(proba: Floats, codes: Ints) -> Floats:
    """Cross-entropy of each label in nats, bounded.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    codes : ndarray of shape (n_samples,), int
        Of the labels.

    Returns
    -------
    ndarray of shape (n_samples,), float64
    """
    # Forests and nearest neighbours give probabilities of exactly zero. Their infinite
    # losses, or merely large ones, would leave no scale on which the others differ.
    # With many classes even a clean label is that unlikely: the floor is below chance.
    least = min(5e-3, 0.1 / proba.shape[1])
    of_label = proba[np.arange(len(codes)), codes].astype(np.float64)
    return -np.log(np.maximum(of_label, least))
