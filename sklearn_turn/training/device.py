"""Where and how networks run: device, precision, loaders, random state, progress."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import joblib
import torch

from ..parameters import RunParameters

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
    """

    device: torch.device
    dtype: torch.dtype | None
    batch_size: int
    num_workers: int
    verbose: int

    @classmethod
    def of(cls, settings: RunParameters) -> Runtime:
        """Resolve the parameters of an estimator.

        Raises
        ------
        ValueError
            If there is no such device.
        """
        device = _resolve_device(settings.device)
        workers = settings.num_workers
        if workers == "auto":
            # Only CUDA leaves the cores idle, and starts processes by forking.
            workers = min(8, joblib.cpu_count()) if device.type == "cuda" else 0
        return cls(
            device,
            _resolve_precision(settings.precision, device),
            settings.batch_size,
            int(workers),
            int(settings.verbose),
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
            return torch.device("cuda")
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


def _resolve_precision(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "float32" or device.type == "mps":
        return None
    if device.type == "cuda":
        # Tensor cores for bfloat16 came with compute capability 8.
        fast = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if fast else None
    # Without matrix units bf16 is emulated on a CPU, and slower than float32.
    has_matrix_units = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.bfloat16 if has_matrix_units() else None


# Of the process: torch's generators, which dropout and augmentation draw from, are
# shared by all threads.
_RANDOM_STATE = threading.RLock()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block, and leave its generators as they were.

    Blocks in several threads take turns.
    """
    cuda = device.type == "cuda"
    with _RANDOM_STATE, torch.random.fork_rng(devices=[device] if cuda else []):
        mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
        # torch.manual_seed would seed every accelerator, and these are not restored.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif mps_state is not None:
            torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)


def free_memory(device: torch.device) -> None:
    """Return what a finished phase held; skorch nets sit in reference cycles."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def progress(iterable: Any, description: str, verbose: int) -> Any:
    """Wrap an iterable in a progress bar when asked to."""
    if not verbose:
        return iterable
    from tqdm.auto import tqdm

    return tqdm(iterable, desc=description, leave=False)
