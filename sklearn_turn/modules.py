"""The parts of a model: embed, scale, classify."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._autocast import autocast
from .backbones import Backbone
from .transforms import AUGMENTATIONS, BatchTransform


class Embedder(nn.Module):
    """Images to float32 features: transform, then the backbone under autocast.

    Parameters
    ----------
    transform : Module
        Raw batch to the backbone's input.
    backbone : Module
    dtype : torch.dtype or None
        Type of matrix products under autocast; None is float32.
    backbone_width : int
        Number of features.
    freeze_batch_norm : bool
        Whether BatchNorm keeps its statistics, and uses them, while training.
    """

    def __init__(
        self,
        transform: nn.Module,
        backbone: nn.Module,
        dtype: torch.dtype | None,
        backbone_width: int,
        freeze_batch_norm: bool = True,
    ):
        super().__init__()
        self.freeze_batch_norm = freeze_batch_norm
        self.backbone_width = backbone_width
        self.transform = transform
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.dtype = dtype

    def train(self, mode: bool = True) -> Embedder:
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, batch: Any) -> Tensor:
        images = self.transform(batch)
        if images.ndim == 4:
            # The layout convolutions are fastest in; others do not mind.
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(images.device.type, self.dtype, training=self.training):
            return self.backbone(images).float()


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
        floor = 1e-6 * features.abs().amax(dim=0).clamp(min=1e-12)
        if of_backbone:
            # Nor may one that hardly varies be blown up: it will vary as soon as the
            # backbone is trained. A table's columns may differ in unit, and do not.
            floor = floor.maximum(0.01 * std.square().mean().sqrt())
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("std", torch.where(std > floor, std, 1.0))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


class Classifier(nn.Module):
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
        return self.head(self.scale(self.embed(batch)))


def make_embedder(
    backbone: Backbone,
    dtype: torch.dtype | None,
    *,
    raw: bool,
    augment: Any = None,
    freeze_batch_norm: bool = True,
) -> Embedder:
    """Join a backbone with the transform that feeds it.

    Parameters
    ----------
    backbone : Backbone
    dtype : torch.dtype or None
        See :class:`Embedder`.
    raw : bool
        Whether samples go to the backbone as they are.
    augment : str, callable or None
        Augmentation in training mode.
    freeze_batch_norm : bool
        See :class:`Embedder`.
    """
    transform: nn.Module = nn.Identity()
    if not raw:
        transform = BatchTransform(
            backbone.input_size,
            backbone.mean,
            backbone.std,
            backbone.crop_pct,
            backbone.interpolation,
            AUGMENTATIONS[augment] if isinstance(augment, str) else augment,
            backbone.crop_mode,
        )
    return Embedder(
        transform, backbone.module, dtype, backbone.width, freeze_batch_norm
    )


def linear_head(width: int, n_classes: int) -> nn.Linear:
    """A fresh linear classifier that starts undecided, with all weights zero."""
    head = nn.Linear(width, n_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
