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


class CheckpointError(ValueError):
    """A fit cannot go on from a folder, or not keep its state there; it says why."""


class ModelFileError(ValueError):
    """A file of a fitted model does not fit what it is read with; it says what."""


class DistributedError(RuntimeError):
    """Processes that fit together cannot go on; it says which one failed, or differs.

    The process that failed raises its own error.
    """


class NotEnoughMemoryError(RuntimeError):
    """The device has too little memory; the message names what needs less."""


class SmallerBatchWarning(UserWarning):
    """A pass without gradients goes on with smaller batches, for want of memory."""


class NotSavedWarning(UserWarning):
    """A part of a fit cannot be saved, and is left out; the message names it."""


class CleansingWarning(UserWarning):
    """Labels could not be selected as usual, or the selection is doubtful."""


class CollapsedProbeWarning(UserWarning):
    """The linear probe predicted too few classes and was trained again."""


class SkippedImageWarning(UserWarning):
    """Images were left out: they cannot be read, or are of a kind not asked for."""


class FeatureCacheError(OSError):
    """A feature cache cannot be used; the message names its folder and the way out."""


class FeatureCacheWarning(UserWarning):
    """Features are computed again or not stored, because the cache has a problem."""
