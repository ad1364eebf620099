"""A grid of the images whose labels look wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from ..inputs import Source
from ..pipelines import take_apart
from ._drawing import one_axes, shorten
from ._found import Found
from ._pictures import image_source, pictures

# Of a tile's width; below the picture there is room for two lines.
_GAP = 0.08
_CAPTION = 0.42


class SuspectGridDisplay:
    """Images whose given labels are the least likely to be right.

    Create it with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    images : sequence of ndarray of shape (height, width, 3), uint8, or None
        None stands for an image that cannot be read.
    indices : ndarray of shape (n_suspects,), int
        Their positions among all samples.
    given_labels, suggested_labels : ndarray of shape (n_suspects,)
    label_quality : ndarray of shape (n_suspects,), float64
        Probability that the given label is right.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    text_ : list of matplotlib Text
        One below each picture.
    """

    def __init__(
        self,
        *,
        images: Sequence[NDArray[np.uint8] | None],
        indices: NDArray[np.intp],
        given_labels: NDArray[Any],
        suggested_labels: NDArray[Any],
        label_quality: NDArray[np.float64],
    ):
        self.images = images
        self.indices = indices
        self.given_labels = given_labels
        self.suggested_labels = suggested_labels
        self.label_quality = label_quality

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_suspects: int = 20,
        pixels: int = 160,
        ax: Any = None,
    ) -> SuspectGridDisplay:
        """Draw the suspects that a fitted classifier found.

        Parameters
        ----------
        estimator : classifier, Pipeline or search
            Fitted, with cleansing.
        X : images, paths or a dataset
            As given to ``fit``.
        n_suspects : int, default=20
            Most images to draw: the labels least likely to be right.
        pixels : int, default=160
            Resolution of a tile.
        ax : matplotlib Axes, default=None
            None draws on a new figure.

        Returns
        -------
        SuspectGridDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it was fitted without cleansing, or X holds other samples or no images.
        """
        found = Found.of(take_apart(estimator)[1])
        source = _images_of(X, n_suspects, found.given)
        indices = found.suspects()[:n_suspects]
        return cls(
            images=_arrays(source, indices, pixels),
            indices=indices,
            given_labels=found.given[indices],
            suggested_labels=found.suggested[indices],
            label_quality=found.quality[indices],
        ).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        given_labels: ArrayLike,
        suggested_labels: ArrayLike,
        *,
        label_quality: ArrayLike | None = None,
        n_suspects: int = 20,
        pixels: int = 160,
        ax: Any = None,
    ) -> SuspectGridDisplay:
        """Draw images whose suggested label is not the given one.

        Parameters
        ----------
        X : images, paths or a dataset
        given_labels, suggested_labels : array-like of shape (n_samples,)
        label_quality : array-like of shape (n_samples,), default=None
            Probability that the given label is right; the lowest come first. None
            leaves the order as it is.
        n_suspects : int, default=20
            Most images to draw.
        pixels : int, default=160
            Resolution of a tile.
        ax : matplotlib Axes, default=None
            None draws on a new figure.

        Returns
        -------
        SuspectGridDisplay

        Raises
        ------
        ValueError
            If X holds no images, lengths differ, or ``n_suspects`` is not positive.
        """
        given, suggested = np.asarray(given_labels), np.asarray(suggested_labels)
        quality = np.full(len(given), np.nan)
        if label_quality is not None:
            quality = np.asarray(label_quality, dtype=np.float64)
        source = _images_of(X, n_suspects, given, suggested, quality)
        order = np.argsort(quality, kind="stable")
        indices = order[(given != suggested)[order]][:n_suspects]
        return cls(
            images=_arrays(source, indices, pixels),
            indices=indices,
            given_labels=given[indices],
            suggested_labels=suggested[indices],
            label_quality=quality[indices],
        ).plot(ax=ax)

    def plot(self, ax: Any = None, *, n_columns: int = 5) -> SuspectGridDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None draws on a new figure.
        n_columns : int, default=5
            Pictures in a row.

        Returns
        -------
        SuspectGridDisplay
        """
        n_columns = max(1, min(n_columns, len(self.images)))
        n_rows = max(1, math.ceil(len(self.images) / n_columns))
        height, width = 1 + _CAPTION, n_columns * (1 + _GAP) - _GAP
        ax = one_axes(ax, (1.6 * max(width, 1.5), 1.6 * height * n_rows))
        self.text_: list[Any] = []
        for place, image in enumerate(self.images):
            row, column = divmod(place, n_columns)
            self._draw_tile(ax, place, image, column * (1 + _GAP), row * height)
        ax.set_xlim(0, width)
        ax.set_ylim(n_rows * height, 0)
        ax.set_aspect("equal")
        ax.set_axis_off()
        if not len(self.images):
            ax.text(0.5, 0.5, "no label looks wrong", ha="center", va="center")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_tile(
        self, ax: Any, place: int, image: Any, left: float, top: float
    ) -> None:
        if image is None:
            ax.text(left + 0.5, top + 0.5, "cannot be read", ha="center", va="center")
        else:
            height, width = image.shape[:2] / np.max(image.shape[:2])
            x, y = left + (1 - width) / 2, top + 1 - height  # close to its caption
            ax.imshow(image, extent=(x, x + width, y + height, y))
        quality = self.label_quality[place]
        sure = "" if np.isnan(quality) else f" ({100 * quality:.0f} %)"
        given, suggested = self.given_labels[place], self.suggested_labels[place]
        better = "no better label" if given == suggested else f"→ {suggested}"
        common = {"va": "top", "fontsize": 8, "clip_on": True}
        ax.text(
            left,
            top + 1.03,
            f"given {shorten(given, 12)}{sure}",
            color="0.25",
            **common,
        )
        self.text_.append(
            ax.text(
                left,
                top + 1.17,
                shorten(better),
                color="#a34700",
                fontweight="bold",
                **common,
            )
        )


def _images_of(X: Any, n_suspects: int, *per_sample: NDArray[Any]) -> Source:
    if n_suspects < 1:
        raise ValueError(f"n_suspects must be 1 or more, not {n_suspects}.")
    source = image_source(X)
    if source is None:
        raise ValueError(
            "There are no pictures to draw: X holds features or raw inputs. Pass the "
            "images, file paths or dataset they come from."
        )
    check_consistent_length(source, *per_sample)
    return source


def _arrays(
    source: Source, indices: NDArray[np.intp], pixels: int
) -> list[NDArray[np.uint8] | None]:
    return [
        None if picture is None else np.asarray(picture)
        for picture in pictures(source, indices.tolist(), pixels)
    ]
