"""What the page of a report shows, as plain lists and numbers."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from .. import __version__
from ..inputs import Source
from ..inputs.keys import some_of
from ..selection.mixture import TwoGaussians
from ._found import Found, filter_of
from ._loss_mixture import flag_thresholds, mixture_sizes
from ._noise_summary import overall_rate, rates_of_classes
from ._pictures import paths_of
from ._tables import as_text
from ._transition import estimated_transitions

_BINS = 40
# Of a transition matrix of thousands of classes, the page draws the largest cells.
_MOST_CELLS = 5000
# Samples by whose content data sets are told apart.
_KEYED = 32


def report_data(
    found: Found, source: Source | None, X: Any, suspects: NDArray[np.intp]
) -> dict[str, Any]:
    """Everything on the page but the pictures.

    Parameters
    ----------
    found : Found
    source : Source or None
        The images, if X holds any.
    X : object
        As given to ``fit``.
    suspects : ndarray of shape (n_suspects,), int
        Positions, in the order of the page.

    Returns
    -------
    dict
        Of what JSON knows. Labels are text; ``given`` and ``suggested`` are places in
        ``classes``.
    """
    paths = paths_of(source)
    estimator = found.estimator
    noise_filter = filter_of(estimator)
    tau = getattr(noise_filter, "tau", None)
    rate, low, high = overall_rate(found)
    return {
        "title": "Label report",
        "created": datetime.date.today().isoformat(),
        "version": __version__,
        "key": _key(found, source, X, paths),
        "estimator": type(estimator).__name__,
        "filter": None if noise_filter is None else type(noise_filter).__name__,
        "tau": None if tau is None else float(tau),
        "kind": "images" if source is not None else "samples",
        "n_samples": len(found.given),
        "n_skipped": int((~found.used).sum()),
        "noise_rate": rate,
        "interval": None if np.isnan(low) else [low, high],
        "classes": [as_text(label) for label in found.classes.tolist()],
        "per_class": _per_class(found),
        "losses": _losses(found, noise_filter),
        "transitions": _transitions(found),
        "index": suspects.tolist(),
        "path": None if paths is None else [paths[i] for i in suspects.tolist()],
        "given": found.codes(found.given[suspects]).tolist(),
        "suggested": found.codes(found.suggested[suspects]).tolist(),
        "quality": found.quality[suspects].tolist(),
        "loss": [
            round(loss, 4) if np.isfinite(loss) else None
            for loss in found.losses[suspects].tolist()
        ],
        "pictures": None,
        "pixels": 0,
    }


def _key(found: Found, source: Source | None, X: Any, paths: list[str] | None) -> str:
    """Name under which a browser keeps the marks: the same for the same data."""
    digest = hashlib.sha256(repr(found.given.tolist()).encode(errors="replace"))
    rows = np.flatnonzero(found.used)
    rows = rows[some_of(len(rows), _KEYED)]
    if paths is not None:
        digest.update("\n".join(paths).encode())
    elif source is not None:
        digest.update(b"".join(source.keys(rows.tolist())))
    else:
        values = _safe_indexing(X, rows)
        if hasattr(values, "__array__"):  # joblib tells equal tensors apart
            values = np.asarray(values)
        digest.update(joblib.hash(values).encode())
    return digest.hexdigest()[:20]


def _per_class(found: Found) -> dict[str, list[Any]]:
    """Samples, issues and estimated noise rate of each given class."""
    n = len(found.classes)
    given = found.codes(found.given[found.used])
    rates, _, _ = rates_of_classes(found)
    issues = np.bincount(found.codes(found.given[found.is_issue]), minlength=n)
    return {
        "samples": np.bincount(given, minlength=n).tolist(),
        "issues": issues.tolist(),
        "noise_rate": [None if np.isnan(rate) else round(rate, 5) for rate in rates],
    }


def _losses(found: Found, noise_filter: Any) -> dict[str, Any] | None:
    """Histograms of the losses and what the mixtures expect, of all and of each class.

    None without losses.
    """
    usable = found.used & np.isfinite(found.losses)
    if not usable.any():
        return None
    losses, clean = found.losses[usable], ~found.is_issue[usable]
    codes = found.codes(found.given[usable])
    n = len(found.classes)
    edges = np.histogram_bin_edges(losses, bins=_BINS)
    place = np.clip(np.searchsorted(edges, losses, side="right") - 1, 0, _BINS - 1)

    def by_class(mask: NDArray[np.bool_]) -> list[list[int]]:
        cells = codes[mask] * _BINS + place[mask]
        return np.bincount(cells, minlength=n * _BINS).reshape(n, _BINS).tolist()

    mixtures = getattr(noise_filter, "mixtures_", None)
    return {
        "edges": np.round(edges, 5).tolist(),
        "clean": by_class(clean),
        "flagged": by_class(~clean),
        **({} if mixtures is None else _expected(noise_filter, mixtures, edges)),
    }


def _expected(
    noise_filter: Any, mixtures: TwoGaussians, edges: NDArray[np.float64]
) -> dict[str, Any]:
    """Samples that the components of each mixture put into each bar."""
    counts = mixture_sizes(noise_filter)
    each = [
        _only(mixtures, group).expected_counts(edges, counts[[group]])
        for group in range(len(counts))
    ]
    low, high = np.round(np.stack(each, axis=1), 2)
    thresholds = flag_thresholds(noise_filter, edges)
    return {
        "low": low.tolist(),
        "high": high.tolist(),
        "thresholds": [None if np.isnan(t) else round(float(t), 4) for t in thresholds],
    }


def _only(mixtures: TwoGaussians, group: int) -> TwoGaussians:
    return TwoGaussians(
        mixtures.weights[[group]], mixtures.means[[group]], mixtures.variances[[group]]
    )


def _transitions(found: Found) -> dict[str, Any]:
    """Cells of the transition matrix, the largest first."""
    matrix = estimated_transitions(found.estimator)
    rows, columns = np.nonzero(np.round(matrix, 4))
    order = np.argsort(-matrix[rows, columns], kind="stable")
    off = order[rows[order] != columns[order]]
    kept = off[:_MOST_CELLS]
    return {
        "diagonal": np.round(np.diag(matrix), 4).tolist(),
        "true": rows[kept].tolist(),
        "given": columns[kept].tolist(),
        "share": np.round(matrix[rows[kept], columns[kept]], 4).tolist(),
        "n_left_out": len(off) - len(kept),
    }
