"""Measure and show the comparisons of the paper.

``python -m benchmarks.paper table2 --size small`` measures what has no result yet, one
fit after the other, then writes the table. Several such commands can share a folder of
results, also on several machines.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.cells import RESULTS, Cell, run
from benchmarks.methods import is_probe
from benchmarks.paper.plans import PLANS
from benchmarks.paper.reports import EXPERIMENTS, write_report

ASSETS = Path(os.environ.get("SKLEARN_TURN_ASSETS", "../shared/assets"))


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        Its exit status: 1 if a fit failed.
    """
    args = parsed(arguments)
    cells, root = selected(args), args.results / "cells"
    if args.list:
        for cell in cells:
            path = cell.path_in(root)
            state = "done" if path.exists() else "open"
            print(state, path.relative_to(root).with_suffix(""))
        return 0
    n_failed = 0 if args.report else run(cells, args.assets, root)
    for name in args.names:
        print(write_report(name, args.size, args.results))
    return int(n_failed > 0)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks.paper", description=__doc__)
    add = parser.add_argument
    names = [*EXPERIMENTS, "all"]
    add("names", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    add("--size", choices=PLANS, default="smoke")
    add("--assets", type=Path, default=ASSETS, help="folder of data and weights")
    add("--results", type=Path, default=RESULTS, help="folder that may be shared")
    for field in ("methods", "backbones", "noises"):
        add(f"--{field}", nargs="+", default=["*"], metavar="PATTERN")
    add("--seeds", type=int, help="the same number for every method")
    add("--rates", type=float, nargs="+", default=[], help="of fine-tuning, as well")
    add("--list", action="store_true", help="print the cells, measure none")
    add("--report", action="store_true", help="measure none, write what there is")
    args = parser.parse_args(arguments)
    if "all" in args.names:
        args.names = list(EXPERIMENTS)
    return args


def selected(args: argparse.Namespace) -> list[Cell]:
    """Cells to measure, each once, in order: all at the default rate first."""
    cells = [c for name in args.names for c in EXPERIMENTS[name].cells(args.size)]
    wanted = {
        "method": args.methods,
        "backbone": args.backbones,
        "noise": args.noises,
    }
    for field, patterns in wanted.items():
        cells = [
            cell
            for cell in cells
            if any(fnmatch(getattr(cell, field), pattern) for pattern in patterns)
        ]
    if args.seeds is not None:
        cells = [
            replace(cell, seed=seed)
            for seed in range(args.seeds)
            for cell in cells
            if cell.seed == 0
        ]
    tuned = [cell for cell in cells if not is_probe(cell.method)]
    cells += [replace(cell, rate=rate) for rate in args.rates for cell in tuned]
    return list(dict.fromkeys(cells))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # nobody reads on, as after "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
