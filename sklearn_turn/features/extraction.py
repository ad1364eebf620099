"""Features of every sample, computed once or read from the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backbones import Embedder
from ..backbones.identity import describe, probe_features
from ..inputs import Source, Subset, raise_if_unreadable
from ..inputs.keys import KEY
from ..processes import ALONE
from ..training.device import Runtime
from ..training.inference import forward_all, forward_batches
from .memory import FeatureMemory
from .store import FeatureCache

# Between two writes to the cache, in samples and in seconds: what a pass that is
# stopped loses.
_BLOCK, _SECONDS = 1024, 30.0


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

    Raises
    ------
    TypeError
        If ``memory`` is none of these.
    FeatureCacheError
        If it cannot be used.
    ImageReadError
        If samples are missing or cannot be decoded.
    DistributedError
        If another of the processes of ``runtime`` fails.
    """
    processes = runtime.processes
    if not processes.are_several:
        return _extract(embed, source, runtime, memory)
    share = processes.share(len(source), runtime.batch_size)
    own: dict[str, Tensor] = {}
    with processes.together():
        if share:
            part = Subset(source, np.asarray(share))
            alone = replace(runtime, processes=ALONE)
            own["features"] = _extract(embed, part, alone, memory)
    return processes.join(f"features of {len(source)} samples", own)["features"]


def _extract(embed: Embedder, source: Source, runtime: Runtime, memory: Any) -> Tensor:
    """Features by this process alone."""
    kept = FeatureMemory.of(memory)
    if kept is None:
        return forward_all(embed, source, runtime, "features")
    embed = embed.to(runtime.device)
    cache = FeatureCache(
        kept,
        identity=describe(embed),
        probe=probe_features(embed, _raw_probe(source)),
        width=embed.backbone_width,
    )
    # All keys before the first read: samples stored together are then read together,
    # whatever the order a cross-validation asks for them in.
    keys = _keys(source, runtime.batch_size)
    features = torch.empty(len(source), embed.backbone_width)
    out = features.numpy()
    absent = ~cache.read(keys, out)
    first = _first_with_same_key(keys)
    is_first = first == np.arange(len(keys))
    wanted = np.flatnonzero(absent & is_first)
    with cache.claims() as claims:
        while len(wanted):
            is_ours = claims.take([keys[row] for row in wanted])
            # Another process may have stored them since they were looked for.
            ours = _still_absent(wanted[is_ours], keys, cache, out)
            stored = np.setdiff1d(wanted[is_ours], ours)
            claims.release([keys[row] for row in stored])
            for rows, computed in _compute(embed, source, ours, runtime):
                written = [keys[row] for row in rows]
                cache.write(written, computed)
                claims.release(written)
                out[rows] = cache.as_stored(computed)
            wanted = wanted[~is_ours]
            claims.wait([keys[row] for row in wanted])
            wanted = _still_absent(wanted, keys, cache, out)
    twins = np.flatnonzero(absent & ~is_first)
    out[twins] = out[first[twins]]
    return features


def _still_absent(
    rows: NDArray[np.intp],
    keys: list[bytes],
    cache: FeatureCache,
    out: NDArray[np.float32],
) -> NDArray[np.intp]:
    """Read what is stored by now; those of the rows that are not."""
    features = np.empty((len(rows), out.shape[1]), dtype=np.float32)
    found = cache.read([keys[row] for row in rows], features)
    out[rows[found]] = features[found]
    return rows[~found]


def _raw_probe(source: Source) -> Tensor | None:
    """A batch of the source's kind, the same for all its subsets; None for images."""
    if not source.is_raw:
        return None
    like: Any = source.load([0])
    values = torch.from_numpy(np.random.RandomState(0).rand(2, *like.shape[1:]))
    # Every vocabulary has the tokens 0 and 1.
    return (values if like.is_floating_point() else values.round()).to(like.dtype)


def _keys(source: Source, batch_size: int) -> list[bytes]:
    """Key of every sample; no more of them are decoded at once than in a batch."""
    n = len(source)
    keys: list[bytes] = []
    try:
        for start in range(0, n, batch_size):
            keys += source.keys(range(start, min(start + batch_size, n)))
    except (OSError, ValueError):  # also of names that no file can have
        raise_if_unreadable(source)
        raise
    return keys


def _first_with_same_key(keys: list[bytes]) -> NDArray[np.intp]:
    """For each sample, the position of the first one that equals it."""
    _, first, which = np.unique(
        np.array(keys, dtype=KEY), return_index=True, return_inverse=True
    )
    return first[which]


def _compute(
    embed: Embedder, source: Source, rows: NDArray[np.intp], runtime: Runtime
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Features of some samples, in one pass, a block of samples at a time."""
    if not len(rows):
        return
    block: list[Tensor] = []
    start = end = 0
    written = time.monotonic()
    for batch in forward_batches(embed, Subset(source, rows), runtime, "features"):
        block.append(batch.cpu())
        end += len(batch)
        is_late = time.monotonic() - written > _SECONDS
        if end - start >= _BLOCK or end == len(rows) or is_late:
            yield rows[start:end], torch.cat(block).numpy()
            block, start, written = [], end, time.monotonic()
