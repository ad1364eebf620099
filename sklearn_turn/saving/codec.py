"""Python values as JSON and tensors, and back.

Nothing is executed in reading but the constructors named here: a file from elsewhere
can hold wrong numbers, not code.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from ..features import FeatureMemory
from ..labels import without_missing
from ..selection import (
    CORESNoiseFilter,
    FINENoiseFilter,
    GMMNoiseFilter,
    NoiseChannelFilter,
    UNICONNoiseFilter,
)
from ..selection.mixture import TwoGaussians
from ..selection.transition import Channel
from ..task import Selection
from .arrays import (
    CodecError,
    Tensors,
    pack_array,
    pack_tensor,
    unpack_array,
    unpack_tensor,
)

Classes = Mapping[str, type]

# What a default factory may be.
_FACTORIES: dict[str, Any] = {
    "None": None,
    **{kind.__name__: kind for kind in (list, dict, set, int, float, str)},
}
_GENERATORS = {
    kind.__name__: kind
    for kind in (
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    )
}
_COLLECTIONS = {
    kind.__name__: kind
    for kind in (tuple, set, frozenset, collections.OrderedDict, collections.Counter)
}


def classes_by_path(values: Iterable[Any]) -> dict[str, type]:
    """The classes of those values that are estimators, by "module:name"."""
    classes = {type(value) for value in values if isinstance(value, BaseEstimator)}
    return {_path_of(cls): cls for cls in classes}


def _path_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


# The only objects that are made in reading, beside those of classes that the caller
# has named.
_OURS: Classes = {
    _path_of(cls): cls
    for cls in (
        FeatureMemory,
        Selection,
        Channel,
        TwoGaussians,
        CORESNoiseFilter,
        FINENoiseFilter,
        GMMNoiseFilter,
        NoiseChannelFilter,
        UNICONNoiseFilter,
    )
}


def pack(
    value: Any,
    tensors: Tensors,
    name: str,
    *,
    states: bool = True,
    known: Mapping[str, type] = {},
) -> Any:
    """Turn a value into what JSON takes, putting its numbers into ``tensors``.

    Parameters
    ----------
    value : object
        Plain values, arrays, tensors, random states, filters of this package, whatever
        has a ``state_dict``; and lists, tuples, sets and dicts of these.
    tensors : dict of str to Tensor
        Added to, under names that begin with ``name``; not if the value is refused.
    name : str
    states : bool, default=True
        Whether a ``state_dict`` will do, which needs an object to be put into.
    known : mapping of str to type, default={}
        Classes that objects may have beside those of this package.

    Returns
    -------
    object

    Raises
    ------
    CodecError
        For anything else; the message names it.
    """
    before = set(tensors)
    try:
        return _Packer(tensors, states, known).pack(value, name)
    except CodecError:
        for added in tensors.keys() - before:
            del tensors[added]
        raise


class _Packer:
    def __init__(self, tensors: Tensors, states: bool, known: Classes):
        self.tensors = tensors
        self.states = states
        self.classes = {*_OURS, *known}

    def pack(self, value: Any, name: str) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Tensor):
            return pack_tensor(value, self.tensors, name)
        if hasattr(value, "iloc") and value.ndim == 1:
            value = without_missing(value)  # a Series: parameters take any array
        if isinstance(value, np.ndarray | np.generic):
            node = pack_array(
                np.asarray(value),
                self.tensors,
                name,
                lambda item, place: self.pack(item, f"{name}.{place}"),
            )
            return node if isinstance(value, np.ndarray) else {"scalar": node}
        for part in (self._pack_collection, self._pack_generator):
            node = part(value, name)
            if node is not None:
                return node
        if _path_of(type(value)) in self.classes:
            state = {k: self.pack(v, f"{name}.{k}") for k, v in vars(value).items()}
            return {"object": _path_of(type(value)), "vars": state}
        if isinstance(value, os.PathLike):
            return {"path": os.fspath(value)}
        if isinstance(value, torch.device):
            return {"device": str(value)}
        if self.states and _has_state(value):
            return {"state_of": self.pack(dict(value.state_dict()), name)}
        raise CodecError(f"{name} is a {type(value).__name__}, which cannot be saved.")

    def _pack_collection(self, value: Any, name: str) -> Any:
        kind = type(value)
        if isinstance(value, dict):
            items: Any = [
                [self.pack(key, f"{name}.key{i}"), self.pack(item, f"{name}.{key}")]
                for i, (key, item) in enumerate(value.items())
            ]
        elif kind in (list, tuple, set, frozenset, collections.deque):
            items = [self.pack(item, f"{name}.{i}") for i, item in enumerate(value)]
        else:
            return None
        if kind is list:
            return items
        if kind is dict:
            return {"dict": items}
        if kind is collections.deque:
            return {"deque": items, "maxlen": value.maxlen}
        if kind.__name__ in _COLLECTIONS and kind is _COLLECTIONS[kind.__name__]:
            return {"collection": items, "kind": kind.__name__}
        if kind is collections.defaultdict:
            factory = getattr(value.default_factory, "__name__", "None")
            if _FACTORIES.get(factory, ...) is value.default_factory:
                return {"defaultdict": items, "factory": factory}
        raise CodecError(f"{name} is a {kind.__name__}, which cannot be saved.")

    def _pack_generator(self, value: Any, name: str) -> Any:
        if isinstance(value, np.random.RandomState):
            return {"random_state": self.pack(value.get_state(legacy=False), name)}
        if isinstance(value, np.random.Generator):
            state = value.bit_generator.state
            if state["bit_generator"] in _GENERATORS:
                return {"generator": self.pack(state, name)}
        if isinstance(value, torch.Generator):
            state = self.pack(value.get_state(), name)
            return {"torch_generator": state, "device": value.device.type}
        return None


def unpack(
    node: Any,
    tensors: Mapping[str, Tensor],
    into: Any = None,
    known: Mapping[str, type] = {},
    device: Any = None,
) -> Any:
    """The value that was packed.

    Parameters
    ----------
    node : object
        What :func:`pack` returned.
    tensors : mapping of str to Tensor
    into : object, default=None
        The value there is now: random states and what has a ``state_dict`` are set in
        place, since others hold them too.
    known : mapping of str to type, default={}
        Classes that objects may have beside those of this package.
    device : torch.device, default=None
        Where tensors go that were not on the CPU; None is the CPU.

    Returns
    -------
    object

    Raises
    ------
    CodecError
        If an object is of a class that is neither of this package nor known, or if
        there is no object for a state.
    """

    def inner(node: Any, into: Any = None) -> Any:
        return unpack(node, tensors, into, known, device)

    def items(nodes: list[Any]) -> list[Any]:
        there = into if isinstance(into, list | tuple) else ()
        olds = there if len(there) == len(nodes) else [None] * len(nodes)
        return [inner(n, old) for n, old in zip(nodes, olds, strict=True)]

    def pairs(nodes: list[Any]) -> list[Any]:
        olds = into if isinstance(into, dict) else {}
        keys = [inner(key) for key, _ in nodes]
        return [
            (key, inner(n, olds.get(key)))
            for key, (_, n) in zip(keys, nodes, strict=True)
        ]

    if isinstance(node, list):
        return items(node)
    if not isinstance(node, dict):
        return node
    kind, content = next(iter(node.items()))
    match kind:
        case "tensor":
            return unpack_tensor(node, tensors, device)
        case "array":
            return unpack_array(node, tensors, inner)
        case "scalar":
            return inner(content)[()]
        case "dict":
            return dict(pairs(content))
        case "defaultdict":
            return collections.defaultdict(_FACTORIES[node["factory"]], pairs(content))
        case "deque":
            return collections.deque(items(content), node["maxlen"])
        case "collection":
            made = _COLLECTIONS[node["kind"]]
            return made(
                dict(pairs(content)) if issubclass(made, dict) else items(content)
            )
        case "random_state":
            is_old = isinstance(into, np.random.RandomState)
            random_state = into if is_old else np.random.RandomState()
            random_state.set_state(inner(content))
            return random_state
        case "generator":
            state = inner(content)
            bits = _GENERATORS[state["bit_generator"]]
            is_old = isinstance(into, np.random.Generator)
            if not is_old or type(into.bit_generator) is not bits:
                into = np.random.Generator(bits())
            into.bit_generator.state = state
            return into
        case "torch_generator":
            if not isinstance(into, torch.Generator):
                into = torch.Generator(node["device"])
            into.set_state(inner(content))
            return into
        case "path":
            return Path(content)
        case "device":
            return torch.device(content)
        case "state_of":
            if not _has_state(into):
                raise CodecError("There is a state, and no object that it belongs to.")
            into.load_state_dict(inner(content))
            return into
        case "object":
            cls = {**_OURS, **known}.get(content)
            if cls is None:
                raise CodecError(
                    f"The file holds an object of {content.replace(':', '.')}, which "
                    "is neither of this version of the package nor passed."
                )
            value: Any = object.__new__(cls)
            vars(value).update({k: inner(v) for k, v in node["vars"].items()})
            return value
    raise CodecError(f"Unknown kind of value {kind!r}.")


def _has_state(value: Any) -> bool:
    has = hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
    return has and not isinstance(value, type)
