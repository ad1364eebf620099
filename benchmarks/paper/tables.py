"""Tables 1 to 5 in Markdown, from results alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.cells import Cell, Result, draw_of
from benchmarks.methods import METHODS
from benchmarks.paper import plans, published
from benchmarks.paper.scores import Results, Score, best_epoch, collapsed

#: Stands where nothing was measured.
NOTHING = "–"

#: Mark of a column, and what stands under its table.
_SEVERAL_DRAWS = (
    "†",
    "Results of this column come from several draws of the noise for the same seed, as "
    "the simulators changed meanwhile: only those of one draw compare, and none is "
    "marked as the best.",
)
#: Mark of an accuracy, and what stands under its table.
_COLLAPSED = (
    "‡",
    "The linear probe of one seed or more collapsed onto few classes and was trained "
    "again by cross-entropy.",
)

Row = Sequence[Any]


def markdown(header: Row, rows: Iterable[Row]) -> str:
    """Render a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def table1(results: Results) -> str:
    """Cost of fine-tuning by each method, and relative to plain fine-tuning."""
    header = [
        "method",
        "accuracy (%)",
        "seconds (without a GPU, of all cores)",
        "relative",
        "paper, relative",
        "forward passes",
        "training passes",
        "peak memory (MB)",
    ]
    cells = {cell.method: cell for cell in plans.table1(results.size)}
    rows = []
    for method, cell in cells.items():
        relative = results.relative_time(cell, cells["FFT-CE"])
        minutes = published.TABLE_1.get(method)
        key = "peak_gpu_memory_mb"
        if results.mean(cell, key) is None:
            key = "peak_memory_mb"
        rows.append(
            [
                method,
                results.score(cell) or NOTHING,
                number(results.seconds(cell), 1),
                number(relative, 2),
                number(ratio(minutes, published.TABLE_1["FFT-CE"]), 2),
                number(results.mean(cell, "forward_passes"), 1),
                number(results.mean(cell, "training_passes"), 1),
                number(results.mean(cell, key), 0),
            ]
        )
    return markdown(header, rows)


def table2(results: Results) -> str:
    """Accuracy of every method under every noise, for each backbone."""
    plan = plans.PLANS[results.size]
    text = []
    for backbone in plan.backbones:
        base = Cell(results.size, backbone, "none", "LP-CE", 0, data=plan.data)
        columns = {}
        for noise in plan.noises:
            column = {m: replace(base, noise=noise, method=m) for m in METHODS}
            wrong = [results.mean(cell, "noise_rate") for cell in column.values()]
            known = [rate for rate in wrong if rate is not None]
            rate = f" ({100 * np.mean(known):.0f} % wrong)" if known else ""
            columns[noise + rate] = column
        text.append(f"## {backbone}\n\n{_grid(results, columns, _in_table_2)}")
    return "\n\n".join(text)


def table3(results: Results) -> str:
    """Best and last accuracy under errors of people, for each dataset and backbone."""
    plan = plans.PLANS[results.size]
    text = []
    for data, noise in plan.own:
        columns = {
            backbone: {
                method: Cell(results.size, backbone, noise, method, 0, data=data)
                for method in METHODS
            }
            for backbone in plan.wild
        }
        name = data if noise == "own" else f"{data}, {noise}"
        grid = _grid(results, columns, _in_table_3, with_best=True)
        text.append(f"## {name}\n\n{grid}")
    return "\n\n".join(text)


def table4(results: Results) -> str:
    """Best and last accuracy of larger backbones under heavy noise."""
    plan = plans.PLANS[results.size]
    columns = {
        backbone: {
            m: Cell(results.size, backbone, plan.heavy, m, 0, data=plan.data)
            for m in METHODS
        }
        for backbone in plan.larger
    }
    return _grid(results, columns, _in_table_4, with_best=True)


def table5(results: Results) -> str:
    """What each component of TURN adds."""
    plan = plans.PLANS[results.size]
    rows = []
    cells = list(plans.table5(results.size))
    columns = [
        backbone + _mark_of_draws(results, (c for c in cells if c.backbone == backbone))
        for backbone in plan.ablated
    ]
    for options in plans.COMPONENTS:
        probes = options.get("lp_epochs") != 0
        cleansing = options.get("cleansing", "epoch")
        row = ["yes" if probes else "no", cleansing or "none", "yes"]
        for cell in cells:
            if dict(cell.options) == options:
                key = (cell.backbone, probes, cleansing)
                score = results.score(cell)
                text = f"{score or NOTHING}{_mark_of_collapse(results.of(cell))}"
                row.append(beside(text, published.TABLE_5.get(key)))
        rows.append(row)
    table = markdown(["linear probing", "cleansing", "FFT", *columns], rows)
    return _with_footnotes(table)


def _in_table_2(cell: Cell) -> str | None:
    return published.TABLE_2.get((cell.backbone, cell.noise, cell.method))


def _in_table_3(cell: Cell) -> str | None:
    return published.TABLE_3.get((cell.data, cell.backbone, cell.method))


def _in_table_4(cell: Cell) -> str | None:
    return published.TABLE_4.get((cell.backbone, cell.method))


def _grid(
    results: Results,
    columns: dict[str, dict[str, Cell]],
    of_paper: Any,
    with_best: bool = False,
) -> str:
    """A row for each method that has a result or a number in the paper."""
    scores = {
        name: {method: results.score(cell) for method, cell in column.items()}
        for name, column in columns.items()
    }
    marks = {name: _mark_of_draws(results, c.values()) for name, c in columns.items()}
    rows = []
    for method in METHODS:
        row = [method]
        for name, column in columns.items():
            score = scores[name][method]
            text = str(score) if score else None
            best = _best(results, column[method]) if with_best else None
            if best is not None:
                text = f"{best:.1f} / {score}"
            means = [s.mean for s in scores[name].values() if s]
            if score and score.mean == max(means) and not marks[name]:
                text = f"**{text}**"
            if text:
                text += _mark_of_collapse(results.of(column[method]))
            row.append(beside(text, of_paper(column[method])))
        if any(text != NOTHING for text in row[1:]):
            rows.append(row)
    header = "method (best / last epoch)" if with_best else "method"
    names = [name + mark for name, mark in marks.items()]
    return _with_footnotes(markdown([header, *names], rows))


def _mark_of_draws(results: Results, cells: Iterable[Cell]) -> str:
    """The mark of a column whose results of one seed are of several draws."""
    draws = {draw_of(result) for cell in cells for result in results.of(cell)}
    seeds = {seed for seed, *_ in draws}
    return f" {_SEVERAL_DRAWS[0]}" if len(draws) > len(seeds) else ""


def _mark_of_collapse(results: Iterable[Result]) -> str:
    return f" {_COLLAPSED[0]}" if any(map(collapsed, results)) else ""


def _with_footnotes(table: str) -> str:
    """A table, and what its marks mean."""
    notes = [f"{m} {text}" for m, text in (_SEVERAL_DRAWS, _COLLAPSED) if m in table]
    return "\n\n".join([table, *notes])


def _best(results: Results, cell: Cell) -> float | None:
    """Mean accuracy after the best epoch, where that of all test images is known."""
    values = [best_epoch(result) for result in results.of(cell)]
    known = [value for value in values if value is not None]
    return 100 * float(np.mean(known)) if known else None


def beside(ours: Score | str | None, papers: str | None) -> str:
    """Our number, and the paper's in brackets."""
    own = str(ours) if ours else NOTHING
    if papers is None:
        return own
    return f"{own} ({papers.replace('±', ' ± ').replace('/', ' / ')})"


def number(value: float | None, digits: int) -> str:
    """A number or that there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def ratio(value: float | None, of: float | None) -> float | None:
    """One number relative to another, if there are both."""
    return value / of if value and of else None
