"""The skorch net."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import ValidSplit
from support import Fixed, Interrupt, Spy, spy_net
from torch import nn

from sklearn_turn import Cleansing
from sklearn_turn.inputs import FeatureRows
from sklearn_turn.losses import CrossEntropyLoss, GCELoss
from sklearn_turn.training.batches import Labelled
from sklearn_turn.training.net import Net, history


def test_robust_loss_waits_for_the_warm_up(numbered):
    X, y = numbered
    data = Labelled(FeatureRows(X), y)
    losses = {}
    for criterion in (CrossEntropyLoss, GCELoss):
        torch.manual_seed(0)
        net = Net(
            nn.Linear,
            module__in_features=3,
            module__out_features=3,
            criterion=criterion,
            warmup_epochs=2,
            lr=1e-9,
            batch_size=300,
            max_epochs=4,
        ).fit(data, y)
        losses[criterion] = net.history[:, "train_loss"]
    ce, gce = losses[CrossEntropyLoss], losses[GCELoss]
    assert gce[:2] == pytest.approx(ce[:2], rel=1e-5)
    assert all(second < first for first, second in zip(ce[2:], gce[2:], strict=True))


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_an_interrupt_leaves_fit(epochs_before, numbered):
    X, y = numbered
    net = Net(Spy, lr=0.1, max_epochs=5, callbacks=[Interrupt(epochs_before + 1)])
    with pytest.raises(KeyboardInterrupt):
        net.fit(Labelled(FeatureRows(X), y), y)
    assert len(net.history) == epochs_before + 1


def test_a_criterion_is_told_which_samples_it_sees(numbered):
    X, y = numbered
    seen = []

    class Note(CrossEntropyLoss):
        def forward(self, logits, target, index):
            seen.append((index.clone(), target.clone()))
            return super().forward(logits, target, index)

    net = Net(
        Spy,
        criterion=Note,
        callbacks=[
            Cleansing(Fixed(np.arange(300) % 3 > 0), warmup_epochs=0, random_state=0)
        ],
        lr=0.1,
        max_epochs=1,
    ).fit(Labelled(FeatureRows(X), y), y)
    index = torch.cat([i for i, _ in seen])
    assert index.tolist() == net.module_.trained
    np.testing.assert_array_equal(torch.cat([t for _, t in seen]), y[index])


def test_history_names_phases_and_leaves_batches_out(numbered):
    X, y = numbered
    first = spy_net(max_epochs=1).fit(X, y)
    second = spy_net(max_epochs=2, callbacks=[Cleansing()]).fit(X, y)
    rows = history({"probe": first, "nothing": None, "tuning": second})
    assert [row["phase"] for row in rows] == ["probe", "tuning", "tuning"]
    assert [row["epoch"] for row in rows] == [1, 1, 2]
    assert rows[0]["train_loss"] == first.history[0, "train_loss"]
    assert all("batches" not in row and row["seconds"] > 0 for row in rows)
    assert [row.get("n_train") for row in rows] == [None, *second.history[:, "n_train"]]


def test_history_keeps_what_callbacks_record(numbered):
    class Records(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("n_batches", 3)
            net.history.record("my_best", 0.5)

    X, y = numbered
    score = EpochScoring("accuracy", name="valid_accuracy", lower_is_better=False)
    net = spy_net(callbacks=[Records(), score], train_split=ValidSplit(3)).fit(X, y)
    skorchs_own = {"valid_accuracy_best", "train_loss_best", "train_batch_count"}
    assert skorchs_own < {*net.history[-1]}
    for row in history({"tuning": net}):
        assert (row["n_batches"], row["my_best"]) == (3, 0.5)
        assert 0 <= row["valid_accuracy"] <= 1
        rest = {*row} - {"my_best", "n_batches"}
        assert not any(name.endswith(("_best", "_count", "batches")) for name in rest)


def test_module_and_criterion_are_in_the_mode_of_the_step(numbered):
    X, y = numbered
    modes = set()

    class Watched(CrossEntropyLoss):
        def forward(self, logits, target, index):
            modes.add(("criterion", self.training, torch.is_grad_enabled()))
            return super().forward(logits, target, index)

    class Module(Spy):
        def forward(self, batch):
            modes.add(("module", self.training, torch.is_grad_enabled()))
            return super().forward(batch)

    net = Net(Module, criterion=Watched, train_split=ValidSplit(5), lr=0.1)
    net.set_params(max_epochs=2).fit(Labelled(FeatureRows(X), y), y)
    assert modes == {
        (part, mode, mode) for part in ("criterion", "module") for mode in (True, False)
    }


def test_of_a_single_output_the_validation_accuracy_is_of_two_classes(numbered):
    X = numbered[0] / 100
    y = (X[:, 1] > 0).astype(np.float32)[:, None]
    split = ValidSplit(4, stratified=False)
    net = Net(
        nn.Linear,
        module__in_features=3,
        module__out_features=1,
        criterion=nn.BCEWithLogitsLoss,
        max_epochs=20,
        train_split=split,
    )
    net.fit(X, y)
    _, aside = split(X, y)
    with torch.no_grad():
        logits = net.module_(torch.from_numpy(X[aside.indices]))
    expected = ((logits.numpy() > 0) == y[aside.indices]).mean()
    np.testing.assert_allclose(net.history[-1, "valid_acc"], expected)
