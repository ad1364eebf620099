"""What happens to a batch of images on its device, before the backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from .sources import Ragged


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


def light_augment(images: Tensor) -> Tensor:
    """Random horizontal flip and random crop, one bilinear resampling per batch.

    Each image is flipped with probability 1/2, and a square of 80 to 100 % of its
    side, placed at random, is scaled back to the full size.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), float

    Returns
    -------
    Tensor of the same shape
    """
    n, device = len(images), images.device
    scale = 0.8 + 0.2 * torch.rand(n, device=device)
    shift = (1 - scale)[:, None] * (2 * torch.rand(n, 2, device=device) - 1)
    flip = 1 - 2 * torch.randint(2, (n,), device=device)
    theta = torch.zeros(n, 2, 3, device=device, dtype=images.dtype)
    theta[:, 0, 0] = scale * flip
    theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=False
    )


def color_augment(images: Tensor) -> Tensor:
    """:func:`light_augment`, and random brightness, contrast and saturation.

    Each is scaled by a factor drawn per image from 0.7 to 1.3.

    Parameters
    ----------
    images : Tensor of shape (n, 3, H, W), float in [0, 1]

    Returns
    -------
    Tensor of the same shape, in [0, 1]
    """
    images = light_augment(images)
    factors = 0.7 + 0.6 * torch.rand(3, len(images), 1, 1, 1, device=images.device)
    brightness, contrast, saturation = factors.to(images.dtype)
    images = images * brightness
    grey = images.mean(dim=1, keepdim=True)
    images = grey + saturation * (images - grey)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    return (level + contrast * (images - level)).clamp(0, 1)


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "light": light_augment,
    "color": color_augment,
}
