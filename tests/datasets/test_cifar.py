"""CIFAR is found, unpacked or downloaded, and never waited for in vain."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import torchvision

from sklearn_turn.datasets import _cifar, fetch_cifar10, fetch_cifar100

FETCH = {10: fetch_cifar10, 100: fetch_cifar100}
KIND = {n: getattr(torchvision.datasets, f"CIFAR{n}") for n in FETCH}
of_both = pytest.mark.parametrize("n_classes", FETCH)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and notes what is asked for."""

    def log_message(self, *args):
        self.server.asked.append(self.path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the folder "served", and the paths it was asked for."""
    (tmp_path / "served").mkdir()
    handler = partial(Quiet, directory=tmp_path / "served")
    server = HTTPServer(("127.0.0.1", 0), handler)
    server.asked = []
    server.folder = tmp_path / "served"
    monkeypatch.setenv("no_proxy", "*")
    for kind in KIND.values():
        url = f"http://127.0.0.1:{server.server_port}/{kind.filename}"
        monkeypatch.setattr(kind, "url", url)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(_cifar, "urlopen", refuse)
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", refuse)


@pytest.fixture
def no_endless_wait():
    """What would wait for ever fails after a while."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    yield
    socket.setdefaulttimeout(before)


def assert_is(bunch, images, labels, n_classes):
    np.testing.assert_array_equal(bunch.data, images)
    assert bunch.data.dtype == np.uint8
    assert bunch.target.tolist() == labels.tolist()
    assert bunch.target_names[-1] == f"class {n_classes - 1:02}"
    assert len(bunch.target_names) == n_classes


@of_both
def test_download(small_cifar, server, tmp_path, n_classes, capsys):
    content = small_cifar(server.folder, n_classes)
    home = tmp_path / "new" / "home"
    for subset, (images, labels) in content.items():
        bunch = FETCH[n_classes](home, subset=subset)
        assert_is(bunch, images, labels, n_classes)
    assert set(server.asked) == {f"/{KIND[n_classes].filename}"}
    n_asked = len(server.asked)
    data, target = FETCH[n_classes](str(home), return_X_y=True)
    assert len(server.asked) == n_asked
    np.testing.assert_array_equal(data, content["train"][0])
    np.testing.assert_array_equal(target, content["train"][1])


@pytest.mark.parametrize("download", [True, False])
def test_what_is_there_needs_no_network(small_cifar, no_network, tmp_path, download):
    content = small_cifar(tmp_path)
    (tmp_path / KIND[10].filename).unlink()
    bunch = fetch_cifar10(tmp_path, download_if_missing=download)
    assert_is(bunch, *content["train"], 10)


@pytest.mark.parametrize("download", [True, False])
def test_an_archive_is_unpacked(small_cifar, monkeypatch, tmp_path, download):
    content = small_cifar(tmp_path, 100)
    shutil.rmtree(tmp_path / KIND[100].base_folder)
    monkeypatch.setattr(_cifar, "urlopen", None)
    bunch = fetch_cifar100(tmp_path, subset="test", download_if_missing=download)
    assert_is(bunch, *content["test"], 100)


def test_the_default_folder(small_cifar, no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    content = small_cifar(tmp_path / "cifar10")
    assert_is(fetch_cifar10(), *content["train"], 10)


def test_damaged_files_are_never_read(small_cifar, tmp_path, monkeypatch):
    content = small_cifar(tmp_path)
    batch = tmp_path / KIND[10].base_folder / "data_batch_3"
    batch.write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    (tmp_path / KIND[10].filename).rename(tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no intact cifar-10-batches-py"):
        fetch_cifar10(tmp_path, download_if_missing=False)
    assert not (tmp_path / "hacked").exists()
    (tmp_path / "kept").rename(tmp_path / KIND[10].filename)
    assert_is(fetch_cifar10(tmp_path), *content["train"], 10)  # unpacked again


def test_a_download_with_another_checksum_is_refused(
    small_cifar, server, tmp_path, monkeypatch, capsys
):
    small_cifar(server.folder)
    monkeypatch.setattr(KIND[10], "tgz_md5", "0" * 32)
    with pytest.raises(OSError, match="cannot be downloaded.*corrupted"):
        fetch_cifar10(tmp_path / "home")
    assert not (tmp_path / "home" / KIND[10].base_folder).exists()


def test_a_server_without_the_file(server, tmp_path):
    with pytest.raises(OSError, match="cannot be downloaded .*(?i:not found)"):
        fetch_cifar10(tmp_path / "home")


@pytest.mark.parametrize("listening", [True, False])
def test_no_answer(tmp_path, monkeypatch, no_endless_wait, listening):
    monkeypatch.setattr(_cifar, "_PATIENCE", 0.2)
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        if listening:  # takes the connection and says nothing
            deaf.listen()
        port = deaf.getsockname()[1]
        monkeypatch.setattr(KIND[10], "url", f"http://127.0.0.1:{port}/cifar.tar.gz")
        start = time.perf_counter()
        with pytest.raises(OSError, match="cannot be downloaded") as caught:
            fetch_cifar10(tmp_path)
        assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert ("timed out" if listening else "refused") in message
    assert f"Copy {KIND[10].filename} there from a machine" in message
    assert str(tmp_path) in message


def test_a_name_that_does_not_resolve(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(KIND[100], "url", "http://absent.invalid/cifar.tar.gz")

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="CIFAR-100 .*Name or service not known"):
        fetch_cifar100(tmp_path)


def test_not_downloaded_unless_wanted(no_network, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        fetch_cifar10(tmp_path, download_if_missing=False)
    for part in (str(tmp_path), "cifar-10-batches-py", "https://www.cs.toronto.edu"):
        assert part in str(caught.value)


@of_both
def test_unknown_subsets(n_classes):
    with pytest.raises(ValueError, match="subset must be one of 'train', 'test'; got"):
        FETCH[n_classes](subset="val")
