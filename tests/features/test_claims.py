"""Passes that meet the same images at the same time compute each of them once."""

import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from torch import nn

from sklearn_turn import FeatureExtractor
from sklearn_turn.exceptions import FeatureCacheWarning
from sklearn_turn.features import claims as module
from sklearn_turn.features.claims import Claims

KEYS = [bytes([i]) * 16 for i in range(10)]


@pytest.fixture
def passes(tmp_path):
    """Makes passes that share a store."""
    return lambda identity=7: Claims(tmp_path, identity)


def test_a_pass_claims_what_no_other_computes(passes):
    with passes() as first, passes() as second:
        assert first.take(KEYS[:6]).all()
        np.testing.assert_array_equal(second.take(KEYS[3:]), np.arange(3, 10) >= 6)
        assert first.take(KEYS[:6]).all()  # its own, still
        first.release(KEYS[:4])
        np.testing.assert_array_equal(second.take(KEYS[3:6]), [True, False, False])


def test_backbones_have_nothing_to_do_with_each_other(passes):
    with passes() as first, passes(identity=-8) as second:
        assert first.take(KEYS).all()
        assert second.take(KEYS).all()


def test_the_end_of_a_pass_frees_its_claims_in_whatever_way(passes):
    with pytest.raises(MemoryError), passes() as first:
        first.take(KEYS)
        raise MemoryError
    with passes() as second:
        assert second.take(KEYS).all()


def in_thread(wait, keys):
    thread = threading.Thread(target=wait, args=(keys,), daemon=True)
    thread.start()
    return thread


def test_waiting_ends_when_the_keys_are_free(passes):
    with passes() as first, passes() as second:
        first.take(KEYS[:5])
        second.wait(KEYS[5:])  # at once
        waiting = in_thread(second.wait, KEYS[:2])
        first.release(KEYS[1:])
        time.sleep(0.1)
        assert waiting.is_alive()
        first.release(KEYS[:1])
        waiting.join(10)
        assert not waiting.is_alive()


def owned_by(claims, host, pid):
    claims._owner = f"{host}:{pid}:0"
    return claims


def test_what_a_killed_process_had_claimed_is_free(passes):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    owned_by(passes(), socket.gethostname(), done.pid).take(KEYS)
    with passes() as second:
        assert not second.take(KEYS).any()
        second.wait(KEYS)
        assert second.take(KEYS).all()


def test_a_process_of_another_machine_is_heard(passes, monkeypatch):
    """It may take its time as long as it gives signs of life."""
    monkeypatch.setattr(module, "_PATIENCE", 4.0)
    elsewhere = owned_by(passes(), "elsewhere", 1)
    elsewhere.take(KEYS)
    with passes() as second:
        waiting = in_thread(second.wait, KEYS)
        for _ in range(12):
            time.sleep(0.5)
            elsewhere.release([])
        assert waiting.is_alive()
        waiting.join(30)
        assert not waiting.is_alive()
        assert second.take(KEYS).all()


@pytest.mark.parametrize("content", [b"no database at all, but some text", None])
def test_without_claims_everything_is_computed(tmp_path, content):
    """A damaged file, which is made anew; or a folder that is gone."""
    folder = tmp_path / "store"
    if content is not None:
        folder.mkdir()
        (folder / "claims.sqlite3").write_bytes(content * 100)
    with Claims(folder, 7) as claims:
        assert claims.take(KEYS).all()
        claims.release(KEYS)
        claims.wait(KEYS)
    if content is not None:
        with Claims(folder, 7) as first, Claims(folder, 7) as second:
            assert first.take(KEYS).all()
            assert not second.take(KEYS).any()


class Slow(nn.Module):
    """Counts images, and lets no batch through before it is told to."""

    seen, let_through = 0, threading.Event()

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)

    def forward(self, images):
        if len(images) > 2:  # not those that tell backbones apart
            Slow.seen += len(images)
            assert Slow.let_through.wait(30)
        return self.pool(images).flatten(1)


def transformed_at_once(parts, memory):
    """Features of several sets of images, in as many threads."""
    extractors = [FeatureExtractor(Slow, input_size=8, memory=memory) for _ in parts]
    results = [None] * len(parts)

    def work(i):
        results[i] = extractors[i].transform(parts[i])

    for extractor, part in zip(extractors, parts, strict=True):
        extractor.fit(part)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.fixture
def at_once(monkeypatch):
    """Nothing is computed before two passes have claimed their part."""
    Slow.seen, taken = 0, []
    Slow.let_through.clear()
    take = Claims.take

    def announce(self, keys):
        claimed = take(self, keys)
        taken.append(self)
        if len(taken) == 2:
            Slow.let_through.set()
        return claimed

    monkeypatch.setattr(Claims, "take", announce)


def test_overlapping_folds_pass_once(tmp_path, images, at_once):
    X = images.X  # 60 images, all different
    first, second = transformed_at_once([X[:40], X[20:]], tmp_path)
    assert Slow.seen == 60
    np.testing.assert_array_equal(first[20:], second[:20])
    alone = FeatureExtractor(Slow, input_size=8).fit_transform(X)
    np.testing.assert_array_equal(first, alone[:40])
    np.testing.assert_array_equal(second, alone[20:])


def test_a_full_disk_leaves_nobody_waiting(tmp_path, images, at_once, monkeypatch):
    """What the first pass could not store, the second computes itself."""
    from sklearn_turn.exceptions import FeatureCacheError
    from sklearn_turn.features.store import FeatureCache

    def full(self, keys, features):
        raise FeatureCacheError("disk full")

    monkeypatch.setattr(FeatureCache, "_write", full)
    with pytest.warns(FeatureCacheWarning, match="not stored"):
        first, second = transformed_at_once([images.X, images.X], tmp_path)
    np.testing.assert_array_equal(first, second)
    assert Slow.seen == 120
