"""What a method gets and what it returns: a task and a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbones import Backbone, Embedder
from .features import extract_features
from .inputs import FeatureRows, Source, Subset
from .training.batches import Labelled
from .training.device import Runtime
from .training.net import Net


@dataclass(frozen=True)
class Task:
    """One call of fit: checked data and resolved settings.

    Attributes
    ----------
    source : Source
    y : ndarray of shape (n_samples,), int
        Codes of the given labels.
    classes : ndarray of shape (n_classes,)
        Labels that the codes stand for.
    used : ndarray of bool
        Which of the samples given to fit these are.
    backbone : Backbone or None
        None for precomputed features.
    embed : Module
        Raw batch to features.
    runtime : Runtime
    random_state : RandomState
    memory : object
        Where features are kept; see :func:`~sklearn_turn.features.extract_features`.
    checkpoint : FitCheckpoint or None
        Where the state of fine-tuning is kept.
    earlier : Earlier or None
        The fit that this one goes on from.
    log_frequencies : ndarray of shape (n_classes,) or None
        Logarithms of the classes' shares of the labels, from which heads start; None
        where they start from equal chances.
    """

    source: Source
    y: NDArray[np.intp]
    classes: NDArray[Any]
    used: NDArray[np.bool_]
    backbone: Backbone | None
    embed: nn.Module
    runtime: Runtime
    random_state: np.random.RandomState
    memory: Any = None
    checkpoint: Any = None
    earlier: Any = None
    log_frequencies: NDArray[np.float64] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def labels(self) -> NDArray[Any]:
        """Given labels as the user gave them."""
        return self.classes[self.y]

    @property
    def dataset(self) -> Labelled:
        """Samples with their codes, as nets are trained on them."""
        return Labelled(self.source, self.y)

    def part(self, rows: NDArray[np.intp]) -> Task:
        """The task of some samples, with the same classes."""
        source: Source = Subset(self.source, rows)
        if isinstance(self.source, FeatureRows):
            source = FeatureRows(self.source.rows[torch.from_numpy(rows)])
        return replace(self, source=source, y=self.y[rows])

    def on_features(self, features: Tensor) -> Task:
        """The same task on features of its samples, of shape (n_samples, width)."""
        return replace(self, source=FeatureRows(features), embed=nn.Identity())

    @property
    def is_frozen(self) -> bool:
        """Whether the samples are features, so that there is no backbone to train."""
        return isinstance(self.source, FeatureRows)

    @cached_property
    def frozen(self) -> Task:
        """The same task on its features z_i = f(x_i), each computed once."""
        if self.is_frozen:
            return self
        assert isinstance(self.embed, Embedder), "images have a backbone"
        features = extract_features(
            self.embed, self.source, self.runtime, memory=self.memory
        )
        _check_finite(features)
        return self.on_features(features)


def _check_finite(features: Tensor) -> None:
    bad = ~features.isfinite().all(dim=1)
    if bad.any():
        raise ValueError(
            f"The backbone's features of {int(bad.sum())} of {len(bad)} samples are "
            f"not finite, first at position {int(bad.int().argmax())}. Set "
            "precision='float32', or drop these samples."
        )


@dataclass(frozen=True)
class Selection:
    """Which labels a method takes for clean.

    Attributes
    ----------
    clean_mask : ndarray of shape (n_samples,), bool
    clean_proba : ndarray of shape (n_samples,), float64
    losses : ndarray of shape (n_samples,), float64, or None
        Cross-entropy of each given label.
    suggested : ndarray of shape (n_samples,), int, or None
        Codes of the labels the samples should have.
    noise_filter : estimator or None
        The fitted filter.
    noise_rate : float or None
        What the filter found out of fold, to be held by another fit; None if it was
        told.
    """

    clean_mask: NDArray[np.bool_]
    clean_proba: NDArray[np.float64]
    losses: NDArray[np.float64] | None = None
    suggested: NDArray[np.intp] | None = None
    noise_filter: Any = None
    noise_rate: float | None = None

    @classmethod
    def of(
        cls,
        noise_filter: Any,
        losses: NDArray[np.float64],
        suggested: NDArray[np.intp],
    ) -> Selection:
        """That of a fitted filter."""
        mask, proba = noise_filter.clean_mask_, noise_filter.clean_proba_
        return cls(mask, proba, losses, suggested, noise_filter)

    def attributes(
        self, used: NDArray[np.bool_], given: NDArray[Any], classes: NDArray[Any]
    ) -> dict[str, Any]:
        """Fitted attributes, with an entry for samples that were left out too."""

        def spread(values: NDArray[Any], fill: Any) -> NDArray[Any]:
            everyone = np.full(len(used), fill, dtype=values.dtype)
            everyone[used] = values
            return everyone

        attributes: dict[str, Any] = {
            "clean_mask_": spread(self.clean_mask, False),
            "clean_proba_": spread(self.clean_proba, 0.0),
        }
        if self.losses is not None:
            attributes["losses_"] = spread(self.losses, np.nan)
        if self.noise_filter is not None:
            attributes["noise_filter_"] = self.noise_filter
        if self.suggested is not None:
            suggested = attributes["suggested_labels_"] = given.copy()
            suggested[used] = classes[self.suggested]
        return attributes


@dataclass(frozen=True)
class Result:
    """What a method made of a task.

    Attributes
    ----------
    net : Net
        Its module has ``embed``, from a raw batch to features, and ``classify``, from
        these to logits.
    probe : Net or None
        Linear probe on features.
    selection : Selection or None
        None for methods without such a notion.
    is_frozen : bool
        Whether the backbone is as it was, so that its features may come from the
        cache.
    """

    net: Net
    probe: Net | None = None
    selection: Selection | None = None
    is_frozen: bool = False
