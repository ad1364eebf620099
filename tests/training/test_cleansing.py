"""Step 2 for any skorch net."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from support import Fixed, Spy, losses_by_hand, spy_net
from torch import nn

from sklearn_turn import Cleansing, GMMNoiseFilter, NoiseChannelFilter
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.inputs import FeatureRows
from sklearn_turn.noise import pair_flip
from sklearn_turn.training import Labelled, Net

# As most of these tests look at epochs that are cleansed.
at_once = partial(Cleansing, warmup_epochs=0, balance="min")


class SpyWithFeatures(Spy):
    def embed(self, X):
        return X[:, 1:]

    def classify(self, features):
        return self.linear(features)


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


@pytest.mark.parametrize("criterion", ["logits", "probabilities"])
def test_cleansing_filters_the_losses_of_the_model_before_each_epoch(
    criterion, numbered
):
    X, y = numbered
    cleansing, remember = at_once(random_state=0), Remember()
    net = spy_net(
        criterion, [("cleansing", cleansing), ("remember", remember)], lr=0.5
    ).fit(X, y)
    expected = losses_by_hand(remember.states[-1], X, y)
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
    cleansing = at_once(random_state=0)
    net = spy_net(callbacks=[("cleansing", cleansing), ("remember", remember)], lr=0.5)
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
    cleansing = at_once(random_state=0)
    # CPUs of different makers draw different masks of dropout.
    options = {"lr": 0.2, "max_epochs": 10, "module__dropout": 0.0}
    spy_net(callbacks=[cleansing], **options).fit(X, y)
    found = ~cleansing.noise_filter_.clean_mask_
    assert found[blobs.is_wrong].mean() > 0.8
    assert blobs.is_wrong[found].mean() > 0.9


def test_loss_passes_are_one_per_epoch(numbered):
    X, y = numbered
    cleansing = at_once(random_state=0)
    net = spy_net(callbacks=[cleansing], max_epochs=4).fit(X, y)
    assert cleansing.n_passes_ == 4
    assert net.module_.evaluated == 4 * list(range(300))


def test_first_losses_save_exactly_one_pass(numbered):
    X, y = numbered
    known = np.linspace(0, 1, 300) + 3.0 * (np.arange(300) % 4 == 0)
    cleansing, remember = (
        at_once(first_evidence={"losses": known[:, None]}),
        Remember(),
    )
    net = spy_net(callbacks=[("cleansing", cleansing), ("remember", remember)])
    net.fit(X, y)
    assert cleansing.n_passes_ == 2
    assert net.module_.evaluated == 2 * list(range(300))
    mask = GMMNoiseFilter().fit(known.reshape(-1, 1), y).clean_mask_
    assert 0 < mask.sum() < 300
    assert mask[remember.subsets[0]].all()


def test_cleansing_once_keeps_the_subset(numbered):
    X, y = numbered
    remember = Remember()
    cleansing = at_once(every_epoch=False, random_state=0)
    net = spy_net(callbacks=[("cleansing", cleansing), ("remember", remember)])
    net.fit(X, y)
    assert cleansing.n_passes_ == 1
    for subset in remember.subsets:
        np.testing.assert_array_equal(subset, remember.subsets[0])
    expected = losses_by_hand(remember.states[0], X, y)
    np.testing.assert_allclose(cleansing.losses_, expected, rtol=1e-3, atol=1e-5)


def test_cleansing_once_with_known_losses_makes_no_pass(numbered):
    X, y = numbered
    cleansing = at_once(
        every_epoch=False, first_evidence={"losses": np.zeros((300, 1))}
    )
    net = spy_net(callbacks=[cleansing]).fit(X, y)
    assert cleansing.n_passes_ == 0
    assert net.module_.evaluated == []


def test_the_noise_rate_may_rise_and_never_falls(blobs, numbered):
    X, y = numbered
    rng = np.random.RandomState(0)

    def evidence(logits):
        log_proba = log_softmax(logits, axis=1)
        losses = -log_proba[np.arange(300), y]
        return {"log_proba": log_proba, "losses": losses[:, None]}

    says_nothing = evidence(np.zeros((300, 3)))
    # The last comes to agree with the labels.
    later = [
        evidence(6 * np.eye(3)[labels] + rng.normal(size=(300, 3)))
        for labels in (blobs.y_true, y)
    ]
    rates = []

    class Rates(Callback):
        def on_epoch_begin(self, net, **kwargs):
            rates.append(dict(net.callbacks_)["cleansing"].noise_filter_.noise_rate_)

    cleansing = at_once(
        "channel",
        balance=None,
        first_evidence=says_nothing,
        refine=lambda found: later.pop(0),
        random_state=0,
    )
    callbacks = [("cleansing", cleansing), ("rates", Rates())]
    net = spy_net("logits", callbacks, max_epochs=3, module__dropout=0.0)
    net.set_params(module=SpyWithFeatures).fit(X, y)
    assert rates[0] < 1e-5
    assert rates[1] == pytest.approx(blobs.is_wrong.mean(), abs=0.02)
    assert rates[2] == pytest.approx(rates[1], abs=1e-6)


@pytest.mark.parametrize("balance", ["min", 2, None])
def test_balance_limits_the_draw_per_class(balance, numbered):
    X, y = numbered
    mask = np.random.RandomState(0).uniform(size=300) < np.array([0.2, 0.5, 0.9])[y]
    cleansing = at_once(Fixed(mask), balance=balance, random_state=0)
    spy_net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    clean = np.bincount(y[mask])
    limit = {"min": clean[0], 2: 2 * clean[0], None: 300}[balance]
    drawn = np.bincount(y[cleansing.kept_indices_])
    assert drawn.tolist() == np.minimum(clean, limit).tolist()


def test_same_random_state_same_subsets(numbered):
    X, y = numbered
    trained = [
        spy_net(callbacks=[at_once(random_state=seed)]).fit(X, y).module_.trained
        for seed in (0, 0, 1)
    ]
    assert trained[0] == trained[1] != trained[2]


def test_under_a_split_all_are_filtered_and_only_training_samples_visited(numbered):
    X, y = numbered
    cleansing, remember = at_once(random_state=0), Remember()
    callbacks = [("cleansing", cleansing), ("remember", remember)]
    net = spy_net(callbacks=callbacks, train_split=ValidSplit(3, stratified=True))
    net.fit(X, y)
    train, valid = net.get_split_datasets(X, y)
    train, valid = np.asarray(train.indices), np.asarray(valid.indices)
    expected = losses_by_hand(remember.states[-1], X, y)
    np.testing.assert_allclose(cleansing.losses_, expected, rtol=1e-3, atol=1e-5)
    assert net.module_.evaluated == 3 * [*range(300), *valid.tolist()]
    assert set(net.module_.trained) <= set(train.tolist())
    by_hand = GMMNoiseFilter().fit(cleansing.losses_[:, None], y).clean_mask_
    visited = train[cleansing.kept_indices_]
    assert by_hand[visited].all()
    kept = np.bincount(y[train][by_hand[train]])
    assert np.bincount(y[visited]).tolist() == [kept.min()] * 3
    assert np.isfinite(net.history[:, "valid_loss"]).all()


def test_labels_of_any_torch_dataset(numbered):
    X, y = numbered
    dataset = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    cleansing = at_once(first_evidence={"losses": np.zeros((300, 1))}, random_state=0)
    plain = at_once(first_evidence={"losses": np.zeros((300, 1))}, random_state=0)
    spy_net(callbacks=[cleansing], max_epochs=1).fit(dataset, None)
    spy_net(callbacks=[plain], max_epochs=1).fit(X, y)
    np.testing.assert_array_equal(cleansing.kept_indices_, plain.kept_indices_)


# What a net says that has hardly learned may be too little to select by.
@pytest.mark.filterwarnings("ignore::sklearn_turn.exceptions.CleansingWarning")
def test_read_only_labels_raise_no_warning(blobs):
    X = blobs.X.astype(np.float32)
    assert not blobs.y.flags.writeable
    net = NeuralNetClassifier(
        nn.Linear,
        module__in_features=2,
        module__out_features=3,
        criterion=nn.CrossEntropyLoss,
        callbacks=[at_once(first_evidence={"losses": np.zeros((300, 1))})],
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
        at_once(random_state=0),
        EarlyStopping(patience=2, sink=lambda text: None),
        Checkpoint(dirname=tmp_path, sink=lambda text: None, f_history=None),
        LRScheduler("StepLR", step_size=1, gamma=0.1),
    ]
    net = spy_net(
        callbacks=callbacks, max_epochs=60, train_split=ValidSplit(3), lr=1.0
    ).fit(X, y)
    assert 3 < len(net.history) < 60
    assert net.history[:3, "event_lr"] == pytest.approx([1.0, 0.1, 0.01])
    best = torch.load(tmp_path / "params.pt", weights_only=True)
    assert best["linear.weight"].shape == (3, 2)
    assert any(net.history[:, "event_cp"])


@pytest.mark.parametrize("shuffle", [True, False, None])
def test_the_nets_settings_come_back(shuffle, numbered):
    X, y = numbered
    options = {} if shuffle is None else {"iterator_train__shuffle": shuffle}
    net = spy_net(callbacks=[at_once()], **options)
    before = net.get_params(deep=False)
    net.fit(X, y)
    after = net.get_params(deep=False)
    sampling = [name for name in after if name.startswith("iterator_train__")]
    assert {name: after[name] for name in sampling} == options
    assert set(before) == set(after)


def test_a_fitted_net_can_be_cloned_pickled_and_fitted_again(numbered):
    X, y = numbered
    net = spy_net(callbacks=[at_once(random_state=0)]).fit(X, y)
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copy.predict_proba(X), net.predict_proba(X))
    clone(net).fit(X, y)
    net.fit(X, y)
    assert len(net.history) == 3
    net.partial_fit(X, y)
    assert len(net.history) == 6


def test_fit_can_be_called_again_after_it_failed(numbered):
    X, y = numbered
    net = spy_net(callbacks=[at_once(random_state=0)], module__fail_at=200)
    with pytest.raises(MemoryError):
        net.fit(X, y)
    net.set_params(module__fail_at=None)
    net.fit(X, y)
    assert len(net.history) == 3


def test_training_goes_on_without_the_callback(numbered):
    X, y = numbered
    net = spy_net(
        callbacks=[("cleansing", at_once(Fixed(np.arange(300) < 150)))],
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
    net = spy_net(callbacks=[at_once()], **{f"iterator_train__{option}": sampler})
    with pytest.raises(ValueError, match=f"remove.*iterator_train__{option}"):
        net.fit(X, y)
    assert net.module_.trained == []


@pytest.mark.filterwarnings("ignore:You set iterator_valid__shuffle")  # skorch's
@pytest.mark.parametrize("option", ["shuffle", "drop_last"])
def test_validation_batches_out_of_order_are_refused(option, numbered):
    X, y = numbered
    net = spy_net(callbacks=[at_once()], **{f"iterator_valid__{option}": True})
    with pytest.raises(
        ValueError, match=f"Classifier holds 'iterator_valid__{option}'"
    ):
        net.fit(X, y)
    assert net.module_.trained == []


@pytest.mark.filterwarnings("ignore::sklearn_turn.exceptions.CleansingWarning")
@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
def test_a_net_that_diverged_is_told_to_lower_its_rate(noise_filter, numbered):
    net = spy_net(callbacks=[at_once(noise_filter, balance=None)], lr=1e38)
    with pytest.raises(ValueError, match=r"Training diverged.*Lower lr, which was 1e"):
        net.fit(*numbered)


def test_losses_that_diverged_are_warned_about(numbered):
    X, y = numbered
    losses = np.zeros(300)
    losses[:5] = np.nan
    cleansing = at_once(first_evidence={"losses": losses[:, None]}, every_epoch=False)
    with pytest.warns(CleansingWarning, match="5 of 300 losses are not finite"):
        spy_net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    assert set(range(5)).isdisjoint(cleansing.kept_indices_)


def test_verbose_says_how_many_labels_are_clean(numbered, capsys):
    X, y = numbered
    mask = np.arange(300) >= 90
    spy_net(callbacks=[at_once(Fixed(mask))], verbose=1, max_epochs=2).fit(X, y)
    err = capsys.readouterr().err
    counts = np.bincount(y[mask])
    n_train = 3 * counts.min() - (3 * counts.min() % 32 == 1)
    for epoch in (1, 2):
        assert (
            f"epoch {epoch}: 210 of 300 labels are clean, training on {n_train} "
            f"({counts.min()} to {counts.max()} clean per class)"
        ) in err


def test_first_evidence_is_not_that_of_a_later_partial_fit(numbered):
    X, y = numbered
    cleansing = at_once(first_evidence={"losses": np.zeros((300, 1))}, random_state=0)
    net = spy_net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    assert cleansing.n_passes_ == 0
    expected = losses_by_hand(net.module_.state_dict(), X, y)
    net.partial_fit(X, y)
    assert cleansing.n_passes_ == 1
    np.testing.assert_allclose(cleansing.losses_, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("evidence", ["losses", "log_proba"])
def test_a_filter_is_given_what_it_asks_for_and_the_labels(evidence, numbered):
    X, y = numbered
    asked = []

    class Asking(Fixed):
        def fit(self, given, labels):
            asked.append((given.shape, labels.tolist()))
            return super().fit(given, labels)

    Asking.evidence = evidence
    names = np.array(["a", "b", "c"])
    cleansing = at_once(Asking(np.arange(300) > 3), classes=names, random_state=0)
    spy_net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    width = {"losses": 1, "log_proba": 3}[evidence]
    assert asked == [((300, width), names[y].tolist())]


@pytest.mark.parametrize("balance", ["max", 0.5, [1]], ids=str)
def test_a_balance_that_is_none(balance, numbered):
    net = spy_net(callbacks=[at_once(balance=balance)])
    with pytest.raises(ValueError, match="'balance' parameter of Cleansing must be"):
        net.fit(*numbered)


def test_a_filter_must_be_an_instance(numbered):
    net = spy_net(callbacks=[at_once(GMMNoiseFilter)])
    with pytest.raises(TypeError, match=r"pass an instance: GMMNoiseFilter\(\)"):
        net.fit(*numbered)


class Channel(BaseEstimator):
    """A filter whose probabilities of the true classes are known."""

    evidence = "log_proba"

    def __init__(self, posterior, tau=0.5):
        self.posterior = posterior
        self.tau = tau

    def fit(self, X, y):
        self.label_proba_ = self.posterior
        self.clean_proba_ = self.posterior[np.arange(len(y)), y]
        self.clean_mask_ = self.clean_proba_ > self.tau
        self.suggested_labels_ = self.posterior.argmax(axis=1)
        return self


class Suggests(BaseEstimator):
    """A filter that doubts the first ten labels and suggests the last class."""

    evidence = "losses"

    def fit(self, X, y):
        doubted = np.arange(len(y)) < 10
        self.clean_proba_ = np.where(doubted, 0.05, 0.9)
        self.clean_mask_ = ~doubted
        self.suggested_labels_ = np.where(doubted, 2, y)
        return self


def test_what_a_filter_suggests_is_trained_on(numbered):
    trained = []

    class Watched(Cleansing):
        def on_train_end(self, net, **kwargs):
            trained.append(net.targets_.clone())
            super().on_train_end(net, **kwargs)

    cleansing = Watched(
        Suggests(), warmup_epochs=0, label_correction="hard", balance=None
    )
    one_step(numbered, cleansing)
    y = numbered[1]
    np.testing.assert_array_equal(trained[0], np.where(np.arange(len(y)) < 10, 2, y))
    assert len(cleansing.kept_indices_) == len(y)


class Wants(Fixed):
    """A filter that asks for evidence of a kind."""

    def __init__(self, evidence):
        self.evidence = evidence


@pytest.mark.parametrize("known", [False, True], ids=["asked", "known"])
def test_binary_classifiers_of_skorch(known, numbered):
    """Their module has one output, and their labels are floats."""
    X, y = numbered
    two = y < 2
    X, y = X[two, 1:], y[two]
    log_proba = np.log(np.where(np.eye(2)[y] > 0, 0.9, 0.1))
    cleansing = at_once(
        first_evidence={"log_proba": log_proba} if known else None, balance=None
    )
    net = NeuralNetBinaryClassifier(
        nn.Linear,
        module__in_features=2,
        module__out_features=1,
        callbacks=[cleansing],
        train_split=None,
        max_epochs=2 - known,
        verbose=0,
        lr=0.0,
    ).fit(X, y.astype(np.float32))
    proba = np.exp(log_proba) if known else net.predict_proba(X)
    expected = -np.log(proba[np.arange(len(y)), y])
    np.testing.assert_allclose(cleansing.losses_, expected, rtol=1e-3, atol=1e-5)
    predicted = cleansing.evidence_["predicted"]
    np.testing.assert_array_equal(predicted, proba.argmax(axis=1))


@pytest.mark.parametrize("classes", [["bee", "ant", "cat"], ["a", "a", "b"], 3])
def test_classes_that_are_not_sorted_are_refused(classes, numbered):
    """Columns of predictions would be in another order than the filter's."""
    X, y = numbered
    with pytest.raises(ValueError, match=r"sorted labels.*np\.unique"):
        spy_net(callbacks=[at_once(classes=classes)]).fit(X, y)


def test_classes_may_be_a_list(numbered):
    X, y = numbered
    cleansing = at_once("channel", classes=["ant", "bee", "cat"], balance=None)
    spy_net("logits", callbacks=[cleansing], max_epochs=1).fit(X, y)
    assert {*cleansing.noise_filter_.classes_.tolist()} == {"ant", "bee", "cat"}


class ToldRate(Fixed):
    """What the evidence shows, unless it was told; it has no offset_."""

    evidence = "log_proba"

    def __init__(self, noise_rate=None):
        self.noise_rate = noise_rate

    def fit(self, X, y):
        losses = -X[np.arange(len(y)), y]
        rate = (losses > 1).mean() if self.noise_rate is None else self.noise_rate
        self.noise_rate_ = float(rate)
        self.clean_mask_ = losses <= np.quantile(losses, 1 - rate)
        self.clean_proba_ = np.where(self.clean_mask_, 0.9, 0.1)
        return self


def test_a_higher_noise_rate_is_found_by_filters_without_an_offset(numbered):
    X, y = numbered

    def evidence(n_wrong):
        given = np.where(np.arange(300) < n_wrong, 0.1, 0.8)
        proba = np.repeat((1 - given)[:, None] / 2, 3, axis=1)
        proba[np.arange(300), y] = given
        return {"log_proba": np.log(proba), "losses": -np.log(given)[:, None]}

    later, rates = [evidence(n) for n in (90, 60, 150)], []

    class Rates(Callback):
        def on_epoch_begin(self, net, **kwargs):
            rates.append(dict(net.callbacks_)["cleansing"].noise_filter_.noise_rate_)

    cleansing = at_once(
        ToldRate(),
        balance=None,
        first_evidence=evidence(30),
        refine=lambda found: later.pop(0),
        random_state=0,
    )
    callbacks = [("cleansing", cleansing), ("rates", Rates())]
    net = spy_net("logits", callbacks, max_epochs=4, module__dropout=0.0)
    net.set_params(module=SpyWithFeatures).fit(X, y)
    assert rates == pytest.approx([0.1, 0.3, 0.3, 0.5])


@pytest.fixture
def posterior(numbered):
    y = numbered[1]
    rng = np.random.RandomState(0)
    return rng.dirichlet([0.5] * 3, size=len(y)) * 0.8 + 0.2 * np.eye(3)[y]


def one_step(numbered, cleansing):
    """A linear net before and after one step on all it is given."""
    X, y = numbered
    torch.manual_seed(0)
    net = Net(
        nn.Linear,
        module__in_features=3,
        module__out_features=3,
        optimizer=torch.optim.SGD,
        lr=0.1,
        batch_size=300,
        max_epochs=1,
        callbacks=[cleansing],
    ).initialize()
    before = {k: v.clone() for k, v in net.module_.state_dict().items()}
    net.partial_fit(Labelled(FeatureRows(X), y), y)
    return net, before


def gradient_step(before, X, targets, lr=0.1):
    """Weights after a step of cross-entropy towards rows of probabilities."""
    weight, bias = before["weight"].double().numpy(), before["bias"].double().numpy()
    error = softmax(X @ weight.T + bias, axis=1) - targets
    return weight - lr * error.T @ X / len(X), bias - lr * error.mean(axis=0)


def test_soft_labels_are_trained_on_for_every_sample(numbered, posterior):
    X, _ = numbered
    cleansing = at_once(Channel(posterior), label_correction="soft", balance=None)
    net, before = one_step(numbered, cleansing)
    weight, bias = gradient_step(before, X.astype(float), posterior)
    state = net.module_.state_dict()
    np.testing.assert_allclose(state["weight"].numpy(), weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["bias"].numpy(), bias, rtol=1e-4, atol=1e-6)
    assert net.history[-1, "n_train"] == 300
    assert net.targets_ is None  # no copy stays behind


def test_hard_correction_trains_on_suggestions_that_are_sure(numbered, posterior):
    X, y = numbered
    cleansing = at_once(
        Channel(posterior, tau=0.7), label_correction="hard", balance=None
    )
    net, before = one_step(numbered, cleansing)
    sure = posterior.max(axis=1) > 0.7
    targets = posterior.argmax(axis=1)
    assert 0 < sure.sum() < 300
    assert (targets[sure] != y[sure]).any()
    np.testing.assert_array_equal(cleansing.kept_indices_, np.flatnonzero(sure))
    weight, _ = gradient_step(before, X[sure].astype(float), np.eye(3)[targets[sure]])
    np.testing.assert_allclose(
        net.module_.state_dict()["weight"].numpy(), weight, rtol=1e-4, atol=1e-6
    )


def test_a_class_of_which_nothing_is_sure_keeps_its_labels(numbered, posterior):
    X, y = numbered
    known = np.where(y == 1, 0, y)  # no sample should be of class 1
    unsure = np.where((y == 1)[:, None], 1 / 3, 0.9 * np.eye(3)[known] + 0.1 / 3)
    cleansing = at_once(Channel(unsure, tau=0.7), label_correction="hard", balance=None)
    with pytest.warns(CleansingWarning, match="leaves no sample to 1 classes.*: 1"):
        net, before = one_step(numbered, cleansing)
    weight, _ = gradient_step(before, X.astype(float), np.eye(3)[y])
    np.testing.assert_allclose(
        net.module_.state_dict()["weight"].numpy(), weight, rtol=1e-4, atol=1e-6
    )


def test_labels_given_back_to_one_class_leave_samples_to_the_others(numbered):
    """All of class 1 looks like 0, and all of class 0 like 2."""
    X, y = numbered
    cleansing = at_once(
        Channel(np.eye(3)[np.array([2, 0, 2])[y]]),
        label_correction="hard",
        balance=None,
    )
    with pytest.warns(CleansingWarning) as caught:
        net, before = one_step(numbered, cleansing)
    assert len(caught) == 1
    assert "leaves no sample to 2 classes" in str(caught[0].message)
    weight, _ = gradient_step(before, X.astype(float), np.eye(3)[y])
    np.testing.assert_allclose(
        net.module_.state_dict()["weight"].numpy(), weight, rtol=1e-4, atol=1e-6
    )


def test_suggestions_are_codes_of_the_dataset_where_a_class_is_absent(numbered):
    """No label is 1; the net knows the class, and the filter suggests it."""
    X, y = numbered
    y = np.where(y == 1, 0, y)
    suggested = np.where(np.arange(300) < 9, 1, y)
    cleansing = at_once(Channel(0.8 * np.eye(3)[suggested] + 0.2 / 3), balance=None)
    spy_net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    np.testing.assert_array_equal(cleansing.suggested_codes_, suggested)


def test_corrected_classes_are_balanced(numbered, posterior):
    cleansing = at_once(Channel(posterior), label_correction="soft", random_state=0)
    one_step(numbered, cleansing)
    drawn = posterior.argmax(axis=1)[cleansing.kept_indices_]
    smallest = np.bincount(posterior.argmax(axis=1)).min()
    assert np.bincount(drawn).tolist() == [smallest] * 3


def test_correction_needs_a_net_that_can_be_told(numbered):
    X, y = numbered
    net = NeuralNetClassifier(
        nn.Linear,
        module__in_features=3,
        module__out_features=3,
        criterion=nn.CrossEntropyLoss,
        callbacks=[at_once(label_correction="soft")],
        train_split=None,
        verbose=0,
    )
    with pytest.raises(TypeError, match="cannot be told"):
        net.fit(X, y)


def test_correction_needs_predictions_before_the_first_epoch(numbered):
    cleansing = at_once(
        label_correction="soft", first_evidence={"losses": np.zeros((300, 1))}
    )
    with pytest.raises(ValueError, match="log_proba"):
        one_step(numbered, cleansing)


@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
def test_first_predictions_bring_losses_and_suggestions(noise_filter, numbered):
    X, y = numbered
    log_proba = np.log(np.full((300, 3), 0.05) + 0.85 * np.eye(3)[(y + 1) % 3])
    right = np.arange(300) % 4 > 0
    log_proba[right] = np.log(np.full((300, 3), 0.05) + 0.85 * np.eye(3)[y])[right]
    first = {"log_proba": log_proba}
    cleansing = at_once(noise_filter, first_evidence=first, balance=None)
    spy_net(callbacks=[cleansing], max_epochs=1).fit(X, y)
    assert cleansing.n_passes_ == 0 and list(first) == ["log_proba"]
    np.testing.assert_allclose(cleansing.losses_, -np.log(np.where(right, 0.9, 0.05)))
    flagged = ~cleansing.noise_filter_.clean_mask_
    np.testing.assert_array_equal(flagged, ~right)
    suggested = cleansing.suggested_codes_
    np.testing.assert_array_equal(suggested, np.where(right, y, (y + 1) % 3))


@pytest.mark.parametrize(
    "noise_filter, first, lacking",
    [
        ("channel", "losses", "'log_proba'"),
        (Wants("features"), "log_proba", "'features'"),
        (Wants("features"), "features", "'losses'"),
    ],
)
def test_first_evidence_that_is_not_enough_is_named(
    noise_filter, first, lacking, numbered
):
    cleansing = at_once(noise_filter, first_evidence={first: np.zeros((300, 3))})
    with pytest.raises(ValueError, match=f"first_evidence lacks {lacking}; "):
        spy_net(callbacks=[cleansing]).fit(*numbered)


def test_unknown_correction_is_refused(numbered):
    with pytest.raises(ValueError, match="'label_correction' parameter of"):
        one_step(numbered, at_once(label_correction="maybe"))


def test_mixture_corrects_by_the_net_s_predictions(numbered):
    X, y = numbered
    cleansing = at_once(label_correction="soft", balance=None, random_state=0)
    net, before = one_step(numbered, cleansing)
    weight, bias = before["weight"].double().numpy(), before["bias"].double().numpy()
    proba = softmax(X.astype(float) @ weight.T + bias, axis=1)
    clean = cleansing.noise_filter_.clean_proba_[:, None]
    expected, _ = gradient_step(
        before, X.astype(float), clean * np.eye(3)[y] + (1 - clean) * proba
    )
    np.testing.assert_allclose(
        net.module_.state_dict()["weight"].numpy(), expected, rtol=1e-4, atol=1e-6
    )


def test_correction_needs_batches_that_tell_their_samples(numbered):
    X, y = numbered
    net = Net(
        nn.Linear,
        module__in_features=3,
        module__out_features=3,
        callbacks=[at_once(label_correction="soft")],
    )
    with pytest.raises(TypeError, match="Labelled"):
        net.fit(X, y)


@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"noise_filter": Wants("features")}, ValueError, "Linear has no embed"),
        ({"label_correction": "hard"}, TypeError, "Labelled"),
        ({"noise_filter": StandardScaler()}, TypeError, "has transform"),
    ],
    ids=["features", "correction", "no filter"],
)
def test_what_cannot_be_is_refused_before_the_warm_up(options, error, match, numbered):
    net = Net(
        nn.Linear,
        module__in_features=3,
        module__out_features=3,
        max_epochs=3,
        callbacks=[Cleansing(warmup_epochs=2, **options)],
    )
    with pytest.raises(error, match=match):
        net.fit(*numbered)
    assert "train_loss" not in [key for row in net.history for key in row]


def test_classes_that_are_too_few_for_the_codes(numbered):
    net = spy_net(callbacks=[at_once(classes=["ant", "bee"])])
    with pytest.raises(ValueError, match="the code 2, but classes are 2: pass every"):
        net.fit(*numbered)


@pytest.mark.parametrize("of", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize(
    "options, match",
    [
        ({"classes": ["ant", "bee"]}, "the code 2, but classes are 2"),
        ({"noise_filter": NoiseChannelFilter(verified_labels=[0])}, r"shape \(1,\)"),
    ],
)
def test_what_does_not_fit_the_labels_is_refused_before_the_warm_up(
    options, match, of, numbered
):
    X, y = numbered
    net = spy_net(max_epochs=3, callbacks=[Cleansing(warmup_epochs=2, **options)])
    with pytest.raises(ValueError, match=match):
        net.fit(X, of(y))
    assert not net.history


def test_labels_are_those_of_a_dataset_where_there_is_one(numbered):
    """Beside one, y is what a train_split is stratified by."""
    X, y = numbered
    whole = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    split = ValidSplit(5, stratified=True)
    cleansing = Cleansing(warmup_epochs=1, classes=["a", "b", "c"])
    net = spy_net(max_epochs=2, callbacks=[cleansing], train_split=split)
    net.fit(whole, np.arange(len(y)) % 5)
    assert len(cleansing.clean_masks_) == 1
    told = Cleansing(NoiseChannelFilter(verified_labels=[0]), warmup_epochs=1)
    net = Net(
        nn.Linear,
        module__in_features=2,
        module__out_features=3,
        max_epochs=2,
        callbacks=[told],
    )
    rows = FeatureRows(torch.from_numpy(X[:, 1:]))
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        net.fit(Labelled(rows, y), None)
    assert "train_loss" not in [key for row in net.history for key in row]


def test_one_epoch_on_features_that_are_known_needs_no_embed(numbered):
    X, y = numbered
    known = {"features": X, "losses": np.ones((len(y), 1))}

    class Keeps(Fixed):
        evidence = "features"

    keeps = Keeps(np.ones(len(y), dtype=bool))
    cleansing = at_once(keeps, first_evidence=known, balance=None)
    net = spy_net(max_epochs=1, callbacks=[cleansing])
    net.fit(X, y)


def test_labels_in_a_precision_that_numpy_lacks():
    X = torch.randn(60, 2, generator=torch.manual_seed(0)).bfloat16()
    net = NeuralNetBinaryClassifier(
        nn.Linear(2, 1, dtype=torch.bfloat16),
        train_split=None,
        max_epochs=2,
        callbacks=[Cleansing(warmup_epochs=1)],
        verbose=0,
    )
    net.fit(X, (X[:, 0] > 0).bfloat16())


def test_verified_labels_are_those_of_the_classes(numbered):
    X, y = numbered
    names = np.array(["ant", "bee", "cow"])
    told = NoiseChannelFilter(verified_labels=np.where(y == 1, names[y], None))
    cleansing = Cleansing(told, warmup_epochs=1, classes=names)
    spy_net(max_epochs=2, callbacks=[cleansing]).fit(X, y)
    assert cleansing.noise_filter_.clean_mask_[y == 1].all()


def test_a_part_of_a_dataset_is_all_there_is(numbered):
    """What a user keeps for a test is not filtered, as that of a train_split is."""
    X, y = numbered
    whole = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    part = torch.utils.data.Subset(whole, list(range(200)))
    cleansing = at_once(balance=None, random_state=0)
    net = spy_net(callbacks=[cleansing], max_epochs=2).fit(part, y=None)
    assert cleansing.noise_filter_.class_counts_.sum() == 200
    assert cleansing.losses_.shape == (200,)
    assert set(net.module_.trained) <= set(range(200))
    assert cleansing.given_ is None


def test_a_rate_without_refinement_is_refused(numbered):
    net = spy_net(callbacks=[at_once("channel", noise_rate=0.2)])
    with pytest.raises(ValueError, match=r"no effect without refine.*NoiseChannel"):
        net.fit(*numbered)
    net = spy_net(callbacks=[at_once("channel", noise_rate_interval=(0.1, 0.3))])
    with pytest.raises(ValueError, match="no effect without noise_rate"):
        net.fit(*numbered)


@pytest.mark.parametrize(
    ("options", "max_epochs", "warm"),
    [
        ({}, 5, 1),
        ({}, 6, 2),
        ({"warmup_epochs": 3}, 5, 3),
        ({"warmup_epochs": 0}, 5, 0),
        ({"warmup_epochs": 1, "every_epoch": False}, 5, 1),
        ({"first_evidence": {"losses": np.zeros((300, 1))}}, 5, 0),
    ],
)
def test_warm_up_trains_on_all_labels_and_filters_none(
    numbered, options, max_epochs, warm
):
    X, y = numbered
    mask = np.arange(300) % 3 > 0
    cleansing = Cleansing(Fixed(mask), balance=None, random_state=0, **options)
    net = spy_net(max_epochs=max_epochs, callbacks=[cleansing]).fit(X, y)
    cleansed = max_epochs - warm
    assert net.history[:, "n_train"] == [300] * warm + [mask.sum()] * cleansed
    assert ["kept" in row for row in net.history] == [False] * warm + [True] * cleansed
    assert len(cleansing.clean_masks_) == cleansed
    passes = cleansed if options.get("every_epoch", True) else 1
    assert cleansing.n_passes_ == passes - ("first_evidence" in options)
    assert len(net.module_.trained) == 300 * warm + mask.sum() * cleansed


def test_epochs_of_earlier_calls_count_as_warm_up(numbered):
    X, y = numbered
    mask = np.arange(300) % 3 > 0
    cleansing = Cleansing(Fixed(mask), balance=None, warmup_epochs=2)
    net = spy_net(max_epochs=1, callbacks=[cleansing])
    for _ in range(2):
        with pytest.warns(CleansingWarning, match="no label was filtered"):
            net.partial_fit(X, y)
    net.partial_fit(X, y)
    assert net.history[:, "n_train"] == [300, 300, mask.sum()]


def test_channel_after_a_warm_up_helps_a_network_from_scratch():
    digits = load_digits()
    X = (digits.data / 16).astype(np.float32)
    X, X_test, y, y_test = train_test_split(X, digits.target, random_state=0)
    y_noisy = pair_flip(y, 0.3, random_state=0)

    def accuracy(callbacks):
        torch.manual_seed(0)
        net = NeuralNetClassifier(
            nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=0.003,
            max_epochs=20,
            batch_size=64,
            train_split=None,
            verbose=0,
            callbacks=callbacks,
        )
        return (net.fit(X, y_noisy).predict(X_test) == y_test).mean()

    plain = accuracy([])
    for noise_filter in ("gmm", "channel"):
        assert accuracy([Cleansing(noise_filter, random_state=0)]) > plain + 0.05


def test_text_labels_are_refused_before_training(numbered):
    X, y = numbered
    net = spy_net(callbacks=[Cleansing()])
    names = np.array(["ant", "bee", "cat"])
    with pytest.raises(TypeError, match="codes, not on text"):
        net.fit(X, names[y])


def test_no_filter_is_refused(numbered):
    with pytest.raises(TypeError, match="None is no noise filter"):
        one_step(numbered, Cleansing(None))


class FailsAt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise OSError("the disk is full")


def test_warm_up_trains_on_no_labels_of_a_fit_that_failed(numbered):
    X, y = numbered
    features = FeatureRows(torch.from_numpy(X[:, 1:]))
    seen = []

    class Watched(Net):
        def train_step_single(self, batch, **kwargs):
            seen.append((len(self.history), self.targets_ is None))
            return super().train_step_single(batch, **kwargs)

    cleansing = Cleansing(balance=None, label_correction="hard", warmup_epochs=2)
    net = Watched(
        nn.Linear,
        module__in_features=2,
        module__out_features=3,
        max_epochs=5,
        callbacks=[("cleansing", cleansing), ("fails", FailsAt(4))],
    )
    with pytest.raises(OSError, match="disk"):
        net.fit(Labelled(features, y), None)
    assert net.targets_ is not None
    seen.clear()
    net.set_params(callbacks__fails=None).fit(Labelled(features, y), None)
    assert {(epoch, epoch <= 2) for epoch in range(1, 6)} == set(seen)


def test_nothing_is_left_of_an_earlier_fit_while_warming_up(numbered):
    X, y = numbered
    cleansing = Cleansing(random_state=0)
    net = spy_net(callbacks=[cleansing], max_epochs=5).fit(X, y)
    assert cleansing.losses_.shape == (300,)
    with pytest.warns(CleansingWarning, match="no label was filtered"):
        net.set_params(max_epochs=1).fit(X[:60], y[:60])
    for name in ("losses_", "noise_filter_", "kept_indices_", "evidence_"):
        assert not hasattr(cleansing, name)


def test_known_evidence_and_a_warm_up_exclude_each_other(numbered):
    first = {"losses": np.zeros((300, 1))}
    with pytest.raises(ValueError, match="first_evidence has no effect with warmup"):
        one_step(numbered, Cleansing(first_evidence=first, warmup_epochs=1))
