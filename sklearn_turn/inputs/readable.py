"""Which samples can be read, where others are to be skipped."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from ..exceptions import SkippedImageWarning
from ..processes import Processes
from .decoded import read_error
from .source import Source


def find_readable(source: Source, processes: Processes) -> NDArray[np.bool_]:
    """Read every sample once, and warn of those that cannot be.

    Parameters
    ----------
    source : Source
    processes : Processes
        That share the work.

    Returns
    -------
    ndarray of shape (n_samples,), bool

    Raises
    ------
    ImageReadError
        If there is none.
    ValueError
        If the processes have other numbers of samples.

    Warns
    -----
    SkippedImageWarning
    """
    with processes.together():
        own = source.problems(processes.share(len(source)), decode=True)
    told = processes.exchange("bad images", (len(source), own))
    if len({n for n, _ in told}) > 1:
        sizes = ", ".join(str(n) for n, _ in told)
        raise ValueError(f"The processes have other numbers of samples: {sizes}.")
    bad = [problem for _, part in told for problem in part]
    readable = np.ones(len(source), dtype=bool)
    readable[[index for index, _, _ in bad]] = False
    if not readable.any():
        remedy = "None is left to train on."
        raise read_error(bad, f"any of {len(source)} images", remedy)
    if bad:
        warnings.warn(
            f"{len(bad)} of {len(source)} images cannot be read and are skipped, the "
            f"first {bad[0][1]!r} ({bad[0][2]}); see skipped_.",
            SkippedImageWarning,
            stacklevel=5,
        )
    return readable
