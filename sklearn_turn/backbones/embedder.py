"""Images to features: transform, then the backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .augment import AUGMENTATIONS
from .autocast import autocast
from .loading import Backbone
from .transforms import BatchTransform


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
        self.backbone = backbone
        self.dtype = dtype
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(memory_format=torch.channels_last)

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
            # The layout such convolutions are fastest in; others do not mind.
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(images.device.type, self.dtype, training=self.training):
            return self.backbone(images).float()


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
