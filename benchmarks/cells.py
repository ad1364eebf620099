"""Comparisons as cells: one fit each, one JSON file each.

A run that was stopped goes on where it stopped, and several processes or machines can
share one folder of results. Tables are made from the files alone. ``python -m
benchmarks.cells ASSETS SETTINGS`` measures the cell of the settings, in JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
FOLDER = RESULTS / "cells"

Result = dict[str, Any]

#: Date from which symmetric and asymmetric noise give other labels for the same seed.
_REDRAWN = "2026-11-28"


@dataclass(frozen=True)
class Cell:
    """Settings that decide the result of one fit.

    Attributes
    ----------
    size : str
        Which images and how many; see :mod:`benchmarks.data`.
    backbone, noise, method : str
    seed : int
        Of the draw of images, the noise and the fit.
    rate : float or None
        Learning rate of fine-tuning; None is the library's default.
    data : str
        Dataset.
    options : tuple of (str, object)
        Parameters of the method that differ from its own.
    observed : str or None
        What is noted besides: "embedding" or "detection".
    """

    size: str
    backbone: str
    noise: str
    method: str
    seed: int
    rate: float | None = None
    data: str = "cifar10n"
    options: tuple[tuple[str, Any], ...] = ()
    observed: str | None = None

    @classmethod
    def of(cls, settings: Result) -> Cell:
        """The cell of some settings or of a result."""
        known = {f.name: settings[f.name] for f in fields(cls) if f.name in settings}
        options = dict(known.pop("options", {}))
        return cls(**known, options=tuple(sorted(options.items())))

    def settings(self) -> Result:
        """All settings, as JSON has them."""
        return {**asdict(self), "options": dict(self.options)}

    def path_in(self, root: Path) -> Path:
        """The file of its result."""
        words = [self.noise, self.method, f"seed{self.seed}"]
        words += [] if self.rate is None else [f"{self.rate:g}"]
        words += [f"{name}{value}" for name, value in self.options]
        words += [self.observed] if self.observed else []
        kept = [c if c.isalnum() or c in ".-" else "_" for c in "-".join(words)]
        data = [] if self.data == "cifar10n" else [self.data]
        return root.joinpath(self.size, *data, self.backbone, f"{''.join(kept)}.json")

    @property
    def path(self) -> Path:
        """The file of its result, in the folder of this project."""
        return self.path_in(FOLDER)

    def result(self, root: Path = FOLDER) -> Result | None:
        """What was measured, if it was."""
        path = self.path_in(root)
        return json.loads(path.read_text()) if path.exists() else None


def finished(size: str, root: Path = FOLDER) -> dict[Cell, Result]:
    """All results there are of a size, from the files alone."""
    found = [json.loads(p.read_text()) for p in sorted((root / size).rglob("*.json"))]
    return {Cell.of(result): result for result in found}


def run(cells: Iterable[Cell], folder: Path, root: Path = FOLDER) -> int:
    """Measure the cells that have no result, each in a process of its own.

    Parameters
    ----------
    cells : iterable of Cell
    folder : Path
        Holds data and weights.
    root : Path
        Of the results.

    Returns
    -------
    int
        How many failed.
    """
    # Processes fork from one that has imported all and computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.measure"])
    n_failed = 0
    for cell in cells:
        if cell.path_in(root).exists():
            continue
        child = context.Process(target=work, args=(cell, folder, root))
        child.start()
        try:
            child.join()
        finally:
            child.terminate()
        found = cell.result(root)
        name = cell.path_in(root).relative_to(root).with_suffix("")
        if found is not None:
            accuracy, seconds = 100 * found["accuracy"], found["seconds"]
            print(f"{name}: {accuracy:.1f} % in {seconds:.0f} s", flush=True)
        elif child.exitcode == 0:
            print(f"{name}: in work elsewhere", flush=True)
        else:
            n_failed += 1
            print(f"{name}: FAILED", flush=True)
    return n_failed


def work(cell: Cell, folder: Path, root: Path = FOLDER) -> None:
    """Measure a cell and write its result, unless another process is at it."""
    from benchmarks.measure import measure  # imports torch

    path = cell.path_in(root)
    with _claimed(path) as ours:
        if not ours or path.exists():
            return
        try:
            result = strict_json(measure(cell, folder))
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(result + "\n")
        unfinished.replace(path)


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether the cell is ours to measure; a claim ends with its process."""
    import fcntl  # not on Windows, where reports can be read all the same

    path.parent.mkdir(parents=True, exist_ok=True)
    claim = path.with_suffix(".claim")
    with open(claim, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            claim.unlink(missing_ok=True)


def chosen(cells: Iterable[Cell], root: Path = FOLDER) -> list[Result]:
    """Results of one method at the rate with the best noisy validation accuracy.

    Parameters
    ----------
    cells : iterable of Cell
        Of one backbone, noise and method, any seeds and rates.
    root : Path
    """
    results = [cell.result(root) for cell in cells]
    return at_best_rate([result for result in results if result is not None])


def at_best_rate(results: Iterable[Result]) -> list[Result]:
    """Those of the learning rate with the best noisy validation accuracy.

    Each rate is compared with the default, or without one with that of most results, on
    the draws both have; one that has none of these is not chosen.
    """
    by_rate: dict[float | None, list[Result]] = {}
    for result in results:
        by_rate.setdefault(result["rate"], []).append(result)
    if not by_rate:
        return []
    usual = by_rate.get(None) or max(by_rate.values(), key=len)

    def gain(results: list[Result]) -> float:
        pairs = on_same_draws(results, usual)
        key = "noisy_validation"
        gains = [a[key] - b[key] for a, b in pairs if None not in (a[key], b[key])]
        return float(np.mean(gains)) if gains else -np.inf

    # The first of equals.
    return max([usual, *by_rate.values()], key=gain)


def draw_of(result: Result) -> tuple[Any, ...]:
    """What tells the images and labels of a result from others of the same noise."""
    kind, date = result["noise"].split()[0], result["machine"].get("date", "")
    redrawn = kind in ("symmetric", "asymmetric") and date >= _REDRAWN
    return result["seed"], redrawn, result["noise_rate"]


def on_same_draws(
    ones: Iterable[Result], others: Iterable[Result]
) -> list[tuple[Result, Result]]:
    """Pairs of results of the same images and labels."""
    known = {draw_of(result): result for result in others}
    return [(r, known[draw_of(r)]) for r in ones if draw_of(r) in known]


def strict_json(payload: Any) -> str:
    """JSON that every reader takes: null for numbers that are not finite."""
    text = json.dumps(payload, default=_plain)
    plain = json.loads(text, parse_constant=lambda name: None)
    return json.dumps(plain, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's; objects by what they print."""
    return value.item() if isinstance(value, np.generic) else repr(value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cells", description=__doc__)
    parser.add_argument("assets", type=Path, help="folder of data and weights")
    parser.add_argument("settings", type=json.loads, help="of the cell, as JSON")
    parser.add_argument("root", type=Path, nargs="?", default=FOLDER, help="of results")
    args = parser.parse_args()
    work(Cell.of(args.settings), args.assets, args.root)


if __name__ == "__main__":
    main()
