"""The picture of the losses and their mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from ..pipelines import take_apart
from ..selection.gmm import GMMNoiseFilter
from ..selection.mixture import TwoGaussians
from ._drawing import CLEAN, CLEAN_DARK, NOISY, NOISY_DARK, bool_mask, one_axes
from ._found import Found


class LossMixtureDisplay:
    """Histogram of per-sample losses, and what the fitted mixtures expect in each bar.

    Create it with :meth:`from_estimator` or :meth:`from_predictions`. Samples are drawn
    on a square-root scale: right labels crowd in a few bars beside which the wrong ones
    would vanish.

    Parameters
    ----------
    losses : ndarray of shape (n_samples,)
        Of the samples that could be read. Not finite ones are left out of the picture.
    clean_mask : ndarray of shape (n_samples,), bool
        Labels selected as clean.
    mixtures : TwoGaussians or None
        One mixture per class, or one for all.
    class_counts : ndarray of shape (n_groups,), int, or None
        Samples of each mixture.
    thresholds : ndarray of shape (n_groups,) or None
        Losses above which labels are flagged, NaN for classes in which none is.
    tau : float or None
        The clean probability at these thresholds.
    is_wrong : ndarray of shape (n_samples,), bool or None
        Which labels really are wrong, when known; the histogram is then split by it
        and not by ``clean_mask``.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        Low and high component, in samples per bar, summed over the classes. None of
        them without a mixture.
    threshold_ : matplotlib Line2D or None
        The threshold, of several the median.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import NoiseFilteredClassifier
    >>> from sklearn_turn.inspection import LossMixtureDisplay
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.7)
    >>> clf = NoiseFilteredClassifier().fit(X, symmetric(y, 0.3, random_state=0))
    >>> display = LossMixtureDisplay.from_estimator(clf)
    >>> display.ax_.get_ylabel()
    'samples (square-root scale)'
    """

    def __init__(
        self,
        *,
        losses: NDArray[np.float64],
        clean_mask: NDArray[np.bool_],
        mixtures: TwoGaussians | None = None,
        class_counts: NDArray[np.intp] | None = None,
        thresholds: NDArray[np.float64] | None = None,
        tau: float | None = None,
        is_wrong: NDArray[np.bool_] | None = None,
    ):
        self.losses = losses
        self.clean_mask = clean_mask
        self.mixtures = mixtures
        self.class_counts = class_counts
        self.thresholds = thresholds
        self.tau = tau
        self.is_wrong = is_wrong

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        is_wrong: ArrayLike | None = None,
        ax: Any = None,
    ) -> LossMixtureDisplay:
        """Draw the last cleansing of a fitted classifier.

        Parameters
        ----------
        estimator : classifier, Pipeline or search
            Fitted, with cleansing. The mixture is that of
            :class:`~sklearn_turn.GMMNoiseFilter`; with another filter there are bars
            alone.
        is_wrong : array-like of shape (n_samples,), bool, default=None
            Which labels really are wrong, when known.
        ax : matplotlib Axes, default=None
            None draws on a new figure.

        Returns
        -------
        LossMixtureDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator was fitted without cleansing, or cleansed by other evidence
            than losses.
        """
        _, classifier = take_apart(estimator)
        found = Found.of(classifier)
        used = found.used
        if is_wrong is not None:
            example = "y != y_true"
            is_wrong = bool_mask("is_wrong", is_wrong, len(used), example)[used]
        if not hasattr(classifier, "losses_"):
            raise ValueError(
                f"{type(classifier).__name__} selects labels without their losses. "
                "Draw those of another model: LossMixtureDisplay.from_predictions."
            )
        noise_filter = getattr(classifier, "noise_filter_", None)
        return cls._of_filter(
            noise_filter, found.losses[used], ~found.is_issue[used], is_wrong
        ).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        losses: ArrayLike,
        y: ArrayLike | None = None,
        *,
        noise_filter: GMMNoiseFilter | None = None,
        is_wrong: ArrayLike | None = None,
        ax: Any = None,
    ) -> LossMixtureDisplay:
        """Fit the mixtures to losses from anywhere, and draw them.

        Parameters
        ----------
        losses : array-like of shape (n_samples,)
            Cross-entropy of each given label, in nats.
        y : array-like of shape (n_samples,), default=None
            Given labels: one mixture for each. None fits one for all samples.
        noise_filter : GMMNoiseFilter, default=None
            Fitted on a copy; None is ``GMMNoiseFilter()``.
        is_wrong : array-like of shape (n_samples,), bool, default=None
            Which labels really are wrong, when known.
        ax : matplotlib Axes, default=None
            None draws on a new figure.

        Returns
        -------
        LossMixtureDisplay

        Raises
        ------
        ValueError
            If the losses or labels are not as described.
        """
        losses = np.asarray(losses, dtype=np.float64)
        if losses.ndim != 1:
            raise ValueError(
                f"losses must have one entry per sample; the shape is {losses.shape}."
            )
        fitted = clone(noise_filter or GMMNoiseFilter()).fit(losses[:, None], y)
        return cls._of_filter(fitted, losses, fitted.clean_mask_, is_wrong).plot(ax=ax)

    @classmethod
    def _of_filter(
        cls,
        noise_filter: Any,
        losses: NDArray[np.float64],
        clean_mask: NDArray[np.bool_],
        is_wrong: ArrayLike | None,
    ) -> LossMixtureDisplay:
        display = cls(losses=losses, clean_mask=clean_mask)
        if is_wrong is not None:
            display.is_wrong = bool_mask(
                "is_wrong", is_wrong, len(losses), "y != y_true"
            )
        if hasattr(noise_filter, "mixtures_"):
            display.mixtures = noise_filter.mixtures_
            display.class_counts = mixture_sizes(noise_filter)
            display.thresholds = flag_thresholds(noise_filter, losses)
            display.tau = getattr(noise_filter, "tau", None)
        return display

    def plot(self, ax: Any = None, *, bins: int = 60) -> LossMixtureDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None draws on a new figure.
        bins : int, default=60
            Of the histogram.

        Returns
        -------
        LossMixtureDisplay
        """
        ax = one_axes(ax, (7, 4))
        if self.is_wrong is None:
            groups = {"clean": self.clean_mask, "flagged as noisy": ~self.clean_mask}
        else:
            groups = {"label is right": ~self.is_wrong, "label is wrong": self.is_wrong}
        finite = np.isfinite(self.losses)
        edges = np.histogram_bin_edges(self.losses[finite], bins=bins)
        for (name, mask), colour in zip(groups.items(), (CLEAN, NOISY), strict=True):
            ax.hist(
                self.losses[mask & finite],
                bins=edges,
                color=colour,
                alpha=0.6,
                label=f"{name} ({mask.sum()})",
            )
        self.lines_ = self._draw_components(ax, edges)
        self.threshold_ = self._draw_thresholds(ax)
        ax.set_yscale("function", functions=(_root, np.square))
        ax.set_ylim(bottom=0)
        ax.set_yticks(_root_ticks(ax.get_ylim()[1]))
        ax.set_xlim(edges[0], edges[-1])
        ax.set_xlabel("cross-entropy of the given label (nats)")
        ax.set_ylabel("samples (square-root scale)")
        ax.set_title(
            f"{self.clean_mask.sum()} of {len(self.losses)} labels are clean",
            loc="left",
        )
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_components(self, ax: Any, edges: NDArray[np.float64]) -> list[Any]:
        if self.mixtures is None or self.class_counts is None:
            return []
        # What a component puts into a bar; its density would tower over narrow peaks.
        counts = self.mixtures.expected_counts(edges, self.class_counts)
        looks = (("low", CLEAN_DARK, "-"), ("high", NOISY_DARK, "--"))
        return [
            ax.plot(
                (edges[:-1] + edges[1:]) / 2,
                expected,
                color=colour,
                ls=style,
                lw=1.8,
                drawstyle="steps-mid",
                label=f"{name} component",
            )[0]
            for expected, (name, colour, style) in zip(counts, looks, strict=True)
        ]

    def _draw_thresholds(self, ax: Any) -> Any:
        if self.thresholds is None or np.isnan(self.thresholds).all():
            return None
        known = self.thresholds[~np.isnan(self.thresholds)]
        label = "threshold" if self.tau is None else f"threshold, τ = {self.tau:g}"
        if len(known) > 1:
            label += f": median and range\nof {len(known)} classes"
            ax.axvspan(
                known.min(), known.max(), color="0.5", alpha=0.15, lw=0, zorder=0
            )
        middle = float(np.median(known))
        return ax.axvline(middle, color="0.25", ls=":", lw=1.5, label=label)


def mixture_sizes(noise_filter: Any) -> NDArray[np.intp]:
    """Samples of each mixture of a fitted filter: of a class, or all."""
    counts: NDArray[np.intp] = noise_filter.class_counts_
    one_for_all = len(counts) != len(noise_filter.mixtures_.means)
    return np.array([counts.sum()]) if one_for_all else counts


def flag_thresholds(
    noise_filter: Any, losses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Losses above which labels are flagged.

    Parameters
    ----------
    noise_filter : GMMNoiseFilter
        Fitted.
    losses : ndarray of shape (n,)
        Between whose finite extremes to look.

    Returns
    -------
    ndarray of shape (n_groups,)
        NaN for classes of which no label is flagged.
    """
    finite = losses[np.isfinite(losses)]
    mixtures: TwoGaussians = noise_filter.mixtures_
    if not len(finite) or not hasattr(noise_filter, "tau"):
        return np.full(len(mixtures.means), np.nan)
    found = mixtures.thresholds(noise_filter.tau, finite.min(), finite.max())
    return np.where(noise_filter.unsplit_, np.nan, found)


def _root(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(values, 0))


def _root_ticks(top: float) -> NDArray[np.float64]:
    """Numbers 1, 2 and 5 times powers of ten, about evenly spaced below ``top``."""
    wanted = top * np.linspace(0, 1, 6)[1:] ** 2
    unit = 10 ** np.floor(np.log10(np.maximum(wanted, 1)))
    steps = np.array([1, 2, 5, 10])
    nearest = np.abs(wanted / unit - steps[:, None]).argmin(axis=0)
    return np.unique(np.r_[0, steps[nearest] * unit])
