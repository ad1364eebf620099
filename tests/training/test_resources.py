"""The share of a machine that a fit takes when others run beside it."""

import multiprocessing
import sys

import joblib
import pytest
import torch

from sklearn_turn.parameters import RunParameters
from sklearn_turn.training import resources
from sklearn_turn.training.device import Runtime


@pytest.fixture
def process(monkeypatch):
    """Makes this process look like one that something else started."""

    def called(name, daemon=False, parent=True):
        like = type("Process", (), {"name": name, "daemon": daemon})()
        monkeypatch.setattr(multiprocessing, "current_process", lambda: like)
        monkeypatch.setattr(
            multiprocessing, "parent_process", lambda: like if parent else None
        )

    return called


@pytest.fixture
def gpus(monkeypatch):
    """Makes torch see a number of GPUs."""

    def seen(n):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))

    return seen


def runtime(**settings):
    return Runtime.of(RunParameters(**settings))


def test_workers_of_joblib_take_the_gpus_in_turn(process, gpus):
    gpus(2)
    devices = []
    for number in (9, 10, 11, 12):  # loaders of the parent were numbered before
        process(f"LokyProcess-{number}")
        devices.append(str(runtime().device))
    assert devices == ["cuda:1", "cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize(
    ("name", "n"), [("MainProcess", 4), ("LokyProcess-3", 1), ("Process-3", 4)]
)
def test_others_take_the_first_they_see(name, n, process, gpus):
    gpus(n)
    process(name)
    assert runtime().device == torch.device("cuda")


def test_a_device_that_is_named_is_taken(process, gpus):
    gpus(2)
    process("LokyProcess-1")
    assert runtime(device="cuda:0").device == torch.device("cuda:0")


def test_a_worker_of_a_search_starts_no_more_loaders_than_its_share(
    process, gpus, monkeypatch
):
    gpus(1)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    process("MainProcess", parent=False)
    assert runtime().num_workers == 8
    process("LokyProcess-1")
    assert runtime().num_workers == 2
    assert runtime(num_workers=5).num_workers == 5
    process("Dask Worker process (from Nanny)", daemon=True)
    assert runtime().num_workers == runtime(num_workers=5).num_workers == 0


def resolved():
    # Undone at the end: the worker serves later tests as well.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        patch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
        patch.setattr(joblib, "cpu_count", lambda: 16)
        settings = runtime()
    return settings.device.index, settings.num_workers, torch.get_num_threads()


def test_real_workers_of_joblib():
    """joblib names and limits its workers as it is expected to."""
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        found = joblib.Parallel(2)(joblib.delayed(resolved)() for _ in range(4))
    gpus, loaders, threads = map(set, zip(*found, strict=True))
    assert gpus <= {0, 1}
    assert loaders == threads == {1}


def test_a_file_is_read_in_a_daemonic_process(png_files):
    """Where starting a loader would fail."""
    # Not by joblib: once Ray was its backend, its pools of processes are Ray's.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(features_of, [png_files[:4]]) == (4, 96)


def features_of(paths):
    from sklearn_turn import FeatureExtractor

    assert multiprocessing.current_process().daemon
    extract = FeatureExtractor(
        "test_resnet", pretrained=False, input_size=32, num_workers=2
    )
    return extract.fit_transform(paths).shape


def test_ray_says_its_share_by_the_number_of_threads(monkeypatch):
    class Ray:
        @staticmethod
        def is_initialized():
            return True

    monkeypatch.setitem(sys.modules, "ray", Ray)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert resources.cpus() == 3
