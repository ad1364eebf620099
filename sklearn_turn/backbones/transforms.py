"""What happens to a batch of images on its device, before the backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tvf

from ..inputs import Ragged

# What torch calls timm's interpolations.
_MODES = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest-exact"}

# Sides longer than so many times the shorter one are cut before resizing.
_LONGEST = 16


class BatchTransform(nn.Module):
    """Resize, crop, augment (when training) and normalise a batch on its device.

    Evaluation follows :func:`timm.data.create_transform`: the shorter side, the longer
    one or both are resized to ``input_size / crop_pct``, the centre is cropped, mean
    and standard deviation applied.

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
    crop_mode : {"center", "squash", "border"}
        Whether resizing keeps proportions, makes the image a square, or keeps
        proportions and the whole image, beside borders of the mean.

    Raises
    ------
    ValueError
        For another interpolation or mode.
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
        if interpolation not in _MODES:
            raise ValueError(
                f"interpolation must be one of {', '.join(map(repr, _MODES))}, not "
                f"{interpolation!r}. Change it in the backbone's pretrained_cfg."
            )
        if crop_mode not in ("center", "squash", "border"):
            raise ValueError(
                f"crop_mode must be 'center', 'squash' or 'border', not {crop_mode!r}. "
                "Change it in the backbone's pretrained_cfg."
            )
        self.crop_mode = crop_mode
        self.input_size = input_size
        self.resized = int(np.floor(input_size / crop_pct))
        self.interpolation = interpolation
        self.augment = augment
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def description(self) -> dict[str, Any]:
        """What decides the output in evaluation mode."""
        return {
            "input_size": self.input_size,
            "resized": self.resized,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }

    def forward(self, batch: Tensor | Ragged) -> Tensor:
        return self.view(batch, self.augment if self.training else None)

    def view(
        self, batch: Tensor | Ragged, augment: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        """The same, augmented by another function, or by none, whatever the mode."""
        if isinstance(batch, Ragged):
            # One by one: 8-bit and float images may be mixed.
            images = torch.cat([self._fit(image[None]) for image in batch.images])
        else:
            images = self._fit(batch)
        if augment is not None:
            images = augment(images)
        return (images - self.mean) / self.std

    def _fit(self, batch: Tensor) -> Tensor:
        """Three channels, the input size, and float values in [0, 1]."""
        if batch.shape[1] == 1:
            batch = batch.expand(-1, 3, -1, -1)
        elif batch.shape[1] == 4:
            batch = batch[:, :3]
        if self.crop_mode == "center":
            batch = _without_far_ends(batch)
        batch = self._resize(batch)
        # Scaled after resizing: timm too resizes 8-bit images to 8 bits.
        if self.crop_mode == "border":
            border = (255 * self.mean).round() / 255  # of 8 bits, too
            return tvf.center_crop(_scaled(batch) - border, [self.input_size]) + border
        if batch.shape[-2:] != (self.input_size, self.input_size):
            batch = tvf.center_crop(batch, [self.input_size])
        return _scaled(batch)

    def _resize(self, batch: Tensor) -> Tensor:
        sides = batch.shape[-2:]
        size = self._resized(*sides)
        if size == tuple(sides):
            return batch
        # torch's own function: torchvision's rounds in another way on some CPUs.
        if batch.dtype != torch.uint8:
            # Bicubic overshoots at edges; 8-bit images are clipped as they are rounded.
            return self._interpolate(batch, size).clamp(0, 1)
        if batch.device.type == "cpu":
            return self._interpolate(batch, size)
        # As there, and in Pillow: along the rows, rounded, then along the columns.
        for step in ((sides[0], size[1]), size):
            batch = self._interpolate(batch.float(), step).round().clamp(0, 255)
        return batch.to(torch.uint8)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.crop_mode == "squash":
            return self.resized, self.resized
        if self.crop_mode == "border":
            ratio = max(height, width) / self.resized
            return max(1, round(height / ratio)), max(1, round(width / ratio))
        short = min(height, width)
        return int(self.resized * height / short), int(self.resized * width / short)

    def _interpolate(self, batch: Tensor, size: tuple[int, int]) -> Tensor:
        mode = _MODES[self.interpolation]
        antialias = self.interpolation != "nearest"
        return nn.functional.interpolate(batch, size, mode=mode, antialias=antialias)


def _scaled(batch: Tensor) -> Tensor:
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()


def _without_far_ends(batch: Tensor) -> Tensor:
    """Cut what is far beyond the crop off strips, whose resizing could fill memory."""
    height, width = batch.shape[-2:]
    longest = _LONGEST * min(height, width)
    if max(height, width) <= longest:
        return batch
    return tvf.center_crop(batch, [min(height, longest), min(width, longest)])
