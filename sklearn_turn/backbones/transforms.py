"""What happens to a batch of images on its device, before the backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from ..inputs import Ragged


class BatchTransform(nn.Module):
    """Resize, crop, augment (when training) and normalise a batch on its device.

    Evaluation follows :func:`timm.data.create_transform`: the shorter side, or both
    sides, are resized to ``input_size / crop_pct``, the centre is cropped, mean and
    standard deviation applied.

    Parameters
    ----------
    input_size : int
        Side of the square the backbone takes, in pixels.
    mean, std : tuple of float
        Per channel, for values in [0, 1].
    crop_pct : float in (0, 1]
    interpolation : {"bilinear", "bicubic", "nearest"}
    augment : callable or None
        Applied to float batches of shape (n, 3, input_size, input_size) in [0, 1]
        when the module is in training mode.
    crop_mode : {"center", "squash"}
        Whether resizing keeps proportions, or makes the image a square.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        input_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        crop_pct: float = 1.0,
        interpolation: str = "bicubic",
        augment: Callable[[Tensor], Tensor] | None = None,
        crop_mode: str = "center",
    ):
        super().__init__()
        self.crop_mode = crop_mode
        self.input_size = input_size
        self.resized = int(np.floor(input_size / crop_pct))
        self.interpolation = InterpolationMode(interpolation)
        self.augment = augment
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def description(self) -> dict[str, Any]:
        """What decides the output in evaluation mode."""
        return {
            "input_size": self.input_size,
            "resized": self.resized,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation.value,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }

    def forward(self, batch: Tensor | Ragged) -> Tensor:
        if isinstance(batch, Ragged):
            fitted = torch.cat([self._fit(image[None]) for image in batch.images])
        else:
            fitted = self._fit(batch)
        images = fitted.float() / 255 if fitted.dtype == torch.uint8 else fitted.float()
        if self.training and self.augment is not None:
            images = self.augment(images)
        return (images - self.mean) / self.std

    def _fit(self, batch: Tensor) -> Tensor:
        """Three channels and the input size, in the dtype given."""
        if batch.shape[1] == 1:
            batch = batch.expand(-1, 3, -1, -1)
        elif batch.shape[1] == 4:
            batch = batch[:, :3]
        squash = self.crop_mode == "squash"
        sides, size = list(batch.shape[-2:]), [self.resized] * (2 if squash else 1)
        if (sides if squash else [min(sides)]) != size:
            batch = tvf.resize(
                batch, size, interpolation=self.interpolation, antialias=True
            )
            if batch.is_floating_point():
                # Bicubic overshoots at edges; 8-bit images are clipped as they round.
                batch = batch.clamp(0, 1)
        if batch.shape[-2:] != (self.input_size, self.input_size):
            batch = tvf.center_crop(batch, [self.input_size])
        return batch
