"""Files of tensors and JSON, and a folder that one process uses at a time."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .arrays import CodecError, Tensors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The one tensor that is JSON, as bytes: of the header the format bounds the size.
_JSON = "sklearn_turn.json"


def write(path: Path, node: Any, tensors: Tensors) -> None:
    """Write what was packed to a file, which is either the old one or the new, whole.

    Parameters
    ----------
    path : Path
        Of a link, what it points to is replaced.
    node : object
        What :func:`~.codec.pack` returned, or lists and dicts of such.
    tensors : dict of str to Tensor

    Raises
    ------
    OSError
        If there is no such folder or no space, or if the path is a folder.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r}")
    text = bytearray(json.dumps(node).encode())
    whole = {_JSON: torch.frombuffer(text, dtype=torch.uint8), **tensors}
    # A folder of this write alone: two may go on at a time, and safetensors writes to
    # a file of a name of its own.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_unfinished(path)) as made:
        unfinished, like = Path(made, "new"), Path(made, "like")
        try:
            save_file(whole, unfinished)
        except SafetensorError as error:
            raise OSError(f"{str(path)!r} cannot be written: {error}") from error
        like.touch()
        os.chmod(unfinished, like.stat().st_mode)  # as the umask says
        sync(unfinished)
        os.replace(unfinished, path)


def sweep(path: Path) -> None:
    """Remove what writes to a path left behind when they were killed."""
    for left in path.parent.glob(f"{_unfinished(path)}*"):
        shutil.rmtree(left, ignore_errors=True)


def _unfinished(path: Path) -> str:
    return f".{path.name}.part-"


def write_text(path: Path, text: str) -> None:
    """Write text to a file, which is either the old one or the new, whole."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        sync(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a file as :func:`write_text` does."""
    write_text(path, json.dumps(value, indent=1))


def sync(path: Path) -> None:
    """Wait until a file is on the disk: a name must not be there before it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def read(path: Path) -> tuple[Any, Tensors]:
    """What :func:`write` wrote, to be unpacked.

    Parameters
    ----------
    path : Path

    Returns
    -------
    node : object
    tensors : dict of str to Tensor

    Raises
    ------
    FileNotFoundError
    CodecError
        If the file is damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: what is opened is the file itself, which may be changed.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
        return json.loads(tensors.pop(_JSON).numpy().tobytes()), tensors
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise CodecError(
            f"{str(path)!r} was not written by this package, or is damaged: "
            f"{type(error).__name__}: {error}."
        ) from error


class FileLock:
    """Of one process, and one thread, on a file; it ends with the process."""

    def __init__(self, path: Path):
        self.path = os.path.realpath(path)
        self._file: Any = None

    def acquire(self) -> bool:
        """Take the lock, and return whether that was possible."""
        # Of its own process the system refuses nothing.
        if _HELD.setdefault(self.path, self) is not self:
            return False
        try:
            self._file = open(self.path, "ab")  # noqa: SIM115 (held)
        except OSError:
            self.release()
            raise
        if fcntl is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Any other error is that of a file system without locks.
            if error.errno in (errno.EACCES, errno.EAGAIN):
                self.release()
                return False
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if _HELD.get(self.path) is self:
            del _HELD[self.path]

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process holds nothing.
        return {"path": self.path, "_file": None}


_HELD: dict[str, FileLock] = {}
