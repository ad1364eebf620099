"""The example, started as its reader starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

from sklearn_turn import TURNClassifier

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_distributed.py"


def test_accelerate_launch(tmp_path):
    pytest.importorskip("accelerate")
    path = os.pathsep.join(filter(None, sys.path))
    options = ["--cpu", "--num_processes", "2", "--num_machines", "1"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    options += ["--main_process_port", "0"]  # any that is free
    model = tmp_path / "model.safetensors"
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *options, EXAMPLE, model],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"(\d+) labels flagged, (\d+) wrong", done.stdout)
    assert len(printed) == 1, done.stdout  # by one process
    flagged, wrong = map(int, printed[0])
    assert 0.8 * flagged < wrong < 200
    clf = TURNClassifier.load(model)
    assert (~clf.clean_mask_).sum() == flagged
    digits = load_digits()
    assert clf.score(digits.images[:600] / 16, digits.target[:600]) > 0.9
