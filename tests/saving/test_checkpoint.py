"""Fits that are stopped, and go on to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, EarlyStopping
from support import Fuse, armed, pool, stopped_in
from torch import nn

from sklearn_turn import GMMNoiseFilter, TURNClassifier
from sklearn_turn.baselines import (
    CORES,
    FINE,
    UNICON,
    CoTeaching,
    DivideMix,
    ELRPlus,
    FullFineTuning,
    LinearProbing,
)
from sklearn_turn.exceptions import CheckpointError

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_turn.exceptions.CleansingWarning"
)


def patchy():
    """Convolutions, whose memory has another layout, BatchNorm and dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    )


def classifier(method, folder=None, **params):
    has_probe = method is not FullFineTuning
    return method(
        patchy,
        input_size=8,
        fft_batch_size=8,
        random_state=5,
        checkpoint=folder,
        **{
            "freeze_batch_norm": False,
            "fft_epochs": 3,
            "fft_params": {"callbacks": [Fuse()]},
            **({"lp_epochs": 3} if has_probe else {}),
            **({"mode": "fine-tune"} if hasattr(method, "mode") else {}),
            **params,
        },
    )


def fitted_attributes(clf):
    """All numbers of a fit but seconds."""
    state = {k: v.numpy() for k, v in clf.net_.module_.state_dict().items()}
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in clf.history_]
    names = ("clean_mask_", "clean_proba_", "losses_", "suggested_labels_")
    found = {name: getattr(clf, name) for name in names if hasattr(clf, name)}
    filters = vars(clf.noise_filter_) if hasattr(clf, "noise_filter_") else {}
    arrays = {k: v for k, v in filters.items() if isinstance(v, np.ndarray)}
    return {**state, **found, **arrays}, history


def assert_same_fit(one, other):
    (arrays, history), (others, other_history) = map(fitted_attributes, (one, other))
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert_array_equal(array, others[name], err_msg=name)
    assert history == other_history


class UsersFilter(GMMNoiseFilter):
    """Of a module that is not the package's."""


METHODS = [
    (TURNClassifier, {}),
    (TURNClassifier, {"noise_filter": "gmm", "tau": 0.6}),
    (TURNClassifier, {"cleansing": "once"}),
    (TURNClassifier, {"cleansing": None}),
    (TURNClassifier, {"label_correction": "hard"}),
    (TURNClassifier, {"noise_filter": UsersFilter()}),
    (FullFineTuning, {}),
    (FullFineTuning, {"fft_optimizer": "sgd"}),
    (FullFineTuning, {"freeze_batch_norm": True}),  # has no statistics to keep
    (FullFineTuning, {"loss": "elr"}),
    (FullFineTuning, {"loss": "gce", "truncation": 0.5}),
    (DivideMix, {}),
    (DivideMix, {"freeze_batch_norm": True}),
    (UNICON, {}),
    (ELRPlus, {}),
    (CoTeaching, {}),
    (CORES, {}),
    (FINE, {}),
]


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_a_fit_that_is_stopped_twice_ends_with_the_same_bits(
    method, params, images, tmp_path
):
    whole = classifier(method, **params).fit(images.X, images.y)
    kept = classifier(method, tmp_path, **params)
    stopped_in(2, kept, images)
    assert not hasattr(kept, "net_")
    stopped_in(3, classifier(method, tmp_path, **params), images)
    done = json.loads((tmp_path / "fit.json").read_text())["fit"]["method"]
    assert done == method.__name__
    assert (tmp_path / "epoch.safetensors").exists()
    assert_same_fit(kept.fit(images.X, images.y), whole)
    # One that ended is read back, without a step.
    with armed(3):
        again = classifier(method, tmp_path, **params).fit(images.X, images.y)
    assert_same_fit(again, whole)


def test_features_given_are_fine_tuned_on_and_go_on(blobs, tmp_path):
    def make(folder=None):
        fuse = {"callbacks": [Fuse()]}
        return TURNClassifier(fft_params=fuse, random_state=0, checkpoint=folder)

    stopped_in(3, make(tmp_path), blobs)
    resumed = make(tmp_path).fit(blobs.X, blobs.y)
    assert_same_fit(resumed, make().fit(blobs.X, blobs.y))


def test_only_what_is_left_is_trained(images, tmp_path):
    class Count(Callback):
        epochs = 0

        def on_epoch_begin(self, net, **kwargs):
            Count.epochs += 1

    def make():
        callbacks = {"fft_params": {"callbacks": [Fuse(), Count()]}}
        return classifier(FullFineTuning, tmp_path, **callbacks)

    stopped_in(3, make(), images)
    assert Count.epochs == 3
    make().fit(images.X, images.y)
    assert Count.epochs == 4


def test_callbacks_of_the_user_keep_their_state(images, tmp_path):
    def make(folder=None):
        early = EarlyStopping("train_loss", patience=2, threshold=10.0)
        extra = {"callbacks": [Fuse(), early]}
        return classifier(FullFineTuning, folder, fft_params=extra, fft_epochs=6)

    whole = make().fit(images.X, images.y)
    assert len(whole.history_) == 3  # nothing improves by ten
    stopped_in(2, make(tmp_path), images)
    assert_same_fit(make(tmp_path).fit(images.X, images.y), whole)
    # It has ended, though not in its last epoch: nothing is trained again.
    with armed(3):
        assert_same_fit(make(tmp_path).fit(images.X, images.y), whole)


def test_without_a_random_state_the_seed_is_kept(images, tmp_path):
    def make():
        return classifier(FullFineTuning, tmp_path).set_params(random_state=None)

    stopped_in(2, make(), images)
    first = make().fit(images.X, images.y)
    seed = json.loads((tmp_path / "fit.json").read_text())["seed"]
    assert isinstance(seed, int)
    assert_same_fit(make().fit(images.X, images.y), first)


def test_features_are_kept_and_stored_where_the_user_wants(images, tmp_path):
    mine, folder = tmp_path / "mine", tmp_path / "fit"
    make = {"input_size": 8, "lp_epochs": 1, "checkpoint": folder, "random_state": 0}
    LinearProbing(pool, **make).fit(images.X, images.y)
    assert any((folder / "features").iterdir())
    make["checkpoint"] = tmp_path / "other"
    LinearProbing(pool, **make, memory=mine).fit(images.X, images.y)
    assert not (tmp_path / "other" / "features").exists()
    assert any(mine.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fft_epochs": 9}, r"fft_epochs \(there 3, now 9\)"),
        ({"fft_lr": 1e-3}, r"fft_lr \(there None, now 0.001\)"),
        ({"random_state": 6}, r"random_state \(there 5, now 6\)"),
        ({"loss": nn.CrossEntropyLoss()}, "loss"),
        ({"augment": None}, r"augment \(there light, now None\)"),
    ],
)
def test_other_parameters_are_refused_by_name(change, message, images, tmp_path):
    classifier(FullFineTuning, tmp_path).fit(images.X, images.y)
    changed = classifier(FullFineTuning, tmp_path).set_params(**change)
    with pytest.raises(CheckpointError, match=rf"What differs: {message}.*\. Give"):
        changed.fit(images.X, images.y)
    assert not hasattr(changed, "net_")


def test_other_data_and_methods_are_refused(images, tmp_path):
    clf = classifier(FullFineTuning, tmp_path).fit(images.X, images.y)
    X, y = images.X.copy(), images.y.copy()
    X[7, 0, 0, 0] ^= 1
    with pytest.raises(CheckpointError, match="What differs: images"):
        clf.fit(X, images.y)
    y[7] = (y[7] + 1) % 3
    with pytest.raises(CheckpointError, match="What differs: labels"):
        clf.fit(images.X, y)
    with pytest.raises(CheckpointError, match=r"number of samples .there 60, now 50."):
        clf.fit(images.X[:50], images.y[:50])
    with pytest.raises(CheckpointError, match="What differs: method"):
        classifier(TURNClassifier, tmp_path).fit(images.X, images.y)


def test_what_does_not_matter_may_change(images, tmp_path):
    clf = classifier(FullFineTuning, tmp_path)
    stopped_in(2, clf, images)
    clf.set_params(num_workers=1, memory=str(tmp_path / "mine"), device="cpu")
    clf.fit(images.X, images.y)
    assert_same_fit(clf, classifier(FullFineTuning).fit(images.X, images.y))


def test_folders_that_cannot_be_used_are_refused_at_once(images, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(CheckpointError, match="No checkpoint can be kept"):
        classifier(FullFineTuning, file).fit(images.X, images.y)
    # Of another program.
    for content in (b"{", b"{}", b"[]", b"\xff\xfe", b'{"fit": {}, "seed": "x"}'):
        (tmp_path / "fit.json").write_bytes(content)
        with pytest.raises(CheckpointError, match="No checkpoint can be kept"):
            classifier(FullFineTuning, tmp_path).fit(images.X, images.y)


def test_a_damaged_epoch_is_refused_by_name(images, tmp_path):
    classifier(FullFineTuning, tmp_path).fit(images.X, images.y)
    path = tmp_path / "epoch.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"epoch\.safetensors.*[Dd]elete"):
        classifier(FullFineTuning, tmp_path).fit(images.X, images.y)


def test_an_interrupt_says_how_to_go_on(images, tmp_path, capsys):
    class Interrupt(Callback):
        armed = True

        def on_batch_begin(self, net, training=False, **kwargs):
            if self.armed and len(net.history) == 2:
                signal.raise_signal(signal.SIGINT)

    extra = {"fft_params": {"callbacks": [Interrupt()]}}
    clf = classifier(FullFineTuning, tmp_path, **extra)
    with pytest.raises(KeyboardInterrupt) as caught:
        clf.fit(images.X, images.y)
    assert "fit again with the same data" in caught.value.__notes__[0]
    Interrupt.armed = False
    clf.set_params(verbose=1).fit(images.X, images.y)
    assert "going on after epoch 1" in capsys.readouterr().err


PROGRAM = """
import sys
import numpy as np
import torch
from sklearn_turn import TURNClassifier

torch.set_num_threads(1)
data, folder, out = sys.argv[1:]
X, y = (np.load(f"{data}/{name}.npy") for name in "Xy")
clf = TURNClassifier("letters", fft_epochs=8, random_state=0, checkpoint=folder)
np.save(out, clf.fit(X, y).predict_proba(X))
"""


def test_a_process_that_is_killed_is_gone_on_with(digits, tmp_path):
    """SIGKILL while features are computed, in fine-tuning, and at any moment."""
    X, y = digits.X[:300], digits.y[:300]
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    folder, out = tmp_path / "fit", tmp_path / "proba.npy"

    def start():
        # The file system's order of events is the only clock that is not the machine's.
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path, folder, out]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})

    for sign, delay in [("fit.json", 0.05), ("epoch.safetensors", 0.2)]:
        with start() as process:
            while not (folder / sign).exists() and process.poll() is None:
                time.sleep(0.01)
            time.sleep(delay)
            process.kill()
    assert not out.exists()
    with start() as process:
        assert process.wait() == 0
    clf = TURNClassifier("letters", fft_epochs=8, random_state=0)
    assert_array_equal(np.load(out), clf.fit(X, y).predict_proba(X))
