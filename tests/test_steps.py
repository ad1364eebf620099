"""Linear probe and fine-tuning, and the options of their nets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from skorch.dataset import ValidSplit
from support import Count, Fixed, pool, tiny
from torch import nn

from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import CollapsedProbeWarning
from sklearn_turn.losses import CrossEntropyLoss


def test_probe_is_a_skorch_net_that_predicts_on_features(images):
    clf = tiny(fft_epochs=0).fit(images.X, images.y)
    features = FeatureExtractor(pool, input_size=8).fit_transform(images.X)
    np.testing.assert_allclose(
        clf.probe_.predict_proba(features), clf.predict_proba(images.X), rtol=1e-4
    )


def test_fine_tuning_moves_the_backbone_and_probing_does_not(images):
    tuned = tiny(fft_lr=0.01).fit(images.X, images.y)
    assert not torch.equal(tuned.net_.module_.embed.backbone.gain, torch.ones(3, 1, 1))
    for probe in (tiny(fft_epochs=0), LinearProbing(pool, input_size=8, lp_epochs=2)):
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


@pytest.mark.parametrize("width, rate", [(3, 1e-3), (192, 1e-3), (768, 5e-4)])
def test_wide_features_are_probed_slower(width, rate):
    rng = np.random.RandomState(0)
    X, y = rng.randn(40, width), np.arange(40) % 2
    phases = TURNClassifier(lp_epochs=1, fft_epochs=1, random_state=0).fit(X, y)
    assert phases.probe_.lr == pytest.approx(rate)
    assert phases.net_.lr == pytest.approx(rate)
    chosen = LinearProbing(lp_epochs=1, lp_lr=0.02).fit(X, y)
    assert chosen.probe_.lr == 0.02


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
    with pytest.warns(
        CollapsedProbeWarning, match=r"GCELoss\(q=0.7\).*lp_warmup_epochs.*lower q"
    ):
        clf.fit(X, y)
    assert len(np.unique(clf.predict(X))) > 15


def test_the_second_probe_is_the_one_by_cross_entropy():
    X, y, clf = _many_classes()
    with pytest.warns(CollapsedProbeWarning):
        clf.fit(X, y)
    assert type(clf.probe_.criterion_) is CrossEntropyLoss
    assert len(clf.history_) == clf.lp_epochs


def test_collapse_is_not_cried_over_skewed_labels():
    X, y = make_blobs([280, 10, 10], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedProbeWarning)
        TURNClassifier(lp_epochs=5, fft_epochs=0, random_state=0).fit(X, y)


def test_callbacks_are_passed_to_each_phase(images):
    probing, tuning = Count(), Count()
    clf = tiny(
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
    count = Count()
    params = {"optimizer": torch.optim.RMSprop, "callbacks": [count]}
    tiny(**{phase: params}).fit(images.X, images.y)
    assert isinstance(count.optimizer, torch.optim.RMSprop)


@pytest.mark.parametrize("phase", ["lp_params", "fft_params"])
def test_options_given_win_over_the_defaults(phase, images):
    count = Count()
    options = {"lr": 0.03, "optimizer__eps": 1e-5, "callbacks": [count]}
    tiny(**{phase: options}).fit(images.X, images.y)
    assert count.optimizer.defaults["lr"] == 0.03
    assert count.optimizer.defaults["eps"] == 1e-5


def test_a_validation_split_within_fine_tuning(images):
    clf = tiny(
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
    count = Count()
    tiny(
        fft_optimizer=name,
        fft_lr=0.123,
        fft_weight_decay=0.05,
        fft_epochs=1,
        fft_params={"callbacks": [count]},
    ).fit(images.X, images.y)
    assert type(count.optimizer) is kind
    assert count.optimizer.defaults["lr"] == 0.123
    assert count.optimizer.param_groups[0]["weight_decay"] == 0.05


def test_bfloat16_is_close_to_float32(images):
    exact = tiny(lp_epochs=20, precision="float32").fit(images.X, images.y)
    rough = tiny(lp_epochs=20, precision="bfloat16").fit(images.X, images.y)
    np.testing.assert_allclose(
        rough.predict_proba(images.X), exact.predict_proba(images.X), atol=0.05
    )
