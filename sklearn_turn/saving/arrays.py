"""Tensors and arrays as the tensors of a file, and back as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tensors = dict[str, Tensor]


class CodecError(ValueError):
    """A value that has no form in JSON and tensors, or a file that has no values."""


def pack_tensor(tensor: Tensor, tensors: Tensors, name: str) -> dict[str, Any]:
    """Put a tensor into ``tensors``, and tell where it is and how it lay in memory.

    Raises
    ------
    CodecError
        If it is sparse or quantized.
    """
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CodecError(f"{name} is a sparse or quantized tensor, which has no rows.")
    value = tensor.detach()
    node: dict[str, Any] = {"tensor": _add(value, tensors, name)}
    # Optimisers go through the memory of a parameter and its averages in step.
    strides = torch.empty_like(value, device="meta").stride()
    if strides != tensors[node["tensor"]].stride():
        node["stride"] = list(strides)
    if tensor.device.type != "cpu":
        node["on_device"] = True
    return node


def unpack_tensor(
    node: Mapping[str, Any], tensors: Mapping[str, Tensor], device: Any
) -> Tensor:
    """The tensor that was packed, on a device if it was not on the CPU."""
    tensor = tensors[node["tensor"]]
    if "stride" in node:
        rows = tensor
        tensor = torch.empty_strided(rows.shape, node["stride"], dtype=rows.dtype)
        tensor.copy_(rows)
    return tensor.to(device) if "on_device" in node and device else tensor


def pack_array(
    array: NDArray[Any], tensors: Tensors, name: str, pack: Callable[[Any, Any], Any]
) -> dict[str, Any]:
    """Put an array into ``tensors``; objects one by one, by ``pack(item, place)``."""
    shape = list(array.shape)
    if array.dtype.hasobject:
        # Not in place of each other: labels of any type, a float beside a string.
        items = [pack(item, place) for place, item in enumerate(array.flat)]
        return {"array": items, "dtype": "O", "shape": shape}
    # In the order of bytes of this machine, the only one that torch knows.
    dtype = array.dtype.newbyteorder("=")
    rows = np.ascontiguousarray(array, dtype=dtype)
    if dtype.kind not in "bif" and dtype != np.uint8:
        # Strings, dates and unsigned numbers, as bytes.
        rows = rows.reshape(-1).view(np.uint8)
    elif dtype.itemsize > 8:
        raise CodecError(f"{name} holds numbers of type {dtype}, which torch lacks.")
    place = _add(torch.tensor(rows), tensors, name)
    return {"array": place, "dtype": dtype.str, "shape": shape}


def unpack_array(
    node: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    unpack: Callable[[Any], Any],
) -> NDArray[Any]:
    """The array that was packed."""
    dtype = np.dtype(node["dtype"])
    if dtype.hasobject:
        objects = np.empty(len(node["array"]), dtype=object)
        objects[:] = [unpack(item) for item in node["array"]]
        return objects.reshape(node["shape"])
    array = tensors[node["array"]].numpy()
    if array.dtype != dtype:
        array = array.view(dtype)
    return array.reshape(node["shape"])


def _add(value: Tensor, tensors: Tensors, name: str) -> str:
    """Add a copy under a name that is not taken, and return this."""
    # Keys with dots, and keys that differ in type alone, lead to one name.
    free, number = name, 2
    while free in tensors:
        free, number = f"{name}~{number}", number + 1
    # Neither views of one memory nor other layouts than rows can be written.
    tensors[free] = value.cpu().contiguous().clone()
    return free
