"""Features of every sample, computed once or read from the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backbones import Embedder
from ..backbones.identity import describe, probe_features
from ..inputs import Source, Subset
from ..training.device import Runtime
from ..training.inference import forward_all, forward_batches
from .memory import FeatureMemory
from .store import FeatureCache

# Samples computed between two writes to the cache; an interrupted pass loses as many.
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
    kept = FeatureMemory.of(memory)
    if kept is None:
        return forward_all(embed, source, runtime, "features")
    embed = embed.to(runtime.device)
    cache = FeatureCache(
        kept,
        identity=describe(embed),
        probe=probe_features(embed, source.load([0]) if source.is_raw else None),
        width=embed.backbone_width,
    )
    # All keys before the first read: samples stored together are then read together,
    # whatever the order a cross-validation asks for them in.
    keys = [
        key
        for rows in _blocks(len(source), runtime.batch_size)
        for key in source.keys(rows)
    ]
    features = torch.empty(len(source), embed.backbone_width)
    out = features.numpy()
    found = cache.read(keys, out)
    # Samples with equal keys pass once.
    place = {keys[i]: int(i) for i in np.flatnonzero(~found)[::-1]}
    absent = np.asarray(sorted(place.values()), dtype=np.intp)
    computed = written = 0

    def store() -> None:
        rows = absent[written:computed]
        cache.write([keys[i] for i in rows], out[rows])
        # As it will be read back: results do not depend on what was stored before.
        out[rows] = cache.as_stored(out[rows])

    if len(absent):
        part = Subset(source, absent)
        for batch in forward_batches(embed, part, runtime, "features"):
            out[absent[computed : computed + len(batch)]] = batch.cpu().numpy()
            computed += len(batch)
            if computed - written >= _BLOCK:
                store()
                written = computed
        store()
    for i in np.flatnonzero(~found):
        out[i] = out[place[keys[i]]]
    return features


def _blocks(n_samples: int, size: int) -> Iterator[range]:
    for start in range(0, n_samples, size):
        yield range(start, min(start + size, n_samples))
