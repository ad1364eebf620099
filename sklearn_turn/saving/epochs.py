"""The state of training, kept after every epoch."""

from __future__ import annotations

import inspect
import logging
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback
from torch.utils.data import Subset

from ..exceptions import CheckpointError, DistributedError, NotSavedWarning
from ..processes import ALONE, Processes
from ..progress import tell
from ..training.batches import root_and_rows
from .arrays import CodecError, Tensors
from .codec import Classes, classes_by_path, pack, unpack
from .files import read, write
from .history import pack_history

_LOGGER = logging.getLogger(__name__)


class EpochCheckpoint(Callback):
    """Writes the state of training after each epoch, and goes on from it.

    State is the net's module, optimiser, criterion and history, which parameters are
    trained, the validation split, the random states, and of every callback the
    attributes that end with an underscore and can be saved.

    A callback that has an attribute ``not_resumed``, names of what it makes anew when
    training begins, is refused if anything else cannot be saved. Of others it is left
    out, with a warning unless they are skorch's own.

    Parameters
    ----------
    path : Path
        The file.
    random_state : RandomState
        What the callbacks draw from.
    processes : Processes
        That train together; the first one reads and writes.
    """

    def __init__(
        self,
        path: Path,
        random_state: np.random.RandomState,
        processes: Processes = ALONE,
    ):
        self.path = path
        self.random_state = random_state
        self.processes = processes

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        net.n_epochs_done_, net.split_ = 0, None
        self.n_written_ = 0
        self.split_: tuple[NDArray[np.intp], ...] | None = None
        self.warned_: set[str] = set()
        # What will be there when training begins again, for states to be put into.
        self.held_: dict[str, set[str]] = {}
        self.classes_: dict[str, Classes] = {}
        for name, callback in net.callbacks_:
            there = {k: v for k, v in vars(callback).items() if v is not None}
            self.held_[name] = set(there)
            self.classes_[name] = classes_by_path(there.values())
        try:
            state = self.processes.first("the state of training", self._read)
            if state is None:
                return
            self._restore(net, *state)
        except DistributedError:
            raise
        except Exception as error:  # whatever a damaged file leads to
            raise CheckpointError(
                f"The state of training cannot be read: {error} Delete "
                f"{str(self.path)!r} to begin fine-tuning again."
            ) from error
        text = f"going on after epoch {self.n_written_}, from {self.path}"
        tell(_LOGGER, text, verbose=net.verbose)

    def _read(self) -> tuple[dict[str, Any], Tensors] | None:
        return read(self.path) if self.path.exists() else None

    def on_epoch_begin(
        self,
        net: Any,
        dataset_train: Any = None,
        dataset_valid: Any = None,
        **kwargs: Any,
    ) -> None:
        self.split_ = _split_of(dataset_train, dataset_valid)
        if len(net.history) == 1:
            # What cannot be kept is refused before the first step, not after an epoch.
            self._pack(net, {}, has_ended=False)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self._write(net, has_ended=False)

    def on_early_stop(self, net: Any) -> None:
        """A callback ended training, before the end of the epoch was told here."""
        self._write(net, has_ended=True)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        net.split_ = self.split_ = None  # not of the fitted net

    def _write(self, net: Any, *, has_ended: bool) -> None:
        self.n_written_ = len(net.history)
        if not self.processes.is_first:
            return
        tensors: Tensors = {}
        node = self._pack(net, tensors, has_ended=has_ended)
        try:
            write(self.path, node, tensors)
        except OSError as error:
            raise CheckpointError(
                f"The state of training cannot be kept in {str(self.path.parent)!r}: "
                f"{error}. What was kept before is still there: fit again when there "
                "is space."
            ) from error

    def _pack(self, net: Any, tensors: Tensors, *, has_ended: bool) -> dict[str, Any]:
        try:
            node = {
                name: pack(part, tensors, name)
                for name, part in self._parts(net).items()
            }
            node["targets"] = pack(net.targets_, tensors, "targets")
            node["split"] = pack(self.split_, tensors, "split")
            node["callbacks"] = {
                name: self._state_of(name, callback, tensors)
                for name, callback in net.callbacks_
                if callback is not self
            }
        except CodecError as error:
            raise CheckpointError(
                f"No checkpoint can be kept of this fit: {error} Set checkpoint=None, "
                "or keep it in another form, such as arrays."
            ) from error
        rows, left_out = pack_history(net.history, tensors, "history")
        for name in sorted(left_out):
            self._warn(f"The entry {name!r} of the history", "Record plain values.")
        frozen = [k for k, p in net.get_all_learnable_params() if not p.requires_grad]
        return {**node, "history": rows, "frozen": frozen, "ended": has_ended}

    def _restore(self, net: Any, node: dict[str, Any], tensors: Tensors) -> None:
        for name, value in self._parts(net).items():
            unpack(node[name], tensors, into=value)
        for name, parameter in net.get_all_learnable_params():
            parameter.requires_grad_(name not in node["frozen"])
        net.history.clear()
        net.history.extend(unpack(node["history"], tensors))
        net.targets_ = unpack(node["targets"], tensors, device=net.device)
        net.split_ = unpack(node["split"], tensors)
        for name, callback in net.callbacks_:
            for attribute, packed in node["callbacks"].get(name, {}).items():
                old = getattr(callback, attribute, None)
                known = self.classes_[name]
                value = unpack(packed, tensors, old, known, net.device)
                setattr(callback, attribute, value)
        self.n_written_ = len(net.history)
        net.n_epochs_done_ = net.max_epochs if node["ended"] else self.n_written_

    def _parts(self, net: Any) -> dict[str, Any]:
        """What is restored in place."""
        return {
            "module": net.module_,
            "optimizer": net.optimizer_,
            "criterion": net.criterion_,
            "random_state": self.random_state,
            "generators": _GlobalGenerators(torch.device(net.device)),
        }

    def _state_of(
        self, name: str, callback: Callback, tensors: Tensors
    ) -> dict[str, Any]:
        """What a callback found, which by convention is named so: ``found_``."""
        node = {}
        for attribute, value in vars(callback).items():
            is_made_anew = attribute in getattr(callback, "not_resumed", ())
            is_code = isinstance(value, type) or inspect.isroutine(value)
            if not attribute.endswith("_") or is_made_anew or is_code:
                continue
            try:
                node[attribute] = pack(
                    value,
                    tensors,
                    f"{name}.{attribute}",
                    states=attribute in self.held_[name],
                    known=self.classes_[name],
                )
            except CodecError as error:
                if hasattr(callback, "not_resumed"):
                    raise
                if not type(callback).__module__.startswith("skorch."):
                    self._warn(
                        f"The attribute {attribute!r} of {type(callback).__name__}",
                        f"{error} If it is made anew in on_train_begin, put its name "
                        "into the tuple not_resumed of the class; modules have to be "
                        "made there.",
                    )
        return node

    def _warn(self, what: str, remedy: str) -> None:
        if what not in self.warned_:
            self.warned_.add(what)
            warnings.warn(
                f"{what} is not kept in the checkpoint, so that a fit that goes on "
                f"begins without it. {remedy}",
                NotSavedWarning,
                stacklevel=2,
            )


def _split_of(train: Any, valid: Any) -> tuple[NDArray[np.intp], ...] | None:
    """Positions of training and validation samples, if they are of one set."""
    if not isinstance(valid, Subset):
        return None
    (root, rows), (other, valid_rows) = root_and_rows(train), root_and_rows(valid)
    return (rows, valid_rows) if root is other else None


class _GlobalGenerators:
    """The generators of Python, NumPy and torch, as one thing with a state."""

    def __init__(self, device: torch.device):
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),
            "cpu": torch.random.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        elif self.device.type == "mps":
            state["mps"] = torch.mps.get_rng_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.random.set_rng_state(state["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)
        elif self.device.type == "mps":
            torch.mps.set_rng_state(state["mps"])
