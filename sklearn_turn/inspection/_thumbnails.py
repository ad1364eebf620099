"""Pictures small enough to be part of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence

import numpy as np

from ..inputs import Source
from ..inputs.keys import some_of
from ._pictures import pictures

# Longer side, best first.
_SIZES = (224, 160, 112, 80)
_QUALITY = 80
_TRIED = 48
# Those tried may be smaller than the rest.
_MARGIN = 1.1


def thumbnails(
    source: Source, indices: Sequence[int], room: int
) -> tuple[list[str | None], int]:
    """JPEG pictures, as large as all fit into the room.

    Parameters
    ----------
    source : Source
        Of images.
    indices : sequence of int
        Samples, the most important first: where there is no room for all in the
        smallest size, these have pictures.
    room : int
        Most characters of all pictures together.

    Returns
    -------
    pictures : list of str or None
        In base64; None for those that cannot be read, "" for those without room.
    pixels : int
        Longest side of the pictures.
    """
    few = [indices[i] for i in some_of(len(indices), _TRIED)]
    for pixels in _SIZES:
        lengths = [len(p or "") for p in _encoded(source, few, pixels)]
        if _MARGIN * np.mean(lengths or [0]) * len(indices) <= room:
            break
    return _fill(_encoded(source, indices, pixels), len(indices), room), pixels


def _fill(
    encoded: Iterator[str | None], n_pictures: int, room: int
) -> list[str | None]:
    """Pictures in their order, until one has no room."""
    kept: list[str | None] = []
    for picture in encoded:
        room -= len(picture or "")
        if room < 0:
            break
        kept.append(picture)
    return kept + [""] * (n_pictures - len(kept))


def _encoded(
    source: Source, indices: Sequence[int], pixels: int
) -> Iterator[str | None]:
    for picture in pictures(source, indices, pixels):
        if picture is None:
            yield None
            continue
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
        yield base64.b64encode(file.getvalue()).decode()
