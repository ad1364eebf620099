"""Caches whose every feature follows from its key's number, in every process."""

import os
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sklearn_turn import FeatureMemory
from sklearn_turn.features.store import FeatureCache
from sklearn_turn.inputs.keys import content_key

WIDTH = 24
UNTOUCHED = 7.0
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def keys_of(numbers):
    return [content_key(str(number)) for number in numbers]


def features_of(numbers, width=WIDTH):
    numbers = np.asarray(numbers, dtype=np.float32)
    return np.sin(numbers[:, None] + np.arange(width, dtype=np.float32))


def make(folder, identity="a backbone", width=WIDTH, probe=None, **options):
    probe = features_of([1, 2], width) if probe is None else probe
    memory = FeatureMemory(folder, **options)
    return FeatureCache(memory, identity=identity, probe=probe, width=width)


def count(cache):
    """Samples that are stored of the cache's backbone."""
    query = "SELECT count(*) FROM samples WHERE identity = ?"
    with cache._database.connection() as db:
        return db.execute(query, (cache._identity,)).fetchone()[0]


def size_of(cache):
    """Bytes of the file, all backbones together."""
    return cache._database.file.stat().st_size


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
    """Start a Python process; ``body`` knows these helpers."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from features.caching import *\n" + textwrap.dedent(body),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, returncode=0):
    out, err = process.communicate(timeout=300)
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
