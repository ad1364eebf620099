"""The mixture of two Gaussians on the losses of each class."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.mixture import GaussianMixture

from sklearn_turn import GMMNoiseFilter
from sklearn_turn.exceptions import CleansingWarning


def _column(losses):
    return np.asarray(losses, dtype=float).reshape(-1, 1)


def _two_groups(n_low, n_high, seed=0, low=0.1, high=3.0):
    """Losses of a class with ``n_high`` wrong labels at its end."""
    rng = np.random.RandomState(seed)
    return np.r_[rng.gamma(1, low, n_low), rng.normal(high, 0.5, n_high)]


def _random_problem(seed, n_classes=4):
    rng = np.random.RandomState(seed)
    sizes = rng.randint(20, 80, size=(n_classes, 2))
    losses = [
        np.r_[
            rng.gamma(rng.uniform(0.5, 3), rng.uniform(0.05, 0.8), n_low),
            rng.normal(rng.uniform(1.5, 5), rng.uniform(0.1, 1), n_high).clip(0),
        ]
        for n_low, n_high in sizes
    ]
    y = np.repeat(np.arange(n_classes), [len(part) for part in losses])
    order = rng.permutation(len(y))
    return np.concatenate(losses)[order], y[order]


def _posterior_by_scikit_learn(losses):
    """TURN's posterior for one class, the slow way; also Ashman's D and the means."""
    low, spread = losses.min(), np.ptp(losses)
    x = (losses - low) / spread
    ordered = np.sort(x)
    costs = [
        ordered[:k].var() * k + ordered[k:].var() * (len(x) - k)
        for k in range(1, len(x))
    ]
    parts = np.split(ordered, [1 + int(np.argmin(costs))])
    mixture = GaussianMixture(
        2,
        tol=1e-3,
        reg_covar=5e-4,
        weights_init=[len(part) / len(x) for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[[[1 / (part.var() + 5e-4)]] for part in parts],
    ).fit(x[:, None])
    means, variances = mixture.means_.ravel(), mixture.covariances_.ravel()
    component = int(np.argmin(means))
    # On a fine grid, the running extreme of Bayes' rule never rises with the loss.
    grid = np.union1d(np.linspace(-0.5, 1.5, 40_001), x)
    bayes = mixture.predict_proba(grid[:, None])[:, component]
    if variances[component] > variances[1 - component]:
        monotone = np.minimum.accumulate(bayes)
    else:
        monotone = np.maximum.accumulate(bayes[::-1])[::-1]
    separation = abs(np.diff(means)[0]) / np.sqrt(variances.mean())
    return monotone[np.searchsorted(grid, x)], separation, means.max() * spread + low


@pytest.mark.parametrize("seed", range(15))
def test_per_class_posteriors_are_those_of_a_loop_over_classes(seed):
    losses, y = _random_problem(seed)
    found = GMMNoiseFilter(min_kept=0).fit(_column(losses), y)
    for c in range(4):
        expected, separation, high_mean = _posterior_by_scikit_learn(losses[y == c])
        if separation <= 2 and high_mean < np.log(4):
            expected = np.ones_like(expected)
        np.testing.assert_allclose(found.clean_proba_[y == c], expected, atol=1e-6)
    expected_mask = found.clean_proba_ > 0.6
    np.testing.assert_array_equal(found.clean_mask_, expected_mask)
    assert found.noise_rate_ == pytest.approx(1 - found.clean_proba_.mean())


@pytest.mark.parametrize("seed", range(5))
def test_global_scope_fits_one_mixture_to_all(seed):
    losses, y = _random_problem(seed)
    found = GMMNoiseFilter(scope="global", min_separation=0, min_kept=0).fit(
        _column(losses), y
    )
    expected, _, _ = _posterior_by_scikit_learn(losses)
    np.testing.assert_allclose(found.clean_proba_, expected, atol=1e-6)
    assert found.mixtures_.means.shape == (1, 2)


def test_per_class_differs_from_global_where_classes_differ_in_difficulty():
    # The clean losses of the hard class are the wrong losses of the easy one.
    easy, hard = _two_groups(80, 20, 0, high=1.0), 1 + _two_groups(80, 20, 1, high=4.0)
    losses, y = np.r_[easy, hard], np.repeat([0, 1], 100)
    by_class = GMMNoiseFilter().fit(_column(losses), y).clean_mask_
    wrong = np.tile(np.repeat([False, True], [80, 20]), 2)
    assert (by_class == ~wrong).mean() > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CleansingWarning)
        together = GMMNoiseFilter(scope="global").fit(_column(losses), y).clean_mask_
    assert together[80:100].all()


def test_label_is_clean_when_posterior_exceeds_tau():
    losses, y = _random_problem(0)
    kept = []
    for tau in (0.0, 0.3, 0.6, 0.9):
        found = GMMNoiseFilter(tau=tau, min_kept=0).fit(_column(losses), y)
        np.testing.assert_array_equal(found.clean_mask_, found.clean_proba_ > tau)
        kept.append(found.clean_mask_.sum())
    assert kept == sorted(kept, reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_lower_loss_is_never_less_clean(seed):
    rng = np.random.RandomState(seed)
    # Wide clean losses, narrow wrong ones: the case in which Bayes' rule turns.
    losses = np.r_[rng.normal(2, 1.0, 60), rng.normal(4, 0.05, 60), 9.0]
    found = GMMNoiseFilter(min_separation=0).fit(_column(losses))
    in_order = found.clean_proba_[np.argsort(losses)]
    assert np.all(np.diff(in_order) <= 1e-12)


def test_the_scale_of_the_losses_does_not_matter():
    losses, y = _random_problem(1)
    plain = GMMNoiseFilter(min_separation=0).fit(_column(losses), y)
    scaled = GMMNoiseFilter(min_separation=0).fit(_column(1e3 * losses + 7), y)
    np.testing.assert_allclose(plain.clean_proba_, scaled.clean_proba_, atol=1e-8)


def test_order_of_samples_does_not_matter():
    losses, y = _random_problem(2)
    order = np.random.RandomState(0).permutation(len(y))
    straight = GMMNoiseFilter().fit(_column(losses), y)
    shuffled = GMMNoiseFilter().fit(_column(losses[order]), y[order])
    np.testing.assert_allclose(
        straight.clean_proba_[order], shuffled.clean_proba_, atol=1e-10
    )


def test_a_trajectory_counts_as_its_mean():
    losses, y = _random_problem(3)
    jitter = np.random.RandomState(0).normal(0, 0.3, (len(y), 5))
    trajectory = losses[:, None] + jitter - jitter.mean(axis=1, keepdims=True)
    once = GMMNoiseFilter().fit(_column(losses), y)
    averaged = GMMNoiseFilter().fit(trajectory, y)
    np.testing.assert_allclose(once.clean_proba_, averaged.clean_proba_, atol=1e-8)
    assert averaged.n_features_in_ == 5
    np.testing.assert_allclose(
        averaged.transform(trajectory), once.transform(_column(losses)), atol=1e-8
    )


@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_clean_data_is_kept_but_the_papers_rule_cuts_it(shape):
    rng = np.random.RandomState(0)
    if shape == "normal":
        losses = rng.normal(0.5, 0.1, 400).clip(0)
    else:
        losses = rng.exponential(0.1, 400)
    y = np.repeat(np.arange(4), 100)
    assert GMMNoiseFilter().fit(_column(losses), y).clean_mask_.mean() > 0.8
    paper = GMMNoiseFilter(min_separation=0).fit(_column(losses), y)
    assert paper.clean_mask_.mean() < 0.8


def test_one_population_is_not_split():
    losses = np.random.RandomState(1).normal(0.5, 0.1, 400)
    found = GMMNoiseFilter().fit(_column(losses), np.repeat(np.arange(4), 100))
    assert np.all(found.mixtures_.separation < 2)
    assert found.clean_mask_.all() and found.unsplit_.all()
    assert found.noise_rate_ == 0


@pytest.mark.parametrize("y", [None, np.zeros(200)], ids=["no labels", "one class"])
def test_without_classes_one_population_is_not_split_however_high(y):
    # Chance, log(1) = 0, would be below any loss.
    losses = np.random.RandomState(1).normal(5, 0.5, 200)
    found = GMMNoiseFilter().fit(_column(losses), y)
    assert found.mixtures_.separation[0] < 2
    assert found.unsplit_.all() and found.clean_mask_.all()
    np.testing.assert_array_equal(found.transform(_column(losses)), 1)


def test_with_many_classes_losses_are_split_by_chance():
    # 300 classes of 10: chance is log(300) = 5.7. Half the classes are better.
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(300), 10)
    losses = rng.normal(np.where(y < 150, 4.5, 7), 0.3)
    found = GMMNoiseFilter(min_separation=np.inf).fit(_column(losses), y)
    assert found.unsplit_[:150].all() and not found.unsplit_[150:].any()


def test_overlapping_losses_worse_than_chance_are_split_all_the_same():
    losses = np.random.RandomState(0).normal(5, 0.5, 200)
    found = GMMNoiseFilter().fit(_column(losses), np.repeat([0, 1], 100))
    assert not found.unsplit_.any()
    assert 0 < found.clean_mask_.sum() < 200


def test_constant_losses_are_kept():
    y = np.repeat([0, 1], 50)
    found = GMMNoiseFilter().fit(_column(np.full(100, 0.7)), y)
    assert found.clean_mask_.all()
    np.testing.assert_array_equal(found.clean_proba_, 1)
    assert np.isnan(found.mixtures_.means).all()


def test_losses_constant_up_to_rounding_are_kept():
    losses = np.log(10) + 1e-15 * np.arange(100)
    assert GMMNoiseFilter(min_separation=0).fit(_column(losses)).clean_mask_.all()


def test_one_constant_class_does_not_disturb_the_others():
    varied = _two_groups(70, 30)
    y = np.repeat([0, 1], [100, 40])
    found = GMMNoiseFilter().fit(_column(np.r_[varied, np.full(40, 2.0)]), y)
    assert found.clean_mask_[y == 1].all()
    alone = GMMNoiseFilter().fit(_column(varied), np.zeros(100))
    np.testing.assert_allclose(found.clean_proba_[y == 0], alone.clean_proba_)


@pytest.mark.parametrize("n_tiny", [1, 2, 9])
def test_no_label_of_a_class_too_small_for_a_mixture_is_flagged(n_tiny):
    losses = np.r_[_two_groups(70, 30), np.linspace(0, 8, n_tiny)]
    y = np.repeat([0, 1], [100, n_tiny])
    with pytest.warns(CleansingWarning, match="min_samples"):
        found = GMMNoiseFilter(min_samples=10).fit(_column(losses), y)
    assert found.clean_mask_[100:].all()
    assert found.unsplit_.tolist() == [False, True]
    assert 60 < found.clean_mask_[:100].sum() < 80


def test_min_samples_decides_who_is_too_small():
    losses = np.r_[np.linspace(0, 0.1, 6), np.linspace(5, 6, 4)]
    with pytest.warns(CleansingWarning, match="min_samples"):
        assert GMMNoiseFilter(min_samples=11).fit(_column(losses)).clean_mask_.all()
    mask = GMMNoiseFilter(min_samples=10).fit(_column(losses)).clean_mask_
    np.testing.assert_array_equal(mask, losses < 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_losses_that_are_never_finite_are_all_flagged(bad):
    with pytest.warns(CleansingWarning) as caught:
        found = GMMNoiseFilter().fit(_column(np.full(40, bad)), np.repeat([0, 1], 20))
    assert "40 of 40 losses are not finite" in str(caught[0].message)
    assert not found.clean_mask_.any()
    np.testing.assert_array_equal(found.clean_proba_, 0)
    assert found.noise_rate_ == 1
    assert np.isnan(found.pooled_mixture_.means).all()


def test_non_finite_losses_are_flagged_with_a_warning():
    losses = _two_groups(70, 30)
    damaged = np.r_[losses, np.nan, np.inf, -np.inf]
    with pytest.warns(CleansingWarning, match="3 of 103 losses are not finite"):
        found = GMMNoiseFilter().fit(_column(damaged))
    assert not found.clean_mask_[-3:].any()
    np.testing.assert_array_equal(found.clean_proba_[-3:], 0)
    intact = GMMNoiseFilter().fit(_column(losses))
    np.testing.assert_array_equal(found.clean_mask_[:-3], intact.clean_mask_)


def test_a_class_of_non_finite_losses_only_keeps_nothing():
    losses = np.r_[_two_groups(70, 30), np.full(20, np.nan)]
    y = np.repeat([0, 1], [100, 20])
    with pytest.warns(CleansingWarning) as caught:
        found = GMMNoiseFilter().fit(_column(losses), y)
    said = " ".join(str(warning.message) for warning in caught)
    assert "20 of 120 losses are not finite" in said and "were kept" not in said
    assert not found.clean_mask_[y == 1].any()
    assert found.clean_mask_[y == 0].any()


def test_a_non_finite_epoch_makes_the_trajectory_non_finite():
    trajectory = np.tile(_column(_two_groups(70, 30)), 3)
    trajectory[4, 1] = np.nan
    with pytest.warns(CleansingWarning, match="1 of 100"):
        assert not GMMNoiseFilter().fit(trajectory).clean_mask_[4]


def test_an_emptied_class_keeps_its_lowest_losses_and_the_warning_counts():
    # The lower component holds one sample of 100, under the floor of 5.
    losses = np.r_[0.0, np.random.RandomState(0).normal(6, 0.3, 99)]
    y = np.array(["cat"] * 100)
    with pytest.warns(CleansingWarning, match="cat: 1 of 100"):
        found = GMMNoiseFilter(min_kept=0.05).fit(_column(losses), y)
    expected = np.zeros(100, dtype=bool)
    expected[np.argsort(losses)[:5]] = True
    np.testing.assert_array_equal(found.clean_mask_, expected)


def test_the_share_that_is_kept_is_not_rounded_up_twice():
    """0.07 * 100 is 7.000000000000001."""
    losses = np.r_[np.zeros(7), np.random.RandomState(0).normal(6, 0.3, 93)]
    found = GMMNoiseFilter(min_kept=0.07).fit(_column(losses), np.zeros(100))
    assert found.clean_mask_.sum() == 7


def test_every_class_keeps_at_least_one_sample():
    losses, y = _random_problem(5)
    with pytest.warns(CleansingWarning, match="4 of 4 classes"):
        found = GMMNoiseFilter(tau=1.0, min_separation=0, min_kept=0).fit(
            _column(losses), y
        )
    for c in range(4):
        lowest = np.flatnonzero(y == c)[np.argmin(losses[y == c])]
        assert np.flatnonzero(found.clean_mask_ & (y == c)).tolist() == [lowest]


def test_global_scope_does_not_lose_a_class():
    # Under one mixture the second class is nothing but high losses.
    losses = np.r_[np.linspace(0, 0.2, 40), np.linspace(3, 3.2, 20)]
    y = np.repeat([0, 1], [40, 20])
    with pytest.warns(CleansingWarning, match="1: 0 of 20"):
        found = GMMNoiseFilter(scope="global").fit(_column(losses), y)
    assert np.flatnonzero(found.clean_mask_[y == 1]).tolist() == [0]


def test_a_class_that_is_not_split_is_kept_even_by_tau_of_one():
    losses = np.random.RandomState(0).normal(0.5, 0.1, 100)
    y = np.repeat([0, 1], 50)
    assert GMMNoiseFilter(tau=1.0).fit(_column(losses), y).clean_mask_.all()


def test_transform_with_labels_reproduces_the_fit():
    losses, y = _random_problem(6)
    names = np.array(["ant", "bee", "cat", "dog"])[y]
    found = GMMNoiseFilter().fit(_column(losses), names)
    assert found.classes_.tolist() == ["ant", "bee", "cat", "dog"]
    again = found.transform(_column(losses), names)
    assert again.shape == (len(y), 1)
    np.testing.assert_array_equal(again[:, 0], found.clean_proba_)
    some = np.flatnonzero(y == 2)[:5]
    np.testing.assert_array_equal(
        found.transform(_column(losses[some]), names[some])[:, 0],
        found.clean_proba_[some],
    )


def test_transform_without_labels_uses_the_mixture_over_all():
    losses, y = _random_problem(6)
    found = GMMNoiseFilter(min_separation=0).fit(_column(losses), y)
    expected, _, _ = _posterior_by_scikit_learn(losses)
    np.testing.assert_allclose(
        found.transform(_column(losses))[:, 0], expected, atol=1e-6
    )


def test_fit_without_labels_takes_all_as_one_class():
    losses = _two_groups(70, 30)
    found = GMMNoiseFilter().fit(_column(losses))
    expected, _, _ = _posterior_by_scikit_learn(losses)
    np.testing.assert_allclose(found.clean_proba_, expected, atol=1e-6)
    assert not hasattr(found, "classes_")


def test_a_refit_without_labels_forgets_the_old_ones():
    losses, y = _random_problem(6)
    found = GMMNoiseFilter().fit(_column(losses), y).fit(_column(losses))
    assert not hasattr(found, "classes_")
    with pytest.raises(ValueError, match="fitted without labels"):
        found.transform(_column(losses), y)


def test_the_pooled_mixture_is_that_of_a_fit_without_labels():
    losses, y = _random_problem(6)
    losses[::9] = np.nan
    with pytest.warns(CleansingWarning):
        by_class = GMMNoiseFilter().fit(_column(losses), y)
        pooled = GMMNoiseFilter().fit(_column(losses))
    for name in ("weights", "means", "variances"):
        np.testing.assert_array_equal(
            getattr(by_class.pooled_mixture_, name), getattr(pooled.mixtures_, name)
        )
    assert not hasattr(GMMNoiseFilter(), "pooled_mixture_")


def test_labels_in_a_column_are_taken_with_scikit_learns_warning():
    losses, y = _random_problem(6)
    with pytest.warns(DataConversionWarning):
        found = GMMNoiseFilter().fit(_column(losses), y[:, None])
    np.testing.assert_array_equal(
        found.clean_proba_, GMMNoiseFilter().fit(_column(losses), y).clean_proba_
    )
    with pytest.warns(DataConversionWarning):
        again = found.transform(_column(losses), y[:, None])
    np.testing.assert_array_equal(again[:, 0], found.clean_proba_)


def test_transform_to_pandas():
    pd = pytest.importorskip("pandas")
    losses = pd.DataFrame({"loss": _two_groups(70, 30)}, index=np.arange(100) + 5)
    noise_filter = GMMNoiseFilter().set_output(transform="pandas")
    frame = noise_filter.fit(losses).transform(losses)
    assert frame.columns.tolist() == ["clean_proba"]
    assert frame.index.tolist() == losses.index.tolist()
    np.testing.assert_array_equal(frame["clean_proba"], noise_filter.clean_proba_)


def test_labels_as_a_pandas_series():
    pd = pytest.importorskip("pandas")
    losses, y = _random_problem(7)
    series = pd.Series(y, index=np.arange(len(y))[::-1])
    np.testing.assert_array_equal(
        GMMNoiseFilter().fit(_column(losses), series).clean_proba_,
        GMMNoiseFilter().fit(_column(losses), y).clean_proba_,
    )


def test_one_dimension_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"losses\.reshape\(-1, 1\)"):
        GMMNoiseFilter().fit(_two_groups(70, 30))


def test_labels_must_be_as_many_as_losses():
    with pytest.raises(ValueError, match="100 losses but 99 labels"):
        GMMNoiseFilter().fit(_column(_two_groups(70, 30)), np.zeros(99))
    found = GMMNoiseFilter().fit(_column(_two_groups(70, 30)), np.zeros(100))
    with pytest.raises(ValueError, match="100 losses but 99 labels"):
        found.transform(_column(_two_groups(70, 30)), np.zeros(99))


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_labels_are_refused(missing):
    y = np.array(["a", "b"] * 50, dtype=object)
    y[3] = missing
    with pytest.raises(ValueError, match="missing"):
        GMMNoiseFilter().fit(_column(_two_groups(70, 30)), y)


def test_unknown_label_in_transform():
    found = GMMNoiseFilter().fit(_column(_two_groups(70, 30)), np.repeat([0, 1], 50))
    with pytest.raises(ValueError, match=r"not fitted on: \[5\]"):
        found.transform(_column([0.1, 0.2]), [0, 5])


def test_transform_with_labels_needs_a_fit_with_labels():
    found = GMMNoiseFilter().fit(_column(_two_groups(70, 30)))
    with pytest.raises(ValueError, match="fitted without labels"):
        found.transform(_column([0.1, 0.2]), [0, 1])


def test_transform_before_fit():
    with pytest.raises(NotFittedError):
        GMMNoiseFilter().transform([[1.0]])


@pytest.mark.parametrize(
    "parameter",
    [
        {"tau": 1.1},
        {"tau": -0.1},
        {"scope": "batch"},
        {"min_kept": 2},
        {"min_samples": 1},
        {"reg_covar": 0},
        {"min_separation": -1},
    ],
)
def test_parameters_out_of_range(parameter):
    name = next(iter(parameter))
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        GMMNoiseFilter(**parameter).fit(_column(_two_groups(70, 30)))


def test_what_helps_with_few_samples():
    losses, y = _column([0.1, 0.2, 0.3, 2.0, 2.1]), [0, 0, 0, 1, 1]
    with pytest.warns(CleansingWarning, match="lower min_samples, or scope='global'"):
        GMMNoiseFilter().fit(losses, y)
    with pytest.warns(CleansingWarning, match="may have a lower min_samples.$"):
        GMMNoiseFilter(scope="global").fit(losses, y)


def test_mixtures_of_all_groups_are_asked_for_losses_without_labels():
    """One class has no mixture; the other's tells large losses from small ones."""
    rng = np.random.RandomState(0)
    other = np.r_[rng.normal(0.3, 0.05, 60), rng.normal(3, 0.2, 60)]
    losses = np.r_[np.full(100, 0.3), other]
    y = np.repeat([0, 1], [100, 120])
    found = GMMNoiseFilter().fit(_column(losses), y)
    assert found.unsplit_.tolist() == [True, False]
    clean = found.transform(_column(losses))[:, 0]
    assert clean[losses < 1].min() > 0.9
    assert clean[losses > 2].max() < 0.1
