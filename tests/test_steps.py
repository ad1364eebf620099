"""Linear probe and fine-tuning, and the options of their nets."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    LRScheduler,
)
from skorch.dataset import ValidSplit
from support import Count, Fixed, Interrupt, Pool, Tally, pool, tiny, tuning
from torch import nn

from sklearn_turn import Cleansing, FeatureExtractor, TURNClassifier, out_of_fold
from sklearn_turn.backbones.recipes import ALIASES
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import CollapsedProbeWarning
from sklearn_turn.inputs import FeatureRows
from sklearn_turn.losses import CrossEntropyLoss
from sklearn_turn.steps import _collapsed, linear_probe
from sklearn_turn.training.device import Runtime


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
        freeze_batch_norm=False,
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
        freeze_batch_norm=False,
        random_state=0,
    ).fit(images.X[:21], images.y[:21])
    assert np.isfinite(clf.predict_proba(images.X)).all()


@pytest.mark.parametrize(
    "width, rate", [(1, 1e-2), (3, 8e-3), (192, 1e-3), (768, 5e-4)]
)
def test_features_are_probed_slower_the_wider_they_are(width, rate):
    rng = np.random.RandomState(0)
    X, y = rng.randn(40, width), np.arange(40) % 2
    phases = TURNClassifier(cleansing=None, lp_epochs=1, fft_epochs=1, random_state=0)
    phases.fit(X, y)
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


@pytest.mark.parametrize("own, rate", [("adamw", 3e-4), ("sgd", 1e-2)])
@pytest.mark.parametrize("name", [None, "adamw", "adam", "sgd"])
def test_another_optimizer_has_a_learning_rate_of_its_kind(
    name, own, rate, images, monkeypatch
):
    recipe = replace(ALIASES["letters"], optimizer=own, lr=rate)
    monkeypatch.setitem(ALIASES, "letters", recipe)
    clf = FullFineTuning("letters", fft_optimizer=name, fft_epochs=1, random_state=0)
    expected = {
        ("adamw", "sgd"): 3e-2,
        ("sgd", "adamw"): 1e-4,
        ("sgd", "adam"): 1e-4,
    }.get((own, name), rate)
    assert clf.fit(images.X, images.y).net_.lr == pytest.approx(expected)
    clf.set_params(fft_lr=0.007)
    assert clf.fit(images.X, images.y).net_.lr == 0.007


def test_sgd_trains_a_head_on_features_as_far_as_adamw(blobs):
    adamw, sgd = (
        FullFineTuning(fft_optimizer=name, random_state=0)
        .fit(blobs.X, blobs.y_true)
        .history_[-1]["train_loss"]
        for name in ("adamw", "sgd")
    )
    assert sgd < 1.2 * adamw


def test_bfloat16_is_close_to_float32(images):
    exact = tiny(lp_epochs=20, precision="float32").fit(images.X, images.y)
    rough = tiny(lp_epochs=20, precision="bfloat16").fit(images.X, images.y)
    np.testing.assert_allclose(
        rough.predict_proba(images.X), exact.predict_proba(images.X), atol=0.05
    )


@pytest.mark.parametrize("stratified", [True, False])
def test_a_validation_split_beside_cleansing(stratified, images):
    """All labels are filtered; training visits only what the split left it."""
    split = ValidSplit(4, stratified=stratified)
    clf = tiny(fft_epochs=3, fft_params={"train_split": split})
    clf.fit(images.X, images.y)
    assert clf.losses_.shape == clf.clean_mask_.shape == (60,)
    assert np.isfinite(clf.losses_).all()
    rows = tuning(clf)
    assert all(np.isfinite(row["valid_loss"]) for row in rows)
    assert all(row["n_train"] <= 45 for row in rows)


def test_early_stopping_and_the_best_checkpoint(images, tmp_path):
    clf = tiny(
        fft_epochs=40,
        fft_lr=1.0,
        fft_params={
            "train_split": ValidSplit(4),
            "callbacks": [
                EarlyStopping(patience=2, sink=lambda text: None),
                Checkpoint(dirname=tmp_path, load_best=True, f_history=None),
            ],
        },
    ).fit(images.X, images.y)
    valid = [row["valid_loss"] for row in tuning(clf)]
    assert 3 <= len(valid) < 40
    best = torch.load(tmp_path / "params.pt", weights_only=True)
    for name, value in clf.net_.module_.state_dict().items():
        assert torch.equal(value, best[name])
    assert len(valid) - 1 - int(np.argmin(valid)) == 2


def test_early_stopping_by_the_accuracy_on_held_out_labels(images):
    watch = EarlyStopping(
        monitor="valid_acc", lower_is_better=False, patience=2, sink=lambda text: None
    )
    split = {"train_split": ValidSplit(4), "callbacks": [watch]}
    clf = tiny(fft_epochs=40, fft_lr=1e-12, fft_params=split).fit(images.X, images.y)
    rows = tuning(clf)
    assert len(rows) == 3  # a network that does not change gets no better
    _, aside = ValidSplit(4)(np.zeros(len(images.y)), images.y)
    predicted = clf.predict(images.X[aside.indices])
    expected = (predicted == images.y[aside.indices]).mean()
    np.testing.assert_allclose([row["valid_acc"] for row in rows], expected)


@pytest.mark.parametrize(
    "kind, phase", [(LinearProbing, "lp_params"), (FullFineTuning, "fft_params")]
)
def test_cleansing_may_be_added_to_other_methods(kind, phase, blobs):
    mask = np.arange(300) % 3 > 0
    cleansing = Cleansing(Fixed(mask), warmup_epochs=0, balance=None, random_state=0)
    clf = kind(random_state=0, **{phase: {"callbacks": [("mine", cleansing)]}})
    clf.fit(blobs.X, blobs.y)
    assert set(cleansing.kept_indices_) == set(np.flatnonzero(mask))
    assert [row["n_train"] for row in clf.history_] == len(clf.history_) * [200]


def test_two_selections_are_refused_before_training(blobs):
    params = {"fft_params": {"callbacks": [Cleansing()]}}
    with pytest.raises(ValueError, match=r"holds a callback.*cleansing=None"):
        TURNClassifier(**params).fit(blobs.X, blobs.y)
    clf = TURNClassifier(cleansing=None, random_state=0, **params)
    assert "kept" in clf.fit(blobs.X, blobs.y).history_[-1]


def test_parameter_groups_keep_their_rates(images):
    count = Count()
    groups = [("head.*", {"lr": 0.5})]
    tiny(fft_params={"optimizer__param_groups": groups, "callbacks": [count]}).fit(
        images.X, images.y
    )
    rates = {group["initial_lr"] for group in count.optimizer.param_groups}
    assert rates == {0.5, 1e-4}


def test_layer_decay_lowers_the_rates_of_early_layers(images):
    count = Count()
    TURNClassifier(
        "test_vit",
        pretrained=False,
        input_size=32,
        lp_epochs=1,
        fft_epochs=1,
        fft_lr=0.01,
        fft_layer_decay=0.5,
        fft_params={"callbacks": [count]},
        random_state=0,
    ).fit(images.X, images.y)
    rates = sorted({group["initial_lr"] for group in count.optimizer.param_groups})
    assert rates[-1] == 0.01
    assert rates[0] == pytest.approx(0.01 * 0.5 ** (len(rates) - 1))
    assert len(rates) > 4


def test_layer_decay_of_an_unknown_network_is_an_error(images):
    with pytest.raises(ValueError, match=r"fft_layer_decay.*Pool.*optimizer__param"):
        tiny(fft_layer_decay=0.75).fit(images.X, images.y)


@pytest.mark.parametrize("phase", ["lp_params", "fft_params"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupt_leaves_fit_and_nothing_is_fitted(phase, epoch, images):
    later = Count()
    params = {phase: {"callbacks": [Interrupt(epoch)]}}
    if phase == "lp_params":
        params["fft_params"] = {"callbacks": [later]}
    clf = tiny(**params)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(images.X, images.y)
    assert getattr(later, "epochs", 0) == 0
    with pytest.raises(NotFittedError):
        clf.predict(images.X)


def test_an_interrupt_of_a_fold_s_probe_leaves_fine_tuning(images, monkeypatch):
    """A net that is trained within a callback of another."""
    calls = []

    def interrupted(task, parameters, loss):
        calls.append(0)
        if len(calls) > 5:  # those of the frozen features come first
            extra = {**parameters.lp_params, "callbacks": [Interrupt(1)]}
            parameters = parameters.probe_only(lp_params=extra)
        return linear_probe(task, parameters, loss)

    monkeypatch.setattr(out_of_fold, "linear_probe", interrupted)
    clf = tiny(fft_epochs=3)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(images.X, images.y)
    assert len(calls) == 6
    assert not hasattr(clf, "net_")


def test_an_interrupt_leaves_a_search(images):
    clf = tiny(lp_params={"callbacks": [Interrupt(1)]})
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(clf, {"tau": [0.5, 0.6]}, cv=2).fit(images.X, images.y)


def test_robust_fine_tuning_gets_going_with_many_classes():
    """Without a warm-up the gradient is C^-q of that of cross-entropy."""
    X, y = make_blobs(1000, centers=100, n_features=20, random_state=0)
    options = {"loss": "gce", "fft_optimizer": "sgd", "fft_lr": 0.1, "fft_epochs": 6}
    cold, warm = (
        FullFineTuning(fft_warmup_epochs=n, random_state=0, **options)
        .fit(X, y)
        .predict_proba(X)[np.arange(1000), y]
        .mean()
        for n in (0, 2)
    )
    assert cold < 2 / 100 < 4 / 100 < warm


@pytest.mark.parametrize("on", ["images", "features"])
def test_dropout_and_augmentation_are_on_while_training(on, images, blobs):
    modes = set()

    class Watch(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training:
                modes.update(m.training for m in net.module_.modules())

    X, y = (images.X, images.y) if on == "images" else (blobs.X, blobs.y)
    tiny(fft_params={"callbacks": [Watch()]}).fit(X, y)
    assert modes == {True}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_epochs": 5}, "set fft_epochs"),
        ({"callbacks": "disable"}, "pass a list"),
        ({"callbacks": [Checkpoint]}, r"instance: Checkpoint\(\)"),
        ({"callbacks": [("cosine", Count())]}, "choose another name"),
        ({"callbacks": [EarlyStopping()]}, r"EarlyStopping.*'train_split'"),
        ({"train_split": 0.2}, "ValidSplit"),
        ({"criterion": nn.NLLLoss}, "log-probabilities, but is given logits"),
        ({"criterion": nn.NLLLoss()}, "log-probabilities, but is given logits"),
        ({"iterator_train__sampler": []}, "chooses the samples"),
        ({"iterator_valid__shuffle": True}, "asked once, in order"),
        ({"iterator_valid__drop_last": True}, "asked once, in order"),
        ({"iterator_valid__sampler": []}, "asked once, in order"),
        ({"module__head": None}, "which the estimator sets itself"),
        ({"predict_nonlinearity": None}, "which the estimator sets itself"),
        ({"classes": [0, 1]}, "which the estimator sets itself"),
        ({"learning_rate": 0.1}, "'learning_rate', which is no argument of a skorch"),
        ({"optimiser__eps": 1}, "Did you mean 'optimizer'"),
    ],
)
def test_options_that_are_none_are_refused_before_training(options, message, blobs):
    trained = Count()
    clf = TURNClassifier(fft_params=options, lp_params={"callbacks": [trained]})
    with pytest.raises(ValueError, match=f"fft_params.*{message}"):
        clf.fit(blobs.X, blobs.y)
    assert not hasattr(trained, "epochs")


@pytest.mark.parametrize("on", ["images", "features"])
def test_scoring_callbacks_of_skorch(on, images, blobs):
    X, y = (images.X, images.y) if on == "images" else (blobs.X, blobs.y)
    scores = [
        EpochScoring("accuracy", name="valid_accuracy", lower_is_better=False),
        EpochScoring("accuracy", name="train_accuracy", on_train=True),
        BatchScoring("accuracy", name="batch_accuracy"),
    ]
    params = {"train_split": ValidSplit(4), "callbacks": scores}
    clf = tiny(lp_epochs=20, fft_params=params).fit(X, y)
    for row in tuning(clf):
        assert 0.5 < row["valid_accuracy"] <= 1
        assert 0.5 < row["train_accuracy"] <= 1


def test_a_scheduler_of_ones_own_takes_the_place_of_ours(images):
    def rates(**options):
        record = []

        class Record(Callback):
            def on_batch_end(self, net, training=False, **kwargs):
                if training:
                    record.append(net.optimizer_.param_groups[0]["lr"])

        own = LRScheduler("StepLR", step_size=1, gamma=0.1)
        tiny(
            fft_lr=0.01, cleansing=None, fft_params={"callbacks": [own, Record()]}
        ).fit(images.X, images.y)
        return record

    assert sorted(set(rates())) == pytest.approx([0.001, 0.01])


@pytest.mark.parametrize("where", ["epoch", "batch", "helper"])
def test_a_callback_may_end_training(where, images):
    """By the statement that skorch's callbacks use, wherever it stands."""

    class Budget(Callback):
        def stop(self):
            raise KeyboardInterrupt

        def on_epoch_end(self, net, **kwargs):
            if where == "epoch":
                raise KeyboardInterrupt
            if where == "helper":
                self.stop()

        def on_batch_end(self, net, **kwargs):
            if where == "batch":
                raise KeyboardInterrupt

    clf = tiny(fft_epochs=5, fft_params={"callbacks": [Budget()]})
    clf.fit(images.X, images.y)
    assert len(tuning(clf)) <= 1
    assert clf.predict(images.X).shape == (60,)


@pytest.mark.parametrize("cleansing", ["epoch", "once", None])
def test_training_that_diverges_in_its_last_epoch_is_an_error(cleansing, images):
    options = {"fft_epochs": 1, "fft_lr": 1e30, "fft_optimizer": "sgd"}
    clf = tiny(backbone="letters", input_size=None, cleansing=cleansing, **options)
    with pytest.raises(ValueError, match=r"Training diverged.*Lower fft_lr"):
        clf.fit(images.X, images.y)
    with pytest.raises(NotFittedError):
        clf.predict(images.X)


@pytest.mark.parametrize("kind", [TURNClassifier, LinearProbing])
def test_features_that_are_not_finite_are_named(kind, images):
    class Overflow(nn.Module):
        def forward(self, X):
            means = X.mean(dim=(2, 3))
            return torch.where(means.sum(1, keepdim=True) > 2.5, torch.inf, means)

    X = images.X.copy()
    X[7] = 255
    with pytest.raises(ValueError, match=r"1 of 60 samples.*position 7"):
        kind(Overflow(), input_size=8).fit(X, images.y)


def test_a_fitted_module_neither_augments_nor_drops_out(images):
    for clf in (tiny(), tiny(fft_epochs=0)):
        assert not clf.fit(images.X, images.y).net_.module_.training


def test_validation_is_in_evaluation_mode(images):
    modes = set()

    class Watch(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            modes.add((training, net.module_.training))

    params = {"train_split": ValidSplit(4), "callbacks": [Watch()]}
    tiny(fft_params=params).fit(images.X, images.y)
    assert modes == {(True, True), (False, False)}


def test_the_probes_warm_up_reaches_it():
    X, y = make_blobs(200, centers=20, n_features=5, random_state=0)
    losses = [
        LinearProbing(loss="gce", lp_epochs=4, lp_warmup_epochs=n, random_state=0)
        .fit(X, y)
        .history_[0]["train_loss"]
        for n in (0, 1)
    ]
    assert losses[0] < 1.5 < 2.5 < losses[1]


def test_a_backbone_may_keep_tensors_between_calls(images):
    """As rotary embeddings and masks are kept, by batch size."""

    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3))
            self.kept = {}

        def forward(self, X):
            n = len(X)
            if n not in self.kept:
                self.kept[n] = torch.arange(1.0, n + 1)[:, None] * 0 + 1
            return X.mean(dim=(2, 3)) * self.gain * self.kept[n]

    clf = tiny(backbone=Keeping(), cleansing=None, batch_size=60, fft_batch_size=60)
    assert clf.fit(images.X, images.y).predict(images.X).shape == (60,)


@pytest.mark.parametrize(
    "options",
    [{"fft_params": {"optimizer__bogus": 1}}, {"fft_layer_decay": 0.7}],
    ids=["optimiser", "layers"],
)
def test_bad_options_of_fine_tuning_cost_no_pass(options, images):
    tally = Tally()
    clf = tiny(backbone=lambda: Pool(tally), **options)
    with pytest.raises((TypeError, ValueError)):
        clf.fit(images.X, images.y)
    assert tally.evaluated == 0


@pytest.mark.parametrize("on", ["images", "features"])
def test_one_batch_of_all(on, images, blobs):
    X, y = (images.X, images.y) if on == "images" else (blobs.X, blobs.y)
    count = Count()
    options = {"batch_size": -1, "callbacks": [count]}
    tiny(cleansing=None, fft_params=options).fit(X, y)
    assert count.batches == 2


@pytest.mark.parametrize(
    "option", [{"fft_weight_decay": 0.1}, {"fft_optimizer": "sgd"}], ids=list
)
def test_options_of_an_optimizer_that_is_replaced_are_refused(option, blobs):
    clf = FullFineTuning(fft_params={"optimizer": torch.optim.SGD}, **option)
    with pytest.raises(ValueError, match=f"{next(iter(option))} has no effect"):
        clf.fit(blobs.X, blobs.y)


@pytest.mark.parametrize(
    ("ours", "params", "key"),
    [
        ({"fft_lr": 0.1}, "fft_params", "lr"),
        ({"fft_batch_size": 4}, "fft_params", "batch_size"),
        ({"fft_weight_decay": 0.1}, "fft_params", "optimizer__weight_decay"),
        ({"fft_lr": 0.1}, "fft_params", "optimizer__lr"),
        ({"fft_batch_size": 4}, "fft_params", "iterator_train__batch_size"),
        ({"lp_lr": 0.1}, "lp_params", "lr"),
        ({"lp_lr": 0.1}, "lp_params", "optimizer__lr"),
        ({"lp_batch_size": 4}, "lp_params", "batch_size"),
    ],
)
@pytest.mark.filterwarnings("ignore:No label is flagged")  # after so few epochs
@pytest.mark.filterwarnings("ignore:The linear probe trained")  # at such a rate
def test_one_setting_in_two_places_is_refused(ours, params, key, blobs):
    (name,) = ours
    clf = TURNClassifier(**ours, **{params: {key: 8}}, random_state=0)
    with pytest.raises(ValueError, match=f"{params} holds '{key}', so that {name}="):
        clf.fit(blobs.X, blobs.y)
    clf.set_params(**{name: None}, lp_epochs=1, fft_epochs=1)
    assert hasattr(clf.fit(blobs.X, blobs.y), "net_")


@pytest.mark.parametrize("loss", ["gce", "nce+rce", "sce"])
def test_validation_has_one_loss_in_all_epochs(loss, blobs):
    """Else the epochs of warm-up would look better or worse than the others."""
    params = {"train_split": ValidSplit(3, stratified=True)}
    options = {"loss": loss, "fft_lr": 1e-9, "random_state": 0, "fft_params": params}
    clf = FullFineTuning(**options, fft_epochs=3, fft_warmup_epochs=1)
    losses = [row["valid_loss"] for row in clf.fit(blobs.X, blobs.y).history_]
    np.testing.assert_allclose(losses, losses[-1], rtol=1e-4)
    trained = [row["train_loss"] for row in clf.history_]
    assert abs(trained[0] - trained[1]) > 0.1  # of cross-entropy, and not


def test_a_split_that_takes_whole_classes_is_warned_of(blobs):
    order = np.argsort(blobs.y, kind="stable")
    options = {"random_state": 0, "fft_epochs": 1}
    split = {"train_split": ValidSplit(4)}  # the first quarter
    with pytest.warns(UserWarning, match="all samples of 1 of 4 classes") as caught:
        FullFineTuning(**options, fft_params=split).fit(
            blobs.X[order], np.r_[np.full(75, -1), blobs.y[order][75:]]
        )
    assert any("stratified=True" in str(warning.message) for warning in caught)


def test_batches_that_are_never_full_are_an_error(blobs):
    params = {"iterator_train__drop_last": True}
    clf = FullFineTuning(fft_params=params, fft_batch_size=512)
    with pytest.raises(ValueError, match="drop_last=True leaves out"):
        clf.fit(blobs.X, blobs.y)
    FullFineTuning(fft_params=params, fft_batch_size=256).fit(blobs.X, blobs.y)


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        (TURNClassifier, {"q": 0.1, "lp_params": {}}, "so that q=0.1"),
        (LinearProbing, {"loss": "gce", "lp_params": {}}, "so that loss='gce'"),
        (FullFineTuning, {"loss": "elr", "fft_params": {}}, "so that loss='elr'"),
    ],
)
def test_a_criterion_beside_a_loss_is_refused(kind, params, message, blobs):
    (name,) = (key for key in params if key.endswith("params"))
    params[name] = {"criterion": nn.CrossEntropyLoss}
    with pytest.raises(ValueError, match=f"{name} holds a criterion, {message}"):
        kind(**params).fit(blobs.X, blobs.y)


@pytest.mark.parametrize("kind", [TURNClassifier, LinearProbing])
def test_a_parameter_of_the_loss_is_the_estimators(kind, blobs):
    clf = kind(lp_params={"criterion__q": 0.1})
    with pytest.raises(ValueError, match="'criterion__q'; set q instead"):
        clf.fit(blobs.X, blobs.y)


def test_a_criterion_of_fine_tuning_is_no_matter_of_the_probe(blobs):
    fft_params = {"criterion": nn.CrossEntropyLoss}
    clf = TURNClassifier(q=0.1, lp_epochs=3, fft_epochs=1, fft_params=fft_params)
    assert isinstance(clf.fit(blobs.X, blobs.y).net_.criterion_, nn.CrossEntropyLoss)


class Learned(nn.Module):
    """A loss with a parameter, which is trained."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, logits, y):
        return nn.functional.cross_entropy(self.gain * logits, y)


def test_a_criterion_that_was_given_is_not_changed(blobs):
    criterion = Learned()
    clf = LinearProbing(random_state=0, lp_params={"criterion": criterion})
    first = clf.fit(blobs.X, blobs.y).predict_proba(blobs.X)
    assert criterion.gain == 1 != clf.probe_.criterion_.gain
    np.testing.assert_array_equal(
        clf.fit(blobs.X, blobs.y).predict_proba(blobs.X), first
    )


@pytest.mark.parametrize("kind", [LinearProbing, FullFineTuning])
def test_a_criterion_that_no_epoch_is_left_for_is_warned_of(kind, blobs):
    prefix = "lp" if kind is LinearProbing else "fft"
    params = {f"{prefix}_params": {"criterion": Learned}, f"{prefix}_epochs": 1}
    with pytest.warns(UserWarning, match="warm-up.*Learned.* is not used"):
        kind(**params).fit(blobs.X, blobs.y)


@pytest.mark.parametrize("own, rate", [("adamw", 3e-4), ("sgd", 1e-2)])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop])
def test_an_optimizer_that_was_given_has_a_learning_rate_of_its_kind(
    kind, own, rate, images, monkeypatch
):
    recipe = replace(ALIASES["letters"], optimizer=own, lr=rate)
    monkeypatch.setitem(ALIASES, "letters", recipe)
    params = {"optimizer": kind}
    clf = FullFineTuning("letters", fft_params=params, fft_epochs=1)
    factor = {("adamw", True): 100, ("sgd", False): 0.01}
    expected = rate * factor.get((own, kind is torch.optim.SGD), 1)
    assert clf.fit(images.X, images.y).net_.lr == pytest.approx(expected)


def test_what_a_callback_froze_in_the_probe_is_fine_tuned(images):
    frozen = {"callbacks": [Freezer("head.bias")]}
    net = tiny(lp_params=frozen, fft_epochs=1).fit(images.X, images.y).net_
    assert net.module_.head.bias.requires_grad


def test_the_name_of_an_optimizer_is_the_estimators(blobs):
    clf = FullFineTuning(fft_params={"optimizer__name": "sgd"})
    with pytest.raises(ValueError, match="set fft_optimizer instead"):
        clf.fit(blobs.X, blobs.y)


def test_a_fresh_head_predicts_how_frequent_classes_are(blobs):
    y = np.repeat([0, 1, 2], [250, 49, 1])
    clf = LinearProbing(lp_epochs=0).fit(blobs.X, y)
    found = clf.predict_proba(blobs.X)
    np.testing.assert_allclose(found - found[0], 0, atol=1e-6)
    np.testing.assert_allclose(found[0], [250 / 300, 49 / 300, 1 / 300], atol=0.005)


def test_differences_that_are_chance_leave_a_fresh_head_undecided(blobs):
    y = np.repeat([0, 1, 2], [108, 101, 91])  # the sum of squares is expected so
    clf = LinearProbing(lp_epochs=0).fit(blobs.X, y)
    np.testing.assert_allclose(clf.predict_proba(blobs.X), 1 / 3, atol=1e-6)


def test_labels_that_features_do_not_tell_apart_are_no_collapse():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(300, 2)), np.repeat([0, 1], [180, 120])
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedProbeWarning)
        clf = LinearProbing(loss="gce", random_state=0).fit(X, y)
    assert (clf.predict(X) == 0).mean() > 0.9
    assert type(clf.probe_.criterion_).__name__ == "GCELoss"


def test_frequencies_are_where_the_probe_starts_and_fine_tuning_does_not():
    X, y = make_blobs([180, 20], centers=None, random_state=0)
    probe = LinearProbing(lp_epochs=1, lp_lr=1e-9, random_state=0).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), [[0.9, 0.1]] * 200, atol=0.01)
    tuned = FullFineTuning(fft_epochs=1, fft_lr=1e-9, random_state=0).fit(X, y)
    np.testing.assert_allclose(tuned.predict_proba(X), 0.5, atol=1e-4)


@pytest.mark.filterwarnings("ignore::sklearn_turn.exceptions.CollapsedProbeWarning")
@pytest.mark.parametrize(
    "sizes, given, n_warmup",
    [
        ([60, 60], None, 2),
        ([110, 10], None, 6),
        ([110, 10], 0, 0),
        ([60, 60], 4, 4),
        # 24 steps an epoch: few below 3 C ** 1.7 in all, very few below 1.75 C ** 1.7.
        ([24] * 14, None, 2),
        ([24] * 15, None, 3),
        ([24] * 20, None, 3),
        ([24] * 21, None, 6),
        ([24] * 21, 4, 4),
    ],
)
def test_unequal_and_many_classes_warm_up_longer(sizes, given, n_warmup):
    X, y = make_blobs(sizes, centers=None, random_state=0)

    class Seen(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("n_warmup", net.warmup_epochs)

    clf = LinearProbing(
        "letters",
        loss="gce",
        lp_epochs=12,
        lp_warmup_epochs=given,
        lp_params={"callbacks": [Seen()]},
        random_state=0,
    ).fit(X, y)
    assert {row["n_warmup"] for row in clf.history_} == {n_warmup}


@pytest.mark.parametrize("sizes", [[200] * 9 + [25], [360, 40]])
def test_right_labels_of_unequal_classes_are_not_flagged(sizes):
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(len(sizes)), sizes)
    X = 0.55 * rng.normal(size=(len(sizes), 48))[y] + rng.normal(size=(len(y), 48))
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(X.astype(np.float32), y)
    flagged = np.bincount(y[~clf.clean_mask_], minlength=len(sizes))
    assert (flagged <= 0.1 * np.array(sizes)).all()


@pytest.mark.parametrize("sizes", [[50, 50], [70, 30], [40, 30, 20, 10]])
def test_one_class_for_all_samples_is_a_collapse(sizes):
    n = len(sizes)
    y = np.repeat(np.arange(n), sizes)
    rows = torch.eye(n)[torch.from_numpy(y)]
    runtime = Runtime.of(LinearProbing(device="cpu"))
    task = SimpleNamespace(source=FeatureRows(rows), runtime=runtime, y=y, n_classes=n)
    head = nn.Linear(n, n)
    with torch.no_grad():
        head.weight.copy_(torch.eye(n))
        head.bias.zero_()
        assert not _collapsed(SimpleNamespace(module_=head), task)
        head.bias[0] = 2.0
        assert _collapsed(SimpleNamespace(module_=head), task)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_the_probe_s_rate_is_of_its_optimizer(optimizer, blobs):
    rates = {}
    for kind in (LinearProbing, FullFineTuning):
        count = Count()
        params = {"optimizer": optimizer, "callbacks": [count]}
        name = "lp_params" if kind is LinearProbing else "fft_params"
        kind(**{name: params}, random_state=0).fit(blobs.X, blobs.y)
        rates[kind] = count.optimizer.param_groups[0]["initial_lr"]
    assert rates[LinearProbing] == pytest.approx(rates[FullFineTuning])


def test_unequal_labels_that_are_predicted_as_often_are_no_collapse():
    """Two of three classes are rare: effectively there is hardly more than one."""
    y = np.repeat([0, 1, 2], [90, 5, 5])
    X = 3.0 * np.eye(3, dtype=np.float32)[y]
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedProbeWarning)
        clf = LinearProbing(loss="gce", lp_epochs=40, random_state=0).fit(X, y)
    assert (clf.predict(X) == y).mean() > 0.9


def test_the_weight_decay_is_that_of_the_backbone(images):
    count = Count()
    FullFineTuning(
        "letters", fft_epochs=1, fft_params={"callbacks": [count]}, random_state=0
    ).fit(images.X, images.y)
    decays = {group["weight_decay"] for group in count.optimizer.param_groups}
    assert decays == {0.0, ALIASES["letters"].weight_decay}
    assert ALIASES["letters"].weight_decay > 0
