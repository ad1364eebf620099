from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

from sklearn_turn import Cleansing, GMMNoiseFilter, TURNClassifier
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.inputs import FeatureRows
from sklearn_turn.losses import GCELoss
from sklearn_turn.selection import draw_balanced
from sklearn_turn.training.batches import Labelled, RowBatches, SubsetSampler
from sklearn_turn.training.cleansing import per_sample_losses
from sklearn_turn.training.net import Net, history
from sklearn_turn.training.optimizers import make_optimizer
from sklearn_turn.training.schedules import CosineSchedule, RobustAfterWarmup

CRITERIA = ["logits", "probabilities"]


class Spy(nn.Module):
    """Linear classifier on columns 1 and 2; column 0 is the number of the sample.

    It notes which samples it sees, apart for training and evaluation.
    """

    def __init__(self, as_probabilities=False, fail_at=None):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.drop = nn.Dropout(0.5)
        self.as_probabilities = as_probabilities
        self.fail_at = fail_at
        self.trained, self.evaluated = [], []

    def forward(self, X):
        seen = self.trained if self.training else self.evaluated
        seen.extend(X[:, 0].int().tolist())
        if self.fail_at is not None and len(self.trained) > self.fail_at:
            raise MemoryError("out of memory")
        logits = self.linear(self.drop(X[:, 1:]))
        return logits.softmax(dim=1) if self.as_probabilities else logits


class Fixed(BaseEstimator):
    """A filter that believes the same labels whatever the losses are."""

    def __init__(self, mask):
        self.mask = mask

    def fit(self, X, y):
        self.clean_mask_ = np.asarray(self.mask)
        self.clean_proba_ = self.clean_mask_.astype(float)
        return self


class Remember(Callback):
    """Keep the state of the module and the subset at the beginning of each epoch."""

    def initialize(self):
        self.states, self.subsets = [], []
        return self

    def on_epoch_begin(self, net, **kwargs):
        state = {k: v.clone() for k, v in net.module_.state_dict().items()}
        self.states.append(state)
        cleansing = dict(net.callbacks_).get("cleansing")
        if cleansing is not None:
            self.subsets.append(cleansing.kept_indices_.copy())


@pytest.fixture
def numbered(blobs):
    """Features with the number of the sample in the first column."""
    X = np.column_stack([np.arange(300), blobs.X]).astype(np.float32)
    return X, blobs.y.copy()


def _net(criterion="logits", callbacks=(), **options):
    torch.manual_seed(0)
    options = {
        "lr": 0.05,
        "batch_size": 32,
        "max_epochs": 3,
        "train_split": None,
        "verbose": 0,
        **options,
    }
    return NeuralNetClassifier(
        Spy,
        module__as_probabilities=criterion == "probabilities",
        criterion=nn.NLLLoss if criterion == "probabilities" else nn.CrossEntropyLoss,
        classes=[0, 1, 2],
        callbacks=list(callbacks),
        **options,
    )


def _losses_by_hand(state, X, y):
    weight, bias = (
        state[f"linear.{name}"].double().numpy() for name in ("weight", "bias")
    )
    logits = X[:, 1:].astype(float) @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    log_proba = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_proba[np.arange(len(y)), y]


# -- per-sample losses ----------------------------------------------------------------


@pytest.mark.parametrize("criterion", CRITERIA)
def test_losses_are_cross_entropies_in_index_order(criterion, numbered):
    X, y = numbered
    net = _net(criterion, max_epochs=1).fit(X, y)
    net.module_.evaluated.clear()
    losses, labels = per_sample_losses(net, net.get_dataset(X, y))
    assert net.module_.evaluated == list(range(300))
    np.testing.assert_array_equal(labels, y)
    assert losses.dtype == np.float64
    expected = _losses_by_hand(net.module_.state_dict(), X, y)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)


def test_losses_of_a_robust_criterion_are_cross_entropies_too(numbered):
    X, y = numbered
    net = _net(max_epochs=1).set_params(criterion=GCELoss).fit(X, y)
    losses, _ = per_sample_losses(net, net.get_dataset(X, y))
    expected = _losses_by_hand(net.module_.state_dict(), X, y)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)


def test_probability_of_zero_gives_a_finite_loss():
    class Certain(nn.Linear):
        def forward(self, X):
            return torch.eye(2)[torch.zeros(len(X), dtype=int)]

    net = NeuralNetClassifier(
        Certain, module__in_features=1, module__out_features=2, lr=0.1, verbose=0
    )
    net.initialize()
    X, y = np.zeros((2, 1), dtype=np.float32), np.array([0, 1])
    losses, _ = per_sample_losses(net, net.get_dataset(X, y))
    assert losses[0] == 0
    assert losses[1] > 50 and np.isfinite(losses[1])


# -- Cleansing ------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", CRITERIA)
def test_cleansing_judges_the_losses_of_the_model_before_each_epoch(
    criterion, numbered
):
    X, y = numbered
    cleansing, remember = Cleansing(random_state=0), Remember()
    net = _net(
        criterion, [("cleansing", cleansing), ("remember", remember)], lr=0.5
    ).fit(X, y)
    expected = _losses_by_hand(remember.states[-1], X, y)
    np.testing.assert_allclose(cleansing.losses_, expected, rtol=1e-3, atol=1e-5)
    by_hand = GMMNoiseFilter().fit(cleansing.losses_.reshape(-1, 1), y)
    np.testing.assert_array_equal(
        cleansing.noise_filter_.clean_mask_, by_hand.clean_mask_
    )
    kept = np.bincount(y[by_hand.clean_mask_], minlength=3)
    assert net.history[-1, "kept"] == kept.tolist()
    subset = cleansing.kept_indices_
    assert by_hand.clean_mask_[subset].all()
    assert np.bincount(y[subset]).tolist() == [kept.min()] * 3


def test_each_epoch_visits_its_own_subset_once(numbered):
    X, y = numbered
    remember = Remember()
    cleansing = Cleansing(random_state=0)
    net = _net(callbacks=[("cleansing", cleansing), ("remember", remember)], lr=0.5)
    net.fit(X, y)
    visited = iter(net.module_.trained)
    for subset, n_train in zip(
        remember.subsets, net.history[:, "n_train"], strict=True
    ):
        epoch = [next(visited) for _ in range(n_train)]
        assert len(set(epoch)) == n_train
        assert set(epoch) <= set(subset.tolist())
        assert len(subset) - n_train == (len(subset) % 32 == 1)
    assert next(visited, None) is None
    assert len({tuple(subset) for subset in remember.subsets}) == 3


def test_cleansing_finds_the_wrong_labels(blobs, numbered):
    X, y = numbered
    cleansing = Cleansing(random_state=0)
    _net(callbacks=[cleansing], lr=0.5, max_epochs=10).fit(X, y)
    found = ~cleansing.noise_filter_.clean_mask_
    assert found[blobs.is_wrong].mean() > 0.9
    assert blobs.is_wrong[found].mean() > 0.9


def test_loss_passes_are_one_per_epoch(numbered):
    X, y = numbered
    cleansing = Cleansing(random_state=0)
    net = _net(callbacks=[cleansing], max_epochs=4).fit(X, y)
    assert cleansing.n_loss_passes_ == 4
    assert net.module_.evaluated == 4 * list(range(300))


def test_first_losses_save_exactly_one_pass(numbered):
    X, y = numbered
    known = np.linspace(0, 1, 300) + 3.0 * (np.arange(300) % 4 == 0)
    cleansing, remember = Cleansing(first_losses=known), Remember()
    net = _net(callbacks=[("cleansing", cleansing), ("remember", remember)])
    net.fit(X, y)
    assert cleansing.n_loss_passes_ == 2
    assert net.module_.evaluated == 2 * list(range(300))
    mask = GMMNoiseFilter().fit(known.reshape(-1, 1), y).clean_mask_
    assert 0 < mask.sum() < 300
    assert mask[remember.subsets[0]].all()


def test_cleansing_once_keeps_the_subset(numbered):
    X, y = numbered
    remember = Remember()
    cleansing = Cleansing(every_epoch=False, random_state=0)
    net = _net(callbacks=[("cleansing", cleansing), ("remember", remember)])
    net.fit(X, y)
    assert cleansing.n_loss_passes_ == 1
    for subset in remember.subsets:
        np.testing.assert_array_equal(subset, remember.subsets[0])
    expected = _losses_by_hand(remember.states[0], X, y)
    np.testing.assert_allclose(cleansing.losses_, expected, rtol=1e-3, atol=1e-5)


def test_cleansing_once_with_known_losses_makes_no_pass(numbered):
    X, y = numbered
    cleansing = Cleansing(every_epoch=False, first_losses=np.zeros(300))
    net = _net(callbacks=[cleansing]).fit(X, y)
    assert cleansing.n_loss_passes_ == 0
    assert net.module_.evaluated == []


@pytest.mark.parametrize("balance", ["min", 2, None])
def test_balance_limits_the_draw_per_class(balance, numbered):
    X, y = numbered
    mask = np.random.RandomState(0).uniform(size=300) < np.array([0.2, 0.5, 0.9])[y]
    cleansing = Cleansing(Fixed(mask), balance=balance, random_state=0)
    _net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    clean = np.bincount(y[mask])
    limit = {"min": clean[0], 2: 2 * clean[0], None: 300}[balance]
    drawn = np.bincount(y[cleansing.kept_indices_])
    assert drawn.tolist() == np.minimum(clean, limit).tolist()


def test_same_random_state_same_subsets(numbered):
    X, y = numbered
    trained = [
        _net(callbacks=[Cleansing(random_state=seed)]).fit(X, y).module_.trained
        for seed in (0, 0, 1)
    ]
    assert trained[0] == trained[1] != trained[2]


def test_only_training_samples_are_judged_under_a_split(numbered):
    X, y = numbered
    cleansing = Cleansing(random_state=0)
    split = ValidSplit(3, stratified=True)
    net = _net(callbacks=[cleansing], train_split=split).fit(X, y)
    train, valid = net.get_split_datasets(X, y)
    train, valid = np.asarray(train.indices), np.asarray(valid.indices)
    assert len(cleansing.losses_) == len(train) == 200
    expected_epoch = [*train.tolist(), *valid.tolist()]
    assert net.module_.evaluated == 3 * expected_epoch
    assert set(net.module_.trained) <= set(train.tolist())
    assert np.isfinite(net.history[:, "valid_loss"]).all()


def test_labels_of_any_torch_dataset(numbered):
    X, y = numbered
    dataset = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    cleansing = Cleansing(first_losses=np.zeros(300), random_state=0)
    plain = Cleansing(first_losses=np.zeros(300), random_state=0)
    _net(callbacks=[cleansing], max_epochs=1).fit(dataset, None)
    _net(callbacks=[plain], max_epochs=1).fit(X, y)
    np.testing.assert_array_equal(cleansing.kept_indices_, plain.kept_indices_)


def test_read_only_labels_raise_no_warning(blobs):
    X = blobs.X.astype(np.float32)
    assert not blobs.y.flags.writeable
    net = NeuralNetClassifier(
        nn.Linear,
        module__in_features=2,
        module__out_features=3,
        criterion=nn.CrossEntropyLoss,
        callbacks=[Cleansing(first_losses=np.zeros(300))],
        train_split=None,
        max_epochs=2,
        verbose=0,
        lr=0.1,
    )
    torch.set_warn_always(True)
    try:
        net.fit(X, blobs.y)
    finally:
        torch.set_warn_always(False)
    assert len(net.history) == 2


def test_early_stopping_checkpoints_and_schedules_work(numbered, tmp_path):
    X, y = numbered
    callbacks = [
        Cleansing(random_state=0),
        EarlyStopping(patience=2, sink=lambda text: None),
        Checkpoint(dirname=tmp_path, sink=lambda text: None, f_history=None),
        LRScheduler("StepLR", step_size=1, gamma=0.1),
    ]
    net = _net(
        callbacks=callbacks, max_epochs=60, train_split=ValidSplit(3), lr=1.0
    ).fit(X, y)
    assert 3 < len(net.history) < 60
    assert net.history[:3, "event_lr"] == pytest.approx([1.0, 0.1, 0.01])
    best = torch.load(tmp_path / "params.pt", weights_only=True)
    assert best["linear.weight"].shape == (3, 2)
    assert any(net.history[:, "event_cp"])


# -- Cleansing leaves the net as it was -----------------------------------------------


@pytest.mark.parametrize("shuffle", [True, False, None])
def test_the_nets_settings_come_back(shuffle, numbered):
    X, y = numbered
    options = {} if shuffle is None else {"iterator_train__shuffle": shuffle}
    net = _net(callbacks=[Cleansing()], **options)
    before = net.get_params(deep=False)
    net.fit(X, y)
    after = net.get_params(deep=False)
    sampling = [name for name in after if name.startswith("iterator_train__")]
    assert {name: after[name] for name in sampling} == options
    assert set(before) == set(after)


def test_a_fitted_net_can_be_cloned_pickled_and_fitted_again(numbered):
    X, y = numbered
    net = _net(callbacks=[Cleansing(random_state=0)]).fit(X, y)
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copy.predict_proba(X), net.predict_proba(X))
    clone(net).fit(X, y)
    net.fit(X, y)
    assert len(net.history) == 3
    net.partial_fit(X, y)
    assert len(net.history) == 6


def test_fit_can_be_called_again_after_it_failed(numbered):
    X, y = numbered
    net = _net(callbacks=[Cleansing(random_state=0)], module__fail_at=200)
    with pytest.raises(MemoryError):
        net.fit(X, y)
    net.set_params(module__fail_at=None)
    net.fit(X, y)
    assert len(net.history) == 3


def test_training_goes_on_without_the_callback(numbered):
    X, y = numbered
    net = _net(
        callbacks=[("cleansing", Cleansing(Fixed(np.arange(300) < 150)))],
        iterator_train__shuffle=True,
    ).fit(X, y)
    net.callbacks_ = [item for item in net.callbacks_ if item[0] != "cleansing"]
    net.module_.trained.clear()
    net.partial_fit(X, y)
    assert sorted(net.module_.trained) == sorted(3 * list(range(300)))


@pytest.mark.parametrize("option", ["sampler", "batch_sampler"])
def test_another_sampler_is_a_conflict(option, numbered):
    X, y = numbered
    sampler = torch.utils.data.SequentialSampler(range(300))
    if option == "batch_sampler":
        sampler = torch.utils.data.BatchSampler(sampler, 32, drop_last=False)
    net = _net(callbacks=[Cleansing()], **{f"iterator_train__{option}": sampler})
    with pytest.raises(ValueError, match=f"remove.*iterator_train__{option}"):
        net.fit(X, y)
    assert net.module_.trained == []


def test_losses_that_diverged_are_warned_about(numbered):
    X, y = numbered
    losses = np.zeros(300)
    losses[:5] = np.nan
    cleansing = Cleansing(first_losses=losses, every_epoch=False)
    with pytest.warns(CleansingWarning, match="5 of 300 losses are not finite"):
        _net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    assert set(range(5)).isdisjoint(cleansing.kept_indices_)


def test_verbose_says_how_many_labels_are_believed(numbered, capsys):
    X, y = numbered
    mask = np.arange(300) >= 90
    _net(callbacks=[Cleansing(Fixed(mask))], verbose=1, max_epochs=2).fit(X, y)
    out = capsys.readouterr().out
    counts = np.bincount(y[mask])
    n_train = 3 * counts.min() - (3 * counts.min() % 32 == 1)
    for epoch in (1, 2):
        assert (
            f"epoch {epoch}: believed 210 of 300 labels, training on {n_train} "
            f"({counts.min()} to {counts.max()} believed per class)"
        ) in out


# -- sampler, schedule, optimiser -----------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 8, 16])
@pytest.mark.parametrize("n", range(1, 35))
def test_no_epoch_ends_on_a_batch_of_one(n, batch_size):
    sampler = SubsetSampler(np.random.RandomState(0), batch_size)
    sampler.indices = np.arange(100, 100 + n)
    visited = list(sampler)
    assert len(visited) == len(sampler)
    assert len(set(visited)) == len(visited) >= n - 1
    assert set(visited) <= set(range(100, 100 + n))
    batches = [visited[i : i + batch_size] for i in range(0, len(visited), batch_size)]
    if n > 1 and batch_size > 1:
        assert min(map(len, batches)) > 1
    else:
        assert len(visited) == n


def test_the_sample_left_out_changes_from_epoch_to_epoch():
    sampler = SubsetSampler(np.random.RandomState(0), batch_size=8)
    sampler.indices = np.arange(9)
    left_out = {(set(range(9)) - set(sampler)).pop() for _ in range(60)}
    assert len(left_out) > 4


def test_rows_are_batched_as_by_a_loader():
    rng = np.random.RandomState(0)
    data = Labelled(FeatureRows(rng.randn(50, 3).astype("f4")), rng.randint(4, size=50))
    options = {"batch_size": 8}
    samplers = [SubsetSampler(np.random.RandomState(1), **options) for _ in range(2)]
    for sampler in samplers:
        sampler.indices = np.arange(5, 50)
    quick = RowBatches(data, sampler=samplers[0], shuffle=False, **options)
    loader = torch.utils.data.DataLoader(
        data, sampler=samplers[1], collate_fn=lambda batch: batch, **options
    )
    assert len(quick) == len(loader) == 6
    for _ in range(2):
        for (X, y), (expected_X, expected_y) in zip(quick, loader, strict=True):
            assert torch.equal(X, expected_X)
            assert torch.equal(y, expected_y)


def test_a_loader_asked_for_trains_the_same():
    rng = np.random.RandomState(0)
    X, y = rng.randn(60, 5), rng.randint(3, size=60)
    asked = {"iterator_train__num_workers": 0, "iterator_train__drop_last": False}
    fits = [
        TURNClassifier(lp_epochs=3, fft_epochs=2, random_state=0, **options).fit(X, y)
        for options in ({}, {"lp_params": asked, "fft_params": asked})
    ]
    first, second = (clf.predict_proba(X) for clf in fits)
    np.testing.assert_array_equal(first, second)


def test_batch_norm_trains_whatever_the_subset_leaves(numbered):
    X, y = numbered
    net = NeuralNetClassifier(
        lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3)),
        criterion=nn.CrossEntropyLoss,
        callbacks=[Cleansing(Fixed(np.arange(33) >= 0), balance=None)],
        batch_size=32,
        max_epochs=1,
        train_split=None,
        verbose=0,
        lr=0.1,
    ).fit(X[:33], y[:33])
    assert net.history[:, "n_train"] == [32]


class _RecordRates(Callback):
    def initialize(self):
        self.rates = []
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.rates.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_learning_rate_rises_then_falls_as_a_cosine(warmup, numbered):
    X, y = numbered
    record = _RecordRates()
    Net(
        Spy,
        callbacks=[("cosine", CosineSchedule(warmup)), ("record", record)],
        lr=0.2,
        batch_size=50,
        max_epochs=4,
    ).fit(X, y)
    done = np.arange(24) / 24
    rising = 0.2 * np.maximum(done / max(warmup, 1e-9), 0.01)
    falling = 0.1 * (1 + np.cos(np.pi * (done - warmup) / (1 - warmup)))
    expected = np.where(done < warmup, rising, falling)
    np.testing.assert_allclose(record.rates, expected, rtol=1e-9)
    assert record.rates[-1] < 0.1 * 0.2


def test_schedule_follows_epochs_of_changing_length(numbered):
    X, y = numbered
    record = _RecordRates()
    net = Net(
        Spy,
        callbacks=[
            ("cleansing", Cleansing(random_state=0)),
            ("cosine", CosineSchedule(0.0)),
            ("record", record),
        ],
        lr=0.5,
        batch_size=20,
        max_epochs=3,
    ).fit(X, y)
    expected = []
    for epoch, n_train in enumerate(net.history[:, "n_train"]):
        n_batches = math.ceil(n_train / 20)
        done = (epoch + np.arange(n_batches) / n_batches) / 3
        expected.extend(0.25 * (1 + np.cos(np.pi * done)))
    np.testing.assert_allclose(record.rates, expected)


def test_robust_loss_waits_for_the_warm_up(numbered):
    X, y = numbered

    class RecordQ(Callback):
        values: list[float] = []

        def on_batch_end(self, net, **kwargs):
            self.values.append(net.criterion_.q)

    record = RecordQ()
    Net(
        Spy,
        criterion=GCELoss,
        criterion__q=0.4,
        callbacks=[("warmup", RobustAfterWarmup(2)), ("record", record)],
        lr=0.1,
        batch_size=300,
        max_epochs=5,
    ).fit(X, y)
    assert record.values == [0.0, 0.0, 0.4, 0.4, 0.4]


@pytest.mark.parametrize(
    "name, kind",
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
    ],
)
def test_optimizer_decays_matrices_only(name, kind):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimizer = make_optimizer(
        [{"params": list(module.parameters())}], name=name, weight_decay=0.3, lr=0.01
    )
    assert type(optimizer) is kind
    decay = {
        id(p): group["weight_decay"]
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert decay == {id(p): 0.3 if p.ndim > 1 else 0.0 for p in module.parameters()}
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_optimizer_of_vectors_only_has_no_empty_group():
    norm = nn.LayerNorm(3)
    optimizer = make_optimizer(
        [{"params": list(norm.parameters())}], name="adamw", weight_decay=0.1, lr=0.01
    )
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]


def test_optimizer_options_win_over_ours():
    module = nn.Linear(2, 2)
    for options, fused in (({}, True), ({"fused": False}, False)):
        optimizer = make_optimizer(
            [{"params": list(module.parameters())}],
            name="sgd",
            weight_decay=0.0,
            lr=0.1,
            momentum=0.9,
            **options,
        )
        assert optimizer.defaults["fused"] is fused
        assert optimizer.defaults["momentum"] == 0.9


# -- history --------------------------------------------------------------------------


def test_history_names_phases_and_leaves_batches_out(numbered):
    X, y = numbered
    first = _net(max_epochs=1).fit(X, y)
    second = _net(max_epochs=2, callbacks=[Cleansing()]).fit(X, y)
    rows = history({"probe": first, "nothing": None, "tuning": second})
    assert [row["phase"] for row in rows] == ["probe", "tuning", "tuning"]
    assert [row["epoch"] for row in rows] == [1, 1, 2]
    assert rows[0]["train_loss"] == first.history[0, "train_loss"]
    assert all("batches" not in row and row["seconds"] > 0 for row in rows)
    assert [row.get("n_train") for row in rows] == [None, *second.history[:, "n_train"]]


def test_a_fresh_draw_each_epoch_from_the_same_clean_set():
    y = np.repeat([0, 1], [20, 5])
    rng = np.random.RandomState(0)
    first, second = (draw_balanced(np.ones(25, bool), y, "min", rng) for _ in range(2))
    assert len(first) == len(second) == 10
    assert set(first) != set(second)
