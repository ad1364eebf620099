"""The file: killed writers, full disks, locks, and what is refused."""

import os
import signal
import sqlite3
import warnings
from pathlib import Path

import pytest
from features.caching import (
    WIDTH,
    check,
    database,
    execute,
    finish,
    make,
    posix_only,
    put,
    read,
    script,
    size_of,
)

from sklearn_turn.exceptions import FeatureCacheError, FeatureCacheWarning
from sklearn_turn.features import database as database_module


def test_refuses_a_file_as_folder(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(
        FeatureCacheError, match=r"file.*cannot be read or written.*memory to"
    ):
        make(path)


@pytest.fixture
def make_read_only(monkeypatch):
    """Make all files read-only, also for a superuser."""

    def forbid():
        connect = sqlite3.connect
        monkeypatch.setattr(
            sqlite3,
            "connect",
            lambda path, **options: connect(
                f"file:{path}?mode=ro", uri=True, **options
            ),
        )

    return forbid


def test_a_read_only_cache_is_read(tmp_path, make_read_only):
    put(make(tmp_path), range(10))
    make_read_only()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache = make(tmp_path, max_bytes=1 << 20)
        assert check(cache, range(10)).all()
    with pytest.warns(FeatureCacheWarning, match=r"not stored.*readonly") as caught:
        put(cache, range(20))
    assert str(cache.folder) in str(caught[0].message)
    put(cache, range(20))
    assert check(cache, range(20)).tolist() == [True] * 10 + [False] * 10


def test_a_read_only_cache_of_other_backbones(tmp_path, make_read_only):
    put(make(tmp_path), range(10))
    make_read_only()
    with pytest.warns(FeatureCacheWarning, match=r"not stored.*readonly"):
        cache = make(tmp_path, identity="another")
    put(cache, range(10))
    assert not check(cache, range(10)).any()


def test_a_read_only_folder_without_a_cache_is_refused(tmp_path, make_read_only):
    make_read_only()
    with pytest.raises(FeatureCacheError, match=r"cannot be read or written"):
        make(tmp_path)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind here"
)
@pytest.mark.parametrize("file_too", [False, True])
def test_a_folder_without_write_permission_is_read(tmp_path, file_too):
    cache = make(tmp_path)
    put(cache, range(10))
    database(cache).chmod(0o400 if file_too else 0o600)
    cache.folder.chmod(0o500)
    try:
        assert check(make(tmp_path), range(10)).all()
        with pytest.warns(FeatureCacheWarning, match="not stored"):
            put(make(tmp_path), range(20))
    finally:
        cache.folder.chmod(0o700)


@posix_only
def test_killed_anywhere(tmp_path):
    cache = make(tmp_path)
    for attempt in range(3):
        writer = script(
            f"""
            folder = {str(tmp_path)!r}
            cache = make(folder, width={WIDTH})
            for start in range(0, 10**7, 100):
                numbers = range(start, start + 100)
                cache.write(keys_of(numbers), features_of(numbers))
                if start == 1000 * {attempt}:
                    print("under way", flush=True)
            """
        )
        assert writer.stdout.readline() == "under way\n"
        writer.kill()
        writer.communicate()
        assert writer.returncode == -signal.SIGKILL
        found = check(cache, range(20_000))
        assert found[: 1000 * attempt].all()
        # Whole calls are there or absent.
        assert set(found.reshape(-1, 100).mean(axis=1)) <= {0.0, 1.0}
        assert execute(cache, "PRAGMA integrity_check") == [("ok",)]
        put(cache, [-1 - attempt])
        assert check(cache, [-1 - attempt]).all()


@posix_only
def test_killed_before_the_commit(tmp_path):
    cache = make(tmp_path, width=1024)
    put(cache, range(10), 1024)
    # More than SQLite's page cache: part of it is in the file before the commit.
    writer = script(
        f"""
        import os, signal
        cache = make({str(tmp_path)!r}, width=1024)
        write_pack = FeatureCache._write_pack
        def write_and_die(self, *args):
            write_pack(self, *args)
            os.kill(os.getpid(), signal.SIGKILL)
        FeatureCache._write_pack = write_and_die
        cache.write(keys_of(range(1000)), features_of(range(1000), 1024))
        """
    )
    finish(writer, -signal.SIGKILL)
    journal = Path(f"{database(cache)}-journal")
    assert journal.stat().st_size > 0
    found = check(cache, range(1000), 1024)
    assert found[:10].all()
    assert not found[10:].any()
    assert not journal.exists()
    put(cache, range(1000), 1024)
    assert check(cache, range(1000), 1024).all()


@posix_only
def test_full_disk_warns_once_and_keeps_what_there_is(tmp_path):
    cache = make(tmp_path)
    put(cache, range(100))
    limit = size_of(cache) + 50_000
    process = script(
        f"""
        import resource, warnings
        cache = make({str(tmp_path)!r}, width={WIDTH})
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for start in range(100, 3000, 100):
                numbers = range(start, start + 100)
                cache.write(keys_of(numbers), features_of(numbers))
        for warning in caught:
            print(warning.category.__name__, warning.message)
        out = np.empty((100, {WIDTH}), dtype=np.float32)
        assert cache.read(keys_of(range(100)), out).all()
        assert (out == features_of(range(100))).all()
        """
    )
    (line,) = finish(process).splitlines()
    assert line.startswith(
        "FeatureCacheWarning Newly computed features are not stored."
    )
    assert str(cache.folder) in line
    found = check(cache, range(3000))
    assert 100 <= found.sum() < 3000
    put(cache, range(3000))
    assert check(cache, range(3000)).all()


def test_a_lock_that_is_never_released(tmp_path, monkeypatch):
    cache = make(tmp_path)
    put(cache, [1])
    monkeypatch.setattr(database_module, "_PATIENCE", 0.01)
    db = sqlite3.connect(database(cache), isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with pytest.warns(FeatureCacheWarning, match="are not stored.*locked"):
        put(cache, [2])
    put(cache, [2])
    with pytest.raises(
        FeatureCacheError, match="cannot be read or written: database is locked"
    ):
        read(cache, [1])
    with pytest.raises(
        FeatureCacheError, match="cannot be read or written: database is locked"
    ):
        make(tmp_path)
    db.close()
    assert check(cache, [1, 2]).tolist() == [True, False]


def test_folder_deleted_under_way(tmp_path):
    cache = make(tmp_path)
    put(cache, [1])
    database(cache).unlink()
    # A new file is made.
    assert not check(cache, [1]).any()
    put(cache, [1])
    assert check(cache, [1]).all()
    database(cache).unlink()
    cache.folder.rmdir()
    with pytest.raises(FeatureCacheError, match="cannot be read or written"):
        read(cache, [1])
    with pytest.warns(FeatureCacheWarning, match="are not stored"):
        put(cache, [1])


def test_a_file_of_the_first_format_is_refused(tmp_path):
    cache = make(tmp_path)
    database(cache).unlink()
    for statement in (
        "CREATE TABLE identities (identity INTEGER PRIMARY KEY, description TEXT)",
        "PRAGMA application_id = 0x7475726e",
        "PRAGMA user_version = 1",
    ):
        execute(cache, statement)
    before = database(cache).read_bytes()
    with pytest.raises(FeatureCacheError, match=r"format 1,.*Delete this") as error:
        make(tmp_path)
    assert str(cache.folder) in str(error.value)
    assert database(cache).read_bytes() == before


def test_another_version_is_refused(tmp_path):
    cache = make(tmp_path)
    put(cache, [1])
    execute(cache, "PRAGMA user_version = 99")
    with pytest.raises(FeatureCacheError, match=r"format 99.*Delete this") as error:
        make(tmp_path)
    assert str(cache.folder) in str(error.value)
    # Also by those who had opened it before.
    with pytest.raises(FeatureCacheError, match="format 99"):
        read(cache, [1])
    with pytest.warns(FeatureCacheWarning, match="format 99"):
        put(cache, [2])


def test_a_database_of_something_else_is_refused(tmp_path):
    cache = make(tmp_path)
    database(cache).unlink()
    execute(cache, "CREATE TABLE features (x)")
    with pytest.raises(FeatureCacheError, match="is not a feature cache"):
        make(tmp_path)
    assert execute(cache, "SELECT name FROM sqlite_master") == [("features",)]


def test_something_else_than_a_database_is_refused(tmp_path):
    cache = make(tmp_path)
    database(cache).write_bytes(b"no database at all" * 1000)
    with pytest.raises(FeatureCacheError, match=r"damaged.*Delete this") as error:
        make(tmp_path)
    assert str(cache.folder) in str(error.value)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, share):
    cache = make(tmp_path)
    put(cache, range(500))
    os.truncate(database(cache), int(share * size_of(cache)))
    with pytest.raises(FeatureCacheError, match="damaged"):
        check(make(tmp_path), range(500))


def test_an_empty_file_is_a_new_cache(tmp_path):
    cache = make(tmp_path)
    put(cache, [1])
    os.truncate(database(cache), 0)
    cache = make(tmp_path)
    assert not check(cache, [1]).any()
    put(cache, [1])
    assert check(cache, [1]).all()
