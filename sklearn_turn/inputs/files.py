"""Sources that decode one image at a time: files, PIL images and datasets."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from ..exceptions import ImageReadError
from .arrays import ArrayImages
from .keys import file_key
from .source import Problem, Ragged, Samples, Source

T = TypeVar("T")


class DecodedImages(Source):
    """Base of sources that decode one image at a time.

    Attributes
    ----------
    concurrent : bool
        Whether images may be read from several threads at once.
    """

    decodes = True
    concurrent = False

    def name(self, index: int) -> str:
        """What the caller calls this sample."""
        return f"image {index}"

    def decode(self, index: int) -> Tensor:
        """Return one image as a uint8 tensor of shape (C, H, W)."""
        raise TypeError(f"{type(self).__name__} cannot be decoded.")

    def glance(self, index: int) -> None:
        """Raise if the sample is missing, without decoding it."""

    def load(self, indices: Sequence[int]) -> Samples:
        # In a loader process torch has one thread, and so has this.
        read = self._each(_or_error(self.decode), indices, torch.get_num_threads())
        images = [image for image in read if isinstance(image, Tensor)]
        if len(images) < len(read):
            bad = [
                (i, self.name(i), _reason(self.name(i), error))
                for i, error in zip(indices, read, strict=True)
                if isinstance(error, Exception)
            ]
            raise _read_error(bad, f"{len(bad)} of {len(read)} images read together")
        if len({(image.shape, image.dtype) for image in images}) == 1:
            return torch.stack(images)
        return Ragged(images)

    def problems(
        self, indices: Sequence[int] | None = None, *, decode: bool
    ) -> list[Problem]:
        check = _or_error(self.decode if decode else self.glance)
        among = range(len(self)) if indices is None else indices
        found = self._each(check, among, min(8, joblib.cpu_count()))
        return [
            (i, self.name(i), _reason(self.name(i), error))
            for i, error in zip(among, found, strict=True)
            if isinstance(error, Exception)
        ]

    def _each(
        self, function: Callable[[int], T], indices: Sequence[int], threads: int
    ) -> list[T]:
        """Call a function for each index; decoders release the interpreter lock."""
        threads = min(threads, len(indices))
        if threads < 2 or not self.concurrent:
            return [function(i) for i in indices]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, indices))


def _or_error(function: Callable[[int], T]) -> Callable[[int], T | Exception]:
    """The function, returning what it would raise."""

    def attempt(index: int) -> T | Exception:
        try:
            return function(index)
        except Exception as error:  # decoders raise almost anything
            return error

    return attempt


def _reason(name: str, error: Exception) -> str:
    """Why a sample cannot be read, without its name once more."""
    text = str(error).replace(repr(name), "").strip()
    return text or type(error).__name__


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
        self.paths = [_as_path(path, i) for i, path in enumerate(paths)]
        self.used_size: int | None = None  # None decodes in full

    def sized_for(self, pixels: int) -> ImageFiles:
        sized = copy.copy(self)
        sized.used_size = pixels
        return sized

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def glance(self, index: int) -> None:
        path = self.paths[index]
        if not os.path.isfile(path):
            raise FileNotFoundError("not found")
        with Image.open(path):
            pass

    def decode(self, index: int) -> Tensor:
        path = self.paths[index]
        if not os.path.isfile(path):
            raise FileNotFoundError("not found")
        with Image.open(path) as image:
            if self.used_size is not None:
                image.draft("RGB", (2 * self.used_size, 2 * self.used_size))
            return pil_to_tensor(image)

    def keys(self, indices: Sequence[int]) -> list[bytes]:
        return [file_key(self.paths[i]) for i in indices]


def _as_path(path: Any, index: int) -> str:
    try:
        return os.fspath(path)
    except TypeError:
        raise ValueError(
            f"Item {index} of the paths is {path!r}, not a path."
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
        return pil_to_tensor(image)


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
        array = np.asarray(image)
        if array.ndim in (2, 3):
            return ArrayImages(array[None]).load([0])[0]
    raise TypeError(
        f"expected a PIL image, an array of shape (height, width[, channels]) or a "
        f"path, got {type(image).__name__} {getattr(image, 'shape', '')}"
    )


def pil_to_tensor(image: Image.Image) -> Tensor:
    """Decode a PIL image to RGB, uint8, upright.

    The EXIF rotation is applied; grey, palette and CMYK images become RGB;
    transparency is dropped; of an animation the first frame is taken. Grey levels of
    more than 8 bits are scaled to 8: of 16-bit images (mode "I;16") by 256; of 32-bit
    integers ("I") likewise unless none is above 255; floats ("F") are taken as levels
    in [0, 1], or in 0..255 if one is above 1.

    Parameters
    ----------
    image : PIL.Image.Image

    Returns
    -------
    Tensor of shape (3, H, W), uint8

    Raises
    ------
    ValueError
        If levels are negative, beyond 16 bits, or floats above 255.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of the direct way
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _eight_bits(levels: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """Grey levels of another range as uint8; Pillow would clip them at 255."""
    low, high = float(levels.min()), float(levels.max())
    most = 255 if mode == "F" else 65535
    if not (low >= 0 and high <= most):  # also for NaN
        raise ValueError(
            f"grey levels from {low:.4g} to {high:.4g} are outside of 0 to {most}; "
            "scale the image to 8 bits"
        )
    if mode == "F":
        levels = np.round(levels * 255 if high <= 1 else levels)
    elif mode != "I" or high > 255:
        levels = levels // 256
    return levels.astype(np.uint8)


def raise_if_unreadable(source: Source, *, decode: bool = False) -> None:
    """Raise one error naming the samples that are missing or not images.

    Parameters
    ----------
    source : Source
    decode : bool, default=False
        Decode the pixels too, which finds truncated files; else only the headers.

    Raises
    ------
    ImageReadError
        With up to ten names in the message, and all of them in ``paths``.
    """
    bad = source.problems(decode=decode)
    if bad:
        raise _read_error(bad, f"{len(bad)} of {len(source)} images")


def _read_error(bad: Sequence[Problem], which: str) -> ImageReadError:
    listed = "\n".join(f"  {name}: {why}" for _, name, why in bad[:10])
    more = f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
    return ImageReadError(
        f"{which} are missing or cannot be read:\n{listed}{more}\nCorrect the paths "
        f"(relative ones start at {os.getcwd()}), drop these images with their labels, "
        "or fit with on_bad_image='skip'.",
        [name for _, name, _ in bad],
    )
