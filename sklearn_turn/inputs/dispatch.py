"""Every kind of X becomes one source."""

from __future__ import annotations

import os
import reprlib
import sys
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .arrays import ArrayImages, as_numpy
from .decoded import raise_if_unreadable
from .files import DatasetImages, ImageFiles, PILImages
from .source import Source


def is_images(X: Any) -> bool:
    """Whether X holds images or paths; everything else is taken as features.

    Parameters
    ----------
    X : object

    Returns
    -------
    bool

    Raises
    ------
    TypeError, ValueError
        If X is no set of samples at all: None, one path or image, a mapping, an
        iterator, encoded bytes, images together with labels, an array of too many
        dimensions.
    """
    _check_is_set(X)
    if isinstance(X, (Source, torch.utils.data.Dataset)) or _is_hf(X, "Dataset"):
        return True
    if hasattr(X, "columns"):
        _check_is_table(X)
        return False
    first = _first(X)
    _check_is_sample(first)
    if isinstance(first, (str, os.PathLike, Image.Image)):
        return getattr(X, "ndim", 1) == 1
    if _is_list_of_arrays(X, first):
        if first.ndim > 3:
            raise ValueError(
                f"Each item of X has {first.ndim} dimensions, as batches have. Pass "
                "one array of all images, for example np.concatenate(X)."
            )
        return True
    dimensions = getattr(X, "ndim", 0)
    if dimensions > 4:
        raise ValueError(
            f"X has {dimensions} dimensions, shape {tuple(X.shape)}. Images have 4, "
            "(n, height, width, channels), grey ones 3, features 2."
        )
    if dimensions > 2 and getattr(X.dtype, "kind", "f") not in "uifb":
        raise ValueError(
            f"X is an array of {X.dtype}, not of numbers. Convert images to uint8 in "
            "0..255 or to floats in [0, 1]."
        )
    return dimensions in (3, 4)


_ACCEPTED = (
    "Pass an array of images or of features, a list of file paths or PIL images, or a "
    "map-style dataset."
)


def _check_is_set(X: Any) -> None:
    """Raise if X is not several samples in some order."""
    kind = type(X).__name__
    if X is None:
        raise ValueError(f"X is None. {_ACCEPTED}")
    if isinstance(X, (str, bytes, os.PathLike)):
        path = reprlib.repr(X)
        raise TypeError(
            f"X is one path, {path}. Pass a list of paths: [{path}]; "
            "datasets.load_image_folder(folder) lists those of a folder."
        )
    if isinstance(X, Image.Image):
        raise TypeError("X is one image. Pass a list of images: [X].")
    if isinstance(X, (list, tuple)) and not X:
        raise ValueError(
            f"X is an empty {kind}: 0 sample(s). If it came from a pattern of file "
            "names, check the pattern and the folder."
        )
    if isinstance(X, Mapping):
        keys = ", ".join(map(repr, list(X)[:5]))
        raise TypeError(
            f"X is of type {kind}, with the keys {keys}. Pass one of its values, the "
            "one that holds the samples."
        )
    if isinstance(X, torch.utils.data.DataLoader):
        raise TypeError("X is a DataLoader. Pass its dataset, X.dataset.")
    if isinstance(X, torch.utils.data.IterableDataset) or _is_hf(X, "IterableDataset"):
        raise ValueError(
            f"X is a {kind}, an iterable dataset, without length or order. Pass a "
            "map-style one."
        )
    if isinstance(X, Set) or (hasattr(X, "__next__") and not hasattr(X, "__len__")):
        raise TypeError(f"X is of type {kind}, without order or length. Pass list(X).")
    indexable = ("__len__", "__array__", "__array_interface__", "shape")
    if not any(hasattr(X, name) for name in indexable):
        raise TypeError(f"X is of type {kind}, without length. {_ACCEPTED}")


def _check_is_table(X: Any) -> None:
    """Raise if a data frame has a column of paths or images."""
    if not hasattr(X, "iloc"):
        return
    for place, name in enumerate(X.columns):
        if getattr(X.dtypes.iloc[place], "kind", "O") in "iufb":
            continue
        first = _first(X.iloc[:, place])
        if isinstance(first, (str, os.PathLike, Image.Image)) and not _is_number(first):
            raise TypeError(
                f"X is a data frame with a column of {type(first).__name__}, "
                f"{name!r}. Pass that column: X[{name!r}]; in a ColumnTransformer, "
                f"{name!r} and not [{name!r}]."
            )


def _is_number(item: Any) -> bool:
    """Whether scikit-learn can make a number of it, as of '1.5'."""
    try:
        float(item)
    except (TypeError, ValueError):
        return False
    return True


def _check_is_sample(first: Any) -> None:
    """Raise if the first item of X is neither an image nor features."""
    if isinstance(first, bytes):
        raise TypeError(
            "X holds bytes. Decode paths to str, and encoded images with "
            "PIL.Image.open(io.BytesIO(...))."
        )
    if isinstance(first, Mapping) or (
        isinstance(first, tuple) and len(first) == 2 and _is_image(first[0])
    ):
        raise TypeError(
            f"Each item of X is a {type(first).__name__}, images and labels together. "
            "Take them apart: X, y = datasets.load_dataset(X, return_X_y=True)."
        )


def _is_image(item: Any) -> bool:
    is_array = isinstance(item, (np.ndarray, Tensor)) and item.ndim > 1
    return is_array or isinstance(item, Image.Image)


def _is_list_of_arrays(X: Any, first: Any) -> bool:
    is_list = isinstance(X, (list, tuple)) or getattr(X, "ndim", 0) == 1
    return is_list and isinstance(first, (np.ndarray, Tensor)) and first.ndim > 1


def as_source(X: Any, *, check: bool = True) -> Source:
    """Turn images, paths or a dataset into a :class:`Source`.

    Parameters
    ----------
    X : images, paths, a dataset or a source
        An array or tensor of shape (n, H, W), (n, H, W, C) or (n, C, H, W), uint8 or
        float in [0, 1], with 1 (grey), 3 (RGB) or 4 (RGBA, alpha dropped) channels;
        one of three dimensions, floats too, holds grey images;
        a list of PIL images or of arrays; a list, array or Series of paths; a
        map-style torch or Hugging Face dataset.
    check : bool, default=True
        Look for missing and unreadable files first.

    Returns
    -------
    Source

    Raises
    ------
    TypeError, ValueError
        If X is none of these, its values are out of range, or its channels may be first
        or last (both axes have 1, 3 or 4 entries).
    ImageReadError
        If files are missing or unreadable; the search ends with the tenth.
    """
    source = _to_source(X)
    if len(source) == 0:
        raise ValueError("Found array with 0 sample(s): X holds no images.")
    if check:
        raise_if_unreadable(source)
    return source


def _to_source(X: Any) -> Source:
    if isinstance(X, Source):
        return X
    if hasattr(X, "columns"):
        _check_is_table(X)
    _check_is_set(X)
    if _is_part_of_source(X):
        return _to_source(X.dataset)[np.asarray(X.indices, dtype=np.intp)]
    if isinstance(X, torch.utils.data.Dataset) or _is_hf(X, "Dataset"):
        return DatasetImages(X)
    first = _first(X)
    _check_is_sample(first)
    if isinstance(first, (str, os.PathLike)):
        return ImageFiles(list(X))
    if isinstance(first, Image.Image):
        return PILImages(list(X))
    if _is_list_of_arrays(X, first):
        return DatasetImages(list(X))
    array = as_numpy(X)
    if array.ndim not in (3, 4) or array.dtype.kind not in "uifb":
        raise ValueError(
            f"Expected images of shape (n, height, width, channels) or (n, channels, "
            f"height, width), file paths, PIL images or a dataset; got an array of "
            f"shape {array.shape} and type {array.dtype}."
        )
    return ArrayImages(array)


def _is_part_of_source(X: Any) -> bool:
    """Whether torch's ``Subset`` or ``random_split`` made it of a source."""
    root = X
    while type(root) is torch.utils.data.Subset:  # others may change what they hold
        root = root.dataset
    return root is not X and isinstance(root, Source)


def _first(X: Any) -> Any:
    """First item of a sequence, array or Series that is not missing; None without."""
    items = X.iloc if hasattr(X, "iloc") else X
    try:
        return next(
            (item for i in range(len(X)) if not _is_missing(item := items[i])), None
        )
    except (TypeError, KeyError, IndexError):
        return None


def _is_missing(item: Any) -> bool:
    """None, NaN or pandas' NA; a later path says that this was to be one."""
    is_nan = isinstance(item, float) and item != item
    return item is None or is_nan or type(item).__name__ == "NAType"


def _is_hf(X: Any, name: str) -> bool:
    """Whether X is of a class of Hugging Face's ``datasets``."""
    # Asked without importing a package the user may not have.
    module = sys.modules.get("datasets")
    return module is not None and isinstance(X, getattr(module, name, ()))
