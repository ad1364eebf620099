"""DivideMix against loops, and where a division is empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baselines.models import Told, classifier, labels_only, numpy_proba
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_turn.baselines import DivideMix
from sklearn_turn.baselines.divide_mix import DivideMixTraining
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.training import Batch

CODES = np.arange(40) % 4


def rule_of(**parameters):
    return DivideMixTraining(labels_only(CODES), DivideMix(**parameters))


def told(each):
    each = np.asarray(each)
    losses = each.mean(axis=1, keepdims=True)
    return Told(each=each, losses=losses, predicted=np.zeros(40, int))


def two_opinions():
    """Losses by which network 0 finds the first ten labels noisy, 1 the last ten."""
    each = np.random.RandomState(0).uniform(0, 0.2, (40, 2))
    each[:10, 0] += 3
    each[30:, 1] += 3
    return each


def test_each_network_learns_from_the_division_by_the_other():
    rule = rule_of()
    rule.epoch_ = 2
    net = told(two_opinions())
    labelled_0, unlabelled_0, labelled_1, unlabelled_1 = rule.parts(net, None)
    assert_array_equal(labelled_0.rows, np.arange(30))
    assert_array_equal(unlabelled_0.rows, np.arange(30, 40))
    assert_array_equal(labelled_1.rows, np.arange(10, 40))
    assert_array_equal(unlabelled_1.rows, np.arange(10))
    assert labelled_0.leads and not unlabelled_0.leads
    assert_allclose(rule.selection_.clean_proba, rule.w_.mean(dim=1), atol=1e-6)
    kept = np.bincount(CODES[rule.selection_.clean_mask], minlength=4)
    assert net.recorded["kept"] == kept.tolist()


def test_losses_are_averaged_over_the_last_divisions():
    first, second = two_opinions(), two_opinions()[::-1]
    rule, once = rule_of(loss_epochs=2), rule_of()
    rule.epoch_ = once.epoch_ = 2
    rule.parts(told(np.ones((40, 2))), None)
    rule.parts(told(first), None)
    averaged = rule.parts(told(second.copy()), None)
    expected = once.parts(told((first + second) / 2), None)
    for a, b in zip(averaged, expected, strict=True):
        assert_array_equal(a.rows, b.rows)
    assert len(rule.losses_) == 2


@pytest.mark.filterwarnings("error")
def test_a_division_that_leaves_nothing_to_guess():
    rule = rule_of()
    rule.epoch_ = 2
    labelled, unlabelled, *_ = rule.parts(told(np.ones((40, 2))), None)
    assert len(labelled.rows) == 40 and len(unlabelled.rows) == 0


def test_an_empty_selection_keeps_the_lowest_loss_of_each_class_and_warns():
    rule = rule_of(tau=1.0)
    rule.epoch_ = 2
    each = two_opinions()
    with pytest.warns(CleansingWarning, match="4 of 4 classes kept no sample"):
        labelled, unlabelled, *_ = rule.parts(told(each), None)
    lowest = [
        min(np.flatnonzero(c == CODES), key=lambda i: each[i, 1]) for c in range(4)
    ]
    assert_array_equal(labelled.rows, sorted(lowest))
    assert len(unlabelled.rows) == 36
    # One of what either network learns from.
    kept = np.flatnonzero(rule.selection_.clean_mask)
    other = [
        min(np.flatnonzero(c == CODES), key=lambda i: each[i, 0]) for c in range(4)
    ]
    assert_array_equal(np.bincount(CODES[kept]), 1)
    assert {*kept} <= {*lowest, *other}


@pytest.mark.parametrize("k", [0, 1])
def test_loss_by_a_loop(k):
    """Refined by the network itself with the other's w, guessed by both."""
    members = [classifier(0), classifier(1)]
    rule = rule_of(alpha=0.0, lambda_u=30.0, temperature=0.4)
    w = np.random.RandomState(1).rand(40, 2)
    rule.w_ = torch.from_numpy(w).float()
    rule.done_, rule.warmup_share_ = 0.1 + 8 / 300, 0.1
    index = [torch.tensor([3, 8]), torch.tensor([5, 1, 6])]
    torch.manual_seed(5)
    batches = [
        Batch(torch.randn(len(i), 3), torch.from_numpy(CODES[i]), i) for i in index
    ]
    nothing = Batch(*(part[:0] for part in batches[0][:3]))
    parts = [*batches, nothing, nothing] if k == 0 else [nothing, nothing, *batches]
    (found,) = rule.terms(members, k, parts)

    def powered(p):
        return p**2.5 / (p**2.5).sum()

    x, u = (batch.x.double().numpy() for batch in batches)
    p_x, p_u = numpy_proba(members[k], x), numpy_proba(members[k], u)
    both = (numpy_proba(members[0], u) + numpy_proba(members[1], u)) / 2
    labelled = unlabelled = 0.0
    for i, p in zip([3, 8], p_x, strict=True):
        share = w[i, 1 - k]
        target = powered(share * np.eye(4)[CODES[i]] + (1 - share) * p)
        labelled -= (target * np.log(p)).sum() / 2
    for p, guess in zip(p_u, both, strict=True):
        unlabelled += ((powered(guess) - p) ** 2).mean() / 3
    mean = np.concatenate([p_x, p_u]).mean(axis=0)
    penalty = (0.25 * np.log(0.25 / mean)).sum()
    # Half-way up the ramp.
    expected = labelled + 15.0 * unlabelled + penalty
    assert_allclose(found.item(), expected, rtol=1e-4)


def test_weight_of_guesses_rises_after_warm_up():
    rule = rule_of()
    rule.warmup_share_ = 0.1
    weights = []
    for rule.done_ in (0.05, 0.1, 0.1 + 4 / 300, 0.1 + 16 / 300, 1.0):
        weights.append(rule.ramp(16 / 300))
    assert_allclose(weights, [0, 0, 0.25, 1, 1])


def test_confidence_penalty_is_the_entropy():
    logits, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    plain = rule_of().warmup_loss(logits, y)
    less = rule_of(confidence_penalty=True).warmup_loss(logits, y)
    p = logits.softmax(dim=1).double().numpy()
    assert_allclose((plain - less).item(), -(p * np.log(p)).sum() / 5, rtol=1e-5)


def test_finds_wrong_labels(wide):
    clf = DivideMix(random_state=0).fit(wide.X, wide.y)
    assert (clf.clean_mask_ != wide.is_wrong).mean() > 0.95
    assert (clf.suggested_labels_ == wide.y_true).mean() > 0.95
    assert clf.score(wide.X, wide.y_true) > 0.95
