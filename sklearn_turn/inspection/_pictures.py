"""Small pictures of some samples, whatever kind of images X holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..exceptions import ImageReadError
from ..inputs import ImageFiles, Ragged, Source, Subset, as_source, is_images
from ._tables import as_text

# Decoded together; photos of more would take too much memory.
_CHUNK = 32


def image_source(X: Any) -> Source | None:
    """The samples as images; None if there is nothing to look at.

    Parameters
    ----------
    X : images, paths, a dataset, a source or features

    Returns
    -------
    Source or None
        None for features, raw inputs and None.
    """
    # Tables are rows, also with a column of text for another classifier than ours.
    if X is None or hasattr(X, "columns") or not is_images(X):
        return None
    source = as_source(X, check=False)
    return None if source.is_raw else source


def paths_of(source: Source | None) -> list[str] | None:
    """Path of each sample, where samples are files."""
    if isinstance(source, ImageFiles):
        return [as_text(path) for path in source.paths]
    if isinstance(source, Subset) and isinstance(source.source, ImageFiles):
        names = map(source.source.name, source.indices.tolist())
        return [as_text(name) for name in names]
    return None


def pictures(
    source: Source, indices: Sequence[int], pixels: int
) -> Iterator[Image.Image | None]:
    """Decode samples, reduced in size.

    Parameters
    ----------
    source : Source
        Of images.
    indices : sequence of int
    pixels : int
        Most pixels of the longer side.

    Yields
    ------
    PIL.Image.Image or None
        RGB; None if the image cannot be read.
    """
    source = source.sized_for(pixels)
    for start in range(0, len(indices), _CHUNK):
        for image in _load(source, [int(i) for i in indices[start : start + _CHUNK]]):
            if image is None:
                yield None
                continue
            small = _to_pil(image)
            small.thumbnail((pixels, pixels), Image.Resampling.BICUBIC)
            yield small


def _load(source: Source, indices: list[int]) -> list[Tensor | None]:
    try:
        batch = source.load(indices)
    except ImageReadError:
        if len(indices) == 1:
            return [None]
        return [image for index in indices for image in _load(source, [index])]
    return list(batch.images if isinstance(batch, Ragged) else batch)


def _to_pil(image: Tensor) -> Image.Image:
    """An image of shape (1, 3 or 4, H, W), uint8 or float in [0, 1], as RGB."""
    pixels = image.detach().cpu().numpy()
    if pixels.dtype != np.uint8:
        pixels = np.round(255 * pixels).astype(np.uint8)
    pixels = np.broadcast_to(pixels[:3], (3, *pixels.shape[1:]))
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
