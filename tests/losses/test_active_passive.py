"""Active-passive and asymmetric losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from losses.problems import N_CLASSES, N, probabilities, problem

from sklearn_turn.losses import ActivePassiveLoss

INDEX = torch.arange(N)


def by_loop(terms, logits, target, *, alpha, beta, q, a):
    """The published formulas, sample by sample."""
    active, passive = terms.split("+")
    losses = []
    for p, y in zip(probabilities(logits), target.tolist(), strict=True):
        if active == "nce":
            first = math.log(p[y]) / sum(math.log(one) for one in p)
        else:
            first = (1 - p[y] ** q) / (len(p) - sum(one**q for one in p))
        second = {
            "rce": lambda p, y: (
                -sum(p[k] * math.log(1 if k == y else 1e-4) for k in range(len(p)))
            ),
            "mae": lambda p, y: sum(abs(p[k] - (k == y)) for k in range(len(p))) / 2,
            "agce": lambda p, y: ((a + 1) ** q - (a + p[y]) ** q) / q,
            "aul": lambda p, y: ((a - p[y]) ** q - (a - 1) ** q) / q,
            "ael": lambda p, y: math.exp(-p[y] / a),
        }[passive](p, y)
        losses.append(alpha * first + beta * second)
    return np.array(losses)


@pytest.mark.parametrize("active", ["nce", "ngce"])
@pytest.mark.parametrize("passive", ["rce", "mae", "agce", "aul", "ael"])
@pytest.mark.parametrize(("q", "a"), [(0.3, 1.8), (1.0, 6.0)])
def test_loss_is_the_papers_formula(active, passive, q, a):
    logits, target = problem()
    options = {"alpha": 0.7, "beta": 3.0, "q": q, "a": a}
    terms = f"{active}+{passive}"
    found = ActivePassiveLoss(terms, **options)(logits, target, INDEX)
    expected = by_loop(terms, logits, target, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("passive", "total"), [("mae", 6), ("rce", 6 * 9.21034)])
@pytest.mark.parametrize("active", ["nce", "ngce"])
def test_losses_of_all_labels_have_a_constant_sum(active, passive, total):
    """What makes a loss robust to symmetric noise, whatever the prediction."""
    logits, _ = problem()
    alpha, beta = 2.0, 0.5
    loss = ActivePassiveLoss(f"{active}+{passive}", alpha=alpha, beta=beta)
    labels = [torch.full((N,), k) for k in range(N_CLASSES)]
    found = sum(loss(logits, label, INDEX) for label in labels)
    expected = torch.full_like(found, alpha + beta * total)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_q_of_zero_normalises_cross_entropy():
    logits, target = problem()
    nce = ActivePassiveLoss("nce+mae")(logits, target, INDEX)
    limit = ActivePassiveLoss("ngce+mae", q=0.0)(logits, target, INDEX)
    near = ActivePassiveLoss("ngce+mae", q=1e-7)(logits, target, INDEX)
    torch.testing.assert_close(limit, nce)
    torch.testing.assert_close(near, nce, rtol=1e-5, atol=0)


@pytest.mark.parametrize("passive", ["agce", "aul"])
def test_q_of_one_is_half_the_absolute_error(passive):
    logits, target = problem()
    found = ActivePassiveLoss(f"nce+{passive}", q=1.0, a=3.0)(logits, target, INDEX)
    expected = ActivePassiveLoss("nce+mae")(logits, target, INDEX)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": "nce"}, "no loss 'nce'. Join one of nce, ngce and one of rce, mae"),
        ({"terms": "rce+nce"}, r"no loss 'rce\+nce'"),
        ({"terms": "ngce+mae", "q": 1.5}, r"'ngce\+mae' needs q in \[0, 1\]"),
        ({"terms": "nce+agce", "q": 0.0}, r"'nce\+agce' needs q > 0, but got 0.0"),
        ({"terms": "nce+aul", "q": 0.0}, "needs q > 0"),
        ({"terms": "nce+aul", "a": 1.0}, r"'nce\+aul' needs a > 1, but got 1.0"),
        ({"terms": "nce+ael", "a": 0.0}, r"'nce\+ael' needs a > 0"),
        ({"terms": "nce+agce", "a": -1.0}, r"needs a > 0"),
    ],
)
def test_terms_and_parameters_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ActivePassiveLoss(**options)
