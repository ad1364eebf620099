"""The file features are stored in.

It is SQLite, from the standard library: one file, with transactions that hold whenever
a process is killed. It is used with a rollback journal, because SQLite's write-ahead
log must not be shared by several machines and fails on some cluster file systems. A
network file system must still have working file locks, as NFS 4 does.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..exceptions import FeatureCacheError

_FORMAT = 2  # To be raised when older files can no longer be read.
_APPLICATION = int.from_bytes(b"turn", "big")
_PATIENCE = 60.0  # Seconds to wait for other processes.

_SCHEMA = (
    "CREATE TABLE identities (identity INTEGER PRIMARY KEY, description TEXT, "
    "probe BLOB)",
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


class Database:
    """The file, and the errors of whoever uses it.

    No connection outlives a block, so this can be pickled, forked and used by several
    threads.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.

    Raises
    ------
    FeatureCacheError
        Here if the folder cannot be made; in blocks if the file cannot be used, is
        damaged, from another version, or not a feature cache.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = folder / "features.sqlite3"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Connect to the file; SQLite's errors become ours."""
        try:
            with contextlib.closing(
                sqlite3.connect(self.file, timeout=_PATIENCE, isolation_level=None)
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
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Connect to write all that the block does, or nothing."""
        with self.connection() as db:
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
            what = f"{self.file.name} is not a feature cache"
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
            f"The feature cache in {self.folder} cannot be read or written: {reason}. "
            "Make the folder readable and writable, free space on the disk, or set "
            "memory to another folder."
        )


def drop(db: sqlite3.Connection, packs: Sequence[tuple[int]]) -> None:
    """Delete packs, with what points to them."""
    db.executemany("DELETE FROM packs WHERE pack = ?", packs)
    db.executemany("DELETE FROM uses WHERE pack = ?", packs)
    db.execute("DELETE FROM samples WHERE pack NOT IN (SELECT pack FROM uses)")


def evict(db: sqlite3.Connection, max_bytes: int) -> None:
    """Drop what was used longest ago until the file fits."""
    limit = max_bytes // _pragma(db, "page_size")
    if _pragma(db, "page_count") <= limit:
        return
    # Backbones of which nothing is left; a random one is never seen again.
    db.execute(
        "DELETE FROM identities WHERE NOT EXISTS "
        "(SELECT 1 FROM samples WHERE samples.identity = identities.identity)"
    )
    # A tenth more than needed: later packs go into the free pages, and nothing moves.
    target = 0.9 * limit
    while (used := _pragma(db, "page_count") - _pragma(db, "freelist_count")) > target:
        (count,) = db.execute("SELECT count(*) FROM uses").fetchone()
        if not count:
            break
        # Fewer than all, so that what was just written stays.
        excess = max(1, int(count * (1 - target / used)))
        by_use = "SELECT pack FROM uses ORDER BY used, pack LIMIT ?"
        drop(db, db.execute(by_use, (excess,)).fetchall())
    _shrink(db, limit)


def _shrink(db: sqlite3.Connection, pages: int) -> None:
    """Give free pages back until ``pages`` are left."""
    # Python takes one step of this statement, which frees one page.
    while _pragma(db, "page_count") > pages and _pragma(db, "freelist_count"):
        db.execute("PRAGMA incremental_vacuum(1)")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
