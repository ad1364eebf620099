"""Small backbones, filters and callbacks that several tests share."""

from __future__ import annotations

import contextlib
import signal

import numpy as np
import pytest
import skorch
import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import nn

from sklearn_turn import TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing

CLASSIFIERS = [TURNClassifier, LinearProbing, FullFineTuning]


class Tally:
    """Counts of the samples that passed through backbones, by mode."""

    def __init__(self):
        self.built, self.calls, self.evaluated, self.trained = 0, 0, 0, 0


class Pool(nn.Module):
    """A backbone of two parameters: the mean colours of a grid of 4 x 4 fields."""

    def __init__(self, tally=None):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))
        self.tally = [tally]
        if tally is not None:
            tally.built += 1

    def __deepcopy__(self, memo):
        copied = Pool()
        copied.load_state_dict(self.state_dict())
        copied.tally = self.tally
        return copied

    def forward(self, images):
        tally = self.tally[0]
        if tally is not None:
            tally.calls += 1
            # One blank image asks for the number of features, two images for what
            # tells backbones apart; these are no passes.
            if len(images) > 2:
                name = "trained" if self.training else "evaluated"
                setattr(tally, name, getattr(tally, name) + len(images))
        fields = nn.functional.adaptive_avg_pool2d(images, 4)
        return (self.gain * fields + self.shift).flatten(1)


def pool():
    """Factory of the tiny backbone."""
    return Pool()


def tiny(**params):
    """TURN with the tiny backbone, briefly."""
    defaults = {"backbone": pool, "input_size": 8, "lp_epochs": 2, "fft_epochs": 2}
    return TURNClassifier(**{**defaults, "random_state": 0, **params})


def tuning(clf):
    """The records of the epochs of fine-tuning."""
    return [row for row in clf.history_ if row["phase"] != "probe"]


def estimated(clf):
    """All that a fitted TURN estimated, for comparison bit for bit."""
    states = [clf.net_.module_.state_dict()]
    states += [clf.probe_.module_.state_dict()] if hasattr(clf, "probe_") else []
    arrays = [value.numpy() for state in states for value in state.values()]
    return [*arrays, clf.losses_, clf.clean_mask_, clf.clean_proba_]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_different(first, second):
    """Weights that were trained and losses differ; constant buffers may not."""
    equal = [np.array_equal(a, b) for a, b in zip(first, second, strict=True)]
    assert not equal[-3], "losses"
    assert np.mean(equal) < 0.7


class Fixed(BaseEstimator):
    """A filter that selects the same labels whatever the losses are."""

    def __init__(self, mask):
        self.mask = mask

    def fit(self, X, y):
        self.clean_mask_ = np.asarray(self.mask)
        self.clean_proba_ = self.clean_mask_.astype(float)
        return self


class Count(Callback):
    """Counts epochs and batches, and notes the optimiser."""

    def initialize(self):
        self.epochs, self.batches, self.optimizer = 0, 0, None
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1

    def on_batch_end(self, net, training=False, **kwargs):
        self.batches += training
        self.optimizer = net.optimizer_


class Stopped(Exception):
    pass


class Fuse(Callback):
    """Ends the fit after the first step of an epoch; None lets it run."""

    epoch = None

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == Fuse.epoch:
            raise Stopped


@contextlib.contextmanager
def armed(epoch):
    """End every fit that makes a step in an epoch."""
    Fuse.epoch = epoch
    try:
        yield
    finally:
        Fuse.epoch = None


def stopped_in(epoch, clf, data):
    """Fit, to be stopped in an epoch."""
    with armed(epoch), pytest.raises(Stopped):
        clf.fit(data.X, data.y)


class Interrupt(Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch:
            # What Python does when the signal arrives.
            signal.default_int_handler(signal.SIGINT, None)


class Spy(nn.Module):
    """Linear classifier on columns 1 and 2; column 0 is the number of the sample.

    It notes which samples it sees, apart for training and evaluation.
    """

    def __init__(self, as_probabilities=False, fail_at=None, dropout=0.5):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.drop = nn.Dropout(dropout)
        self.as_probabilities = as_probabilities
        self.fail_at = fail_at
        self.trained, self.evaluated = [], []

    def forward(self, X):
        seen = self.trained if self.training else self.evaluated
        seen.extend(X[:, 0].int().tolist())
        if self.fail_at is not None and len(self.trained) > self.fail_at:
            raise MemoryError("out of memory")
        logits = self.linear(self.drop(X[:, 1:]))
        return logits.softmax(dim=1) if self.as_probabilities else logits


def spy_net(criterion="logits", callbacks=(), **options):
    """A plain skorch classifier with a Spy."""
    torch.manual_seed(0)
    options = {
        "lr": 0.05,
        "batch_size": 32,
        "max_epochs": 3,
        "train_split": None,
        "verbose": 0,
        "criterion": (
            nn.NLLLoss if criterion == "probabilities" else nn.CrossEntropyLoss
        ),
        **options,
    }
    return skorch.NeuralNetClassifier(
        Spy,
        module__as_probabilities=criterion == "probabilities",
        classes=[0, 1, 2],
        callbacks=list(callbacks),
        **options,
    )


def losses_by_hand(state, X, y):
    """Cross-entropies of a Spy's outputs, by NumPy."""
    weight, bias = (
        state[f"linear.{name}"].double().numpy() for name in ("weight", "bias")
    )
    logits = X[:, 1:].astype(float) @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    log_proba = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_proba[np.arange(len(y)), y]
