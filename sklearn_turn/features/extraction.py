"""Features of every sample, computed once or read from the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backbones import BatchTransform, Embedder
from ..backbones.checkpoints import weights_digest
from ..inputs import Source, Subset
from ..training.runtime import Runtime, forward_all
from .memory import FeatureMemory
from .store import open_cache

# Samples computed between two writes to the cache.
_BLOCK = 1024


def extract_features(
    embed: Embedder, source: Source, runtime: Runtime, *, memory: Any = None
) -> Tensor:
    """Compute the features of every sample, or read those computed before.

    Parameters
    ----------
    embed : Embedder
    source : Source
    runtime : Runtime
    memory : None, path, joblib.Memory or FeatureMemory
        Where features are kept between calls; None keeps none.

    Returns
    -------
    Tensor of shape (n_samples, width), float32, on the CPU
    """
    if memory is None:
        return forward_all(embed, source, runtime, "features")
    width = embed.backbone_width
    options: dict[str, Any] = {"identity": _identity(embed), "width": width}
    if isinstance(memory, FeatureMemory):
        options |= {"dtype": memory.dtype, "max_bytes": memory.max_bytes}
        memory = memory.location
    cache = open_cache(memory, **options)
    if cache is None:
        return forward_all(embed, source, runtime, "features")
    # All keys before the first read: samples stored together are then read together,
    # whatever the order a cross-validation asks for them in.
    everyone = range(len(source))
    keys = [k for rows in _blocks(everyone) for k in source.keys(rows)]
    features = torch.empty(len(source), width)
    out = features.numpy()
    found = cache.read(keys, out)
    place = {keys[i]: int(i) for i in np.flatnonzero(~found)[::-1]}
    for block in _blocks(sorted(place.values())):
        part = Subset(source, np.asarray(block))
        computed = forward_all(embed, part, runtime, "features").numpy()
        cache.write([keys[i] for i in block], computed)
        # As it will be read back: results do not depend on what was stored before.
        out[block] = cache.as_stored(computed)
    for i in np.flatnonzero(~found):
        out[i] = out[place[keys[i]]]
    return features


def _blocks(rows: Sequence[int]) -> Iterator[list[int]]:
    """Cut rows into blocks; an interrupted pass loses at most one."""
    for start in range(0, len(rows), _BLOCK):
        yield list(rows[start : start + _BLOCK])


def _identity(embed: Embedder) -> dict[str, Any]:
    """All that decides an image's features: weights, preprocessing, precision."""
    identity: dict[str, Any] = {
        "weights": weights_digest(embed.backbone),
        "architecture": type(embed.backbone).__name__,
        "precision": str(embed.dtype or torch.float32),
    }
    if isinstance(embed.transform, BatchTransform):
        identity |= embed.transform.description()
    return identity
