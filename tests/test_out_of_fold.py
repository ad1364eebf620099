"""Predictions by probes that did not see the sample."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from skorch.callbacks import Callback
from support import Pool, Tally, tiny
from torch import nn

from sklearn_turn import NoiseChannelFilter, TURNClassifier, out_of_fold
from sklearn_turn.baselines import CoTeaching
from sklearn_turn.exceptions import CleansingWarning, SkippedImageWarning
from sklearn_turn.folds import deal_folds
from sklearn_turn.inputs import FeatureRows
from sklearn_turn.labels import log_frequencies
from sklearn_turn.losses import GCELoss
from sklearn_turn.noise import symmetric
from sklearn_turn.out_of_fold import OutOfFoldEvidence
from sklearn_turn.parameters import ProbeParameters, RunParameters
from sklearn_turn.steps import linear_probe, warmup_of_probe
from sklearn_turn.task import Task
from sklearn_turn.training.device import Runtime

GCE = {"criterion": GCELoss, "criterion__q": 0.7}


def _task(X, y):
    return Task(
        source=FeatureRows(X.astype(np.float32)),
        y=y,
        classes=np.unique(y),
        used=np.ones(len(y), bool),
        backbone=None,
        embed=nn.Identity(),
        runtime=Runtime.of(RunParameters()),
        random_state=np.random.RandomState(0),
    )


@pytest.mark.parametrize("n_folds", [2, 5])
def test_folds_spread_every_class(n_folds):
    y = np.random.RandomState(0).choice(4, 103, p=[0.5, 0.3, 0.15, 0.05])
    folds = deal_folds(y, n_folds, np.random.RandomState(1))
    counts = np.array([np.bincount(folds[y == c], minlength=n_folds) for c in range(4)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(np.bincount(folds)) <= 1


def test_folds_are_random():
    y = np.repeat([0, 1], 50)
    first, second = (deal_folds(y, 5, np.random.RandomState(seed)) for seed in (0, 1))
    assert 0.1 < (first == second).mean() < 0.4


def test_a_class_of_one_sample_is_warned_about():
    y = np.r_[np.zeros(5, int), 1]
    with pytest.warns(
        CleansingWarning, match="one sample: 1. No probe.*cannot be judged"
    ):
        deal_folds(y, 5, np.random.RandomState(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deal_folds(np.repeat([0, 1], 2), 5, np.random.RandomState(0))


@pytest.mark.filterwarnings("ignore::sklearn_turn.exceptions.CleansingWarning")
@pytest.mark.parametrize("kind", [TURNClassifier, CoTeaching])
def test_two_samples_leave_one_to_each_probe(kind):
    X, y = np.eye(2), np.array([0, 1])
    clf = kind(random_state=0).fit(X, y)
    assert clf.clean_mask_.shape == (2,)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_a_label_has_no_say_in_its_own_evidence(blobs):
    """A label that is changed changes the predictions of the others only."""
    parameters = ProbeParameters(lp_epochs=3)
    changed = blobs.y.copy()
    changed[7] = (changed[7] + 1) % 3
    log_proba = []
    for y in (blobs.y, changed):
        torch.manual_seed(0)
        refine = OutOfFoldEvidence(_task(blobs.X, blobs.y), parameters, GCE, 5)
        refine.task = _task(blobs.X, y)
        torch.manual_seed(0)
        refine.task.random_state.seed(3)
        log_proba.append(refine._log_proba(refine.task))
    same = (log_proba[0] == log_proba[1]).all(axis=1)
    assert same[7]
    fold = refine.folds == refine.folds[7]
    assert same[fold].all() and not same[~fold].any()


def test_evidence_is_of_one_kind(blobs):
    refine = OutOfFoldEvidence(
        _task(blobs.X, blobs.y), ProbeParameters(lp_epochs=3), GCE, 3
    )
    evidence = refine.first()
    rows = np.arange(300)
    np.testing.assert_allclose(
        evidence["losses"][:, 0], -evidence["log_proba"][rows, blobs.y]
    )
    np.testing.assert_allclose(np.exp(evidence["log_proba"]).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(evidence["features"], blobs.X.astype(np.float32))


def test_memorised_labels_are_found_out_of_fold():
    """With more features than samples a probe fits any labels it has seen."""
    rng = np.random.RandomState(0)
    y_true = np.arange(200) % 2
    X = rng.randn(200, 400) + 0.5 * y_true[:, None] * (np.arange(400) < 40)
    y = np.where(np.arange(200) < 30, 1 - y_true, y_true)
    parameters = ProbeParameters(lp_epochs=60, lp_lr=1e-2)
    refine = OutOfFoldEvidence(_task(X, y), parameters, GCE, 5)
    losses = refine.first()["losses"][:, 0]
    assert np.median(losses[:30]) > 2 * np.median(losses[30:])


@pytest.fixture
def judged(monkeypatch):
    """What probes said of all samples, each time that they were asked."""
    seen = []
    original = OutOfFoldEvidence._log_proba

    def noted(self, task):
        seen.append(original(self, task))
        return seen[-1]

    monkeypatch.setattr(OutOfFoldEvidence, "_log_proba", noted)
    return seen


def test_features_of_all_epochs_and_frozen_ones_are_averaged(images, judged):
    clf = tiny(cleansing_folds=3, fft_epochs=3).fit(images.X, images.y)
    assert len(judged) == 3
    logits = np.mean(judged, axis=0)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(60), images.y]
    np.testing.assert_allclose(clf.losses_, expected, rtol=1e-6)


def test_the_users_callbacks_are_for_the_probe_that_is_kept(blobs):
    class Sizes(Callback):
        seen = []

        def on_train_begin(self, net, X=None, **kwargs):
            self.seen.append(len(X))

    clf = TURNClassifier(
        cleansing_folds=3, fft_epochs=0, lp_params={"callbacks": [Sizes()]}
    )
    clf.fit(blobs.X, blobs.y)
    assert Sizes.seen == [300]


def test_a_fitted_classifier_keeps_no_data(images):
    clf = tiny(noise_filter="channel").fit(images.X, images.y)
    cleansing = dict(clf.net_.callbacks_)["cleansing"]
    assert cleansing.refine is cleansing.first_evidence is None
    assert cleansing.evidence_ == {}


def test_folds_warm_up_as_long_as_the_whole(monkeypatch):
    """By themselves four fifths of the samples would have too few steps."""
    rng = np.random.RandomState(0)
    y = np.arange(3072) % 20
    X = 3 * np.eye(20)[y] + rng.normal(size=(3072, 20))
    parameters = ProbeParameters(lp_epochs=21, lp_batch_size=128)
    task, seen = _task(X, y), []
    for given in (task, task.part(np.arange(2400))):
        seen.append(warmup_of_probe(given, parameters))
    assert seen == [2, 5]

    def noted(task, parameters, loss):
        seen.append(parameters.lp_warmup_epochs)
        return linear_probe(task, parameters, loss)

    monkeypatch.setattr(out_of_fold, "linear_probe", noted)
    OutOfFoldEvidence(task, parameters, GCE, 5)
    assert seen[2:] == [2] * 5


def _one_in_three(seed, *, missed):
    """Positives that are rare, or that are as frequent and were often missed."""
    rng = np.random.RandomState(seed)
    truth = rng.rand(1500) < (0.5 if missed else 0.3)
    X = 2.0 * truth[:, None] + rng.normal(size=(1500, 8))
    return X, truth, truth & ~(missed & (rng.rand(1500) < 0.4))


@pytest.mark.parametrize("seed", range(3))
def test_labels_wrong_in_one_direction_are_found(seed):
    X, truth, y = _one_in_three(seed, missed=True)
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(X, y)
    wrong = y != truth
    flagged = ~clf.clean_mask_
    assert flagged[wrong].mean() > 0.95  # .88 to .93 from the frequencies
    assert wrong[flagged].mean() > 0.97
    # From the frequencies it is too low by .07 to .1.
    assert abs(clf.noise_filter_.noise_rate_ - wrong.mean()) < 0.05
    # The probe that is kept starts as they do: from the frequencies, .94 to .96.
    assert (clf.predict(X) == truth).mean() > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_rare_classes_are_not_taken_for_missed_ones(seed):
    X, _, y = _one_in_three(seed, missed=False)
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(X, y)
    assert clf.clean_mask_.mean() > 0.995


def test_probes_start_as_the_labels_are_explained_better():
    for missed in (True, False):
        X, _, y = _one_in_three(0, missed=missed)
        task = _task(X, y.astype(int))
        task = replace(task, log_frequencies=log_frequencies(task.y, 2))
        refine = OutOfFoldEvidence(task, ProbeParameters(lp_epochs=20), GCE, 5)
        assert (refine.task.log_frequencies is None) is missed


@pytest.mark.parametrize("missed", [True, False])
def test_starts_are_compared_after_the_same_warm_up(missed, monkeypatch):
    """A longer one explains labels better by more than the start does."""
    made = []

    def spy(task, parameters, *args):
        made.append((task.log_frequencies is None, parameters.lp_warmup_epochs))
        return linear_probe(task, parameters, *args)

    monkeypatch.setattr(out_of_fold, "linear_probe", spy)
    X, _, y = _one_in_three(0, missed=missed)
    task = _task(X, y.astype(int))
    task = replace(task, log_frequencies=log_frequencies(task.y, 2))
    OutOfFoldEvidence(task, ProbeParameters(lp_epochs=20), GCE, 3)
    compared = [(False, 10)] * 3 + [(True, 10)] * 3
    assert made == compared + ([(True, 2)] * 3 if missed else [])


def test_classes_of_equal_size_are_judged_once(images, judged):
    """What is compared costs probes; equal chances are the only start here."""
    tiny(cleansing_folds=3, fft_epochs=0).fit(images.X, images.y)
    assert len(judged) == 1


def test_no_start_costs_a_pass_of_the_backbone(images):
    y = np.where(np.arange(60) < 48, images.y.min(), images.y)
    assert log_frequencies(y, 3) is not None
    tally = Tally()
    clf = tiny(backbone=lambda: Pool(tally), cleansing_folds=3, fft_epochs=2)
    clf.fit(images.X, y)
    assert tally.evaluated == 60 * 2


def _scenes():
    """Twelve frames each of 50 scenes, whose frames share the label."""
    X, truth = make_blobs(50, centers=3, cluster_std=1.0, random_state=0)
    groups = np.repeat(np.arange(50), 12)
    rng = np.random.RandomState(0)
    X = np.hstack([X, rng.normal(size=(50, 30))])[groups]
    X = X + 0.05 * rng.normal(size=X.shape)
    return X, truth[groups], symmetric(truth, 0.2, random_state=0)[groups], groups


def test_folds_of_each_sample_keep_siblings_together():
    X, truth, y, groups = _scenes()
    fold = np.array([7, -1, 3])[groups % 3]  # any integers
    task = _task(X, y)
    refine = OutOfFoldEvidence(task, ProbeParameters(lp_epochs=3), GCE, fold)
    np.testing.assert_array_equal(refine.folds, np.array([2, 0, 1])[groups % 3])
    wrong = y != truth
    alone, together = (
        TURNClassifier(cleansing_folds=f, fft_epochs=0, random_state=0).fit(X, y)
        for f in (3, fold)
    )
    found = [(~clf.clean_mask_)[wrong].mean() for clf in (alone, together)]
    assert found[0] < 0.2 < 0.7 < found[1]


@pytest.mark.parametrize(
    "fold, match",
    [
        (np.zeros(60, int), "has one fold"),
        (np.arange(59) % 3, r"shape \(59,\).*each of 60 samples"),
        (np.arange(60) / 2, "dtype float64"),
        (np.where(np.arange(60) < 20, 0, np.arange(60) % 2), "labelled .* in one fold"),
    ],
    ids=["one", "length", "float", "class"],
)
def test_folds_that_do_not_fit_are_refused_before_any_pass(fold, match, images):
    tally = Tally()
    order = np.argsort(images.y, kind="stable")
    clf = tiny(backbone=lambda: Pool(tally), cleansing_folds=fold)
    with pytest.raises(ValueError, match=match):
        clf.fit(images.X[order], np.repeat([0, 1, 2], 20))
    assert tally.evaluated == tally.trained == 0


def test_folds_and_verified_labels_of_skipped_files_are_passed_over(images, png_files):
    for index in (4, 30):
        Path(png_files[index]).write_bytes(b"not an image")
    good = np.setdiff1d(np.arange(60), [4, 30])
    fold = np.arange(60) % 4
    verified = [None if i % 5 else label for i, label in enumerate(images.y.tolist())]
    told, of_good = (
        NoiseChannelFilter(verified_labels=[verified[i] for i in rows])
        for rows in (range(60), good)
    )
    with pytest.warns(SkippedImageWarning):
        clf = tiny(noise_filter=told, cleansing_folds=fold, on_bad_image="skip")
        clf.fit(png_files, images.y)
    without = tiny(noise_filter=of_good, cleansing_folds=fold[good])
    without.fit(images.X[good], images.y[good])
    np.testing.assert_array_equal(clf.clean_proba_[good], without.clean_proba_)
    assert (clf.clean_proba_[::5] == 1).sum() == 11  # one of the twelve is skipped
