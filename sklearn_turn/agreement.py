"""What the processes of one fit agree on: what they begin with, and what they find."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .inputs import Source, Subset
from .inputs.files import ImageFiles
from .inputs.keys import some_of
from .processes import Processes
from .saving.fingerprint import describe, describe_parameters
from .task import Result
from .training.device import Runtime

# Samples that are compared; reading all would take as long as the work that is shared.
_COMPARED = 32


def agree_on_start(
    estimator: BaseEstimator,
    source: Source,
    labels: NDArray[Any],
    runtime: Runtime,
    seed: int,
    earlier: Any = None,
) -> int:
    """Refuse to begin with different data or parameters; return one seed for all.

    Parameters
    ----------
    estimator : estimator
        What is fitted.
    source : Source
    labels : ndarray of shape (n_samples,)
    runtime : Runtime
    seed : int
        Of this process.
    earlier : Earlier, default=None
        The fit that this one goes on from.

    Returns
    -------
    int
        That of the first.

    Raises
    ------
    ValueError
        In all processes; it says what differs.
    """
    processes = runtime.processes
    if not processes.are_several:
        return seed
    own = {
        **describe_parameters(estimator),
        "precision in use": str(runtime.dtype),
        "number of samples": len(source),
        "samples": _look_at(source),
        "labels": describe(labels),
        "checkpoint": estimator.checkpoint is not None,
        "network to go on from": earlier and describe(earlier.net.module_),
    }
    told = processes.exchange("data and parameters", (own, seed))
    first, seed = told[0]
    for rank, (other, _) in enumerate(told):
        names = {**first, **other}
        if differ := [name for name in names if first.get(name) != other.get(name)]:
            raise ValueError(
                f"Process {rank} of {processes.count} does not fit the same as process "
                f"0. What differs: {', '.join(differ)}. Give all processes the same "
                "data, in the same order, and the same parameters; sort lists of files."
            )
    return seed


def _look_at(source: Source) -> list[str]:
    """Some samples, by content; files by name, since times may differ by machine."""
    rows = some_of(len(source), _COMPARED).tolist()
    files, places = source, np.arange(len(source))
    if isinstance(source, Subset):
        files, places = source.source, source.indices
    if isinstance(files, ImageFiles):
        return [os.path.basename(files.name(place)) for place in places[rows]]
    return [key.hex() for key in source.keys(rows)]


def agree_on_result(result: Result, processes: Processes) -> Result:
    """The first process's result, in all of them.

    Parameters
    ----------
    result : Result
        Its nets get the first process's weights and records.
    processes : Processes

    Returns
    -------
    Result
    """
    if not processes.are_several:
        return result
    nets = [net for net in (result.probe, result.net) if net is not None]
    for net in nets:
        processes.equalize("weights", net.module_)
    histories, selection = processes.first(
        "result", lambda: ([list(net.history) for net in nets], result.selection)
    )
    for net, rows in zip(nets, histories, strict=True):
        net.history[:] = rows
    return replace(result, selection=selection)
