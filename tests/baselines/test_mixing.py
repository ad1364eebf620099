"""Sharpening, mixing and the loss of MixMatch, against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baselines.models import classifier, numpy_proba
from numpy.testing import assert_allclose

from sklearn_turn.backbones import BatchTransform
from sklearn_turn.baselines.mixing import (
    guessing,
    logits_of,
    mean_proba,
    mix_match_loss,
    mixed_up,
    sharpen,
    views_of,
)
from sklearn_turn.training import Batch


def random_proba(n, n_classes=4, seed=0):
    return np.random.RandomState(seed).dirichlet(np.ones(n_classes), n)


@pytest.mark.parametrize("temperature", [0.3, 0.5, 1.0, 2.0])
def test_sharpen_by_a_loop(temperature):
    proba = random_proba(5)
    expected = np.empty_like(proba)
    for i, row in enumerate(proba):
        powers = [p ** (1 / temperature) for p in row]
        expected[i] = np.array(powers) / sum(powers)
    assert_allclose(sharpen(torch.from_numpy(proba), temperature), expected)


def test_sharpen_does_not_underflow():
    proba = torch.full((2, 1000), 1e-3)
    assert_allclose(sharpen(proba, 0.05), proba, rtol=1e-5)


def test_mixed_up_mixes_samples_and_labels_alike():
    """With one-hot inputs as their own targets, both mixtures must be the same."""
    eye = torch.eye(8)
    for seed in range(20):
        torch.manual_seed(seed)
        inputs, targets = mixed_up(eye, eye, 4.0, np.random.RandomState(seed))
        assert torch.equal(inputs, targets)
        assert_allclose(targets.sum(dim=1), 1, rtol=1e-6)
        assert (targets.diagonal() >= 0.5).all(), "nearer to itself"
        # Every sample is the partner of one.
        assert_allclose(targets.sum(dim=0), 1, rtol=1e-5)
    same, _ = mixed_up(eye, eye, 0.0, np.random.RandomState(0))
    assert same is eye


def test_mixing_shares_follow_the_beta_distribution():
    rng = np.random.RandomState(0)
    eye = torch.eye(30)
    shares = []
    for seed in range(400):
        torch.manual_seed(seed)
        mixed, _ = mixed_up(eye, eye, 1.0, rng)
        moved = mixed.diagonal()[mixed.diagonal() < 1]
        shares.append(float(moved[0]))
    # max(l, 1 - l) of a uniform l is uniform in [1/2, 1].
    assert_allclose(np.mean(shares), 0.75, atol=0.02)
    assert min(shares) >= 0.5 and max(shares) > 0.98


def test_mixing_refuses_integers():
    codes = torch.ones(4, 3, dtype=torch.int64)
    with pytest.raises(TypeError, match="cannot be mixed.*mode='probe'"):
        mixed_up(codes, torch.eye(4), 1.0, np.random.RandomState(0))


def test_mean_proba_is_over_classifiers_and_views():
    members = [classifier(0), classifier(1)]
    views = [torch.randn(5, 3), torch.randn(5, 3)]
    expected = np.mean(
        [numpy_proba(m, x.double().numpy()) for m in members for x in views], axis=0
    )
    with guessing(members):
        found = mean_proba(members, views)
        assert not members[0].training
    assert members[0].training and not found.requires_grad
    assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("n_unlabelled", [6, 0])
def test_mix_match_loss_by_a_loop(n_unlabelled):
    member = classifier(0)
    x, u = torch.randn(5, 3), torch.randn(n_unlabelled, 3)
    targets, guesses = random_proba(5, seed=1), random_proba(n_unlabelled, seed=2)
    found = mix_match_loss(
        member,
        ([x], torch.from_numpy(targets)),
        ([u] if n_unlabelled else [], torch.from_numpy(guesses)),
        alpha=0.0,
        lambda_u=7.0,
        rng=np.random.RandomState(0),
    )
    p_x = numpy_proba(member, x.double().numpy())
    p_u = numpy_proba(member, u.double().numpy())
    expected = 0.0
    for t, p in zip(targets, p_x, strict=True):
        expected += sum(-t[c] * np.log(p[c]) for c in range(4)) / 5
    for t, p in zip(guesses, p_u, strict=True):
        squares = sum((t[c] - p[c]) ** 2 for c in range(4))
        expected += 7.0 * squares / (n_unlabelled * 4)
    mean = np.concatenate([p_x, p_u]).mean(axis=0)
    expected += sum(0.25 * np.log(0.25 / mean[c]) for c in range(4))
    assert_allclose(found.item(), expected, rtol=1e-5)


def test_views_are_augmented_in_any_mode_and_features_have_one():
    member = classifier(0, width=3)
    batch = Batch(torch.rand(4, 3, 8, 8), torch.zeros(4).long(), torch.arange(4))
    assert views_of(member, batch, 2)[0] is batch.x
    assert len(views_of(member, batch, 2)) == 1

    noise = lambda x: x + torch.rand_like(x)  # noqa: E731
    member.embed.transform = BatchTransform(8, (0,) * 3, (1,) * 3, augment=noise)
    member.eval()
    first, second = views_of(member, batch, 2)
    assert not torch.equal(first, second)
    (strong,) = views_of(member, batch, 1, torch.zeros_like)
    assert (strong == 0).all()
    assert not member.embed.transform.training
    assert member.embed.transform.augment is noise
    assert views_of(member, Batch(*(part[:0] for part in batch[:3])), 2) == []


class Shift(torch.nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, images):
        return images + self.by


@pytest.mark.parametrize("weak", [Shift(1.0), torch.ones_like, None])
def test_an_augmentation_that_is_a_module_stays_with_its_own_views(weak):
    """Set on a copy of a module, another module would be in the original too."""
    member = classifier(0, width=3)
    transform = BatchTransform(8, (0,) * 3, (1,) * 3, augment=weak)
    member.embed.transform = transform
    images = torch.zeros(4, 3, 8, 8)
    batch = Batch(images, torch.zeros(4).long(), torch.arange(4))
    for _ in range(2):
        (strong,) = views_of(member, batch, 1, Shift(5.0))
        assert (strong == 5).all()
        (view,) = views_of(member, batch, 1)
        assert torch.equal(view, images if weak is None else images + 1)
    assert transform.augment is weak
    assert [m.by for m in transform.modules() if isinstance(m, Shift)] in ([], [1.0])


def test_logits_of_a_view_are_those_of_the_classifier():
    member = classifier(0)
    x = torch.randn(4, 3)
    assert torch.equal(logits_of(member, x), member(x))
