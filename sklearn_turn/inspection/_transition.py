"""The picture of which labels are given to which classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from ..labels import check_same_kind, label_vector
from ..pipelines import take_apart
from ._drawing import apart, one_axes, shorten
from ._found import Found, filter_of

# Up to here every cell has its number, or every row its name.
_MOST_NUMBERS = 12
_MOST_NAMES = 40


class NoiseTransitionDisplay:
    """Heat map of how often samples of each class are given each label.

    Create it with :meth:`from_estimator` or :meth:`from_predictions`. Colours are for
    the wrong labels, off the diagonal; the right ones would outshine them.

    Parameters
    ----------
    matrix : ndarray of shape (n_classes, n_classes), float64
        Rows are true classes, columns given labels; rows sum to one.
    classes : ndarray of shape (n_classes,)

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    im_ : matplotlib AxesImage
    text_ : list of matplotlib Text
        Numbers in the cells, in percent; none beyond 12 classes.

    Examples
    --------
    >>> from sklearn_turn.inspection import NoiseTransitionDisplay
    >>> y_true, y_given = ["cat", "cat", "dog", "dog"], ["cat", "dog", "dog", "dog"]
    >>> NoiseTransitionDisplay.from_predictions(y_true, y_given).matrix
    array([[0.5, 0.5],
           [0. , 1. ]])
    """

    def __init__(self, *, matrix: NDArray[np.float64], classes: NDArray[Any]):
        self.matrix = matrix
        self.classes = classes

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None
    ) -> NoiseTransitionDisplay:
        """Draw the noise that a fitted classifier found.

        Parameters
        ----------
        estimator : classifier, Pipeline or search
            Fitted, with cleansing. The matrix is its filter's, if that estimates one as
            :class:`~sklearn_turn.NoiseChannelFilter` does; else suggested and given
            labels are counted.
        ax : matplotlib Axes, default=None
            None draws on a new figure.

        Returns
        -------
        NoiseTransitionDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it was fitted without cleansing.
        """
        _, classifier = take_apart(estimator)
        matrix = estimated_transitions(classifier)
        return cls(matrix=matrix, classes=classifier.classes_).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_given: ArrayLike, *, ax: Any = None
    ) -> NoiseTransitionDisplay:
        """Draw the noise between two sets of labels.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels, or those taken for true.
        y_given : array-like of shape (n_samples,)
        ax : matplotlib Axes, default=None
            None draws on a new figure.

        Returns
        -------
        NoiseTransitionDisplay

        Raises
        ------
        ValueError
            If there are no labels, not as many of both, missing ones, or text in one
            only.
        """
        true = label_vector(y_true, "y_true")
        given = label_vector(y_given, "y_given")
        check_consistent_length(true, given)
        if not len(true):
            raise ValueError("There are no labels to compare.")
        check_same_kind(true, given, "y_true and y_given")
        classes = np.union1d(true, given)
        return cls(
            matrix=count_transitions(true, given, classes), classes=classes
        ).plot(ax=ax)

    def plot(self, ax: Any = None, *, cmap: Any = "Blues") -> NoiseTransitionDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None draws on a new figure.
        cmap : str or matplotlib Colormap, default="Blues"
            Of the shares of wrong labels.

        Returns
        -------
        NoiseTransitionDisplay
        """
        n = len(self.classes)
        side = float(np.clip(2.5 + 0.45 * n, 4, 9))
        ax = one_axes(ax, (side + 1.7, side))  # names and the colour bar
        percent = 100 * self.matrix
        wrong = np.where(np.eye(n, dtype=bool), np.nan, percent)
        # Noise that is the same everywhere should look faint, not dark.
        mean = np.nansum(wrong) / max(n * n - n, 1)
        top = max(np.nanmax(wrong, initial=0), 4 * mean, 1e-9)
        ax.set_facecolor("0.9")  # of the diagonal
        self.im_ = ax.imshow(wrong, cmap=cmap, vmin=0, vmax=top, aspect="equal")
        self.text_ = []
        if n <= _MOST_NUMBERS:
            for row, column in np.ndindex(n, n):
                dark = wrong[row, column] > 0.55 * top  # NaN is not
                text = ax.text(
                    column,
                    row,
                    _number(float(percent[row, column])),
                    ha="center",
                    va="center",
                    color="white" if dark else "0.1",
                    fontsize=9 if n < 8 else 8,
                )
                self.text_.append(text)
        rows, columns = _named(wrong), _named(wrong.T)
        names = [shorten(name) for name in self.classes]
        small = {"fontsize": 9 if n <= 20 else 7}
        ax.set_yticks(rows, [names[i] for i in rows], **small)
        ax.set_xticks(
            columns,
            [names[i] for i in columns],
            rotation=45 if n <= _MOST_NUMBERS else 90,
            ha="right" if n <= _MOST_NUMBERS else "center",
            rotation_mode="anchor" if n <= _MOST_NUMBERS else "default",
            **small,
        )
        ax.set_xlabel("given label")
        ax.set_ylabel("true class")
        bar = ax.figure.colorbar(self.im_, ax=ax, fraction=0.046, pad=0.03)
        bar.set_label("share of the true class (%)")
        bar.outline.set_visible(False)
        ax.tick_params(length=0 if n <= _MOST_NAMES else 3)
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def estimated_transitions(estimator: Any) -> NDArray[np.float64]:
    """Share of the samples of each class that are given each label, as estimated.

    Parameters
    ----------
    estimator : classifier
        Fitted.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), float64
        Rows are true classes, columns given labels, in the order of ``classes_``.

    Raises
    ------
    ValueError
        If the estimator was fitted without cleansing.
    """
    found = Found.of(estimator)
    matrix = getattr(filter_of(estimator), "transition_matrix_", None)
    if matrix is None:
        matrix = count_transitions(
            found.suggested[found.used], found.given[found.used], found.classes
        )
    estimated: NDArray[np.float64] = matrix
    return estimated


def count_transitions(
    true: NDArray[Any], given: NDArray[Any], classes: NDArray[Any]
) -> NDArray[np.float64]:
    """Counts of (true, given), divided by those of the true class.

    A class without samples keeps its labels.
    """
    n = len(classes)
    cells = np.searchsorted(classes, true) * n + np.searchsorted(classes, given)
    counts = np.bincount(cells, minlength=n * n).reshape(n, n).astype(np.float64)
    sizes = counts.sum(axis=1, keepdims=True)
    return np.where(sizes > 0, counts / np.maximum(sizes, 1), np.eye(n))


def _number(percent: float) -> str:
    """Whole percents; nothing for less than one half."""
    return f"{percent:.0f}" if percent >= 0.5 else ""


def _named(wrong: NDArray[np.float64]) -> list[int]:
    """Rows that have their names beside them; of many, those that stand out."""
    n = len(wrong)
    if n <= _MOST_NAMES:
        return list(range(n))
    order = np.argsort(-np.nanmax(wrong, axis=1), kind="stable")
    return apart(order.tolist(), max(2, n // 40))
