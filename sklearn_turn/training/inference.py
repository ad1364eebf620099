"""The one loop that runs networks without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..inputs import Source
from ..progress import progress
from .batches import already_a_batch, n_samples_of
from .device import Runtime, moved
from .out_of_memory import steps_that_fit

T = TypeVar("T")


def steps(
    batches: Iterable[Any],
    step: Callable[[Any], T],
    *,
    description: str = "",
    verbose: int = 0,
) -> Iterator[T]:
    """Apply a function to every batch, in order, without gradients.

    A batch that takes too much memory is cut into parts, as are those that follow.

    Parameters
    ----------
    batches : iterable
    step : callable
        Of a batch.
    description : str
        Of the progress.
    verbose : int
        Whether to show it.

    Yields
    ------
    object
        What ``step`` returns, of a batch or a part of one.
    """
    shown = progress(batches, description, verbose, count=n_samples_of)
    return steps_that_fit(shown, step)


def join(parts: Iterable[dict[str, Tensor]], n_samples: int) -> dict[str, Tensor]:
    """Join what belongs to consecutive batches.

    Parameters
    ----------
    parts : iterable of dict of str to Tensor
        Each tensor of shape (n_batch, ...).
    n_samples : int
        In all parts together.

    Returns
    -------
    dict of str to Tensor
        Each of shape (n_samples, ...), on the CPU.
    """
    results: dict[str, Tensor] = {}
    start = 0
    for outputs in parts:
        for name, output in outputs.items():
            if name not in results:
                shape = (n_samples, *output.shape[1:])
                results[name] = torch.empty(shape, dtype=output.dtype)
            end = start + len(output)
            results[name][start:end] = output
        start = end
    if start != n_samples:
        raise RuntimeError(f"Of {n_samples} samples {start} were run.")
    return results


def forward_batches(
    module: nn.Module, source: Source, runtime: Runtime, description: str = ""
) -> Iterator[Tensor]:
    """Run every sample through a module once, in evaluation mode and in order.

    Parameters
    ----------
    module : Module
    source : Source
    runtime : Runtime
    description : str
        Of the progress, shown when ``runtime.verbose``.

    Yields
    ------
    Tensor of shape (n_batch, n_outputs), on the device
    """
    module = module.to(runtime.device).eval()
    return steps(
        batches_of(source, runtime),
        lambda batch: module(moved(batch, runtime.device)),
        description=description,
        verbose=runtime.verbose,
    )


def forward_all(
    module: nn.Module, source: Source, runtime: Runtime, description: str = ""
) -> Tensor:
    """Run every sample through a module once, in evaluation mode and in order.

    Parameters
    ----------
    module : Module
    source : Source
    runtime : Runtime
    description : str
        Of the progress, shown when ``runtime.verbose``.

    Returns
    -------
    Tensor of shape (n_samples, n_outputs), on the CPU
    """
    outputs = (
        {"output": out} for out in forward_batches(module, source, runtime, description)
    )
    return join(outputs, len(source))["output"]


def batches_of(source: Source, runtime: Runtime) -> Iterable[Any]:
    """All samples of a source in order, in batches for passes without gradients."""
    if not source.decodes:
        return _Slices(source, runtime.batch_size)
    n_batches = -(-len(source) // runtime.batch_size)
    options = runtime.loader_options(decodes=True, n_batches=n_batches)
    return DataLoader(
        source,
        batch_size=runtime.batch_size,
        collate_fn=already_a_batch,
        **options,
    )


class _Slices:
    """Batches of what is in memory already: no loader, but a length."""

    def __init__(self, source: Source, batch_size: int):
        self.source = source
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.source)
        for start in range(0, n, self.batch_size):
            yield self.source.load(range(start, min(start + self.batch_size, n)))
