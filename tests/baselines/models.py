"""Linear classifiers, nets and tasks that the tests of methods share."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from sklearn_turn.training.modules import Classifier


def classifier(seed, width=3, n_classes=4):
    torch.manual_seed(seed)
    return Classifier(nn.Identity(), nn.Identity(), nn.Linear(width, n_classes))


def numpy_proba(member, x):
    logits = x @ member.head.weight.detach().numpy().T.astype(float)
    logits = logits + member.head.bias.detach().numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def labels_only(codes):
    """A task as rules see it before there are samples."""
    return SimpleNamespace(
        y=codes,
        classes=np.unique(codes),
        n_classes=len(np.unique(codes)),
        random_state=np.random.RandomState(0),
    )


class Told:
    """A net whose predictions are known."""

    device, verbose = "cpu", 0

    def __init__(self, **found):
        self.found = found
        self.history = SimpleNamespace(record=self.record)
        self.recorded = {}

    def record(self, name, value):
        self.recorded[name] = value

    def evaluate(self, dataset, of):
        return self.found

    def evidence(self, dataset, wanted=()):
        return self.found
