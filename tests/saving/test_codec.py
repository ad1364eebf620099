"""Values that come back as they were, and files that are refused."""

from __future__ import annotations

import dataclasses
import os
import pickle
import stat
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import save_file
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from sklearn_turn import FeatureMemory, GMMNoiseFilter
from sklearn_turn.saving.arrays import CodecError
from sklearn_turn.saving.codec import classes_by_path, pack, unpack
from sklearn_turn.saving.files import FileLock, read, sweep, write
from sklearn_turn.task import Selection


def back(value, path, **kwargs):
    """The value, written to a file and read."""
    tensors = {}
    write(path, pack(value, tensors, "value"), tensors)
    return unpack(*read(path), **kwargs)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.safetensors"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1 + 0.2,
        float("inf"),
        "naïve <label>\n",
        [1, (2, "a"), []],
        {"a": 1, 2: (None,), (3, 4): {}},
        {"0": 1, np.int64(0): 2},
        # Sets with strings print in another order in each process.
        pytest.param({1, "a", (2, 3)}, id="a set"),
        frozenset({1}),
        deque([1, 2], maxlen=3),
        Counter("aab"),
        OrderedDict(b=1, a=[2]),
        defaultdict(list, a=[1]),
        defaultdict(None, a=1),
        [set(), {}, ()],
        Path("some/where"),
        FeatureMemory("some/where", dtype="float16"),
        torch.device("cuda:1"),
        np.float32(0.1),
        np.str_("b"),
        np.bool_(True),
        np.datetime64("2024-02-29"),
    ],
    ids=repr,
)
def test_plain_values_keep_value_and_type(value, file):
    found = back(value, file)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, dict):
        assert list(map(type, found)) == list(map(type, value))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.arange(12, dtype=np.uint16)[::3],
        np.array(["a", "bcd", "é"]),
        np.array(["a", None, 3.5, (1, 2)], dtype=object),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        np.array([[True], [False]]),
        np.array(7),
        np.empty((0, 4), np.float16),
        np.array([np.nan, -0.0, 5e-324]),
        np.array([2**63 + 1], np.uint64),
        np.array([1, -2], ">i4"),
        np.array(["a", "bc"], ">U2"),
        np.array([1 + 2j]),
    ],
    ids=lambda array: array.dtype.str + str(array.shape),
)
def test_arrays_keep_numbers_type_and_shape(array, file):
    found = back(array, file)
    assert found.dtype == array.dtype.newbyteorder("=")
    assert_array_equal(found, array)
    if array.dtype.kind == "f":
        assert_array_equal(np.signbit(found), np.signbit(array))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int16])
def test_tensors_keep_their_layout(dtype, file):
    shared = torch.arange(120).to(dtype).reshape(2, 3, 4, 5)
    value = [
        shared,
        shared[1:],
        shared.to(memory_format=torch.channels_last),
        shared[0, 0].t(),
        shared[..., None].to(memory_format=torch.channels_last_3d),
        shared[:, 0, 0, 0].expand(3, 2),  # less memory than numbers
        shared[0, 0, 0, 0],
    ]
    found = back(value, file)
    for old, new in zip(value, found, strict=True):
        assert new.dtype == dtype
        assert torch.equal(old, new)
        assert new.stride() == old.clone().stride()
    assert not found[2].is_contiguous()
    assert not found[3].is_contiguous()


def test_a_random_state_goes_on_in_place(file):
    random_state = np.random.RandomState(3)
    random_state.standard_normal()  # the second of a pair is kept for later
    tensors = {}
    write(file, pack(random_state, tensors, "it"), tensors)
    expected = random_state.standard_normal(5)
    assert unpack(*read(file), into=random_state) is random_state
    assert_array_equal(random_state.standard_normal(5), expected)
    assert_array_equal(unpack(*read(file)).standard_normal(5), expected)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.SFC64])
def test_other_generators_go_on_too(kind, file):
    of_numpy, of_torch = np.random.Generator(kind(3)), torch.Generator().manual_seed(3)
    both = {"a": of_numpy, "b": (of_torch,)}
    of_numpy.random(), torch.rand(2, generator=of_torch)
    tensors = {}
    write(file, pack(both, tensors, "it"), tensors)
    expected = of_numpy.random(5), torch.rand(5, generator=of_torch)
    into = {"a": of_numpy, "b": (of_torch,)}
    assert unpack(*read(file), into=into)["a"] is of_numpy
    for a, b in (of_numpy, of_torch), unpack_pair(file):
        assert_array_equal(a.random(5), expected[0])
        assert torch.equal(torch.rand(5, generator=b), expected[1])


def unpack_pair(file):
    made = unpack(*read(file), into={"a": None, "b": [3]})
    return made["a"], made["b"][0]


def test_a_list_of_random_states_is_made_anew(file):
    random_state = np.random.RandomState(3)
    (found,) = back([random_state], file)
    assert_array_equal(found.rand(3), random_state.rand(3))


def test_keys_that_look_alike_keep_values_apart(file):
    value = {
        "a.b": np.zeros(2),
        "a": {"b": np.ones(2)},
        1: torch.zeros(2),
        "1": torch.ones(2),
    }
    found = back(value, file)
    assert_array_equal(found["a.b"], np.zeros(2))
    assert_array_equal(found["a"]["b"], np.ones(2))
    assert found[1].sum() == 0
    assert found["1"].sum() == 2


def test_what_has_a_state_takes_it_in_place(file):
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.requires_grad_(False)
    both = [second, nn.Identity()]
    found = back([first, nn.Identity()], file, into=both)
    assert found[0] is second
    assert torch.equal(first.weight, second.weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        back(first, file, into=nn.Linear(4, 2))
    for into in ({"m": second}, {"m": (second,)}):
        nn.init.zeros_(second.weight)
        back(
            {
                k: type(v)([first]) if isinstance(v, tuple) else first
                for k, v in into.items()
            },
            file,
            into=into,
        )
        assert torch.equal(first.weight, second.weight)
    with pytest.raises(CodecError, match="no object that it belongs to"):
        back({"m": first}, file)


def test_objects_of_the_package_come_back_and_of_others_if_known(blobs, file):
    losses = (blobs.is_wrong + 0.1 * np.random.RandomState(0).rand(300))[:, None]
    fitted = GMMNoiseFilter(0.7).fit(losses, blobs.y)
    found = back(fitted, file)
    assert type(found) is GMMNoiseFilter
    assert found.get_params() == fitted.get_params()
    assert_array_equal(found.transform(losses), fitted.transform(losses))
    selection = Selection(fitted.clean_mask_, fitted.clean_proba_, None, blobs.y)
    found = back(selection, file)
    for field in dataclasses.fields(selection):
        old, new = getattr(selection, field.name), getattr(found, field.name)
        assert_array_equal(old, new)
    tree = DecisionTreeClassifier(max_depth=3)
    with pytest.raises(CodecError, match="is a DecisionTreeClassifier, which cannot"):
        back(tree, file)
    tensors, known = {}, classes_by_path([3, tree])
    write(file, pack(tree, tensors, "it", known=known), tensors)
    with pytest.raises(CodecError, match="DecisionTreeClassifier, which is neither"):
        unpack(*read(file))
    found = unpack(*read(file), known=known)
    assert found.get_params() == tree.get_params()


@pytest.mark.parametrize(
    "path", ["os:system", "sklearn_turn.saving.files:read", "sklearn_turn.task:Task"]
)
def test_nothing_else_is_made(path):
    with pytest.raises(CodecError, match="neither of this version of the package nor"):
        unpack({"object": path, "vars": {}}, {})


def test_what_cannot_be_saved_is_named():
    with pytest.raises(CodecError, match=r"it\.a\.1 is a function"):
        pack({"a": [0, test_what_cannot_be_saved_is_named]}, {}, "it")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (nn.Linear, "it.1 is a type"),  # a class has state_dict, but no state
        (torch.eye(3).to_sparse(), "it.1 is a sparse"),
        (type("Own", (dict,), {})(), "it.1 is a Own"),
        (defaultdict(lambda: 3), "it.1 is a defaultdict"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(value, what):
    tensors = {"before": torch.zeros(1)}
    with pytest.raises(CodecError, match=what):
        pack([torch.zeros(3), value], tensors, "it")
    assert list(tensors) == ["before"]


def test_the_file_is_as_open_as_the_umask_says(file):
    before = os.umask(0o027)
    try:
        back(3, file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link(file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    assert back(3, link) == 3
    assert link.is_symlink()
    assert file.exists()


def test_what_was_read_is_no_part_of_the_file(file):
    found = back([np.arange(100), torch.arange(100)], file)
    content = file.read_bytes()
    with open(file, "rb+") as opened:
        opened.write(bytes(len(content)))
    assert_array_equal(found[0], found[1].numpy())
    assert found[0].sum() == 4950


def test_json_longer_than_a_header_may_be(file, monkeypatch):
    """The format bounds its header to 100 MB; this is a matter of where JSON is."""
    write(file, ["a" * 1_000_000], {})
    header = int.from_bytes(file.read_bytes()[:8], "little")
    assert header < 1000
    assert read(file)[0] == ["a" * 1_000_000]


def test_writes_to_one_path_do_not_meet(file):
    """Two at a time, each whole; and none leaves anything."""
    with ThreadPoolExecutor(2) as pool:
        sizes = [1000 * (k % 7 + 1) for k in range(40)]
        writes = [pool.submit(write, file, k, {"a": torch.ones(k)}) for k in sizes]
        for one in writes:
            one.result()
    node, tensors = read(file)
    assert len(tensors["a"]) == node
    assert list(file.parent.iterdir()) == [file]


def test_what_killed_writes_left_is_swept(file):
    back(3, file)
    left = file.with_name(f".{file.name}.part-xyz")
    left.mkdir()
    (left / "new").write_bytes(b"half")
    sweep(file)
    assert list(file.parent.iterdir()) == [file]


def test_a_lock_keeps_others_out_until_it_is_released(file):
    first, second = FileLock(file), FileLock(file)
    assert first.acquire()
    assert not second.acquire()
    second.release()
    copied = pickle.loads(pickle.dumps(first))
    copied.release()
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'ab')\n"
        "try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except OSError: sys.exit(3)"
    )

    def is_free_elsewhere():
        return subprocess.run([sys.executable, "-c", program, file]).returncode == 0

    assert not is_free_elsewhere()
    first.release()
    assert is_free_elsewhere()  # and what a process held ends with it
    assert second.acquire()
    second.release()


def test_other_and_damaged_files_are_refused(file):
    save_file({"a": torch.zeros(3)}, file)
    with pytest.raises(CodecError, match="not written by this package"):
        read(file)
    tensors = {}
    write(file, pack(np.arange(100), tensors, "it"), tensors)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CodecError, match="damaged"):
        read(file)
    with pytest.raises(FileNotFoundError):
        read(file.with_name("none"))


def test_a_write_that_fails_leaves_the_old_file(file, monkeypatch):
    back("old", file)
    monkeypatch.setattr("os.fsync", lambda number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        back("new", file)
    assert unpack(*read(file)) == "old"
