"""Labelled batches, and which samples an epoch visits in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from skorch.callbacks import Callback
from skorch.dataset import get_len, unpack_data
from torch import Tensor
from torch.utils.data import default_collate

from ..inputs import FeatureRows, Ragged, Source
from ..inputs.source import Samples
from ..processes import ALONE, Processes

# Bounds the memory of gathered rows.
_BATCHES_AT_ONCE = 32


class Batch(NamedTuple):
    """What a net trains on in one step.

    Attributes
    ----------
    x : Tensor or Ragged
        Samples as their source gives them.
    y : Tensor of shape (n,), int64
        Codes of the given labels.
    index : Tensor of shape (n,), int64
        Positions in the training set, for what is kept per sample.
    target : Tensor of shape (n,), int64, or (n, n_classes), float32, or None
        Labels or soft labels to train towards; None is ``y``.
    """

    x: Samples
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # tuple has a method of this name
    target: Tensor | None = None

    @classmethod
    def of(cls, batch: Any) -> Batch:
        """A batch as it is, or the pair (x, y) of any other skorch dataset."""
        if isinstance(batch, cls):
            return batch
        x, y = unpack_data(batch)
        return cls(x, y, torch.empty(0, dtype=torch.int64))


def already_a_batch(batch: Any) -> Any:
    """Collate nothing: the datasets here return whole batches, others lists."""
    return default_collate(batch) if isinstance(batch, list) else batch


def n_samples_of(batch: Any) -> int:
    """Number of samples in a batch: of ours, a pair (x, y), or x alone."""
    x = batch[0] if isinstance(batch, tuple | list) else batch
    n: int = len(x) if isinstance(x, Tensor | Ragged) else get_len(x)
    return n


def rows_of(batch: Any, place: slice) -> Any:
    """The same samples of all that a batch consists of."""
    if batch is None:  # as the targets of samples without
        return None
    if isinstance(batch, Ragged):
        return Ragged(batch.images[place])
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # named
        return type(batch)(*(rows_of(part, place) for part in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(rows_of(part, place) for part in batch)
    if isinstance(batch, Mapping):
        return {name: rows_of(part, place) for name, part in batch.items()}
    return batch[place]


class Labelled(torch.utils.data.Dataset):
    """A source with one integer label per sample, as the nets take it.

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

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        index = torch.as_tensor(indices)
        return Batch(self.source.__getitems__(indices), self.y[index], index)


def root_and_rows(dataset: Any, root: Any = None) -> tuple[Any, NDArray[np.intp]]:
    """The dataset a split was taken from, and the positions it was taken from there.

    Parameters
    ----------
    dataset : torch Dataset
        A :class:`torch.utils.data.Subset`, of any depth, or any other dataset.
    root : torch Dataset, default=None
        A subset that is a dataset of its own.

    Returns
    -------
    root : torch Dataset
    rows : ndarray of int
    """
    rows = np.arange(len(dataset))
    while isinstance(dataset, torch.utils.data.Subset) and dataset is not root:
        rows = np.asarray(dataset.indices)[rows]
        dataset = dataset.dataset
    return dataset, rows


def processes_of(net: Any) -> Processes:
    """The processes that train a net together; a net of skorch is alone."""
    together: Processes = getattr(net, "processes", ALONE)
    return together


def batch_size_of(net: Any, n_samples: int, *, training: bool = True) -> int:
    """Size of a net's batches; -1 is skorch's word for all samples in one.

    Parameters
    ----------
    net : skorch net
    n_samples : int
    training : bool, default=True
        Else of validation and prediction.
    """
    of = "iterator_train" if training else "iterator_valid"
    size: int = net.get_params_for(of).get("batch_size", net.batch_size)
    return n_samples if size == -1 else size


def on_device(dataset: Labelled, device: torch.device) -> Labelled:
    """Move features and labels to an accelerator when they fit there easily.

    Steps on features are so short that copying each batch would take longer.
    """
    if device.type != "cuda" or not isinstance(dataset.source, FeatureRows):
        return dataset
    rows = dataset.source.rows
    if rows.nbytes > 0.25 * torch.cuda.mem_get_info(device)[0]:
        return dataset
    moved = Labelled(FeatureRows(rows.to(device)), np.empty(0, dtype=np.intp))
    moved.y = dataset.y.to(device)
    return moved


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
    dataset : Labelled, or Subset of one
    batch_size : int
    sampler : Sampler, default=None
        None visits all rows in order.
    shuffle : bool
        As the loader's; the order is the sampler's.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        sampler: Any = None,
        shuffle: bool = False,
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = range(len(dataset)) if sampler is None else sampler

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        root, rows = root_and_rows(self.dataset)
        visited = torch.from_numpy(rows[np.fromiter(self.sampler, dtype=np.intp)])
        # Rows of many batches are gathered in one call, and cut into views.
        for index in visited.split(_BATCHES_AT_ONCE * self.batch_size):
            rows_at_once = root.__getitems__(index)
            for start in range(0, len(index), self.batch_size):
                yield rows_of(rows_at_once, slice(start, start + self.batch_size))


class RandomOrder(Callback):
    """Visit all training samples in random order, and never a batch of one.

    Base of callbacks that visit a part of them: they override :meth:`select`.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
    """

    #: Made anew when training begins. Of a fit with a checkpoint, all other attributes
    #: whose names end with an underscore are kept, or the fit is refused.
    not_resumed: tuple[str, ...] = ("sampler_", "saved_")

    def __init__(self, random_state: Any = None):
        self.random_state = random_state

    def select(self, net: Any, dataset: Any) -> NDArray[np.intp]:
        """Positions in ``dataset`` of the samples to visit in the next epoch."""
        return np.arange(len(dataset))

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        options = net.get_params_for("iterator_train")
        ours = isinstance(options.get("sampler"), SubsetSampler)  # of a failed fit
        if options.get("batch_sampler") or (options.get("sampler") and not ours):
            raise ValueError(
                f"{type(self).__name__} chooses the samples of each epoch; remove "
                "iterator_train__sampler or iterator_train__batch_sampler, and use "
                "one such callback."
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
        indices = self.select(net, dataset_train)
        # One order for all processes, whatever led them to it.
        self.sampler_.indices, state = processes_of(net).first(
            "the order of an epoch", lambda: (indices, self.rng_.get_state())
        )
        self.rng_.set_state(state)
        self.epoch_ += 1

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        # The net's own settings come back, and it can be pickled without the data.
        for name in _SAMPLING:
            delattr(net, name)
        vars(net).update(self.saved_)


_SAMPLING = ("iterator_train__sampler", "iterator_train__shuffle")
