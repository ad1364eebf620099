"""Classifiers trained in step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_turn.baselines.joint import JointTraining
from sklearn_turn.baselines.parts import Part
from sklearn_turn.baselines.peers import PeerNet, Peers
from sklearn_turn.inputs import FeatureRows
from sklearn_turn.training import Labelled


class Plain(JointTraining):
    """Cross-entropy on all samples, the same for both."""

    def __init__(self, y, warmup_epochs=0):
        self.codes, self.classes = y, np.arange(3)
        self.rng = np.random.RandomState(0)
        self.warmup_epochs = warmup_epochs
        self.seen = []

    def parts(self, net, dataset):
        return [Part(np.arange(len(dataset)))]

    def terms(self, members, k, parts):
        self.seen.append((k, parts[0].index.tolist(), self.done_))
        yield (k + 1) * cross_entropy(members[k](parts[0].x), parts[0].y)


def peer_net(rule, **options):
    torch.manual_seed(0)
    return PeerNet(
        Peers,
        module__embed=nn.Identity(),
        module__scale=nn.Identity(),
        module__head=nn.Linear(2, 3),
        classes=[0, 1, 2],
        rule=rule,
        callbacks=[("rule", rule)],
        **{
            "optimizer": torch.optim.SGD,
            "lr": 0.1,
            "max_epochs": 2,
            "batch_size": 50,
            **options,
        },
    )


def test_members_are_trained_as_if_each_had_its_own_optimizer(blobs):
    X, y = blobs.X.astype(np.float32), blobs.y.copy()
    rule = Plain(y)
    net = peer_net(rule, optimizer=torch.optim.Adam)
    net.initialize()
    alone = copy.deepcopy(net.members_)
    net.partial_fit(Labelled(FeatureRows(X), y), y)
    for k, member in enumerate(alone):
        optimizer = torch.optim.Adam(member.parameters(), lr=0.1)
        for index in (index for who, index, _ in rule.seen if who == k):
            optimizer.zero_grad()
            loss = cross_entropy(
                member(torch.from_numpy(X[index])), torch.from_numpy(y[index])
            )
            ((k + 1) * loss).backward()
            optimizer.step()
        assert_allclose(
            net.members_[k].head.weight.detach(),
            member.head.weight.detach(),
            rtol=1e-5,
            atol=1e-6,
        )
    done = [fraction for _, _, fraction in rule.seen][::2]
    assert_allclose(done, np.arange(12) / 12)


def test_warm_up_gives_every_member_its_own_order(blobs):
    y = blobs.y.copy()
    net = peer_net(Plain(y, warmup_epochs=2), batch_size=16)
    seen = []
    net.rule.warmup_loss = lambda logits, y: seen.append(y) or logits.sum()
    net.fit(Labelled(FeatureRows(blobs.X.astype(np.float32)), y), y)
    assert any(
        not torch.equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True)
    )
    assert not net.rule.seen


def test_prediction_is_the_mean_of_probabilities(blobs):
    X, y = torch.tensor(blobs.X).float(), blobs.y.copy()
    net = peer_net(Plain(y)).fit(Labelled(FeatureRows(X), y), y)
    with torch.no_grad():
        expected = sum(member(X).softmax(dim=1) for member in net.members_) / 2
        assert not torch.allclose(net.members_[0](X), net.members_[1](X))
    found = net.module_(X).detach().exp()
    assert_allclose(found, expected, rtol=1e-5)
    assert_allclose(net.module_.classify(X).detach().exp(), expected, rtol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_evidence_is_of_the_mean_probabilities(shared, blobs):
    y = blobs.y.copy()
    X = torch.tensor(blobs.X).float()
    net = peer_net(Plain(y), module__shared=shared)
    net.initialize()
    for member in net.members_:
        nn.init.normal_(member.head.weight, std=5)
    found = net.evidence(Labelled(FeatureRows(X), y), {"log_proba"})
    assert found["losses"].shape == (len(y), 1)
    for i in range(20):
        p = np.zeros(len(np.unique(y)))
        for member in net.members_:
            powers = np.exp(member(X[i : i + 1])[0].detach().double().numpy())
            p += powers / powers.sum() / 2
        assert_allclose(np.exp(found["log_proba"][i]), p, rtol=1e-4)
        assert_allclose(found["losses"][i, 0], -np.log(p[y[i]]), rtol=1e-4, atol=1e-6)
        assert found["predicted"][i] == p.argmax()


@pytest.mark.parametrize("shared", [True, False])
def test_evaluate_is_in_index_order_and_in_evaluation_mode(shared, blobs):
    y = blobs.y.copy()
    X = torch.tensor(blobs.X).float()
    net = peer_net(Plain(y), module__shared=shared)
    net.set_params(module__scale=nn.Dropout(0.5))
    net.initialize()
    dataset = Labelled(FeatureRows(X), y)
    found = net.evaluate(dataset, lambda logits, y: {"z": torch.cat(logits, 1), "y": y})
    members = [member.eval() for member in net.members_]
    expected = torch.cat([member(X) for member in members], dim=1).detach()
    assert_allclose(found["z"], expected, rtol=1e-5)
    assert_array_equal(found["y"], y)


def test_members_share_a_frozen_backbone_and_have_their_own_to_train():
    embed, head = nn.Linear(2, 2), nn.Linear(2, 3)
    shared = Peers(embed, nn.Identity(), head, shared=True)
    own = Peers(embed, nn.Identity(), head)
    assert shared.members[0].embed is shared.members[1].embed
    assert own.members[0].embed is embed is not own.members[1].embed
    assert torch.equal(own.members[1].embed.weight, embed.weight)
    assert not torch.equal(own.members[0].head.weight, own.members[1].head.weight)
    (alone,) = Peers(embed, nn.Identity(), head, n_members=1).members
    assert torch.equal(alone.head.weight, head.weight)
