"""UNICON against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baselines.models import Told, classifier, labels_only, numpy_proba
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_turn.backbones import BatchTransform
from sklearn_turn.backbones.augment import color_augment
from sklearn_turn.baselines import UNICON
from sklearn_turn.baselines.unicon import UNICONTraining, contrastive_loss
from sklearn_turn.selection import UNICONNoiseFilter
from sklearn_turn.training import Batch

CODES = np.arange(40) % 4


def rule_of(is_frozen=True, **parameters):
    task = labels_only(CODES)
    task.is_frozen = is_frozen
    rule = UNICONTraining(task, UNICON(**parameters))
    rule.epoch_, rule.done_, rule.warmup_share_ = 2, 1.0, 0.1
    return rule


def told(losses):
    return Told(losses=losses[:, None], predicted=np.zeros(40, int))


def test_both_networks_learn_from_one_selection_of_the_mean_prediction():
    rule = rule_of(largest_cutoff=0.4)
    losses = np.random.RandomState(0).exponential(size=40)
    parts = rule.parts(told(losses), None)
    found = UNICONNoiseFilter(0.4).fit(losses[:, None], CODES)
    for selected, others in (parts[:2], parts[2:]):
        assert_array_equal(selected.rows, np.flatnonzero(found.clean_mask_))
        assert_array_equal(others.rows, np.flatnonzero(~found.clean_mask_))
        assert selected.leads and not others.leads
    for i in range(40):
        d = found.divergence_[i]
        assert_allclose(rule.w_[i], 1 if d < 0.5 else 1 - d, rtol=1e-5)
    assert (found.divergence_ > 0.5).any() and (found.divergence_ < 0.5).any()
    assert rule.selection_.noise_filter.largest_cutoff == 0.4


@pytest.mark.parametrize("k", [0, 1])
def test_loss_by_a_loop(k):
    members = [classifier(0), classifier(1)]
    rule = rule_of(alpha=0.0, lambda_u=3.0, temperature=0.5)
    w = np.random.RandomState(1).rand(40)
    rule.w_ = torch.from_numpy(w).float()
    index = [torch.tensor([3, 8]), torch.tensor([5, 1, 6])]
    torch.manual_seed(5)
    batches = [
        Batch(torch.randn(len(i), 3), torch.from_numpy(CODES[i]), i) for i in index
    ]
    (found,) = rule.terms(members, k, batches * 2)

    x, u = (batch.x.double().numpy() for batch in batches)
    p_x, p_u = numpy_proba(members[k], x), numpy_proba(members[k], u)
    guesses = (numpy_proba(members[0], u) + numpy_proba(members[1], u)) / 2
    expected = 0.0
    for i, p in zip([3, 8], p_x, strict=True):
        target = (w[i] * np.eye(4)[CODES[i]] + (1 - w[i]) * p) ** 2
        expected -= (target / target.sum() * np.log(p)).sum() / 2
    for p, guess in zip(p_u, guesses, strict=True):
        expected += 3.0 * ((guess**2 / (guess**2).sum() - p) ** 2).mean() / 3
    mean = np.concatenate([p_x, p_u]).mean(axis=0)
    expected += (0.25 * np.log(0.25 / mean)).sum()
    assert_allclose(found.item(), expected, rtol=1e-4)


def test_contrastive_loss_by_a_loop():
    first, second = torch.randn(2, 5, 7).double() * 10
    found = contrastive_loss(first, second, 0.3)
    g = [row / np.linalg.norm(row) for row in torch.cat([first, second]).numpy()]
    expected = 0.0
    for i in range(10):
        others = [np.exp(g[i] @ g[b] / 0.3) for b in range(10) if b != i]
        expected -= np.log(np.exp(g[i] @ g[(i + 5) % 10] / 0.3) / sum(others)) / 10
    assert_allclose(found.item(), expected)


class FlatImages(nn.Linear):
    """Features of 2 x 2 images."""

    def __init__(self):
        super().__init__(12, 3)

    def forward(self, images):
        return super().forward(images.flatten(1))


def test_strong_views_are_learned_and_weak_ones_predicted():
    """With a contrastive term of its own, by the projection of two strong views."""
    seen = []

    def strong(images):
        seen.append("strong")
        return images + 1

    def weak(images):
        seen.append("weak")
        return images

    members = [classifier(0), classifier(1)]
    for member in members:
        member.embed = FlatImages()
        member.embed.transform = BatchTransform(2, (0,) * 3, (1,) * 3, augment=weak)
        member.projection = nn.Linear(3, 5)
    rule = rule_of(is_frozen=False, strong_augment=strong)
    rule.w_ = torch.ones(40)
    batch = Batch(torch.rand(4, 3, 2, 2), torch.arange(4), torch.arange(4))
    terms = list(rule.terms(members, 0, [batch] * 4))
    assert seen == ["weak"] * 4 + ["strong"] * 4
    assert len(terms) == 2
    projected = members[0].projection(members[0].embed(batch.x + 1))
    expected = 0.025 * contrastive_loss(projected, projected, 0.05)
    assert_allclose(terms[1].item(), expected.item(), rtol=1e-4)


def test_strong_augmentation_follows_augment():
    assert rule_of().strong is color_augment
    assert rule_of(augment=None).strong is None
    assert rule_of(augment=None, strong_augment="color").strong is color_augment


def test_nothing_to_contrast_on_features():
    assert not rule_of().projects
    assert rule_of(is_frozen=False).projects
    assert not rule_of(is_frozen=False, lambda_c=0.0).projects


def test_learns_in_spite_of_wrong_labels(wide):
    clf = UNICON(random_state=0).fit(wide.X, wide.y)
    assert clf.score(wide.X, wide.y_true) > 0.95
    selected = np.bincount(wide.y[clf.clean_mask_])
    assert selected.max() == selected.min(), "uniform"
    assert (wide.y == wide.y_true)[clf.clean_mask_].mean() > 0.95
