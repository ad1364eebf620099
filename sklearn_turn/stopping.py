"""What a fit leaves behind that is stopped, by Ctrl-C or for want of memory."""

from __future__ import annotations

import logging
import os
from typing import Any

from .exceptions import NotEnoughMemoryError
from .features import FeatureMemory
from .training.out_of_memory import exhausted_device

_LOGGER = logging.getLogger(__name__)


def let_go(estimator: Any, error: BaseException) -> None:
    """Hold nothing of a fit that was stopped, and tell how to go on with it.

    The traceback of an error holds all variables of the functions that were left:
    networks and activations would fill the device for as long as somebody keeps the
    error, as notebooks do. Which line it was tells nothing when a fit was stopped.

    Parameters
    ----------
    estimator : estimator
        Which was fitted.
    error : BaseException
        What ended that; other errors than those of being stopped stay as they are.
    """
    if isinstance(error, KeyboardInterrupt):
        text = _how_to_go_on(estimator)
        error.add_note(text)
        _LOGGER.warning("fit was interrupted. %s", text)
    elif not isinstance(error, NotEnoughMemoryError) and not exhausted_device(error):
        return
    error.__traceback__ = None


def _how_to_go_on(estimator: Any) -> str:
    left = "The estimator is not fitted."
    if estimator.__sklearn_is_fitted__():
        left = "The estimator is as it was before this fit."
    if estimator.checkpoint is not None:
        return (
            f"{left} What was done is kept in {os.fspath(estimator.checkpoint)!r}: fit "
            "again with the same data and parameters to go on."
        )
    memory = FeatureMemory.of(estimator.memory)
    kept = "Nothing that was computed is kept"
    if memory is not None:
        kept = f"Features that were computed are kept in {os.fspath(memory)!r}"
    return f"{left} {kept}; a fit with checkpoint='folder' goes on where it was."
