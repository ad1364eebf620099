"""From the name of a loss and its parameters to the criterion of a net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .active_passive import ActivePassiveLoss
from .base import SampleLoss
from .elr import ELRLoss
from .entropy import CrossEntropyLoss, GCELoss, SCELoss
from .truncated import TruncatedGCELoss

#: From this number of classes on, the defaults are those published for CIFAR-100, below
#: it those for CIFAR-10. WebVision, with 50 classes, is published with the former kind.
MANY_CLASSES = 50

#: Loss -> its parameters, as published for few and for many classes. Of "elr" those for
#: CIFAR-100 are used throughout: in short training on ten classes they did better, by
#: accuracy on noisy labels held out, than the 3.0 and 0.7 for CIFAR-10.
DEFAULTS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "ce": ({}, {}),
    "gce": ({"q": 0.7}, {"q": 0.7}),
    "sce": ({"alpha": 0.1, "beta": 1.0}, {"alpha": 6.0, "beta": 0.1}),
    "elr": (
        {"elr_lambda": 7.0, "elr_beta": 0.9},
        {"elr_lambda": 7.0, "elr_beta": 0.9},
    ),
    "nce+rce": ({"alpha": 1.0, "beta": 1.0}, {"alpha": 10.0, "beta": 0.1}),
    "ngce+mae": (
        {"alpha": 1.0, "beta": 1.0, "q": 0.1},
        {"alpha": 10.0, "beta": 1.0, "q": 0.7},
    ),
    "nce+agce": (
        {"alpha": 1.0, "beta": 4.0, "a": 6.0, "q": 1.5},
        {"alpha": 10.0, "beta": 0.1, "a": 1.8, "q": 3.0},
    ),
    "nce+aul": (
        {"alpha": 1.0, "beta": 4.0, "a": 6.3, "q": 1.5},
        {"alpha": 10.0, "beta": 0.015, "a": 6.0, "q": 3.0},
    ),
    "nce+ael": (
        {"alpha": 1.0, "beta": 4.0, "a": 5.0},
        {"alpha": 10.0, "beta": 0.1, "a": 1.5},
    ),
}

_KINDS: dict[str, type[SampleLoss]] = {
    "ce": CrossEntropyLoss,
    "gce": GCELoss,
    "sce": SCELoss,
    "elr": ELRLoss,
}
# Parameters of the estimators that the losses call otherwise.
_NAMES = {"elr_lambda": "lambda_", "elr_beta": "beta"}


def named_criterion(
    name: str,
    given: Mapping[str, float | None],
    *,
    n_samples: int,
    n_classes: int,
    n_visits: int,
) -> dict[str, Any]:
    """Options of a skorch net for a loss: ``criterion`` and ``criterion__*``.

    Parameters
    ----------
    name : str
        A key of ``DEFAULTS``.
    given : mapping of str to float or None
        Parameters of any loss, by their names in the estimators; None is the default.
    n_samples, n_classes : int
        Of the training set.
    n_visits : int
        How often the loss will see each sample.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If a parameter of the loss is out of its range, or its memory would be too
        large.
    """
    options: dict[str, Any] = {
        _NAMES.get(key, key): default if given[key] is None else given[key]
        for key, default in DEFAULTS[name][n_classes >= MANY_CLASSES].items()
    }
    kind = _KINDS.get(name, ActivePassiveLoss)
    if kind is ActivePassiveLoss:
        options["terms"] = name
    elif kind is ELRLoss:
        options |= {"n_samples": n_samples, "n_classes": n_classes}
    elif kind is GCELoss and given["truncation"] is not None:
        kind = TruncatedGCELoss
        options |= {"n_samples": n_samples, "truncation": given["truncation"]}
        options["plain_visits"] = max(1, n_visits // 3)
    kind(**options)  # checks them
    return {"criterion": kind, **{f"criterion__{k}": v for k, v in options.items()}}
