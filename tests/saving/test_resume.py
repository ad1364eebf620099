"""What belongs to the state of training: fits that are stopped end as whole ones."""

from __future__ import annotations

import collections
import copy
import random

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors import safe_open
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Callback, EpochScoring, Freezer, LRScheduler, Unfreezer
from skorch.dataset import ValidSplit
from support import Fuse, pool, stopped_in
from torch import nn

from sklearn_turn import TURNClassifier
from sklearn_turn.baselines import FullFineTuning
from sklearn_turn.exceptions import CheckpointError, NotSavedWarning
from sklearn_turn.inputs import as_source
from sklearn_turn.saving import files
from sklearn_turn.training import Labelled

EPOCHS = 3


def on_features(folder=None, callbacks=(), **extra):
    return FullFineTuning(
        fft_epochs=EPOCHS,
        random_state=0,
        checkpoint=folder,
        fft_params={"callbacks": [Fuse(), *callbacks], **extra},
    )


def on_images(folder=None, backbone=None, callbacks=(), extra=None, **params):
    return FullFineTuning(
        backbone or convolution,
        input_size=8,
        fft_batch_size=16,
        fft_epochs=EPOCHS,
        random_state=0,
        checkpoint=folder,
        fft_params={"callbacks": [Fuse(), *callbacks], **(extra or {})},
        **{"augment": None, **params},
    )


def convolution():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )


def weights(clf):
    state = clf.net_.module_.state_dict().values()
    return np.concatenate([v.double().flatten().numpy() for v in state])


def assert_resumes(make, data, folder):
    """A new estimator each time, as in another process."""
    whole = make(None).fit(data.X, data.y)
    stopped_in(EPOCHS, make(folder), data)
    assert_array_equal(weights(make(folder).fit(data.X, data.y)), weights(whole))
    return whole


@pytest.mark.parametrize(
    "policy",
    [
        {"policy": "StepLR", "step_size": 2},
        {"policy": "MultiStepLR", "milestones": [1, 2]},
        {"policy": "CosineAnnealingLR", "T_max": 5},
        {"policy": "LambdaLR", "lr_lambda": lambda epoch: 0.5**epoch},
        {"policy": "ReduceLROnPlateau", "patience": 0, "threshold": 1.0},
        {
            "policy": "CyclicLR",
            "base_lr": 1e-4,
            "max_lr": 1e-2,
            "cycle_momentum": False,
            "step_every": "batch",
            "step_size_up": 7,
        },
        {"policy": "WarmRestartLR"},
        {
            "policy": torch.optim.lr_scheduler.OneCycleLR,
            "max_lr": 0.01,
            "total_steps": 200,
            "step_every": "batch",
        },
    ],
    ids=lambda policy: str(policy["policy"]),
)
def test_schedules_of_skorch(policy, blobs, tmp_path):
    def make(folder):
        return on_features(folder, [LRScheduler(**policy)])

    assert_resumes(make, blobs, tmp_path)


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [Freezer("embed.*")],
        lambda: [Freezer("embed.*"), Unfreezer("embed.*", at=2)],
        lambda: [EpochScoring("accuracy", on_train=True, lower_is_better=False)],
    ],
)
def test_what_is_frozen_stays_frozen(callbacks, images, tmp_path):
    assert_resumes(
        lambda folder: on_images(folder, None, callbacks()), images, tmp_path
    )


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.randn(7, 192).t() * 0.05)

    def forward(self, x):
        return x.flatten(1) @ self.w


@pytest.mark.parametrize("extra", [{}, {"optimizer__fused": False}])
def test_averages_of_parameters_of_another_layout(extra, images, tmp_path):
    def make(folder):
        return on_images(folder, Transposed, extra=extra, fft_lr=1e-2)

    assert_resumes(make, images, tmp_path)


def by_numpy(x):
    return x * np.random.uniform(0.5, 1) * random.uniform(0.9, 1)


def test_global_generators_of_numpy_and_python(images, tmp_path):
    before = np.random.get_state()[1].copy(), random.getstate()
    whole = assert_resumes(
        lambda folder: on_images(folder, augment=by_numpy), images, tmp_path
    )
    # They are the fit's: of its seed, and left as they were.
    assert_array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]
    np.random.seed(1)
    again = on_images(None, augment=by_numpy).fit(images.X, images.y)
    assert_array_equal(weights(again), weights(whole))


class Splits(Callback):
    seen: list = []

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        train, valid = (
            set(np.asarray(part.indices).tolist())
            for part in (dataset_train, dataset_valid)
        )
        assert not train & valid
        Splits.seen.append(valid)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(3)])
def test_the_validation_split_is_kept(random_state, images, tmp_path):
    Splits.seen.clear()
    split = ValidSplit(0.25, random_state=random_state)

    def make(folder):
        return on_images(folder, callbacks=[Splits()], extra={"train_split": split})

    stopped_in(EPOCHS, make(tmp_path), images)
    clf = make(tmp_path).fit(images.X, images.y)
    assert len(Splits.seen) == EPOCHS + 1
    assert all(valid == Splits.seen[0] for valid in Splits.seen)
    assert clf.net_.split_ is None


class Keeps(Callback):
    """Multiplies learning rates by a number that what it found decides."""

    KINDS = {
        "set": set,
        "deque": collections.deque,
        "Counter": collections.Counter,
        "defaultdict": lambda: collections.defaultdict(int),
        "numpy": lambda: np.random.default_rng(0),
        "torch": lambda: torch.Generator().manual_seed(0),
        "modules": lambda: {"m": nn.Linear(1, 1)},
    }

    def __init__(self, kind):
        self.kind = kind

    def on_train_begin(self, net, **kwargs):
        self.found_ = self.KINDS[self.kind]()
        if self.kind == "modules":
            nn.init.zeros_(self.found_["m"].weight)

    def on_epoch_begin(self, net, **kwargs):
        found, epoch = self.found_, len(net.history)
        match self.kind:
            case "set":
                found.add(epoch)
                factor = len(found)
            case "deque":
                found.append(epoch)
                factor = len(found)
            case "Counter":
                found.update(["epoch"])
                factor = found.most_common()[0][1]
            case "defaultdict":
                found["epoch"] += 1
                factor = found["epoch"] + found["other"]
            case "numpy":
                factor = 1 + found.random()
            case "torch":
                factor = 1 + float(torch.rand(1, generator=found))
            case "modules":
                with torch.no_grad():
                    found["m"].weight += 1
                factor = found["m"].weight.item()
        for group in net.optimizer_.param_groups:
            group["initial_lr"] = 1e-3 * factor


@pytest.mark.parametrize("kind", Keeps.KINDS)
def test_state_of_the_users_callbacks(kind, blobs, tmp_path):
    assert_resumes(lambda folder: on_features(folder, [Keeps(kind)]), blobs, tmp_path)


class Late(Callback):
    """Has a module that is not there when training begins, and a large tensor."""

    def on_epoch_end(self, net, **kwargs):
        if not hasattr(self, "average_"):
            self.average_ = {
                "zeros": torch.zeros(1_000_000),
                "module": copy.deepcopy(net.module_),
            }


def test_what_cannot_be_kept_of_callbacks_is_named(blobs, tmp_path):
    with pytest.warns(NotSavedWarning, match="attribute 'average_' of Late") as caught:
        on_features(tmp_path, [Late()]).fit(blobs.X, blobs.y)
    assert len(caught) == 1
    assert (tmp_path / "epoch.safetensors").stat().st_size < 1_000_000

    class Declared(Late):
        not_resumed = ("average_",)

    on_features(tmp_path / "other", [Declared()]).fit(blobs.X, blobs.y)


class Records(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("seen", {len})


def test_records_that_cannot_be_kept_are_left_out(blobs, tmp_path):
    with pytest.warns(NotSavedWarning, match="entry 'seen' of the history"):
        stopped_in(EPOCHS, on_features(tmp_path, [Records()]), blobs)
    with pytest.warns(NotSavedWarning):
        resumed = on_features(tmp_path, [Records()]).fit(blobs.X, blobs.y)
    assert ["seen" in row for row in resumed.history_] == [False, False, True]
    with pytest.warns(NotSavedWarning, match="not saved: seen"):
        resumed.save(tmp_path / "model")
    assert FullFineTuning.load(tmp_path / "model", fft_params=None).history_


class Odd(torch.optim.SGD):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group["function"] = len


class Fits(BaseEstimator):
    """A filter with an estimator of another package within."""

    def fit(self, losses, y=None):
        is_low = losses[:, 0] <= np.median(losses)
        self.inner_ = LogisticRegression().fit(losses, is_low)
        self.clean_proba_ = self.inner_.predict_proba(losses)[:, 1]
        self.clean_mask_ = is_low
        return self


def test_a_fit_that_cannot_be_kept_is_refused_before_its_first_step(blobs, tmp_path):
    extra = {"optimizer": Odd, "callbacks": [Fuse()]}
    with pytest.raises(CheckpointError, match=r"optimizer\.param_groups.*a builtin"):
        stopped_in(1, on_features(tmp_path, **{"optimizer": Odd}), blobs)
    clf = TURNClassifier(
        noise_filter=Fits(),
        lp_epochs=1,
        fft_epochs=1,
        fft_params={**extra, "optimizer": torch.optim.SGD},
        random_state=0,
        checkpoint=tmp_path / "other",
    )
    with pytest.raises(
        CheckpointError, match=r"noise_filter_\.inner_ is a LogisticReg"
    ):
        stopped_in(1, clf, blobs)


def test_a_disk_without_space_is_named(blobs, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise files.SafetensorError("No space left on device")

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot be kept in .*No space left"):
        on_features(tmp_path).fit(blobs.X, blobs.y)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.json", "lock"]
    monkeypatch.undo()
    on_features(tmp_path).fit(blobs.X, blobs.y)


def test_names_of_callbacks_that_are_taken_are_refused(blobs, tmp_path):
    clf = on_features(tmp_path, [("checkpoint", Records())])
    with pytest.raises(ValueError, match="names a callback 'checkpoint'"):
        clf.fit(blobs.X, blobs.y)


def test_the_file_is_one_that_other_programs_read(blobs, tmp_path):
    clf = on_features(tmp_path).fit(blobs.X, blobs.y)
    with safe_open(tmp_path / "epoch.safetensors", framework="np") as file:
        head = file.get_tensor("module.head.weight")
    assert_array_equal(head, clf.net_.module_.head.weight.detach().numpy())


def test_the_net_of_a_finished_fit_may_be_trained_further(images, tmp_path):
    """Its checkpoint is of that fit, and would put its weights back."""
    clf = FullFineTuning(pool, input_size=8, fft_epochs=2, checkpoint=tmp_path)
    net = clf.fit(images.X, images.y).net_
    dataset = Labelled(as_source(images.X), images.y)
    before = net.module_.head.weight.detach().clone()
    net.partial_fit(dataset, images.y)
    assert len(net.history) == 4
    assert (net.module_.head.weight != before).any()
