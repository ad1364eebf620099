"""The errors and warnings that are the library's own."""


class WeightsNotFoundError(OSError):
    """Pre-trained weights could not be had; the message names the ways out."""


class ImageReadError(ValueError):
    """Image files that are missing or cannot be decoded; the message lists them.

    Attributes
    ----------
    paths : list of str
        Every bad path found.
    """

    def __init__(self, message: str, paths: list[str] | None = None):
        # Loader processes raise it again from the message alone.
        super().__init__(message, paths or [])
        self.paths = paths or []

    def __str__(self) -> str:
        return str(self.args[0])


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
