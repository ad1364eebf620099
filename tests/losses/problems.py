"""Random logits and labels, and losses by loops in NumPy."""

from __future__ import annotations

import math

import numpy as np
import torch

from sklearn_turn.losses import (
    ActivePassiveLoss,
    CrossEntropyLoss,
    ELRLoss,
    GCELoss,
    SCELoss,
    TruncatedGCELoss,
)

N, N_CLASSES = 50, 7

#: One of each kind, for tests of what all have in common.
LOSSES = [
    CrossEntropyLoss(),
    GCELoss(q=0.3),
    TruncatedGCELoss(N, q=0.5),
    SCELoss(alpha=0.5, beta=2.0),
    ELRLoss(N, N_CLASSES),
    ActivePassiveLoss("nce+rce"),
    ActivePassiveLoss("ngce+mae", alpha=2.0, q=0.4),
    ActivePassiveLoss("nce+agce", q=1.5, a=0.6),
    ActivePassiveLoss("nce+aul", q=3.0, a=5.5),
    ActivePassiveLoss("nce+ael", a=2.5),
]
IDS = ["ce", "gce", "truncated", "sce", "elr", "rce", "mae", "agce", "aul", "ael"]


def problem(n=N, n_classes=N_CLASSES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, n_classes, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(n_classes, (n,), generator=generator)
    return logits, target


def probabilities(logits):
    """Softmax, row by row, in plain Python floats."""
    rows = [[math.exp(value - max(row)) for value in row] for row in logits.tolist()]
    return np.array([[value / sum(row) for value in row] for row in rows])
