"""Photos, and files that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inputs.pictures import random_rgb, write_pngs
from sklearn.datasets import load_sample_images


@pytest.fixture(scope="module")
def photos():
    """Two photos of 427 x 640 pixels that come with scikit-learn."""
    return np.stack(load_sample_images().images)


@pytest.fixture
def damaged(tmp_path):
    """One good file, and the ways a file can be bad."""
    (good,) = write_pngs(tmp_path, random_rgb(1, 40, 40))
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(good.read_bytes()[:2000])
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    return {
        "good": str(good),
        "missing": str(tmp_path / "missing.jpg"),
        "text": str(text),
        "empty": str(empty),
        "folder": str(tmp_path),
        "truncated": str(truncated),
    }


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)
