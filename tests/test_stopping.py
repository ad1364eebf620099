"""What a fit leaves behind that is interrupted: by a signal, in its own process."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import textwrap
import weakref

import pytest
from support import Interrupt, Pool, pool, tiny

from sklearn_turn.baselines import FullFineTuning

PROGRAM = """
import gc, logging, sys, warnings
import numpy as np
import torch
from skorch.callbacks import Callback
from sklearn_turn import TURNClassifier

warnings.simplefilter("ignore")
logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
torch.set_num_threads(1)
rng = np.random.RandomState(0)
y = np.arange(40) % 2
X = (rng.uniform(size=(40, 28, 28)) / 2 + y[:, None, None] / 2).astype("float32")

class Wait(Callback):
    wanted = True

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and Wait.wanted and len(net.history) == 2:
            print("ready", flush=True)
            while True:  # until the signal arrives
                torch.ones(1).add_(1)

def make(**params):
    return TURNClassifier(
        "letters", lp_epochs=2, fft_epochs=3, fft_batch_size=20, random_state=0,
        fft_params={"callbacks": [Wait()]}, **params,
    )

folder = sys.argv[1]
clf = make(checkpoint=folder)
try:
    clf.fit(X, y)
except KeyboardInterrupt as interrupt:
    print("interrupted:", interrupt.__notes__[0], flush=True)
print("fitted:", hasattr(clf, "net_"), flush=True)
Wait.wanted = False
print("epochs:", len(clf.fit(X, y).history_), flush=True)
same = np.array_equal(clf.predict_proba(X), make().fit(X, y).predict_proba(X))
print("same:", same, flush=True)
"""


def test_ctrl_c_and_on_again_in_a_process(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), tmp_path / "fit"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    how = (
        f"The estimator is not fitted. What was done is kept in "
        f"{str(tmp_path / 'fit')!r}: fit again with the same data and parameters to "
        "go on."
    )
    assert out.splitlines() == [
        f"interrupted: {how}",
        "fitted: False",
        "epochs: 5",
        "same: True",
    ]
    assert f"WARNING sklearn_turn.stopping: fit was interrupted. {how}" in err
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {},
            "is not fitted. Nothing that was computed is kept; a fit with checkpoint=",
        ),
        ({"memory": "features"}, "computed are kept in 'features'; a fit with checkpo"),
        ({"checkpoint": "fit"}, "What was done is kept in 'fit': fit again with"),
    ],
)
def test_the_message_says_how_to_go_on(params, text, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clf = tiny(fft_params={"callbacks": [Interrupt(1)]}, **params)
    with pytest.raises(KeyboardInterrupt) as told:
        clf.fit(images.X, images.y)
    assert text in told.value.__notes__[0]
    assert not hasattr(clf, "net_")
    assert clf.set_params(fft_params=None, checkpoint=None).fit(images.X, images.y)


def test_the_message_is_a_warning_on_the_log(images, caplog):
    clf = FullFineTuning(pool, input_size=8, fft_params={"callbacks": [Interrupt(1)]})
    with pytest.raises(KeyboardInterrupt):
        clf.fit(images.X, images.y)
    (record,) = [r for r in caplog.records if r.name == "sklearn_turn.stopping"]
    assert record.levelno == logging.WARNING
    assert "checkpoint='folder'" in record.getMessage()


def test_a_warm_start_that_is_interrupted_leaves_the_fit_before(images):
    clf = tiny(warm_start=True, fft_epochs=1).fit(images.X, images.y)
    proba, net = clf.predict_proba(images.X), clf.net_
    clf.set_params(fft_params={"callbacks": [Interrupt(1)]})
    with pytest.raises(KeyboardInterrupt) as told:
        clf.fit(images.X, images.y)
    assert "The estimator is as it was before this fit." in told.value.__notes__[0]
    assert clf.net_ is net
    assert (clf.predict_proba(images.X) == proba).all()


@pytest.mark.parametrize("params", [{}, {"checkpoint": "fit"}])
def test_an_interrupt_that_is_kept_holds_no_network(
    params, images, tmp_path, monkeypatch
):
    """As notebooks keep the last error: its networks would fill the device."""
    nets, alive = [], []

    class Watched(Pool):
        def __init__(self):
            super().__init__()
            nets.append(weakref.ref(self))

        def __deepcopy__(self, memo):
            return Watched()

    def free(device):
        gc.collect()  # as on an accelerator
        alive.append(sum(net() is not None for net in nets))

    monkeypatch.setattr("sklearn_turn.base.free_memory", free)
    params = {name: tmp_path / folder for name, folder in params.items()}
    extra = {"callbacks": [Interrupt(1)]}
    clf = FullFineTuning(Watched, input_size=8, fft_params=extra, **params)
    with pytest.raises(KeyboardInterrupt) as told:
        clf.fit(images.X, images.y)
    assert told.value.__traceback__ is not None
    assert alive == [0] and nets
