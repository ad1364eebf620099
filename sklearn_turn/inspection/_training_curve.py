"""How a fit went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ..pipelines import take_apart
from ._drawing import CLEAN, NOISY_DARK, bool_mask, panels

_LOSSES = {"train_loss": "training", "valid_loss": "validation"}
_STYLES = ("-", "--", ":", "-.")


class TrainingCurveDisplay:
    """Losses of both phases, and which labels were kept before each epoch.

    Create it with :meth:`from_estimator` or :meth:`from_history`. There is a panel for
    the losses of each phase, one for the labels kept, and one for the scores that
    callbacks recorded, if any.

    Parameters
    ----------
    history : sequence of dict
        As ``history_`` of a classifier.
    class_counts : ndarray of shape (n_classes,), int, or None
        Given labels of each class.
    purity : ndarray of shape (n_cleansed,), float64, or None
        Share of right labels among those kept before each epoch of fine-tuning.
    base_purity : float or None
        The same among all labels.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, shape (n_panels,)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import TURNClassifier
    >>> from sklearn_turn.inspection import TrainingCurveDisplay
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.7)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = TURNClassifier(random_state=0).fit(X, y_noisy)
    >>> display = TrainingCurveDisplay.from_estimator(clf, is_wrong=y != y_noisy)
    >>> [ax.get_title(loc="left") for ax in display.axes_]
    ['linear probe', 'fine-tuning', 'labels kept']
    """

    def __init__(
        self,
        *,
        history: Sequence[Mapping[str, Any]],
        class_counts: NDArray[np.intp] | None = None,
        purity: NDArray[np.float64] | None = None,
        base_purity: float | None = None,
    ):
        self.history = history
        self.class_counts = class_counts
        self.purity = purity
        self.base_purity = base_purity

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, is_wrong: ArrayLike | None = None, ax: Any = None
    ) -> TrainingCurveDisplay:
        """Draw the training of a fitted classifier.

        Parameters
        ----------
        estimator : TURNClassifier or another classifier of this library
            Fitted; or a pipeline that ends with one, or a search that found one.
        is_wrong : array-like of shape (n_samples,), bool, default=None
            Which labels really are wrong, when known; the purity of the labels kept is
            then drawn, too.
        ax : matplotlib Axes or array-like of Axes, default=None
            One is divided; None draws on a new figure.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it keeps no history, or ``is_wrong`` does not fit its samples.
        """
        _, estimator = take_apart(estimator)
        check_is_fitted(estimator)
        if not getattr(estimator, "history_", None):
            raise ValueError(
                f"{type(estimator).__name__} keeps no history of epochs. Pass a "
                "TURNClassifier or one of sklearn_turn.baselines."
            )
        used = np.ones(len(estimator.given_labels_), dtype=bool)
        used[estimator.skipped_] = False
        given = np.searchsorted(estimator.classes_, estimator.given_labels_[used])
        purity = base = None
        if is_wrong is not None:
            wrong = bool_mask("is_wrong", is_wrong, len(used), "y != y_true")[used]
            purity = _purity(estimator.net_, ~wrong)
            base = float(np.mean(~wrong))
        return cls(
            history=estimator.history_,
            class_counts=np.bincount(given, minlength=len(estimator.classes_)),
            purity=purity,
            base_purity=base,
        ).plot(ax=ax)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Mapping[str, Any]],
        *,
        class_counts: ArrayLike | None = None,
        ax: Any = None,
    ) -> TrainingCurveDisplay:
        """Draw records of epochs, such as a skorch net's ``history``.

        Parameters
        ----------
        history : sequence of dict
            Of each epoch "train_loss", and where known "phase", "valid_loss", "kept"
            and scores, whose names contain "acc" or "score".
        class_counts : array-like of shape (n_classes,), int, default=None
            Given labels of each class. None draws numbers of labels kept, not shares.
        ax : matplotlib Axes or array-like of Axes, default=None
            One is divided; None draws on a new figure.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        ValueError
            If there is no epoch.
        """
        if not len(history):
            raise ValueError("The history has no epoch to draw.")
        counts = None if class_counts is None else np.asarray(class_counts)
        return cls(history=list(history), class_counts=counts).plot(ax=ax)

    def plot(self, ax: Any = None) -> TrainingCurveDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of Axes, default=None
            One is divided; None draws on a new figure.

        Returns
        -------
        TrainingCurveDisplay
        """
        phases: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.history:
            phases.setdefault(row.get("phase", "training"), []).append(row)
        last = list(phases.values())[-1]
        drawers = [(_draw_losses, name, rows) for name, rows in phases.items()]
        if "kept" in last[0]:
            drawers.append((self._draw_kept, "labels kept", last))
        if _scores(last):
            drawers.append((_draw_scores, "scores", last))
        axes = panels(ax, len(drawers), (3.4 * len(drawers), 3.2))
        for ax, (draw, name, rows) in zip(axes, drawers, strict=True):
            draw(ax, rows)
            ax.set_title(_TITLES.get(name, name), loc="left", fontsize=10)
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.spines[["top", "right"]].set_visible(False)
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _draw_kept(self, ax: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        epochs = np.arange(1, len(rows) + 1)
        kept = np.array([row["kept"] for row in rows], dtype=float)
        common = {"marker": "o", "ms": 4}
        if self.class_counts is None:
            ax.plot(epochs, kept.sum(axis=1), color=CLEAN, **common)
            ax.set(ylabel="labels kept", ylim=(0, None))
            return
        shares = 100 * kept / np.maximum(self.class_counts, 1)
        total = 100 * kept.sum(axis=1) / self.class_counts.sum()
        ax.fill_between(
            epochs,
            shares.min(axis=1),
            shares.max(axis=1),
            color=CLEAN,
            alpha=0.15,
            lw=0,
            label="least and most of a class",
        )
        ax.plot(epochs, total, color=CLEAN, label="kept, of all labels", **common)
        if self.purity is not None:
            ax.plot(
                epochs[-len(self.purity) :],
                100 * self.purity,
                color=NOISY_DARK,
                ls="--",
                label="right, of those kept",
                **common,
            )
        if self.base_purity is not None:
            line = {"color": "0.3", "ls": ":", "label": "right, of all labels"}
            ax.axhline(100 * self.base_purity, **line)
        ax.set(ylabel="%", ylim=(0, 104))
        ax.legend(frameon=False, fontsize=8, loc="lower left")


_TITLES = {"probe": "linear probe", "fine-tune": "fine-tuning"}


def _draw_losses(ax: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    epochs = np.arange(1, len(rows) + 1)
    for (key, name), style in zip(_LOSSES.items(), _STYLES, strict=False):
        if key in rows[0]:
            values = [row.get(key, np.nan) for row in rows]
            ax.plot(epochs, values, style, color=CLEAN, marker="o", ms=3, label=name)
    ax.set_ylabel("loss")
    ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
    if "valid_loss" in rows[0]:
        ax.legend(frameon=False, fontsize=8)


def _draw_scores(ax: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    epochs = np.arange(1, len(rows) + 1)
    for key, style in zip(_scores(rows), _STYLES * len(rows), strict=False):
        values = [row.get(key, np.nan) for row in rows]
        ax.plot(epochs, values, style, color=CLEAN, marker="o", ms=3, label=key)
    ax.set_ylabel("score")
    ax.legend(frameon=False, fontsize=8)


def _scores(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of what callbacks scored."""
    return [
        key
        for key, value in rows[0].items()
        if ("acc" in key or "score" in key) and isinstance(value, (int, float))
    ]


def _purity(net: Any, is_right: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Share of right labels among those kept before each epoch."""
    cleansing = dict(net.callbacks_).get("cleansing")
    # There are none before the first epoch, nor in a model that was saved to a file.
    masks = getattr(cleansing, "clean_masks_", None)
    return np.array([np.mean(is_right[mask]) for mask in masks]) if masks else None
