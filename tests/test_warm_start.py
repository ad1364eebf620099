"""Fits that go on from the one before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from skorch.callbacks import Callback, Freezer
from support import Pool, Tally, pool, tiny, tuning
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_turn import NoiseChannelFilter, TURNClassifier
from sklearn_turn.baselines import FullFineTuning
from sklearn_turn.exceptions import (
    CheckpointError,
    CleansingWarning,
    SkippedImageWarning,
)
from sklearn_turn.noise import symmetric

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_turn.exceptions.CleansingWarning"
)


class Rates(Callback):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.rates = []

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.rates.append(net.optimizer_.param_groups[0]["lr"])


def weights(clf):
    state = clf.net_.module_.state_dict()
    return {name: value.numpy().copy() for name, value in state.items()}


def assert_equal_weights(one, other):
    for name, value in one.items():
        assert_array_equal(value, other[name], err_msg=name)


def continued(clf, data, n_more, **params):
    return clf.set_params(warm_start=True, fft_epochs=n_more, **params).fit(
        data.X, data.y
    )


def test_one_step_more_is_one_of_gradient_descent(images):
    """By hand: the weights of before, minus the rate times the gradient there."""
    clf = FullFineTuning(
        pool,
        input_size=8,
        augment=None,
        fft_epochs=1,
        fft_optimizer="sgd",
        fft_weight_decay=0.0,
        fft_batch_size=60,
        fft_lr_warmup=0.0,
        fft_lr=0.1,
        fft_params={"optimizer__momentum": 0.0},
        random_state=0,
    ).fit(images.X, images.y)
    module = clf.net_.module_.eval()
    expected = {}
    x = torch.tensor(images.X).permute(0, 3, 1, 2)
    loss = cross_entropy(module(x), torch.tensor(images.y))
    names, parameters = zip(*module.named_parameters(), strict=True)
    for name, p, grad in zip(
        names, parameters, torch.autograd.grad(loss, parameters), strict=True
    ):
        expected[name] = (p - 0.1 * grad).detach()
    continued(clf, images, 1)
    for name, p in clf.net_.module_.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name])


def test_turn_goes_on_after_one_pass_without_another_probe(images):
    tally = Tally()
    clf = tiny(backbone=lambda: Pool(tally)).fit(images.X, images.y)
    probe, before = clf.probe_, clf.history_
    tally.evaluated = tally.trained = 0
    continued(clf, images, 3)
    assert clf.probe_ is probe
    # One for each cleansing, the first included, where the network has been trained.
    assert tally.evaluated == 3 * 60
    assert clf.history_[: len(before)] == before
    assert [row["epoch"] for row in tuning(clf)] == [1, 2, 3, 4, 5]
    assert tally.trained == sum(row["n_train"] for row in tuning(clf)[2:])


@pytest.mark.parametrize("noise_filter", ["channel", "gmm"])
@pytest.mark.parametrize("cleansing", ["epoch", "once", None])
def test_every_form_of_turn_goes_on(noise_filter, cleansing, images):
    clf = tiny(noise_filter=noise_filter, cleansing=cleansing).fit(images.X, images.y)
    before = weights(clf)
    continued(clf, images, 1)
    assert len(tuning(clf)) == 3
    assert not np.array_equal(before["head.weight"], clf.net_.module_.head.weight)
    assert len(clf.clean_mask_) == len(images.y)
    assert clf.score(images.X, images.y) > 0.5


def test_the_schedule_is_a_new_one_and_warm_up_of_the_loss_is_over(images):
    clf = FullFineTuning(
        pool, input_size=8, loss="gce", fft_epochs=2, fft_warmup_epochs=1
    ).fit(images.X, images.y)
    rates = Rates()
    # Epochs of four steps: three for a warm-up of more than one.
    continued(clf, images, 3, fft_params={"callbacks": [rates]})
    peak = clf.net_.lr
    assert rates.rates[0] < 0.1 * peak < 0.9 * peak < max(rates.rates[:3])
    assert rates.rates[-1] < 0.1 * peak
    assert clf.net_.warmup_epochs == 0
    assert not clf.net_.optimizer_.state


def test_from_a_probe_alone_to_fine_tuning(images, tmp_path):
    tally = Tally()
    make = {"backbone": lambda: Pool(tally), "memory": tmp_path}
    clf = tiny(fft_epochs=0, **make).fit(images.X, images.y)
    tally.evaluated = 0
    continued(clf, images, 1)
    assert tally.evaluated == 0  # features of the frozen backbone, from the cache
    assert [row["phase"] for row in clf.history_] == ["probe", "probe", "fine-tune"]
    assert not clf._is_frozen


def test_features_of_a_trained_network_are_not_kept(images, tmp_path):
    clf = tiny(memory=tmp_path).fit(images.X, images.y)
    kept = sorted(tmp_path.rglob("*"))
    continued(clf, images, 1)
    assert sorted(tmp_path.rglob("*")) == kept


def test_a_head_on_features_goes_on(blobs):
    clf = TURNClassifier(lp_epochs=5, fft_epochs=1, random_state=0)
    clf.fit(blobs.X, blobs.y)
    scale = weights(clf)["scale.mean"]
    shifted = blobs.X + 0.1
    clf.set_params(warm_start=True).fit(shifted, blobs.y)
    assert_array_equal(weights(clf)["scale.mean"], scale)  # the head was trained on it
    assert clf.score(shifted, blobs.y_true) > 0.9


def test_other_samples_of_the_same_classes(images):
    clf = tiny(warm_start=True).fit(images.X, images.y)
    clf.fit(images.X[10:50], images.y[10:50])
    assert len(clf.clean_mask_) == len(clf.losses_) == len(clf.given_labels_) == 40
    assert len(tuning(clf)) == 4


def test_the_noise_rate_of_labels_is_kept_and_of_others_is_found(blobs):
    clf = TURNClassifier(warm_start=True, lp_epochs=5, fft_epochs=2, random_state=0)
    clf.fit(blobs.X, blobs.y)
    rate = clf.noise_filter_.noise_rate  # held since the first cleansing
    assert rate is not None
    interval = clf.noise_filter_.noise_rate_interval_
    assert interval[0] < rate < interval[1]
    clf.fit(blobs.X, blobs.y)
    assert clf.noise_filter_.noise_rate == rate
    assert clf.noise_filter_.noise_rate_interval_ == interval
    clf.set_params(fft_epochs=1).fit(blobs.X, blobs.y_true)
    assert clf.noise_filter_.noise_rate is None
    assert clf.noise_filter_.noise_rate_ < rate / 2
    mine = NoiseChannelFilter(noise_rate=0.25)
    clf.set_params(noise_filter=mine).fit(blobs.X, blobs.y_true)
    assert clf.noise_filter_.noise_rate == 0.25


def test_the_noise_rate_is_kept_beside_images_that_cannot_be_read(
    images, png_files, tmp_path
):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    clf = tiny(warm_start=True, on_bad_image="skip")
    paths, y = [str(bad), *png_files], [0, *images.y]
    with pytest.warns(SkippedImageWarning):
        clf.fit(paths, y)
    assert clf.skipped_.tolist() == [0]
    rate = clf.noise_filter_.noise_rate
    with pytest.warns(SkippedImageWarning):
        clf.set_params(fft_epochs=1).fit(paths, y)
    assert clf.noise_filter_.noise_rate == rate is not None


def test_without_warm_start_a_fit_begins_anew(images):
    clf = FullFineTuning(pool, input_size=8, fft_epochs=2, random_state=0)
    first = weights(clf.fit(images.X, images.y))
    assert_equal_weights(weights(clf.fit(images.X, images.y)), first)
    # Nor is there anything to go on from at first, or in a clone.
    clf.set_params(warm_start=True)
    assert_equal_weights(weights(clone(clf).fit(images.X, images.y)), first)


def test_a_fit_goes_on_repeatably_and_what_was_before_is_not_changed(images):
    def twice():
        clf = tiny(warm_start=True).fit(images.X, images.y)
        net, before = clf.net_, weights(clf)
        after = weights(clf.fit(images.X, images.y))
        assert clf.net_ is not net
        assert_equal_weights(before, net.module_.state_dict())
        return after

    assert_equal_weights(twice(), twice())


def failing(clf, data, message, error=ValueError, **params):
    """A fit that cannot go on leaves the one before."""
    before, params_before = weights(clf), clf.get_params()
    fitted = {name: value for name, value in vars(clf).items() if name.endswith("_")}
    with pytest.raises(error, match=message):
        clf.set_params(warm_start=True, **params).fit(data["X"], data["y"])
    assert_equal_weights(weights(clf), before)
    for name, value in fitted.items():
        assert getattr(clf, name) is value
    clf.set_params(**params_before)


def test_what_cannot_go_on_is_refused(images):
    clf = tiny().fit(images.X, images.y)
    X, y = images.X, images.y
    failing(clf, {"X": X, "y": y + (y == 2)}, "y has 3 where that had 3.* in 2, 3")
    failing(clf, {"X": X[y < 2], "y": y[y < 2]}, "y has 2 where that had 3")
    failing(clf, {"X": X, "y": y}, "fft_epochs is 0", fft_epochs=0)
    failing(clf, {"X": X.reshape(60, -1), "y": y}, "fitted on images")
    failing(clf, {"X": X[:, :7], "y": y}, "samples of shape")
    failing(clf, {"X": X, "y": y}, "another|do not fit", backbone="test_resnet")
    failing(clf, {"X": X, "y": y}, "fft_lr", fft_lr=-1.0)


def test_features_of_another_width_are_refused(blobs):
    clf = TURNClassifier(lp_epochs=1, fft_epochs=1, random_state=0)
    clf.fit(blobs.X, blobs.y)
    failing(clf, {"X": blobs.X[:, :1], "y": blobs.y}, "features")


class Fails(Callback):
    def on_batch_end(self, net, training=False, **kwargs):
        raise ZeroDivisionError("after a step")


def test_an_error_in_training_leaves_the_fit_before(images):
    clf = tiny().fit(images.X, images.y)
    fails = {"callbacks": [Fails()]}
    failing(clf, vars(images), "after", ZeroDivisionError, fft_params=fails)


def test_another_image_size_may_go_on(images):
    clf = tiny().fit(images.X, images.y)
    continued(clf, images, 1, input_size=16)
    assert len(tuning(clf)) == 3


def test_a_loaded_model_goes_on_as_the_one_that_was_saved(images, tmp_path):
    clf = TURNClassifier(
        "test_resnet",
        pretrained=False,
        input_size=16,
        fft_epochs=1,
        precision="float32",
        random_state=0,
    ).fit(images.X, images.y)
    clf.save(tmp_path / "model.safetensors")
    loaded = TURNClassifier.load(tmp_path / "model.safetensors")
    for each in (clf, loaded):
        continued(each, images, 1)
    assert_equal_weights(weights(loaded), weights(clf))
    assert len(loaded.history_) == len(clf.history_)


class Stopped(Exception):
    pass


class Fuse(Callback):
    """Ends the fit in an epoch, while it burns."""

    burns = False

    def on_batch_end(self, net, training=False, **kwargs):
        if training and Fuse.burns and len(net.history) == 2:
            raise Stopped


def test_a_stopped_fit_that_went_on_goes_on_with_the_same_bits(images, tmp_path):
    def earlier():
        fuse = {"fft_params": {"callbacks": [Fuse()]}}
        return tiny(fft_epochs=1, **fuse).fit(images.X, images.y)

    whole = continued(earlier(), images, 3)
    clf, Fuse.burns = earlier(), True
    with pytest.raises(Stopped):
        continued(clf, images, 3, checkpoint=tmp_path)
    Fuse.burns = False
    assert len(tuning(clf)) == 1  # as before
    for again in (clf, earlier()):  # in the same process, and in another
        continued(again, images, 3, checkpoint=tmp_path)
        assert_equal_weights(weights(again), weights(whole))
        assert_array_equal(again.clean_proba_, whole.clean_proba_)
        assert [row["epoch"] for row in tuning(again)] == [1, 2, 3, 4]


def test_the_checkpoint_of_the_fit_before_is_not_gone_on_with(images, tmp_path):
    clf = tiny(warm_start=True, checkpoint=tmp_path).fit(images.X, images.y)
    with pytest.raises(CheckpointError, match="What differs: network to go on from"):
        clf.fit(images.X, images.y)
    # A fit that was stopped may be asked to go on from itself later on.
    fresh = tiny(warm_start=False, checkpoint=tmp_path).fit(images.X, images.y)
    assert_equal_weights(weights(fresh), weights(clf))


def test_a_rate_found_with_poor_features_rises(blobs):
    # A probe that hardly learned finds no wrong label; a better one does.
    clf = TURNClassifier(
        random_state=0, fft_epochs=1, lp_epochs=1, lp_lr=1e-6, lp_warmup_epochs=0
    )
    with pytest.warns(CleansingWarning, match="little better than chance"):
        clf.fit(blobs.X, blobs.y)
    assert clf.clean_mask_.all()
    clf.set_params(warm_start=True, lp_epochs=20, lp_lr=None, fft_epochs=2)
    clf.fit(blobs.X, blobs.y)
    assert clf.noise_filter_.noise_rate_ == pytest.approx(0.3, abs=0.05)


def test_the_rate_of_another_filter_is_none_of_the_channels(blobs):
    clf = TURNClassifier(noise_filter="gmm", random_state=0, fft_epochs=1)
    clf.fit(blobs.X, blobs.y)
    clf.set_params(warm_start=True, noise_filter="channel").fit(blobs.X, blobs.y)
    assert clf.noise_filter_.noise_rate is None


def of_three_folders(seed, rate):
    """Features of 100 samples for each given label, sorted by it, as folders are."""
    X, y_true = make_blobs(600, centers=[(-3, 0), (3, 0), (0, 4)], random_state=seed)
    y = symmetric(y_true, rate, random_state=seed) if rate else y_true
    rows = np.concatenate([np.flatnonzero(y == k)[:100] for k in range(3)])
    return X[rows], y[rows]


def test_the_noise_rate_of_other_samples_is_not_held():
    (X, y), (other, same) = of_three_folders(0, 0.3), of_three_folders(1, 0)
    assert_array_equal(y, same)
    clf = TURNClassifier(fft_epochs=1, random_state=0).fit(X, y)
    assert clf.noise_filter_.noise_rate_ > 0.2
    clf.set_params(warm_start=True).fit(other, same)
    assert clf.noise_filter_.noise_rate_ < 0.05


@pytest.mark.parametrize("fft_epochs", [0, 1])
def test_a_noise_rate_that_was_told_is_not_held(fft_epochs, blobs):
    told = NoiseChannelFilter(noise_rate=0.6)
    clf = TURNClassifier(noise_filter=told, fft_epochs=fft_epochs, random_state=0)
    clf.fit(blobs.X, blobs.y)
    assert clf.noise_filter_.noise_rate_ == pytest.approx(0.6)
    clf.set_params(noise_filter="channel", warm_start=True, fft_epochs=1)
    clf.fit(blobs.X, blobs.y)
    true_rate = (blobs.y != blobs.y_true).mean()
    assert clf.noise_filter_.noise_rate_ == pytest.approx(true_rate, abs=0.1)


class Activated(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 4, 4)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.convolution(x)).mean(dim=(2, 3))


@pytest.mark.parametrize("is_named", [False, True])
def test_another_backbone_with_weights_of_the_same_shapes(is_named, images):
    first, second = Activated(nn.ReLU()), Activated(nn.Tanh())
    if is_named:
        first, second = "test_vit", "test_vit.r160_in1k"
    params = {"input_size": 32, "augment": None, "fft_epochs": 1, "pretrained": False}
    clf = FullFineTuning(first, random_state=0, **params)
    clf.fit(images.X, images.y)
    before = clf.predict_proba(images.X)
    with pytest.raises(ValueError, match="do not fit the backbone"):
        continued(clf, images, 1, backbone=second)
    assert_array_equal(clf.predict_proba(images.X), before)
    continued(clf, images, 1, backbone=first)


def test_a_head_that_was_never_trained_warms_up(blobs):
    params = {"loss": "gce", "fft_warmup_epochs": 1, "random_state": 0}
    at_once = FullFineTuning(fft_epochs=2, **params).fit(blobs.X, blobs.y)
    later = FullFineTuning(fft_epochs=0, **params).fit(blobs.X, blobs.y)
    continued(later, blobs, 2)
    assert_equal_weights(weights(later), weights(at_once))


@pytest.mark.parametrize("layers", ["head*", "embed*"])
def test_what_a_callback_froze_is_trained_by_the_next_fit(layers, images):
    params = {"callbacks": [Freezer(layers)]}
    clf = FullFineTuning(pool, input_size=8, fft_epochs=1, fft_params=params)
    clf.fit(images.X, images.y)
    before = weights(clf)
    continued(clf, images, 1, fft_params=None)
    moved = {k for k, value in weights(clf).items() if (value != before[k]).any()}
    assert {"head.weight", "embed.backbone.gain"} <= moved


@pytest.mark.parametrize("saved", [False, True])
def test_batch_norm_that_was_not_trained_before_is_trained_on(saved, images, tmp_path):
    clf = FullFineTuning(
        "test_resnet", pretrained=False, input_size=32, fft_epochs=1, random_state=0
    ).fit(images.X, images.y)
    if saved:
        clf.save(tmp_path / "model")
        clf = FullFineTuning.load(tmp_path / "model")
    before = weights(clf)
    continued(clf, images, 1)
    name = next(name for name in before if name.endswith("running_mean"))
    assert (weights(clf)[name] != before[name]).any()
