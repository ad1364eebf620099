'''What a noise filter is, and how the library runs one.

A noise filter is a scikit-learn estimator with ``fit(evidence, y)``, which sets
``clean_mask_`` (bool, (n_samples,)) and ``clean_proba_`` (float, (n_samples,), the
probability that each given label is right). ``y`` holds the labels as the user gave
them. The class attribute ``evidence`` names what ``fit`` is to be given:

- ``"losses"``, the default: the cross-entropy of each given label in nats,
  (n_samples, 1); a filter that predicts, transforms or scores as well has to say so;
- ``"log_proba"``: log-probabilities of all classes, (n_samples, n_classes), columns in
  the order of the sorted classes;
- ``"features"``: what the classifier's last layer sees, (n_samples, width).

Both arguments are read-only: change a copy. These attributes are used where a filter
has them:

- ``suggested_labels_``, (n_samples,), labels out of those in ``y``: what each label
  should be. Else labels that are not clean give way to the classifier's prediction.
- ``label_proba_``, float, (n_samples, n_classes), columns as those of ``"log_proba"``:
  the probability of each true class, for ``label_correction``; rows sum to one. Else
  it is mixed from label and prediction by ``clean_proba_``.
- ``tau``: how probable a class must be to be trained on, with
  ``label_correction="hard"``; 0.5 without it.
- ``scores_only``: True where ``clean_proba_`` ranks the labels but is no probability,
  so that summaries compute no share of wrong labels from it.
- ``noise_rate`` and ``noise_rate_``: the share of wrong labels as the user tells it,
  None where it is not known, and as the filter finds it. Where probes judge the labels,
  the rate found before training is told at later cleansings, unless the filter, not
  told, then finds a higher one. An ``offset_`` not above 0 spares it that second fit.

A filter that finds no clean label at all is refused where only clean ones are trained
on. Where labels are corrected a warning says so, and all are trained on: "hard" as
they are given, "soft" as they are mixed.

A filter of one's own, by the votes of each sample's neighbours:

>>> import numpy as np
>>> from sklearn.base import BaseEstimator
>>> from sklearn.neighbors import NearestNeighbors
>>> class NeighborFilter(BaseEstimator):
...     """Labels that most of the nearest samples share are clean."""
...
...     evidence = "features"
...
...     def __init__(self, n_neighbors=10, tau=0.5):
...         self.n_neighbors = n_neighbors
...         self.tau = tau
...
...     def fit(self, X, y):
...         search = NearestNeighbors(n_neighbors=self.n_neighbors).fit(X)
...         # Without arguments, a sample is not its own neighbour.
...         neighbors = search.kneighbors(return_distance=False)
...         self.clean_proba_ = (y[neighbors] == y[:, None]).mean(axis=1)
...         self.clean_mask_ = self.clean_proba_ > self.tau
...         return self

It works wherever the library takes a ``noise_filter``:

>>> from sklearn.datasets import make_blobs
>>> from sklearn_turn import NoiseFilteredClassifier
>>> from sklearn_turn.noise import symmetric
>>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.7)
>>> y_noisy = symmetric(y, 0.3, random_state=0)
>>> clf = NoiseFilteredClassifier(noise_filter=NeighborFilter()).fit(X, y_noisy)
>>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
True
'''

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import clone

from ..exceptions import CleansingWarning
from .result_checks import SUM_TOLERANCE, check_result
from .verified import verified_codes

EVIDENCE = ("losses", "log_proba", "features")
# Methods of other kinds of estimators.
_OF_OTHERS = ("predict", "fit_predict", "transform", "fit_transform", "score_samples")


def make_filter(noise_filter: Any, tau: float | None) -> Any:
    """Noise filter that a ``noise_filter`` parameter stands for.

    Parameters
    ----------
    noise_filter : {"gmm", "channel"} or estimator
        An estimator is returned as it is.
    tau : float or None
        Threshold of a filter given by name; None is that filter's own default.

    Returns
    -------
    estimator
        Not fitted.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if not isinstance(noise_filter, str):
        return noise_filter
    # They import this module.
    from .channel import NoiseChannelFilter
    from .gmm import GMMNoiseFilter

    by_name = {"gmm": GMMNoiseFilter, "channel": NoiseChannelFilter}
    if noise_filter not in by_name:
        raise ValueError(
            f"noise_filter={noise_filter!r} is unknown: use 'gmm', 'channel' or an "
            "estimator such as GMMNoiseFilter()."
        )
    kind = by_name[noise_filter]
    return kind() if tau is None else kind(tau=tau)


def evidence_of(noise_filter: Any) -> str:
    """What a filter is to be fitted on: "losses", "log_proba" or "features"."""
    return getattr(noise_filter, "evidence", "losses")


def check_noise_filter(noise_filter: Any, y: NDArray[Any] | None = None) -> None:
    """Raise if an object is no noise filter; called before any training.

    Parameters
    ----------
    noise_filter : object
    y : ndarray of shape (n_samples,), default=None
        Given labels, where they are known: a filter with ``verified_labels`` must have
        one for each.

    Raises
    ------
    TypeError
        If it is a class, has no ``fit``, cannot be cloned, or is another kind of
        estimator, which predicts, transforms or scores (one that declares ``evidence``
        may do so).
    ValueError
        If its ``evidence`` is none of those that exist, a parameter is out of range,
        or ``verified_labels`` do not fit ``y``.
    """
    if isinstance(noise_filter, type):
        raise TypeError(
            f"The noise filter is the class {noise_filter.__name__}; pass an instance: "
            f"{noise_filter.__name__}()."
        )
    name = type(noise_filter).__name__
    if not callable(getattr(noise_filter, "fit", None)):
        raise TypeError(
            f"{noise_filter!r} is no noise filter: it has no fit(evidence, y). Use "
            "'gmm', 'channel' or an estimator such as GMMNoiseFilter()."
        )
    others = [method for method in _OF_OTHERS if hasattr(noise_filter, method)]
    if others and not hasattr(noise_filter, "evidence"):
        raise TypeError(
            f"{name} has {others[0]}, so it looks like a classifier, a transformer or "
            "a detector, and not like a noise filter, whose fit(evidence, y) sets "
            "clean_mask_ and clean_proba_. If it is one, declare it with a class "
            "attribute: evidence = 'losses'."
        )
    if evidence_of(noise_filter) not in EVIDENCE:
        raise ValueError(
            f"{name}.evidence is {evidence_of(noise_filter)!r}; it must be one of "
            f"{', '.join(map(repr, EVIDENCE))}."
        )
    try:
        clone(noise_filter)
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{name} cannot be cloned: derive it from sklearn.base.BaseEstimator, and "
            f"let __init__ only store its arguments. {error}"
        ) from error
    if hasattr(noise_filter, "_parameter_constraints"):
        noise_filter._validate_params()
    if y is not None:
        verified = getattr(noise_filter, "verified_labels", None)
        verified_codes(verified, np.unique(y), len(y))


def fit_filter(
    noise_filter: Any,
    evidence: Mapping[str, NDArray[Any]],
    y: NDArray[Any],
    *,
    needs_clean: bool = True,
) -> Any:
    """Fit a clone of a filter on the evidence it asks for, and check its result.

    Parameters
    ----------
    noise_filter : estimator
        As :func:`check_noise_filter` accepts it.
    evidence : mapping of str to ndarray
        At least what the filter asks for, under its name. The filter cannot write to
        it, nor to ``y``.
    y : ndarray of shape (n_samples,)
        Given labels, as the user gave them.
    needs_clean : bool, default=True
        Whether to raise if nothing is selected as clean, rather than warn.

    Returns
    -------
    estimator
        The fitted clone.

    Warns
    -----
    CleansingWarning
        If nothing is selected as clean, and nothing needs to be.

    Raises
    ------
    TypeError
        If ``fit`` sets no ``clean_mask_`` or no ``clean_proba_``.
    ValueError
        If the mask is not bool, the probabilities are outside [0, 1], or do not sum to
        one over the classes, what the filter set has another shape than the protocol
        says, or nothing is selected as clean.
    """
    asked = evidence[evidence_of(noise_filter)]
    fitted = clone(noise_filter)
    # They are the caller's own, and training goes on with them.
    fitted.fit(_read_only(asked), _read_only(y))
    name, n = type(fitted).__name__, len(y)
    check_result(fitted, n, evidence.get("log_proba"))
    if not fitted.clean_mask_.any() and not needs_clean:
        warnings.warn(
            f"{name} selected none of the {len(y)} labels as clean: its threshold is "
            "too high, or what it is shown says little more of the labels than chance. "
            "Lower the threshold, or use the input size the backbone was trained for, "
            "another backbone, or more samples. Hard correction leaves all labels as "
            "they are given.",
            CleansingWarning,
            stacklevel=3,
        )
    elif not fitted.clean_mask_.any():
        diverged = not np.isfinite(asked).all()
        raise ValueError(
            f"{name} selected none of the {len(y)} labels as clean, so that no sample "
            "is left to train on. "
            + (
                "Some of its input is not finite: if training diverged, lower the "
                "learning rate."
                if diverged
                else "Lower its threshold, or use noise_filter='gmm', which keeps "
                "samples of every class."
            )
        )
    return fitted


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def check_log_proba(log_proba: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Raise unless rows are the log-probabilities of ``n_classes`` classes.

    Parameters
    ----------
    log_proba : array-like of shape (n_samples, n_classes)
        Natural logarithms; minus infinity is a probability of zero.
    n_classes : int

    Returns
    -------
    ndarray of shape (n_samples, n_classes), float64

    Raises
    ------
    ValueError
        If there is another number of columns, a NaN, a positive value, or a row whose
        probabilities do not sum to one within 0.01, the precision of 16 bits.
    """
    checked = np.asarray(log_proba, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[1] != n_classes:
        raise ValueError(
            f"The log-probabilities have shape {checked.shape}, but y has {n_classes} "
            "classes. Pass one row per sample and one column per class, in the order "
            "of the sorted classes."
        )
    _refuse_rows(
        np.isnan(checked).any(axis=1),
        "contain NaN",
        "If training diverged, lower the learning rate.",
    )
    remedy = "Pass np.log(proba) or scipy.special.log_softmax(logits, axis=1)."
    positive = (checked > SUM_TOLERANCE).any(axis=1)
    _refuse_rows(positive, "contain positive values", remedy)
    off = np.abs(np.exp(logsumexp(checked, axis=1)) - 1.0) > SUM_TOLERANCE
    _refuse_rows(off, "belong to probabilities that do not sum to one", remedy)
    return checked


def _refuse_rows(wrong: Any, what: str, remedy: str) -> None:
    if wrong.any():
        raise ValueError(
            f"The log-probabilities of {wrong.sum()} of {len(wrong)} samples {what}, "
            f"the first at index {wrong.argmax()}. {remedy}"
        )


def with_noise_rate(noise_filter: Any, rate: float | None) -> Any:
    """A noise filter told the noise rate, if it takes one and has none.

    Parameters
    ----------
    noise_filter : estimator
    rate : float or None
        None tells it nothing.

    Returns
    -------
    estimator
        The same, or a clone.
    """
    parameters = noise_filter.get_params(deep=False)
    if rate is None or parameters.get("noise_rate", 0) is not None:
        return noise_filter
    return clone(noise_filter).set_params(noise_rate=rate)


def rate_found(noise_filter: Any, fitted: Any) -> float | None:
    """Noise rate that a filter found, itself or before; None if its user told it.

    Parameters
    ----------
    noise_filter : estimator
        As its user made it.
    fitted : estimator
        The same, fitted, perhaps with a rate that was found before.
    """
    if getattr(noise_filter, "noise_rate", None) is not None:
        return None
    held = getattr(fitted, "noise_rate", None)
    return getattr(fitted, "noise_rate_", None) if held is None else held
