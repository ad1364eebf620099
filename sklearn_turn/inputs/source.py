"""One indexable source of samples, whatever they are.

A source has a length, a stable order and reads a batch at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..exceptions import ImageReadError
from .keys import content_key

# Position, name and reason.
Problem = tuple[int, str, str]


class Ragged:
    """A batch of images of different sizes: a list of (C, H, W) tensors."""

    def __init__(self, images: list[Tensor]):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def to(self, *args: Any, **kwargs: Any) -> Ragged:
        """Move every image, as :meth:`torch.Tensor.to`."""
        return Ragged([image.to(*args, **kwargs) for image in self.images])

    def pin_memory(self) -> Ragged:
        """Pin every image; called by torch's loader."""
        return Ragged([image.pin_memory() for image in self.images])


class Unreadable(Ragged):
    """What a loader process returns for a batch it could not read.

    torch would raise the error again from its text alone, behind a traceback; this
    raises it as it was, when the batch is moved to the device.

    Parameters
    ----------
    error : ImageReadError
    """

    def __init__(self, error: ImageReadError):
        super().__init__([])
        self.error = error

    def to(self, *args: Any, **kwargs: Any) -> Ragged:
        raise self.error

    def pin_memory(self) -> Ragged:
        """Itself: the error is raised where the batch is used."""
        return self


Samples = Tensor | Ragged


class Source(torch.utils.data.Dataset):
    """Samples in a fixed order, read a batch at a time.

    scikit-learn can split a source as it splits an array: indexing with an array or a
    slice gives a source of those samples, without reading any.

    Attributes
    ----------
    item_shape : tuple of int or None
        Shape of one sample as given, when all have the same; predictions are then
        refused for another shape.
    decodes : bool
        Whether reading costs CPU work per sample, worth a loader process.
    is_raw : bool
        Whether samples go to the backbone as they are, without an image transform.
    """

    item_shape: tuple[int, ...] | None = None
    decodes = False
    is_raw = False

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no length.")

    def load(self, indices: Sequence[int]) -> Samples:
        """Return the samples at ``indices`` as one batch, images as (n, C, H, W)."""
        raise TypeError(f"{type(self).__name__} cannot be read.")

    def keys(self, indices: Sequence[int]) -> list[bytes]:
        """Identify samples by content, for the feature cache."""
        # One by one: decoded photos of many samples may not fit into memory.
        return [content_key(self[int(i)].numpy()) for i in indices]

    def contents(self, indices: Sequence[int]) -> list[bytes]:
        """Identify samples by content, wherever they are."""
        return self.keys(indices)

    def sized_for(self, pixels: int) -> Source:
        """A source of the same samples that decodes no more than is used.

        Parameters
        ----------
        pixels : int
            Shorter side after resizing, before any crop.
        """
        return self

    def problems(
        self,
        indices: Sequence[int] | None = None,
        *,
        decode: bool,
        most: int | None = None,
    ) -> list[Problem]:
        """Samples that cannot be read.

        Parameters
        ----------
        indices : sequence of int, default=None
            Where to look; None looks at all samples.
        decode : bool
            Read each sample in full; else only what can be told without decoding.
        most : int, default=None
            Number of bad samples with which to end the search; None finds all.

        Returns
        -------
        list of (int, str, str)
            Position, name and reason.
        """
        return []

    @property
    def shape(self) -> tuple[int]:
        """``(n_samples,)``; makes scikit-learn index this as an array."""
        return (len(self),)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):  # scikit-learn writes source[rows, ...]
            key = key[0]
        if isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"Sample {key} of {len(self)}.")
            batch = self.load([int(key) % len(self)])
            return batch.images[0] if isinstance(batch, Ragged) else batch[0]
        return Subset(self, np.arange(len(self))[key])

    def __getitems__(self, indices: Any) -> Samples:
        # torch's loader asks for a whole batch when this method exists.
        try:
            return self.load(indices)
        except ImageReadError as error:
            if torch.utils.data.get_worker_info() is None:
                raise
            return Unreadable(error)


class Subset(Source):
    """Some samples of another source, in the order given."""

    def __init__(self, source: Source, indices: NDArray[np.intp]):
        if isinstance(source, Subset):
            indices = source.indices[indices]
            source = source.source
        self.source: Source = source
        self.indices: NDArray[np.intp] = indices
        self.item_shape = source.item_shape
        self.decodes = source.decodes
        self.is_raw = source.is_raw

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, indices: Sequence[int]) -> Samples:
        return self.source.load(self.indices[np.asarray(indices)].tolist())

    def keys(self, indices: Sequence[int]) -> list[bytes]:
        return self.source.keys(self.indices[np.asarray(indices)].tolist())

    def contents(self, indices: Sequence[int]) -> list[bytes]:
        return self.source.contents(self.indices[np.asarray(indices)].tolist())

    def sized_for(self, pixels: int) -> Subset:
        return Subset(self.source.sized_for(pixels), self.indices)

    def problems(
        self,
        indices: Sequence[int] | None = None,
        *,
        decode: bool,
        most: int | None = None,
    ) -> list[Problem]:
        places: Sequence[int] = range(len(self)) if indices is None else indices
        among = self.indices[np.asarray(places, dtype=np.intp)].tolist()
        # A sample that is repeated has several places, but is looked at once.
        distinct = list(dict.fromkeys(among))
        found = self.source.problems(distinct, decode=decode, most=most)
        bad = {index: (name, why) for index, name, why in found}
        pairs = zip(places, among, strict=True)
        return [(i, *bad[index]) for i, index in pairs if index in bad][:most]
