"""The picture of the losses and their mixtures."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import norm
from sklearn.exceptions import NotFittedError

from sklearn_turn import NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.inspection import LossMixtureDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def no_figures_left_open():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted(blobs):
    return NoiseFilteredClassifier().fit(blobs.X, blobs.y)


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
    grid = display.density[:, 0]
    assert (np.diff(grid) > 0).all()
    assert grid[0] == pytest.approx(fitted.losses_.min())
    assert grid[-1] == pytest.approx(fitted.losses_.max())


def test_bars_count_clean_and_flagged_labels(fitted, axes):
    LossMixtureDisplay.from_estimator(fitted, ax=axes)
    clean, flagged = bar_heights(axes).sum(axis=1)
    assert clean == fitted.clean_mask_.sum()
    assert flagged == (~fitted.clean_mask_).sum()
    assert axes.get_title(loc="left").startswith(f"{fitted.clean_mask_.sum()} of 300 ")


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


def expected_density(fitted, y, grid):
    """Low and high density by scipy, classes weighted by their size."""
    mixtures = fitted.noise_filter_.mixtures_
    sizes = np.unique(y, return_counts=True)[1]
    components = norm.pdf(
        grid[:, None, None], mixtures.means, np.sqrt(mixtures.variances)
    )
    return np.average(mixtures.weights * components, axis=1, weights=sizes)


@pytest.mark.parametrize("sizes", [(80, 80, 80), (80, 80, 20)])
def test_density_weighs_classes_by_their_size(blobs, sizes):
    rows = np.concatenate(
        [np.flatnonzero(blobs.y == c)[:size] for c, size in enumerate(sizes)]
    )
    fitted = NoiseFilteredClassifier().fit(blobs.X[rows], blobs.y[rows])
    assert not np.isnan(fitted.noise_filter_.mixtures_.means).any()
    grid, *curves = LossMixtureDisplay.from_estimator(fitted).density.T
    expected = expected_density(fitted, blobs.y[rows], grid)
    np.testing.assert_allclose(np.transpose(curves), expected, rtol=1e-6)


def test_density_integrates_to_one_but_for_the_tails(fitted):
    grid, low, high = LossMixtureDisplay.from_estimator(fitted).density.T
    mixtures = fitted.noise_filter_.mixtures_
    # The grid ends at the lowest and the highest loss; tails lie beyond.
    first, last = norm.cdf(
        grid[[0, -1], None, None], mixtures.means, np.sqrt(mixtures.variances)
    )
    inside = (mixtures.weights * (last - first)).sum(axis=1).mean()
    assert trapezoid(low + high, grid) == pytest.approx(inside, abs=0.01)
    assert 0.9 < inside < 1


@pytest.mark.parametrize("bins", [10, 60])
def test_curves_and_bars_cover_the_same_area(bins, fitted, axes):
    display = LossMixtureDisplay.from_estimator(fitted)
    display.plot(ax=axes, bins=bins)
    width = (fitted.losses_.max() - fitted.losses_.min()) / bins
    bars = width * bar_heights(axes).sum()
    low, high = (
        trapezoid(line.get_ydata(), line.get_xdata()) for line in display.lines_
    )
    # But for the tails beyond the losses.
    assert 0.9 < (low + high) / bars < 1
    clean = (fitted.noise_filter_.clean_proba_ > 0.5).mean()
    assert low / (low + high) == pytest.approx(clean, abs=0.05)


def test_picture_of_turn(blobs, axes):
    model = TURNClassifier(lp_epochs=3, fft_epochs=1, random_state=0, device="cpu")
    model.fit(blobs.X, blobs.y)
    display = LossMixtureDisplay.from_estimator(model, ax=axes)
    assert bar_heights(axes).sum() == 300
    np.testing.assert_array_equal(display.losses, model.losses_)


def test_non_finite_losses_are_left_out(axes):
    losses = np.r_[np.linspace(0, 1, 50), np.inf, np.nan]
    finite = np.isfinite(losses)
    density = np.column_stack([np.linspace(0, 1, 9), np.ones((9, 2)) / 2])
    display = LossMixtureDisplay(losses=losses, clean_mask=finite, density=density)
    display.plot(ax=axes, bins=10)
    assert bar_heights(axes).sum() == 50


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
    with pytest.raises(ValueError, match="no mixture to draw.*cleansing='epoch'"):
        LossMixtureDisplay.from_estimator(clf.fit(blobs.X, blobs.y))


def test_a_filter_without_a_mixture_has_nothing_to_draw(blobs):
    clf = NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match="NoiseChannelFilter fits no mixture"):
        LossMixtureDisplay.from_estimator(clf)


def test_losses_that_are_never_finite_draw_an_empty_picture(fitted, axes):
    broken = copy.copy(fitted)
    broken.losses_ = np.full(300, np.nan)
    LossMixtureDisplay.from_estimator(broken, ax=axes)
    assert bar_heights(axes).sum() == 0
