"""Co-teaching: what is forgotten, and who learns what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baselines.models import Told, classifier, labels_only
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn.functional import cross_entropy

from sklearn_turn.baselines import CoTeaching
from sklearn_turn.baselines.co_teaching import CoTeachingTraining
from sklearn_turn.baselines.parts import PartSampler
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.training import Batch

CODES = np.arange(40) % 4


@pytest.mark.parametrize(
    "rising, expected",
    [(4, [0, 0.1, 0.2, 0.3, 0.4, 0.4]), (1, [0] + [0.4] * 5), (0, [0.4] * 6)],
)
def test_forget_rate_rises_to_the_noise_rate(rising, expected):
    rule = CoTeachingTraining(labels_only(CODES), 0.4, rising)
    rates = []
    for rule.epoch_ in range(6):
        rates.append(rule.forget_rate)
    assert_allclose(rates, expected)


def test_history_tells_the_forget_rate(wide):
    clf = CoTeaching(noise_rate=0.3, lp_epochs=4, random_state=0).fit(wide.X, wide.y)
    assert_allclose([row["forget_rate"] for row in clf.history_], [0, 0.15, 0.3, 0.3])


def test_a_rate_to_estimate_needs_probes(wide):
    clf = CoTeaching(mode="fine-tune", lp_epochs=0, fft_epochs=2, random_state=0)
    with pytest.raises(ValueError, match="lp_epochs is 0.*noise_rate"):
        clf.fit(wide.X, wide.y)
    clf.set_params(noise_rate=0.3).fit(wide.X, wide.y)
    assert clf.history_[-1]["forget_rate"] == 0.3


def test_each_learns_from_the_least_losses_of_the_other():
    rule = CoTeachingTraining(labels_only(CODES), 0.6, 0)
    rule.epoch_ = 1
    net = Told()
    (part,) = rule.parts(net, CODES)
    assert_array_equal(part.rows, np.arange(40))
    members = [classifier(0), classifier(1)]
    index = torch.arange(10, 20)
    batch = Batch(torch.randn(10, 3), torch.from_numpy(CODES[10:20]), index)
    losses = [
        [cross_entropy(m(batch.x)[[i]], batch.y[[i]]).item() for i in range(10)]
        for m in members
    ]
    lowest = [sorted(range(10), key=one.__getitem__)[:4] for one in losses]
    assert set(lowest[0]) != set(lowest[1]), "else nothing is exchanged"
    for k in range(2):
        (found,) = rule.terms(members, k, [batch])
        assert_allclose(found.item(), np.mean([losses[k][i] for i in lowest[1 - k]]))
    picked = np.zeros(40)
    for places in lowest:
        picked[10 + np.array(places)] += 1
    assert_array_equal(rule.picked_, picked)
    assert_array_equal(rule.met_, np.r_[np.zeros(10), np.full(10, 2), np.zeros(20)])


def test_something_is_picked_at_any_rate():
    rule = CoTeachingTraining(labels_only(CODES), 0.99, 0)
    rule.epoch_ = 0
    members = [classifier(0), classifier(1)]
    batch = Batch(torch.randn(5, 3), torch.arange(5) % 4, torch.arange(5))
    (loss,) = rule.terms(members, 0, [batch])
    assert loss.isfinite() and len(rule._picks[0]) == 2


def test_an_empty_selection_is_survived_with_a_warning():
    rule = CoTeachingTraining(labels_only(CODES), 0.9, 0)
    rule.sampler_ = PartSampler(rule.rng, 4)
    rule.met_[:] = 10
    rule.picked_[:5] = 3
    with pytest.warns(CleansingWarning, match="the 5 picked most count as clean"):
        rule.on_train_end(None)
    assert_array_equal(rule.selection_.clean_mask, np.arange(40) < 5)
    assert_allclose(rule.selection_.clean_proba, 0.3 * (np.arange(40) < 5))


def test_what_no_network_met_is_not_flagged():
    rule = CoTeachingTraining(labels_only(CODES), 0.4, 0)
    rule.sampler_ = PartSampler(rule.rng, 4)
    rule.met_[:30], rule.picked_[:20], rule.picked_[20:30] = 10, 8, 1
    rule.on_train_end(None)
    assert_array_equal(np.flatnonzero(~rule.selection_.clean_mask), np.arange(20, 30))
    assert_array_equal(rule.selection_.clean_proba[30:], 1.0)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_estimates_the_noise_rate(rate, wide):
    from sklearn_turn.noise import symmetric

    y = symmetric(wide.y_true, rate, random_state=1)
    clf = CoTeaching(random_state=0).fit(wide.X, y)
    found = clf.history_[-1]["forget_rate"]
    assert abs(found - (y != wide.y_true).mean()) < 0.06
    assert clf.score(wide.X, wide.y_true) > 0.95


def test_a_rate_that_is_not_known_is_warned_of(wide):
    """Of few samples about every rate explains the labels."""
    few, y = wide.X[:48], wide.y[:48]
    with pytest.warns(
        CleansingWarning, match="By noise_rate='auto' 0%.*Give the noise"
    ):
        clf = CoTeaching(random_state=0, lp_epochs=4).fit(few, y)
    assert clf.history_[-1]["forget_rate"] < 0.01
    told = CoTeaching(noise_rate=0.25, random_state=0, lp_epochs=4)
    told.fit(few, y)  # is silent


def test_a_class_that_is_never_predicted_counts_as_wrong_and_is_warned_of():
    """Its features are those of another class."""
    rng = np.random.RandomState(0)
    y = np.arange(600) % 4
    X = 6 * np.eye(8)[np.where(y == 3, 0, y)] + rng.normal(size=(600, 8))
    y[(y == 3) & (rng.rand(600) < 0.6)] = 0
    with pytest.warns(CleansingWarning, match="never predicted|have another label"):
        CoTeaching(random_state=0, lp_epochs=5).fit(X, y)


def test_a_low_rate_counts_in_small_batches_too():
    rule = CoTeachingTraining(labels_only(CODES), 0.05, 0)
    rule.epoch_ = 1
    members = [classifier(0), classifier(1)]
    batch = Batch(torch.randn(8, 3), torch.from_numpy(CODES[:8]), torch.arange(8))
    kept = []
    for _ in range(300):
        list(rule.terms(members, 0, [batch]))
        kept.append(len(rule._picks[0]))
    assert set(kept) == {7, 8}
    assert abs(np.mean(kept) - 0.95 * 8) < 0.1  # four standard errors
