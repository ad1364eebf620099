"""Damage is noticed: no wrong feature is ever read."""

import random
from pathlib import Path

import numpy as np
import pytest
from features.caching import (
    check,
    count,
    database,
    execute,
    features_of,
    keys_of,
    make,
    put,
)

from sklearn_turn.exceptions import FeatureCacheError, FeatureCacheWarning
from sklearn_turn.features import store


def assert_repaired(cache, damaged):
    """One pack is bad: named, not used, stored again, and good from then on."""
    with pytest.warns(FeatureCacheWarning, match="1 damaged pack") as caught:
        found = check(cache, range(200))
    assert str(cache.folder) in str(caught[0].message)
    np.testing.assert_array_equal(~found, np.isin(range(200), damaged))
    assert not check(cache, damaged).any()
    put(cache, range(200))
    assert count(cache) == 200
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
    execute(two_packs, "UPDATE samples SET pack = 3 WHERE pack = 2")
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
            patch.setattr(store.warnings, "warn", lambda *args, **kwargs: None)
            try:
                outcomes.add(bool(check(make(tmp_path), range(200)).all()))
            except FeatureCacheError:
                outcomes.add("refused")
    # All three ways out have been taken.
    assert outcomes == {True, False, "refused"}
