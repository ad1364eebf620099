"""Features of a frozen backbone, kept on disk and shared between processes.

The store is SQLite, from the standard library: one file, with transactions that hold
whenever a process is killed. It is used with a rollback journal, because SQLite's
write-ahead log must not be shared by several machines and fails on some cluster file
systems. A network file system must still have working file locks, as NFS 4 does.

Samples written together form a pack: their keys, their features and a checksum over
both. Packs fill the file without gaps whatever the width, and are written and read
whole; a small B-tree says which pack holds a sample.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
from numpy.typing import NDArray

from ..exceptions import FeatureCacheError, FeatureCacheWarning
from ..inputs.keys import KEY, content_key

_FORMAT = 1  # To be raised when older files can no longer be read.
_APPLICATION = int.from_bytes(b"turn", "big")
_PACK_BYTES = 4 << 20
_LOOKUPS = 500  # Older SQLite takes 999 parameters per statement.
_PATIENCE = 60.0  # Seconds to wait for other processes.
_NOWHERE = -1


_SCHEMA = (
    "CREATE TABLE identities (identity INTEGER PRIMARY KEY, description TEXT)",
    # Numbers are never used again: who located a sample in a pack that is dropped
    # meanwhile does not find another pack there.
    "CREATE TABLE packs (pack INTEGER PRIMARY KEY AUTOINCREMENT, crc INTEGER, "
    "keys BLOB, features BLOB)",
    # Not a column of packs: changing it would write the features again.
    "CREATE TABLE uses (pack INTEGER PRIMARY KEY, used INTEGER)",
    "CREATE TABLE samples (identity INTEGER, key BLOB, pack INTEGER, row INTEGER, "
    "PRIMARY KEY (identity, key)) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)


# Errors of SQLite that blame the surroundings; all others blame the file.
_SURROUNDINGS = {"BUSY", "CANTOPEN", "FULL", "IOERR", "PERM", "READONLY"}


def open_cache(
    memory: str | os.PathLike[str] | joblib.Memory | None, **options: Any
) -> FeatureCache | None:
    """Make a :class:`FeatureCache`, or None if memory or its location is None."""
    if memory is None or getattr(memory, "location", memory) is None:
        return None
    return FeatureCache(memory, **options)


class FeatureCache:
    """Features of one backbone, by sample, in a folder that processes may share.

    No connection outlives a call, so a cache can be pickled, forked and used by
    several threads.

    Parameters
    ----------
    memory : str, path-like or joblib.Memory
        The cache is the subfolder ``sklearn_turn`` of this folder.
    identity : mapping or str
        All that decides features besides the sample: backbone, weights, input size,
        precision and the like, as JSON can write it. What other identities store is
        neither seen nor disturbed.
    width : int
        Number of features of a sample.
    dtype : {"float16", "float32"}, default="float32"
        Storage type. A sample with a value beyond float16's range, 65504, is stored as
        float32 all the same.
    max_bytes : int, optional
        Bound on the file's size, at least 1 MiB. What was used longest ago is dropped
        to keep it, whatever its identity.

    Raises
    ------
    FeatureCacheError
        If the folder cannot be read and written, or the file in it is damaged, from
        another version, or no feature cache.

    Notes
    -----
    Opening and reading raise if the cache is unusable: nothing is lost by then. Writing
    never does, because hours of work may be in hand: it warns once, and this object
    then stores nothing more.
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
        if max_bytes is not None and max_bytes < 1 << 20:
            raise ValueError(f"max_bytes={max_bytes} is less than 1 MiB, {1 << 20}.")
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
        names = np.array(keys, dtype=KEY)
        with self._connection() as db:
            packs, rows = self._locate(db, keys)
        order = np.argsort(packs, kind="stable")
        numbers, starts = np.unique(packs[order], return_index=True)
        used: list[tuple[int]] = []
        lost: list[tuple[int]] = []
        damaged = 0
        for pack, at in zip(numbers, np.split(order, starts[1:]), strict=False):
            if pack == _NOWHERE:
                continue
            try:
                features = self._read_pack(int(pack), rows[at], names[at])
            except (IndexError, ValueError):
                features = None
                damaged += 1
            if features is None:
                lost.append((int(pack),))
                continue
            used.append((int(pack),))
            out[at] = features
            found[at] = True
        if damaged:
            warnings.warn(
                f"The feature cache in {self.folder} holds {damaged} damaged packs of "
                "features. They are dropped, and computed again.",
                FeatureCacheWarning,
                stacklevel=2,
            )
        if lost or (used and self.max_bytes is not None):
            # Where this fails, the next reader tries again.
            with contextlib.suppress(FeatureCacheError), self._transaction() as db:
                if lost:
                    _drop(db, lost)
                update = f"UPDATE uses SET used = {time.time_ns()} WHERE pack = ?"
                db.executemany(update, used)
        return found

    def write(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Store features; those of keys already stored are left as they are.

        A call waits for the disk a few times: a thousand samples cost little more than
        one. What a killed call had not committed is absent later, never wrong.

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
        # Smaller in a small cache, which dropping one pack should not half empty.
        pack_bytes = min(_PACK_BYTES, (self.max_bytes or 8 * _PACK_BYTES) // 8)
        step = max(1, pack_bytes // (self.width * np.dtype(self.dtype).itemsize))
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
        """Round features to what :meth:`read` returns once they are stored.

        With that, results do not depend on what was in the cache before.
        """
        if self.dtype == "float32":
            return features
        halves, fits = _to_half(features)
        return np.where(fits[:, None], halves.astype(np.float32), features)

    def clear(self) -> None:
        """Delete all features of this identity, and shrink the file."""
        packs = "SELECT DISTINCT pack FROM samples WHERE identity = ?"
        with self._transaction() as db:
            _drop(db, db.execute(packs, (self._identity,)).fetchall())
            _shrink(db, 0)

    def __len__(self) -> int:
        count = "SELECT count(*) FROM samples WHERE identity = ?"
        with self._connection() as db:
            return int(db.execute(count, (self._identity,)).fetchone()[0])

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes, all identities together."""
        return self._file.stat().st_size

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
            rows = db.execute(
                "SELECT key, pack, row FROM samples JOIN uses USING (pack) "
                f"WHERE identity = ? AND key IN ({','.join('?' * len(chunk))})",
                (self._identity, *chunk),
            )
            # In a damaged file columns may hold anything.
            located = {k: (p, r) for k, p, r in rows if type(p) is type(r) is int}
            for i, key in enumerate(chunk, start):
                places[i] = located.get(key, _NOWHERE)
        return places[:, 0], places[:, 1]

    def _read_pack(
        self, pack: int, rows: NDArray[np.int64], names: NDArray[np.bytes_]
    ) -> NDArray[np.floating] | None:
        """Features in ``rows`` of a pack, or None if it has been dropped meanwhile.

        IndexError or ValueError if it is damaged, or has no ``names`` there.
        """
        # One connection per pack: what it maps into memory goes with it, so that the
        # whole file is never there at once.
        with self._connection() as db:
            content = db.execute(
                "SELECT crc, keys, features FROM packs WHERE pack = ?", (pack,)
            ).fetchone()
        if content is None:
            return None
        crc, keys, data = content
        if not type(keys) is type(data) is bytes or crc != self._crc(keys, data):
            raise ValueError("wrong checksum")
        stored = np.frombuffer(keys, dtype=KEY)
        if (stored[rows] != names).any():
            raise ValueError("other samples")
        half = len(data) == 2 * len(stored) * self.width
        features = np.frombuffer(data, dtype="<f2" if half else "<f4")
        return features.reshape(len(stored), self.width)[rows]

    def _write(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Store, in one transaction, what is not stored yet."""
        with self._transaction() as db:
            absent = np.flatnonzero(self._locate(db, keys)[0] == _NOWHERE)
            absent_keys = np.array(keys, dtype=KEY)[absent]
            names, first = np.unique(absent_keys, return_index=True)
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
        self, db: sqlite3.Connection, names: NDArray[np.bytes_], features: NDArray[Any]
    ) -> None:
        if not len(names):
            return
        keys, data = names.tobytes(), features.tobytes()
        pack = db.execute(
            "INSERT INTO packs (crc, keys, features) VALUES (?, ?, ?)",
            (self._crc(keys, data), keys, data),
        ).lastrowid
        db.execute("INSERT INTO uses VALUES (?, ?)", (pack, time.time_ns()))
        # As void: NumPy cuts trailing zeros off its bytes.
        samples = [
            (self._identity, key.tobytes(), pack, row)
            for row, key in enumerate(names.view("V16"))
        ]
        db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", samples)

    def _crc(self, keys: bytes, features: bytes) -> int:
        # The identity takes part: another backbone's pack never passes for this one's.
        return zlib.crc32(features, zlib.crc32(keys, zlib.crc32(self._digest)))

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Connect to the file; SQLite's errors become ours."""
        try:
            with contextlib.closing(
                sqlite3.connect(self._file, timeout=_PATIENCE, isolation_level=None)
            ) as db:
                # In a damaged file text need not be text.
                db.text_factory = bytes
                # As much as SQLite allows, usually 2 GB.
                db.execute("PRAGMA mmap_size = 0x7fffffffffff").fetchall()
                self._prepare(db)
                yield db
        # UnicodeDecodeError: SQLite's message quotes text of a damaged file.
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # As in SQLITE_IOERR_WRITE; errors of the Python layer have no name.
            kind = getattr(error, "sqlite_errorname", "_").split("_")[1]
            if kind in _SURROUNDINGS:
                raise self._unusable(error) from error
            raise FeatureCacheError(
                f"The feature cache in {self.folder} is damaged ({error}). Delete this "
                "folder; the features are then computed again."
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Connect to write all that the block does, or nothing."""
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            with db:
                yield db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables of a new file; refuse a file of another format."""
        any_table = "SELECT 1 FROM sqlite_master"
        if db.execute(any_table).fetchone() is None:
            # Lets the file shrink; possible only before there are tables.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("BEGIN IMMEDIATE")
            with db:
                if db.execute(any_table).fetchone() is None:
                    for statement in _SCHEMA:
                        db.execute(statement)
        version = _pragma(db, "user_version")
        if _pragma(db, "application_id") != _APPLICATION:
            what = f"{self._file.name} is no feature cache"
        elif version != _FORMAT:
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
            "folder readable and writable, free space on the disk, or set memory to "
            "another folder."
        )


def _folder(memory: str | os.PathLike[str] | joblib.Memory) -> Path:
    location = memory.location if isinstance(memory, joblib.Memory) else memory
    if not isinstance(location, str | os.PathLike):
        raise TypeError(
            f"memory must be a folder or a joblib.Memory with one, not {memory!r}."
        )
    # Absolute: a worker that gets the cache pickled may be in another folder.
    return Path(location).absolute() / "sklearn_turn"


def _to_half(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Features as float16, and the samples of which no value has overflowed."""
    with np.errstate(over="ignore"):
        halves = features.astype("<f2")
    return halves, ~(np.isinf(halves) & np.isfinite(features)).any(axis=1)


def _evict(db: sqlite3.Connection, max_bytes: int) -> None:
    """Drop what was used longest ago until the file fits."""
    limit = max_bytes // _pragma(db, "page_size")
    if _pragma(db, "page_count") <= limit:
        return
    # A tenth more than needed: later packs go into the free pages, and nothing moves.
    target = 0.9 * limit
    while (used := _pragma(db, "page_count") - _pragma(db, "freelist_count")) > target:
        (count,) = db.execute("SELECT count(*) FROM uses").fetchone()
        if not count:
            break
        # Fewer than all, so that what was just written stays.
        excess = max(1, int(count * (1 - target / used)))
        by_use = "SELECT pack FROM uses ORDER BY used, pack LIMIT ?"
        _drop(db, db.execute(by_use, (excess,)).fetchall())
    _shrink(db, limit)


def _shrink(db: sqlite3.Connection, pages: int) -> None:
    """Give free pages back until ``pages`` are left."""
    # Python takes one step of this statement, which frees one page.
    while _pragma(db, "page_count") > pages and _pragma(db, "freelist_count"):
        db.execute("PRAGMA incremental_vacuum(1)")


def _drop(db: sqlite3.Connection, packs: Sequence[tuple[int]]) -> None:
    db.executemany("DELETE FROM packs WHERE pack = ?", packs)
    db.executemany("DELETE FROM uses WHERE pack = ?", packs)
    db.execute("DELETE FROM samples WHERE pack NOT IN (SELECT pack FROM uses)")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
