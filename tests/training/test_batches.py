"""Labelled batches and samplers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from support import Fixed
from torch import nn

from sklearn_turn import Cleansing, TURNClassifier
from sklearn_turn.inputs import FeatureRows
from sklearn_turn.training.batches import Labelled, RowBatches, SubsetSampler


@pytest.mark.parametrize("batch_size", [1, 2, 8, 16])
@pytest.mark.parametrize("n", range(1, 35))
def test_no_epoch_ends_on_a_batch_of_one(n, batch_size):
    sampler = SubsetSampler(np.random.RandomState(0), batch_size)
    sampler.indices = np.arange(100, 100 + n)
    visited = list(sampler)
    assert len(visited) == len(sampler)
    assert len(set(visited)) == len(visited) >= n - 1
    assert set(visited) <= set(range(100, 100 + n))
    batches = [visited[i : i + batch_size] for i in range(0, len(visited), batch_size)]
    if n > 1 and batch_size > 1:
        assert min(map(len, batches)) > 1
    else:
        assert len(visited) == n


def test_the_sample_left_out_changes_from_epoch_to_epoch():
    sampler = SubsetSampler(np.random.RandomState(0), batch_size=8)
    sampler.indices = np.arange(9)
    left_out = {(set(range(9)) - set(sampler)).pop() for _ in range(60)}
    assert len(left_out) > 4


def test_rows_are_batched_as_by_a_loader():
    rng = np.random.RandomState(0)
    data = Labelled(FeatureRows(rng.randn(50, 3).astype("f4")), rng.randint(4, size=50))
    options = {"batch_size": 8}
    samplers = [SubsetSampler(np.random.RandomState(1), **options) for _ in range(2)]
    for sampler in samplers:
        sampler.indices = np.arange(5, 50)
    quick = RowBatches(data, sampler=samplers[0], shuffle=False, **options)
    loader = torch.utils.data.DataLoader(
        data, sampler=samplers[1], collate_fn=lambda batch: batch, **options
    )
    assert len(quick) == len(loader) == 6
    for _ in range(2):
        for batch, expected in zip(quick, loader, strict=True):
            assert torch.equal(batch.x, expected.x)
            assert torch.equal(batch.y, expected.y)
            assert torch.equal(batch.x, data.source.rows[batch.index])


def test_a_loader_asked_for_trains_the_same():
    rng = np.random.RandomState(0)
    X, y = rng.randn(60, 5), rng.randint(3, size=60)
    asked = {"iterator_train__num_workers": 0, "iterator_train__drop_last": False}
    fits = [
        TURNClassifier(lp_epochs=3, fft_epochs=2, random_state=0, **options).fit(X, y)
        for options in ({}, {"lp_params": asked, "fft_params": asked})
    ]
    first, second = (clf.predict_proba(X) for clf in fits)
    np.testing.assert_array_equal(first, second)


def test_batch_norm_trains_whatever_the_subset_leaves(numbered):
    X, y = numbered
    net = NeuralNetClassifier(
        lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3)),
        criterion=nn.CrossEntropyLoss,
        callbacks=[Cleansing(Fixed(np.arange(33) >= 0), warmup_epochs=0, balance=None)],
        batch_size=32,
        max_epochs=1,
        train_split=None,
        verbose=0,
        lr=0.1,
    ).fit(X[:33], y[:33])
    assert net.history[:, "n_train"] == [32]
