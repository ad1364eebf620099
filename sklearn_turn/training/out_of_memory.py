"""What is done when the memory of a device runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch

from ..exceptions import NotEnoughMemoryError, SmallerBatchWarning
from .batches import n_samples_of, rows_of
from .device import free_memory

T = TypeVar("T")

# What torch has no class of errors for -> type of the device.
_TEXTS = {
    "CUDA error: out of memory": "cuda",
    "CUBLAS_STATUS_ALLOC_FAILED": "cuda",
    "MPS backend out of memory": "mps",
    "DefaultCPUAllocator": "cpu",
}


def exhausted_device(error: BaseException) -> torch.device | None:
    """The device whose memory ran out, if that is what an error says."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return torch.device("cuda")
    if isinstance(error, RuntimeError):
        for text, kind in _TEXTS.items():
            if text in str(error):
                return torch.device(kind)
    return None


def steps_that_fit(batches: Iterable[Any], step: Callable[[Any], T]) -> Iterator[T]:
    """Apply a function to every batch without gradients, or to parts of batches.

    When the memory of the device does not suffice for a batch, it and all that follow
    are cut into parts of half as many samples, and so on.

    Parameters
    ----------
    batches : iterable
    step : callable
        Of a batch.

    Yields
    ------
    object
        What ``step`` returns, in the order of the samples.

    Raises
    ------
    NotEnoughMemoryError
        If a single sample takes too much.

    Warns
    -----
    SmallerBatchWarning
        Once.
    """
    most: int | None = None
    has_warned = False
    for batch in batches:
        n, start = n_samples_of(batch), 0
        while True:
            size = n - start if most is None else min(most, n - start)
            is_whole = size == n
            part = batch if is_whole else rows_of(batch, slice(start, start + size))
            fits, result = _attempt(step, part, size)
            if not fits:
                most = size // 2
                continue
            if most is not None and not has_warned:
                has_warned = True
                warnings.warn(
                    f"There is too little memory for {n} samples at a time in a pass "
                    f"without gradients, which goes on with {most}. Set "
                    f"batch_size={most} to spare it the failed attempts.",
                    SmallerBatchWarning,
                    stacklevel=2,
                )
            yield result
            start += size
            if start >= n:
                break


def _attempt(step: Callable[[Any], T], batch: Any, size: int) -> tuple[bool, Any]:
    """Whether there was memory for a step, and its result."""
    try:
        # Not inference mode: what a module keeps from here could not be trained with.
        with torch.no_grad():
            return True, step(batch)
    except RuntimeError as error:
        device = exhausted_device(error)
        if device is None:
            raise
        error.__traceback__ = None  # which holds activations
        if size <= 1:
            raise NotEnoughMemoryError(
                "There is too little memory for a single sample in a pass without "
                "gradients. Set precision='bfloat16', a smaller input_size or another "
                "device, or end other programs that use this one."
            ) from error
    free_memory(device)  # now that the error is gone
    return False, None
