"""Keys of samples, by content or by file."""

import os

import numpy as np
import pytest

from sklearn_turn.inputs import keys
from sklearn_turn.inputs.keys import content_key, file_key


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


def test_file_key_follows_how_files_are_read(tmp_path, monkeypatch):
    path = tmp_path / "image.jpg"
    path.write_bytes(b"one")
    key = file_key(path)
    monkeypatch.setattr(keys, "_DECODING", keys._DECODING + 1)
    assert file_key(path) != key


def test_file_key_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        file_key(tmp_path / "nowhere.jpg")
