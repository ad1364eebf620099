"""Where and how networks run: device, precision, loaders, random state, memory."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from ..parameters import RunParameters
from ..processes import ALONE, Processes
from . import resources

T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """Resolved device, precision and loading.

    Attributes
    ----------
    device : torch.device
    dtype : torch.dtype or None
        Type of the backbone's matrix products under autocast; None is float32.
    batch_size : int
        For passes without gradients.
    num_workers : int
        Loader processes for sources that decode.
    verbose : int
    processes : Processes
        That share the work.
    """

    device: torch.device
    dtype: torch.dtype | None
    batch_size: int
    num_workers: int
    verbose: int
    processes: Processes = ALONE

    @classmethod
    def of(cls, settings: RunParameters, *, together: bool = False) -> Runtime:
        """Resolve the parameters of an estimator.

        Parameters
        ----------
        settings : RunParameters
            The estimator.
        together : bool, default=False
            Whether all processes do this, if the estimator is ``distributed``; what is
            done on one of them only must not wait for others.

        Raises
        ------
        ValueError
            If there is no such device, or processes are not connected.
        """
        processes = Processes.of(together and settings.distributed)
        device = _resolve_device(settings.device)
        if settings.distributed:
            device = _own_of(device)
        workers = settings.num_workers
        if workers == "auto":
            # Only CUDA leaves the cores idle, and starts processes by forking.
            cores = resources.cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
            workers = min(8, max(1, cores)) if device.type == "cuda" else 0
        return cls(
            device,
            _resolve_precision(settings.precision, device),
            int(settings.batch_size),
            resources.loader_processes(int(workers)),
            int(settings.verbose) if processes.is_first else 0,
            processes,
        )

    def loader_options(self, *, decodes: bool, n_batches: int) -> dict[str, Any]:
        """Options of a :class:`~torch.utils.data.DataLoader` of whole batches.

        Parameters
        ----------
        decodes : bool
            Whether reading costs CPU work per sample, worth loader processes.
        n_batches : int
            More processes than this would have nothing to do.
        """
        return {
            "num_workers": min(self.num_workers, n_batches) if decodes else 0,
            "pin_memory": self.device.type == "cuda",
            # Its own, so that neither a pass nor a process touches the random state
            # of training.
            "generator": torch.Generator(),
        }


def moved(batch: T, device: str | torch.device) -> T:
    """A batch, or any tensor, on a device.

    Copies overlap with what follows on CUDA only: elsewhere the source could be freed
    before it is read.
    """
    there = torch.device(device)
    on: T = batch.to(there, non_blocking=there.type == "cuda")  # type: ignore[attr-defined]
    return on


def _resolve_device(name: str | torch.device) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return resources.gpu()
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"Unknown device {name!r}. Use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."
        ) from error
    here = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 1)
    if (device.index or 0) >= here:
        raise ValueError(
            f"device={str(name)!r}, but torch sees {here} devices of type "
            f"{device.type!r} here. Use device='auto' or 'cpu', or install a torch "
            "build and driver for that device."
        )
    return device


def _own_of(device: torch.device) -> torch.device:
    """The GPU of this process, among those of its machine."""
    rank = int(os.environ.get("LOCAL_RANK", 0))
    if device.type != "cuda" or device.index is not None:
        return device
    # A process may see no other than its own.
    return torch.device("cuda", rank % torch.cuda.device_count())


def _resolve_precision(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "float32" or device.type == "mps":
        return None
    if device.type == "cuda":
        # Tensor cores for bfloat16 came with compute capability 8.
        fast = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if fast else None
    # Without instructions for it bf16 is emulated on a CPU, and slower than float32.
    fast = any(getattr(torch.cpu, name, lambda: False)() for name in _BFLOAT16)
    return torch.bfloat16 if fast else None


# Matrix units of Intel's server processors, and dot products of AMD's since Zen 4.
_BFLOAT16 = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


# Of the process: torch's generators, which dropout and augmentation draw from, are
# shared by all threads.
_RANDOM_STATE = threading.RLock()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators in the block, and leave them as they were.

    torch's; and those of NumPy and Python, which a split or an augmentation of the user
    may draw from.

    Blocks in several threads take turns. A GPU is the current one inside, so that what
    does not name it, such as pinned memory, takes no memory of the first.
    """
    cuda = device.type == "cuda"
    current = torch.cuda.device(device) if cuda else contextlib.nullcontext()
    forked = torch.random.fork_rng(devices=[device] if cuda else [])
    with _RANDOM_STATE, current, forked, _numpy_and_python_seeded(seed):
        mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
        seed_torch(seed, device)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)


@contextlib.contextmanager
def _numpy_and_python_seeded(seed: int) -> Iterator[None]:
    states = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that training on a device draws from."""
    # torch.manual_seed would seed every accelerator, and these are not restored.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def free_memory(device: torch.device) -> None:
    """Return what a finished phase held; skorch nets sit in reference cycles."""
    if device.type in ("cuda", "mps"):
        gc.collect()
        getattr(torch, device.type).empty_cache()
