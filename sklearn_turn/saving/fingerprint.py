"""What decides the result of a fit, in plain values that can be compared."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import inspect
import json
import logging
import os
import re
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from skorch.callbacks.training import ParamMapper
from torch import Tensor

from ..backbones.identity import weights_digest
from ..inputs import Source
from ..inputs.keys import content_key

# Parameters with no effect on the result, or one that is compared for itself.
_LEFT_OUT = {
    "checkpoint",
    "device",
    "distributed",
    "memory",
    "num_workers",
    "random_state",
    "verbose",
    "warm_start",
}

# Objects within objects that are looked into; beyond that their type counts.
_DEPTH = 16


def fingerprint(
    estimator: BaseEstimator,
    source: Source,
    labels: NDArray[Any],
    batch_size: int,
) -> dict[str, Any]:
    """Everything a fit depends on but its random state.

    Parameters
    ----------
    estimator : estimator
    source : Source
    labels : ndarray of shape (n_samples,)
    batch_size : int
        Samples that are read at a time.

    Returns
    -------
    dict of str to object
        What JSON takes, unchanged by it; images and labels by a hash.
    """
    digest = hashlib.sha256()
    for start in range(0, len(source), batch_size):
        rows = range(start, min(start + batch_size, len(source)))
        digest.update(b"".join(source.keys(rows)))
    if labels.dtype.kind in "iu":
        labels = labels.astype(np.int64)  # whatever type was given
    elif labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels):
        labels = labels.astype(str)  # as those of a list are
    return {
        **describe_parameters(estimator),
        "number of samples": len(source),
        "images": digest.hexdigest(),
        "labels": describe(labels),
    }


def describe_parameters(estimator: BaseEstimator) -> dict[str, Any]:
    """The method and those of its parameters that a result depends on."""
    parameters = estimator.get_params(deep=False)
    return {
        "method": type(estimator).__name__,
        **{k: describe(v) for k, v in parameters.items() if k not in _LEFT_OUT},
        "random_state": describe(parameters["random_state"]),
    }


def describe(value: Any) -> Any:
    """A value in terms that are equal in another process when it is.

    Modules count by their weights and settings, functions by their code and what they
    enclose, other objects by their attributes. Not seen are the code of classes, and
    what functions find in global variables.
    """
    return _describe(value, (), True)


def _describe(value: Any, within: tuple[int, ...], objects: bool) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if id(value) in within or len(within) > _DEPTH:
        return _name(type(value))
    within = (*within, id(value))

    def inner(value: Any, objects: bool = objects) -> Any:
        return _describe(value, within, objects)

    if isinstance(value, np.generic):
        return inner(value.item())
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, np.random.RandomState | np.random.Generator | torch.Generator):
        return _name(type(value))  # moves on from fit to fit
    if isinstance(value, Tensor):
        rows = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        of_kind = f"{value.dtype}{tuple(value.shape)}"
        return content_key(of_kind, rows.numpy()).hex()
    if hasattr(value, "iloc"):  # pandas shows a part of its values
        value = np.asarray(value, dtype=object)
    if isinstance(value, np.ndarray):
        return inner(value.tolist()) if value.dtype.hasobject else _hash(value)
    if isinstance(value, list | tuple):
        return [inner(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((inner(item) for item in value), key=json.dumps)
    if isinstance(value, dict):
        return {str(k): inner(v) for k, v in value.items()} or None
    if isinstance(value, torch.nn.Module):
        return _describe_module(value, inner)
    if isinstance(value, BaseEstimator):
        return [_name(type(value)), inner(value.get_params(deep=False))]
    if isinstance(value, functools.partial):
        return [inner(part) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, Callback):
        return [_name(type(value)), inner(_options(value), objects=False)]
    if inspect.isroutine(value):
        return _describe_function(value, inner)
    if isinstance(value, type | types.ModuleType | logging.Logger):
        return _name(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__dict__"):
        # An augmentation, a split: by what it was made with. Handles that a callback
        # or a module holds, of loggers and the like, differ from process to process;
        # scorers do not.
        seen = objects or dataclasses.is_dataclass(value)
        seen |= type(value).__module__.startswith("sklearn.")
        return [_name(type(value)), inner(vars(value)) if seen else None]
    text = repr(value)
    return _name(type(value)) if " at 0x" in text else text


def _describe_module(module: torch.nn.Module, inner: Callable[..., Any]) -> Any:
    settings = {
        f"{layer}.{name}": inner(value, objects=False)
        for layer, part in module.named_modules()
        for name, value in vars(part).items()
        if name != "training" and not name.startswith("_")
    }
    # What a layer shows may be kept in no attribute.
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    parts = [weights_digest(module), shown, settings]
    return [_name(type(module)), _hash(json.dumps(parts, sort_keys=True))]


def _options(callback: Callback) -> dict[str, Any]:
    """What a callback was made with, not what it found."""
    if isinstance(callback, ParamMapper):
        # It replaces its own options when training begins.
        callback = copy.copy(callback).initialize()
    return {k: v for k, v in vars(callback).items() if not k.endswith("_")}


def _describe_function(function: Any, inner: Callable[..., Any]) -> Any:
    owner = function.__self__ if isinstance(function, types.MethodType) else None
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:  # compiled
        return _name(function)
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(inner(cell.cell_contents))
        except ValueError:  # of a variable that has no value yet
            cells.append(None)
    defaults = inner([function.__defaults__, function.__kwdefaults__])
    parts = [_describe_code(code), defaults, cells]
    # A method of a callback is one of its options.
    of = None if isinstance(owner, Callback) else inner(owner)
    return [_name(function), of, _hash(json.dumps(parts, sort_keys=True))]


def _describe_code(code: types.CodeType) -> Any:
    constants = [
        _describe_code(constant)
        if isinstance(constant, types.CodeType)
        else describe(constant)
        for constant in code.co_consts
    ]
    return [code.co_code.hex(), list(code.co_names), constants]


def _hash(content: NDArray[Any] | str) -> str:
    return content_key(content).hex()


def _name(of: Any) -> str:
    if isinstance(of, types.ModuleType | logging.Logger):
        return f"{type(of).__name__} {getattr(of, '__name__', getattr(of, 'name', ''))}"
    module = getattr(of, "__module__", None)
    return f"{module}.{getattr(of, '__qualname__', type(of).__qualname__)}"
