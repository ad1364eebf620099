"""What tells one frozen backbone from another, for features that are kept."""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .embedder import Embedder
from .transforms import BatchTransform

# Containers within containers that are looked into.
_DEPTH = 8
_CONTAINERS = (list, tuple, set, frozenset, dict)
# What may be a setting of a layer.
_DATA = (
    *(bool, int, float, str, type(None), np.generic, np.ndarray),
    *_CONTAINERS,
)
# What decides no features, or is described apart.
_NO_SETTINGS = {
    *("training", "fused_attn", "grad_checkpointing", "gradient_checkpointing"),
    *("pretrained_cfg", "default_cfg", "feature_info", "name_or_path"),
}


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
    config: Any = getattr(backbone, "pretrained_cfg", None) or {}
    description: dict[str, Any] = {
        "weights": weights_digest(backbone),
        "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        "architecture": config.get("architecture"),
        "layers": _hash_of(repr(backbone)),
        "settings": _hash_of(repr(_settings(backbone))),
        "precision": str(embed.dtype or torch.float32),
    }
    if isinstance(embed.transform, BatchTransform):
        description |= embed.transform.description()
    return description


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _settings(backbone: nn.Module) -> list[tuple[str, str, Any]]:
    """Attributes of all layers that are data, such as a list of tokens to ignore."""
    return [
        (layer, name, _plain(value))
        for layer, module in backbone.named_modules()
        for name, value in sorted(vars(module).items())
        if isinstance(value, _DATA)
        and name not in _NO_SETTINGS
        and not name.startswith("_")
        and not _may_be_result(value)
    ]


def _may_be_result(value: Any, depth: int = _DEPTH) -> bool:
    """Whether a layer may have filled this itself: tensors, or what is empty as yet."""
    if not isinstance(value, _CONTAINERS) or not depth:
        return isinstance(value, Tensor)
    items = value.values() if isinstance(value, dict) else value
    return not value or any(_may_be_result(item, depth - 1) for item in items)


def _plain(value: Any, depth: int = _DEPTH) -> Any:
    """Data in terms that print alike when it is equal; other objects as their type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(value.tobytes()).hexdigest()
        return str(value.dtype), value.shape, None if value.dtype.hasobject else content
    if not isinstance(value, _DATA) or not depth:
        return type(value).__qualname__

    def shown(item: Any) -> str:
        return repr(_plain(item, depth - 1))

    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(shown, value))
    if isinstance(value, dict):
        return sorted((shown(key), shown(item)) for key, item in value.items())
    return value


@torch.no_grad()
def probe_features(
    embed: Embedder, example: Tensor | None = None
) -> NDArray[np.float32]:
    """Features of a fixed batch; they show what no description does.

    Parameters
    ----------
    embed : Embedder
        Runs on the device it is on, in evaluation mode.
    example : Tensor, default=None
        A raw batch, for backbones that do not take images.

    Returns
    -------
    ndarray of shape (n, width), float32

    Raises
    ------
    ValueError
        If the backbone takes raw samples and there is no example.
    """
    if example is None:
        if not isinstance(embed.transform, BatchTransform):
            raise ValueError("A backbone that takes no images needs an example batch.")
        side = embed.transform.input_size
        # Its numbers are the same in every version of NumPy.
        pixels = np.random.RandomState(0).randint(0, 256, (2, 3, side, side))
        example = torch.from_numpy(pixels.astype(np.uint8))
    tensors = chain(embed.parameters(), embed.buffers())
    device = next(tensors, torch.empty(0)).device
    training = embed.training
    try:
        features: NDArray[np.float32] = embed.eval()(example.to(device)).cpu().numpy()
    finally:
        embed.train(training)
    return features


# For each module its digest, and sums over the weights it was computed of.
_DIGESTS: WeakKeyDictionary[nn.Module, tuple[list[Any], str]] = WeakKeyDictionary()


def weights_digest(module: nn.Module) -> str:
    """Digest of a module's parameters and buffers, the same for equal weights.

    It is computed again only when the weights have changed.

    Parameters
    ----------
    module : Module

    Returns
    -------
    str of 32 hexadecimal digits
    """
    # Not state_dict(), which lacks the buffers that are not saved.
    tensors = [*module.named_parameters(), *module.named_buffers()]
    # Not torch's counts of changes: fused optimisers and BatchNorm do not raise them.
    sums = [(name, t.dtype, t.shape, _sum(t)) for name, t in tensors]
    known = _DIGESTS.get(module)
    if known is None or known[0] != sums:
        known = _DIGESTS[module] = (sums, _digest(tensors))
    return known[1]


@torch.no_grad()
def _sum(tensor: Tensor) -> int:
    """Sum over the bits of a tensor, in units of 64: as fast as memory is read."""
    content = _bytes(tensor)
    if content.storage_offset() % 8:
        content = content.clone()
    whole = len(content) // 8 * 8
    rest = bytes(content[whole:].tolist())
    return int(content[:whole].view(torch.int64).sum()) + int.from_bytes(rest, "big")


@torch.no_grad()
def _digest(tensors: list[tuple[str, Tensor]]) -> str:
    # Most CPUs have instructions for SHA-256.
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        content: Any = _bytes(tensor).cpu().numpy()
        digest.update(content)
    return digest.hexdigest()[:32]


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1).view(torch.uint8)
