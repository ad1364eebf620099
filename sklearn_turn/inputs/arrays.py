"""Sources over arrays: images, features and raw samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .source import Source

_CHANNELS = (1, 3, 4)


class ArrayImages(Source):
    """Images in one array of shape (n, H, W), (n, H, W, C) or (n, C, H, W).

    An axis of 1, 3 or 4 entries, first or last in an image, is its channels; where both
    ends are that short, nothing tells height or width from channels, and the array is
    refused. Three dimensions are grey images, but for a last axis of 3 or 4, as one
    image in colour has: wrap sequences of vectors in `RawInputs`.

    Parameters
    ----------
    array : ndarray
        uint8, or floats in [0, 1].

    Raises
    ------
    ValueError
        If the channels cannot be told, for one image in place of a set, or for another
        dtype or range.
    """

    def __init__(self, array: NDArray[Any]):
        self.array = array
        self.item_shape = tuple(array.shape[1:])
        if 0 in self.item_shape:
            raise ValueError(f"Images of shape {self.item_shape} have no pixels.")
        if array.ndim == 3 and array.shape[2] in (3, 4) and min(array.shape[:2]) >= 8:
            height, width, _ = array.shape
            raise ValueError(
                f"X looks like one image of {height} x {width} pixels. Pass a set of "
                "images, X[None]; wrap sequences of vectors in RawInputs."
            )
        self._channels_last = array.ndim == 4 and _are_last(self.item_shape)
        if array.dtype.kind == "f":
            self._check_floats()
        elif array.dtype != np.uint8:
            convert = {
                "u": "X.astype('float32') / 65535 scales 16 bits",
                "b": "X.astype('float32') does",
            }.get(array.dtype.kind, "X.astype('uint8') does, for values in 0..255")
            raise ValueError(
                f"Images must be uint8 in 0..255 or floats in [0, 1], not "
                f"{array.dtype}. Convert them: {convert}."
            )

    def _check_floats(self) -> None:
        for start in range(0, len(self.array), 256):
            chunk = np.asarray(self.array[start : start + 256])
            low, high = chunk.min(), chunk.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                bad = ~np.isfinite(chunk).all(axis=tuple(range(1, chunk.ndim)))
                raise ValueError(
                    f"Input X contains NaN or infinity, first in image "
                    f"{start + int(np.argmax(bad))}. Repair or drop such images."
                )
            if low < 0 or high > 1:
                raise ValueError(
                    f"Float images must lie in [0, 1], but values from {low:.4g} to "
                    f"{high:.4g} were found. Divide by the largest possible value "
                    "(255 for 8-bit images), or pass uint8. Do not normalise: the "
                    "backbone's mean and standard deviation are applied for you."
                )

    def __len__(self) -> int:
        return len(self.array)

    def load(self, indices: Sequence[int]) -> Tensor:
        rows = np.asarray(self.array[np.asarray(indices)])
        batch = torch.from_numpy(rows.astype(rows.dtype.newbyteorder("="), copy=False))
        if batch.dtype not in (torch.uint8, torch.float32):
            batch = batch.float()
        if batch.ndim == 3:
            return batch[:, None]
        return batch.permute(0, 3, 1, 2) if self._channels_last else batch


def as_numpy(X: Any) -> NDArray[Any]:
    """An array or tensor as NumPy has it, bfloat16 as float32."""
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = X.float().numpy() if X.dtype == torch.bfloat16 else X.numpy()
    return np.asarray(X)


def as_rows(X: Any) -> Any:
    """The values of a tensor, on the CPU and without its graph; others as given."""
    return X.detach().float().cpu().numpy() if isinstance(X, Tensor) else X


class FeatureRows(Source):
    """Precomputed features: the rows of a 2-D float32 array."""

    def __init__(self, rows: NDArray[np.float32] | Tensor):
        if isinstance(rows, np.ndarray) and (
            not rows.flags.writeable or min(rows.strides) < 0
        ):
            rows = rows.copy()  # torch has no read-only or reversed tensors
        self.rows = torch.as_tensor(rows)
        self.item_shape = tuple(self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, indices: Sequence[int]) -> Tensor:
        return self.rows[torch.as_tensor(indices)]


class RawInputs(Source):
    """Rows of an array that a backbone of your own takes as they are.

    For text and other data: token ids, or vectors, of shape (n_samples, ...). Wrapped
    in this, a 2-D array is not mistaken for precomputed features.

    Parameters
    ----------
    array : array-like of shape (n_samples, ...)
        Integers become int64, floats float32.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.inputs import RawInputs
    >>> tokens = RawInputs(np.array([[2, 7, 1], [5, 0, 0]]))
    >>> len(tokens), tokens[np.array([1])].load([0]).tolist()
    (2, [[5, 0, 0]])
    """

    is_raw = True

    def __init__(self, array: Any):
        array = np.asarray(array)
        if array.dtype.kind not in "iufb" or array.ndim < 2:
            raise ValueError(
                "Raw inputs must be a numeric array of shape (n_samples, ...), not "
                f"{array.dtype} of shape {array.shape}."
            )
        if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
            raise ValueError(
                "Raw inputs are given to the backbone as 64-bit integers with a sign, "
                f"and {array.max()} is too large for these."
            )
        self.array = array
        self.item_shape = tuple(array.shape[1:])

    def __len__(self) -> int:
        return len(self.array)

    def load(self, indices: Sequence[int]) -> Tensor:
        rows = self.array[np.asarray(indices)]
        kind = np.float32 if rows.dtype.kind == "f" else np.int64
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=kind))


def _are_last(shape: tuple[int, ...]) -> bool:
    """Whether the channels of an image of three dimensions are its last axis."""
    first, last = shape[0] in _CHANNELS, shape[-1] in _CHANNELS
    if first != last:
        return last
    if first:
        raise ValueError(
            f"Images of shape {shape} may have their channels first or last: both axes "
            "have 1, 3 or 4 entries. Pass a list of PIL images, in which there is no "
            "doubt, or enlarge the images to more than 4 pixels a side."
        )
    raise ValueError(
        f"Images of shape {shape} have no axis of 1, 3 or 4 channels first or last. "
        "Expected (n, height, width, channels) or (n, channels, height, width)."
    )
