"""Reading one image at a time, and naming those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import joblib
import torch
from torch import Tensor

from ..exceptions import ImageReadError
from .keys import content_key
from .source import Problem, Ragged, Samples, Source

T = TypeVar("T")

_LISTED = 10
_NOT_FOUND = "not found"
# Waiting tasks of a whole set would take more memory than its paths.
_TASKS_AT_ONCE = 256


class DecodedImages(Source):
    """Base of sources that decode one image at a time.

    Attributes
    ----------
    concurrent : bool
        Whether images may be read from several threads at once.
    """

    decodes = True
    concurrent = False

    def name(self, index: int) -> str:
        """What the caller calls this sample."""
        return f"image {index}"

    def decode(self, index: int) -> Tensor:
        """Return one image as a uint8 or float tensor of shape (C, H, W)."""
        raise TypeError(f"{type(self).__name__} cannot be decoded.")

    def glance(self, index: int) -> None:
        """Raise if the sample is missing, without decoding it."""

    def load(self, indices: Sequence[int]) -> Samples:
        images = self._read(self.decode, indices)
        # Stacked, 8-bit and float images would become floats of two ranges.
        if len({(image.shape, image.dtype) for image in images}) == 1:
            return torch.stack(images)
        return Ragged(images)

    def keys(self, indices: Sequence[int]) -> list[bytes]:
        # Of each image only the key stays in memory.
        return self._read(lambda i: content_key(self.decode(i).numpy()), indices)

    def problems(
        self,
        indices: Sequence[int] | None = None,
        *,
        decode: bool,
        most: int | None = None,
    ) -> list[Problem]:
        among = range(len(self)) if indices is None else indices
        check = _or_error(self._try_to_decode if decode else self.glance)
        results = self._each(check, among, min(8, joblib.cpu_count()))
        return list(islice(self._failures(among, results), most))

    def _try_to_decode(self, index: int) -> None:
        self.decode(index)  # not returned: together the images may not fit into memory

    def _read(self, function: Callable[[int], T], indices: Sequence[int]) -> list[T]:
        """Call a function for each index; one error names all that it fails on."""
        # In a loader process torch has one thread, and so has this.
        threads = torch.get_num_threads()
        results = list(self._each(_or_error(function), indices, threads))
        bad = list(self._failures(indices, results))
        if bad:
            raise read_error(bad, f"{len(bad)} of {len(results)} images read together")
        return [result for result in results if not isinstance(result, Exception)]

    def _failures(
        self, indices: Sequence[int], results: Iterable[object]
    ) -> Iterator[Problem]:
        for index, result in zip(indices, results, strict=True):
            if isinstance(result, Exception):
                name = self.name(index)
                yield index, name, _reason(name, result)

    def _each(
        self, function: Callable[[int], T], indices: Sequence[int], threads: int
    ) -> Iterator[T]:
        """Call a function for each index; decoders release the interpreter lock."""
        threads = min(threads, len(indices))
        if threads < 2 or not self.concurrent:
            yield from map(function, indices)
            return
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(indices), _TASKS_AT_ONCE):
                yield from pool.map(function, indices[start : start + _TASKS_AT_ONCE])


def raise_if_unreadable(source: Source) -> None:
    """Raise one error naming samples that are missing or not images, by their headers.

    The search ends with the tenth: in a large set on a wrong path, all are missing.

    Raises
    ------
    ImageReadError
        With up to ten names, in the message and in ``paths``.
    """
    bad = source.problems(decode=False, most=_LISTED)
    if bad:
        least = "at least " if len(bad) == _LISTED < len(source) else ""
        raise read_error(bad, f"{least}{len(bad)} of {len(source)} images")


def read_error(
    bad: Sequence[Problem],
    which: str,
    remedy: str = "Drop these images with their labels; classifiers of this library do "
    "when fitted with on_bad_image='skip'.",
) -> ImageReadError:
    """Error that names samples, up to ten of them, and tells what to do."""
    listed = "\n".join(f"  {name}: {why}" for _, name, why in bad[:_LISTED])
    more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
    if any(why == _NOT_FOUND for _, _, why in bad):
        remedy = f"Correct the paths (relative ones start at {os.getcwd()}). {remedy}"
    return ImageReadError(
        f"Cannot read {which}:\n{listed}{more}\n{remedy}", [name for _, name, _ in bad]
    )


def check_is_file(path: str) -> None:
    """Raise if a path leads to no file, in fewer words than Python."""
    if os.path.isdir(path):
        raise IsADirectoryError(
            "a folder; datasets.load_image_folder(folder) lists its images"
        )
    if not os.path.isfile(path):
        raise FileNotFoundError(_NOT_FOUND)


def _or_error(function: Callable[[int], T]) -> Callable[[int], T | Exception]:
    """The function, returning what it would raise."""

    def attempt(index: int) -> T | Exception:
        try:
            return function(index)
        except Exception as error:  # decoders raise almost anything
            return error

    return attempt


def _reason(name: str, error: Exception) -> str:
    """Why a sample cannot be read, without its name once more."""
    text = str(error).replace(repr(name), "").strip()
    return text or type(error).__name__
