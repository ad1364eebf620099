"""Who computes which features, so that processes that start together share the pass.

The fits of a search meet the same images at the same time. Each claims what nobody else
is computing, computes that, and waits for the rest. Only time depends on it: where
claims cannot be kept, or are lost, features are computed twice and stored once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

# Seconds without a sign of life after which a process counts as dead. Its own clock
# measures them, as those of several machines differ. Features are stored every half
# minute, or after one batch that takes longer.
_PATIENCE = 180.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, beats INTEGER)",
    "CREATE TABLE IF NOT EXISTS claims (identity INTEGER, key BLOB, owner TEXT, "
    "PRIMARY KEY (identity, key)) WITHOUT ROWID",
)


class Claims:
    """What one pass over images computes, and what it leaves to others.

    A context manager: at its end, in whatever way, the pass claims nothing any more.

    Parameters
    ----------
    folder : Path
        Of the store. Claims are a file of their own, which may be deleted at any time.
    identity : int
        Of the backbone.
    """

    def __init__(self, folder: Path, identity: int):
        self._file = folder / "claims.sqlite3"
        self._identity = identity
        self._has_claimed = False
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._has_claimed:  # nothing to do for what was all stored before
            self._forget([self._owner])

    def take(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Claim what no other pass has claimed.

        Parameters
        ----------
        keys : sequence of bytes
            All different.

        Returns
        -------
        ndarray of shape (len(keys),), bool
            Which of them are ours; all, where claims cannot be kept.
        """
        rows = [(self._identity, key, self._owner) for key in keys]

        def claim(db: sqlite3.Connection) -> set[bytes]:
            db.execute("INSERT OR IGNORE INTO owners VALUES (?, 0)", (self._owner,))
            db.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", rows)
            ours = "SELECT key FROM claims WHERE identity = ? AND owner = ?"
            return {key for (key,) in db.execute(ours, (self._identity, self._owner))}

        self._has_claimed = True
        ours = self._transaction(claim, otherwise=set(keys))
        return np.array([key in ours for key in keys], dtype=np.bool_)

    def release(self, keys: Sequence[bytes]) -> None:
        """Give up what is stored by now, and give a sign of life."""
        rows = [(self._identity, key, self._owner) for key in keys]

        def give_up(db: sqlite3.Connection) -> None:
            beat = "UPDATE owners SET beats = beats + 1 WHERE owner = ?"
            db.execute(beat, (self._owner,))
            db.executemany(
                "DELETE FROM claims WHERE identity = ? AND key = ? AND owner = ?", rows
            )

        self._transaction(give_up, otherwise=None)

    def wait(self, keys: Sequence[bytes]) -> None:
        """Wait until no other pass has claimed any of these keys.

        What a process had claimed that is dead, or gives no sign of life, is free.
        """
        heard: dict[str, tuple[int, float]] = {}
        pause = _FIRST_PAUSE
        while beats := self._claimants(set(keys)):
            now = time.monotonic()
            for owner, beat in beats.items():
                if owner not in heard or heard[owner][0] != beat:
                    heard[owner] = beat, now
            late = [o for o in beats if now - heard[o][1] > _PATIENCE or _is_dead(o)]
            if late:
                self._forget(late)
            else:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _claimants(self, keys: set[bytes]) -> dict[str, int]:
        """Other passes that have claimed some of the keys; their signs of life."""

        def look(db: sqlite3.Connection) -> list[Any]:
            return db.execute(
                "SELECT key, owner, beats FROM claims JOIN owners USING (owner) "
                "WHERE identity = ? AND owner != ?",
                (self._identity, self._owner),
            ).fetchall()

        if not keys:
            return {}
        rows: list[Any] = self._transaction(look, otherwise=[])
        return {owner: beats for key, owner, beats in rows if key in keys}

    def _forget(self, owners: list[str]) -> None:
        rows = [(owner,) for owner in owners]

        def forget(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM claims WHERE owner = ?", rows)
            db.executemany("DELETE FROM owners WHERE owner = ?", rows)

        self._transaction(forget, otherwise=None)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do all of the work and return its result, or nothing of it."""
        try:
            with contextlib.closing(
                sqlite3.connect(self._file, timeout=10.0, isolation_level=None)
            ) as db:
                # What a machine that goes down loses here is of no worth.
                db.execute("PRAGMA synchronous = OFF")
                db.execute("BEGIN IMMEDIATE")
                with db:
                    for statement in _SCHEMA:
                        db.execute(statement)
                    return work(db)
        except sqlite3.Error as error:
            damaged = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            if getattr(error, "sqlite_errorcode", None) in damaged:
                with contextlib.suppress(OSError):
                    self._file.unlink()
            return otherwise


def _is_dead(owner: str) -> bool:
    """Whether a pass was of this machine, and its process is gone."""
    host, pid, _ = owner.split(":")
    if os.name != "posix" or host != socket.gethostname():
        return False  # elsewhere, signal 0 would be one
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
