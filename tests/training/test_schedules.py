"""The learning rate over the course of training."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skorch.callbacks import Callback
from support import Spy

from sklearn_turn import Cleansing
from sklearn_turn.training.net import Net
from sklearn_turn.training.schedules import CosineSchedule


class _RecordRates(Callback):
    def initialize(self):
        self.rates = []
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.rates.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_learning_rate_rises_then_falls_as_a_cosine(warmup, numbered):
    X, y = numbered
    record = _RecordRates()
    Net(
        Spy,
        callbacks=[("cosine", CosineSchedule(warmup)), ("record", record)],
        lr=0.2,
        batch_size=50,
        max_epochs=4,
    ).fit(X, y)
    done = np.arange(24) / 24
    rising = 0.2 * np.maximum(done / max(warmup, 1e-9), 0.01)
    falling = 0.1 * (1 + np.cos(np.pi * (done - warmup) / (1 - warmup)))
    expected = np.where(done < warmup, rising, falling)
    np.testing.assert_allclose(record.rates, expected, rtol=1e-9)
    assert record.rates[-1] < 0.1 * 0.2


def test_schedule_follows_epochs_of_changing_length(numbered):
    X, y = numbered
    record = _RecordRates()
    net = Net(
        Spy,
        callbacks=[
            ("cleansing", Cleansing(warmup_epochs=0, random_state=0)),
            ("cosine", CosineSchedule(0.0)),
            ("record", record),
        ],
        lr=0.5,
        batch_size=20,
        max_epochs=3,
    ).fit(X, y)
    expected = []
    for epoch, n_train in enumerate(net.history[:, "n_train"]):
        n_batches = math.ceil(n_train / 20)
        done = (epoch + np.arange(n_batches) / n_batches) / 3
        expected.extend(0.25 * (1 + np.cos(np.pi * done)))
    np.testing.assert_allclose(record.rates, expected)


@pytest.mark.parametrize(
    ("n_epochs", "first"),
    # Batches of all samples: one step an epoch.
    [(1, 1.0), (9, 1.0), (10, 1.0), (11, 0.01)],
)
def test_a_warm_up_of_one_step_or_less_is_none(n_epochs, first, numbered):
    X, y = numbered
    record = _RecordRates()
    callbacks = [("cosine", CosineSchedule(0.1)), ("record", record)]
    net = Net(Spy, callbacks=callbacks, lr=0.2, batch_size=-1, max_epochs=n_epochs)
    net.fit(X, y)
    assert len(record.rates) == n_epochs
    assert record.rates[0] == pytest.approx(0.2 * first)
