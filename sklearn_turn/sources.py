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


Batch = Tensor | Ragged


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

    def load(self, indices: Sequence[int]) -> Batch:
        """Return the samples at ``indices`` as one batch, images as (n, C, H, W)."""
        raise TypeError(f"{type(self).__name__} cannot be read.")

    def keys(self, indices: Sequence[int]) -> list[bytes]:
        """Identify samples by content, for the feature cache."""
        from ._feature_cache import content_key

        batch = self.load(indices)
        items = batch.images if isinstance(batch, Ragged) else batch
        return [content_key(item.numpy()) for item in items]

    def fit_to(self, size: int) -> None:
        """Say how many pixels a side will be used, so that no more need be decoded."""

    def problems(self, *, decode: bool) -> list[tuple[int, str, str]]:
        """Unreadable samples: position, name and reason.

        Parameters
        ----------
        decode : bool
            Read every sample in full; else only what can be told at a glance.
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

    def __getitems__(self, indices: list[int]) -> Batch:
        # torch's loader asks for a whole batch when this method exists.
        return self.load(indices)


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

    def load(self, indices: Sequence[int]) -> Batch:
        return self.source.load(self.indices[np.asarray(indices)].tolist())

    def keys(self, indices: Sequence[int]) -> list[bytes]:
        return self.source.keys(self.indices[np.asarray(indices)].tolist())

    def fit_to(self, size: int) -> None:
        self.source.fit_to(size)

    def problems(self, *, decode: bool) -> list[tuple[int, str, str]]:
        place = {int(index): i for i, index in enumerate(self.indices)}
        return [
            (place[index], name, why)
            for index, name, why in self.source.problems(decode=decode)
            if index in place
        ]


class Labelled(torch.utils.data.Dataset):
    """A source with one integer label per sample, as skorch nets take it.

    Parameters
    ----------
    source : Source
    y : array of shape (n_samples,), int
    """

    def __init__(self, source: Source, y: NDArray[np.intp]):
        self.source = source
        self.y = torch.tensor(y, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.source[index], self.y[index]

    def __getitems__(self, indices: list[int]) -> tuple[Batch, Tensor]:
        return self.source.load(indices), self.y[indices]


class FeatureRows(Source):
    """Precomputed features: the rows of a 2-D float32 array."""

    def __init__(self, rows: NDArray[np.float32] | Tensor):
        if isinstance(rows, np.ndarray) and not rows.flags.writeable:
            rows = rows.copy()  # torch has no read-only tensors
        self.rows = torch.as_tensor(rows)
        self.item_shape = tuple(self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, indices: Sequence[int]) -> Tensor:
        return self.rows[torch.as_tensor(indices)]


class RawInputs(Source):
    """Rows of an array that a backbone of your own takes as they are.

    For text and other data: token ids, or vectors, of shape (n_samples, ...). Wrapped
    in this, a 2-D array is not mistaken for precomputed features.

    Parameters
    ----------
    array : array-like of shape (n_samples, ...)
        Integers become int64, floats float32.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.sources import RawInputs
    >>> tokens = RawInputs(np.array([[2, 7, 1], [5, 0, 0]]))
    >>> len(tokens), tokens[np.array([1])].load([0]).tolist()
    (2, [[5, 0, 0]])
    """

    is_raw = True

    def __init__(self, array: Any):
        array = np.asarray(array)
        if array.dtype.kind not in "iufb" or array.ndim < 2:
            raise ValueError(
                "Raw inputs must be a numeric array of shape (n_samples, ...), not "
                f"{array.dtype} of shape {array.shape}."
            )
        self.array = array
        self.item_shape = tuple(array.shape[1:])

    def __len__(self) -> int:
        return len(self.array)

    def load(self, indices: Sequence[int]) -> Tensor:
        rows = torch.from_numpy(np.ascontiguousarray(self.array[np.asarray(indices)]))
        return rows.float() if rows.is_floating_point() else rows.long()
