"""Features of a frozen backbone, kept on disk and shared between processes.

The store is SQLite, from the standard library: one file whose transactions hold under
any crash. What a killed process had not committed is rolled back by the next one.

The file is in SQLite's rollback mode, not in its write-ahead mode: the latter needs
memory shared by all processes, so it corrupts a file that two machines use over a
network, and it cannot be used on some cluster file systems at all. Here reading and
committing take short turns instead. A network file system must still implement file
locks (NFS version 4 does). No connection outlives a call, so that a cache can be
pickled, forked and shared between threads.

Samples written together form a pack: one row with their keys, their features and a
checksum over both. Whatever the width, a pack leaves no gaps in the file's pages; and
the B-tree of single samples, which new keys hit everywhere, stays small.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
from numpy.typing import NDArray

_FORMAT = 1  # To be raised whenever files written before can no longer be read.
_APPLICATION = int.from_bytes(b"turn", "big")
_KEY_BYTES = 16
_NOWHERE = -1
_PACK_BYTES = 4 << 20
_MIN_BYTES = 1 << 20
_LOOKUPS = 500  # Older SQLite takes 999 parameters per statement.
_PATIENCE = 60.0  # Seconds to wait for a process that is committing.

_SCHEMA = (
    "CREATE TABLE identities (identity INTEGER PRIMARY KEY, description TEXT)",
    # Numbers of packs are never used again, so that a reader who found a sample in a
    # pack evicted meanwhile misses it, and does not read another.
    "CREATE TABLE packs (pack INTEGER PRIMARY KEY AUTOINCREMENT, identity INTEGER, "
    "crc INTEGER, keys BLOB, features BLOB)",
    "CREATE TABLE samples (identity INTEGER, key BLOB, pack INTEGER, row INTEGER, "
    "PRIMARY KEY (identity, key)) WITHOUT ROWID",
    # Apart from packs, where changing the time would rewrite the features too.
    "CREATE TABLE uses (pack INTEGER PRIMARY KEY, used INTEGER)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)

# Primary result codes that blame the surroundings; all others blame the file.
_SURROUNDINGS = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
}


class FeatureCacheError(OSError):
    """A feature cache cannot be used; the message names its folder and the way out."""


class FeatureCacheWarning(UserWarning):
    """Features are computed again or not stored, because the cache has a problem."""


def content_key(*parts: NDArray[Any] | bytes | str) -> bytes:
    """Key of a sample by what it holds.

    Parameters
    ----------
    *parts : ndarray, bytes or str
        All that decides the sample's features. Of an array the type and shape count
        too; its memory layout does not.

    Returns
    -------
    bytes of length 16

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((32, 32, 3), dtype=np.uint8)
    >>> content_key(image) == content_key(image.copy())
    True
    >>> content_key(image) == content_key(image.reshape(3, 32, 32))
    False
    """
    # Most CPUs have instructions for SHA-256: it is the fastest in the library.
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
    return digest.digest()[:_KEY_BYTES]


def file_key(path: str | os.PathLike[str]) -> bytes:
    """Key of a file by its absolute path, size and modification time in nanoseconds.

    The file is not opened; a new content of the same size and time goes unnoticed.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    bytes of length 16

    Raises
    ------
    OSError
        If there is no such file.
    """
    status = os.stat(path)
    name = os.fsencode(os.path.abspath(path))
    return content_key("file", name, f"{status.st_size} {status.st_mtime_ns}")


def open_cache(
    memory: str | os.PathLike[str] | joblib.Memory | None, **options: Any
) -> FeatureCache | None:
    """Open the cache in ``memory``, or return None when nothing is to be cached.

    Parameters
    ----------
    memory : str, path-like, joblib.Memory or None
        None, and a ``joblib.Memory`` whose location is None, mean no cache.
    **options
        Keyword parameters of :class:`FeatureCache`.

    Returns
    -------
    FeatureCache or None
    """
    if memory is None or getattr(memory, "location", memory) is None:
        return None
    return FeatureCache(memory, **options)


class FeatureCache:
    """Features of one backbone by sample, in a folder that processes may share.

    Parameters
    ----------
    memory : str, path-like or joblib.Memory
        The cache is made in the subfolder ``sklearn_turn`` of this folder.
    identity : mapping or str
        All that decides a sample's features besides the sample: backbone, weights,
        input size, precision and the like, as JSON can write it. Other identities
        neither see nor disturb this one's features.
    width : int
        Number of features of a sample.
    dtype : {"float16", "float32"}, default="float32"
        Storage type. A sample with a value out of float16's range (65504) is stored as
        float32 all the same.
    max_bytes : int, optional
        Bound on the file's size, at least 1 MiB. The packs used longest ago are dropped
        to keep it, whatever their identity.

    Attributes
    ----------
    folder : Path

    Raises
    ------
    FeatureCacheError
        If the folder cannot be read and written, or the file in it is damaged, from
        another version, or no feature cache.

    Notes
    -----
    Opening and reading raise when the cache is unusable: nothing is lost by then.
    Writing never does, because features worth hours may be in hand. It warns once,
    with the reason, and this object stores nothing more.
    """

    def __init__(
        self,
        memory: str | os.PathLike[str] | joblib.Memory,
        *,
        identity: Mapping[str, Any] | str,
        width: int,
        dtype: Literal["float16", "float32"] = "float32",
        max_bytes: int | None = None,
    ):
        if max_bytes is not None and max_bytes < _MIN_BYTES:
            raise ValueError(f"max_bytes={max_bytes} is less than 1 MiB, {_MIN_BYTES}.")
        self.width = width
        self.dtype = dtype
        self.max_bytes = max_bytes
        self.folder = _folder(memory)
        self._file = self.folder / "features.sqlite3"
        self._storing = True
        about = {"identity": identity, "width": width, "dtype": dtype}
        description = json.dumps(about, sort_keys=True)
        self._digest = content_key(description)
        self._identity = int.from_bytes(self._digest[:8], "big", signed=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise self._unusable("permission denied")
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO identities VALUES (?, ?)",
                (self._identity, description),
            )

    def read(
        self, keys: Sequence[bytes], out: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Read the features that are stored.

        Parameters
        ----------
        keys : sequence of bytes of length 16
            Any number of times the same.
        out : ndarray of shape (len(keys), width), float32
            Receives the features found; its other rows are left as they are.

        Returns
        -------
        ndarray of shape (len(keys),), bool
            Whether the features of each key were found.

        Warns
        -----
        FeatureCacheWarning
            If stored features are damaged; they are dropped and count as not found.
        """
        self._check_shape(keys, out)
        found = np.zeros(len(keys), dtype=np.bool_)
        names = _as_array(keys)
        with self._connection() as db:
            packs, rows = self._locate(db, keys)
        order = np.argsort(packs, kind="stable")
        numbers, starts = np.unique(packs[order], return_index=True)
        members = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=False))
        members.pop(_NOWHERE, None)
        damaged = []
        for pack, at in members.items():
            try:
                features = self._read_pack(pack, rows[at], names[at])
            except ValueError:
                damaged.append(pack)
                continue
            if features is not None:
                out[at] = features
                found[at] = True
        if damaged:
            self._drop_damaged(damaged)
        if self.max_bytes is not None:
            self._touch(members)
        return found

    def write(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Store features; those of keys already stored are left as they are.

        A call makes the disk wait a few times, so thousands of samples at once are
        cheap and single ones are not. What an interrupted call had not committed is
        absent later, never wrong.

        Parameters
        ----------
        keys : sequence of bytes of length 16
        features : ndarray of shape (len(keys), width), float32

        Warns
        -----
        FeatureCacheWarning
            The first time that features cannot be stored, as on a full disk.
        """
        self._check_shape(keys, features)
        # Small packs in a small cache, so that dropping one does not half empty it.
        bound = min(_PACK_BYTES, (self.max_bytes or 8 * _PACK_BYTES) // 8)
        step = max(1, bound // (self.width * np.dtype(self.dtype).itemsize))
        try:
            for start in range(0, len(keys) if self._storing else 0, step):
                self._write(keys[start : start + step], features[start : start + step])
        except FeatureCacheError as error:
            self._storing = False
            warnings.warn(
                f"Features are no longer stored. {error}",
                FeatureCacheWarning,
                stacklevel=2,
            )

    def as_stored(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Round features to what a later :meth:`read` returns.

        Results then do not depend on which features were in the cache before.

        Parameters
        ----------
        features : ndarray of shape (n_samples, width), float32

        Returns
        -------
        ndarray of shape (n_samples, width), float32
        """
        if self.dtype == "float32":
            return features
        rounded, fits = _to_half(features)
        return np.where(fits[:, None], rounded.astype(np.float32), features)

    def clear(self) -> None:
        """Delete all features of this identity."""
        mine = "WHERE identity = ?"
        with self._transaction() as db:
            for statement in (
                f"DELETE FROM uses WHERE pack IN (SELECT pack FROM packs {mine})",
                f"DELETE FROM packs {mine}",
                f"DELETE FROM samples {mine}",
            ):
                db.execute(statement, (self._identity,))
            db.execute("PRAGMA incremental_vacuum").fetchall()

    def __len__(self) -> int:
        count = "SELECT count(*) FROM samples WHERE identity = ?"
        with self._connection() as db:
            return int(db.execute(count, (self._identity,)).fetchone()[0])

    @property
    def nbytes(self) -> int:
        """Size of the file on disk, of all identities together, in bytes."""
        return self._file.stat().st_size

    # -- samples and packs ----------------------------------------------------------

    def _check_shape(self, keys: Sequence[bytes], array: NDArray[Any]) -> None:
        if array.shape != (len(keys), self.width):
            raise ValueError(
                f"Features of {len(keys)} samples have shape {len(keys), self.width}, "
                f"not {array.shape}."
            )

    def _locate(
        self, db: sqlite3.Connection, keys: Sequence[bytes]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pack of each key, or ``_NOWHERE``, and row in it."""
        places = np.full((len(keys), 2), _NOWHERE, dtype=np.int64)
        for start in range(0, len(keys), _LOOKUPS):
            chunk = keys[start : start + _LOOKUPS]
            marks = ",".join("?" * len(chunk))
            located = {
                key: (pack, row)
                for key, pack, row in db.execute(
                    "SELECT key, pack, row FROM samples JOIN packs USING (pack) "
                    f"WHERE samples.identity = ? AND key IN ({marks})",
                    (self._identity, *chunk),
                )
                # In a damaged file columns may hold anything.
                if type(pack) is type(row) is int
            }
            for i, key in enumerate(chunk, start):
                places[i] = located.get(key, _NOWHERE)
        return places[:, 0], places[:, 1]

    def _read_pack(
        self, pack: int, rows: NDArray[np.int64], names: NDArray[np.bytes_]
    ) -> NDArray[np.floating] | None:
        """Features in ``rows`` of a pack, or None when it has been dropped meanwhile.

        ValueError if the pack is damaged, or holds other samples than ``names`` there.
        """
        # The file's mapping, which counts as this process's memory, ends with the
        # connection: with one per pack the whole file is never mapped in at once.
        with self._connection() as db:
            content = db.execute(
                "SELECT crc, keys, features FROM packs WHERE pack = ?", (pack,)
            ).fetchone()
        if content is None:
            return None
        crc, keys, data = content
        if not type(keys) is type(data) is bytes or crc != self._crc(keys, data):
            raise ValueError("wrong checksum")
        stored = np.frombuffer(keys, dtype=names.dtype)
        if rows.max() >= len(stored) or (stored[rows] != names).any():
            raise ValueError("other samples")
        half = len(data) == 2 * len(stored) * self.width
        features = np.frombuffer(data, dtype="<f2" if half else "<f4")
        return features.reshape(len(stored), self.width)[rows]

    def _write(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Store, in one transaction, what is not stored yet."""
        with self._transaction() as db:
            absent = np.flatnonzero(self._locate(db, keys)[0] == _NOWHERE)
            names, first = np.unique(_as_array(keys)[absent], return_index=True)
            features = features[absent[first]]
            if self.dtype == "float32":
                self._write_pack(db, names, features.astype("<f4"))
            else:
                halves, fits = _to_half(features)
                self._write_pack(db, names[fits], halves[fits])
                self._write_pack(db, names[~fits], features[~fits].astype("<f4"))
            if self.max_bytes is not None:
                _evict(db, self.max_bytes)

    def _write_pack(
        self, db: sqlite3.Connection, keys: NDArray[np.bytes_], features: NDArray[Any]
    ) -> None:
        if not len(keys):
            return
        names, data = keys.tobytes(), features.tobytes()
        pack = db.execute(
            "INSERT INTO packs (identity, crc, keys, features) VALUES (?, ?, ?, ?)",
            (self._identity, self._crc(names, data), names, data),
        ).lastrowid
        db.execute("INSERT INTO uses VALUES (?, ?)", (pack, _now()))
        db.executemany(
            "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)",
            [
                (self._identity, key, pack, row)
                for row, key in enumerate(_split_keys(names))
            ],
        )

    def _crc(self, keys: bytes, features: bytes) -> int:
        # The identity takes part: another backbone's pack never passes for this one's.
        return zlib.crc32(features, zlib.crc32(keys, zlib.crc32(self._digest)))

    def _touch(self, packs: Iterable[int]) -> None:
        # A lost time of use costs little; the features have been read.
        with contextlib.suppress(FeatureCacheError), self._transaction() as db:
            db.executemany(
                "UPDATE uses SET used = ? WHERE pack = ?",
                [(_now(), pack) for pack in packs],
            )

    def _drop_damaged(self, packs: Sequence[int]) -> None:
        # Where they cannot be dropped, the next reader finds them damaged again.
        with contextlib.suppress(FeatureCacheError), self._transaction() as db:
            for pack in packs:
                _drop(db, pack)
        warnings.warn(
            f"The feature cache in {self.folder} holds {len(packs)} damaged pack(s) of "
            "features. They are not used; their features are computed again.",
            FeatureCacheWarning,
            stacklevel=3,
        )

    # -- connections ----------------------------------------------------------------

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call; its errors name the folder."""
        try:
            with contextlib.closing(
                sqlite3.connect(self._file, timeout=_PATIENCE, isolation_level=None)
            ) as db:
                # Text in a damaged file need not be text.
                db.text_factory = bytes
                # As much as SQLite was built for, which is 2 GB as a rule.
                db.execute("PRAGMA mmap_size = 0x7fffffffffff").fetchall()
                self._prepare(db)
                yield db
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 1) & 0xFF in _SURROUNDINGS:
                raise self._unusable(error) from error
            raise FeatureCacheError(
                f"The feature cache in {self.folder} is damaged ({error}). Delete this "
                "folder; the features are then computed again."
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection that writes all that its block does, or nothing."""
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            with db:
                yield db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables of a new file; refuse a file of another format."""
        any_table = "SELECT 1 FROM sqlite_master"
        if db.execute(any_table).fetchone() is None:
            # Lets a file shrink. It must be set before there are tables.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("BEGIN IMMEDIATE")
            with db:
                if db.execute(any_table).fetchone() is None:
                    for statement in _SCHEMA:
                        db.execute(statement)
        if _pragma(db, "application_id") != _APPLICATION:
            what = f"{self._file.name} is no feature cache"
        elif (version := _pragma(db, "user_version")) != _FORMAT:
            what = (
                "it was written by another version of sklearn-turn (format "
                f"{version}, this version has format {_FORMAT})"
            )
        else:
            return
        raise FeatureCacheError(
            f"The feature cache in {self.folder} is refused: {what}. Delete this "
            "folder, or set memory to another one."
        )

    def _unusable(self, reason: object) -> FeatureCacheError:
        return FeatureCacheError(
            f"The feature cache in {self.folder} cannot be used: {reason}. Make the "
            "folder readable and writable and the disk not full, or set memory to "
            "another folder."
        )


def _folder(memory: str | os.PathLike[str] | joblib.Memory) -> Path:
    location = memory.location if isinstance(memory, joblib.Memory) else memory
    if not isinstance(location, str | os.PathLike):
        raise TypeError(
            f"memory must be a folder or a joblib.Memory with one, not {memory!r}."
        )
    # Absolute: workers that get the pickled cache may have another current folder.
    return Path(location).absolute() / "sklearn_turn"


def _as_array(keys: Sequence[bytes]) -> NDArray[np.bytes_]:
    return np.array(keys, dtype=f"S{_KEY_BYTES}")


def _split_keys(keys: bytes) -> list[bytes]:
    return [keys[i : i + _KEY_BYTES] for i in range(0, len(keys), _KEY_BYTES)]


def _to_half(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Features as float16, and which samples kept finite values finite."""
    with np.errstate(over="ignore"):
        halves = features.astype("<f2")
    return halves, ~(np.isinf(halves) & np.isfinite(features)).any(axis=1)


def _evict(db: sqlite3.Connection, max_bytes: int) -> None:
    """Drop the packs used longest ago until the file fits."""
    limit = max_bytes // _pragma(db, "page_size")
    if _pragma(db, "page_count") <= limit:
        return
    # A tenth more than needed: what follows fills the free pages, and nothing moves.
    while _pragma(db, "page_count") - _pragma(db, "freelist_count") > 0.9 * limit:
        oldest = db.execute("SELECT pack FROM uses ORDER BY used, pack").fetchone()
        if oldest is None:
            break
        _drop(db, *oldest)
    excess = _pragma(db, "page_count") - limit
    db.execute(f"PRAGMA incremental_vacuum({excess})").fetchall()


def _drop(db: sqlite3.Connection, pack: int) -> None:
    """Delete a pack and its samples."""
    content = "SELECT identity, keys FROM packs WHERE pack = ?"
    identity, keys = db.execute(content, (pack,)).fetchone() or (0, b"")
    if type(keys) is bytes:
        db.executemany(
            "DELETE FROM samples WHERE identity = ? AND key = ? AND pack = ?",
            [(identity, key, pack) for key in _split_keys(keys)],
        )
    db.execute("DELETE FROM packs WHERE pack = ?", (pack,))
    db.execute("DELETE FROM uses WHERE pack = ?", (pack,))


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _now() -> int:
    return time.time_ns() // 1_000_000
