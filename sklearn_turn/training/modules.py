"""The parts of a model: embed, scale, classify."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones import Embedder
from ..backbones.layers import layer_scales, undecayed


class Standardize(nn.Module):
    """Fixed shift and scale of each feature, taken from the training features.

    It conditions the linear probe whatever the backbone, and stays between backbone
    and head while both are fine-tuned; with the head it is one affine map.

    Parameters
    ----------
    features : Tensor of shape (n_samples, width)
    of_backbone : bool
        Whether a backbone made them, so that they share a scale and may change.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: Tensor, *, of_backbone: bool):
        super().__init__()
        std = features.std(dim=0, correction=0)
        # A constant feature, up to rounding, carries nothing and keeps its scale.
        low, high = features.aminmax(dim=0)
        floor = 1e-6 * torch.maximum(high, -low).clamp(min=1e-12)
        unit = torch.tensor(1.0)
        if of_backbone:
            # Nor is one that hardly varies scaled up by itself, but as all are: it will
            # vary as soon as the backbone is trained. Columns of a table may differ in
            # unit and stay fixed.
            spread = std.square().mean().sqrt()
            floor = floor.maximum(0.01 * spread)
            unit = torch.where(spread > 0, spread, 1.0)
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("std", torch.where(std > floor, std, unit))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


class Model(nn.Module, ABC):
    """What optimisers know of a model with a pre-trained backbone."""

    @abstractmethod
    def undecayed(self) -> set[str]:
        """Names of the backbone's parameters that get no weight decay."""

    @abstractmethod
    def layer_scales(self, decay: float) -> dict[str, float]:
        """Factor of the learning rate of each of the backbone's parameters.

        Raises
        ------
        ValueError
            If the backbone does not say how its layers follow each other.
        """


class Classifier(Model):
    """The whole model, g(f(x)): embed, scale, classify.

    Parameters
    ----------
    embed : Module
        Raw batch to features; the identity for precomputed features.
    scale : Module
    head : Linear
    """

    def __init__(self, embed: nn.Module, scale: nn.Module, head: nn.Linear):
        super().__init__()
        self.embed = embed
        self.scale = scale
        self.head = head

    def forward(self, batch: Any) -> Tensor:
        return self.classify(self.embed(batch))

    def classify(self, features: Tensor) -> Tensor:
        """Logits of features."""
        return self.head(self.scale(features))

    def undecayed(self) -> set[str]:
        if not isinstance(self.embed, Embedder):
            return set()
        return {_BACKBONE + name for name in undecayed(self.embed.backbone)}

    def layer_scales(self, decay: float) -> dict[str, float]:
        if not isinstance(self.embed, Embedder):
            return {}
        scales = layer_scales(self.embed.backbone, decay)
        return {_BACKBONE + name: scale for name, scale in scales.items()}


class AfterFeatures(nn.Module):
    """The part of a model that takes features."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        return self.model.classify(features)


# Where a classifier's module has its backbone.
_BACKBONE = "embed.backbone."


def linear_head(width: int, n_classes: int) -> nn.Linear:
    """A linear classifier with all parameters zero."""
    head = nn.Linear(width, n_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
