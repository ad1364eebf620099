"""Made-up results of the paper's comparison, for tests of its reports."""

from __future__ import annotations

import json

from benchmarks.cells import Cell

CELL = Cell("smoke", "letters", "symmetric 0.6", "LP-CE", 0, data="digits")


def result(cell, accuracy, **more):
    """What a fit of 1000 test images may have given."""
    found = {
        **cell.settings(),
        "accuracy": accuracy,
        "noisy_validation": accuracy / 2,
        "noise_rate": 0.5,
        "n_train": 1000,
        "n_test": 1000,
        "n_curve": 1000,
        "seconds": 10.0,
        "cpu_seconds": 10.0,
        "forward_passes": 1.0,
        "training_passes": 2.0,
        "peak_memory_mb": 500.0,
        "history": [{"phase": "fine-tune", "epoch": 1, "test_accuracy": accuracy}],
        "machine": {"gpu": None, "processor": "abacus"},
    }
    return {**found, **more}


def write(root, cell, accuracy, **more):
    path = cell.path_in(root / "cells")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result(cell, accuracy, **more)))
