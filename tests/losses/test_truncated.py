"""Truncated generalised cross-entropy and its pruning."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from losses.problems import N_CLASSES, probabilities, problem

from sklearn_turn.losses import GCELoss, TruncatedGCELoss

N = 40
INDEX = torch.arange(N)


@pytest.mark.parametrize("q", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("plain_visits", [1, 2])
def test_loss_is_a_naive_loop_over_epochs_and_samples(q, plain_visits):
    k = 0.4
    loss = TruncatedGCELoss(N, q=q, truncation=k, plain_visits=plain_visits)
    weight, seen = [1] * N, [0] * N
    rng = np.random.RandomState(0)
    n_pruned = n_back = 0

    def of(p):
        return (1 - p**q) / q if q else -math.log(p)

    for epoch in range(5):
        logits, target = problem(N, seed=epoch)
        for index in np.array_split(rng.permutation(N)[:30], 4):
            found = loss(logits[index], target[index], torch.tensor(index))
            p = probabilities(logits[index])
            for row, i in enumerate(index):
                p_y = p[row, target[i]]
                expected = weight[i] * of(p_y) + (1 - weight[i]) * of(k)
                assert found[row].item() == pytest.approx(expected, rel=1e-6)
                seen[i] += 1
                if seen[i] >= plain_visits:
                    n_back += weight[i] == 0 and p_y > k
                    weight[i] = int(p_y > k)
                    n_pruned += weight[i] == 0
    assert n_pruned and n_back


def test_pruned_samples_have_no_gradient_and_others_that_of_the_plain_loss():
    logits, target = problem(N)
    loss = TruncatedGCELoss(N)
    loss(logits, target, INDEX)
    logits.requires_grad_()
    (found,) = torch.autograd.grad(loss(logits, target, INDEX).sum(), logits)
    (plain,) = torch.autograd.grad(GCELoss()(logits, target, INDEX).sum(), logits)
    pruned = logits.softmax(dim=1)[INDEX, target] <= 0.5
    assert 0 < pruned.sum() < N
    assert (found[pruned] == 0).all()
    torch.testing.assert_close(found[~pruned], plain[~pruned])


def test_a_fresh_head_is_trained_at_first():
    """Truncation itself would leave out all samples of an undecided model."""
    logits = torch.zeros(N, N_CLASSES, requires_grad=True)
    target = INDEX % N_CLASSES
    loss = TruncatedGCELoss(N, plain_visits=3)
    for visit in range(4):
        (gradient,) = torch.autograd.grad(loss(logits, target, INDEX).sum(), logits)
        assert gradient.any() == (visit < 3)


def test_evaluation_changes_no_weight():
    logits, target = problem(N)
    loss = TruncatedGCELoss(N).eval()
    first = loss(logits, target, INDEX)
    torch.testing.assert_close(loss(logits, target, INDEX), first)
    torch.testing.assert_close(first, GCELoss()(logits, target, INDEX))


def test_weights_survive_pickling_and_end_when_told():
    logits, target = problem(N)
    loss = TruncatedGCELoss(N)
    plain = loss(logits, target, INDEX)
    copied = pickle.loads(pickle.dumps(loss))
    pruned = loss(logits, target, INDEX)
    assert not torch.allclose(pruned, plain)
    torch.testing.assert_close(copied(logits, target, INDEX), pruned)
    loss.forget()
    torch.testing.assert_close(loss(logits, target, INDEX), plain)


@pytest.mark.parametrize("options", [{"q": 2.0}, {"truncation": 0}, {"truncation": 1}])
def test_parameters_are_checked(options):
    with pytest.raises(ValueError, match="'gce' needs"):
        TruncatedGCELoss(N, **options)


def test_it_must_be_told_the_samples():
    logits, target = problem(N)
    with pytest.raises(ValueError, match="positions of 3 of 40 samples"):
        TruncatedGCELoss(N)(logits, target, torch.arange(3))
