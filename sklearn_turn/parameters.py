"""Constructor parameters that several estimators share."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .features.memory import FeatureMemory

# Legal values of the parameters that say how a backbone is built and run; every
# estimator that has one shares them.
BACKBONE_CONSTRAINTS: dict[str, list[Any]] = {
    "backbone": [str, callable],
    "pretrained": ["boolean", str, os.PathLike],
    "input_size": [Interval(Integral, 1, None, closed="left"), None],
    "crop_pct": [Interval(Real, 0, 1, closed="right"), None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "num_workers": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
    "device": [str],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "memory": [str, os.PathLike, FeatureMemory, HasMethods(["cache"]), None],
    "verbose": ["verbose"],
}
