"""A net that several processes train together, each on its share of every batch."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..inputs import Ragged
from ..losses import SampleLoss
from ..processes import Processes
from .batches import Batch, batch_size_of, root_and_rows
from .device import moved, seed_torch
from .net import Net


class ShareSampler(torch.utils.data.Sampler):
    """This process's share of every batch that one process alone would make.

    So a batch is as large, and an epoch has as many steps, whatever the number of
    processes. Of a batch with fewer samples than there are processes, some get none;
    they are given one all the same, since a step needs all processes.

    Parameters
    ----------
    sampler : Sampler
        In the same order in all processes.
    batch_size : int
        Of all processes together.
    processes : Processes
    drop_last : bool, default=False
        Whether to leave out a last batch that is smaller.
    """

    def __init__(
        self,
        sampler: Any,
        batch_size: int,
        processes: Processes,
        drop_last: bool = False,
    ):
        self.sampler = sampler
        self.batch_size = batch_size
        self.processes = processes
        self.drop_last = drop_last

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, which draws when it is begun: a loader with workers makes two
        # for its first epoch, and begins one.
        order = list(self.sampler)
        for k in range(len(self)):
            batch = order[k * self.batch_size : (k + 1) * self.batch_size]
            share = self.processes.share(len(batch))
            yield [batch[i] for i in share] or batch[:1]

    def sizes(self, k: int) -> tuple[int, int]:
        """How many samples of batch k of the epoch are this process's, and of all."""
        whole = min(self.batch_size, len(self.sampler) - k * self.batch_size)
        return len(self.processes.share(whole)), whole


class SharedNet(Net):
    """A net whose training several processes share.

    Gradients are averaged by torch's ``DistributedDataParallel``, which wraps the
    module while it is trained and no longer: ``module_`` is always the module itself.

    Parameters
    ----------
    module, **kwargs
        As for :class:`~sklearn_turn.training.Net`.
    processes : Processes
        All of them call ``fit``, with the same data.
    """

    def __init__(self, module: Any, *args: Any, processes: Processes, **kwargs: Any):
        super().__init__(module, *args, **kwargs)
        self.processes = processes

    def initialize_criterion(self) -> SharedNet:
        super().initialize_criterion()
        parameters = getattr(self.criterion_, "parameters", list)
        if self.processes.are_several and any(p.requires_grad for p in parameters()):
            raise ValueError(
                f"{type(self.criterion_).__name__} has parameters of its own, which "
                "several processes cannot train. Choose another criterion, or set "
                "distributed=False."
            )
        if getattr(self.criterion_, "reduction", "mean") == "sum":
            raise ValueError(
                f"{type(self.criterion_).__name__} sums over the batch, of which each "
                "of several processes has a part. Pass reduction='mean'."
            )
        return self

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any
    ) -> Any:
        try:
            if self.processes.are_several:
                self._wrap()
                self.__dict__["_seen"] = []
            return super().fit_loop(X, y, epochs, **kwargs)
        finally:
            for name in _TRANSIENT:
                self.__dict__.pop(name, None)

    def _wrap(self) -> None:
        """Have the gradients averaged of the parameters that are trained now."""
        try:
            # One that failed on the way here would meet the wrapper's own messages.
            self.processes.exchange("training")
            self.__dict__.pop("_parallel", None)
            on_cpu = torch.device(self.device).type == "cpu"
            # Not attributes that skorch sees: it would take the wrapper for a module
            # of the net.
            self.__dict__["_parallel"] = DistributedDataParallel(
                self.module_,
                process_group=self.processes.group if on_cpu else None,
                # They are shared at the end of an epoch. With every step, a process
                # that failed before it would leave the others waiting.
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                # A backbone may have parameters that it does not use.
                static_graph=True,
            )
            self.__dict__["_wrapped"] = self._trained_parameters()
        except KeyboardInterrupt as interrupt:
            self.interrupted_ = interrupt
            raise

    def _trained_parameters(self) -> list[str]:
        named = self.module_.named_parameters()
        return [name for name, parameter in named if parameter.requires_grad]

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        if not training or not self.processes.are_several:
            return super().get_iterator(dataset, training)
        self._check_same(dataset)
        options = self.get_params_for("iterator_train")
        options.pop("batch_size", None)
        options.pop("shuffle", None)
        share = ShareSampler(
            options.pop("sampler"),
            batch_size_of(self, len(dataset)),
            self.processes,
            options.pop("drop_last", False),
        )
        self.__dict__["_share"] = share
        return self.iterator_train(dataset, batch_sampler=share, **options)

    def _check_same(self, dataset: Any) -> None:
        """Raise if a ``train_split`` has not split alike everywhere."""
        _, rows = root_and_rows(dataset)
        digest = zlib.crc32(np.ascontiguousarray(rows).tobytes())
        if len({*self.processes.exchange("the training set", digest)}) > 1:
            raise ValueError(
                "train_split splits differently in each process; give it a "
                "random_state, such as skorch.dataset.ValidSplit(0.2, stratified=True, "
                "random_state=0)."
            )

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        parallel = vars(self).get("_parallel")
        # Passes without gradients are each process's own.
        if parallel is None or not torch.is_grad_enabled():
            return super().infer(x, **fit_params)
        assert isinstance(x, (Tensor, Ragged)), "as the datasets here give it"
        logits: Tensor = parallel(moved(x, self.device))
        return logits

    def training_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        if not self.processes.are_several:
            return super().training_loss(logits, batch)
        own, whole = self._share.sizes(len(self.history[-1]["batches"]) - 1)
        if own:
            self._seen.append(batch.index)
            # Gradients are averaged over processes, the loss over samples.
            share = own * self.processes.count / whole
            loss = share * self.batch_loss(logits, batch)
        else:
            loss = (0.0 * logits).sum()
        # In the backward pass all wait for each other, and one that has failed must
        # be known of before.
        self.processes.exchange("a step")
        return loss

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **params: Any
    ) -> None:
        several = iterator is not None and self.processes.are_several
        if several and training:
            if self._trained_parameters() != self._wrapped:
                self._wrap()  # a callback has frozen some, or does no longer
            self._seed()
        super().run_single_epoch(iterator, training, prefix, step_fn, **params)
        if several:
            self._share_records(f"{prefix}_loss", training)
            if training:
                self._share_state()
            else:
                self._share_records(f"{prefix}_acc", training)

    def _seed(self) -> None:
        """Draw other flips, crops and the like in every process, again on resuming."""
        seed = self.processes.first("a seed", lambda: int(torch.randint(2**62, ())))
        seed_torch(seed + self.processes.rank, torch.device(self.device))

    def _share_records(self, name: str, training: bool) -> None:
        """Record what is of whole batches, and the same in all processes."""
        rows = [row for row in self.history[-1]["batches"] if name in row]
        told = self.processes.exchange(name, [row[name] for row in rows])
        # Validation sets are not shared.
        found = np.mean(told, axis=0) if training else told[0]
        for k, row in enumerate(rows):
            row[name] = float(found[k])
            if training:
                row["train_batch_size"] = self._share.sizes(k)[1]

    def _share_state(self) -> None:
        """What the forward passes of the epoch have changed."""
        parts = list(self.module_.modules())
        if any(isinstance(m, _BATCH_NORM) and m.training for m in parts):
            self.processes.equalize("statistics of BatchNorm", self.module_)
        if isinstance(self.criterion_, SampleLoss):
            seen = torch.cat([torch.empty(0, dtype=torch.int64), *self._seen]).cpu()
            self.criterion_.share(self.processes, seen)
        self._seen.clear()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {k: v for k, v in state.items() if k not in _TRANSIENT}


# What there is during training only.
_TRANSIENT = ("_parallel", "_wrapped", "_share", "_seen")

_BATCH_NORM = nn.modules.batchnorm._BatchNorm
