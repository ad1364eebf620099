"""Keys of samples, by all that decides their features."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY = np.dtype("S16")

#: How files are turned into pixels; raised with every change, so that features of files
#: read otherwise are computed again. 2: turned upright by their EXIF data, or as stored
#: where these cannot be read.
_DECODING = 2
# Enough to tell files of one size apart: of photos, more than the header.
_FIRST_BYTES = 2**16


def content_key(*parts: NDArray[Any] | bytes | str) -> bytes:
    """Key of a sample, 16 bytes, by all that decides its features.

    Of an array the type and the shape count too, its memory layout does not.
    """
    # Most CPUs have instructions for SHA-256: BLAKE2 is several times slower.
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            kind, data = "str", part.encode(errors="surrogatepass")
        elif isinstance(part, bytes):
            kind, data = "bytes", part
        elif part.dtype.hasobject:
            raise TypeError(f"An array of dtype {part.dtype} has no content to hash.")
        else:
            kind, data = f"{part.dtype.str}{part.shape}", part.tobytes()
        digest.update(f"{kind}:{len(data)}:".encode())
        digest.update(data)
    return digest.digest()[: KEY.itemsize]


def file_key(path: str | os.PathLike[str]) -> bytes:
    """Key of a file, 16 bytes, by absolute path, size and modification time (ns).

    The file is not opened; new content of the same size and time goes unnoticed. How
    this version reads files counts too.
    """
    status = os.stat(path)
    name = os.fsencode(os.path.abspath(path))
    seen = f"{status.st_size} {status.st_mtime_ns} {_DECODING}"
    return content_key("file", name, seen)


def first_bytes_key(path: str | os.PathLike[str]) -> bytes:
    """Key of a file, 16 bytes, by its size and first bytes, wherever it is."""
    with open(path, "rb") as file:
        return content_key("bytes", str(os.stat(path).st_size), file.read(_FIRST_BYTES))


def some_of(n: int, most: int) -> NDArray[np.intp]:
    """Up to that many of ``n`` positions, evenly spread; by which sets are compared."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))
