from __future__ import annotations

import itertools
import os
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_blobs
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

import sklearn_turn
from sklearn_turn import FeatureExtractor, GMMNoiseFilter, TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import (
    CleansingWarning,
    CollapsedProbeWarning,
    SkippedImageWarning,
)

CLASSIFIERS = [TURNClassifier, LinearProbing, FullFineTuning]
TABLE_5 = list(itertools.product([0, 2], ["epoch", "once", None], [0, 2]))


class Tally:
    """Counts of the samples that passed through backbones, by mode."""

    def __init__(self):
        self.built, self.calls, self.evaluated, self.trained = 0, 0, 0, 0


class Pool(nn.Module):
    """A backbone of two parameters: the mean colours of a grid of 4 x 4 fields."""

    def __init__(self, tally=None):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))
        self.tally = [tally]
        if tally is not None:
            tally.built += 1

    def __deepcopy__(self, memo):
        copied = Pool()
        copied.load_state_dict(self.state_dict())
        copied.tally = self.tally
        return copied

    def forward(self, images):
        tally = self.tally[0]
        if tally is not None:
            tally.calls += 1
            # The one blank image asks for the number of features; it is no pass.
            if images.any() or len(images) > 1:
                name = "trained" if self.training else "evaluated"
                setattr(tally, name, getattr(tally, name) + len(images))
        fields = nn.functional.adaptive_avg_pool2d(images, 4)
        return (self.gain * fields + self.shift).flatten(1)


def pool():
    """Factory of the tiny backbone."""
    return Pool()


class Fixed(BaseEstimator):
    """A filter that believes the same labels whatever the losses are."""

    def __init__(self, mask):
        self.mask = mask

    def fit(self, X, y):
        self.clean_mask_ = np.asarray(self.mask)
        self.clean_proba_ = self.clean_mask_.astype(float)
        return self


def _tiny(**params):
    """TURN with the tiny backbone, briefly."""
    defaults = {"backbone": pool, "input_size": 8, "lp_epochs": 2, "fft_epochs": 2}
    return TURNClassifier(**{**defaults, "random_state": 0, **params})


def _tuning(clf):
    """The records of the epochs of fine-tuning."""
    return [row for row in clf.history_ if row["phase"] != "probe"]


def _seen(clf):
    """All that a fitted TURN estimated, for comparison bit for bit."""
    states = [clf.net_.module_.state_dict()]
    states += [clf.probe_.module_.state_dict()] if clf.probe_ is not None else []
    arrays = [value.numpy() for state in states for value in state.values()]
    return [*arrays, clf.losses_, clf.clean_mask_, clf.clean_proba_]


def _assert_same(first, second, same=True):
    equal = [np.array_equal(a, b) for a, b in zip(first, second, strict=True)]
    assert all(equal) == same


@pytest.fixture
def png_files(images, tmp_path):
    paths = [str(tmp_path / f"{i:02}.png") for i in range(len(images.X))]
    for path, image in zip(paths, images.X, strict=True):
        Image.fromarray(image).save(path)
    return paths


# -- Algorithm 1 ----------------------------------------------------------------------


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
    clf = _tiny(backbone=lambda: Pool(tally), **params).fit(images.X, images.y)
    assert tally.evaluated == 60 * passes
    tuning = _tuning(clf)
    assert len(tuning) == clf.fft_epochs
    assert tally.trained == sum(row.get("n_train", 60) for row in tuning)


def test_a_prediction_is_one_pass(images):
    tally = Tally()
    clf = _tiny(backbone=lambda: Pool(tally)).fit(images.X, images.y)
    before = tally.evaluated
    clf.predict(images.X[:7])
    assert tally.evaluated == before + 7


def test_every_class_contributes_what_the_smallest_has_clean(blobs):
    clf = TURNClassifier(random_state=0).fit(blobs.X, blobs.y)
    tuning = _tuning(clf)
    assert len(tuning) == 4
    for row in tuning:
        n = 3 * min(row["kept"])
        assert row["n_train"] == n - (n % 64 == 1)
    last = np.bincount(blobs.y[clf.clean_mask_], minlength=3)
    assert tuning[-1]["kept"] == last.tolist()


def test_first_losses_are_those_of_the_probe(images):
    clf = _tiny(fft_epochs=1, lp_epochs=5).fit(images.X, images.y)
    probe_only = _tiny(fft_epochs=0, lp_epochs=5).fit(images.X, images.y)
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
    clf = _tiny(lp_epochs=lp_epochs, cleansing=cleansing, fft_epochs=fft_epochs)
    clf.fit(images.X, images.y)
    assert set(clf.predict(images.X)) <= {0, 1, 2}
    assert (clf.probe_ is None) == (lp_epochs == 0)
    assert len(clf.history_) == lp_epochs + fft_epochs
    assert len(_tuning(clf)) == fft_epochs
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
    turn = _tiny(lp_epochs=0, cleansing=None, **params).fit(images.X, images.y)
    plain = FullFineTuning(pool, input_size=8, random_state=0, **params)
    plain.fit(images.X, images.y)
    np.testing.assert_array_equal(
        turn.predict_proba(images.X), plain.predict_proba(images.X)
    )


def test_probe_is_a_skorch_net_that_predicts_on_features(images):
    clf = _tiny(fft_epochs=0).fit(images.X, images.y)
    features = FeatureExtractor(pool, input_size=8).fit_transform(images.X)
    np.testing.assert_allclose(
        clf.probe_.predict_proba(features), clf.predict_proba(images.X), rtol=1e-4
    )


def test_fine_tuning_starts_from_the_probes_head(images):
    clf = _tiny(lp_epochs=5, fft_epochs=1, fft_lr=1e-12).fit(images.X, images.y)
    probe = _tiny(lp_epochs=5, fft_epochs=0).fit(images.X, images.y)
    np.testing.assert_allclose(
        clf.predict_proba(images.X), probe.predict_proba(images.X), rtol=1e-5
    )


def test_fine_tuning_moves_the_backbone_and_probing_does_not(images):
    tuned = _tiny(fft_lr=0.01).fit(images.X, images.y)
    assert not torch.equal(tuned.net_.module_.embed.backbone.gain, torch.ones(3, 1, 1))
    for probe in (_tiny(fft_epochs=0), LinearProbing(pool, input_size=8, lp_epochs=2)):
        probe.fit(images.X, images.y)
        assert torch.equal(probe.net_.module_.embed.backbone.gain, torch.ones(3, 1, 1))


def test_batch_norm_does_not_drift_while_probing(images):
    clf = TURNClassifier(
        "test_resnet", pretrained=False, input_size=32, lp_epochs=2, fft_epochs=0
    ).fit(images.X, images.y)
    means = [
        module.running_mean
        for module in clf.net_.module_.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert means and all((mean == 0).all() for mean in means)


@pytest.mark.parametrize("cleansing", ["epoch", None])
def test_a_last_batch_of_one_does_not_stop_batch_norm(cleansing, images):
    everything = Fixed(np.ones(21, dtype=bool))
    clf = TURNClassifier(
        "test_resnet",
        pretrained=False,
        input_size=32,
        lp_epochs=1,
        fft_epochs=1,
        fft_batch_size=4,
        cleansing=cleansing,
        noise_filter=everything,
        random_state=0,
    ).fit(images.X[:21], images.y[:21])
    assert np.isfinite(clf.predict_proba(images.X)).all()


def test_baseline_survives_a_last_batch_of_one(images):
    clf = FullFineTuning(
        "test_resnet",
        pretrained=False,
        input_size=32,
        fft_epochs=1,
        fft_batch_size=20,
        random_state=0,
    ).fit(images.X[:21], images.y[:21])
    assert np.isfinite(clf.predict_proba(images.X)).all()


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
    assert clf.history_[-1]["n_train"] == n - (n % 64 == 1)


# -- what it is for -------------------------------------------------------------------


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


def test_fine_tuning_on_believed_labels_beats_the_probe(digit_models, digits):
    turn, probe = (model.score(digits.X_test, digits.y_test) for model in digit_models)
    assert turn > 0.93
    assert turn >= probe


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


# -- a probe that collapses -----------------------------------------------------------


@pytest.mark.parametrize("width, rate", [(3, 1e-3), (192, 1e-3), (768, 5e-4)])
def test_wide_features_are_probed_slower(width, rate):
    rng = np.random.RandomState(0)
    X, y = rng.randn(40, width), np.arange(40) % 2
    phases = TURNClassifier(lp_epochs=1, fft_epochs=1, random_state=0).fit(X, y)
    assert phases.probe_.lr == pytest.approx(rate)
    assert phases.net_.lr == pytest.approx(rate)
    chosen = LinearProbing(lp_epochs=1, lp_lr=0.02).fit(X, y)
    assert chosen.net_.lr == 0.02


def _many_classes():
    X, y = make_blobs(600, centers=30, n_features=5, random_state=0)
    return (
        X,
        y,
        TURNClassifier(
            q=0.7,
            lp_lr=1000.0,
            lp_warmup_epochs=0,
            lp_epochs=3,
            fft_epochs=0,
            random_state=0,
        ),
    )


def test_a_collapsed_probe_is_trained_again_and_warned_about():
    X, y, clf = _many_classes()
    with pytest.warns(CollapsedProbeWarning, match="lp_warmup_epochs or lower q"):
        clf.fit(X, y)
    assert len(np.unique(clf.predict(X))) > 15


def test_the_second_probe_is_the_one_by_cross_entropy():
    X, y, clf = _many_classes()
    with pytest.warns(CollapsedProbeWarning):
        clf.fit(X, y)
    assert clf.probe_.criterion_.q == 0
    assert len(clf.history_) == clf.lp_epochs


def test_collapse_is_not_cried_over_skewed_labels():
    X, y = make_blobs([280, 10, 10], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedProbeWarning)
        TURNClassifier(lp_epochs=5, fft_epochs=0, random_state=0).fit(X, y)


# -- repeatability --------------------------------------------------------------------


REPEATED = [
    {"backbone": pool, "input_size": 8},
    {"backbone": "test_vit", "pretrained": False, "input_size": 32},
    {"backbone": "test_convnext", "pretrained": False, "input_size": 32},
    {"backbone": "letters"},
]
REPEATED = pytest.mark.parametrize(
    "params", REPEATED, ids=["factory", "vit", "convnext", "letters"]
)


@REPEATED
def test_random_state_makes_a_fit_repeatable(params, images):
    params = {"lp_epochs": 2, "fft_epochs": 2, "fft_batch_size": 8, **params}
    fits = []
    for seed in (0, 0, 1):
        # Whatever was drawn from torch's own generator before.
        torch.manual_seed(len(fits))
        clf = TURNClassifier(**params, random_state=seed)
        fits.append(_seen(clf.fit(images.X, images.y)))
    _assert_same(fits[0], fits[1])
    _assert_same(fits[0], fits[2], same=False)


@REPEATED
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_global_random_states_are_left_alone(kind, params, images):
    torch.manual_seed(0)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    kind(**params, random_state=0).fit(images.X[:30], images.y[:30])
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], before_numpy)


def test_fits_on_features_are_repeatable_too(blobs):
    before = torch.get_rng_state()
    fits = [
        TURNClassifier(random_state=seed).fit(blobs.X, blobs.y) for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    _assert_same(_seen(fits[0]), _seen(fits[1]))
    _assert_same(_seen(fits[0]), _seen(fits[2]), same=False)


def test_a_random_state_instance_moves_on(blobs):
    rng = np.random.RandomState(0)
    clf = TURNClassifier(lp_epochs=2, fft_epochs=1, random_state=rng)
    first = _seen(clf.fit(blobs.X, blobs.y))
    _assert_same(first, _seen(clf.fit(blobs.X, blobs.y)), same=False)


@pytest.mark.parametrize("kind", [LinearProbing, FullFineTuning])
def test_baselines_are_repeatable(kind, images):
    proba = [
        kind("test_vit", pretrained=False, input_size=32, random_state=0)
        .fit(images.X, images.y)
        .predict_proba(images.X)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*proba)


# -- labels and predictions -----------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        np.array(["red", "green", "blue"]),
        np.array(["red", "green", "blue"], dtype=object),
        np.array([7, 3, 11]),
        np.array([2.0, -1.0, 5.0]),
    ],
    ids=["str", "object", "int", "float"],
)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_predictions_are_members_of_classes(kind, names, blobs):
    clf = kind(random_state=0).fit(blobs.X, names[blobs.y])
    np.testing.assert_array_equal(clf.classes_, np.sort(names))
    predicted = clf.predict(blobs.X)
    assert predicted.dtype == names.dtype
    assert (predicted == names[blobs.y_true]).mean() > 0.8
    proba = clf.predict_proba(blobs.X)
    np.testing.assert_array_equal(predicted, clf.classes_[proba.argmax(axis=1)])


@pytest.mark.parametrize("collect", [list, tuple, np.array])
def test_labels_in_any_sequence(collect, images):
    names = collect(["rgb"[label] for label in images.y])
    clf = _tiny(lp_epochs=20).fit(images.X, names)
    assert clf.classes_.tolist() == ["b", "g", "r"]
    assert (clf.predict(images.X) == np.array(names)).mean() > 0.9


def test_a_column_of_labels_is_flattened_with_a_warning(images):
    with pytest.warns(DataConversionWarning):
        clf = _tiny().fit(images.X, images.y[:, None])
    assert clf.predict(images.X).shape == (60,)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_probabilities_are_float64_and_sum_to_one(kind, images):
    clf = kind(pool, input_size=8, random_state=0).fit(images.X, images.y)
    proba = clf.predict_proba(images.X)
    assert proba.dtype == np.float64 and proba.shape == (60, 3)
    assert proba.min() >= 0
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_features_are_learned(kind, blobs):
    accuracy = kind(random_state=0).fit(blobs.X, blobs.y).score(blobs.X, blobs.y_true)
    by_convex = LogisticRegression().fit(blobs.X, blobs.y)
    assert accuracy > by_convex.score(blobs.X, blobs.y_true) - 0.15


def test_read_only_features_raise_no_warning(blobs):
    X = blobs.X.astype(np.float32)
    X.setflags(write=False)
    torch.set_warn_always(True)
    try:
        clf = TURNClassifier(lp_epochs=2, fft_epochs=1).fit(X, blobs.y)
        assert clf.predict(X).shape == (300,)
    finally:
        torch.set_warn_always(False)


# -- arrays and files -----------------------------------------------------------------


def test_lossless_files_train_as_the_array_does(images, png_files):
    from_array = _tiny(lp_epochs=5).fit(images.X, images.y)
    from_files = _tiny(lp_epochs=5).fit(png_files, images.y)
    _assert_same(_seen(from_array), _seen(from_files))
    np.testing.assert_array_equal(
        from_array.predict_proba(png_files), from_files.predict_proba(images.X)
    )
    assert from_files.input_shape_ is None
    assert not hasattr(from_files, "n_features_in_")
    assert from_array.input_shape_ == (8, 8, 3)
    assert from_array.n_features_in_ == 192


@pytest.mark.parametrize("source", ["array", "files"])
def test_grid_search_over_the_papers_parameters(source, images, png_files):
    X = images.X if source == "array" else png_files
    grid = {"tau": [0.3, 0.6], "lp_epochs": [0, 10], "fft_epochs": [0, 1]}
    search = GridSearchCV(_tiny(), grid, cv=2, error_score="raise")
    search.fit(X, images.y)
    assert search.best_params_["lp_epochs"] == 10
    by_setting = dict(
        zip(
            map(str, search.cv_results_["params"]),
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    )
    untrained = str({"fft_epochs": 0, "lp_epochs": 0, "tau": 0.3})
    assert by_setting[untrained] == pytest.approx(1 / 3, abs=0.1)
    assert search.best_score_ > 0.9
    assert search.predict(X).shape == (60,)


@pytest.mark.parametrize("source", ["array", "files"])
def test_cross_validate(source, images, png_files):
    X = images.X if source == "array" else np.array(png_files)
    result = cross_validate(
        _tiny(lp_epochs=20),
        X,
        images.y,
        cv=3,
        scoring=["accuracy", "neg_log_loss"],
        return_estimator=True,
        error_score="raise",
    )
    assert result["test_accuracy"].mean() > 0.9
    assert [len(clf.losses_) for clf in result["estimator"]] == [40, 40, 40]


def test_last_in_a_pipeline_on_features(blobs):
    pipeline = make_pipeline(StandardScaler(), TURNClassifier(random_state=0))
    pipeline.fit(blobs.X, blobs.y)
    by_hand = TURNClassifier(random_state=0)
    scaled = StandardScaler().fit_transform(blobs.X)
    np.testing.assert_array_equal(
        pipeline.predict(blobs.X), by_hand.fit(scaled, blobs.y).predict(scaled)
    )


def test_after_a_feature_extractor_in_a_pipeline(images, png_files):
    pipeline = make_pipeline(
        FeatureExtractor(pool, input_size=8), TURNClassifier(random_state=0)
    )
    pipeline.fit(png_files, images.y)
    assert pipeline.score(images.X, images.y) > 0.9


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(ensemble, images):
    calibrated = CalibratedClassifierCV(_tiny(lp_epochs=20), cv=2, ensemble=ensemble)
    calibrated.fit(images.X, images.y)
    proba = calibrated.predict_proba(images.X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (calibrated.predict(images.X) == images.y).mean() > 0.9


def test_damaged_files_are_left_out_on_request(images, png_files):
    bad = [4, 30]
    for index in bad:
        with open(png_files[index], "wb") as file:
            file.write(b"not an image")
    good = np.setdiff1d(np.arange(60), bad)
    with pytest.warns(SkippedImageWarning, match="2 of 60"):
        clf = _tiny(on_bad_image="skip").fit(png_files, images.y)
    assert clf.skipped_.tolist() == bad
    without = _tiny().fit(images.X[good], images.y[good])
    np.testing.assert_array_equal(clf.clean_mask_[good], without.clean_mask_)
    np.testing.assert_array_equal(clf.losses_[good], without.losses_)
    assert not clf.clean_mask_[bad].any() and np.isnan(clf.losses_[bad]).all()


def test_remembered_features_save_the_pass(images, tmp_path):
    tally = Tally()
    clf = _tiny(backbone=lambda: Pool(tally), fft_epochs=0, memory=tmp_path)
    first = clf.fit(images.X, images.y).predict_proba(images.X)
    once = tally.evaluated
    clf.fit(images.X, images.y)
    assert (once, tally.evaluated) == (60, 60)
    np.testing.assert_array_equal(clf.predict_proba(images.X), first)


# -- clone, save, fit again -----------------------------------------------------------


def test_clone_of_a_fitted_classifier_is_unfitted(images):
    clf = _tiny().fit(images.X, images.y)
    copy = clone(clf)
    assert copy.get_params() == clf.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(images.X)
    _assert_same(_seen(clf), _seen(copy.fit(images.X, images.y)))


def test_fitting_leaves_parameters_as_they_were(images):
    lp_params, fft_params = {"callbacks": []}, {"optimizer__betas": (0.8, 0.9)}
    clf = _tiny(lp_params=lp_params, fft_params=fft_params)
    before = clf.get_params()
    clf.fit(images.X, images.y)
    assert clf.get_params() == before
    assert lp_params == {"callbacks": []}
    assert fft_params == {"optimizer__betas": (0.8, 0.9)}


def test_a_module_is_copied_before_use(images):
    backbone = Pool().train()
    clf = _tiny(backbone=backbone, fft_lr=0.01).fit(images.X, images.y)
    assert torch.equal(backbone.gain, torch.ones(3, 1, 1))
    assert torch.equal(backbone.shift, torch.zeros(3, 1, 1))
    assert backbone.training and backbone.gain.grad is None
    assert clf.net_.module_.embed.backbone is not backbone
    again = clone(clf).fit(images.X, images.y)
    _assert_same(_seen(clf), _seen(again))


def test_fitting_twice_starts_afresh(images):
    clf = _tiny(fft_lr=0.01).fit(images.X, images.y)
    first = _seen(clf)
    _assert_same(first, _seen(clf.fit(images.X, images.y)))


def test_refit_forgets_what_the_earlier_fit_set(blobs, images, png_files):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(blobs.X, columns=["width", "height"])
    clf = _tiny().fit(frame, blobs.y)
    assert clf.feature_names_in_.tolist() == ["width", "height"]
    clf.set_params(cleansing=None).fit(png_files, images.y)
    for name in (
        "feature_names_in_",
        "n_features_in_",
        "losses_",
        "noise_filter_",
    ):
        assert not hasattr(clf, name)
    assert clf.clean_mask_.shape == (60,)
    clf.fit(blobs.X, blobs.y)
    assert clf.n_features_in_ == 2 and clf.input_shape_ == (2,)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_saved_models_predict_the_same_and_hold_little_but_parameters(kind, tmp_path):
    # 1.2 MB of images beside 1.2 MB of parameters: keeping either twice would show.
    rng = np.random.RandomState(0)
    X = rng.randint(0, 255, (400, 32, 32, 3), dtype=np.uint8)
    y = np.arange(400) % 2
    epochs = {TURNClassifier: ["lp_epochs", "fft_epochs"]}
    epochs = epochs.get(kind, ["lp_epochs" if kind is LinearProbing else "fft_epochs"])
    clf = kind(
        "test_vit",
        pretrained=False,
        input_size=32,
        random_state=0,
        **dict.fromkeys(epochs, 1),
    ).fit(X, y)
    path = tmp_path / "model.joblib"
    joblib.dump(clf, path)
    loaded = joblib.load(path)
    np.testing.assert_array_equal(
        loaded.predict_proba(X[:50]), clf.predict_proba(X[:50])
    )
    np.testing.assert_array_equal(loaded.classes_, clf.classes_)
    if kind is TURNClassifier:
        np.testing.assert_array_equal(loaded.clean_mask_, clf.clean_mask_)
    n_bytes = 4 * sum(p.numel() for p in clf.net_.module_.parameters())
    assert path.stat().st_size < 1.3 * n_bytes


def test_saved_features_models_predict_the_same(blobs, tmp_path):
    clf = TURNClassifier(random_state=0).fit(blobs.X, blobs.y)
    joblib.dump(clf, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(
        loaded.predict_proba(blobs.X), clf.predict_proba(blobs.X)
    )


# -- options --------------------------------------------------------------------------


class _Count(Callback):
    """Counts epochs and batches, and notes the optimiser's type."""

    def initialize(self):
        self.epochs, self.batches, self.optimizer = 0, 0, None
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1

    def on_batch_end(self, net, training=False, **kwargs):
        self.batches += training
        self.optimizer = net.optimizer_


def test_callbacks_are_passed_to_each_phase(images):
    probing, tuning = _Count(), _Count()
    clf = _tiny(
        lp_epochs=3,
        fft_epochs=2,
        lp_batch_size=10,
        lp_params={"callbacks": [probing]},
        fft_params={"callbacks": [("count", tuning)]},
    ).fit(images.X, images.y)
    assert (probing.epochs, tuning.epochs) == (3, 2)
    assert probing.batches == 3 * 6
    assert len(clf.losses_) == 60


@pytest.mark.parametrize("phase", ["lp_params", "fft_params"])
def test_another_optimizer_may_be_given(phase, images):
    count = _Count()
    params = {"optimizer": torch.optim.RMSprop, "callbacks": [count]}
    _tiny(**{phase: params}).fit(images.X, images.y)
    assert isinstance(count.optimizer, torch.optim.RMSprop)


@pytest.mark.parametrize("phase", ["lp_params", "fft_params"])
def test_options_given_win_over_the_defaults(phase, images):
    count = _Count()
    options = {"max_epochs": 5, "optimizer__eps": 1e-5, "callbacks": [count]}
    _tiny(**{phase: options}).fit(images.X, images.y)
    assert count.epochs == 5
    assert count.optimizer.defaults["eps"] == 1e-5


def test_a_validation_split_within_fine_tuning(images):
    clf = _tiny(
        cleansing=None,
        fft_params={"train_split": ValidSplit(4, stratified=False)},
    ).fit(images.X, images.y)
    assert all(np.isfinite(row["valid_loss"]) for row in clf.history_[-2:])


@pytest.mark.parametrize(
    "name, kind",
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
    ],
)
def test_optimizer_settings_reach_the_optimizer(name, kind, images):
    count = _Count()
    _tiny(
        fft_optimizer=name,
        fft_lr=0.123,
        fft_weight_decay=0.05,
        fft_epochs=1,
        fft_params={"callbacks": [count]},
    ).fit(images.X, images.y)
    assert type(count.optimizer) is kind
    assert count.optimizer.defaults["lr"] == 0.123
    assert count.optimizer.param_groups[0]["weight_decay"] == 0.05


def test_verbose_prints_what_is_believed(images, capsys):
    clf = _tiny(verbose=1, fft_epochs=2).fit(images.X, images.y)
    lines = [
        line for line in capsys.readouterr().out.splitlines() if "believed" in line
    ]
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert f"believed {clf.clean_mask_.sum()} of 60 labels" in lines[-1]
    assert f"training on {clf.history_[-1]['n_train']} " in lines[-1]


def test_silent_by_default(images, capsys):
    _tiny().fit(images.X, images.y).predict(images.X)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_history_records_both_phases(images):
    clf = _tiny(lp_epochs=3, fft_epochs=2).fit(images.X, images.y)
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3, 1, 2]
    for row in clf.history_:
        assert np.isfinite(row["train_loss"]) and row["seconds"] > 0
        assert ("kept" in row) == (row["phase"] != "probe")


def test_phases_are_named_as_documented(images):
    clf = _tiny(lp_epochs=1, fft_epochs=1).fit(images.X, images.y)
    for row in clf.history_:
        assert f'"{row["phase"]}"' in TURNClassifier.__doc__


def test_bfloat16_is_close_to_float32(images):
    exact = _tiny(lp_epochs=20, precision="float32").fit(images.X, images.y)
    rough = _tiny(lp_epochs=20, precision="bfloat16").fit(images.X, images.y)
    np.testing.assert_allclose(
        rough.predict_proba(images.X), exact.predict_proba(images.X), atol=0.05
    )


def test_diverged_fine_tuning_is_warned_about(images):
    clf = TURNClassifier(
        "test_vit",
        pretrained=False,
        input_size=32,
        lp_epochs=1,
        fft_epochs=2,
        fft_optimizer="sgd",
        fft_lr=1e30,
        random_state=0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(images.X, images.y)
    assert {w.category for w in caught} == {CleansingWarning}
    assert any("lower the learning rate" in str(w.message) for w in caught)
    assert not clf.clean_mask_.any()


# -- bad input, before any training ---------------------------------------------------


def _with(y, index, value):
    changed = np.array(["a", "b", "c"], dtype=object)[y]
    changed[index] = value
    return changed


BAD_LABELS = {
    "too few": (lambda y: y[:-1], r"inconsistent numbers of samples: \[60, 59\]"),
    "none": (lambda y: None, "requires y to be passed"),
    "one class": (lambda y: np.full(60, 5), "only one class.*5"),
    "None": (lambda y: _with(y, 3, None), "missing.*index 3"),
    "first None": (lambda y: _with(y, 0, None), "missing.*index 0"),
    "NaN among strings": (lambda y: _with(y, 3, np.nan), "NaN"),
    "NaN": (lambda y: np.where(np.arange(60) == 3, np.nan, y), "NaN"),
    "mixed types": (lambda y: _with(y, 3, 7), "mix types.*int, str"),
    "continuous": (lambda y: y + 0.5, "Unknown label type: continuous"),
    "two columns": (lambda y: np.column_stack([y, y]), "y should be a 1d array"),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("case", BAD_LABELS)
@pytest.mark.parametrize("features", [False, True], ids=["images", "features"])
def test_bad_labels(features, case, kind, images, monkeypatch):
    change, message = BAD_LABELS[case]
    tally, trained = Tally(), []
    monkeypatch.setattr(kind, "_train", lambda self, task: trained.append(task))
    X = images.X.reshape(60, -1)[:, :5] if features else images.X
    clf = kind(lambda: Pool(tally), input_size=8)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, change(images.y))
    assert (tally.built, tally.calls, trained) == (0, 0, [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_must_be_finite(value, blobs, monkeypatch):
    trained = []
    monkeypatch.setattr(TURNClassifier, "_train", lambda self, task: trained.append(1))
    X = blobs.X.copy()
    X[5, 1] = value
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        TURNClassifier().fit(X, blobs.y)
    assert trained == []
    fitted = TURNClassifier(lp_epochs=1, fft_epochs=0)
    monkeypatch.undo()
    fitted.fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        fitted.predict(X)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (0, 8, 8)], ids=str)
def test_no_images_at_all(shape):
    with pytest.raises(ValueError, match=r"0 sample|empty|no images|at least"):
        _tiny().fit(np.empty(shape, dtype=np.uint8), np.empty(0, dtype=int))


def test_one_image(images):
    with pytest.raises(ValueError, match="only one class"):
        _tiny().fit(images.X[:1], images.y[:1])


def test_unknown_device_is_named(blobs):
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        TURNClassifier(device="gpu").fit(blobs.X, blobs.y)


@pytest.mark.parametrize(
    "parameter",
    [
        {"tau": 2},
        {"q": -0.1},
        {"lp_epochs": -1},
        {"fft_epochs": 1.5},
        {"cleansing": "twice"},
        {"balance": 0.5},
        {"fft_optimizer": "lion"},
        {"fft_lr": 0},
        {"fft_warmup": 1.0},
        {"augment": "heavy"},
        {"crop_pct": 0},
        {"precision": "float64"},
        {"lp_params": [1]},
    ],
    ids=str,
)
def test_parameters_out_of_range(parameter, blobs):
    name = next(iter(parameter))
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        TURNClassifier(**parameter).fit(blobs.X, blobs.y)


def test_noise_filter_must_be_an_estimator(blobs, monkeypatch):
    trained = []
    monkeypatch.setattr(TURNClassifier, "_train", lambda self, task: trained.append(1))
    with pytest.raises(ValueError, match="noise_filter"):
        TURNClassifier(noise_filter="gmm").fit(blobs.X, blobs.y)
    assert trained == []


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_predict_needs_a_fit(kind, images):
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(kind(pool), method)(images.X)


@pytest.fixture(scope="module")
def on_images(images):
    return _tiny(lp_epochs=1, fft_epochs=0).fit(images.X, images.y)


@pytest.fixture(scope="module")
def on_features(blobs):
    return TURNClassifier(lp_epochs=1, fft_epochs=0).fit(blobs.X, blobs.y)


@pytest.mark.parametrize("shape", [(2, 9, 8, 3), (2, 8, 8, 1), (2, 8, 8), (2, 3, 8, 8)])
def test_predict_on_another_image_shape(shape, on_images):
    given, fitted = (str(s).replace("(", r"\(") for s in (shape[1:], (8, 8, 3)))
    with pytest.raises(ValueError, match=f"{given}.*{fitted}".replace(")", r"\)")):
        on_images.predict(np.zeros(shape, dtype=np.uint8))


def test_predict_on_features_after_images(on_images, blobs):
    with pytest.raises(ValueError, match="fitted on images, but X holds 2-D features"):
        on_images.predict(blobs.X)


def test_predict_on_images_after_features(on_features, images, png_files):
    for X in (images.X, png_files):
        with pytest.raises(ValueError, match=r"fitted on 2-D features.*images"):
            on_features.predict(X)


@pytest.mark.parametrize("n_features", [1, 3])
def test_predict_on_another_number_of_features(n_features, on_features):
    message = f"X has {n_features} features, but TURNClassifier is expecting 2"
    with pytest.raises(ValueError, match=message):
        on_features.predict(np.zeros((4, n_features)))


def test_a_class_too_small_for_a_mixture_is_kept_whole_with_a_warning(blobs):
    few = np.r_[np.flatnonzero(blobs.y != 2), np.flatnonzero(blobs.y == 2)[:4]]
    clf = TURNClassifier(lp_epochs=3, fft_epochs=1, random_state=0)
    with pytest.warns(CleansingWarning) as caught:
        clf.fit(blobs.X[few], blobs.y[few])
    assert any("min_samples" in str(warning.message) for warning in caught)
    assert clf.clean_mask_[-4:].all()


# -- the package ----------------------------------------------------------------------


def test_importing_the_package_is_light():
    code = (
        "import sys, sklearn_turn\n"
        "from sklearn_turn import GMMNoiseFilter, NoiseFilteredClassifier, noise\n"
        "heavy = {'torch', 'timm', 'torchvision', 'skorch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sklearn_turn.__all__)
def test_public_names_resolve(name):
    assert getattr(sklearn_turn, name) is not None
    assert name in dir(sklearn_turn)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'TURN'"):
        sklearn_turn.TURN  # noqa: B018
