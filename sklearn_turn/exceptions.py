"""The errors and warnings that are the library's own."""

from typing import Any


class WeightsNotFoundError(OSError):
    """Pre-trained weights are not available; the message names the ways out."""


class ImageReadError(ValueError):
    """Image files that are missing or cannot be decoded; the message lists them.

    Attributes
    ----------
    paths : list of str
        The bad paths found; a search for them may end with the tenth.
    """

    def __init__(self, message: str, paths: list[str] | None = None):
        super().__init__(message)
        self.paths = paths or []

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, another process would get the message alone.
        return type(self), (str(self), self.paths)


class CleansingWarning(UserWarning):
    """The clean subset is not what the paper's rule alone would give."""


class CollapsedProbeWarning(UserWarning):
    """The linear probe predicted too few classes and was trained again."""


class SkippedImageWarning(UserWarning):
    """Images that cannot be read were left out of training."""


class FeatureCacheError(OSError):
    """A feature cache cannot be used; the message names its folder and the way out."""


class FeatureCacheWarning(UserWarning):
    """Features are computed again or not stored, because the cache has a problem."""
