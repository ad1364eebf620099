"""What the library says while it works: lines of a log, and progress."""

from __future__ import annotations

import logging
import operator
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)

# A phase that takes less, in seconds, is over before its progress could be read.
_SHORT = 1.0
# Between two lines on the progress of a phase: seconds, and share of its work.
_SECONDS, _SHARE = 10.0, 0.1


def tell(logger: logging.Logger, text: str, *, verbose: int) -> None:
    """Log what happened, and show it where ``verbose`` asks for it and no log does.

    A program that has set up logging decides what becomes of the line. In all others
    nobody would read it: those who want it set ``verbose``, and find it on stderr.

    Parameters
    ----------
    logger : Logger
        Of the module that tells.
    text : str
        One line.
    verbose : int
    """
    logger.info("%s", text, stacklevel=2)
    if verbose and sys.stderr is not None and not _is_heard(logger):
        from tqdm.auto import tqdm

        tqdm.write(text, file=sys.stderr)  # above the bars


def _is_heard(logger: logging.Logger) -> bool:
    """Whether a handler takes what is logged at INFO."""
    at: logging.Logger | None = logger
    handlers: list[logging.Handler] = []
    while at is not None:
        handlers += at.handlers
        at = at.parent if at.propagate else None
    return logger.isEnabledFor(logging.INFO) and any(
        handler.level <= logging.INFO and not isinstance(handler, logging.NullHandler)
        for handler in handlers
    )


class Phase:
    """A phase of work, and how far it is; a context manager.

    On a terminal and in a notebook ``verbose`` shows a bar. Elsewhere, and without
    ``verbose``, it is a line of the log now and then, see :func:`tell`.

    Parameters
    ----------
    name : str
    n_items : int
        Parts of it, such as batches; 0 if nobody knows.
    verbose : int
    """

    def __init__(self, name: str, n_items: int, verbose: int):
        self.name = name
        self.n_items = n_items
        self.verbose = verbose

    def __enter__(self) -> Phase:
        self.begun = self.told = time.monotonic()
        self.n_done, self.n_samples, self.share_told = 0, 0, 0.0
        self.bar: Any = None
        if self.verbose and _has_bars():
            from tqdm.auto import tqdm

            total = self.n_items or None
            options = {"unit": " samples", "leave": False, "delay": _SHORT}
            self.bar = tqdm(desc=self.name, total=total, **options)
        return self

    def advance(self, n_samples: int) -> None:
        """One more part is done, which had that many samples."""
        self.n_done += 1
        self.n_samples += n_samples
        if self.bar is None:
            self._log()
            return
        if self.n_done == 1:  # the bar counts parts, and shows as many samples
            self.bar.unit_scale = n_samples
        self.bar.update()

    def __exit__(self, kind: Any, *_: Any) -> None:
        seconds = time.monotonic() - self.begun
        if self.bar is not None:
            self.bar.close()
        elif kind is None and seconds >= _SHORT:
            rate = f"{self.n_samples / seconds:,.1f} samples/s"
            self._tell(f"{self.n_samples:,} samples in {_clock(seconds)}, {rate}")

    def _log(self) -> None:
        now, share = time.monotonic(), self.n_done / max(self.n_items, self.n_done)
        is_far = self.share_told + _SHARE <= share + 1e-9 and share < 1
        if is_far and now - self.told >= _SECONDS:
            seconds = now - self.begun
            rate, left = self.n_samples / seconds, seconds * (1 - share) / share
            self._tell(f"{share:.0%}, {rate:,.1f} samples/s, {_clock(left)} left")
            self.told, self.share_told = now, share

    def _tell(self, text: str) -> None:
        tell(_LOGGER, f"{self.name}: {text}", verbose=self.verbose)


def progress(
    items: Iterable[T], name: str, verbose: int, *, count: Callable[[T], int]
) -> Iterator[T]:
    """Pass on the parts of a phase of work, and tell how far it is.

    Parameters
    ----------
    items : iterable
        Such as batches. The time that is left is told if it has a length.
    name, verbose
        As of :class:`Phase`.
    count : callable
        Number of samples in an item.

    Yields
    ------
    object
        The items.
    """
    if not verbose and not _LOGGER.isEnabledFor(logging.INFO):
        yield from items  # steps on features are short
        return
    with Phase(name, operator.length_hint(items), verbose) as phase:
        for item in items:
            yield item
            phase.advance(count(item))


def _has_bars() -> bool:
    from tqdm.auto import tqdm

    in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
    # A window's program on Windows has no stderr.
    return in_notebook or getattr(sys.stderr, "isatty", bool)()


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
