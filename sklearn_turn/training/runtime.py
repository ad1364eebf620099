"""Where and how a network runs: device, precision, loaders, progress, random state."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from ..exceptions import ImageReadError
from ..inputs import Source, raise_if_unreadable


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
    def resolve(
        cls,
        *,
        device: str,
        precision: str,
        batch_size: int,
        num_workers: int | str,
        verbose: int = 0,
    ) -> Runtime:
        """Turn the estimators' parameters into a runtime."""
        where = _resolve_device(device)
        if num_workers == "auto":
            # On a CPU the cores are busy with the network already.
            on_cpu = where.type == "cpu"
            num_workers = 0 if on_cpu else min(8, os.cpu_count() or 1)
        return cls(
            where,
            _resolve_precision(precision, where),
            batch_size,
            int(num_workers),
            verbose,
        )

    @classmethod
    def of(cls, estimator: Any) -> Runtime:
        """Resolve the parameters of an estimator that has a backbone."""
        return cls.resolve(
            device=estimator.device,
            precision=estimator.precision,
            batch_size=estimator.batch_size,
            num_workers=estimator.num_workers,
            verbose=int(estimator.verbose),
        )

    def loader_options(self, source: Source) -> dict[str, Any]:
        """Options of a :class:`~torch.utils.data.DataLoader` over ``source``."""
        workers = self.num_workers if source.decodes else 0
        return {
            "collate_fn": _already_a_batch,
            "num_workers": workers,
            "pin_memory": self.device.type == "cuda",
            "persistent_workers": workers > 0,
        }


def _already_a_batch(batch: Any) -> Any:
    """Collate nothing: the datasets here return whole batches, others lists."""
    return default_collate(batch) if isinstance(batch, list) else batch


def _resolve_device(device: str) -> torch.device:
    if device != "auto":
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ValueError(
                f"Unknown device {device!r}. Use 'auto', 'cpu', 'cuda', 'cuda:1' or "
                "'mps'."
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _resolve_precision(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "float32" or device.type == "mps":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else None
    # Without matrix units bf16 is emulated on a CPU, and slower than float32.
    has_matrix_units = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.bfloat16 if has_matrix_units() else None


def forward_all(
    module: nn.Module, source: Source, runtime: Runtime, description: str = ""
) -> Tensor:
    """Run every sample through ``module`` once, in evaluation mode and in order.

    Parameters
    ----------
    module : Module
    source : Source
    runtime : Runtime
    description : str
        Of the progress bar, shown when ``runtime.verbose``.

    Returns
    -------
    Tensor of shape (n_samples, n_outputs), float32, on the CPU
    """
    loader = DataLoader(
        source,
        batch_size=runtime.batch_size,
        # Its own, so that a pass leaves the random state of training alone.
        generator=torch.Generator(),
        **runtime.loader_options(source),
    )
    module = module.to(runtime.device).eval()
    result: Tensor | None = None
    start = 0
    with torch.inference_mode(), named_images(source):
        for batch in progress(loader, description, runtime.verbose):
            out = module(batch.to(runtime.device, non_blocking=True))
            if result is None:
                # Made in inference mode, it could not take part in training.
                with torch.inference_mode(False):
                    result = torch.empty((len(source), *out.shape[1:]), dtype=out.dtype)
            result[start : start + len(out)] = out
            start += len(out)
    assert result is not None, "sources are never empty"
    return result


@contextlib.contextmanager
def named_images(source: Source) -> Iterator[None]:
    """When a loader process fails on an image, raise the error it would have here."""
    try:
        yield
    except ImageReadError as error:
        if not error.paths:
            raise_if_unreadable(source, decode=True)
        raise


def progress(iterable: Any, description: str, verbose: int) -> Any:
    """Wrap an iterable in a progress bar when asked to."""
    if not verbose:
        return iterable
    from tqdm.auto import tqdm

    return tqdm(iterable, desc=description, leave=False)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block, and leave its generators as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def free_memory(device: torch.device) -> None:
    """Return what a finished phase held; skorch nets sit in reference cycles."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
