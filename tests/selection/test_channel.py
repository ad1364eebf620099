"""Wrong labels by a noise channel between true classes and given labels."""

from __future__ import annotations

import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import log_softmax, logit, logsumexp
from scipy.stats import spearmanr
from sklearn.datasets import make_blobs
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.utils import assert_all_finite
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_turn import NoiseChannelFilter, TURNClassifier
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.metrics import label_issue_scores
from sklearn_turn.noise import symmetric
from sklearn_turn.selection.interval import rate_interval
from sklearn_turn.selection.transition import fit_channel


class OnAnyMatrix(NoiseChannelFilter):
    """The filter behind a fixed linear model.

    scikit-learn's checks pass matrices of any width and sign, which are the
    log-probabilities of no classes: the model makes such of them.
    """

    def _log_proba(self, X):
        assert_all_finite(X, input_name="X")
        weights = np.random.RandomState(0).normal(size=(X.shape[1], len(self.classes_)))
        return super()._log_proba(log_softmax(X @ weights, axis=1))


# It predicts anything.
@pytest.mark.filterwarnings("ignore::sklearn_turn.exceptions.CleansingWarning")
@parametrize_with_checks([OnAnyMatrix(), OnAnyMatrix(prior_strength=1.0)])
def test_estimator(estimator, check):
    check(estimator)


def _symmetric(rate, n_classes):
    T = np.full((n_classes, n_classes), rate / (n_classes - 1))
    T[np.diag_indices(n_classes)] = 1 - rate
    return T


def _to_next(rate, n_classes):
    """Every class loses a share of its labels to the next one."""
    T = np.eye(n_classes)
    return (1 - rate) * T + rate * np.roll(T, 1, axis=1)


def _draw(rng, proba):
    drawn = (rng.uniform(size=(len(proba), 1)) > proba.cumsum(axis=1)).sum(axis=1)
    return drawn.clip(0, proba.shape[1] - 1)


def _from_the_model(T, n_samples, temperature=1.0, spread=3.0, seed=0):
    """Log-probabilities, true classes and given labels, drawn as the model has it."""
    rng = np.random.RandomState(seed)
    logits = spread * rng.normal(size=(n_samples, len(T)))
    y_true = _draw(rng, np.exp(log_softmax(logits, axis=1)))
    return log_softmax(temperature * logits, axis=1), y_true, _draw(rng, T[y_true])


def _balanced(T, per_class, margin=6.0, seed=0):
    """The same with classes of one size, by a classifier that is mostly right."""
    rng = np.random.RandomState(seed)
    y_true = np.repeat(np.arange(len(T)), per_class)
    logits = rng.normal(size=(len(y_true), len(T))) + margin * np.eye(len(T))[y_true]
    return log_softmax(1.5 * logits, axis=1), y_true, _draw(rng, T[y_true])


MATRICES = {
    "none": np.eye(4),
    "symmetric": _symmetric(0.3, 4),
    "more than half": _symmetric(0.6, 4),
    "to the next class": _to_next(0.3, 4),
    "one class only": np.vstack([_to_next(0.4, 4)[:1], np.eye(4)[1:]]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_what_the_data_were_drawn_from_comes_back(name):
    T = MATRICES[name]
    log_proba, y_true, y = _from_the_model(T, 8000, temperature=2.0, spread=6.0)
    found = NoiseChannelFilter().fit(log_proba, y)
    np.testing.assert_allclose(found.transition_matrix_, T, atol=0.06)
    np.testing.assert_allclose(found.transition_matrix_.sum(axis=1), 1)
    assert found.noise_rate_ == pytest.approx((y != y_true).mean(), abs=0.02)
    assert found.temperature_ == pytest.approx(2.0, rel=0.25)
    joint = np.exp(log_softmax(log_proba / 2.0, axis=1)) * T[:, y].T
    bayes = joint / joint.sum(axis=1, keepdims=True)
    assert np.abs(found.label_proba_ - bayes).mean() < 0.02
    rows = np.arange(len(y))
    np.testing.assert_array_equal(found.clean_proba_, found.label_proba_[rows, y])
    np.testing.assert_array_equal(found.clean_mask_, found.clean_proba_ > 0.8)
    np.testing.assert_array_equal(
        found.suggested_labels_, found.label_proba_.argmax(axis=1)
    )
    assert (found.suggested_labels_ == y_true).mean() > (y == y_true).mean() - 1e-3


def test_probabilities_are_calibrated():
    log_proba, y_true, y = _from_the_model(MATRICES["to the next class"], 20_000)
    proba = NoiseChannelFilter().fit(log_proba, y).clean_proba_
    for low in np.arange(0, 1, 0.2):
        inside = (proba >= low) & (proba <= low + 0.2)
        expected = proba[inside].mean()
        assert (y == y_true)[inside].mean() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_many_classes_share_one_rate_when_noise_is_symmetric(rate):
    log_proba, y_true, y = _balanced(_symmetric(rate, 101), 40)
    found = NoiseChannelFilter().fit(log_proba, y)
    assert found.prior_strength_ == np.inf
    is_wrong = y != y_true
    assert found.noise_rate_ == pytest.approx(is_wrong.mean(), abs=0.01)
    assert label_issue_scores(is_wrong, ~found.clean_mask_)["f1"] > 0.95


def test_many_classes_get_rows_of_their_own_when_noise_has_a_structure():
    log_proba, y_true, y = _balanced(_to_next(0.4, 101), 40, margin=3.0)
    found = NoiseChannelFilter().fit(log_proba, y)
    assert found.prior_strength_ <= 30
    f1 = label_issue_scores(y != y_true, ~found.clean_mask_)["f1"]
    shared = NoiseChannelFilter(prior_strength=np.inf).fit(log_proba, y)
    assert f1 > label_issue_scores(y != y_true, ~shared.clean_mask_)["f1"] + 0.02
    assert np.diag(found.transition_matrix_, 1).mean() == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("n_classes, per_class", [(2, 500), (10, 100), (100, 20)])
def test_clean_labels_are_hardly_flagged(n_classes, per_class):
    log_proba, _, y = _balanced(np.eye(n_classes), per_class, margin=3.0)
    found = NoiseChannelFilter().fit(log_proba, y)
    assert (~found.clean_mask_).mean() < 0.02
    assert found.noise_rate_ < 0.02


@pytest.mark.filterwarnings("ignore:No label is flagged")  # which is right
def test_poor_predictions_seldom_flag_right_labels():
    # Six of ten are right: any noise rate explains that about as well as doubts do.
    rates = []
    for seed in range(12):
        rng = np.random.RandomState(seed)
        y = rng.randint(2, size=1000)
        logits = 0.5 * np.eye(2)[y] + rng.normal(size=(1000, 2))
        log_proba = log_softmax(logits, axis=1)
        found = NoiseChannelFilter().fit(log_proba, y)
        rates.append(found.noise_rate_)
        if found.noise_rate_ > 1e-5:
            continue
        # The order of the labels is that of their probabilities all the same.
        order = np.argsort(found.clean_proba_, kind="stable")
        given = log_proba[np.arange(1000), y][order]
        assert (np.diff(given) > -1e-4).all()
    assert sum(rate > 1e-5 for rate in rates) <= 4


@pytest.mark.parametrize(
    "n_classes, per_class, rate",
    [
        (2, 150, 0.05),
        (2, 150, 0.2),
        (10, 50, 0.05),
        (10, 50, 0.4),
        (100, 20, 0.2),
        (100, 20, 0.4),
    ],
)
def test_noise_of_certain_predictions_is_found_in_any_order(n_classes, per_class, rate):
    # Doubts about every prediction explain these labels as well as noise does.
    _, y_true, y = _balanced(_symmetric(rate, n_classes), per_class)
    with np.errstate(divide="ignore"):
        log_proba = np.log(np.eye(n_classes)[y_true])
    for seed in range(5):
        order = np.random.RandomState(seed).permutation(len(y))
        found = NoiseChannelFilter().fit(log_proba[order], y[order])
        np.testing.assert_array_equal(found.clean_mask_, (y == y_true)[order])


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_probes_that_are_always_right_find_the_noise_of_few_samples(rate):
    X, y_true = make_blobs(600, n_features=16, centers=3, random_state=0)
    y = symmetric(y_true, rate, random_state=0)
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(X, y)
    np.testing.assert_array_equal(clf.clean_mask_, y == y_true)
    assert clf.noise_filter_.noise_rate_ == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize("scale", [1, 4, 16])
def test_the_scale_of_the_logits_is_a_matter_of_the_temperature(scale):
    log_proba, y_true, y = _balanced(_symmetric(0.2, 10), 100)
    found = NoiseChannelFilter().fit(log_softmax(scale * log_proba, axis=1), y)
    assert found.noise_rate_ == pytest.approx(0.2, abs=0.03)
    assert label_issue_scores(y != y_true, ~found.clean_mask_)["f1"] > 0.9


@pytest.mark.parametrize("margin", [20, 34, 60])
def test_a_known_rate_is_met_however_certain_predictions_are(margin):
    rng = np.random.RandomState(0)
    y_true = np.arange(1000) % 10
    logits = margin * np.eye(10)[y_true] + 0.5 * rng.normal(size=(1000, 10))
    log_proba = log_softmax(logits, axis=1)
    y = np.where(rng.uniform(size=1000) < 0.05, (y_true + 1) % 10, y_true)
    found = NoiseChannelFilter(noise_rate=0.3, prior_strength=np.inf).fit(log_proba, y)
    assert found.noise_rate_ == pytest.approx(0.3, abs=1e-6)
    # Of the right labels, those predicted with the least margin look wrong first.
    right = y == y_true
    others = np.where(np.eye(10, dtype=bool)[y], -np.inf, log_proba)
    odds = log_proba[np.arange(1000), y] - logsumexp(others, axis=1)
    assert spearmanr(odds[right], found.clean_proba_[right]).statistic > 0.98
    np.testing.assert_allclose(found.label_proba_.sum(axis=1), 1)


def test_two_classes():
    log_proba, y_true, y = _balanced(_symmetric(0.2, 2), 400)
    found = NoiseChannelFilter().fit(log_proba, y)
    assert label_issue_scores(y != y_true, ~found.clean_mask_)["f1"] > 0.95
    assert found.noise_rate_ == pytest.approx(0.2, abs=0.03)


def test_a_thousand_classes_of_five_samples_take_seconds():
    log_proba, y_true, y = _balanced(_symmetric(0.2, 1000), 5, margin=9.0)
    y[::5] = np.arange(1000)
    start = time.process_time()
    found = NoiseChannelFilter().fit(log_proba, y)
    assert time.process_time() - start < 40
    assert label_issue_scores(y != y_true, ~found.clean_mask_)["f1"] > 0.95


def test_a_class_that_is_never_predicted_does_not_harm_the_others():
    log_proba, y_true, y = _balanced(_symmetric(0.1, 5), 100)
    log_proba[:, 4] = -50.0
    log_proba = log_softmax(log_proba, axis=1)
    with pytest.warns(CleansingWarning, match="1 of 5 classes .* never predicted.*4: "):
        found = NoiseChannelFilter().fit(log_proba, y)
    assert np.isfinite(found.label_proba_).all()
    assert not found.clean_mask_[y == 4].any()
    others = y_true < 4
    is_wrong = (y != y_true)[others]
    assert label_issue_scores(is_wrong, ~found.clean_mask_[others])["f1"] > 0.9


@pytest.mark.parametrize("size", [1, 3])
def test_a_tiny_class_with_more_folds_than_samples(size):
    log_proba, y_true, y = _balanced(_symmetric(0.1, 5), 100)
    kept = np.r_[
        np.flatnonzero(y != 4), np.flatnonzero((y == 4) & (y_true == 4))[:size]
    ]
    found = NoiseChannelFilter(n_folds=5).fit(log_proba[kept], y[kept])
    assert found.clean_mask_[-size:].all()
    is_wrong = (y != y_true)[kept]
    assert label_issue_scores(is_wrong, ~found.clean_mask_)["f1"] > 0.9


def test_fewer_samples_than_folds():
    log_proba = np.log([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    found = NoiseChannelFilter(n_folds=10).fit(log_proba, [0, 1, 0])
    assert found.clean_mask_.all()


@pytest.mark.parametrize("prior_strength", [None, 1.0, np.inf])
def test_certain_predictions_are_allowed(prior_strength):
    rng = np.random.RandomState(0)
    y_true = np.arange(300) % 3
    y = np.where(rng.uniform(size=300) < 0.2, (y_true + 1) % 3, y_true)
    with np.errstate(divide="ignore"):
        log_proba = np.log(np.eye(3)[y_true])
    assert np.isneginf(log_proba).any()
    found = NoiseChannelFilter(prior_strength=prior_strength).fit(log_proba, y)
    np.testing.assert_array_equal(found.clean_mask_, y == y_true)
    np.testing.assert_array_equal(found.suggested_labels_, y_true)
    assert found.noise_rate_ == pytest.approx((y != y_true).mean(), abs=0.01)
    assert found.temperature_ == pytest.approx(1, rel=0.1)
    assert (found.label_proba_ > 0).all()


def test_predictions_that_say_nothing_flag_nothing():
    y = np.arange(200) % 4
    found = NoiseChannelFilter().fit(np.full((200, 4), -np.log(4)), y)
    assert found.clean_mask_.all()


def test_half_precision_is_precise_enough():
    log_proba, _, y = _balanced(_symmetric(0.2, 10), 50)
    exact = NoiseChannelFilter().fit(log_proba, y).clean_proba_
    rounded = NoiseChannelFilter().fit(log_proba.astype(np.float16), y).clean_proba_
    np.testing.assert_allclose(rounded, exact, atol=0.02)


def test_strength_of_ones_own_is_used():
    log_proba, _, y = _balanced(_symmetric(0.2, 4), 50)
    found = NoiseChannelFilter(prior_strength=7).fit(log_proba, y)
    assert found.prior_strength_ == 7
    shared = NoiseChannelFilter(prior_strength=np.inf).fit(log_proba, y)
    assert len(np.unique(np.round(np.diag(shared.transition_matrix_), 12))) == 1
    assert len(np.unique(np.round(np.diag(found.transition_matrix_), 12))) == 4


def test_a_samples_probabilities_come_from_a_matrix_fitted_without_it():
    log_proba, _, y = _from_the_model(_to_next(0.3, 4), 200)
    found = NoiseChannelFilter(prior_strength=1.0, n_folds=3).fit(log_proba, y)
    channel, fold = fit_channel(
        log_proba, y, strengths=(1.0,), n_folds=3, max_iter=100, tol=1e-5
    )
    for i in range(200):
        kept = np.exp(log_softmax(log_proba[i] / channel.temperature))
        joint = kept * channel.matrices[fold[i], :, y[i]]
        np.testing.assert_allclose(found.label_proba_[i], joint / joint.sum())
    assert np.abs(found.label_proba(log_proba, y) - found.label_proba_).max() > 0.01


def test_threshold():
    log_proba, _, y = _from_the_model(_symmetric(0.3, 4), 500)
    for tau in (0.0, 0.5, 0.95):
        found = NoiseChannelFilter(tau=tau).fit(log_proba, y)
        np.testing.assert_array_equal(found.clean_mask_, found.clean_proba_ > tau)
    certain = np.log(np.full((4, 2), 1e-300))
    certain[np.arange(4), [0, 1, 0, 1]] = 0
    assert NoiseChannelFilter(tau=1.0).fit(certain, [0, 1, 0, 1]).clean_mask_.all()


def test_labels_of_new_samples():
    T = MATRICES["to the next class"]
    log_proba, y_true, y = _from_the_model(T, 4000)
    found = NoiseChannelFilter().fit(log_proba[:3000], y[:3000])
    new, given, right = log_proba[3000:], y[3000:], (y == y_true)[3000:]
    proba = found.label_proba(new, given)
    t, estimated = found.temperature_, found.transition_matrix_
    for row, j, p in zip(new[:20], given, proba, strict=False):
        joint = np.exp(log_softmax(row / t)) * estimated[:, j]
        np.testing.assert_allclose(p, joint / joint.sum())
    clean = found.transform(new, given)
    assert clean.shape == (1000, 1)
    np.testing.assert_array_equal(clean[:, 0], proba[np.arange(1000), given])
    assert clean[right].mean() > clean[~right].mean() + 0.3
    # Without labels: of all labels the channel might give, weighted by how likely.
    weights = np.exp(log_softmax(new / t, axis=1)) @ estimated
    by_label = [found.transform(new, np.full(1000, j))[:, 0] for j in range(4)]
    np.testing.assert_allclose(
        found.transform(new)[:, 0], (weights * np.transpose(by_label)).sum(axis=1)
    )


def test_a_samples_probability_is_that_of_it_alone():
    """Zeros are replaced by what the fit has seen, not by what else is asked."""
    rng = np.random.RandomState(0)
    y_true = rng.randint(3, size=600)
    logits = 60 * np.eye(3)[y_true] + 40 * rng.normal(size=(600, 3))
    with np.errstate(divide="ignore"):
        log_proba = np.log(np.exp(log_softmax(logits, axis=1)))
        log_proba[rng.uniform(size=(600, 3)) < 0.3] = -np.inf
        log_proba[np.arange(600), logits.argmax(axis=1)] = 0.0
        log_proba -= logsumexp(log_proba, axis=1, keepdims=True)
    y = symmetric(y_true, 0.2, random_state=0)
    found = NoiseChannelFilter().fit(log_proba, y)
    together = found.transform(log_proba, y)[:, 0]
    alone = [found.transform(log_proba[[i]], y[[i]])[0, 0] for i in range(600)]
    np.testing.assert_allclose(alone, together, atol=1e-12)
    least = log_proba[np.isfinite(log_proba)].min()
    assert least < -100, "other than what stands in for zeros of certain models"


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0]])
def test_columns_in_another_order_are_warned_of(order):
    log_proba, _, y = _balanced(_symmetric(0.2, 4), 60)
    names = np.array(["a", "b", "c", "d"])
    NoiseChannelFilter().fit(log_proba, names[y])
    first = f"'a' as '{names[order[0]]}'"
    with pytest.warns(CleansingWarning, match=f"have another label: {first}"):
        NoiseChannelFilter().fit(log_proba[:, order], names[y])


def test_labels_may_be_strings():
    log_proba, _, y = _balanced(_symmetric(0.2, 3), 60)
    names = np.array(["ant", "bee", "cat"])
    found = NoiseChannelFilter().fit(log_proba, names[y])
    by_code = NoiseChannelFilter().fit(log_proba, y)
    assert found.classes_.tolist() == ["ant", "bee", "cat"]
    np.testing.assert_array_equal(found.clean_proba_, by_code.clean_proba_)
    np.testing.assert_array_equal(
        found.suggested_labels_, names[by_code.suggested_labels_]
    )
    np.testing.assert_array_equal(
        found.transform(log_proba, names[y]), by_code.transform(log_proba, y)
    )


def test_labels_in_a_column_are_taken_with_scikit_learns_warning():
    log_proba, _, y = _balanced(_symmetric(0.2, 3), 20)
    plain = NoiseChannelFilter().fit(log_proba, y)
    with pytest.warns(DataConversionWarning):
        found = NoiseChannelFilter().fit(log_proba, y[:, None])
    np.testing.assert_array_equal(found.clean_proba_, plain.clean_proba_)


def test_transform_to_pandas():
    pytest.importorskip("pandas")
    log_proba, _, y = _balanced(_symmetric(0.2, 3), 20)
    found = NoiseChannelFilter().set_output(transform="pandas").fit(log_proba, y)
    assert found.transform(log_proba).columns.tolist() == ["clean_proba"]


def _changed(log_proba, value):
    changed = log_proba.copy()
    changed[7, 1] = value
    return changed


BAD_INPUT = {
    "NaN": (lambda x: _changed(x, np.nan), "of 1 of 60 samples contain NaN.*index 7"),
    "positive": (lambda x: _changed(x, 0.5), "1 of 60.*positive values.*index 7"),
    "infinite": (lambda x: _changed(x, np.inf), "1 of 60.*positive values.*index 7"),
    "impossible": (lambda x: _changed(x, -np.inf), "sum to one.*index 7.*log_softmax"),
    "probabilities": (lambda x: np.exp(x), "60 of 60.*positive values.*np.log"),
    "logits": (lambda x: 3 * x - 5, "60 of 60.*do not sum to one.*log_softmax"),
    "too few columns": (lambda x: x[:, :2], r"shape \(60, 2\), but y has 3 classes"),
    "too many columns": (
        lambda x: np.column_stack([x, np.full(60, -np.inf)]),
        r"shape \(60, 4\), but y has 3 classes",
    ),
    "one dimension": (lambda x: x[:, 0], "Expected 2D array"),
    "another length": (lambda x: x[:-1], r"inconsistent numbers of samples: \[59, 60"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_what_are_no_log_probabilities_is_refused(case):
    change, message = BAD_INPUT[case]
    log_proba, _, y = _balanced(_symmetric(0.2, 3), 20, margin=0.0)
    with pytest.raises(ValueError, match=message):
        NoiseChannelFilter().fit(change(log_proba), y)


def test_bad_labels_are_refused():
    log_proba, _, y = _balanced(_symmetric(0.2, 3), 20)
    with pytest.raises(ValueError, match="only one class, 'cat'"):
        NoiseChannelFilter().fit(log_proba, np.full(60, "cat"))
    with pytest.raises(ValueError, match="missing"):
        NoiseChannelFilter().fit(log_proba, [None, *y[1:].tolist()])
    with pytest.raises(ValueError, match="Unknown label type"):
        NoiseChannelFilter().fit(log_proba, y + 0.5)
    found = NoiseChannelFilter().fit(log_proba, y)
    for method in (found.transform, found.label_proba):
        with pytest.raises(ValueError, match=r"not fitted on: \[9\]"):
            method(log_proba[:2], [0, 9])
        with pytest.raises(ValueError, match="2 features, but NoiseChannelFilter"):
            method(log_proba[:2, :2], [0, 1])


def test_methods_before_fit():
    log_proba = np.log([[0.5, 0.5]])
    with pytest.raises(NotFittedError):
        NoiseChannelFilter().transform(log_proba)
    with pytest.raises(NotFittedError):
        NoiseChannelFilter().label_proba(log_proba, [0])


@pytest.mark.parametrize(
    "parameter",
    [
        {"tau": 1.1},
        {"tau": None},
        {"prior_strength": 0},
        {"n_folds": 1},
        {"max_iter": 0},
        {"tol": -1},
    ],
)
def test_parameters_out_of_range(parameter):
    name = next(iter(parameter))
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        NoiseChannelFilter(**parameter).fit(np.log([[0.5, 0.5]] * 2), [0, 1])


@pytest.fixture
def drawn():
    """Log-probabilities and labels of which a fifth is wrong."""
    log_proba, _, y = _from_the_model(_symmetric(0.2, 4), 500)
    return SimpleNamespace(log_proba=log_proba, y=y)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.9])
def test_a_known_noise_rate_is_met_by_one_shift_of_the_log_odds(rate, drawn):
    free = NoiseChannelFilter().fit(drawn.log_proba, drawn.y)
    told = NoiseChannelFilter(noise_rate=rate).fit(drawn.log_proba, drawn.y)
    assert told.noise_rate_ == pytest.approx(rate, abs=1e-6)
    if rate:
        unsure = (free.clean_proba_ < 1 - 1e-9) & (told.clean_proba_ < 1 - 1e-9)
        shift = logit(told.clean_proba_[unsure]) - logit(free.clean_proba_[unsure])
        np.testing.assert_allclose(shift, told.offset_, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(told.label_proba_.sum(axis=1), 1)
    # The other classes keep their proportions.
    others = np.ones(told.label_proba_.shape, dtype=bool)
    others[np.arange(len(drawn.y)), drawn.y] = False
    if rate:
        free_rest, told_rest = (
            fitted.label_proba_[others].reshape(len(drawn.y), -1)
            for fitted in (free, told)
        )
        np.testing.assert_allclose(
            told_rest / told_rest.sum(axis=1, keepdims=True),
            free_rest / free_rest.sum(axis=1, keepdims=True),
            rtol=1e-5,
            atol=1e-9,
        )


def test_a_known_noise_rate_counts_for_new_samples(drawn):
    told = NoiseChannelFilter(noise_rate=0.5).fit(drawn.log_proba, drawn.y)
    found = told.transform(drawn.log_proba, drawn.y)
    # Not the same: those of fit come from matrices that did not see the fold.
    assert found.mean() == pytest.approx(0.5, abs=0.01)


def test_certain_labels_are_not_shifted():
    y = np.array([0, 1] * 10)
    log_proba = np.log(np.clip(np.eye(2)[y], 1e-300, 1))
    told = NoiseChannelFilter(noise_rate=0.5, prior_strength=1e-3)
    told.fit(log_proba, y)
    assert np.isfinite(told.label_proba_).all()
    np.testing.assert_allclose(told.label_proba_.sum(axis=1), 1)


def _likelihood(log_proba, y, rate, octave):
    """By hand: of one noise rate for all, less what the temperature costs."""
    p = np.exp(log_softmax(log_proba / 2**octave, axis=1))[np.arange(len(y)), y]
    wrong = (1 - p) / (log_proba.shape[1] - 1)
    cost = (1.5 if octave > 0 else 0.5) * octave**2
    return np.log((1 - rate) * p + rate * wrong).sum() - cost


def _best(log_proba, y, rate):
    octaves = np.linspace(-4, 3, 141)
    return max(_likelihood(log_proba, y, rate, octave) for octave in octaves)


def test_rates_that_are_not_ruled_out_are_told():
    rng = np.random.RandomState(6)
    y = rng.randint(2, size=1000)
    log_proba = log_softmax(0.5 * np.eye(2)[y] + rng.normal(size=(1000, 2)), axis=1)
    with pytest.warns(CleansingWarning, match=r"up to \d+% of the labels may be wrong"):
        found = NoiseChannelFilter().fit(log_proba, y)
    assert found.clean_mask_.all()
    assert found.noise_rate_ < 1e-5
    assert found.agreement_ == (log_proba.argmax(axis=1) == y).mean()
    low, high = found.noise_rate_interval_
    assert low == 0.0 and high > 0.05
    top = max(_best(log_proba, y, rate) for rate in np.linspace(0, 0.49, 50))
    assert _best(log_proba, y, high) > top - 2.05
    assert high > 0.48 or _best(log_proba, y, 1.15 * high) < top - 1.9
    told = NoiseChannelFilter(noise_rate=0.0).fit(log_proba, y)  # and not doubted
    assert told.noise_rate_interval_ == (told.noise_rate_, told.noise_rate_)


def test_rates_that_are_ruled_out_are_not_told():
    log_proba, _, y = _balanced(np.eye(4), 200)
    found = NoiseChannelFilter().fit(log_proba, y)
    assert found.noise_rate_interval_[1] < 0.01
    assert found.agreement_ > 0.99
    noisy, _, y = _balanced(_symmetric(0.3, 4), 200)
    low, high = NoiseChannelFilter().fit(noisy, y).noise_rate_interval_
    assert 0.2 < low < 0.3 < high < 0.4
    top = max(_best(noisy, y, rate) for rate in np.linspace(0.2, 0.4, 41))
    for end, beyond in ((low, 0.85 * low), (high, 1.15 * high)):
        assert _best(noisy, y, end) > top - 2.05
        assert _best(noisy, y, beyond) < top - 1.9


def test_the_interval_holds_the_share_of_wrong_labels():
    """Of calibrated predictions, in 95 of 100 draws or so."""
    inside = 0
    for seed in range(60):
        rng = np.random.RandomState(seed)
        t = rng.randint(3, size=200)
        y = np.where(rng.rand(200) < 0.1, (t + rng.randint(1, 3, 200)) % 3, t)
        z = 1.5 * (1.5 * np.eye(3)[t] + rng.normal(size=(200, 3)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CleansingWarning)
            found = NoiseChannelFilter().fit(log_softmax(z, axis=1), y)
        low, high = found.noise_rate_interval_
        inside += low <= (y != t).mean() <= high
    assert inside >= 52


@pytest.mark.parametrize("order", ["shuffled", "interleaved"])
def test_the_interval_of_many_samples_is_narrow_and_holds_the_rate(order):
    n, rng = 330_000, np.random.RandomState(0)
    t = np.arange(n) % 10
    if order == "shuffled":
        rng.shuffle(t)
    y = np.where(rng.rand(n) < 0.2, (t + rng.randint(1, 10, n)) % 10, t)
    z = 1.7 * (1.7 * np.eye(10)[t] + rng.normal(size=(n, 10)))
    low, high = rate_interval(log_softmax(z, axis=1), y, 1.0)
    assert 0.17 < low < 0.2 < high < 0.23


def test_of_classes_predicted_alike_each_counts_in_part():
    equal = np.full((90, 3), -np.log(3))
    assert NoiseChannelFilter().fit(equal, np.arange(90) % 3).agreement_ == (
        pytest.approx(1 / 3)
    )
    y = np.array([0] * 60 + [1] * 30)
    two = np.log(np.tile([0.45, 0.45, 0.1], (90, 1)))
    y[0] = 2
    assert NoiseChannelFilter().fit(two, y).agreement_ == pytest.approx(89 / 180)


def test_predictions_that_say_nothing_rule_out_no_noise_rate():
    rng = np.random.RandomState(0)
    log_proba = log_softmax(rng.normal(size=(150, 4)), axis=1)
    y = rng.randint(4, size=150)
    with pytest.warns(
        CleansingWarning, match="150 labels is little better than chance"
    ):
        found = NoiseChannelFilter().fit(log_proba, y)
    assert found.clean_mask_.all()
    shares = np.bincount(y) / 150
    assert found.noise_rate_interval_ == (0.0, pytest.approx(1 - (shares**2).sum()))
