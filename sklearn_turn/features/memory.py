"""How features are kept between fits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FeatureMemory:
    """Where features are kept, and how.

    Parameters
    ----------
    location : str or path-like
        Folder, made if it does not exist.
    dtype : {"float32", "float16"}, default="float32"
        Storage type; float16 halves the space and keeps three decimal digits.
    max_bytes : int or None, default=None
        Bound on the space used, at least 1 MiB; what was used longest ago goes first.

    Examples
    --------
    >>> from sklearn_turn import FeatureExtractor, FeatureMemory
    >>> memory = FeatureMemory("features", dtype="float16", max_bytes=2 * 10**9)
    >>> extract = FeatureExtractor("letters", memory=memory)
    """

    location: str | os.PathLike[str]
    dtype: Literal["float16", "float32"] = "float32"
    max_bytes: int | None = None
