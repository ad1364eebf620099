"""What results say together: means over seeds, with their errors."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cell, Result, at_best_rate, finished

#: Test images of results that do not say how many.
_N_TEST = 3000


@dataclass(frozen=True)
class Score:
    """Accuracy of one method in one setting, in percent.

    Attributes
    ----------
    mean : float
    spread : float
        Standard deviation over the seeds.
    error : float
        Standard error of the mean: that of the test images or, if larger, of the
        seeds.
    n_seeds : int
    """

    mean: float
    spread: float
    error: float
    n_seeds: int

    @classmethod
    def of(cls, results: list[Result]) -> Score:
        """Score of the results of different seeds."""
        values = np.array([r["accuracy"] for r in results])
        n, p = len(values), values.mean()
        n_images = sum(r.get("n_test", _N_TEST) for r in results)
        error = np.sqrt(p * (1 - p) / n_images)
        spread = values.std(ddof=1) if n > 1 else 0.0
        error = max(error, spread / np.sqrt(n))
        return cls(float(100 * p), float(100 * spread), float(100 * error), n)

    def __str__(self) -> str:
        spread = f" ± {self.spread:.1f}" if self.n_seeds > 1 else ""
        return f"{self.mean:.1f}{spread}"


class Results:
    """All results there are of a size, by setting.

    Parameters
    ----------
    size : str
    root : Path
        Of the results' files.
    """

    def __init__(self, size: str, root: Path):
        self.size = size
        found: dict[Cell, list[Result]] = defaultdict(list)
        for cell, result in finished(size, root).items():
            found[_setting(cell)].append(result)
        self.settings = {key: at_best_rate(results) for key, results in found.items()}

    def of(self, cell: Cell) -> list[Result]:
        """Results of all seeds, at the learning rate that noisy validation chose."""
        return self.settings.get(_setting(cell), [])

    def score(self, cell: Cell) -> Score | None:
        """Their accuracy, if there are any."""
        found = self.of(cell)
        return Score.of(found) if found else None

    def mean(self, cell: Cell, key: str) -> float | None:
        """Mean of a number over the seeds, if they have it."""
        values = [r[key] for r in self.of(cell) if r.get(key) is not None]
        return float(np.mean(values)) if values else None

    def seconds(self, cell: Cell) -> float | None:
        """Mean time of training; without a GPU, of all cores together.

        Other load on the machine takes nothing of that.
        """
        on_gpu = any(r["machine"]["gpu"] for r in self.of(cell))
        return self.mean(cell, "seconds" if on_gpu else "cpu_seconds")


def _setting(cell: Cell) -> Cell:
    return replace(cell, seed=0, rate=None)


def purity(result: Result) -> float | None:
    """Share of the labels taken for clean that are right."""
    if "recall" not in result:
        return None
    kept_wrong = result["noise_rate"] * (1 - result["recall"])
    return float(1 - kept_wrong / (1 - result["flagged"]))


def best_epoch(result: Result) -> float | None:
    """Highest accuracy after any epoch of the last phase, on all test images."""
    if result.get("n_curve") != result.get("n_test", _N_TEST):
        return None
    rows: list[dict[str, Any]] = result["history"]
    values = [r["test_accuracy"] for r in rows if r["phase"] == rows[-1]["phase"]]
    return max(values)


def machines(results: list[Result]) -> str:
    """Where results were measured."""
    found = {r["machine"]["gpu"] or r["machine"]["processor"] for r in results}
    return ", ".join(sorted(found))
