"""TURN against plain training on images with human and simulated label noise.

One cell per fit (:mod:`benchmarks.cells`): a run that was stopped goes on. Of several
learning rates of fine-tuning (``--rates``), the report has the one with the best
accuracy on noisy labels of images held out from training, for each method, backbone and
noise; clean labels make the reported numbers only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cell, chosen, run
from benchmarks.common import RESULTS, table
from benchmarks.data import SIZES
from benchmarks.methods import BACKBONES

NOISES = ["none", "aggre", "random1", "worse", "symmetric 0.6", "asymmetric 0.4"]
METHODS = [
    *("LP-GCE", "FFT-CE", "FFT-GCE"),
    *("TURN, no cleansing", "TURN, paper", "TURN"),
]
SEEDS = 3
#: Besides the library's default.
RATES: dict[str, list[float]] = {
    "vit_tiny_patch16_224": [5e-5, 2e-4],
    "mobilenetv2_100": [2e-4, 8e-4],
}


def grid(args: argparse.Namespace) -> Iterator[Cell]:
    """Cells in the order they are measured: all methods once before other rates."""
    rates: list[list[float | None]] = [[None]]
    if args.rates:
        rates += [[rate] for rate in args.rates]
    for seed, some, backbone, noise in product(
        range(args.seeds), rates, args.backbones, args.noise
    ):
        for method, rate in product(args.methods, some):
            if rate is None or not method.startswith("LP"):
                yield Cell(args.size, backbone, noise, method, seed, rate)


def all_cells(size: str, backbone: str, noise: str, method: str) -> list[Cell]:
    """Every cell there may be a result of."""
    rates = [None, *RATES[backbone]]
    return [
        Cell(size, backbone, noise, method, s, r) for s in range(SEEDS) for r in rates
    ]


COLUMNS = {
    "wrong (%)": ("noise_rate", 100, 1),
    "test accuracy (%)": ("accuracy", 100, 1),
    "noisy validation (%)": ("noisy_validation", 100, 1),
    "seconds": ("seconds", 1, 0),
    "forward passes": ("forward_passes", 1, 2),
    "training passes": ("training_passes", 1, 2),
    "flagged (%)": ("flagged", 100, 1),
    "precision": ("precision", 1, 3),
    "recall": ("recall", 1, 3),
    "AP": ("average_precision", 1, 3),
}


def cells_of_row(results: list[dict[str, Any]]) -> list[str]:
    """Mean over seeds of each column, with the standard deviation of the accuracy."""
    row = []
    for key, scale, digits in COLUMNS.values():
        values = [scale * r[key] for r in results if r.get(key) is not None]
        text = f"{np.mean(values):.{digits}f}" if values else "–"
        if key == "accuracy" and len(values) > 1:
            text += f" ± {np.std(values, ddof=1):.1f}"
        row.append(text)
    return row


def report(size: str) -> str:
    """Tables of all results there are."""
    n_train, n_valid, n_test = SIZES[size]
    text = [
        "# TURN and plain training under label noise\n",
        f"{n_train} training images from files at 224 px, {n_test} test images with "
        "clean labels, mean ± standard deviation over the seeds (other images, noise "
        "and random state). The standard error of one accuracy is about "
        f"{100 * (0.85 * 0.15 / n_test) ** 0.5:.1f} from the test images alone. "
        "Seconds were measured beside other load on the machine and compare little; "
        "passes are backbone passes over the training set. Linear probes take their "
        "features from a cache, and their one pass is in passes and seconds only where "
        "they filled it. Learning rates: where several were tried, the best by "
        f"accuracy on {n_valid} noisy labels; the library's default was set on other "
        "images, by what it did to TURN. Precision, recall and average precision (AP) "
        'are of finding wrong labels. "TURN, paper" is Algorithm 1 with the guards of '
        'the library, "TURN" the default, and "TURN, no cleansing" fine-tunes from the '
        "probe on all labels.",
    ]
    machines = set()
    for backbone, noise in product(BACKBONES, NOISES):
        rows = []
        for method in METHODS:
            found = all_cells(size, backbone, noise, method)
            best = chosen(found)
            if not best:
                continue
            tried = sorted({c.rate or 0.0 for c in found if c.path.exists()})
            names = ", ".join(f"{rate:g}" if rate else "default" for rate in tried)
            dates = {r["machine"]["date"] for r in best}
            measured = " to ".join(sorted({min(dates), max(dates)}))
            kinds = sorted({r.get("dtype") or "not noted" for r in best})
            rate = best[0]["rate"]
            used = "default" if rate is None else f"{rate:g}"
            used += f" of {names}" if len(tried) > 1 else ""
            used = "–" if method.startswith("LP") else used
            row = [method, len(best), *cells_of_row(best), used]
            rows.append([*row, measured, ", ".join(kinds)])
            machines |= {r["machine"]["gpu"] or r["machine"]["processor"] for r in best}
        if rows:
            text.append(f"\n## {backbone}, {noise}\n")
            header = ["method", "seeds", *COLUMNS, "learning rate", "date", "precision"]
            text.append(table(header, rows))
    text.append(f"\nMachines: {', '.join(sorted(machines))}.")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with data and weights")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES)
    parser.add_argument("--noise", nargs="+", choices=NOISES, default=NOISES)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=float, nargs="+", help="besides the default")
    parser.add_argument("--list", action="store_true", help="print cells, run none")
    parser.add_argument("--report", action="store_true", help="only write the tables")
    args = parser.parse_args()
    args.backbones = args.backbones or list(BACKBONES)[:1]
    cells = list(grid(args))
    if args.list:
        for cell in cells:
            print("done" if cell.path.exists() else "open", cell.path.stem)
        return
    if not args.report:
        run(cells, args.folder)
    text = report(args.size)
    (RESULTS / f"real_noise_{args.size}.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
