"""The picture of the losses and their mixtures."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.exceptions import NotFittedError

from sklearn_turn import GMMNoiseFilter, NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.inspection import LossMixtureDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def no_figures_but_its_own():
    """Others, doctests among them, may have left some open."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted(blobs):
    return NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, blobs.y)


@pytest.fixture
def axes():
    return plt.subplots()[1]


def bar_heights(ax):
    """Height of each bar, one row per group of the histogram."""
    return np.array(
        [[bar.get_height() for bar in group] for group in ax.containers], dtype=float
    )


def test_draws_on_the_axes_given(fitted, axes):
    display = LossMixtureDisplay.from_estimator(fitted, ax=axes)
    assert display.ax_ is axes
    assert display.figure_ is axes.figure
    assert plt.get_fignums() == [axes.figure.number]
    assert all(line in axes.lines for line in display.lines_)


def test_draws_on_a_new_figure(fitted):
    display = LossMixtureDisplay.from_estimator(fitted)
    assert plt.get_fignums() == [display.figure_.number]
    assert display.ax_.figure is display.figure_


def test_keeps_what_it_draws(fitted):
    display = LossMixtureDisplay.from_estimator(fitted)
    np.testing.assert_array_equal(display.losses, fitted.losses_)
    np.testing.assert_array_equal(display.clean_mask, fitted.clean_mask_)
    assert display.is_wrong is None
    assert display.tau == 0.6
    assert len(display.thresholds) == len(display.class_counts) == 3


def test_bars_count_clean_and_flagged_labels(fitted, axes):
    LossMixtureDisplay.from_estimator(fitted, ax=axes)
    clean, flagged = bar_heights(axes).sum(axis=1)
    assert clean == fitted.clean_mask_.sum()
    assert flagged == (~fitted.clean_mask_).sum()
    assert axes.get_title(loc="left").startswith(f"{fitted.clean_mask_.sum()} of 300 ")


def test_samples_that_could_not_be_read_are_not_counted(fitted, blobs):
    model = copy.copy(fitted)
    model.skipped_ = np.arange(20)
    model.clean_mask_ = fitted.clean_mask_ & (np.arange(300) >= 20)
    model.losses_ = np.where(np.arange(300) < 20, np.nan, fitted.losses_)
    display = LossMixtureDisplay.from_estimator(model, is_wrong=blobs.is_wrong)
    np.testing.assert_array_equal(display.losses, fitted.losses_[20:])
    np.testing.assert_array_equal(display.is_wrong, blobs.is_wrong[20:])
    kept = fitted.clean_mask_[20:].sum()
    assert display.ax_.get_title(loc="left") == f"{kept} of 280 labels are clean"
    display = LossMixtureDisplay.from_estimator(model)
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert f"flagged as noisy ({280 - kept})" in legend


def test_a_classifier_without_losses(fitted):
    model = copy.copy(fitted)
    del model.losses_
    with pytest.raises(ValueError, match="selects labels without their losses"):
        LossMixtureDisplay.from_estimator(model)


def test_bars_count_right_and_wrong_labels_when_known(fitted, blobs, axes):
    display = LossMixtureDisplay.from_estimator(
        fitted, is_wrong=blobs.is_wrong.tolist(), ax=axes
    )
    np.testing.assert_array_equal(display.is_wrong, blobs.is_wrong)
    right, wrong = bar_heights(axes).sum(axis=1)
    assert (right, wrong) == ((~blobs.is_wrong).sum(), blobs.is_wrong.sum())
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"label is wrong ({blobs.is_wrong.sum()})" in legend
    # Wrong labels have the higher losses.
    centres = [bar.get_center()[0] for bar in axes.containers[0]]
    mean_right, mean_wrong = bar_heights(axes) @ centres / [right, wrong]
    assert mean_wrong > mean_right


def test_number_of_bins(fitted, axes):
    display = LossMixtureDisplay.from_estimator(fitted)
    display.plot(ax=axes, bins=17)
    heights = bar_heights(axes)
    assert heights.shape == (2, 17)
    expected, _ = np.histogram(fitted.losses_, bins=17)
    np.testing.assert_array_equal(heights.sum(axis=0), expected)


@pytest.mark.parametrize("sizes", [(80, 80, 80), (80, 80, 20)])
@pytest.mark.parametrize("bins", [10, 60])
def test_curves_are_what_the_mixtures_expect_in_each_bar(sizes, bins, blobs, axes):
    rows = np.concatenate(
        [np.flatnonzero(blobs.y == c)[:size] for c, size in enumerate(sizes)]
    )
    fitted = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(
        blobs.X[rows], blobs.y[rows]
    )
    mixtures = fitted.noise_filter_.mixtures_
    assert not np.isnan(mixtures.means).any()
    display = LossMixtureDisplay.from_estimator(fitted).plot(ax=axes, bins=bins)
    edges = np.linspace(fitted.losses_.min(), fitted.losses_.max(), bins + 1)
    for component, line in enumerate(display.lines_):
        expected = np.zeros(bins)
        for c, size in enumerate(sizes):
            normal = norm(
                mixtures.means[c, component], np.sqrt(mixtures.variances[c, component])
            )
            share = mixtures.weights[c, component] * np.diff(normal.cdf(edges))
            expected += size * share
        np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-9)
        np.testing.assert_allclose(line.get_xdata(), (edges[:-1] + edges[1:]) / 2)


def test_no_curve_towers_over_the_samples_of_its_bar(axes):
    """A component far narrower than a bar: its density is many times the count."""
    rng = np.random.RandomState(0)
    losses = np.r_[rng.normal(0.01, 0.001, 300).clip(0), rng.normal(6, 1.5, 200)]
    display = LossMixtureDisplay.from_predictions(losses, ax=axes)
    tallest = bar_heights(axes).sum(axis=0).max()
    assert tallest >= 300
    assert max(line.get_ydata().max() for line in display.lines_) <= tallest
    assert axes.get_ylim()[1] >= tallest


def test_the_threshold_parts_clean_from_flagged(axes):
    losses = np.r_[np.linspace(0, 1, 100), np.linspace(4, 6, 50)]
    display = LossMixtureDisplay.from_predictions(losses, ax=axes)
    (threshold,) = display.thresholds
    np.testing.assert_array_equal(display.clean_mask, losses < threshold)
    assert display.threshold_.get_xdata() == [threshold, threshold]
    assert "τ = 0.6" in display.threshold_.get_label()


def test_of_many_thresholds_the_median_and_the_range(fitted, axes):
    display = LossMixtureDisplay.from_estimator(fitted, ax=axes)
    assert display.threshold_.get_xdata()[0] == np.median(display.thresholds)
    for code in range(3):
        mine = fitted.given_labels_ == code
        np.testing.assert_array_equal(
            fitted.clean_mask_[mine], fitted.losses_[mine] < display.thresholds[code]
        )
    assert "of 3 classes" in display.threshold_.get_label()


def test_where_no_label_is_flagged_there_is_no_threshold(axes):
    losses = np.random.RandomState(0).normal(1, 0.1, 200)
    never = GMMNoiseFilter(min_separation=np.inf)
    display = LossMixtureDisplay.from_predictions(losses, noise_filter=never, ax=axes)
    assert display.clean_mask.all()
    assert display.threshold_ is None


def test_losses_from_anywhere_by_class(blobs, fitted):
    display = LossMixtureDisplay.from_predictions(fitted.losses_, blobs.y)
    np.testing.assert_array_equal(display.clean_mask, fitted.clean_mask_)
    np.testing.assert_array_equal(
        display.mixtures.means, fitted.noise_filter_.mixtures_.means
    )
    pooled = GMMNoiseFilter(scope="global", tau=0.3)
    display = LossMixtureDisplay.from_predictions(
        fitted.losses_, blobs.y, noise_filter=pooled, is_wrong=blobs.is_wrong
    )
    assert display.tau == 0.3
    assert display.class_counts.tolist() == [300]
    assert not hasattr(pooled, "mixtures_")  # fitted on a copy


def test_losses_in_columns_are_refused():
    with pytest.raises(ValueError, match=r"one entry per sample.*\(9, 1\)"):
        LossMixtureDisplay.from_predictions(np.zeros((9, 1)))


@pytest.mark.parametrize("is_wrong", [np.zeros(299, bool), np.zeros(300, int)])
def test_other_truth_is_refused(fitted, is_wrong):
    with pytest.raises(ValueError, match="is_wrong must be bool.*300 samples"):
        LossMixtureDisplay.from_estimator(fitted, is_wrong=is_wrong)


def test_picture_of_turn(blobs, axes):
    model = TURNClassifier(noise_filter="gmm", lp_epochs=3, fft_epochs=1, device="cpu")
    model.fit(blobs.X, blobs.y)
    display = LossMixtureDisplay.from_estimator(model, ax=axes)
    assert bar_heights(axes).sum() == 300
    np.testing.assert_array_equal(display.losses, model.losses_)


def test_non_finite_losses_are_left_out(axes):
    losses = np.r_[np.linspace(0, 1, 50), np.linspace(4, 6, 20), np.inf, np.nan]
    with pytest.warns(CleansingWarning, match="2 of 72 losses are not finite"):
        LossMixtureDisplay.from_predictions(losses, ax=axes)
    assert bar_heights(axes).sum() == 70


def test_unfitted_estimator():
    with pytest.raises(NotFittedError):
        LossMixtureDisplay.from_estimator(NoiseFilteredClassifier())


@pytest.mark.parametrize("absent", ["matplotlib", "matplotlib.pyplot"])
def test_without_matplotlib_the_extra_is_named(fitted, monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-turn\[plots\]'"):
        LossMixtureDisplay.from_estimator(fitted)


def test_without_cleansing_there_is_nothing_to_draw(blobs):
    clf = TURNClassifier(lp_epochs=1, fft_epochs=1, cleansing=None)
    with pytest.raises(
        ValueError, match="has not looked for wrong labels.*cleansing='epoch'"
    ):
        LossMixtureDisplay.from_estimator(clf.fit(blobs.X, blobs.y))


def test_a_filter_without_a_mixture_has_bars_alone(blobs, axes):
    clf = NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, blobs.y)
    display = LossMixtureDisplay.from_estimator(clf, ax=axes)
    assert bar_heights(axes).sum(axis=1).tolist() == [
        clf.clean_mask_.sum(),
        (~clf.clean_mask_).sum(),
    ]
    assert display.lines_ == [] and display.threshold_ is None
    assert len(axes.lines) == 0


def test_losses_that_are_never_finite_draw_an_empty_picture(fitted, axes):
    broken = copy.copy(fitted)
    broken.losses_ = np.full(300, np.nan)
    LossMixtureDisplay.from_estimator(broken, ax=axes)
    assert bar_heights(axes).sum() == 0


def test_a_class_without_a_mixture_is_drawn_without_warnings(blobs):
    lone = np.r_[blobs.y, [7] * 4]
    X = np.r_[blobs.X, blobs.X[:4] + 20]
    with pytest.warns(CleansingWarning, match="too few for a mixture"):
        clf = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(X, lone)
    LossMixtureDisplay.from_estimator(clf)
