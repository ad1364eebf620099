"""Near-duplicates with contradicting labels, and outliers, by nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from sklearn.utils import check_array

from ..labels import encode_labels, label_vector
from ._tables import import_pandas

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

# Share of samples without a copy that may lie so near to another by chance.
_CHANCE = 1e-3
# Rounding of distances, relative to the spread of all rows: equal rows are this near.
_EQUAL = 1e-6


def neighbor_issues(
    features: ArrayLike,
    y: ArrayLike | None = None,
    *,
    metric: str | None = None,
    n_neighbors: int = 10,
    duplicate_distance: float = 0.35,
    outlier_fence: float = 1.5,
) -> pd.DataFrame:
    """Find near-duplicates, contradicting labels among them, and outliers.

    Parameters
    ----------
    features : array-like of shape (n_samples, n_features)
        Such as ``FeatureExtractor(...).fit_transform(X)``. Columns of a table in
        different units are to be scaled first.
    y : array-like of shape (n_samples,), default=None
        Given labels. None: no label contradicts another.
    metric : {"cosine", "euclidean"}, default=None
        "cosine" compares rows scaled to length one. None is "euclidean" for up to
        three features and "cosine" for more, as for cleanlab.
    n_neighbors : int, default=10
        Neighbours of each sample that are looked at, at most ``n_samples - 1``.
    duplicate_distance : float, default=0.35
        Two samples are near-duplicates when their distance is at most this, in units
        of the typical (median) distance to the ``n_neighbors``-th neighbour.
    outlier_fence : float, default=1.5
        A sample is an outlier when its score is greater.

    Returns
    -------
    DataFrame
        One row per sample, in the order given:

        - ``is_near_duplicate``, bool: whether the sample has a copy, or nearly so.
        - ``duplicate_set``, Int64: number of the set of samples that are copies of
          each other, directly or by way of others; missing for all other samples.
        - ``contradicting``, bool: whether labels differ within this set.
        - ``outlier_score``, float64: mean distance to the neighbours, in interquartile
          ranges above the upper quartile.
        - ``is_outlier``, bool.

    Raises
    ------
    ImportError
        If pandas is not installed.
    ValueError
        If there are fewer than two samples, values that are not finite, another
        number of labels, or a parameter out of range.

    Notes
    -----
    The search is exact, in blocks: its time grows with the square of the number of
    samples, its memory linearly.

    The threshold of near-duplicates, squared, is about that of cleanlab, 0.13 in units
    of the cosine distance to the nearest neighbour. The neighbour of rank
    ``n_neighbors`` is the measure here, because in a set of pairs the nearest
    neighbour is the copy. Where features have few dimensions, any two samples may be
    so near by chance; the threshold is then lowered until one sample in a thousand
    would be, by the intrinsic dimension that the distances to neighbours tell [1]_.
    On photos, and features of a ViT-Ti, it finds copies that were encoded again or are
    a little brighter, and mirror images; most crops and copies of half the size are
    farther away than some pairs of different pictures.

    The mean distance to neighbours [2]_, of features scaled to length one [3]_, is
    compared with Tukey's fence, 1.5 interquartile ranges above the upper quartile.

    References
    ----------
    .. [1] Levina and Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension",
       NIPS 2004.
    .. [2] Angiulli and Pizzuti, "Fast Outlier Detection in High Dimensional Spaces",
       PKDD 2002.
    .. [3] Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest
       Neighbors", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.inspection import neighbor_issues
    >>> X = np.random.RandomState(0).normal(size=(100, 16))
    >>> X[7] = X[3]
    >>> found = neighbor_issues(X, np.arange(100) % 2 + (np.arange(100) == 7))
    >>> found.index[found["is_near_duplicate"]].tolist()
    [3, 7]
    >>> int(found["contradicting"].sum())
    2
    """
    pd = import_pandas()
    if metric not in (None, "cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', not {metric!r}.")
    for name, value in (
        ("n_neighbors", n_neighbors),
        ("duplicate_distance", duplicate_distance),
        ("outlier_fence", outlier_fence),
    ):
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value!r}.")
    rows: NDArray[Any] = check_array(
        features, dtype=[np.float64, np.float32], ensure_min_samples=2
    )
    codes = np.zeros(len(rows), dtype=np.intp) if y is None else _codes(y, len(rows))
    if metric == "cosine" or (metric is None and rows.shape[1] > 3):
        rows = normalize(rows)
    else:
        rows = rows.copy()
    rows -= rows.mean(axis=0)  # far from the origin, distances are rounded
    distances, neighbors = _search(rows, min(n_neighbors, len(rows) - 1))
    rounding = _EQUAL * float(np.linalg.norm(rows)) / np.sqrt(len(rows))
    near = distances <= max(_threshold(distances, duplicate_distance), rounding)
    is_near: NDArray[np.bool_] = np.asarray(near.any(axis=1))
    sets = _sets(neighbors, near)
    scores = _outlier_scores(distances)
    return pd.DataFrame(
        {
            "is_near_duplicate": is_near,
            "duplicate_set": pd.array(_numbered(sets, is_near), dtype="Int64"),
            "contradicting": _contradicting(sets, codes),
            "outlier_score": scores,
            "is_outlier": scores > outlier_fence,
        },
        index=pd.RangeIndex(len(rows), name="index"),
    )


def _codes(y: ArrayLike, n_samples: int) -> NDArray[np.intp]:
    """Labels as numbers."""
    labels = label_vector(y)
    if len(labels) != n_samples:
        raise ValueError(
            f"There are features of {n_samples} samples, but {len(labels)} labels."
        )
    return encode_labels(labels)[1]


def _search(rows: NDArray[Any], k: int) -> tuple[Floats, NDArray[np.intp]]:
    """Distances to the nearest other samples, nearest first, and which these are."""
    distances, neighbors = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors()
    return distances.astype(np.float64), neighbors


def _threshold(distances: Floats, share: float) -> float:
    """Largest distance of near-duplicates."""
    k = distances.shape[1]
    typical = float(np.median(distances[:, -1]))
    if k > 1:
        # In m dimensions, k t^m samples are expected within t times the distance of
        # the k-th neighbour.
        dimension = _intrinsic_dimension(distances)
        share = min(share, (_CHANCE / k) ** (1 / dimension)) if dimension else 0.0
    return share * typical


def _intrinsic_dimension(distances: Floats) -> float:
    """Levina and Bickel's estimate, from the farther half of the neighbours.

    The nearest ones may be copies. Of samples spread evenly in m dimensions,
    m log(r_k / r_j) has the mean 1/j + ... + 1/(k - 1).
    """
    k = distances.shape[1]
    j = (k + 1) // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log(distances[:, k - 1] / distances[:, j - 1])
    # Not a number where both are zero: copies of one sample.
    typical = float(np.median(np.where(np.isnan(growth), np.inf, growth)))
    expected = float((1 / np.arange(j, k)).sum())
    return expected / typical if typical > 0 else np.inf


def _sets(neighbors: NDArray[np.intp], near: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of the set each sample belongs to; most are alone in theirs."""
    n = len(neighbors)
    sample, rank = np.nonzero(near)
    links = coo_array(
        (np.ones(len(sample), dtype=bool), (sample, neighbors[sample, rank])),
        shape=(n, n),
    )
    sets: NDArray[np.intp] = connected_components(links, directed=False)[1]
    return sets


def _numbered(sets: NDArray[np.intp], is_near: NDArray[np.bool_]) -> list[int | None]:
    """Consecutive numbers of the sets of near-duplicates, in order of appearance."""
    numbers: dict[int, int] = {}
    return [
        numbers.setdefault(int(found), len(numbers)) if near else None
        for found, near in zip(sets, is_near, strict=True)
    ]


def _contradicting(
    sets: NDArray[np.intp], codes: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether a sample's set holds more than one label."""
    n_sets = int(sets.max()) + 1
    lowest = np.full(n_sets, codes.max())
    highest = np.zeros_like(lowest)
    np.minimum.at(lowest, sets, codes)
    np.maximum.at(highest, sets, codes)
    differ: NDArray[np.bool_] = lowest != highest
    return differ[sets]


def _outlier_scores(distances: Floats) -> Floats:
    mean = distances.mean(axis=1)
    lower, upper = np.quantile(mean, [0.25, 0.75])
    # Without a spread, rounding is no outlier.
    least = np.finfo(np.float32).eps * max(upper, np.finfo(np.float32).tiny)
    scores: Floats = (mean - upper) / max(upper - lower, least)
    return scores
