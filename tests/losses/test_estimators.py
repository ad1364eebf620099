"""Losses by name and of the user's in linear probing and full fine-tuning."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.dataset import ValidSplit
from support import Pool, Tally, pool
from torch import nn

from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import CollapsedProbeWarning
from sklearn_turn.losses import (
    ActivePassiveLoss,
    CrossEntropyLoss,
    ELRLoss,
    GCELoss,
    SampleLoss,
    SCELoss,
    TruncatedGCELoss,
)
from sklearn_turn.losses.choice import DEFAULTS

CHOICES = [
    *({"loss": name} for name in DEFAULTS if name != "ce"),
    {"loss": "gce", "truncation": 0.3},
    {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
]
ELR, TRUNCATED, TORCH = 2, -2, -1
both = pytest.mark.parametrize("kind", [LinearProbing, FullFineTuning])
each_choice = pytest.mark.parametrize(
    "choice", CHOICES, ids=lambda choice: str(choice["loss"])
)


def brief(kind, **params):
    """Four epochs, the loss from the second on."""
    prefix = "lp" if kind is LinearProbing else "fft"
    defaults = {f"{prefix}_epochs": 4, f"{prefix}_warmup_epochs": 1, "random_state": 0}
    return kind(**{**defaults, f"{prefix}_lr": 0.02, **params})


def criterion(clf):
    return (clf.probe_ if hasattr(clf, "probe_") else clf.net_).criterion_


# The losses with a memory, and a loss of the user's, in the other estimator too.
@parametrize_with_checks(
    [brief(LinearProbing, **choice) for choice in CHOICES]
    + [brief(FullFineTuning, **CHOICES[k]) for k in (ELR, TRUNCATED, TORCH)]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@both
@each_choice
def test_classes_are_learned_from_noisy_labels(kind, choice, blobs):
    clf = brief(kind, **choice).fit(blobs.X, blobs.y)
    assert clf.score(blobs.X, blobs.y_true) > 0.85
    again = clone(clf).fit(blobs.X, blobs.y)
    np.testing.assert_array_equal(
        again.predict_proba(blobs.X), clf.predict_proba(blobs.X)
    )
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(
        loaded.predict_proba(blobs.X), clf.predict_proba(blobs.X)
    )


@pytest.mark.parametrize(
    ("params", "kind", "few", "many"),
    [
        ({"loss": "ce"}, CrossEntropyLoss, {}, {}),
        ({"loss": "gce"}, GCELoss, {"q": 0.7}, {"q": 0.7}),
        ({"loss": "gce", "q": 0}, GCELoss, {"q": 0}, {"q": 0}),
        (
            {"loss": "gce", "truncation": 0.4},
            TruncatedGCELoss,
            {"q": 0.7, "truncation": 0.4, "plain_visits": 4},
            {"q": 0.7, "truncation": 0.4, "plain_visits": 4},
        ),
        (
            {"loss": "sce"},
            SCELoss,
            {"alpha": 0.1, "beta": 1.0},
            {"alpha": 6.0, "beta": 0.1},
        ),
        (
            {"loss": "sce", "alpha": 2.0},
            SCELoss,
            {"alpha": 2.0, "beta": 1.0},
            {"alpha": 2.0, "beta": 0.1},
        ),
        (
            {"loss": "elr", "elr_lambda": 2.0},
            ELRLoss,
            {"lambda_": 2.0, "beta": 0.9},
            {"lambda_": 2.0, "beta": 0.9},
        ),
        (
            {"loss": "nce+agce", "a": 3.0},
            ActivePassiveLoss,
            {"terms": "nce+agce", "alpha": 1.0, "beta": 4.0, "a": 3.0, "q": 1.5},
            {"terms": "nce+agce", "alpha": 10.0, "beta": 0.1, "a": 3.0, "q": 3.0},
        ),
    ],
)
def test_parameters_left_out_are_as_published(params, kind, few, many):
    for n_classes, expected in ((10, few), (49, few), (50, many), (100, many)):
        options = LinearProbing(**params)._loss(
            n_samples=6, n_classes=n_classes, n_visits=12
        )
        loss = options.pop("criterion")
        assert loss is kind
        made = loss(**{k.removeprefix("criterion__"): v for k, v in options.items()})
        assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize("elr_lambda", [1.0, 3.0])
@pytest.mark.parametrize("elr_beta", [0.0, 0.7])
def test_elr_starts_at_its_closed_form(elr_lambda, elr_beta, blobs):
    """At a fresh head all samples have the same p, and the average is (1 - beta) p."""
    clf = LinearProbing(
        loss="elr",
        elr_lambda=elr_lambda,
        elr_beta=elr_beta,
        lp_epochs=1,
        lp_warmup_epochs=0,
        lp_batch_size=300,
    ).fit(blobs.X, blobs.y)
    p = LinearProbing(lp_epochs=0).fit(blobs.X, blobs.y).predict_proba(blobs.X[:1])[0]
    shares = np.bincount(blobs.y) / len(blobs.y)
    regulariser = math.log(1 - (1 - elr_beta) * (p**2).sum())
    expected = -(shares * np.log(p)).sum() + elr_lambda * regulariser
    assert clf.history_[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


@both
@pytest.mark.parametrize("choice", [CHOICES[ELR], CHOICES[TRUNCATED]])
def test_what_a_loss_remembers_does_not_stay_in_the_estimator(kind, choice, blobs):
    X, y = np.tile(blobs.X, (20, 1)), np.tile(blobs.y, 20)
    size, without = (
        len(pickle.dumps(brief(kind, **params).fit(X, y)))
        for params in (choice, {"loss": "ce"})
    )
    assert size - without < 2000 < 3 * len(y)


def test_images_can_be_tuned_by_a_loss_with_a_memory(images):
    params = {"fft_lr": 1e-3, "backbone": pool, "input_size": 8}
    first, second = (
        brief(FullFineTuning, loss=loss, **params).fit(images.X, images.y)
        for loss in ("ce", "elr")
    )
    losses = [[row["train_loss"] for row in clf.history_] for clf in (first, second)]
    # Alike while warming up; then the regulariser, which is negative.
    assert losses[0][0] == losses[1][0]
    assert losses[1][1] < losses[0][1] - 0.1


@pytest.mark.parametrize(
    ("loss", "name"), [("nce+rce", "ActivePassiveLoss"), ("sce", "SCELoss")]
)
def test_a_probe_that_collapsed_is_trained_again(loss, name):
    X, y = make_blobs(600, centers=30, n_features=5, random_state=0)
    params = {"lp_epochs": 3, "lp_warmup_epochs": 0, "lp_lr": 1000.0, "alpha": 0.0}
    clf = LinearProbing(loss=loss, random_state=0, **params)
    with pytest.warns(CollapsedProbeWarning, match=rf"{name}\(.*alpha=0.0"):
        clf.fit(X, y)
    assert type(clf.probe_.criterion_) is CrossEntropyLoss


def test_elr_remembers_the_samples_of_a_split_only(blobs):
    """Positions are those in the whole set; what is set aside leaves no trace."""
    seen = []

    class Watched(ELRLoss):
        def forward(self, logits, target, index):
            losses = super().forward(logits, target, index)
            seen.append((self.training, index.clone()))
            self.visited = self._average.read(torch.arange(300), logits.device)
            return losses

        def forget(self):
            pass

    params = {"train_split": ValidSplit(3)}
    clf = brief(LinearProbing, loss=Watched(300, 3), lp_params=params)
    clf.fit(blobs.X, blobs.y)
    # The first call tried the loss, before training.
    trained, held = (
        torch.cat([index for mode, index in seen[1:] if mode == training]).unique()
        for training in (True, False)
    )
    assert len(trained) + len(held) == 300
    visited = criterion(clf).visited.sum(dim=1)
    assert (visited[trained] > 0).all() and (visited[held] == 0).all()


def test_parameters_of_losses_can_be_searched(blobs):
    smooth = nn.CrossEntropyLoss(label_smoothing=0.2)
    search = GridSearchCV(
        brief(LinearProbing, loss="gce"),
        [
            {"q": [0.3, 0.7], "truncation": [None, 0.3]},
            {"loss": ["sce", "nce+rce"], "alpha": [None, 0.5]},
            {"loss": ["elr"], "elr_lambda": [0.0, 1.0], "elr_beta": [0.5]},
            {"loss": [smooth]},
        ],
        cv=2,
        error_score="raise",
    ).fit(blobs.X, blobs.y)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 11 and (scores > 0.5).all()
    # ELR without its regulariser is cross-entropy.
    ce = GridSearchCV(brief(LinearProbing), {"loss": ["ce"]}, cv=2)
    ce.fit(blobs.X, blobs.y)
    assert scores[8] == ce.cv_results_["mean_test_score"][0]


@both
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss,
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        CrossEntropyLoss,
        CrossEntropyLoss(),
    ],
    ids=["class", "averaged", "per sample", "class with index", "with index"],
)
def test_a_torch_loss_trains_as_the_named_one_does(kind, loss, blobs):
    found = brief(kind, loss=loss).fit(blobs.X, blobs.y).predict_proba(blobs.X)
    expected = brief(kind).fit(blobs.X, blobs.y).predict_proba(blobs.X)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_torch_loss_is_copied_and_left_as_it_was(blobs):
    class Counting(nn.CrossEntropyLoss):
        calls = 0

        def forward(self, *args):
            self.calls += 1
            return super().forward(*args)

    loss = Counting()
    clf = brief(LinearProbing, loss=loss, lp_epochs=3, lp_batch_size=300)
    first, second = (clf.fit(blobs.X, blobs.y).probe_.criterion_ for _ in range(2))
    assert clf.loss is loss and loss.calls == 0
    assert first.calls == second.calls == 2  # after one epoch of warming up
    assert first is not second


def test_classes_can_be_weighted(blobs):
    weight = torch.tensor([1.0, 1.0, 50.0])
    clf = brief(LinearProbing, loss=nn.CrossEntropyLoss(weight=weight))
    shares = np.bincount(clf.fit(blobs.X, blobs.y).predict(blobs.X)) / 300
    assert shares[2] > 0.5


class NotDifferentiable(nn.Module):
    def forward(self, logits, target):
        return (logits.argmax(dim=1) != target).float()


class PerClass(nn.Module):
    def forward(self, logits, target):
        return logits.square()


class Infinite(nn.Module):
    def forward(self, logits, target):
        return logits.sum() / 0


class Nothing(nn.Module):
    def forward(self, logits, target):
        return None


class Needy(nn.Module):
    def __init__(self, gamma):
        super().__init__()


@both
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "mse"}, "The 'loss' parameter of .* must be"),
        ({"loss": nn.functional.cross_entropy}, "The 'loss' parameter of .* must be"),
        ({"loss": int}, "loss is the class int, which is no torch module. Pass a name"),
        (
            {"loss": Needy},
            "class Needy, which cannot be made without .*gamma",
        ),
        ({"loss": nn.NLLLoss()}, "NLLLoss, which takes log-probabilities"),
        ({"loss": nn.NLLLoss}, "Use torch.nn.CrossEntropyLoss"),
        ({"loss": nn.MSELoss()}, r"\(n, 3\) and .* but fails"),
        ({"loss": nn.L1Loss(reduction="none")}, r"\(n, 3\) and .* but fails"),
        ({"loss": nn.BCEWithLogitsLoss()}, r"labels of shape \(n,\) in .* but fails:"),
        ({"loss": nn.CrossEntropyLoss(torch.ones(5))}, r"\(n, 3\) and .* but fails"),
        ({"loss": NotDifferentiable()}, "differentiable in the logits, but returns"),
        ({"loss": PerClass}, r"for 4 samples returns torch.Size\(\[4, 3\]\)"),
        ({"loss": Infinite()}, "PerClass|Infinite.*finite and differentiable"),
        ({"loss": Nothing()}, "for 4 samples returns NoneType"),
        ({"loss": SampleLoss()}, "but fails: SampleLoss defines no loss"),
        ({"loss": "gce", "q": 1.5}, r"'gce' needs q in \[0, 1\], but got 1.5"),
        ({"loss": "nce+aul", "a": 0.5}, r"'nce\+aul' needs a > 1, but got 0.5"),
        ({"loss": "nce+agce", "q": 0}, r"'nce\+agce' needs q > 0"),
        ({"loss": "gce", "truncation": 1.0}, "The 'truncation' parameter"),
        ({"loss": "elr", "elr_beta": 1.0}, "The 'elr_beta' parameter"),
        ({"alpha": -1.0}, "The 'alpha' parameter"),
    ],
)
def test_what_is_no_loss_is_refused_before_any_work(kind, params, message, images):
    tally = Tally()
    clf = brief(kind, backbone=lambda: Pool(tally), input_size=8, **params)
    with pytest.raises(ValueError, match=message):
        clf.fit(images.X, images.y)
    assert tally.evaluated == tally.trained == 0
    assert not hasattr(clf, "classes_")


def test_a_memory_of_many_gigabytes_is_refused_before_any_work():
    with pytest.raises(ValueError, match="at most 8 GiB are. Choose a loss without"):
        LinearProbing(loss="elr")._loss(n_samples=10**7, n_classes=1000, n_visits=20)


@pytest.mark.parametrize(
    "make, epochs",
    [(LinearProbing, "lp_epochs"), (FullFineTuning, "fft_epochs")],
)
def test_a_loss_that_no_epoch_is_left_for_is_warned_of(make, epochs, blobs):
    clf = make(loss="gce", random_state=0, **{epochs: 1})
    with pytest.warns(UserWarning, match=f"loss='gce' is not used: raise {epochs}"):
        clf.fit(blobs.X, blobs.y)
    make(loss="gce", **{epochs: 0}).fit(blobs.X, blobs.y)  # trains on nothing
    make(loss="ce", **{epochs: 1}).fit(blobs.X, blobs.y)


def test_classes_that_a_robust_loss_gives_up_are_named():
    """Of features that tell nothing, the largest class is predicted for all."""
    X = np.arange(90)[:, None] % 2 * [1.0, -1.0]
    y = np.repeat(["cat", "dog", "owl"], [50, 25, 15])
    robust = FullFineTuning(loss="gce", fft_epochs=8, fft_lr=0.1, random_state=0)
    with pytest.warns(
        UserWarning, match=r"GCELoss.*never predicts 1 of 3 classes: dog\."
    ):
        robust.fit(X, y)
    assert set(robust.predict(X)) == {"cat"}


@pytest.mark.parametrize("n_epochs", [0, 6])
def test_classes_that_are_learned_are_not_named(n_epochs, recwarn):
    X, y = make_blobs(120, centers=3, cluster_std=0.5, random_state=0)
    options = {"fft_epochs": n_epochs, "fft_warmup_epochs": n_epochs // 2}
    FullFineTuning(loss="gce", **options, random_state=0).fit(X, y)
    assert not len(recwarn)
