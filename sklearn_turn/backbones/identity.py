"""What tells one frozen backbone from another, for features that are kept."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checkpoints import weights_digest
from .embedder import Embedder
from .transforms import BatchTransform


def describe(embed: Embedder) -> dict[str, Any]:
    """All that is known to decide features: weights, layers, preprocessing, precision.

    Parameters
    ----------
    embed : Embedder

    Returns
    -------
    dict
        As JSON can write it.
    """
    backbone = embed.backbone
    layers = hashlib.sha256(repr(backbone).encode()).hexdigest()[:32]
    description: dict[str, Any] = {
        "weights": weights_digest(backbone),
        "architecture": type(backbone).__qualname__,
        "layers": layers,
        "precision": str(embed.dtype or torch.float32),
    }
    if isinstance(embed.transform, BatchTransform):
        description |= embed.transform.description()
    return description


@torch.inference_mode()
def probe_features(
    embed: Embedder, example: Tensor | None = None
) -> NDArray[np.float32]:
    """Features of a fixed batch; they show what no description does.

    Parameters
    ----------
    embed : Embedder
    example : Tensor, default=None
        A raw batch, for backbones that do not take images.

    Returns
    -------
    ndarray of shape (n, width), float32
    """
    if example is None:
        transform = embed.transform
        assert isinstance(transform, BatchTransform), "a raw backbone has an example"
        shape = (2, 3, transform.input_size, transform.input_size)
        pixels = np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)
        example = torch.from_numpy(pixels)
    device = next(embed.parameters(), torch.empty(0)).device
    training = embed.training
    features = embed.eval()(example.to(device)).float().cpu().numpy()
    embed.train(training)
    return features
