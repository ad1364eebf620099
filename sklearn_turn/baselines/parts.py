"""Batches of several parts: each step draws some samples of each of several sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from ..inputs import FeatureRows
from ..training.batches import Batch, already_a_batch, root_and_rows, rows_of

Ints = NDArray[np.intp]


class Part(NamedTuple):
    """A set that every step of an epoch draws from.

    Attributes
    ----------
    rows : ndarray of int
        Positions in the training set.
    leads : bool
        Whether an epoch visits all of it. The others are visited as often as that
        takes.
    """

    rows: Ints
    leads: bool = True


class PartSampler(torch.utils.data.Sampler):
    """Positions of the samples of each step, part after part.

    A step takes ``size`` samples of each part, or all of a smaller one. A part that
    runs out before the epoch ends starts again, in a new order.

    Attributes
    ----------
    parts : sequence of Part
        Of the current epoch.
    sizes : list of int
        Samples of each part in a step; 0 of an empty part.
    """

    def __init__(self, random_state: np.random.RandomState, size: int):
        self._random_state = random_state
        self._size = size
        self.parts: Sequence[Part] = ()

    @property
    def sizes(self) -> list[int]:
        return [min(self._size, len(part.rows)) for part in self.parts]

    def __len__(self) -> int:
        longest = max((len(part.rows) for part in self.parts if part.leads), default=0)
        return -(-longest // self._size)

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, which draws when it is begun: a loader with processes makes two
        # for its first epoch, and begins one.
        drawn = [
            self._cycled(part.rows, len(self) * size).reshape(len(self), size)
            for part, size in zip(self.parts, self.sizes, strict=True)
        ]
        yield from np.concatenate(drawn, axis=1).tolist()

    def _cycled(self, rows: Ints, n: int) -> Ints:
        n_rounds = -(-n // max(1, len(rows)))
        rounds = [self._random_state.permutation(rows) for _ in range(n_rounds)]
        return np.concatenate([rows[:0], *rounds])[:n]


def cut(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    """The parts of a batch.

    Parameters
    ----------
    batch : Batch
    sizes : sequence of int
        Samples in each part, in order.
    """
    ends = np.cumsum(sizes).tolist()
    places = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return [rows_of(batch, place) for place in places]


class PartBatches:
    """Batches of a sampler's steps, features as rows in memory, all else by a loader.

    Parameters
    ----------
    dataset : Labelled, or Subset of one
        The sampler's positions are those in the whole set.
    sampler : PartSampler
    **options
        Of the loader.
    """

    def __init__(self, dataset: Any, sampler: PartSampler, **options: Any):
        self.sampler = sampler
        self.root, _ = root_and_rows(dataset)
        self.loader: DataLoader | None = None
        if not isinstance(self.root.source, FeatureRows):
            self.loader = DataLoader(
                self.root,
                batch_sampler=sampler,
                collate_fn=already_a_batch,
                **options,
            )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self.loader is not None:
            return iter(self.loader)
        return (self.root.__getitems__(rows) for rows in self.sampler)
