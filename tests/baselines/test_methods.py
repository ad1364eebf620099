"""What all methods with a rule have in common."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import BatchScoring, EarlyStopping, EpochScoring
from skorch.dataset import ValidSplit
from support import Count, Pool, Tally, pool

from sklearn_turn import Cleansing
from sklearn_turn.backbones import Embedder
from sklearn_turn.baselines import (
    CORES,
    FINE,
    UNICON,
    CoTeaching,
    DivideMix,
    ELRPlus,
)
from sklearn_turn.selection import FINENoiseFilter, UNICONNoiseFilter

METHODS = [CORES, FINE, UNICON, CoTeaching, DivideMix, ELRPlus]
TWO_NETWORKS = [UNICON, CoTeaching, DivideMix, ELRPlus]
# What would take long to estimate.
KNOWN = {CoTeaching: {"noise_rate": 0.3}}

of_all = pytest.mark.parametrize("method", METHODS)
of_two = pytest.mark.parametrize("method", TWO_NETWORKS)
in_both_modes = pytest.mark.parametrize("mode", ["probe", "fine-tune"])
# A handful of samples leaves classes without any, about which the methods warn.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_turn.exceptions.CleansingWarning"
)


def brief(method, mode="probe", **params):
    """The method, for as few epochs as it takes."""
    return method(
        **{
            "mode": mode,
            "lp_epochs": 3,
            "fft_epochs": 2,
            "random_state": 0,
            "fft_warmup_epochs": 0 if method is ELRPlus else 1,
            **KNOWN.get(method, {}),
            **params,
        }
    )


def on_images(method, mode="probe", **params):
    return brief(method, mode, **{"backbone": pool, "input_size": 8, **params})


def state_of(clf):
    return [*clf.net_.module_.state_dict().values()]


@parametrize_with_checks(
    [brief(m) for m in METHODS]
    # FINE leaves out much of two classes with two features.
    + [brief(m, "fine-tune", fft_epochs=5 if m is FINE else 2) for m in METHODS]
    + [FINENoiseFilter(), UNICONNoiseFilter()]
)
def test_estimator(estimator, check):
    check(estimator)


@of_all
@in_both_modes
def test_fits_are_repeatable_and_survive_copies(method, mode, wide):
    X, y = wide.X[:90], wide.y[:90]
    first = brief(method, mode).fit(X, y)
    torch.rand(3)  # the global state is of no matter
    second = clone(first).fit(X, y)
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert_array_equal(first.clean_proba_, second.clean_proba_)
    restored = pickle.loads(pickle.dumps(first))
    assert_array_equal(restored.predict_proba(X), first.predict_proba(X))
    other = clone(first).set_params(random_state=1).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), first.predict_proba(X))


@of_all
@in_both_modes
def test_a_fitted_net_holds_no_data(method, mode, images):
    """Its pickle is hardly longer when there are more images."""
    more = np.concatenate([images.X] * 8), np.concatenate([images.y] * 8)
    few = len(pickle.dumps(on_images(method, mode).fit(images.X, images.y)))
    many = len(pickle.dumps(on_images(method, mode).fit(*more)))
    assert many - few < 0.5 * (more[0].nbytes - images.X.nbytes)


@of_all
@in_both_modes
def test_attributes_after_fit(method, mode, wide):
    names = np.array(["ant", "bee", "cat"])
    clf = brief(method, mode).fit(wide.X, names[wide.y])
    assert clf.clean_mask_.shape == clf.clean_proba_.shape == (240,)
    assert clf.clean_mask_.dtype == bool and clf.clean_mask_.any()
    assert clf.clean_proba_.min() >= 0 and clf.clean_proba_.max() <= 1
    phase = "probe" if mode == "probe" else "fine-tune"
    assert [row["phase"] for row in clf.history_] == [phase] * len(clf.history_)
    assert len(clf.history_) == (3 if mode == "probe" else 2)
    assert all(np.isfinite(row["train_loss"]) for row in clf.history_)
    assert hasattr(clf, "probe_") == (mode == "probe")
    if hasattr(clf, "suggested_labels_"):
        kept = clf.suggested_labels_[clf.clean_mask_]
        assert_array_equal(kept, names[wide.y][clf.clean_mask_])
        assert (clf.suggested_labels_ != names[wide.y]).any()
    if "kept" in clf.history_[-1]:
        counts = [(names[wide.y][clf.clean_mask_] == name).sum() for name in names]
        assert clf.history_[-1]["kept"] == counts


@of_all
def test_a_search_reaches_the_parameters_of_the_method(method, wide):
    own = {
        CORES: "beta",
        FINE: "zeta",
        UNICON: "lambda_u",
        CoTeaching: "noise_rate",
        DivideMix: "tau",
        ELRPlus: "elr_lambda",
    }[method]
    search = GridSearchCV(brief(method), {own: [0.3, 0.6]}, cv=2)
    search.fit(wide.X[:60], wide.y[:60])
    assert search.best_params_[own] in (0.3, 0.6)


@of_all
def test_probing_passes_every_image_through_the_backbone_once(method, images, tmp_path):
    tally = Tally()
    clf = on_images(method, backbone=lambda: Pool(tally), memory=tmp_path)
    clf.fit(images.X, images.y)
    assert (tally.evaluated, tally.trained) == (60, 0)
    assert torch.equal(clf.net_.module_.embed.backbone.gain, torch.ones(3, 1, 1))
    proba = clf.predict_proba(images.X)
    assert tally.evaluated == 60, "predictions read the cached features"
    features = torch.tensor(images.X).permute(0, 3, 1, 2)
    logits = clf.net_.module_.eval()(features).detach()
    assert_allclose(logits.softmax(dim=1), proba, rtol=1e-4, atol=1e-6)


@of_all
def test_fine_tuning_trains_every_backbone(method, images):
    clf = on_images(method, "fine-tune", fft_lr=0.01).fit(images.X, images.y)
    gains = [m.gain for m in clf.net_.module_.modules() if isinstance(m, Pool)]
    assert len(gains) == 1 + (method in TWO_NETWORKS)
    assert all(not torch.equal(gain, torch.ones(3, 1, 1)) for gain in gains)
    if len(gains) == 2:
        assert not torch.equal(*gains)
    assert clf.score(images.X, images.y) > 0.9


@of_two
@in_both_modes
def test_two_networks_predict_their_mean(method, mode, images):
    clf = on_images(method, mode).fit(images.X, images.y)
    x = torch.tensor(images.X).permute(0, 3, 1, 2)
    members = clf.net_.module_.eval().members
    with torch.no_grad():
        each = [member(x).softmax(dim=1) for member in members]
    assert not torch.allclose(*each)
    expected = (each[0] + each[1]) / 2
    assert_allclose(clf.predict_proba(images.X), expected, rtol=1e-4, atol=1e-6)


@of_two
def test_two_networks_hold_at_most_twice_the_parameters(method, images):
    clf = on_images(method, "fine-tune", lambda_c=0.0) if method is UNICON else None
    clf = (clf or on_images(method, "fine-tune")).fit(images.X, images.y)
    module = clf.net_.module_
    one = sum(p.numel() for p in module.members[0].parameters())
    assert sum(p.numel() for p in module.parameters()) == 2 * one


@of_all
def test_fine_tunes_a_timm_backbone(method, images):
    clf = on_images(
        method,
        "fine-tune",
        backbone="test_vit",
        pretrained=False,
        input_size=32,
        fft_layer_decay=0.7,
    ).fit(images.X[:24], images.y[:24])
    assert np.isfinite(clf.predict_proba(images.X[:4])).all()
    assert isinstance(clf.net_.module_.embed, Embedder)
    groups = clf.net_.optimizer_.param_groups
    assert len({group["initial_lr"] for group in groups}) > 3, "a rate per layer"
    assert min(group["weight_decay"] for group in groups) == 0


@of_all
@in_both_modes
def test_images_of_different_sizes_and_files(method, mode, png_files, images):
    from PIL import Image

    for i in (0, 7):
        Image.fromarray(images.X[i]).resize((12, 9)).save(png_files[i])
    clf = on_images(method, mode).fit(png_files, images.y)
    assert clf.predict(png_files[:2]).shape == (2,)


@of_all
@in_both_modes
def test_no_epochs_train_nothing(method, mode, images):
    clf = on_images(method, mode, lp_epochs=0, fft_epochs=0).fit(images.X, images.y)
    assert np.isfinite(clf.predict_proba(images.X)).all()
    assert clf.history_ == []


@of_all
def test_what_a_split_sets_aside_is_not_trained_on(method, wide):
    split = {"train_split": ValidSplit(5), "callbacks": [EarlyStopping(patience=9)]}
    clf = brief(method, lp_params=split).fit(wide.X, wide.y)
    assert all("valid_loss" in row for row in clf.history_)
    _, aside = ValidSplit(5)(np.zeros(240), wide.y)
    hits = clf.predict(wide.X[aside.indices]) == wide.y[aside.indices]
    np.testing.assert_allclose(clf.history_[-1]["valid_acc"], hits.mean())
    flagged = ~clf.clean_mask_[aside.indices]
    assert flagged.mean() < 0.45, "30 % of the labels are wrong"
    surest = clf.clean_proba_[aside.indices][~flagged]
    assert np.median(surest) >= np.median(clf.clean_proba_)


@of_all
def test_callbacks_of_the_user_and_what_is_refused(method, wide):
    count = Count()
    brief(method, lp_params={"callbacks": [count]}).fit(wide.X, wide.y)
    assert count.epochs == 3
    selecting = {"callbacks": [Cleansing()]}
    with pytest.raises(ValueError, match="lp_params holds Cleansing, which selects"):
        brief(method, lp_params=selecting).fit(wide.X, wide.y)
    scoring = {"callbacks": [EpochScoring("accuracy", on_train=True)]}
    with pytest.raises(ValueError, match="lp_params holds EpochScoring of training"):
        brief(method, lp_params=scoring).fit(wide.X, wide.y)
    scoring = {"callbacks": [BatchScoring("accuracy", on_train=True)]}
    with pytest.raises(ValueError, match="lp_params holds BatchScoring of training"):
        brief(method, lp_params=scoring).fit(wide.X, wide.y)
    for option in ("iterator_train", "iterator_train__drop_last"):
        with pytest.raises(ValueError, match=f"{option}'.*draws the batches"):
            brief(method, lp_params={option: True}).fit(wide.X, wide.y)
    with pytest.raises(ValueError, match="has a loss of its own"):
        brief(method, lp_params={"criterion": torch.nn.MSELoss}).fit(wide.X, wide.y)
    with pytest.raises(ValueError, match="All 2 epochs are warm-up.*lp_epochs"):
        brief(method, lp_epochs=2, lp_warmup_epochs=2).fit(wide.X, wide.y)
    with pytest.raises(ValueError, match="fft_epochs above fft_warmup_epochs=3"):
        clf = brief(method, "fine-tune", fft_epochs=3, fft_warmup_epochs=3)
        clf.fit(wide.X, wide.y)


@of_all
def test_divergence_is_an_error(method, wide):
    steep = {"optimizer": torch.optim.SGD}
    clf = brief(method, lp_lr=1e38, lp_params=steep)
    with pytest.raises(ValueError, match="diverged|not finite"):
        clf.fit(wide.X, wide.y)
    assert not hasattr(clf, "net_")


@of_all
@in_both_modes
def test_a_class_of_one_sample_and_a_batch_of_one(method, mode, wide):
    X, y = wide.X[:33], wide.y[:33].copy()
    y[:] = np.arange(33) % 2
    y[0] = 2
    sizes = {"lp_batch_size": 8, "fft_batch_size": 8}
    clf = brief(method, mode, **sizes).fit(X, y)
    assert clf.predict_proba(X).shape == (33, 3)


@pytest.mark.parametrize("method", [CORES, DivideMix])
def test_training_that_ends_before_a_selection_is_warned_of(method, wide):
    stops = EarlyStopping("train_loss", patience=1, threshold=10)
    clf = method(lp_epochs=20, lp_warmup_epochs=5, lp_params={"callbacks": [stops]})
    with pytest.warns(UserWarning, match="ended after 2 epochs, before .* selected"):
        clf.fit(wide.X, wide.y)


def test_the_sieve_that_was_stopped_after_warming_up_is_warned_of(wide):
    stops = EarlyStopping("train_loss", patience=3, threshold=10)
    clf = CORES(lp_epochs=20, lp_warmup_epochs=2, lp_params={"callbacks": [stops]})
    with pytest.warns(UserWarning, match="ended after 4 epochs, before .* selected"):
        clf.fit(wide.X, wide.y)
    assert not hasattr(clf, "clean_mask_")
