"""Cross-entropy, generalised and symmetric."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from losses.problems import N, probabilities, problem
from torch import nn

from sklearn_turn.losses import (
    CrossEntropyLoss,
    GCELoss,
    SCELoss,
    generalized_cross_entropy,
)

INDEX = torch.arange(N)


def _likelihood(logits, target):
    return logits.softmax(dim=1)[torch.arange(len(target)), target]


@pytest.mark.parametrize("q", [0.1, 0.5, 0.7, 1.0])
def test_generalized_cross_entropy_is_the_papers_formula(q):
    logits, target = problem()
    expected = (1 - _likelihood(logits, target) ** q) / q
    torch.testing.assert_close(generalized_cross_entropy(logits, target, q), expected)


def test_q_of_zero_is_cross_entropy():
    logits, target = problem()
    expected = -_likelihood(logits, target).log()
    torch.testing.assert_close(generalized_cross_entropy(logits, target, 0), expected)


def test_small_q_tends_to_cross_entropy():
    logits, target = problem()
    near = generalized_cross_entropy(logits, target, 1e-6)
    limit = -_likelihood(logits, target).log()
    torch.testing.assert_close(near, limit, rtol=1e-4, atol=0)


def test_q_of_one_is_half_the_absolute_error():
    logits, target = problem()
    one_hot = nn.functional.one_hot(target, logits.shape[1])
    absolute = (logits.softmax(dim=1) - one_hot).abs().sum(dim=1)
    torch.testing.assert_close(
        generalized_cross_entropy(logits, target, 1.0), absolute / 2
    )


@pytest.mark.parametrize("q", [0.0, 0.3, 0.7, 1.0])
def test_gradient_is_that_of_cross_entropy_times_likelihood_to_the_q(q):
    logits, target = problem()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(
        generalized_cross_entropy(logits, target, q).sum(), logits
    )
    p = logits.detach().softmax(dim=1)
    of_cross_entropy = p - nn.functional.one_hot(target, logits.shape[1])
    weight = _likelihood(logits.detach(), target) ** q
    torch.testing.assert_close(gradient, weight[:, None] * of_cross_entropy)


def test_gradient_at_a_fresh_head_shrinks_with_the_number_of_classes():
    n_classes, q = 100, 0.7
    logits = torch.zeros(1, n_classes, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        generalized_cross_entropy(logits, torch.tensor([3]), q).sum(), logits
    )
    expected = (1 - 1 / n_classes) * n_classes**-q
    assert gradient[0, 3].item() == pytest.approx(-expected)


@pytest.mark.parametrize("scale", [1e2, 1e4, 3e38])
@pytest.mark.parametrize("q", [0.0, 0.7, 1.0])
def test_extreme_logits_give_finite_losses_and_gradients(scale, q):
    logits = torch.tensor([[scale / 2, -scale / 2]]).requires_grad_()
    right = generalized_cross_entropy(logits, torch.tensor([0]), q)
    wrong = generalized_cross_entropy(logits, torch.tensor([1]), q)
    assert right.item() == pytest.approx(0, abs=1e-6)
    assert wrong.item() == pytest.approx(1 / q if q else scale)
    wrong.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_loss_module_has_a_value_per_sample():
    logits, target = problem()
    expected = (1 - _likelihood(logits, target) ** 0.4) / 0.4
    losses = GCELoss(q=0.4)(logits, target, torch.arange(len(target)))
    torch.testing.assert_close(losses, expected)


def test_loss_module_defaults_to_the_usual_q():
    uniform = torch.zeros(4, 10, dtype=torch.float64)
    losses = GCELoss()(uniform, torch.arange(4), torch.arange(4))
    assert losses.tolist() == pytest.approx(4 * [(1 - math.pow(0.1, 0.7)) / 0.7])


@pytest.mark.parametrize("q", [-0.1, 1.5])
def test_q_is_checked(q):
    with pytest.raises(ValueError, match=r"'gce' needs q in \[0, 1\], but got"):
        GCELoss(q=q)


def test_cross_entropy_is_that_of_torch():
    logits, target = problem()
    found = CrossEntropyLoss()(logits, target, INDEX)
    expected = nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(found, expected)
    soft = problem(seed=1)[0].softmax(dim=1)
    found = CrossEntropyLoss()(logits, soft, INDEX)
    expected = nn.functional.cross_entropy(logits, soft, reduction="none")
    torch.testing.assert_close(found, expected)


def test_symmetric_cross_entropy_is_both_entropies_by_a_loop():
    logits, target = problem()
    p = probabilities(logits)
    expected = []
    for row, label in zip(p, target.tolist(), strict=True):
        y = np.clip(np.eye(len(row))[label], 1e-4, 1)
        forward = -math.log(row[label])
        reverse = -sum(row[k] * math.log(y[k]) for k in range(len(row)))
        expected.append(0.3 * forward + 2.5 * reverse)
    found = SCELoss(alpha=0.3, beta=2.5)(logits, target, INDEX)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_symmetric_cross_entropy_is_published_for_ten_classes():
    sce = SCELoss()
    assert (sce.alpha, sce.beta) == (0.1, 1.0)
