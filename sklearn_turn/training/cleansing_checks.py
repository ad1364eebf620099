"""Whether a net can be cleansed as it was asked for; checked before it trains."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from ..labels import decoded, sorted_classes
from ..selection.protocol import check_noise_filter, evidence_of
from .evidence import check_gives_features, check_in_order
from .net import Net

_LEGAL = {
    "warmup_epochs": [Interval(Integral, 0, None, closed="left"), None],
    "balance": [StrOptions({"min"}), Interval(Real, 1, None, closed="left"), None],
    "label_correction": [StrOptions({"hard", "soft"}), None],
}


def check_cleansing(cleansing: Any, noise_filter: Any, net: Any, y: Any = None) -> None:
    """Raise if a net cannot be cleansed.

    Parameters
    ----------
    cleansing : Cleansing
    noise_filter : object
        What its ``noise_filter`` stands for.
    net : skorch net
    y : array-like of shape (n_samples,), default=None
        Given labels, where they are known before an epoch asks for them.

    Raises
    ------
    TypeError
        If the filter is none, the net of a kind that cannot be cleansed so, or labels
        are no numbers.
    ValueError
        If a parameter is illegal, without effect, or lacks something, or does not fit
        the labels.
    """
    given = {name: getattr(cleansing, name) for name in _LEGAL}
    caller = type(cleansing).__name__
    validate_parameter_constraints(_LEGAL, given, caller_name=caller)
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().long()  # NumPy lacks some kinds of floats
    labels = None if y is None else np.ravel(y)
    if labels is not None and any(isinstance(x, str | bytes) for x in labels[:1]):
        raise TypeError(
            "skorch nets are trained on codes, not on text. Make them with "
            "classes, codes = np.unique(y, return_inverse=True), train on codes, and "
            "pass classes to Cleansing."
        )
    classes = sorted_classes(cleansing.classes)
    if labels is not None and len(labels):
        labels = decoded(labels.astype(np.intp), classes)
    check_noise_filter(noise_filter, labels)
    accelerator = getattr(net, "accelerator", None)
    if getattr(accelerator, "num_processes", 1) > 1:
        raise TypeError(
            f"{type(net).__name__} is trained by several processes of skorch's "
            "AccelerateMixin, and each would see a part of the samples only. Use "
            "an estimator with distributed=True, such as TURNClassifier."
        )
    correction, evidence = cleansing.label_correction, cleansing.first_evidence
    if correction and not isinstance(net, Net):
        raise TypeError(
            f"label_correction={correction!r} trains on other labels "
            f"than the dataset's, which {type(net).__name__} cannot be told. Use "
            "sklearn_turn.training.Net, or label_correction=None."
        )
    if correction and "log_proba" not in (evidence or {"log_proba"}):
        raise ValueError(
            f"label_correction={correction!r} needs predictions: put "
            "'log_proba' of shape (n_samples, n_classes) into first_evidence."
        )
    if evidence is not None:
        known = {*evidence}
        known |= {"losses"} if "log_proba" in known else set()
        if lacking := {"losses", evidence_of(noise_filter)} - known:
            raise ValueError(
                f"first_evidence lacks {', '.join(map(repr, sorted(lacking)))}; "
                "'losses' follow from 'log_proba', where that is given."
            )
    is_asked = evidence is None or (cleansing.every_epoch and net.max_epochs > 1)
    if is_asked and (cleansing.refine or evidence_of(noise_filter) == "features"):
        check_gives_features(net.module_)
    if evidence is not None and cleansing.warmup_epochs:
        raise ValueError(
            f"first_evidence has no effect with warmup_epochs="
            f"{cleansing.warmup_epochs}: nothing is filtered before the first epoch."
        )
    if cleansing.noise_rate is not None and cleansing.refine is None:
        raise ValueError(
            f"noise_rate={cleansing.noise_rate!r} has no effect without refine. Tell "
            "the filter: NoiseChannelFilter(noise_rate=...)."
        )
    if cleansing.noise_rate_interval is not None and cleansing.noise_rate is None:
        raise ValueError(
            "noise_rate_interval has no effect without noise_rate, whose it is. Pass "
            "both, as one filter found them."
        )
    check_in_order(net.get_params(deep=False), type(net).__name__)
