"""Batches of several parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_turn.baselines.parts import Part, PartBatches, PartSampler, cut
from sklearn_turn.inputs import FeatureRows, Ragged, as_source
from sklearn_turn.training import Batch, Labelled


def drawn(parts, size=4, seed=0):
    sampler = PartSampler(np.random.RandomState(seed), size)
    sampler.parts = parts
    return sampler, list(sampler)


def test_an_epoch_visits_all_of_the_longest_part_that_leads():
    parts = [Part(np.arange(10)), Part(np.arange(10, 100), leads=False)]
    sampler, steps = drawn(parts)
    assert len(sampler) == len(steps) == 3
    assert all(len(step) == 8 for step in steps)
    firsts = [i for step in steps for i in step[:4]]
    assert_array_equal(np.unique(firsts), np.arange(10))
    seconds = [i for step in steps for i in step[4:]]
    assert len(set(seconds)) == 12 and min(seconds) >= 10


def test_a_part_that_runs_out_starts_again_and_visits_all_alike():
    _, steps = drawn([Part(np.arange(40)), Part(np.arange(40, 45))])
    counts = np.bincount([i for step in steps for i in step[4:]])[40:]
    assert_array_equal(counts, 8)


def test_a_part_smaller_than_the_batch_is_taken_whole_and_an_empty_one_is_not():
    empty = np.empty(0, dtype=np.intp)
    sampler, steps = drawn([Part(np.arange(8)), Part(empty), Part(np.array([50, 60]))])
    assert sampler.sizes == [4, 0, 2]
    assert [sorted(step[4:]) for step in steps] == [[50, 60], [50, 60]]


def test_the_order_is_new_in_every_epoch_and_the_same_for_the_same_state():
    sampler, first = drawn([Part(np.arange(12))])
    assert list(sampler) != first
    assert drawn([Part(np.arange(12))])[1] == first


def test_the_order_does_not_depend_on_loader_processes():
    """A loader with processes that persist asks for the first order twice."""
    images = as_source(np.zeros((12, 8, 8, 3), dtype=np.uint8))
    epochs = []
    for n_workers in (0, 1):
        sampler = PartSampler(np.random.RandomState(0), 4)
        sampler.parts = [Part(np.arange(12))]
        loader = PartBatches(
            Labelled(images, np.arange(12)),
            sampler,
            num_workers=n_workers,
            persistent_workers=n_workers > 0,
        )
        epochs.append([[b.index.tolist() for b in loader] for _ in range(2)])
    assert epochs[0] == epochs[1]


@pytest.mark.parametrize("ragged", [False, True])
def test_cut_gives_back_the_parts(ragged):
    x = torch.arange(12.0).reshape(6, 2)
    index = torch.arange(6)
    batch = Batch(Ragged(list(x)) if ragged else x, index % 2, index)
    parts = cut(batch, [2, 0, 4])
    assert [part.index.tolist() for part in parts] == [[0, 1], [], [2, 3, 4, 5]]
    assert [len(part.x) for part in parts] == [2, 0, 4]
    last = torch.stack(parts[2].x.images) if ragged else parts[2].x
    assert torch.equal(last, x[2:]) and torch.equal(parts[2].y, index[2:] % 2)


@pytest.mark.parametrize("of_images", [False, True])
def test_batches_are_the_samples_asked_for(of_images, images):
    rows = images.X[:, 0, 0].astype(np.float32)
    source = as_source(images.X) if of_images else FeatureRows(rows)
    dataset = torch.utils.data.Subset(Labelled(source, images.y), range(30))
    sampler = PartSampler(np.random.RandomState(0), 4)
    sampler.parts = [Part(np.arange(50, 60)), Part(np.arange(10), leads=False)]
    batches = list(PartBatches(dataset, sampler))
    assert len(batches) == len(sampler) == 3
    for batch in batches:
        assert (batch.index[:4] >= 50).all() and (batch.index[4:] < 10).all()
        assert_array_equal(batch.y, images.y[batch.index])
        pixels = images.X[batch.index].transpose(0, 3, 1, 2) if of_images else 0
        assert_array_equal(batch.x, pixels if of_images else rows[batch.index])
