"""What a process may use of a machine on which other fits run beside it.

Engines that run the fits of a search start worker processes, and tell them their share
of the CPUs by the number of threads: joblib, Dask and Ray set ``OMP_NUM_THREADS``, and
torch follows. Dask and Ray can also show a worker its own GPUs only; the workers of
joblib see all of them.
"""

from __future__ import annotations

import multiprocessing
import re
import sys

import joblib
import torch


def cpus() -> int:
    """CPUs for this process: those of the machine that it may run on, or its share."""
    everything: int = joblib.cpu_count()
    return min(everything, torch.get_num_threads()) if _is_worker() else everything


def loader_processes(wanted: int) -> int:
    """As many as wanted, or none in a process that may not start any."""
    return 0 if multiprocessing.current_process().daemon else wanted


def gpu() -> torch.device:
    """The current GPU; in joblib's own workers, one after the other."""
    worker = re.search(r"^LokyProcess-(\d+)", multiprocessing.current_process().name)
    n_gpus = torch.cuda.device_count()
    if worker is None or n_gpus < 2:
        return torch.device("cuda")
    # Workers of one pool are numbered in a row, from any number.
    return torch.device("cuda", int(worker[1]) % n_gpus)


def _is_worker() -> bool:
    """Whether an engine started this process to run fits beside others."""
    if multiprocessing.parent_process() is not None:
        return True
    # Ray's workers are no children of the process that asked for them.
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()
