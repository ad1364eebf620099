"""Features come back as they were written, to those they belong to."""

import os
import pickle
import random
import threading

import numpy as np
import pytest
from features.caching import (
    WIDTH,
    check,
    count,
    execute,
    features_of,
    finish,
    keys_of,
    make,
    posix_only,
    put,
    read,
    script,
    size_of,
)

from sklearn_turn.features import store


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
        sizes[dtype] = size_of(cache)
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
    monkeypatch.setattr(store, "_PACK_BYTES", 50 * 4 * WIDTH)
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
    assert count(cache) == 0
    assert not check(cache, range(5)).any()


def test_duplicates_are_stored_once(tmp_path):
    cache = make(tmp_path)
    put(cache, [3, 1, 3, 3, 1])
    assert count(cache) == 2
    size = size_of(cache)
    for _ in range(20):
        put(cache, [1, 3])
    assert size_of(cache) == size
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
    assert count(cache) == 4


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
    assert count(other) == 0
    assert not check(other, range(50), other.width).any()
    put(other, range(10), other.width)
    assert check(mine, range(50)).all()
    assert count(mine) == 50
    assert count(other) == 10


def test_identity_ignores_the_order_of_its_entries(tmp_path):
    put(make(tmp_path, {"name": "vit", "size": 224}), [1])
    assert check(make(tmp_path, {"size": 224, "name": "vit"}), [1]).all()


def test_backbones_with_other_probes_have_their_own_features(tmp_path):
    first = make(tmp_path)
    put(first, range(5))
    rounded = make(tmp_path, probe=features_of([1, 2]) * (1 + 1e-6))
    assert check(rounded, range(5)).all()
    other = make(tmp_path, probe=features_of([1, 2]) + 0.1)
    assert not check(other, range(5)).any()
    assert count(other) == 0 and count(first) == 5


def test_the_first_probe_of_several_that_are_alike_counts(tmp_path):
    probe = features_of([1, 2])
    for i in range(5):
        cache = make(tmp_path, probe=probe * (1 + 1e-6 * i))
        put(cache, range(i, 10))
    assert count(cache) == 10
    assert execute(cache, "SELECT count(*) FROM identities") == [(1,)]


@pytest.mark.parametrize(
    "probe", [np.zeros((2, 24)), np.ones((3, 24)), np.ones((2, 3))]
)
def test_probes_of_other_shapes_and_of_zeros_are_told_apart(probe, tmp_path):
    first = make(tmp_path, probe=np.ones((2, 24), dtype=np.float32))
    put(first, range(5))
    probe = probe.astype(np.float32)
    assert not check(make(tmp_path, probe=probe), range(5)).any()
    put(make(tmp_path, probe=probe), range(3))
    assert count(make(tmp_path, probe=probe)) == 3


def test_a_probe_that_is_not_finite_finds_itself(tmp_path):
    probe = features_of([1, 2])
    probe[0, 3] = np.nan
    put(make(tmp_path, probe=probe), range(3))
    assert check(make(tmp_path, probe=probe), range(3)).all()
    assert not check(make(tmp_path), range(3)).any()


def test_refuses_an_identity_that_changes_with_the_process(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        make(tmp_path, {"backbone": object()})


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
    assert count(cache) == 200
    assert check(cache, range(200)).all()


WORKER = """
cache = make({folder!r}, width={width})
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
    assert count(cache) == 800
    assert check(cache, range(800)).all()
    assert execute(cache, "PRAGMA integrity_check") == [("ok",)]


def test_bound_holds_and_the_latest_stay(tmp_path):
    bound = 2 << 20
    cache = make(tmp_path, width=256, max_bytes=bound)
    for start in range(0, 6_000, 250):
        put(cache, range(start, start + 250), 256)
        assert size_of(cache) <= bound
        assert check(cache, range(start, start + 250), 256).all()
    kept = check(cache, range(6_000), 256)
    assert count(cache) == kept.sum()
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
    assert size_of(cache) <= 1 << 20
    assert check(cache, range(5000), 256)[-100:].all()


def test_a_lower_bound_shrinks_the_file(tmp_path):
    put(make(tmp_path, "another", width=256), range(3000), 256)
    cache = make(tmp_path, width=256, max_bytes=1 << 20)
    assert size_of(cache) > 3 << 20
    put(cache, range(10), 256)
    assert size_of(cache) <= 1 << 20
    assert check(cache, range(10), 256).all()


def test_backbones_of_which_nothing_is_left_are_forgotten(tmp_path):
    bound = 1 << 20
    for i in range(100):
        # Their descriptions alone would be twice the bound.
        cache = make(tmp_path, f"backbone {i}" + 20_000 * " ", max_bytes=bound)
        put(cache, range(200))
        assert size_of(cache) <= bound
        assert check(cache, range(200)).all()
