"""Labelled batches, and which samples an epoch visits in what order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from skorch.callbacks import Callback
from torch import Tensor

from ..inputs import Batch, Source


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


class SubsetSampler(torch.utils.data.Sampler):
    """Visits the current subset in random order; the subset can be replaced.

    Attributes
    ----------
    indices : ndarray of int
        The subset.
    """

    def __init__(self, random_state: np.random.RandomState, batch_size: int):
        self.indices = np.empty(0, dtype=np.intp)
        self._random_state = random_state
        self._batch_size = batch_size

    def __len__(self) -> int:
        # BatchNorm cannot train on a last batch of one; that sample waits its turn.
        n = len(self.indices)
        lone = n > 1 and self._batch_size > 1 and n % self._batch_size == 1
        return n - lone

    def __iter__(self) -> Iterator[int]:
        order = self._random_state.permutation(self.indices)
        return iter(order[: len(self)].tolist())


class RowBatches:
    """Batches of rows in memory, in a sampler's order; quicker than a loader.

    Parameters
    ----------
    dataset : Labelled
    sampler : Sampler
    batch_size : int
    shuffle : bool
        As the loader's; the order is the sampler's.
    """

    def __init__(
        self, dataset: Labelled, *, sampler: Any, batch_size: int, shuffle: bool = False
    ):
        self.dataset = dataset
        self.sampler = sampler
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        for indices in torch.tensor(list(self.sampler)).split(self.batch_size):
            yield self.dataset.__getitems__(indices)


class RandomOrder(Callback):
    """Visit all training samples in random order, and never a batch of one.

    Base of callbacks that visit a part of them: they override :meth:`select`.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
    """

    def __init__(self, random_state: Any = None):
        self.random_state = random_state

    def select(self, net: Any, dataset: Any) -> np.ndarray:
        """Indices of the samples to visit in the next epoch."""
        return np.arange(len(dataset))

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        options = net.get_params_for("iterator_train")
        ours = isinstance(options.get("sampler"), SubsetSampler)  # of a failed fit
        if options.get("batch_sampler") or (options.get("sampler") and not ours):
            raise ValueError(
                f"{type(self).__name__} chooses the samples of each epoch; remove "
                "iterator_train__sampler or iterator_train__batch_sampler."
            )
        self.rng_ = check_random_state(self.random_state)
        batch_size = options.get("batch_size", net.batch_size)
        self.sampler_ = SubsetSampler(self.rng_, batch_size)
        # Set as attributes: skorch's set_params refuses iterator options of a net
        # that is already initialised.
        self.saved_ = {
            k: vars(net)[k] for k in _SAMPLING if k in vars(net) and not ours
        }
        net.iterator_train__sampler = self.sampler_
        net.iterator_train__shuffle = False
        self.epoch_ = 0

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        self.sampler_.indices = self.select(net, dataset_train)
        self.epoch_ += 1

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        # The net's own settings come back, and it can be pickled without the data.
        for name in _SAMPLING:
            delattr(net, name)
        vars(net).update(self.saved_)


_SAMPLING = ("iterator_train__sampler", "iterator_train__shuffle")
