"""The table of labels and what they should be."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import _num_samples, check_is_fitted

from ..labels import label_vector, own_index
from ..pipelines import take_apart
from ..warm_start import are_others
from ._found import Found, has_looked
from ._neighbors import neighbor_issues
from ._new_labels import check_new, judge_new
from ._pictures import image_source, paths_of
from ._tables import import_pandas, labels_as_text

if TYPE_CHECKING:
    import pandas as pd


def label_issues(
    estimator: Any,
    X: Any = None,
    y: ArrayLike | None = None,
    *,
    features: ArrayLike | str | None = None,
) -> pd.DataFrame:
    """Which labels look wrong, and what they should be.

    Of the samples of ``fit`` all is known already. Of new samples with labels, one
    pass tells what the classifier predicts for them.

    Parameters
    ----------
    estimator : classifier, Pipeline or search
        Fitted: TURNClassifier or another classifier of this library,
        NoiseFilteredClassifier, any classifier with ``predict_proba`` for new samples;
        a pipeline that ends with one, or a search that found one; or a
        NoiseChannelFilter, for predictions from elsewhere.
    X : images, file paths or features, default=None
        Without ``y``: the samples given to ``fit``, in the same order, for their paths
        and features only, and their index in pandas. Of a table with a column of paths,
        pass that column.
        With ``y``: new samples.
    y : array-like of shape (n_samples,), default=None
        Given labels of new samples, of the classes the estimator knows. If they equal
        those of ``fit``, one by one, then ``X`` is taken for the samples of ``fit``,
        unless a TURNClassifier that filtered by probes out of fold was given others.
    features : array-like of shape (n_samples, n_features) or "extract", default=None
        Adds the columns of :func:`neighbor_issues`: near-duplicates, contradicting
        labels among them, outliers. "extract" takes 2-D ``X`` as it is, what the steps
        before the classifier make of it, or the features of the classifier's backbone
        as it was before fine-tuning: from its ``memory``, or by one pass.

    Returns
    -------
    DataFrame
        One row per sample, in the order given. Its index is that of ``y``, or of ``X``,
        where pandas gave them one of their own, here or in ``fit``, so that it joins
        with your tables; else it is named ``index`` and counts from 0. Columns:

        - ``position``, int64: counted from 0, where the index is another.
        - ``path``, str: where ``X`` holds paths.
        - ``given_label``, ``suggested_label``: members of ``classes_``.
        - ``label_quality``, float64: probability that the given label is right; NaN
          for samples that could not be read.
        - ``is_label_issue``, bool: whether the label looks wrong.
        - ``loss``, float64: cross-entropy of the given label in nats.
        - ``rank``, int64: 1 is the label most probably wrong.

        ``to_csv("issues.csv")`` and ``to_parquet("issues.parquet")`` write it; with the
        columns ``mark`` and ``corrected_label`` filled in,
        :func:`apply_corrections` reads the former back.

    Raises
    ------
    ImportError
        If pandas is not installed.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator has not looked for wrong labels and no labels are given;
        ``X``, ``y`` and ``features`` differ in length; ``y`` has labels it does not
        know; or "extract" finds no features.

    Warns
    -----
    UserWarning
        If a classifier of this library that has not looked for wrong labels is asked
        for those it was trained on: it agrees with them too much, and too few are
        found. Predictions of models that did not see the sample are better; see the
        example. Of a part of the samples that is not known; of other classifiers it is
        suspected where 99 % of 50 labels or more are predicted and none is flagged.
        Also if the labels may be those of ``fit`` in another order, or equal them while
        the samples are others.

    See Also
    --------
    noise_summary : How many labels are wrong, and which classes are confused.
    export_report : A page to look at the suspects.

    Notes
    -----
    New labels are judged by a channel that is fitted to the predictions for them, where
    they are of all classes and, on average, 50 or more of each: they may be better than
    those of ``fit``, or worse. A channel of ``fit`` lends its settings, but for a rate
    that it was told. Fewer labels, even a single one, are judged by the channel of
    ``fit`` itself, where the estimator has a
    :class:`~sklearn_turn.NoiseChannelFilter`; without one, they must be of all classes,
    and should be many. The mixture of ``fit`` is not used: losses of samples that were
    trained on, and of others, are not of the same size.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_turn import NoiseFilteredClassifier
    >>> from sklearn_turn.inspection import label_issues
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.7)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)

    Any classifier is audited out of fold by a filter around it:

    >>> clf = NoiseFilteredClassifier(LogisticRegression(), "channel", cv=5)
    >>> issues = label_issues(clf.fit(X, y_noisy))
    >>> list(issues.columns)[:3]
    ['given_label', 'suggested_label', 'label_quality']
    >>> worst = issues.sort_values("rank").index[:50]
    >>> bool((y != y_noisy)[worst].mean() > 0.9)
    True
    """
    pd = import_pandas()
    before, classifier = take_apart(estimator)
    check_is_fitted(classifier)
    given = None if y is None else label_vector(y)
    of_fit = given is None or np.array_equal(
        given, getattr(classifier, "given_labels_", ())
    )
    others = of_fit and y is not None and before is None and are_others(classifier, X)
    if others:
        _warn_of_other_samples()
        of_fit = False
    is_known = of_fit and has_looked(classifier)
    if not is_known:
        check_new(classifier, X, given)
        if of_fit:
            _warn_of_own_labels(classifier)
        elif not others and _are_reordered(given, classifier):
            _warn_of_another_order()
    n = len(classifier.given_labels_ if given is None else given)
    _check_samples(n, X, features)
    needs_pass = not is_known or isinstance(features, str)
    seen = before.transform(X) if before is not None and needs_pass else X
    if is_known or given is None:
        found = Found.of(classifier)
    else:
        found = judge_new(classifier, seen, given)
    rank = np.empty(n, dtype=np.int64)
    rank[found.ranking()] = np.arange(1, n + 1)
    table = pd.DataFrame(
        {
            **_paths(X),
            "given_label": labels_as_text(found.given),
            "suggested_label": labels_as_text(found.suggested),
            "label_quality": np.where(found.used, found.quality, np.nan),
            "is_label_issue": found.is_issue,
            "loss": found.losses,
            "rank": rank,
        },
        index=pd.RangeIndex(n, name="index"),
    )
    if features is not None:
        if isinstance(features, str):
            features = _extracted(classifier, seen, found.used)
        table = table.join(_neighbors_of_used(features, found))
    index = own_index(y, X)
    if index is None and of_fit:
        index = getattr(classifier, "sample_index_", None)
    if index is None:
        return table
    if not isinstance(index, pd.Index):  # from a file
        index = pd.Index(index)
    table = table.reset_index(names="position")
    # In a file there would be two columns of a name.
    taken = {"index", *table.columns}
    names = [None if name in taken else name for name in index.names]
    return table.set_axis(index.set_names(names))


def _check_samples(n: int, X: Any, features: Any) -> None:
    """Raise if X or features are not those of as many samples as there are labels."""
    if isinstance(features, str):
        if features != "extract":
            raise ValueError(
                f"features must be an array or 'extract', not {features!r}."
            )
        if X is None:
            raise ValueError("features='extract' needs X, the samples to look at.")
    for what, found in (("X", X), ("features", features)):
        if found is None or isinstance(found, str) or _num_samples(found) == n:
            continue
        raise ValueError(
            f"{what} has {_num_samples(found)} samples, but there are {n} labels. "
            "Without y, pass the samples given to fit; new samples need their labels."
        )


def _warn_of_other_samples() -> None:
    warnings.warn(
        "The labels are equal to those of fit, one by one, but X holds other samples, "
        "which are judged as new ones. What fit found is label_issues(estimator).",
        UserWarning,
        stacklevel=3,
    )


def _warn_of_own_labels(classifier: Any) -> None:
    warnings.warn(
        f"{type(classifier).__name__} was trained on these labels: its predictions "
        "agree with them too much, and few look wrong. Use NoiseFilteredClassifier("
        "classifier, 'channel', cv=5), which predicts samples out of fold.",
        UserWarning,
        stacklevel=3,
    )


def _are_reordered(given: Any, classifier: Any) -> bool:
    """Whether there are as many labels of each class as in ``fit``."""
    first = np.asarray(getattr(classifier, "given_labels_", ()))
    return len(first) == len(given) and np.array_equal(np.sort(first), np.sort(given))


def _warn_of_another_order() -> None:
    warnings.warn(
        "y holds as many labels of each class as that of fit, in another order. Here "
        "samples of fit are judged by a model that was trained on them: what fit found "
        "of them, in its own order, is label_issues(estimator).",
        UserWarning,
        stacklevel=3,
    )


def _paths(X: Any) -> dict[str, list[str]]:
    paths = paths_of(image_source(X))
    return {} if paths is None else {"path": paths}


def _neighbors_of_used(features: ArrayLike, found: Found) -> pd.DataFrame:
    """Columns of :func:`neighbor_issues`, without a finding where there is no image."""
    rows: NDArray[Any] = np.asarray(features)
    places = np.flatnonzero(found.used)
    table = neighbor_issues(rows[places], found.given[places]).set_index(places)
    everyone = range(len(rows))
    columns = {
        name: column.reindex(everyone, fill_value=False)
        if column.dtype == np.bool_
        else column.reindex(everyone)
        for name, column in table.items()
    }
    return import_pandas().DataFrame(columns)


def _extracted(classifier: Any, X: Any, used: NDArray[np.bool_]) -> NDArray[Any]:
    """Features of the samples; zeros for those that could not be read."""
    from ..features import FeatureExtractor
    from ..inputs import Subset, as_source, is_images
    from ..parameters import ClassifierParameters

    if not is_images(X):
        return check_array(X, dtype=None)
    if not isinstance(classifier, ClassifierParameters):
        raise ValueError(
            f"{type(classifier).__name__} has no backbone to extract features from "
            "images with. Pass features=FeatureExtractor(...).fit_transform(X)."
        )
    extract = FeatureExtractor()
    extract.set_params(
        **{name: getattr(classifier, name) for name in extract.get_params(deep=False)}
    )
    readable = Subset(as_source(X, check=False), np.flatnonzero(used))
    found = extract.fit_transform(readable)
    features = np.zeros((len(used), found.shape[1]), dtype=found.dtype)
    features[used] = found
    return features
