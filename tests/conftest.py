"""One thread, small data, and where the large files are."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import train_test_split

from sklearn_turn.noise import symmetric

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)

# What a shell starts in the background ignores Ctrl-C, and so do its children.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    # After the imports most of what is alive is torch; Python's collector need not
    # look at it again.
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()


@pytest.fixture(scope="session")
def assets():
    """Folder of the real weights and real label noise."""
    folder = Path(os.environ.get("SKLEARN_TURN_ASSETS", ROOT.parent / "shared/assets"))
    if not folder.is_dir():
        pytest.skip(f"no assets at {folder}; set SKLEARN_TURN_ASSETS to their folder")
    return folder


def _frozen(**arrays):
    """Arrays that no test can change for the next one."""
    for array in arrays.values():
        array.setflags(write=False)
    return SimpleNamespace(**arrays)


@pytest.fixture(scope="session")
def blobs():
    """2-D features of three classes, 30 % of the labels wrong."""
    X, y_true = make_blobs(300, centers=3, cluster_std=0.6, random_state=0)
    y = symmetric(y_true, 0.3, random_state=0)
    return _frozen(X=X, y=y, y_true=y_true, is_wrong=y != y_true)


@pytest.fixture(scope="session")
def images():
    """60 uint8 images of three classes, each class with a colour of its own."""
    y = np.arange(60) % 3
    X = np.random.RandomState(0).randint(0, 120, (60, 8, 8, 3))
    X[np.arange(60), :, :, y] += 100
    return _frozen(X=X.astype(np.uint8), y=y)


@pytest.fixture
def png_files(images, tmp_path):
    paths = [str(tmp_path / f"{i:02}.png") for i in range(len(images.X))]
    for path, image in zip(paths, images.X, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture(scope="session")
def digits():
    """Digits in [0, 1], half for training with 40 % of the labels wrong."""
    data = load_digits()
    X = (data.images / 16.0).astype(np.float32)
    X, X_test, y_true, y_test = train_test_split(
        X, data.target, test_size=0.5, stratify=data.target, random_state=0
    )
    y = symmetric(y_true, 0.4, random_state=0)
    return _frozen(
        X=X, y=y, y_true=y_true, is_wrong=y != y_true, X_test=X_test, y_test=y_test
    )


@pytest.fixture
def numbered(blobs):
    """Features with the number of the sample in the first column."""
    X = np.column_stack([np.arange(300), blobs.X]).astype(np.float32)
    return X, blobs.y.copy()
