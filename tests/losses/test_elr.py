"""Early-learning regularisation and its memory."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from losses.problems import N_CLASSES, probabilities, problem

from sklearn_turn.losses import ELRLoss, memory
from sklearn_turn.losses.memory import SampleMemory

N = 40


def visits(n_epochs, share=1.0):
    """Batches of 8 samples of a new random part of the samples in each epoch."""
    rng = np.random.RandomState(0)
    for epoch in range(n_epochs):
        order = rng.permutation(N)[: int(share * N)]
        logits, target = problem(N, seed=epoch)
        for start in range(0, len(order), 8):
            index = torch.tensor(order[start : start + 8])
            yield logits[index], target[index], index


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_loss_is_a_naive_loop_over_epochs_and_samples(share):
    lambda_, beta = 2.5, 0.6
    loss = ELRLoss(N, N_CLASSES, lambda_=lambda_, beta=beta)
    average = {i: [0.0] * N_CLASSES for i in range(N)}
    for logits, target, index in visits(4, share):
        found = loss(logits, target, index)
        p = probabilities(logits)
        for row, (i, y) in enumerate(zip(index.tolist(), target.tolist(), strict=True)):
            average[i] = [
                beta * old + (1 - beta) * new
                for old, new in zip(average[i], p[row], strict=True)
            ]
            agreement = sum(t * new for t, new in zip(average[i], p[row], strict=True))
            expected = -math.log(p[row][y]) + lambda_ * math.log(1 - agreement)
            assert found[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_average_has_no_gradient():
    """Finite differences at a fixed average, which the first visit made."""
    logits, target = problem(N)
    index = torch.arange(N)
    loss = ELRLoss(N, N_CLASSES, beta=0.0)
    logits.requires_grad_()
    (found,) = torch.autograd.grad(loss(logits, target, index).sum(), logits)
    # With beta = 0 the average is the last prediction.
    loss.eval()
    fixed = logits.detach()
    step = 1e-6
    for k in range(N_CLASSES):
        change = torch.zeros_like(fixed)
        change[:, k] = step
        up, down = (loss(fixed + s * change, target, index) for s in (1.0, -1.0))
        torch.testing.assert_close(
            found[:, k], (up - down) / (2 * step), rtol=1e-4, atol=1e-5
        )


def test_lambda_of_zero_is_cross_entropy():
    logits, target = problem(N)
    found = ELRLoss(N, N_CLASSES, lambda_=0.0)(logits, target, torch.arange(N))
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(found, expected)


def test_a_sample_that_is_always_sure_has_a_bounded_regulariser():
    logits = torch.tensor([[100.0, -100.0]])
    loss = ELRLoss(1, 2, lambda_=3.0, beta=0.0)
    found = loss(logits, torch.tensor([0]), torch.tensor([0]))
    assert found.item() == pytest.approx(3 * math.log(1e-4), rel=1e-5)


def test_evaluation_reads_the_average_and_keeps_it():
    logits, target = problem(N)
    other, _ = problem(N, seed=5)
    index = torch.arange(N)
    loss = ELRLoss(N, N_CLASSES)
    loss(logits, target, index)
    loss.eval()
    first = loss(logits, target, index)
    loss(other, target, index)
    torch.testing.assert_close(loss(logits, target, index), first, rtol=0, atol=0)
    unseen = ELRLoss(N, N_CLASSES).eval()(logits, target, index)
    assert not torch.allclose(first, unseen)


def test_memory_survives_pickling_and_ends_when_told():
    logits, target = problem(N)
    other, _ = problem(N, seed=5)
    index = torch.arange(N)
    loss = ELRLoss(N, N_CLASSES)
    loss(logits, target, index)
    copied = pickle.loads(pickle.dumps(loss))
    expected = loss(other, target, index)
    torch.testing.assert_close(copied(other, target, index), expected)
    assert len(pickle.dumps(loss)) > 4 * N * N_CLASSES
    loss.forget()
    assert len(pickle.dumps(loss)) < 4 * N * N_CLASSES
    fresh = ELRLoss(N, N_CLASSES)
    again = fresh(logits, target, index)
    torch.testing.assert_close(loss(logits, target, index), again, rtol=0, atol=0)


def test_memory_of_many_gigabytes_is_refused_before_it_is_made():
    with pytest.raises(ValueError, match=r"3,000,000 x 1,000 numbers, 11.2 GiB"):
        ELRLoss(3_000_000, 1000)


def test_memory_that_would_crowd_an_accelerator_lies_on_the_host(monkeypatch):
    device = torch.device("meta")  # stands in for one
    index = torch.tensor([0, 2])
    small = SampleMemory(3, 4)
    assert small.read(index.to(device), device).device == device
    assert small._rows.device == device
    monkeypatch.setattr(memory, "MOST_ON_DEVICE", 0)
    large = SampleMemory(3, 4)
    rows = large.read(index, device)
    assert rows.device == device and rows.shape == (2, 4)
    assert large._rows.device == torch.device("cpu")
    large.write(index, torch.ones(2, 4))
    assert large.read(torch.arange(3), torch.device("cpu"))[:, 0].tolist() == [1, 0, 1]


def test_a_loss_that_is_not_told_the_samples_says_what_to_do():
    logits, target = problem(N)
    with pytest.raises(ValueError, match="positions of 0 of 40 samples. Train it thr"):
        ELRLoss(N, N_CLASSES)(logits, target, torch.empty(0, dtype=torch.int64))


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_beta_is_checked(beta):
    with pytest.raises(ValueError, match=r"'elr' needs beta in \[0, 1\)"):
        ELRLoss(N, N_CLASSES, beta=beta)
