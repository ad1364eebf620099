from __future__ import annotations

import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest

from sklearn_turn.exceptions import FeatureCacheError, FeatureCacheWarning
from sklearn_turn.features import store as _feature_cache
from sklearn_turn.features.store import FeatureCache, open_cache
from sklearn_turn.inputs.keys import content_key, file_key

WIDTH = 24
UNTOUCHED = 7.0
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

# Every feature follows from its key's number, in every process.
SHARED = f"""
import numpy as np
from sklearn_turn.features.store import FeatureCache
from sklearn_turn.inputs.keys import content_key

def keys_of(numbers):
    return [content_key(str(number)) for number in numbers]

def features_of(numbers, width={WIDTH}):
    numbers = np.asarray(numbers, dtype=np.float32)
    return np.sin(numbers[:, None] + np.arange(width, dtype=np.float32))
"""
_shared: dict = {}
exec(SHARED, _shared)
keys_of, features_of = _shared["keys_of"], _shared["features_of"]


def make(folder, identity="a backbone", width=WIDTH, **options):
    return FeatureCache(folder, identity=identity, width=width, **options)


def read(cache, numbers, width=WIDTH):
    out = np.full((len(numbers), width), UNTOUCHED, dtype=np.float32)
    return cache.read(keys_of(numbers), out), out


def put(cache, numbers, width=WIDTH):
    cache.write(keys_of(numbers), features_of(numbers, width))


def check(cache, numbers, width=WIDTH):
    """Which features are there; those that are must be right."""
    found, out = read(cache, numbers, width)
    np.testing.assert_array_equal(out[found], features_of(numbers, width)[found])
    assert (out[~found] == UNTOUCHED).all()
    return found


def script(body):
    """Start a Python process; ``body`` follows the helpers above."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", SHARED + textwrap.dedent(body)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, returncode=0):
    out, err = process.communicate(timeout=60)
    assert process.returncode == returncode, err
    return out


def database(cache):
    return cache.folder / "features.sqlite3"


def execute(cache, *statement):
    db = sqlite3.connect(database(cache))
    with db:
        rows = db.execute(*statement).fetchall()
    db.close()
    return rows


def test_content_key_tells_apart_value_type_and_shape():
    image = np.arange(12, dtype=np.uint8).reshape(2, 6)
    other = image.copy()
    other[1, 5] += 1
    different = [image, other, image.reshape(3, 4), image.view(np.int8)]
    different += [image.astype(np.uint16), image.T, image.tobytes()]
    different += [str(image.tobytes()), np.zeros(0), np.zeros((0, 3)), np.float32(0)]
    keys = {content_key(item) for item in different}
    assert len(keys) == len(different)
    assert {len(key) for key in keys} == {16}


def test_content_key_ignores_memory_layout():
    image = np.random.default_rng(0).random((4, 5, 3))
    assert content_key(np.asfortranarray(image)) == content_key(image)
    padded = np.zeros((8, 5, 3))
    padded[::2] = image
    assert content_key(padded[::2]) == content_key(image)


def test_content_key_keeps_parts_apart():
    parts = [("ab", "c"), ("a", "bc"), ("abc",), (b"ab", b"c"), ("ab", "c", "")]
    assert len({content_key(*p) for p in parts}) == len(parts)


def test_content_key_refuses_objects():
    with pytest.raises(TypeError, match="object"):
        content_key(np.array([object()]))


def test_file_key_follows_path_size_and_time(tmp_path, monkeypatch):
    path = tmp_path / "image.jpg"
    path.write_bytes(b"one")
    os.utime(path, ns=(0, 10**18))
    key = file_key(path)
    assert key == file_key(str(path))
    monkeypatch.chdir(tmp_path)
    assert key == file_key("image.jpg")

    os.utime(path, ns=(0, 10**18 + 10**6))
    assert file_key(path) != key
    path.write_bytes(b"four")
    os.utime(path, ns=(0, 10**18))
    assert file_key(path) != key
    twin = tmp_path / "twin.jpg"
    twin.write_bytes(b"one")
    os.utime(twin, ns=(0, 10**18))
    assert file_key(twin) != key


def test_file_key_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        file_key(tmp_path / "nowhere.jpg")


def test_float32_comes_back_bit_by_bit(tmp_path):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, (300, WIDTH), dtype=np.uint32)
    features = bits.view(np.float32)
    features[0, :4] = np.nan, np.inf, -0.0, 1e-45
    keys = keys_of(range(300))
    make(tmp_path).write(keys, features)
    out = np.empty_like(features)
    assert make(tmp_path).read(keys, out).all()
    np.testing.assert_array_equal(out.view(np.uint32), features.view(np.uint32))


def test_float16_rounds_and_halves_the_file(tmp_path):
    features = features_of(range(2000), 96)
    sizes = {}
    for dtype in ("float16", "float32"):
        cache = make(tmp_path / dtype, width=96, dtype=dtype)
        cache.write(keys_of(range(2000)), features)
        found, out = read(cache, range(2000), 96)
        assert found.all()
        np.testing.assert_allclose(out, features, rtol=2**-11, atol=2**-25)
        np.testing.assert_array_equal(out, cache.as_stored(features))
        sizes[dtype] = cache.nbytes
    assert sizes["float16"] < 0.7 * sizes["float32"]


def test_float16_keeps_what_overflows_it(tmp_path):
    features = features_of(range(6))
    features[1, 3] = 70000.1
    features[2, 0] = -3e38
    features[3, 5] = np.inf
    features[4, 5] = np.nan
    features[5, 5] = 65504
    cache = make(tmp_path, dtype="float16")
    cache.write(keys_of(range(6)), features)
    found, out = read(cache, range(6))
    assert found.all()
    np.testing.assert_array_equal(out[1:3], features[1:3])
    np.testing.assert_array_equal(out[3:, 5], features[3:, 5])
    np.testing.assert_array_equal(out, cache.as_stored(features))
    np.testing.assert_array_equal(cache.as_stored(out), out)


def test_reads_in_any_order_and_as_often_as_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(_feature_cache, "_PACK_BYTES", 50 * 4 * WIDTH)
    cache = make(tmp_path)
    put(cache, range(0, 2000, 2))
    numbers = random.Random(0).choices(range(2000), k=3000)
    found = check(cache, numbers)
    np.testing.assert_array_equal(found, np.array(numbers) % 2 == 0)


def test_nothing_to_read_or_write(tmp_path):
    cache = make(tmp_path)
    nothing = np.empty((0, WIDTH), dtype=np.float32)
    assert cache.read([], nothing).shape == (0,)
    cache.write([], nothing)
    assert len(cache) == 0
    assert not check(cache, range(5)).any()


def test_duplicates_are_stored_once(tmp_path):
    cache = make(tmp_path)
    put(cache, [3, 1, 3, 3, 1])
    assert len(cache) == 2
    size = cache.nbytes
    for _ in range(20):
        put(cache, [1, 3])
    assert cache.nbytes == size
    assert check(cache, [1, 3]).all()


def test_what_is_stored_stays(tmp_path):
    cache = make(tmp_path)
    put(cache, [1, 2])
    cache.write(keys_of([2, 3]), features_of([9, 3]))
    assert check(cache, [1, 2, 3]).all()


def test_keys_with_zero_bytes(tmp_path):
    keys = [bytes(16), bytes(15) + b"a", b"a" + bytes(15), b"a" * 15 + b"\0"]
    cache = make(tmp_path)
    cache.write(keys, features_of(range(4)))
    out = np.empty((4, WIDTH), dtype=np.float32)
    assert cache.read(keys, out).all()
    np.testing.assert_array_equal(out, features_of(range(4)))
    cache.write(keys, features_of(range(4)))
    assert len(cache) == 4


@pytest.mark.parametrize("shape", [(3, WIDTH), (2, WIDTH + 1), (2,)])
def test_refuses_other_shapes(tmp_path, shape):
    cache = make(tmp_path)
    array = np.zeros(shape, dtype=np.float32)
    with pytest.raises(ValueError, match="2 samples"):
        cache.write(keys_of([1, 2]), array)
    with pytest.raises(ValueError, match="2 samples"):
        cache.read(keys_of([1, 2]), array)


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "another"},
        {"identity": {"name": "a backbone"}},
        {"width": WIDTH + 1},
        {"dtype": "float16"},
    ],
)
def test_other_backbones_have_their_own_features(tmp_path, change):
    mine, other = make(tmp_path), make(tmp_path, **change)
    put(mine, range(50))
    assert len(other) == 0
    assert not check(other, range(50), other.width).any()
    put(other, range(10), other.width)
    mine.clear()
    assert not check(mine, range(50)).any()
    assert len(other) == 10


def test_identity_ignores_the_order_of_its_entries(tmp_path):
    put(make(tmp_path, {"name": "vit", "size": 224}), [1])
    assert check(make(tmp_path, {"size": 224, "name": "vit"}), [1]).all()


def test_clear_shrinks_the_file(tmp_path):
    cache = make(tmp_path)
    empty = cache.nbytes
    put(cache, range(3000))
    assert cache.nbytes > 3000 * WIDTH * 4
    cache.clear()
    assert len(cache) == 0
    assert cache.nbytes <= 2 * empty


def test_open_cache(tmp_path):
    options = {"identity": "a backbone", "width": WIDTH}
    assert open_cache(None, **options) is None
    assert open_cache(joblib.Memory(None, verbose=0), **options) is None
    put(open_cache(joblib.Memory(tmp_path, verbose=0), **options), [1])
    assert check(open_cache(str(tmp_path), **options), [1]).all()
    assert check(open_cache(tmp_path, **options), [1]).all()


@pytest.mark.parametrize("memory", [3, joblib.Memory(None, verbose=0)])
def test_refuses_what_is_no_folder(memory):
    with pytest.raises(TypeError, match="memory must be a folder"):
        make(memory)


def test_refuses_a_bound_too_small(tmp_path):
    with pytest.raises(ValueError, match="max_bytes=1000"):
        make(tmp_path, max_bytes=1000)


def test_refuses_an_identity_that_changes_with_the_process(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        make(tmp_path, {"backbone": object()})


def test_refuses_a_file_as_folder(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(FeatureCacheError, match=r"file.*cannot be used.*memory to"):
        make(path)


def test_refuses_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    # By hand, as permissions do not bind a superuser.
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(FeatureCacheError, match="permission denied") as error:
        make(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind here"
)
def test_refuses_a_read_only_folder(tmp_path):
    folder = make(tmp_path).folder
    folder.chmod(0o500)
    try:
        with pytest.raises(FeatureCacheError, match="cannot be used"):
            make(tmp_path)
    finally:
        folder.chmod(0o700)


def test_pickled_cache_goes_on_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = make("relative", max_bytes=1 << 24)
    put(cache, [1])
    data = pickle.dumps(cache)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    copy = pickle.loads(data)
    assert check(copy, [1]).all()
    put(copy, [2])
    assert check(cache, [1, 2]).all()


@posix_only
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_cache(tmp_path):
    cache = make(tmp_path)
    put(cache, range(10))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert check(cache, range(10)).all()
            put(cache, range(10, 20))
            status = 0
        finally:
            os._exit(status)
    put(cache, range(20, 30))
    assert os.waitpid(child, 0)[1] == 0
    assert check(cache, range(30)).all()


def test_threads(tmp_path):
    cache = make(tmp_path)
    failures = []

    def work(seed):
        try:
            for block in np.random.default_rng(seed).permutation(200).reshape(10, 20):
                check(cache, block.tolist())
                put(cache, block.tolist())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(cache) == 200
    assert check(cache, range(200)).all()


WORKER = """
cache = FeatureCache({folder!r}, identity="a backbone", width={width})
rng = np.random.default_rng({seed})
for block in np.array_split(rng.permutation(800), 16):
    numbers = block.tolist()
    out = np.full((len(numbers), {width}), 7, dtype=np.float32)
    found = cache.read(keys_of(numbers), out)
    right = features_of(numbers)
    assert (out[found] == right[found]).all()
    cache.write(keys_of(numbers), right)
    assert cache.read(keys_of(numbers), out).all()
    assert (out == right).all()
"""


def test_processes_that_read_and_write_at_once(tmp_path):
    # The file itself is made by whichever comes first.
    workers = [
        script(WORKER.format(folder=str(tmp_path), width=WIDTH, seed=seed))
        for seed in range(4)
    ]
    for worker in workers:
        finish(worker)
    cache = make(tmp_path)
    assert len(cache) == 800
    assert check(cache, range(800)).all()
    assert execute(cache, "PRAGMA integrity_check") == [("ok",)]


@posix_only
def test_killed_anywhere(tmp_path):
    cache = make(tmp_path)
    for attempt in range(3):
        writer = script(
            f"""
            folder = {str(tmp_path)!r}
            cache = FeatureCache(folder, identity="a backbone", width={WIDTH})
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
        cache = FeatureCache({str(tmp_path)!r}, identity="a backbone", width=1024)
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
    limit = cache.nbytes + 50_000
    process = script(
        f"""
        import resource, warnings
        cache = FeatureCache({str(tmp_path)!r}, identity="a backbone", width={WIDTH})
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
    assert line.startswith("FeatureCacheWarning Features are no longer stored.")
    assert str(cache.folder) in line
    found = check(cache, range(3000))
    assert 100 <= found.sum() < 3000
    put(cache, range(3000))
    assert check(cache, range(3000)).all()


def test_a_lock_that_is_never_released(tmp_path, monkeypatch):
    cache = make(tmp_path)
    put(cache, [1])
    monkeypatch.setattr(_feature_cache, "_PATIENCE", 0.01)
    db = sqlite3.connect(database(cache), isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with pytest.warns(FeatureCacheWarning, match="no longer stored.*locked"):
        put(cache, [2])
    put(cache, [2])
    with pytest.raises(FeatureCacheError, match="cannot be used: database is locked"):
        read(cache, [1])
    with pytest.raises(FeatureCacheError, match="cannot be used: database is locked"):
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
    with pytest.raises(FeatureCacheError, match="cannot be used"):
        read(cache, [1])
    with pytest.warns(FeatureCacheWarning, match="no longer stored"):
        put(cache, [1])


def test_bound_holds_and_the_latest_stay(tmp_path):
    bound = 2 << 20
    cache = make(tmp_path, width=256, max_bytes=bound)
    for start in range(0, 6_000, 250):
        put(cache, range(start, start + 250), 256)
        assert cache.nbytes <= bound
        assert check(cache, range(start, start + 250), 256).all()
    kept = check(cache, range(6_000), 256)
    assert len(cache) == kept.sum()
    # The bound is used, and what went is what came first.
    assert kept.sum() * 1024 > 0.6 * bound
    assert kept[np.argmax(kept) :].all()


def test_reading_keeps_features(tmp_path):
    cache = make(tmp_path, width=256, max_bytes=2 << 20)
    put(cache, range(250), 256)
    for start in range(1000, 5000, 250):
        put(cache, range(start, start + 250), 256)
        assert check(cache, range(250), 256).all()
    assert not check(cache, range(1000, 1250), 256).any()


def test_one_call_larger_than_the_bound(tmp_path):
    cache = make(tmp_path, width=256, max_bytes=1 << 20)
    put(cache, range(5000), 256)
    assert cache.nbytes <= 1 << 20
    assert check(cache, range(5000), 256)[-100:].all()


def test_a_lower_bound_shrinks_the_file(tmp_path):
    put(make(tmp_path, "another", width=256), range(3000), 256)
    cache = make(tmp_path, width=256, max_bytes=1 << 20)
    assert cache.nbytes > 3 << 20
    put(cache, range(10), 256)
    assert cache.nbytes <= 1 << 20
    assert check(cache, range(10), 256).all()


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
    with pytest.raises(FeatureCacheError, match="is no feature cache"):
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
    os.truncate(database(cache), int(share * cache.nbytes))
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


def assert_repaired(cache, damaged):
    """One pack is bad: named, not used, stored again, and good from then on."""
    with pytest.warns(FeatureCacheWarning, match="1 damaged pack") as caught:
        found = check(cache, range(200))
    assert str(cache.folder) in str(caught[0].message)
    np.testing.assert_array_equal(~found, np.isin(range(200), damaged))
    assert not check(cache, damaged).any()
    put(cache, range(200))
    assert len(cache) == 200
    assert check(cache, range(200)).all()


@pytest.fixture
def two_packs(tmp_path):
    cache = make(tmp_path)
    put(cache, range(100))
    put(cache, range(100, 200))
    return cache


def test_a_flipped_bit_in_the_features(two_packs):
    content = bytearray(database(two_packs).read_bytes())
    # A value that only the second pack has, amid its features.
    at = content.index(features_of([150])[0].tobytes()[:16])
    content[at + 1] ^= 4
    database(two_packs).write_bytes(content)
    assert_repaired(two_packs, range(100, 200))


@pytest.mark.parametrize(
    "change",
    [
        "features = zeroblob(length(features))",
        "features = substr(features, 1, length(features) - 4)",
        "features = x''",
        "features = NULL",
        "features = 'text'",
        "keys = substr(keys, 1, length(keys) - 16)",
        "keys = 3",
        "crc = crc + 1",
        "crc = NULL",
    ],
)
def test_a_damaged_pack(two_packs, change):
    execute(two_packs, f"UPDATE packs SET {change} WHERE pack = 2")
    assert_repaired(two_packs, range(100, 200))


@pytest.mark.parametrize("change", ["row = row + 1", "row = -101", "row = 100000"])
def test_a_sample_that_points_astray(two_packs, change):
    execute(two_packs, f"UPDATE samples SET {change} WHERE pack = 2")
    assert_repaired(two_packs, range(100, 200))


@pytest.mark.parametrize("change", ["row = 'text'", "row = NULL", "pack = 77"])
def test_a_sample_that_points_nowhere(two_packs, change):
    execute(two_packs, f"UPDATE samples SET {change} WHERE pack = 2")
    assert check(two_packs, range(200)).sum() == 100
    put(two_packs, range(200))
    assert check(two_packs, range(200)).all()


def test_a_pack_that_vanished(two_packs):
    execute(two_packs, "DELETE FROM packs WHERE pack = 2")
    assert check(two_packs, range(200)).sum() == 100
    put(two_packs, range(200))
    assert check(two_packs, range(200)).all()


def test_another_backbones_pack_is_not_used(two_packs, tmp_path):
    other = make(tmp_path, "another")
    other.write(keys_of(range(100, 200)), features_of(range(100, 200)) + 1)
    # The samples of this backbone point to the other's pack, which has their keys.
    statement = "UPDATE samples SET pack = 3 WHERE identity = ? AND pack = 2"
    execute(two_packs, statement, (two_packs._identity,))
    assert_repaired(two_packs, range(100, 200))


def test_damage_anywhere_never_gives_a_wrong_feature(two_packs, tmp_path):
    put(make(tmp_path, "another"), range(50))
    good = database(two_packs).read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for _ in range(80):
        content = bytearray(good)
        for _ in range(rng.choice([1, 4, 40])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        database(two_packs).write_bytes(content)
        Path(f"{database(two_packs)}-journal").unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_feature_cache.warnings, "warn", lambda *args, **kwargs: None)
            try:
                outcomes.add(bool(check(make(tmp_path), range(200)).all()))
            except FeatureCacheError:
                outcomes.add("refused")
    # All three ways out have been taken.
    assert outcomes == {True, False, "refused"}
