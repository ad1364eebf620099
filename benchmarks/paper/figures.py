"""Figures 2 and 3 as SVG, from results alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Result
from benchmarks.paper import plans, published
from benchmarks.paper.scores import Results, purity
from benchmarks.paper.tables import NOTHING, markdown, number

#: Okabe and Ito's, which colour-blind people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^DvPX*<>"
_LABELS = {
    "lp_epochs": "epochs of linear probing, $E_{LP}$",
    "fft_epochs": "epochs of full fine-tuning, $E_{FFT}$",
    "tau": "threshold $\\tau$",
}


class Map(NamedTuple):
    """Test images on a plane.

    Attributes
    ----------
    points : ndarray of shape (n_samples, 2)
    codes : ndarray of shape (n_samples,), int
        Of their classes.
    agreement : float
        Share of nearest neighbours, by the features, that have the same label.
    """

    points: NDArray[np.float64]
    codes: NDArray[np.intp]
    agreement: float


def figure2(results: Results, path: Path) -> str:
    """Maps of the features before fine-tuning, and after it under two noises."""
    plan = plans.PLANS[results.size]
    maps: dict[tuple[str, str], Map] = {}
    for cell in plans.figure2(results.size):
        for result in results.of(cell):
            before, after = _maps(result)
            maps[cell.backbone, "before"] = before
            maps[cell.backbone, cell.noise] = after
    rows = (plan.light, "before", plan.heavy)
    with _figure(path, len(rows), len(plan.mapped), (2.9, 2.8)) as axes:
        for i, j in np.ndindex(axes.shape):
            ax, name, backbone = axes[i, j], rows[i], plan.mapped[j]
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color("0.8")
            if i == 0:
                ax.set_title(backbone, fontsize=10)
            if j == 0:
                ax.set_ylabel(name if name == "before" else f"after, {name}")
            drawn = maps.get((backbone, name))
            if drawn is None:
                ax.set_xlabel("not measured")
                continue
            for code in np.unique(drawn.codes):
                points = drawn.points[drawn.codes == code]
                style = {"color": _COLOURS[code % 7], "marker": _MARKERS[code % 10]}
                ax.scatter(*points.T, s=8, lw=0, alpha=0.8, **style)
            ax.set_xlabel(f"{100 * drawn.agreement:.0f} % of neighbours alike")
    body = []
    for backbone in plan.mapped:
        drawn_maps = [maps.get((backbone, name)) for name in ("before", *rows[::2])]
        body.append(
            [backbone, *(number(m and 100 * m.agreement, 1) for m in drawn_maps)]
        )
    header = ["neighbours alike (%)", "before", *(f"after, {n}" for n in rows[::2])]
    return markdown(header, body)


def _maps(result: Result) -> list[Map]:
    """Before and after."""
    found = result["embedding"]
    codes = np.array(found["labels"].split(), dtype=int)
    return [
        Map(
            np.array(text.split(), dtype=float).reshape(-1, 2),
            codes,
            found["agreement"][title],
        )
        for title, text in found["points"].items()
    ]


def sweep(name: str) -> Callable[[Results, Path], str]:
    """The figure that varies one parameter: accuracy, and purity of what is kept."""

    def figure(results: Results, path: Path) -> str:
        values, _ = plans.VARIED[name]
        cells = dict(zip(values, plans.sweep(name)(results.size), strict=True))
        scores = {v: results.score(cell) for v, cell in cells.items()}
        pure = {v: mean_purity(results.of(cell)) for v, cell in cells.items()}
        known = {v: score for v, score in scores.items() if score}
        kept = {v: share for v, share in pure.items() if share is not None}
        with _figure(path, 1, 2, (4.2, 3.2)) as axes:
            left, right = axes[0]
            heights, errors = (
                [getattr(s, key) for s in known.values()] for key in ("mean", "error")
            )
            style = {"marker": "o", "color": _COLOURS[0]}
            left.errorbar(list(known), heights, yerr=errors, **style)
            left.set_ylabel("test accuracy (%)")
            right.plot(list(kept), list(kept.values()), marker="s", color=_COLOURS[1])
            right.set_ylabel("right among labels kept (%)")
            for ax in axes[0]:
                ax.set_xlabel(_LABELS[name])
                ax.set_xticks(values)
                ax.grid(color="0.9")
        body = [
            [value, scores[value] or NOTHING, number(pure[value], 1)]
            for value in values
        ]
        return markdown([name, "accuracy (%)", "right among kept (%)"], body)

    return figure


def mean_purity(results: list[Result]) -> float | None:
    """In percent, over the seeds."""
    values = [share for share in map(purity, results) if share is not None]
    return 100 * float(np.mean(values)) if values else None


def figure3d(results: Results, path: Path) -> str:
    """Accuracy against training time, every method fine-tuned."""
    from matplotlib.ticker import LogFormatter

    cells = {cell.method: cell for cell in plans.figure3d(results.size)}
    seconds = {m: results.seconds(cell) for m, cell in cells.items()}
    slowest = cells["FFT-UNICON"]
    body = []
    with _figure(path, 1, 1, (6.0, 4.0)) as axes:
        ax = axes[0, 0]
        for i, (method, cell) in enumerate(cells.items()):
            score, time = results.score(cell), seconds[method]
            body.append(
                [
                    method,
                    score or NOTHING,
                    number(time, 0),
                    number(results.relative_time(cell, slowest), 3),
                ]
            )
            if score is None or time is None:
                continue
            style = {"color": _COLOURS[i % 7], "marker": _MARKERS[i]}
            ax.errorbar(
                time, score.mean, yerr=score.error, ls="", label=method, **style
            )
        ax.set(xscale="log", xlabel="seconds of training", ylabel="test accuracy (%)")
        ax.xaxis.set_major_formatter(LogFormatter())
        ax.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        ax.grid(color="0.9")
        if any(seconds.values()):
            ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    header = ["method", "accuracy (%)"]
    header += ["seconds (without a GPU, of all cores)", "relative to UNICON"]
    text = (
        f"In the paper TURN takes {published.TIME_OF_UNICON} of UNICON's time. Times "
        "are compared where one machine measured both, in one precision."
    )
    return f"{markdown(header, body)}\n\n{text}"


@contextmanager
def _figure(
    path: Path, n_rows: int, n_columns: int, size: tuple[float, float]
) -> Iterator[Any]:
    """Axes of shape (n_rows, n_columns), each of that size in inches, then saved."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The same results give the same file.
    with rc_context({"svg.hashsalt": "paper", "svg.fonttype": "none"}):
        figure = Figure(
            figsize=(n_columns * size[0], n_rows * size[1]), layout="constrained"
        )
        yield figure.subplots(n_rows, n_columns, squeeze=False)
        figure.savefig(path, metadata={"Date": None})
