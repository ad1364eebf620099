"""Augmentation of a batch of images on its device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


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
