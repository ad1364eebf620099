"""Which fits are the same one: what is refused, and what makes no difference."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    Freezer,
    LRScheduler,
    PrintLog,
)
from skorch.dataset import ValidSplit
from support import Fuse, stopped_in
from torch import nn

from sklearn_turn import FeatureMemory
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import CheckpointError
from sklearn_turn.saving.fingerprint import describe


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Flip:
    def __init__(self, p):
        self.inner = [threading.Lock(), {"p": p}]


def times(k, *, more=1):
    return lambda x: x * k * more


def plus(x, k=1):
    return x + k


class Calls(Callback):
    def __init__(self, option):
        self.option = option
        self.me = self
        self.log = logging.getLogger("anything")
        self.found_ = object()


def scored(score):
    return EpochScoring(make_scorer(score), name="score")


OTHERS = [
    (lambda x: x, lambda x: x.flip(-1)),
    (times(1), times(2)),
    (times(1), times(1, more=2)),
    (plus, functools.partial(plus, k=2)),
    (functools.partial(plus, k=1), functools.partial(plus, k=2)),
    (lambda x, k=1: x * k, lambda x, k=2: x * k),
    (lambda x: [i + 1 for i in x], lambda x: [i + 2 for i in x]),
    (lambda x: x in {1, 2}, lambda x: x in {1, 3}),
    (Scaled(1).forward, Scaled(2).forward),
    (Scaled(1.0), Scaled(2.0)),
    (Scaled((1.0,)), Scaled((2.0,))),
    (Scaled(torch.zeros(2)), Scaled(torch.ones(2))),
    (nn.Dropout(0.1), nn.Dropout(0.2)),
    (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)),
    (Flip(0.1), Flip(0.2)),
    (Calls(1), Calls(2)),
    (ValidSplit(5), ValidSplit(4)),
    (Freezer("a*"), Freezer("b*")),
    (Freezer("a*", at=2), Freezer("a*", at=3)),
    (scored(accuracy_score), scored(f1_score)),
    ({1, 2}, {1, 3}),
    (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    (np.array([1, "a"], object), np.array([1, "b"], object)),
    (1, 1.0),
]


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_what_differs_is_told_apart(one, other):
    assert describe(one) == describe(one)
    assert describe(one) != describe(other)


def recursive(n):
    def inner(n):
        return n and inner(n - 1)

    return inner


def unfinished():
    def inner():
        return late

    if inner is None:
        late = 1
    return inner


SAME = [
    lambda: lambda x: x.flip(-1),
    lambda: times(3),
    lambda: Scaled((1.0, [2])),
    lambda: nn.Sequential(nn.Dropout(0.1), nn.ReLU()),
    lambda: Flip(0.1),
    lambda: Calls({"a"}),
    lambda: recursive(3),
    unfinished,
    lambda: np.random.default_rng(),
    lambda: LRScheduler("StepLR", step_size=2),
    lambda: functools.partial(np.clip, 0),
    lambda: np.bool_(True),
    lambda: [np.float64(1.5), np.int8(3), np.datetime64("2024-01-01")],
]


@pytest.mark.parametrize("make", SAME)
def test_what_was_made_alike_is_the_same(make):
    assert describe(make()) == describe(make())


def test_plain_values_are_those_of_numpy():
    assert describe(np.bool_(True)) is True
    assert describe({}) is None
    assert describe(np.float64(0.5)) == describe(0.5)


def sets():
    names = {"alpha", "beta", "gamma", "delta"}
    return [names, lambda x: x in {"alpha", "beta", "gamma"}]


PROGRAM = """
from sklearn_turn.saving.fingerprint import describe
import json, sys
exec(sys.argv[1])
print(json.dumps(describe(sets())[0]), describe(sets())[1][2])
"""


def test_another_process_says_the_same():
    """With other hashes of strings, in whose order sets are."""

    names, function = describe(sets())
    seed = str(abs(hash("alpha")) % 1000)  # most probably not this process's
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, inspect.getsource(sets)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert said.strip() == f"{json.dumps(names)} {function[2]}"


@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping("train_loss", patience=50),
        lambda: EpochScoring("accuracy", on_train=True, lower_is_better=False),
        lambda: Freezer("scale*"),
        lambda: PrintLog(sink=len),
        lambda: LRScheduler("StepLR", step_size=2),
        lambda: Calls(1),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn_turn.exceptions.NotSavedWarning")
def test_the_same_estimator_goes_on_after_a_stop(make, blobs, tmp_path):
    """Its callbacks have found something by then."""
    clf = FullFineTuning(
        fft_epochs=2,
        random_state=0,
        checkpoint=tmp_path,
        fft_params={"callbacks": [Fuse(), make()]},
    )
    stopped_in(2, clf, blobs)
    assert len(clf.fit(blobs.X, blobs.y).history_) == 2


def convolution(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


CHOICE = {"seed": 0}


def chosen():
    """By what no description of a function shows."""
    return convolution(CHOICE["seed"])


def test_another_backbone_of_one_factory_is_refused(images, tmp_path):
    def fit():
        LinearProbing(
            chosen, input_size=8, lp_epochs=1, random_state=0, checkpoint=tmp_path
        ).fit(images.X, images.y)

    fit()
    fit()
    try:
        CHOICE["seed"] = 1
        with pytest.raises(CheckpointError, match="What differs: backbone: weights"):
            fit()
    finally:
        CHOICE["seed"] = 0
    fit()  # the folder is free again


def test_other_weights_in_the_same_file_are_refused(images, tmp_path):
    weights, folder = tmp_path / "w.pth", tmp_path / "fit"
    clf = LinearProbing(
        functools.partial(convolution, 5),
        pretrained=str(weights),
        input_size=8,
        lp_epochs=1,
        random_state=0,
        checkpoint=folder,
    )
    torch.save(convolution(0).state_dict(), weights)
    clf.fit(images.X, images.y)
    torch.save(convolution(1).state_dict(), weights)
    with pytest.raises(CheckpointError, match="What differs: backbone: weights"):
        clf.fit(images.X, images.y)


def test_a_folder_in_use_is_refused(blobs, tmp_path):
    class Second(Callback):
        def on_epoch_end(self, net, **kwargs):
            with pytest.raises(CheckpointError, match="Another fit is going on in"):
                make([]).fit(blobs.X, blobs.y)
            net.history.record("refused", True)

    def make(callbacks):
        extra = {"callbacks": callbacks}
        return FullFineTuning(
            fft_epochs=1,
            fft_warmup_epochs=0,
            random_state=0,
            checkpoint=tmp_path,
            fft_params=extra,
        )

    clf = make([Second()]).fit(blobs.X, blobs.y)
    assert clf.net_.history[-1, "refused"]
    # When it has ended, or failed, others may.
    with pytest.raises(CheckpointError, match="What differs: fft_params"):
        make([]).fit(blobs.X, blobs.y)
    make([Second()]).fit(blobs.X, blobs.y)


def test_an_epoch_without_its_fit_is_refused(blobs, tmp_path):
    def make(seed):
        return FullFineTuning(
            fft_epochs=1,
            fft_warmup_epochs=0,
            random_state=seed,
            checkpoint=tmp_path,
        )

    make(0).fit(blobs.X, blobs.y)
    (tmp_path / "fit.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds epoch\.safetensors, but no fit"):
        make(1).fit(blobs.X, blobs.y)


def test_equal_fits_of_other_types_are_the_same(blobs, tmp_path):
    def fit(y, **params):
        clf = FullFineTuning(
            fft_epochs=1,
            fft_warmup_epochs=0,
            random_state=0,
            checkpoint=tmp_path,
        )
        clf.set_params(**params).fit(blobs.X, y)

    fit(blobs.y)
    fit(blobs.y.astype(np.int32))
    fit(blobs.y.tolist())
    fit(blobs.y, fft_params={}, memory=FeatureMemory(tmp_path / "features"))
    fit(blobs.y, fft_lr_warmup=np.float64(FullFineTuning().fft_lr_warmup))


@pytest.mark.parametrize("form", ["object", "category", "str"])
def test_labels_of_text_are_the_same_in_any_form(form, blobs, tmp_path):
    names = np.array(["ant", "bee", "cicada"])[blobs.y]
    clf = FullFineTuning(fft_epochs=1, random_state=0, checkpoint=tmp_path)
    clf.fit(blobs.X, names.tolist())
    clf.fit(blobs.X, pd.Series(names).astype(form))
