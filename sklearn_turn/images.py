"""Every kind of X becomes one indexable source; batches are transformed on the device.

Images stay uint8 until a batch is on the device. There they are resized, cropped,
augmented and normalised together. Decoding a file is the only work done per image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from .errors import ImageReadError

_CHANNELS = (1, 3, 4)


class Ragged:
    """A batch of images of different sizes: a list of (C, H, W) tensors."""

    def __init__(self, images: list[Tensor]):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def to(self, *args: Any, **kwargs: Any) -> Ragged:
        """Move every image, as :meth:`torch.Tensor.to`."""
        return Ragged([image.to(*args, **kwargs) for image in self.images])

    def pin_memory(self) -> Ragged:
        """Pin every image; called by torch's loader."""
        return Ragged([image.pin_memory() for image in self.images])


class Source(torch.utils.data.Dataset):
    """Samples in a fixed order, read a batch at a time.

    Attributes
    ----------
    item_shape : tuple of int or None
        Shape of one sample as given, when all have the same; predictions are then
        refused for another shape.
    decodes : bool
        Whether reading costs CPU work per sample, worth a loader worker.
    """

    item_shape: tuple[int, ...] | None = None
    decodes = False

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no length.")

    def load(self, indices: Sequence[int]) -> Tensor | Ragged:
        """Return the samples at ``indices`` as one batch, images as (n, C, H, W)."""
        raise TypeError(f"{type(self).__name__} cannot be read.")

    def __getitem__(self, index: int) -> Tensor:
        batch = self.load([index])
        return batch.images[0] if isinstance(batch, Ragged) else batch[0]

    def __getitems__(self, indices: list[int]) -> Tensor | Ragged:
        # torch's loader asks for a whole batch when this method exists.
        return self.load(indices)


class Labelled(torch.utils.data.Dataset):
    """A source with one integer label per sample, as skorch nets take it.

    Parameters
    ----------
    source : Source
    y : array of shape (n_samples,), int
    """

    def __init__(self, source: Source, y: NDArray[np.intp]):
        self.source = source
        self.y = torch.as_tensor(y, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.source[index], self.y[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor | Ragged, Tensor]:
        return self.source.load(indices), self.y[indices]


class FeatureRows(Source):
    """Precomputed features: the rows of a 2-D float32 array."""

    def __init__(self, rows: NDArray[np.float32] | Tensor):
        self.rows = torch.as_tensor(rows)
        self.item_shape = tuple(self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, indices: Sequence[int]) -> Tensor:
        return self.rows[torch.as_tensor(indices)]


class ArrayImages(Source):
    """Images in one array of shape (n, H, W), (n, H, W, C) or (n, C, H, W)."""

    def __init__(self, array: NDArray[Any]):
        self.array = array
        self.item_shape = tuple(array.shape[1:])
        if array.ndim == 4 and array.shape[3] in _CHANNELS:
            self._to_nchw: tuple[int, ...] | None = (0, 3, 1, 2)
        elif array.ndim == 4 and array.shape[1] in _CHANNELS:
            self._to_nchw = None
        elif array.ndim == 4:
            raise ValueError(
                f"Images of shape {self.item_shape} have no axis of 1, 3 or 4 channels "
                "first or last. Expected (n, height, width, channels) or "
                "(n, channels, height, width)."
            )
        else:
            self._to_nchw = None
        if array.dtype == np.uint8:
            return
        if array.dtype.kind != "f":
            raise ValueError(
                f"Images must be uint8 in 0..255 or floats in [0, 1], not "
                f"{array.dtype}. Convert them, for example with X.astype('uint8')."
            )
        self._check_floats()

    def _check_floats(self) -> None:
        for start in range(0, len(self.array), 256):
            chunk = self.array[start : start + 256]
            low, high = chunk.min(), chunk.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ValueError(
                    "Input X contains NaN or infinity: image "
                    f"{start + int(np.argmax(~np.isfinite(chunk).reshape(len(chunk), -1).all(1)))} "  # noqa: E501
                    "does. Repair or drop such images."
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
        batch = torch.from_numpy(np.asarray(self.array[np.asarray(indices)]))
        if batch.dtype not in (torch.uint8, torch.float32):
            batch = batch.float()
        if batch.ndim == 3:
            return batch[:, None]
        return batch if self._to_nchw is None else batch.permute(self._to_nchw)


class ImageFiles(Source):
    """Image files, decoded when read.

    Parameters
    ----------
    paths : sequence of str or path-like
    min_size : int
        JPEG files more than twice as large are decoded at a reduced scale, which
        stays at least twice this many pixels on the shorter side.
    """

    decodes = True

    def __init__(self, paths: Sequence[Any], min_size: int = 224):
        self.paths = [os.fspath(path) for path in paths]
        self.min_size = min_size

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, indices: Sequence[int]) -> Tensor | Ragged:
        try:
            images = [self._decode(self.paths[i]) for i in indices]
        except (OSError, SyntaxError, ValueError) as error:
            # One file failed: look at all of them, so that one run names them all.
            raise_if_unreadable(self.paths, decode=True)
            raise ImageReadError(f"Reading images failed: {error}", []) from error
        if len({image.shape for image in images}) == 1:
            return torch.stack(images)
        return Ragged(images)

    def _decode(self, path: str) -> Tensor:
        with Image.open(path) as image:
            image.draft("RGB", (2 * self.min_size, 2 * self.min_size))
            rgb = ImageOps.exif_transpose(image).convert("RGB")
            return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def raise_if_unreadable(paths: Sequence[str], *, decode: bool = False) -> None:
    """Raise one error naming the files that are missing or not images.

    Parameters
    ----------
    paths : sequence of str
    decode : bool, default=False
        Decode the pixels too, which finds truncated files; else only the headers.

    Raises
    ------
    ImageReadError
        With up to ten paths in the message, and all of them in ``paths``.
    """

    def problem(path: str) -> str | None:
        if not os.path.isfile(path):
            return "not found"
        try:
            with Image.open(path) as image:
                if decode:
                    image.load()
        except Exception as error:  # Pillow's decoders raise almost anything
            reason = str(error).replace(repr(path), "").strip()
            return reason or type(error).__name__
        return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(problem, paths))
    bad = [(path, why) for path, why in zip(paths, found, strict=True) if why]
    if not bad:
        return
    listed = "\n".join(f"  {path}: {why}" for path, why in bad[:10])
    more = f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
    raise ImageReadError(
        f"{len(bad)} of {len(paths)} image files are missing or cannot be read:\n"
        f"{listed}{more}\nCorrect the paths, or drop these files and their labels. "
        "Relative paths are resolved against the current folder, "
        f"{os.getcwd()}.",
        [path for path, _ in bad],
    )


def is_paths(X: Any) -> bool:
    """Whether X is a one-dimensional collection of strings or path-like objects."""
    if getattr(X, "ndim", 1) != 1 or isinstance(X, (str, bytes)) or not len(X):
        return False
    first = X.iloc[0] if hasattr(X, "iloc") else X[0]
    return isinstance(first, (str, os.PathLike))


def is_images(X: Any) -> bool:
    """Whether X holds images or paths; everything else is taken as features."""
    if isinstance(X, Source):
        return True
    if getattr(X, "ndim", 0) in (3, 4):
        return True
    if isinstance(X, (list, tuple)) and len(X) and not isinstance(X[0], (str, list)):
        return np.ndim(X[0]) in (2, 3) or isinstance(X[0], os.PathLike)
    return hasattr(X, "__len__") and is_paths(X)


def as_source(X: Any, *, min_size: int = 224) -> Source:
    """Turn images or paths into a :class:`Source`, checking them first.

    Parameters
    ----------
    X : array of shape (n, H, W), (n, H, W, C) or (n, C, H, W), or paths
        uint8, or floats in [0, 1]; 1 (grey), 3 (RGB) or 4 (RGBA, alpha dropped)
        channels. Or a list, array or Series of n paths.
    min_size : int
        See :class:`ImageFiles`.

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        If X is neither, or its values are out of range.
    ImageReadError
        If files are missing or unreadable.
    """
    if isinstance(X, Source):
        return X
    if hasattr(X, "__len__") and is_paths(X):
        source = ImageFiles(list(X), min_size)
        raise_if_unreadable(source.paths)
        return source
    array = X if isinstance(X, np.ndarray) else np.asarray(X)
    if array.ndim not in (3, 4) or array.dtype.kind not in "uifb":
        raise ValueError(
            f"Expected images of shape (n, height, width, channels) or (n, channels, "
            f"height, width), a sequence of file paths, or 2-D features; got an array "
            f"of shape {array.shape} and type {array.dtype}."
        )
    return ArrayImages(array)


class BatchTransform(nn.Module):
    """Resize, crop, augment (when training) and normalise a batch on its device.

    Evaluation follows :func:`timm.data.create_transform`: the shorter side is resized
    to ``input_size / crop_pct``, the centre is cropped, mean and standard deviation
    applied.

    Parameters
    ----------
    input_size : int
        Side of the square the backbone takes, in pixels.
    mean, std : tuple of float
        Per channel, for values in [0, 1].
    crop_pct : float in (0, 1]
    interpolation : {"bilinear", "bicubic", "nearest"}
    augment : callable or None
        Applied to float batches of shape (n, 3, input_size, input_size) in [0, 1]
        when the module is in training mode.
    """

    def __init__(
        self,
        input_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        crop_pct: float = 1.0,
        interpolation: str = "bicubic",
        augment: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.input_size = input_size
        self.resized = int(np.floor(input_size / crop_pct))
        self.interpolation = InterpolationMode(interpolation)
        self.augment = augment
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, batch: Tensor | Ragged) -> Tensor:
        if isinstance(batch, Ragged):
            fitted = torch.cat([self._fit(image[None]) for image in batch.images])
        else:
            fitted = self._fit(batch)
        images = fitted.float() / 255 if fitted.dtype == torch.uint8 else fitted.float()
        if self.training and self.augment is not None:
            images = self.augment(images)
        return (images - self.mean) / self.std

    def _fit(self, batch: Tensor) -> Tensor:
        """Three channels and the input size, in the dtype given."""
        if batch.shape[1] == 1:
            batch = batch.expand(-1, 3, -1, -1)
        elif batch.shape[1] == 4:
            batch = batch[:, :3]
        height, width = batch.shape[-2:]
        if min(height, width) != self.resized:
            batch = tvf.resize(
                batch, [self.resized], interpolation=self.interpolation, antialias=True
            )
            if batch.is_floating_point():
                # Bicubic overshoots at edges; 8-bit images are clipped as they round.
                batch = batch.clamp(0, 1)
        if batch.shape[-2:] != (self.input_size, self.input_size):
            batch = tvf.center_crop(batch, [self.input_size])
        return batch


def light_augment(images: Tensor) -> Tensor:
    """Random horizontal flip and random crop, one bilinear resampling per batch.

    Each image is flipped with probability 1/2, and a square of 80 to 100 % of its
    side, placed at random, is scaled back to the full size.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), float

    Returns
    -------
    Tensor of the same shape
    """
    n, device = len(images), images.device
    scale = 0.8 + 0.2 * torch.rand(n, device=device)
    shift = (1 - scale)[:, None] * (2 * torch.rand(n, 2, device=device) - 1)
    flip = 1 - 2 * torch.randint(2, (n,), device=device)
    theta = torch.zeros(n, 2, 3, device=device, dtype=images.dtype)
    theta[:, 0, 0] = scale * flip
    theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=False
    )


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {"light": light_augment}
