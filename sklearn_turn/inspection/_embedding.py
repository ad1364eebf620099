"""Maps of the features, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..base import BaseClassifier
from ..input_checks import check_new_data
from ..inputs import Source, Subset
from ..pipelines import take_apart
from ..training.device import Runtime, seeded
from ..training.inference import forward_all
from ._drawing import MARKERS, PALETTE, panels, shorten

# Beyond as many classes colours repeat, beyond twice as many names would overlap.
_MOST_COLOURS = len(PALETTE)
_MOST_NAMES = 30
_NEIGHBOURS = 10


def _in_legend(name: Any) -> str:
    """Name of a class; matplotlib leaves out what begins with an underscore."""
    text = shorten(name)
    return f" {text}" if text.startswith("_") else text


class EmbeddingDisplay:
    """Features of a backbone on a plane, by class, before and after fine-tuning.

    Create it with :meth:`from_estimator` or :meth:`from_features`. Well separated
    classes are what fine-tuning on clean labels gives, and wrong labels mix them
    (TURN, Figure 2). Distances on such a map mean little; above it stands how many of
    a sample's ten nearest neighbours, by the features themselves, have its label.

    Parameters
    ----------
    points : mapping of str to ndarray of shape (n_samples, 2)
        Title and map of each panel.
    y : ndarray of shape (n_samples,)
        Labels.
    agreement : mapping of str to float
        Share of the nearest neighbours with the same label.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, shape (n_panels,)
    figure_ : matplotlib Figure

    References
    ----------
    Ahn et al., "Fine-tuning Pre-trained Models for Robustness under Noisy Labels",
    IJCAI 2024, Figure 2; van der Maaten and Hinton, "Visualizing data using t-SNE",
    JMLR 9, 2008.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_turn.inspection import EmbeddingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> display = EmbeddingDisplay.from_features(X, y, method="pca")
    >>> bool(display.agreement["features"] > 0.9)
    True
    """

    def __init__(
        self,
        *,
        points: Mapping[str, NDArray[np.float64]],
        y: NDArray[Any],
        agreement: Mapping[str, float],
    ):
        self.points = points
        self.y = y
        self.agreement = agreement

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        method: str = "tsne",
        max_samples: int = 2000,
        random_state: Any = 0,
        ax: Any = None,
    ) -> EmbeddingDisplay:
        """Draw the features of the pre-trained and of the fine-tuned backbone.

        Costs two passes over the samples drawn, and loads the backbone again; random
        weights are those of the fit if its ``random_state`` is an integer. A fit that
        left the backbone as it was has one panel.

        Parameters
        ----------
        estimator : TURNClassifier or another classifier of this library
            Fitted; or a pipeline that ends with one, or a search that found one.
        X : images, file paths or features
            As in ``predict``; test images show best what the features are worth.
        y : array-like of shape (n_samples,)
            Labels, the true ones where known.
        method : {"tsne", "pca"}, default="tsne"
        max_samples : int, default=2000
            Most samples to draw, chosen at random.
        random_state : int, RandomState or None, default=0
            Of that choice and of t-SNE.
        ax : matplotlib Axes or array-like of Axes, default=None
            One is divided; None draws on a new figure.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no backbone, as those around other classifiers.
        ValueError
            If lengths differ, or ``method`` is unknown.
        """
        before, estimator = take_apart(estimator)
        check_is_fitted(estimator)
        if not isinstance(estimator, BaseClassifier):
            raise TypeError(
                f"{type(estimator).__name__} has no backbone. Draw the features it is "
                "given: EmbeddingDisplay.from_features(features, y)."
            )
        _check_method(method)
        check_consistent_length(X, y)
        X = X if before is None else before.transform(X)
        random_state = check_random_state(random_state)
        rows = _choose_rows(len(np.asarray(y)), max_samples, random_state)
        return cls.from_features(
            _features_of(estimator, X, rows),
            np.asarray(y)[rows],
            method=method,
            max_samples=max_samples,
            random_state=random_state,
            ax=ax,
        )

    @classmethod
    def from_features(
        cls,
        features: Any,
        y: ArrayLike,
        *,
        method: str = "tsne",
        max_samples: int = 2000,
        random_state: Any = 0,
        ax: Any = None,
    ) -> EmbeddingDisplay:
        """Draw features from anywhere.

        Parameters
        ----------
        features : array-like of shape (n_samples, n_features) or mapping of str to such
            Several, by title, are drawn beside each other.
        y : array-like of shape (n_samples,)
            Labels.
        method : {"tsne", "pca"}, default="tsne"
        max_samples : int, default=2000
            Most samples to draw, chosen at random.
        random_state : int, RandomState or None, default=0
            Of that choice and of t-SNE.
        ax : matplotlib Axes or array-like of Axes, default=None
            One is divided; None draws on a new figure.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If features are not finite numbers, lengths differ, there are fewer than
            three samples, or ``method`` is unknown.
        """
        _check_method(method)
        if not isinstance(features, Mapping):
            features = {"features": features}
        labels = np.asarray(y)
        checked = {
            str(title): check_array(values, dtype=np.float64, ensure_min_samples=3)
            for title, values in features.items()
        }
        check_consistent_length(labels, *checked.values())
        random_state = check_random_state(random_state)
        rows = _choose_rows(len(labels), max_samples, random_state)
        seed = random_state.randint(2**31 - 1)
        checked = {title: values[rows] for title, values in checked.items()}
        return cls(
            points={
                title: _on_a_plane(values, method, seed)
                for title, values in checked.items()
            },
            y=labels[rows],
            agreement={
                title: _agreement(values, labels[rows])
                for title, values in checked.items()
            },
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> EmbeddingDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of Axes, default=None
            One is divided; None draws on a new figure.

        Returns
        -------
        EmbeddingDisplay
        """
        classes, codes = np.unique(self.y, return_inverse=True)
        n = len(self.points)
        wide = 1.6 if len(classes) <= _MOST_COLOURS else 0.0  # for the legend
        axes = panels(ax, n, (4.4 * n + wide, 4.6))
        size = float(np.clip(6000 / len(codes), 4, 30))
        for ax, (title, points) in zip(axes, self.points.items(), strict=True):
            for code, name in enumerate(classes):
                rows = codes == code
                ax.scatter(
                    *points[rows].T,
                    s=size,
                    lw=0,
                    alpha=0.8,
                    color=PALETTE[code % _MOST_COLOURS],
                    marker=MARKERS[(code // 2) % len(MARKERS)],
                    label=_in_legend(name),
                )
                if _MOST_COLOURS < len(classes) <= _MOST_NAMES:
                    middle = np.median(points[rows], axis=0)
                    backing = {"fc": "white", "alpha": 0.6, "lw": 0, "pad": 0.5}
                    text = shorten(name, 12)
                    ax.text(*middle, text, ha="center", fontsize=8, bbox=backing)
            ax.set_title(f"{title}\n{self._caption(title)}", loc="left", fontsize=10)
            ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            ax.spines[:].set_color("0.8")
        if len(classes) <= _MOST_COLOURS:
            axes[-1].legend(
                loc="center left",
                bbox_to_anchor=(1, 0.5),
                frameon=False,
                markerscale=np.sqrt(30 / size),
            )
        elif len(classes) > _MOST_NAMES:
            axes[-1].set_xlabel(
                f"{len(classes)} classes; colours and markers repeat", loc="right"
            )
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _caption(self, title: str) -> str:
        return f"{100 * self.agreement[title]:.0f} % of neighbours have the same label"


def _check_method(method: str) -> None:
    if method not in ("tsne", "pca"):
        raise ValueError(f"method must be 'tsne' or 'pca', not {method!r}.")


def _features_of(
    estimator: BaseClassifier, X: Any, rows: NDArray[np.intp]
) -> dict[str, NDArray[np.float32]]:
    """Features of some samples, by the backbone before and after fine-tuning."""
    runtime = Runtime.of(estimator)
    source: Source = Subset(check_new_data(estimator, X), rows)
    tuned = estimator.net_.module_.embed
    after = forward_all(tuned, source, runtime, "after").numpy()
    # Where X holds features, fine-tuning is of the head.
    if estimator._is_frozen or isinstance(tuned, nn.Identity):
        return {"features": after}
    seed = check_random_state(estimator.random_state).randint(2**31 - 1)
    with seeded(seed, runtime.device):
        _, embed, source = estimator._prepare(source, runtime)
    before = forward_all(embed, source, runtime, "before").numpy()
    return {"before fine-tuning": before, "after fine-tuning": after}


def _choose_rows(
    n_samples: int, most: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """All samples, or as many at random, in their order."""
    if n_samples <= most:
        return np.arange(n_samples)
    return np.sort(random_state.permutation(n_samples)[:most])


def _on_a_plane(
    values: NDArray[np.float64], method: str, seed: int
) -> NDArray[np.float64]:
    if values.shape[1] < 2:
        values = np.column_stack([values, np.zeros(len(values))])
    n_components = min(50, *values.shape)
    reduced = PCA(2 if method == "pca" else n_components, random_state=seed)
    points: NDArray[np.float64] = reduced.fit_transform(values)
    if method == "tsne":
        # As the authors of t-SNE do: 50 components first.
        perplexity = min(30.0, (len(values) - 1) / 3)
        points = TSNE(
            perplexity=perplexity, init="pca", random_state=seed
        ).fit_transform(points)
    return points


def _agreement(values: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """Share of each sample's nearest neighbours that have its label."""
    k = min(_NEIGHBOURS, len(values) - 1)
    neighbours = NearestNeighbors(n_neighbors=k).fit(values)
    nearest = neighbours.kneighbors(return_distance=False)
    return float((labels[nearest] == labels[:, None]).mean())
