"""A fit that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import nn

from .. import __version__
from ..backbones import Embedder
from ..backbones.identity import describe as describe_backbone
from ..exceptions import CheckpointError
from ..inputs import Source
from ..processes import ALONE, Processes
from .epochs import EpochCheckpoint
from .files import FileLock, sweep, write_json
from .fingerprint import describe, fingerprint

_BEGUN, _EPOCH, _FEATURES, _LOCK = "fit.json", "epoch.safetensors", "features", "lock"


@dataclass(frozen=True)
class FitCheckpoint:
    """Folder of what is needed to go on with one fit.

    Features are kept as they are computed, and the state of fine-tuning after every
    epoch. What lies between, the linear probes, takes seconds and is done again.

    Attributes
    ----------
    folder : Path
    seed : int
        Of the fit, also of one whose ``random_state`` is None.
    lock : FileLock
        Keeps other fits out of the folder while this one goes on.
    """

    folder: Path
    seed: int
    lock: FileLock

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        estimator: BaseEstimator,
        source: Source,
        labels: NDArray[Any],
        runtime: Any,
        seed: int,
        earlier: Any = None,
    ) -> FitCheckpoint:
        """Begin a fit in a folder, or find one that was begun there.

        Parameters
        ----------
        folder : path
        estimator : estimator
            What is fitted.
        source : Source
        labels : ndarray of shape (n_samples,)
        runtime : Runtime
        seed : int
            Of a fit that begins.
        earlier : Earlier, default=None
            The fit that it goes on from.

        Raises
        ------
        CheckpointError
            If the folder holds another fit, is in use or cannot be used.
        """
        folder = Path(folder)
        fit = {
            **fingerprint(estimator, source, labels, runtime.batch_size),
            "device": runtime.device.type,
            "precision in use": str(runtime.dtype),
            "version of sklearn-turn": __version__,
            "version of torch": str(torch.__version__),
            "version of Python": ".".join(map(str, sys.version_info[:2])),
            "network to go on from": earlier and describe(earlier.net.module_),
        }
        lock = FileLock(folder / _LOCK)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not lock.acquire():
                raise CheckpointError(
                    f"Another fit is going on in the folder {str(folder)!r}. Wait for "
                    "its end, or give this fit a folder of its own."
                )
            return cls(folder, _begin_or_find(folder, fit, seed), lock)
        except BaseException as error:
            lock.release()
            if isinstance(error, CheckpointError) or not isinstance(error, Exception):
                raise
            raise _unusable(folder, error) from error

    def confirm(self, embed: nn.Module) -> None:
        """Raise if the fit was begun with another backbone.

        A factory, a file of weights or another version of timm may have brought it.

        Raises
        ------
        CheckpointError
        """
        if not isinstance(embed, Embedder):
            return
        path, found = self.folder / _BEGUN, describe_backbone(embed)
        try:
            begun = json.loads(path.read_text())
            if "backbone" not in begun:
                write_json(path, {**begun, "backbone": found})
                return
        except (OSError, ValueError) as error:
            raise _unusable(self.folder, error) from error
        _check_same(self.folder, begun["backbone"], found, of="backbone: ")

    def __enter__(self) -> FitCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the folder to other fits."""
        self.lock.release()

    @property
    def features(self) -> Path:
        """Where features are kept, unless they are kept elsewhere."""
        return self.folder / _FEATURES

    def of_epochs(
        self, random_state: np.random.RandomState, processes: Processes = ALONE
    ) -> EpochCheckpoint:
        """The callback that keeps the state of training; it must be the last one."""
        return EpochCheckpoint(self.folder / _EPOCH, random_state, processes)


def _begin_or_find(folder: Path, fit: dict[str, Any], seed: int) -> int:
    """Seed of the fit in a folder."""
    path = folder / _BEGUN
    if path.exists():
        begun = json.loads(path.read_text())
        held, seed = dict(begun["fit"]), int(begun["seed"])
        _check_same(folder, held, fit)
        sweep(folder / _EPOCH)
        return seed
    if (folder / _EPOCH).exists():
        raise CheckpointError(
            f"The folder {str(folder)!r} holds {_EPOCH}, but no {_BEGUN} that tells "
            "what it is of. Delete it, or give this fit a folder of its own."
        )
    write_json(path, {"fit": fit, "seed": seed})
    return seed


def _unusable(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"No checkpoint can be kept in {str(folder)!r}: {type(error).__name__}: "
        f"{error}. Name a folder that can be written to and holds nothing else."
    )


def _check_same(
    folder: Path, begun: Mapping[str, Any], fit: Mapping[str, Any], of: str = ""
) -> None:
    names = [name for name in {**begun, **fit} if begun.get(name) != fit.get(name)]
    if not names:
        return

    def shown(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 40 else "another"

    hashed = {"images", "labels", "weights", "layers", "settings"}
    differ = "; ".join(
        name
        if name in hashed
        else f"{name} (there {shown(begun.get(name))}, now {shown(fit.get(name))})"
        for name in names
    )
    raise CheckpointError(
        f"The folder {str(folder)!r} holds the checkpoint of another fit. What "
        f"differs: {of}{differ}. Give this fit a folder of its own, or delete the "
        "folder if the fit in it is not needed."
    )
