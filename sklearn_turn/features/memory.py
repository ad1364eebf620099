"""Where features are kept between fits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import joblib

_LEAST_BYTES = 1 << 20


@dataclass(frozen=True)
class FeatureMemory(os.PathLike[str]):
    """Where features are kept, and how.

    Parameters
    ----------
    location : str or path-like
        Folder, made if it does not exist.
    dtype : {"float32", "float16"}, default="float32"
        Storage type; float16 halves the space and keeps three decimal digits
        of values from 6e-5 up.
    max_bytes : int or None, default=None
        Bound on the space used, at least 1 MiB; what was used longest ago goes first.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Examples
    --------
    >>> from sklearn_turn import FeatureExtractor, FeatureMemory
    >>> memory = FeatureMemory("features", dtype="float16", max_bytes=2 * 10**9)
    >>> extract = FeatureExtractor("letters", memory=memory)
    """

    location: str | os.PathLike[str]
    dtype: Literal["float16", "float32"] = "float32"
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.location, str | os.PathLike):
            raise TypeError(f"location must be a folder, not {self.location!r}.")
        if self.dtype not in ("float16", "float32"):
            raise ValueError(
                f"dtype must be 'float16' or 'float32', not {self.dtype!r}."
            )
        if self.max_bytes is None:
            return
        if not isinstance(self.max_bytes, Integral) or isinstance(self.max_bytes, bool):
            raise TypeError(f"max_bytes must be an int or None, not {self.max_bytes!r}")
        if self.max_bytes < _LEAST_BYTES:
            raise ValueError(
                f"max_bytes={self.max_bytes} is less than 1 MiB, {_LEAST_BYTES}."
            )

    def __fspath__(self) -> str:
        return os.fspath(self.location)

    @classmethod
    def of(cls, memory: Any) -> FeatureMemory | None:
        """Resolve the ``memory`` parameter of an estimator.

        Parameters
        ----------
        memory : None, path, joblib.Memory or FeatureMemory

        Returns
        -------
        FeatureMemory or None
            None keeps no features, as does a ``joblib.Memory`` without a location.

        Raises
        ------
        TypeError
            If ``memory`` is none of these.
        """
        if isinstance(memory, joblib.Memory):
            memory = memory.location
        if memory is None or isinstance(memory, FeatureMemory):
            return memory
        if isinstance(memory, str | os.PathLike):
            return cls(memory)
        raise TypeError(
            "memory must be a folder, a FeatureMemory, a joblib.Memory or None, not "
            f"{memory!r}."
        )
