"""One search on several engines: seconds, passes of the backbone, equal scores.

Nine candidates in five folds over probes: joblib's own processes, Dask and Ray, and one
process to compare them with. The store is empty at first. Each engine is measured in a
process of its own; images that pass through the backbone are counted in all processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from torch import nn

from benchmarks.common import save, table
from sklearn_turn import TURNClassifier
from sklearn_turn.backbones import load_backbone
from sklearn_turn.noise import symmetric

SCRIPT = Path(__file__).parents[1] / "examples" / "search_engines.py"
ENGINES = ("one process", "loky", "dask", "ray")


class Counted(nn.Module):
    """The backbone "letters", which notes in a file how many images it is shown."""

    def __init__(self, log: str):
        super().__init__()
        letters = load_backbone("letters")
        self.network, self.log = letters.module, log
        self.pretrained_cfg = {
            "input_size": (3, letters.input_size, letters.input_size),
            "mean": letters.mean,
            "std": letters.std,
        }

    def forward(self, images: torch.Tensor) -> Any:
        # Not the two fixed images that tell backbones apart, nor the blank one that
        # tells the number of features.
        if len(images) > 2:
            with open(self.log, "a") as file:
                file.write(f"{len(images)}\n")
        return self.network(images)


@contextlib.contextmanager
def workers(engine: str, n: int) -> Iterator[None]:
    """The block in which a search runs on an engine."""
    if engine == ENGINES[0]:
        yield
        return
    with runpy.run_path(str(SCRIPT))["ENGINES"][engine](n):
        yield


def measure(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """One search; seconds with and without the start of the workers."""
    digits = load_digits()
    X = digits.images[: args.n] / 16
    y = symmetric(digits.target[: args.n], 0.3, random_state=0)
    grid = {"tau": [0.4, 0.6, 0.8], "lp_epochs": [5, 10, 20]}
    with tempfile.TemporaryDirectory() as folder:
        log = str(Path(folder, "passes.txt"))
        model = TURNClassifier(
            Counted(log),
            noise_filter="gmm",
            fft_epochs=0,
            memory=str(Path(folder, "features")),
            random_state=0,
        )
        search = GridSearchCV(model, grid, cv=5, refit=False)
        seconds = []
        started = time.perf_counter()
        with workers(engine, args.workers):
            ready = time.perf_counter()
            for _ in range(2):
                begun = time.perf_counter()
                search.fit(X, y)
                seconds.append(time.perf_counter() - begun)
        passes = sum(map(int, Path(log).read_text().split()))
    splits = [search.cv_results_[f"split{i}_test_score"] for i in range(5)]
    return {
        "engine": engine,
        "start_seconds": ready - started,
        "first_seconds": seconds[0],
        "again_seconds": seconds[1],
        "passes": passes,
        "images": len(np.unique(X, axis=0)),
        "scores": np.array(splits).tolist(),
    }


def in_own_process(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.search_engines", "--only", engine]
    command += ["--n", str(args.n), "--workers", str(args.workers)]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def report(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    alone = rows[0]
    body = [
        [
            row["engine"],
            f"{row['start_seconds']:.1f}",
            f"{row['first_seconds']:.1f}",
            f"{row['again_seconds']:.1f}",
            f"{row['again_seconds'] / alone['again_seconds']:.2f}",
            f"{row['passes']} of {row['images']}",
            "yes" if row["scores"] == alone["scores"] else "no",
        ]
        for row in rows
    ]
    header = ["engine", "start (s)", "first search (s)", "again (s)", "to one process"]
    return (
        "# One search on several engines\n\n"
        f"3 x 3 candidates in 5 folds over probes of {args.n} digits with the backbone "
        f'"letters", {args.workers} workers of one thread each; the store is empty at '
        "first. The first search includes the import of torch in every worker, and the "
        "pass of the backbone. Passes: images that went through the backbone in both "
        "searches together, in whatever process, of how many distinct ones. "
        f"{args.note}\n\n" + table([*header, "passes", "same scores"], body)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--only", choices=ENGINES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return
    rows = [in_own_process(engine, args) for engine in ENGINES]
    text = report(rows, args)
    save("search_engines", {"settings": vars(args), "engines": rows}, text)


if __name__ == "__main__":
    main()
