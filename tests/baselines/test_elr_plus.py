"""ELR+ against loops: targets, moving averages, loss."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from baselines.models import classifier, labels_only, numpy_proba
from numpy.testing import assert_allclose
from skorch.callbacks import Checkpoint
from skorch.dataset import ValidSplit
from torch import nn

from sklearn_turn.baselines import ELRPlus
from sklearn_turn.baselines.elr_plus import ELRPlusTraining, follow, sigmoid_ramp
from sklearn_turn.baselines.parts import PartSampler
from sklearn_turn.training import Batch

CODES = np.arange(12) % 4


def rule_of(members, **parameters):
    rule = ELRPlusTraining(labels_only(CODES), ELRPlus(**parameters))
    rule.averages_ = [copy.deepcopy(classifier(10 + k)) for k in range(2)]
    rule.targets_ = [rule._memory() for _ in members]
    return rule


def batch_of(*index):
    torch.manual_seed(sum(index))
    i = torch.tensor(index)
    return Batch(torch.randn(len(index), 3), torch.from_numpy(CODES)[i], i)


@pytest.mark.parametrize("k", [0, 1])
def test_loss_by_a_loop_over_two_visits(k):
    members = [classifier(0), classifier(1)]
    rule = rule_of(members, alpha=0.0, elr_beta=0.6, elr_lambda=4.0)
    t = np.zeros((12, 4))
    nothing = batch_of(0)
    for index in ([1, 2, 5], [5, 1, 7]):
        batch = batch_of(*index)
        parts = [batch, nothing] if k == 0 else [nothing, batch]
        (found,) = rule.terms(members, k, parts)
        x = batch.x.double().numpy()
        other = numpy_proba(rule.averages_[1 - k], x)
        own = numpy_proba(members[k], x)
        expected = 0.0
        for i, p_other, p in zip(index, other, own, strict=True):
            t[i] = 0.6 * t[i] + 0.4 * p_other
            expected -= np.log(p[CODES[i]]) / 3
            expected += 4.0 * np.log(1 - sum(t[i] * p)) / 3
        assert_allclose(found.item(), expected, rtol=1e-5)
    everyone = torch.arange(12)
    cpu = torch.device("cpu")
    assert_allclose(rule.targets_[k].read(everyone, cpu), t, rtol=1e-5, atol=1e-7)
    assert (rule.targets_[1 - k].read(everyone, cpu) == 0).all()


def test_labels_and_targets_are_mixed_as_samples_are():
    members = [classifier(0), classifier(1)]
    rule = rule_of(members, alpha=1.0, elr_lambda=2.0, elr_beta=0.7)
    batch = batch_of(1, 2, 5, 8)
    torch.manual_seed(3)
    (found,) = rule.terms(members, 0, [batch, batch])
    torch.manual_seed(3)
    partner = torch.randperm(4).numpy()
    share = np.random.RandomState(0).beta(1.0, 1.0)
    share = max(share, 1 - share)
    x, y = batch.x.double().numpy(), np.eye(4)[CODES[batch.index]]
    t = 0.3 * numpy_proba(rule.averages_[1], x)
    x, y, t = (share * a + (1 - share) * a[partner] for a in (x, y, t))
    p = numpy_proba(members[0], x)
    expected = -(y * np.log(p)).sum(axis=1) + 2 * np.log(1 - (t * p).sum(axis=1))
    assert_allclose(found.item(), expected.mean(), rtol=1e-5)


def test_gradient_is_finite_where_prediction_and_target_agree():
    members = [classifier(0), classifier(1)]
    rule = rule_of(members, alpha=0.0, elr_beta=0.0)
    for member in (*members, *rule.averages_):
        nn.init.constant_(member.head.bias, 0.0)
        member.head.bias.data[1] = 1000.0
    (loss,) = rule.terms(members, 0, [batch_of(1), batch_of(1)])
    loss.backward()
    assert members[0].head.weight.grad.isfinite().all()


def test_moving_average_by_a_loop():
    average, module = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    expected = average.weight.detach().clone()
    for step in range(4):
        nn.init.constant_(module.weight, float(step))
        module.running_mean.fill_(step)
        follow(average, module, 0.8)
        expected = 0.8 * expected + 0.2 * step
        assert_allclose(average.weight.detach(), expected)
        assert (average.running_mean == step).all()


def test_decay_rises_over_half_of_training_and_averages_over_most_of_an_epoch():
    members = [classifier(0), classifier(1)]
    rule = rule_of(members)
    net = SimpleNamespace(members_=members, n_batches_=391)
    start = [copy.deepcopy(average) for average in rule.averages_]
    for rule.done_, ramp in ((0.25, np.exp(-1.25)), (0.5, 1.0), (0.9, 1.0)):
        rule.averages_ = copy.deepcopy(start)
        rule.on_batch_end(net, training=True)
        decay = 0.997 * ramp
        before, after = (a[0].head.weight.detach() for a in (start, rule.averages_))
        expected = decay * before + (1 - decay) * members[0].head.weight.detach()
        assert_allclose(after, expected, rtol=1e-4)
    rule.averages_ = copy.deepcopy(start)
    rule.on_batch_end(net, training=False)
    assert torch.equal(rule.averages_[0].head.weight, start[0].head.weight)
    assert_allclose(sigmoid_ramp(0.0), np.exp(-5))


def test_the_moving_averages_predict_and_the_targets_judge():
    members = [classifier(0), classifier(1)]
    rule = rule_of(members)
    rule.sampler_ = PartSampler(rule.rng, 4)
    averages = [average.head.weight.clone() for average in rule.averages_]
    cpu, proba = torch.device("cpu"), np.random.RandomState(0).rand(2, 11, 4)
    for memory, rows in zip(rule.targets_, proba, strict=True):
        memory.read(torch.arange(12), cpu)
        memory.write(torch.arange(11), torch.from_numpy(rows))
    rule.on_train_end(SimpleNamespace(members_=members))
    for member, average in zip(members, averages, strict=True):
        assert torch.equal(member.head.weight, average)
    for i in range(11):
        t = proba[0, i] + proba[1, i]
        assert rule.selection_.suggested[i] == t.argmax()
        assert rule.selection_.clean_mask[i] == (t.argmax() == CODES[i])
        assert_allclose(
            rule.selection_.clean_proba[i], t[CODES[i]] / t.sum(), rtol=1e-5
        )
    # The last sample was never visited.
    assert rule.selection_.clean_mask[11] and rule.selection_.clean_proba[11] == 1
    assert rule.selection_.suggested[11] == CODES[11]


def test_finds_wrong_labels(wide):
    clf = ELRPlus(random_state=0).fit(wide.X, wide.y)
    assert (clf.clean_mask_ != wide.is_wrong).mean() > 0.9
    assert (clf.suggested_labels_ == wide.y_true).mean() > 0.9
    assert clf.score(wide.X, wide.y_true) > 0.95
    assert not hasattr(clf, "losses_")


@pytest.mark.parametrize("params", ["lp_params", "fft_params"])
def test_networks_are_not_brought_back_in_place_of_averages(params, wide):
    callback = Checkpoint(load_best=True)
    split = ValidSplit(5, stratified=True)
    clf = ELRPlus(**{params: {"callbacks": [callback], "train_split": split}})
    with pytest.raises(ValueError, match=f"{params} holds Checkpoint with load_best"):
        clf.fit(wide.X, wide.y)


def test_targets_that_never_move_are_refused(wide):
    with pytest.raises(ValueError, match="'elr_beta' parameter of ELRPlus"):
        ELRPlus(elr_beta=1.0).fit(wide.X, wide.y)
