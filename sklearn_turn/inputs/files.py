"""Sources that decode one image at a time: files, PIL images and datasets."""

from __future__ import annotations

import contextlib
import copy
import io
import os
from collections.abc import Iterable, Sequence
from typing import Any

import joblib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .arrays import ArrayImages, as_numpy
from .decoded import DecodedImages, check_is_file
from .keys import file_key, first_bytes_key
from .pixels import pil_to_tensor


class ImageFiles(DecodedImages):
    """Image files, decoded when read.

    JPEG files far larger than the backbone's input are decoded at a reduced scale, at
    which both sides still have at least twice as many pixels as are used.

    Parameters
    ----------
    paths : iterable of str or path-like
    """

    concurrent = True

    def __init__(self, paths: Iterable[Any]):
        # One array, not a list: loader processes would each get a copy of a list's
        # items, because to look at an item is to count one more reference to it. As
        # bytes, a path takes a quarter of the memory of NumPy's str.
        encoded = [os.fsencode(_as_path(path, i)) for i, path in enumerate(paths)]
        self._paths = np.array(encoded, dtype=np.bytes_)
        self.used_size: int | None = None  # None decodes in full

    @property
    def paths(self) -> list[str]:
        """Paths of all files, a new list each time."""
        return [os.fsdecode(path) for path in self._paths]

    def sized_for(self, pixels: int) -> ImageFiles:
        sized = copy.copy(self)
        sized.used_size = pixels
        return sized

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return os.fsdecode(self._paths[index])

    def glance(self, index: int) -> None:
        path = self.name(index)
        check_is_file(path)
        with Image.open(path):
            pass

    def decode(self, index: int) -> Tensor:
        # Given a name, Pillow maps some files into memory, and of a TIFF that is to be
        # turned takes width for height.
        path = self.name(index)
        check_is_file(path)
        with open(path, "rb") as file, Image.open(file) as image:
            if self.used_size is not None:
                image.draft("RGB", (2 * self.used_size, 2 * self.used_size))
            return pil_to_tensor(image)

    def keys(self, indices: Sequence[int]) -> list[bytes]:
        # Threads, for disks across a network.
        threads = min(8, joblib.cpu_count())
        return list(self._each(lambda i: file_key(self.name(i)), indices, threads))

    def contents(self, indices: Sequence[int]) -> list[bytes]:
        threads = min(8, joblib.cpu_count())
        return list(
            self._each(lambda i: first_bytes_key(self.name(i)), indices, threads)
        )


def _as_path(path: Any, index: int) -> str:
    try:
        return os.fspath(path)
    except TypeError:
        raise ValueError(
            f"Item {index} of the paths is {path!r}, not a path. Drop such samples "
            "with their labels; in pandas, frame.dropna(subset=[...]) does."
        ) from None


class PILImages(DecodedImages):
    """A list of PIL images."""

    def __init__(self, images: Sequence[Image.Image]):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def decode(self, index: int) -> Tensor:
        image = self.images[index]
        if not isinstance(image, Image.Image):
            raise TypeError(f"expected a PIL image, got {type(image).__name__}")
        file = _own_file(image)
        if file is None:
            return pil_to_tensor(image)
        with file, Image.open(file) as own:
            own.seek(image.tell())
            return pil_to_tensor(own)


def _own_file(image: Any) -> Any:
    """What an image is still to be read from, opened once more.

    Its own open file is shared with loader processes, position and all. None if the
    image was read, or may be read as it is.
    """
    file: Any = getattr(image, "fp", None)
    if not isinstance(getattr(file, "raw", file), io.FileIO) or file.closed:
        return None  # in memory, or unpacked on the way
    opened = os.fstat(file.fileno())
    # Its name may be another's by now, or it has none.
    with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):
        if os.path.samestat(opened, os.stat(image.filename)):
            return open(image.filename, "rb")
    if torch.utils.data.get_worker_info() is None or not hasattr(os, "pread"):
        return None  # in loader processes only, which share no files on Windows
    return io.BytesIO(os.pread(file.fileno(), opened.st_size, 0))


class DatasetImages(DecodedImages):
    """The images of a torch or Hugging Face dataset; labels are given apart.

    Parameters
    ----------
    dataset : object with ``__len__`` and ``__getitem__``
        Such as a map-style torch Dataset, ``torchvision.datasets.ImageFolder`` or a
        Hugging Face ``datasets.Dataset``. Without a transform: images come as PIL
        images, uint8 arrays or tensors, or paths.
    image : str, int or None, default=None
        Where the image is in an item: a key, a position, or None to take "image" or
        "img" of a mapping, the first of a tuple, or the item itself.

    Examples
    --------
    A raw dataset can be passed to ``fit``; scikit-learn can split this:

    >>> import numpy as np, torch
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_turn.inputs import DatasetImages
    >>> pixels = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    >>> dataset = torch.utils.data.TensorDataset(pixels, torch.arange(10))
    >>> train, test = train_test_split(DatasetImages(dataset), test_size=0.2)
    >>> len(train), len(test)
    (8, 2)
    """

    def __init__(self, dataset: Any, image: str | int | None = None):
        self.dataset = dataset
        self.image = image

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return f"item {index} of {type(self.dataset).__name__}"

    def decode(self, index: int) -> Tensor:
        try:
            item = self.dataset[index]
        except IndexError as error:
            raise IndexError(
                f"the dataset says it has {len(self)} items but has no item {index}"
            ) from error
        return _item_to_tensor(self._pick(item))

    def _pick(self, item: Any) -> Any:
        if isinstance(item, dict):
            named = [self.image] if self.image is not None else ["image", "img"]
            for key in named:
                if key in item:
                    return item[key]
            raise KeyError(
                f"no image under {named}; the item has {list(item)}. Wrap the dataset "
                "in DatasetImages(dataset, image=...)"
            )
        if isinstance(item, (tuple, list)):
            return item[0 if self.image is None else self.image]  # type: ignore[index]
        return item


def _item_to_tensor(image: Any) -> Tensor:
    """One image of any kind as a (C, H, W) tensor, uint8 or float in [0, 1]."""
    if isinstance(image, Image.Image):
        return pil_to_tensor(image)
    if isinstance(image, (str, os.PathLike)):
        return ImageFiles([image]).decode(0)
    if isinstance(image, (np.ndarray, Tensor)):
        array = as_numpy(image)
        if array.ndim in (2, 3):
            return ArrayImages(array[None]).load([0])[0]
    raise TypeError(
        f"expected a PIL image, an array of shape (height, width[, channels]) or a "
        f"path, got {type(image).__name__} {getattr(image, 'shape', '')}"
    )
