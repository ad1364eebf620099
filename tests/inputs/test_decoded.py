"""Reading images one at a time, and those that cannot be read."""

from __future__ import annotations

import pickle
import threading
import time
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from inputs.pictures import random_rgb, write_pngs

from sklearn_turn.exceptions import ImageReadError
from sklearn_turn.inputs import (
    DatasetImages,
    ImageFiles,
    as_source,
    raise_if_unreadable,
)
from sklearn_turn.inputs.keys import content_key
from sklearn_turn.inputs.source import Unreadable


class Noted(ImageFiles):
    """Notes at which files it looked."""

    def __init__(self, paths):
        super().__init__(paths)
        self.looked_at = []

    def glance(self, index):
        self.looked_at.append(index)
        super().glance(index)


def test_every_bad_file_is_reported_with_its_reason(damaged):
    paths = [damaged[k] for k in ("missing", "good", "text", "empty", "folder")]
    with pytest.raises(ImageReadError, match="4 of 5 images") as caught:
        as_source(paths)
    bad = [path for path in paths if path != damaged["good"]]
    assert caught.value.paths == bad
    lines = str(caught.value).splitlines()
    for path in bad:
        assert sum(line.startswith(f"  {path}: ") for line in lines) == 1
    assert f"  {damaged['missing']}: not found" in lines


def test_ten_bad_paths_are_listed_and_the_rest_counted(damaged):
    paths = [damaged["good"], *(f"absent_{i}.jpg" for i in range(13))]
    with pytest.raises(ImageReadError, match="13 of 14 images read tog") as caught:
        ImageFiles(paths).load(range(14))
    message = str(caught.value)
    listed = [path for path in paths if path in message]
    assert listed == paths[1:11]
    assert "and 3 more" in message
    assert caught.value.paths == paths[1:]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_search_ends_with_the_tenth(damaged, threads, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: threads)
    absent = [f"absent_{i:04}.jpg" for i in range(2000)]
    source = Noted([damaged["good"], *absent])
    with pytest.raises(ImageReadError, match="at least 10 of 2001 images") as caught:
        raise_if_unreadable(source)
    assert caught.value.paths == absent[:10]
    looked_at = len(source.looked_at)
    assert looked_at == 11 if threads == 1 else looked_at < 500
    assert len(source.problems(decode=False, most=3)) == 3
    assert len(source.problems(decode=False)) == 2000


def test_ten_of_ten_are_not_at_least_ten():
    with pytest.raises(ImageReadError, match="Cannot read 10 of 10 images:"):
        as_source([f"absent_{i}.jpg" for i in range(10)])


def test_a_path_is_to_be_corrected_only_where_it_is_wrong(damaged):
    with pytest.raises(ImageReadError, match="Correct the paths.*skip"):
        as_source([damaged["missing"], damaged["text"]])
    with pytest.raises(ImageReadError, match="Drop these.*skip") as caught:
        as_source([damaged["text"]])
    assert "Correct the paths" not in str(caught.value)


def test_a_subset_looks_at_its_own_files_only(damaged, monkeypatch):
    good, bad, worse = damaged["good"], damaged["missing"], damaged["text"]
    source = Noted([bad, good, worse, good, bad])
    monkeypatch.setattr(source, "concurrent", False)
    part = source[np.array([3, 2, 1, 2, 4, 2])]
    found = part.problems(decode=False)
    assert [(i, name) for i, name, _ in found] == [
        (1, worse), (3, worse), (4, bad), (5, worse)
    ]  # fmt: skip
    assert source.looked_at == [3, 2, 1, 4]
    assert [i for i, _, _ in part.problems([5, 0, 4], decode=False)] == [5, 4]
    assert [i for i, _, _ in part.problems(decode=False, most=2)] == [1, 3]
    assert part.problems([], decode=False) == []


def test_truncated_file_is_found_by_decoding_only(damaged):
    paths = [damaged["good"], damaged["truncated"]]
    source = as_source(paths)
    raise_if_unreadable(source)
    ((index, name, _),) = source.problems(decode=True)
    assert (index, name) == (1, paths[1])


def test_a_failed_read_names_the_files_of_its_batch(tmp_path, damaged):
    content = Path(damaged["truncated"]).read_bytes()
    copies = [tmp_path / f"copy_{i}.png" for i in range(3)]
    for copy in copies:
        copy.write_bytes(content)
    source = as_source([damaged["good"], *copies])
    assert source.load([0]).shape == (1, 3, 40, 40)
    with pytest.raises(ImageReadError, match="2 of 3 images read together") as caught:
        source.load([0, 1, 2])
    assert caught.value.paths == [str(copy) for copy in copies[:2]]


def test_files_read_in_threads_keep_their_order(tmp_path, four_threads, monkeypatch):
    pixels = random_rgb(n=40)
    source = as_source(write_pngs(tmp_path, pixels))
    readers, decode = set(), source.decode

    def slow_to_start(index):
        readers.add(threading.get_ident())
        time.sleep(0.01 if index % 4 == 0 else 0)
        return decode(index)

    monkeypatch.setattr(source, "decode", slow_to_start)
    order = np.random.RandomState(0).permutation(40)
    batch = source.load(order.tolist())
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1), pixels[order])
    assert len(readers) > 1


def test_datasets_are_read_in_one_thread(four_threads):
    class OneReader(torch.utils.data.Dataset):
        """Like a file handle, to be used by one thread."""

        owner = threading.get_ident()

        def __len__(self):
            return 12

        def __getitem__(self, index):
            assert threading.get_ident() == self.owner
            return np.full((6, 6, 3), index, dtype=np.uint8)

    source = as_source(OneReader())
    assert source.load(list(range(12)))[:, 0, 0, 0].tolist() == list(range(12))
    assert source.problems(decode=True) == []


def test_read_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageReadError("Two are bad.", ["a", "b"])))
    assert (str(error), error.paths) == ("Two are bad.", ["a", "b"])


def test_a_read_error_comes_through_pinned_memory():
    error = ImageReadError("Two are bad.", ["a", "b"])
    with pytest.raises(ImageReadError) as caught:
        Unreadable(error).pin_memory().to("cpu")
    assert caught.value is error


def test_a_read_error_comes_back_from_another_process():
    def read():
        raise ImageReadError("Two are bad.", ["a", "b"])

    with pytest.raises(ImageReadError, match="Two are bad") as caught:
        joblib.Parallel(n_jobs=2)([joblib.delayed(read)()] * 2)
    assert caught.value.paths == ["a", "b"]


class Photos(torch.utils.data.Dataset):
    """Makes its pictures when asked."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return np.full((300, 300, 3), index, dtype=np.uint8)


@pytest.mark.parametrize("method", ["keys", "problems"])
def test_decoded_images_are_not_kept(method):
    source = as_source(Photos())
    tracemalloc.start()
    if method == "problems":
        assert source.problems(decode=True) == []
    else:
        keys = source.keys(range(50))
        assert keys[7] == content_key(np.full((3, 300, 300), 7, dtype=np.uint8))
        assert len(set(keys)) == 50
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * Photos()[0].nbytes


def test_keys_name_all_that_cannot_be_read(damaged):
    class Paths(list):
        """A dataset of paths, which are decoded for their keys."""

    source = DatasetImages(Paths(damaged.values()))
    with pytest.raises(ImageReadError, match="5 of 6 images read together") as caught:
        source.keys(range(6))
    assert caught.value.paths == [f"item {i} of Paths" for i in range(1, 6)]
