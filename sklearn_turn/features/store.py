"""Features of a frozen backbone, by sample, kept on disk and shared between processes.

Samples written together form a pack: their keys, their features and a checksum over
both. Packs fill the file without gaps whatever the width, and are written and read
whole; a small B-tree says which pack holds a sample.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import FeatureCacheError, FeatureCacheWarning
from ..inputs.keys import KEY, content_key
from .claims import Claims
from .database import Database, drop, evict
from .memory import FeatureMemory

_PACK_BYTES = 4 << 20
_LOOKUPS = 500  # Older SQLite takes 999 parameters per statement.
_NOWHERE = -1
# Between the features of one probe batch, as a share of their size. Other kernels,
# threads and layouts were seen to differ by 2e-6, TF32 by 4e-3; another activation
# function by 0.01 to 0.2.
_SAME_PROBE = 5e-3


class FeatureCache:
    """Features of one backbone, by sample, in a folder that processes may share.

    A cache can be pickled, forked and used by several threads.

    Parameters
    ----------
    memory : FeatureMemory
        The cache is the subfolder ``sklearn_turn`` of its location.
    identity : mapping or str
        All that is known to decide features besides the sample, as JSON can write it:
        backbone, weights, input size, precision and the like.
    probe : ndarray of float32
        The backbone's features of a fixed batch. Of caches with the same identity only
        one with the same probe, up to rounding, is used: it tells apart what no
        description shows. What other identities and probes store is neither seen nor
        disturbed.
    width : int
        Number of features of a sample.

    Raises
    ------
    FeatureCacheError
        If the folder cannot be read, or the file in it is damaged, from another
        version, or not a feature cache.

    Warns
    -----
    FeatureCacheWarning
        If the file cannot be written: what it holds is used, nothing is stored.

    Notes
    -----
    A sample with a value beyond float16's range, 65504, is stored as float32 whatever
    the memory's dtype.

    Opening and reading raise if the cache is unusable: nothing is lost by then. Writing
    never does, because hours of work may be in hand: it warns once, and this object
    then stores nothing more.
    """

    def __init__(
        self,
        memory: FeatureMemory,
        *,
        identity: Mapping[str, Any] | str,
        probe: NDArray[np.float32],
        width: int,
    ):
        self.width = width
        self.dtype = memory.dtype
        self.max_bytes = memory.max_bytes
        # Absolute: a worker that gets the cache pickled may be in another folder.
        folder = Path(memory.location).absolute() / "sklearn_turn"
        self._database = Database(folder)
        self._storing = True
        about = {"identity": identity, "width": width, "dtype": memory.dtype}
        description = json.dumps(about, sort_keys=True)
        self._digest = self._register(description, probe.astype("<f4"))
        self._identity = _number(self._digest)

    @property
    def folder(self) -> Path:
        """Where the file is."""
        return self._database.folder

    def _register(self, description: str, probe: NDArray[np.float32]) -> bytes:
        """Digest of a backbone: of the one stored first if it has the same probe."""
        select = "SELECT probe FROM identities WHERE description = ?"

        def known(db: sqlite3.Connection) -> bytes | None:
            probes = [row[0] for row in db.execute(select, (description,))]
            same = next((p for p in probes if _same_probe(p, probe)), None)
            return None if same is None else content_key(description, same)

        with self._database.connection() as db:
            digest = known(db)
        if digest is not None:
            return digest
        digest = content_key(description, probe.tobytes())
        try:
            with self._database.transaction() as db:
                # Another process may have come first.
                if (other := known(db)) is not None:
                    return other
                row = (_number(digest), description, probe.tobytes())
                db.execute("INSERT OR REPLACE INTO identities VALUES (?, ?, ?)", row)
        except FeatureCacheError as error:
            self._stop_storing(error)
        return digest

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
        with self._database.connection() as db:
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
            with (
                contextlib.suppress(FeatureCacheError),
                self._database.transaction() as db,
            ):
                if lost:
                    drop(db, lost)
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
            self._stop_storing(error)

    def as_stored(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Round features to what :meth:`read` returns once they are stored.

        With that, results do not depend on what was in the cache before.
        """
        if self.dtype == "float32":
            return features
        halves, fits = _to_half(features)
        return np.where(fits[:, None], halves.astype(np.float32), features)

    def claims(self) -> Claims:
        """Who computes what of this backbone, for one pass over images."""
        return Claims(self.folder, self._identity)

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
        with self._database.connection() as db:
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
        with self._database.transaction() as db:
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
                evict(db, self.max_bytes)

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

    def _stop_storing(self, reason: FeatureCacheError) -> None:
        self._storing = False
        warnings.warn(
            f"Newly computed features are not stored. {reason}",
            FeatureCacheWarning,
            stacklevel=3,
        )


def _number(digest: bytes) -> int:
    """Number of an identity in the file."""
    return int.from_bytes(digest[:8], "big", signed=True)


def _same_probe(stored: object, probe: NDArray[np.float32]) -> bool:
    """Whether a stored probe holds these features, up to rounding."""
    if not isinstance(stored, bytes) or len(stored) != probe.nbytes:
        return False  # of a damaged file
    other = np.frombuffer(stored, dtype="<f4").reshape(probe.shape)
    finite = np.isfinite(probe)
    if (finite != np.isfinite(other)).any():
        return False
    a, b = probe[finite].astype(np.float64), other[finite].astype(np.float64)
    return bool(np.abs(a - b).sum() <= _SAME_PROBE * np.abs(b).sum())


def _to_half(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Features as float16, and the samples of which no value has overflowed."""
    with np.errstate(over="ignore"):
        halves = features.astype("<f2")
    return halves, ~(np.isinf(halves) & np.isfinite(features)).any(axis=1)
