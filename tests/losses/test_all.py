"""What all losses have in common: soft labels, gradients, extreme and half logits."""

from __future__ import annotations

import copy

import pytest
import torch
from losses.problems import IDS, LOSSES, N_CLASSES, N, problem
from torch.nn.functional import one_hot

from sklearn_turn.losses import SampleLoss

each_loss = pytest.mark.parametrize("loss", LOSSES, ids=IDS)
INDEX = torch.arange(N)


def primed(loss, training=False):
    """A copy that has seen every sample once, where it has a memory."""
    loss = copy.deepcopy(loss).train()
    logits, target = problem(seed=1)
    loss(logits, target, INDEX)
    return loss.train(training)


@each_loss
@pytest.mark.parametrize("training", [True, False])
def test_one_hot_label_is_the_label(loss, training):
    logits, target = problem()
    hard = primed(loss, training)(logits, target, INDEX)
    label = one_hot(target, N_CLASSES).float()
    soft = primed(loss, training)(logits, label, INDEX)
    assert hard.shape == (N,)
    torch.testing.assert_close(soft, hard)


@pytest.mark.parametrize(
    "loss", [one for one in LOSSES if "Truncated" not in type(one).__name__]
)
def test_loss_of_a_soft_label_is_the_expectation_over_the_label(loss):
    logits, _ = problem()
    weights = torch.rand(
        N, N_CLASSES, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    soft = weights / weights.sum(dim=1, keepdim=True)
    expected = sum(
        soft[:, k] * primed(loss)(logits, torch.full((N,), k), INDEX)
        for k in range(N_CLASSES)
    )
    torch.testing.assert_close(primed(loss)(logits, soft, INDEX), expected)


@each_loss
@pytest.mark.parametrize("soft", [False, True])
def test_gradient_is_that_of_finite_differences(loss, soft):
    logits, target = problem(seed=3)
    loss = primed(loss)
    if soft:
        target = problem(seed=4)[0].softmax(dim=1)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, target, INDEX), (logits,))


@each_loss
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_extreme_logits_give_finite_losses_and_gradients(loss, soft, training):
    """All probability on the label, on another, and none in particular."""
    logits = torch.full((N, N_CLASSES), -100.0)
    logits[: N // 2, 0], logits[N // 2 :, 1] = 100.0, 100.0
    logits[-5:] = 100.0
    logits.requires_grad_()
    target = torch.zeros(N, dtype=torch.int64)
    loss = copy.deepcopy(loss).train(training)
    for _ in range(3):
        label = one_hot(target, N_CLASSES).float() if soft else target
        losses = loss(logits, label, INDEX)
        losses.sum().backward()
        assert losses.dtype == torch.float32
        assert losses.isfinite().all() and logits.grad.isfinite().all()


@each_loss
def test_logits_of_half_precision_are_computed_in_full(loss):
    logits, target = problem()
    layer = torch.nn.Linear(N_CLASSES, N_CLASSES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(logits.float())
        assert half.dtype == torch.bfloat16
        found = primed(loss)(half, target, INDEX)
    expected = primed(loss)(half.float(), target, INDEX)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@each_loss
def test_right_labels_cost_less_than_wrong_ones(loss):
    logits = 4 * one_hot(torch.arange(N) % N_CLASSES, N_CLASSES).double()
    right = torch.arange(N) % N_CLASSES
    wrong = (right + 1) % N_CLASSES
    loss = copy.deepcopy(loss).eval()
    assert (loss(logits, right, INDEX) < loss(logits, wrong, INDEX)).all()


def test_a_loss_without_a_formula_says_so():
    logits, target = problem()
    with pytest.raises(TypeError, match="SampleLoss defines no loss"):
        SampleLoss()(logits, target, INDEX)
