"""CORES: its regulariser and its schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baselines.models import Told, classifier, labels_only, numpy_proba
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_turn.baselines import CORES
from sklearn_turn.baselines.cores import CORESTraining
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.selection import CORESNoiseFilter
from sklearn_turn.training import Batch

CODES = np.array([0] * 20 + [1] * 10 + [2] * 6 + [3] * 4)


def rule_of(codes=CODES, **parameters):
    rule = CORESTraining(labels_only(codes), CORES(**parameters))
    rule.epoch_, rule.done_, rule.warmup_share_ = 12, 1.0, 0.1
    return rule


def told(proba, max_epochs=20):
    log_proba = np.log(proba)
    losses = -log_proba[np.arange(40), CODES, None]
    net = Told(
        log_proba=log_proba, losses=losses, predicted=np.argmax(log_proba, axis=1)
    )
    net.max_epochs = max_epochs
    return net


def test_loss_by_a_loop():
    member = classifier(0)
    torch.manual_seed(1)
    y = torch.tensor([0, 3, 1])
    batch = Batch(torch.randn(3, 3), y, torch.arange(3))
    (found,) = rule_of(beta=0.6).terms([member], 0, [batch])
    shares = [20 / 40, 10 / 40, 6 / 40, 4 / 40]
    expected = 0.0
    for p, label in zip(numpy_proba(member, batch.x.double().numpy()), y, strict=True):
        average = sum(shares[k] * -np.log(p[k]) for k in range(4))
        expected += (-np.log(p[label]) - 0.6 * average) / 3
    assert_allclose(found.item(), expected, rtol=1e-5)


def test_weight_rises_after_warm_up_until_samples_are_sieved():
    ten = np.arange(40) % 10
    rule = rule_of(ten, rise=0.4)
    weights = []
    for rule.done_ in (0.0, 0.1, 0.2, 0.3, 0.5, 1.0):
        weights.append(rule.beta)
    assert_allclose(weights, [0, 0, 0.5, 1, 2, 2])
    assert rule_of(ten, rise=0.0).beta == 2.0


@pytest.mark.parametrize(("beta", "used"), [(0.5, 0.5), (2.0, 2 / 3)])
def test_weight_is_bounded_by_the_largest_class(beta, used):
    assert_allclose(rule_of(beta=beta).beta, used)  # its share is 1 / 2


@pytest.mark.filterwarnings("ignore:.*selects no sample")
def test_samples_are_sieved_after_a_share_of_training_and_before_the_last_epoch():
    proba = np.random.RandomState(0).dirichlet(np.ones(4), 40)
    found = CORESNoiseFilter().fit(np.log(proba), CODES)
    rule, net = rule_of(), told(proba)
    sieved = []
    for rule.epoch_ in range(20):
        (part,) = rule.parts(net, CODES)
        sieved.append(len(part.rows) < 40)
    assert sieved == [False] * 8 + [True] * 12
    assert_array_equal(part.rows, np.flatnonzero(found.clean_mask_))
    assert_array_equal(rule.selection_.clean_mask, found.clean_mask_)
    suggested = np.where(found.clean_mask_, CODES, proba.argmax(axis=1))
    assert_array_equal(rule.selection_.suggested, suggested)
    late = rule_of(rise=1.0)
    late.epoch_ = 18
    assert len(late.parts(net, CODES)[0].rows) == 40
    late.epoch_ = 19
    assert len(late.parts(net, CODES)[0].rows) < 40


def test_an_empty_selection_is_survived_with_a_warning():
    proba = np.full((40, 4), 0.3)
    proba[np.arange(40), CODES] = 0.1
    with pytest.warns(CleansingWarning, match="no sample of 4 of 4 classes"):
        (part,) = rule_of().parts(told(proba), CODES)
    assert_array_equal(CODES[part.rows], [0, 1, 2, 3])


def test_finds_wrong_labels(wide):
    clf = CORES(random_state=0).fit(wide.X, wide.y)
    assert (clf.clean_mask_ != wide.is_wrong).mean() > 0.9
    assert clf.score(wide.X, wide.y_true) > 0.95


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_learns_clean_labels_of_two_balanced_classes_and_of_one_large_one(share):
    rng = np.random.RandomState(0)
    y = (rng.rand(1500) > share).astype(int)
    X = rng.randn(1500, 16)
    X[:, 0] += 6 * (y - 0.5)
    clf = CORES(random_state=0).fit(X[:1000], y[:1000])
    best_constant = max(share, 1 - share)
    assert clf.score(X[1000:], y[1000:]) > max(0.9, best_constant)
