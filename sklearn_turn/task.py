"""One call of fit, checked and resolved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .backbones import Backbone
from .inputs import Source
from .training.runtime import Runtime


@dataclass(frozen=True)
class Task:
    """One call of fit: checked data and resolved settings.

    Attributes
    ----------
    source : Source
    y : ndarray of shape (n_samples,), int
        Codes of the given labels.
    n_classes : int
    used : ndarray of bool
        Which samples passed to ``fit`` are in ``source``; the others are skipped.
    backbone : Backbone or None
        None for precomputed features.
    embed : Module
        Raw batch to features.
    runtime : Runtime
    random_state : RandomState
    """

    source: Source
    y: NDArray[np.intp]
    n_classes: int
    used: NDArray[np.bool_]
    backbone: Backbone | None
    embed: nn.Module
    runtime: Runtime
    random_state: np.random.RandomState
