"""TURN: Algorithm 1, and what it is for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from support import Fixed, Pool, Tally, assert_same, estimated, pool, tiny, tuning

from sklearn_turn import (
    FeatureExtractor,
    GMMNoiseFilter,
    NoiseChannelFilter,
    TURNClassifier,
)
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.metrics import label_issue_scores
from sklearn_turn.noise import symmetric

TABLE_5 = list(itertools.product([0, 2], ["epoch", "once", None], [0, 2]))


@pytest.mark.parametrize(
    "params, passes",
    [
        ({"fft_epochs": 4}, 1 + 3),
        ({"fft_epochs": 1}, 1),
        ({"fft_epochs": 0}, 1),
        ({"cleansing": "once", "fft_epochs": 3}, 1),
        ({"cleansing": None, "fft_epochs": 3}, 1),
        ({"lp_epochs": 0, "cleansing": None, "fft_epochs": 3}, 0),
        ({"lp_epochs": 0, "fft_epochs": 3}, 2),
        ({"lp_epochs": 0, "fft_epochs": 0}, 0),
    ],
    ids=str,
)
def test_passes_over_the_images_are_those_needed(params, passes, images):
    tally = Tally()
    clf = tiny(backbone=lambda: Pool(tally), **params).fit(images.X, images.y)
    assert tally.evaluated == 60 * passes
    epochs = tuning(clf)
    assert len(epochs) == clf.fft_epochs
    assert tally.trained == sum(row.get("n_train", 60) for row in epochs)


def test_a_prediction_is_one_pass(images):
    tally = Tally()
    clf = tiny(backbone=lambda: Pool(tally)).fit(images.X, images.y)
    before = tally.evaluated
    clf.predict(images.X[:7])
    assert tally.evaluated == before + 7


def test_every_class_contributes_what_the_smallest_has_clean(blobs):
    clf = TURNClassifier(noise_filter="gmm", random_state=0).fit(blobs.X, blobs.y)
    epochs = tuning(clf)
    assert len(epochs) == 4
    for row in epochs:
        n = 3 * min(row["kept"])
        assert row["n_train"] == n - (n % 16 == 1)
    last = np.bincount(blobs.y[clf.clean_mask_], minlength=3)
    assert epochs[-1]["kept"] == last.tolist()


def test_first_losses_are_those_of_the_probe(images):
    clf = tiny(noise_filter="gmm", fft_epochs=1, lp_epochs=5)
    clf.fit(images.X, images.y)
    probe_only = tiny(noise_filter="gmm", fft_epochs=0, lp_epochs=5)
    probe_only.fit(images.X, images.y)
    proba = probe_only.predict_proba(images.X)
    expected = -np.log(proba[np.arange(60), images.y])
    np.testing.assert_allclose(clf.losses_, expected, rtol=1e-4, atol=1e-6)
    by_hand = GMMNoiseFilter(tau=0.6).fit(expected.reshape(-1, 1), images.y)
    np.testing.assert_array_equal(clf.clean_mask_, by_hand.clean_mask_)
    np.testing.assert_allclose(clf.clean_proba_, by_hand.clean_proba_, atol=1e-3)


@pytest.mark.parametrize("lp_epochs, cleansing, fft_epochs", TABLE_5, ids=str)
def test_every_row_of_the_component_table_is_legal(
    lp_epochs, cleansing, fft_epochs, images
):
    clf = tiny(lp_epochs=lp_epochs, cleansing=cleansing, fft_epochs=fft_epochs)
    clf.fit(images.X, images.y)
    assert set(clf.predict(images.X)) <= {0, 1, 2}
    assert (not hasattr(clf, "probe_")) == (lp_epochs == 0)
    assert len(clf.history_) == lp_epochs + fft_epochs
    assert len(tuning(clf)) == fft_epochs
    for name in ("losses_", "noise_filter_"):
        assert hasattr(clf, name) == (cleansing is not None)
    assert clf.clean_mask_.shape == clf.clean_proba_.shape == (60,)
    if cleansing is None:
        assert clf.clean_mask_.all() and (clf.clean_proba_ == 1).all()


def test_without_fine_tuning_it_is_the_robust_probe(digits):
    X, y = digits.X[:200], digits.y[:200]
    params = {"lp_epochs": 15, "random_state": 0}
    turn = TURNClassifier("letters", fft_epochs=0, **params).fit(X, y)
    features = FeatureExtractor("letters").fit_transform(X)
    with torch.inference_mode():
        logits = turn.probe_.module_.eval()(torch.as_tensor(features))
    np.testing.assert_allclose(
        turn.predict_proba(X), logits.softmax(dim=1), rtol=1e-4, atol=1e-6
    )
    baseline = LinearProbing("letters", loss="gce", **params).fit(X, y)
    assert (turn.predict(X) == baseline.predict(X)).mean() > 0.95


def test_without_probe_and_cleansing_it_is_plain_fine_tuning(images):
    params = {"fft_epochs": 3, "fft_batch_size": 20}
    turn = tiny(lp_epochs=0, cleansing=None, **params).fit(images.X, images.y)
    plain = FullFineTuning(pool, input_size=8, random_state=0, **params)
    plain.fit(images.X, images.y)
    np.testing.assert_array_equal(
        turn.predict_proba(images.X), plain.predict_proba(images.X)
    )


def test_fine_tuning_starts_from_the_probes_head(images):
    clf = tiny(lp_epochs=5, fft_epochs=1, fft_lr=1e-12).fit(images.X, images.y)
    probe = tiny(lp_epochs=5, fft_epochs=0).fit(images.X, images.y)
    np.testing.assert_allclose(
        clf.predict_proba(images.X), probe.predict_proba(images.X), rtol=1e-5
    )


@pytest.mark.parametrize("tau", [0.0, 0.5, 0.95])
def test_tau_reaches_the_filter(tau, blobs):
    clf = TURNClassifier(tau=tau, lp_epochs=3, fft_epochs=1, random_state=0)
    clf.fit(blobs.X, blobs.y)
    assert clf.noise_filter_.tau == tau
    np.testing.assert_array_equal(clf.clean_mask_, clf.clean_proba_ > tau)


def test_a_filter_of_ones_own_is_used_and_left_alone(blobs):
    mask = np.arange(300) % 2 == 0
    noise_filter = Fixed(mask)
    clf = TURNClassifier(noise_filter=noise_filter, lp_epochs=2, fft_epochs=1)
    clf.fit(blobs.X, blobs.y)
    np.testing.assert_array_equal(clf.clean_mask_, mask)
    assert not hasattr(noise_filter, "clean_mask_")


@pytest.mark.parametrize("balance", ["min", 1.5, None])
def test_balance_sets_the_size_of_the_subset(balance, blobs):
    mask = (
        np.random.RandomState(0).uniform(size=300) < np.array([0.3, 0.6, 0.9])[blobs.y]
    )
    clf = TURNClassifier(
        noise_filter=Fixed(mask), balance=balance, lp_epochs=1, fft_epochs=1
    ).fit(blobs.X, blobs.y)
    clean = np.bincount(blobs.y[mask])
    limit = {"min": clean[0], 1.5: int(1.5 * clean[0]), None: 300}[balance]
    n = int(np.minimum(clean, limit).sum())
    assert clf.history_[-1]["n_train"] == n - (n % 16 == 1)


@pytest.fixture(scope="module")
def digit_models(digits):
    """TURN and its own probe on digits with 40 % wrong labels."""
    params = {"fft_batch_size": 32, "augment": None, "random_state": 0}
    turn = TURNClassifier("letters", **params)
    probe = TURNClassifier("letters", fft_epochs=0, **params)
    return turn.fit(digits.X, digits.y), probe.fit(digits.X, digits.y)


def test_wrong_labels_are_found(digit_models, digits):
    found = ~digit_models[0].clean_mask_
    assert digits.is_wrong[found].mean() > 0.85
    assert found[digits.is_wrong].mean() > 0.95


def test_fine_tuning_on_clean_labels_beats_the_probe(digit_models, digits):
    turn, probe = (model.score(digits.X_test, digits.y_test) for model in digit_models)
    assert turn > 0.95
    assert turn > probe + 0.005


def test_clean_probability_is_lower_for_wrong_labels(digit_models, digits):
    clf = digit_models[0]
    assert clf.clean_proba_[digits.is_wrong].mean() < 0.1
    assert clf.clean_proba_[~digits.is_wrong].mean() > 0.85
    assert clf.noise_filter_.noise_rate_ == pytest.approx(0.4, abs=0.1)


def test_clean_digits_are_mostly_kept(digits):
    clf = TURNClassifier("letters", fft_epochs=1, augment=None, random_state=0)
    clf.fit(digits.X, digits.y_true)
    assert clf.clean_mask_.mean() > 0.75


def test_clean_features_are_mostly_kept():
    X, y = make_blobs(300, centers=3, cluster_std=0.8, random_state=0)
    clf = TURNClassifier(random_state=0).fit(X, y)
    assert clf.clean_mask_.mean() > 0.85


def test_features_of_a_backbone_stand_in_for_images(digits):
    features = FeatureExtractor("letters").fit_transform(digits.X)
    clf = TURNClassifier(random_state=0).fit(features, digits.y)
    found = ~clf.clean_mask_
    assert found[digits.is_wrong].mean() > 0.9
    assert digits.is_wrong[found].mean() > 0.8


@pytest.mark.parametrize("folds", [None, 2], ids=["own", "out of fold"])
@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
def test_diverged_fine_tuning_is_an_error(noise_filter, folds, images):
    clf = TURNClassifier(
        "test_vit",
        pretrained=False,
        input_size=32,
        noise_filter=noise_filter,
        cleansing_folds=folds,
        lp_epochs=1,
        fft_epochs=2,
        fft_optimizer="sgd",
        fft_lr=1e30,
        random_state=0,
    )
    with pytest.raises(ValueError, match=r"Training diverged.*Lower fft_lr, which was"):
        clf.fit(images.X, images.y)
    with pytest.raises(NotFittedError):
        clf.predict(images.X)


def test_a_class_too_small_for_a_mixture_is_kept_whole_with_a_warning(blobs):
    few = np.r_[np.flatnonzero(blobs.y != 2), np.flatnonzero(blobs.y == 2)[:4]]
    clf = TURNClassifier(noise_filter="gmm", lp_epochs=3, fft_epochs=1, random_state=0)
    with pytest.warns(CleansingWarning) as caught:
        clf.fit(blobs.X[few], blobs.y[few])
    assert any("min_samples" in str(warning.message) for warning in caught)
    assert clf.clean_mask_[-4:].all()


def test_verbose_prints_what_is_clean(images, capsys):
    clf = tiny(verbose=1, fft_epochs=2).fit(images.X, images.y)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if "are clean" in line
    ]
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert f"{clf.clean_mask_.sum()} of 60 labels are clean" in lines[-1]
    assert f"training on {clf.history_[-1]['n_train']} " in lines[-1]


def test_history_records_both_phases(images):
    clf = tiny(lp_epochs=3, fft_epochs=2).fit(images.X, images.y)
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3, 1, 2]
    for row in clf.history_:
        assert np.isfinite(row["train_loss"]) and row["seconds"] > 0
        assert ("kept" in row) == (row["phase"] != "probe")


def test_remembered_features_save_the_pass(images, tmp_path):
    tally = Tally()
    clf = tiny(backbone=lambda: Pool(tally), fft_epochs=0, memory=tmp_path)
    first = clf.fit(images.X, images.y).predict_proba(images.X)
    once = tally.evaluated
    clf.fit(images.X, images.y)
    assert (once, tally.evaluated) == (60, 60)
    np.testing.assert_array_equal(clf.predict_proba(images.X), first)


def test_out_of_fold_filtering_costs_no_pass(images):
    tally = Tally()
    clf = tiny(
        backbone=lambda: Pool(tally), cleansing_folds=3, fft_epochs=3, lp_epochs=5
    ).fit(images.X, images.y)
    assert tally.evaluated == 60 * 3
    assert np.isfinite(clf.losses_).all()


@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
def test_out_of_fold_filtering_finds_wrong_labels(noise_filter, blobs):
    clf = TURNClassifier(
        noise_filter=noise_filter, cleansing_folds=4, random_state=0
    ).fit(blobs.X, blobs.y)
    found = ~clf.clean_mask_
    assert found[blobs.is_wrong].mean() > 0.85
    assert blobs.is_wrong[found].mean() > 0.9


def test_the_channel_knows_the_noise(digits):
    clf = TURNClassifier(
        "letters",
        noise_filter="channel",
        augment=None,
        fft_batch_size=32,
        random_state=0,
    ).fit(digits.X, digits.y)
    rate = digits.is_wrong.mean()
    assert clf.noise_filter_.noise_rate_ == pytest.approx(rate, abs=0.05)
    suggested = clf.noise_filter_.suggested_labels_
    assert (suggested == digits.y_true).mean() > 0.93
    assert clf.score(digits.X_test, digits.y_test) > 0.93


@pytest.mark.parametrize("fft_epochs", [0, 1])
@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
def test_suggested_labels_are_better_than_given_ones(noise_filter, fft_epochs, blobs):
    given, true = (np.array(["x", "y", "z"])[c] for c in (blobs.y, blobs.y_true))
    clf = TURNClassifier(
        noise_filter=noise_filter, fft_epochs=fft_epochs, random_state=0
    ).fit(blobs.X, given)
    np.testing.assert_array_equal(clf.given_labels_, given)
    assert (clf.suggested_labels_ == true).mean() > 0.9 > (given == true).mean()


@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
@pytest.mark.parametrize("label_correction", ["hard", "soft"])
def test_corrected_labels_cost_no_pass(label_correction, noise_filter, images):
    tally = Tally()
    clf = tiny(
        backbone=lambda: Pool(tally),
        label_correction=label_correction,
        noise_filter=noise_filter,
        balance=None,
        fft_epochs=3,
        lp_epochs=5,
    ).fit(images.X, images.y)
    assert tally.evaluated == 60 * 3
    trained = [row["n_train"] for row in tuning(clf)]
    assert trained == [60] * 3 or label_correction == "hard"
    assert clf.score(images.X, images.y) > 0.9


def test_soft_labels_use_every_sample_of_untrustworthy_labels(blobs):
    clf = TURNClassifier(
        label_correction="soft", balance=None, noise_filter="channel", random_state=0
    ).fit(blobs.X, blobs.y)
    assert [row["n_train"] for row in tuning(clf)] == [len(blobs.y)] * 4
    assert not clf.clean_mask_.all()
    assert clf.score(blobs.X, blobs.y_true) > 0.92


def test_diverged_features_are_an_error_of_the_default_too(images):
    clf = tiny(fft_optimizer="sgd", fft_lr=1e30, lp_epochs=5)
    with pytest.raises(ValueError, match="Lower fft_lr, which was"):
        clf.fit(images.X, images.y)


def test_labels_that_cannot_be_learned_are_warned_about():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(400, 3)), rng.randint(2, size=400)
    with pytest.warns(CleansingWarning, match="little better than chance"):
        clf = TURNClassifier(random_state=0).fit(X, y)
    assert clf.clean_mask_.all()
    assert np.isfinite(clf.predict_proba(X)).all()


def test_the_papers_settings_are_algorithm_1(blobs):
    """The mixture alone brings the paper's other rules with it."""
    short = TURNClassifier(noise_filter="gmm", random_state=0)
    spelled = TURNClassifier(
        noise_filter=GMMNoiseFilter(tau=0.6),
        cleansing_folds=None,
        balance="min",
        label_correction=None,
        cleansing="epoch",
        random_state=0,
    )
    for clf in (short, spelled):
        clf.fit(blobs.X, blobs.y)
    assert_same(estimated(short), estimated(spelled))


def test_the_default_corrects_labels_by_unseen_predictions(blobs):
    spelled = TURNClassifier(
        noise_filter=NoiseChannelFilter(tau=0.8),
        cleansing_folds=5,
        balance=None,
        label_correction="hard",
        random_state=0,
    )
    short = TURNClassifier(random_state=0)
    for clf in (short, spelled):
        clf.fit(blobs.X, blobs.y)
    assert_same(estimated(short), estimated(spelled))


def test_a_criterion_without_soft_labels_is_refused_before_any_pass(images):
    tally = Tally()
    clf = tiny(
        backbone=lambda: Pool(tally),
        label_correction="soft",
        fft_params={"criterion": torch.nn.MultiMarginLoss},
    )
    with pytest.raises(ValueError, match="MultiMarginLoss.*takes no soft labels"):
        clf.fit(images.X, images.y)
    assert tally.evaluated == 0
    clf.set_params(cleansing=None).fit(images.X, images.y)  # corrects nothing
    clf.set_params(cleansing="epoch")
    clf.set_params(label_correction="hard").fit(images.X, images.y)
    clf.set_params(
        label_correction="soft", fft_params={"criterion": torch.nn.CrossEntropyLoss}
    ).fit(images.X, images.y)


def test_the_noise_rate_of_unseen_labels_is_held(images):
    y = images.y.copy()
    y[:12] = (y[:12] + 1) % 3
    rates, told = [], []

    class Rates(Callback):
        def on_epoch_begin(self, net, **kwargs):
            cleansing = dict(net.callbacks_)["cleansing"]
            rates.append(cleansing.noise_filter_.noise_rate_)
            told.append(cleansing.noise_filter_.noise_rate)

    def fit(**params):
        rates.clear()
        told.clear()
        tiny(
            fft_epochs=3,
            fft_params={"callbacks": [Rates()]},
            **{"lp_epochs": 20, **params},
        ).fit(images.X, y)

    fit()
    assert told[0] is None
    assert told[1:] == [rates[0]] * 2
    assert rates == pytest.approx([rates[0]] * 3, abs=1e-6)
    assert rates[0] == pytest.approx(0.2, abs=0.1)
    # A head that was not trained knows nothing, and nothing of it is held.
    fit(lp_epochs=0)
    assert told == [None] * 3
    # Nor is what a network says of labels it was trained on.
    fit(cleansing_folds=None)
    assert told == [None] * 3
    # A rate that the user knows stands.
    fit(noise_filter=NoiseChannelFilter(noise_rate=0.3))
    assert told == [0.3] * 3


def of_one_class_in_ten(n_samples=1000, width=64):
    rng = np.random.RandomState(0)
    y = (rng.uniform(size=n_samples) < 0.1).astype(int)
    return rng.normal(size=(n_samples, width)) + 0.3 * y[:, None], y


def test_right_labels_of_a_frequent_class_are_not_flagged():
    """The probes have to learn how frequent it is, for which there are few steps."""
    X, y = of_one_class_in_ten()
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(X, y)
    assert clf.clean_mask_.mean() > 0.99
    assert (clf.predict(X) == 1).mean() < 0.1


def test_wrong_labels_of_a_rare_class_are_found():
    X, y = of_one_class_in_ten(3000)
    X = X + 0.5 * y[:, None]
    y_noisy = symmetric(y, 0.2, random_state=1)  # not the seed of y
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(X, y_noisy)
    scores = label_issue_scores(y != y_noisy, ~clf.clean_mask_)
    assert scores["precision"] > 0.8
    assert scores["recall"] > 0.8


class Short(TURNClassifier):
    """Lets few parameters be set, and not the probe's loss."""

    def __init__(self, tau=None, random_state=None):
        super().__init__(fft_epochs=0, tau=tau, random_state=random_state)


def test_a_class_of_ones_own_need_not_take_all_parameters(blobs):
    clf = Short(random_state=0).fit(blobs.X, blobs.y)
    assert clf.score(blobs.X, blobs.y_true) > 0.9


def test_a_rate_is_as_sure_after_fine_tuning_as_when_it_was_found(blobs):
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(blobs.X, blobs.y)
    found = clf.noise_filter_
    clf.set_params(fft_epochs=2).fit(blobs.X, blobs.y)
    held = clf.noise_filter_
    assert held.noise_rate_ == pytest.approx(found.noise_rate_)
    assert held.noise_rate_interval_ == pytest.approx(found.noise_rate_interval_)
    told = NoiseChannelFilter(noise_rate=0.2)  # by the user, who knows it
    rate = clf.set_params(noise_filter=told).fit(blobs.X, blobs.y).noise_filter_
    assert rate.noise_rate_interval_ == (rate.noise_rate_, rate.noise_rate_)
