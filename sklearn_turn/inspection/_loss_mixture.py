"""The picture of the losses and their mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ..selection.mixture import TwoGaussians


class LossMixtureDisplay:
    """Histogram of per-sample losses with the fitted mixtures.

    Parameters
    ----------
    losses : ndarray of shape (n_samples,)
    clean_mask : ndarray of shape (n_samples,), bool
        Labels selected as clean.
    density : ndarray of shape (n_points, 3)
        A grid of losses and, averaged over classes by size, the densities of the
        low and the high component there.
    is_wrong : ndarray of shape (n_samples,), bool or None
        Which labels really are wrong, when known; the histogram is then split by it
        and not by ``clean_mask``.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        Low and high component.
    """

    def __init__(
        self,
        *,
        losses: NDArray[np.float64],
        clean_mask: NDArray[np.bool_],
        density: NDArray[np.float64],
        is_wrong: NDArray[np.bool_] | None = None,
    ):
        self.losses = losses
        self.clean_mask = clean_mask
        self.density = density
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
        estimator : TURNClassifier or NoiseFilteredClassifier
            Fitted, with ``losses_`` and a ``noise_filter_`` that has ``mixtures_``.
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
            If the estimator was fitted without cleansing, or its filter has no mixture.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "noise_filter_"):
            raise ValueError(
                f"This {type(estimator).__name__} holds no mixture to draw. Pass a "
                "TURNClassifier fitted with cleansing='epoch' or 'once', or a "
                "NoiseFilteredClassifier; of a pipeline, the last step: pipeline[-1]."
            )
        if not hasattr(estimator.noise_filter_, "mixtures_"):
            raise ValueError(
                f"{type(estimator.noise_filter_).__name__} fits no mixture of losses. "
                "Fit with noise_filter='gmm' to draw one."
            )
        losses = np.asarray(estimator.losses_)
        if is_wrong is not None:
            is_wrong = np.asarray(is_wrong)
            if is_wrong.shape != losses.shape or is_wrong.dtype != bool:
                raise ValueError(
                    f"is_wrong must be bool with one entry for each of {len(losses)} "
                    f"samples, such as y != y_true; it is {is_wrong.dtype} of shape "
                    f"{is_wrong.shape}."
                )
        display = cls(
            losses=losses,
            clean_mask=estimator.clean_mask_,
            density=_mean_density(estimator.noise_filter_, losses),
            is_wrong=None if is_wrong is None else np.asarray(is_wrong, dtype=bool),
        )
        return display.plot(ax=ax)

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
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                "Drawing needs matplotlib: pip install 'sklearn-turn[plots]'."
            ) from error
        if ax is None:
            _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
        if self.is_wrong is None:
            groups = {"clean": self.clean_mask, "flagged as noisy": ~self.clean_mask}
        else:
            groups = {"label is right": ~self.is_wrong, "label is wrong": self.is_wrong}
        finite = np.isfinite(self.losses)
        counts, edges, _ = ax.hist(
            [self.losses[mask & finite] for mask in groups.values()],
            bins=bins,
            stacked=True,
            color=["#4c78a8", "#f58518"],
            alpha=0.75,
            label=[f"{name} ({mask.sum()})" for name, mask in groups.items()],
        )
        grid, low, high = self.density.T
        scale = finite.sum() * (edges[1] - edges[0])
        self.lines_ = [
            *ax.plot(grid, low * scale, color="#1f4e79", lw=2, label="low component"),
            *ax.plot(grid, high * scale, color="#a4500f", lw=2, label="high component"),
        ]
        # Narrow components make peaks far above any bar.
        tallest = np.max(counts)
        ax.set_ylim(0, 1.25 * max(tallest, 1))
        ax.set_xlabel("cross-entropy of the given label (nats)")
        ax.set_ylabel("samples")
        ax.set_title(
            f"{self.clean_mask.sum()} of {len(self.losses)} labels are clean",
            loc="left",
        )
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _mean_density(
    noise_filter: Any, losses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Grid, low and high density: the mean by size over classes with a mixture."""
    mixtures: TwoGaussians = noise_filter.mixtures_
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return np.empty((0, 3))
    grid = np.linspace(finite.min(), finite.max(), 500)
    usable = ~np.isnan(mixtures.means[:, 0])
    if not usable.any():
        return np.column_stack([grid, np.full((500, 2), np.nan)])
    densities = mixtures.density(grid)[usable]
    sizes = noise_filter.class_counts_
    share = sizes[usable] if len(sizes) == len(usable) else np.ones(usable.sum())
    return np.column_stack([grid, np.average(densities, axis=0, weights=share).T])
