"""What the benchmarks share: the machine, counted passes, results on disk."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import sklearn
import skorch
import timm
import torch

import sklearn_turn
from benchmarks.cells import strict_json
from sklearn_turn.backbones import Embedder

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Describe the hardware and the versions that were measured."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "skorch": skorch.__version__,
        "scikit-learn": sklearn.__version__,
        "sklearn-turn": sklearn_turn.__version__,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _commit() -> str | None:
    """That of the library, with a plus where files of it differ; None if unknown."""
    package = Path(sklearn_turn.__file__).parent
    quiet = subprocess.DEVNULL
    git = partial(subprocess.check_output, cwd=package, text=True, stderr=quiet)
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        changed = git(["git", "status", "--porcelain", "--", "."])
        commit = git(["git", "rev-parse", "--short", "HEAD"]).strip()
        return f"{commit}+" if changed else commit
    return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MiB.

    On Linux by its own pages: ``ru_maxrss`` begins at the peak of the process that
    started it, and would hide what is below that.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@dataclass
class Passes:
    """Images that went through a backbone, by mode."""

    forward: int = 0
    training: int = 0


@contextlib.contextmanager
def counted_passes() -> Iterator[Passes]:
    """Count the images every backbone sees inside the block."""
    seen, embed = Passes(), Embedder.embed_inputs

    def counted(self: Embedder, images: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            seen.training += len(images)
        else:
            seen.forward += len(images)
        return embed(self, images)

    with mock.patch.object(Embedder, "embed_inputs", counted):
        yield seen


def save(
    name: str, payload: dict[str, Any], markdown: str, *, show: bool = True
) -> None:
    """Write ``results/name.json`` and ``results/name.md``, and print the latter."""
    RESULTS.mkdir(exist_ok=True)
    payload = {"machine": machine(), **payload}
    text = strict_json(payload)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    described = ", ".join(f"{k} {v}" for k, v in payload["machine"].items() if v)
    (RESULTS / f"{name}.md").write_text(f"{markdown}\n\nMachine: {described}.\n")
    if show:
        print(markdown)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Render a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
