"""What results say together: means over seeds, with their errors."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from benchmarks.cells import Cell, Result, at_best_rate, finished, on_same_draws

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
        Standard error of the mean, from the test images and the seeds.
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
        error = np.hypot(_error_of_images(results), _error_of_seeds(values))
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        return cls(
            float(100 * values.mean()),
            float(100 * spread),
            float(100 * error),
            len(values),
        )

    def __str__(self) -> str:
        spread = f" ± {self.spread:.1f}" if self.n_seeds > 1 else ""
        return f"{self.mean:.1f}{spread}"


@dataclass(frozen=True)
class Difference:
    """Accuracy of one method above another's, on images and labels that both had.

    Attributes
    ----------
    one, other : Score
        On these alone.
    mean : float
        In percent.
    error : float
        Its standard error, from the test images and the differences over the seeds.
    """

    one: Score
    other: Score
    mean: float
    error: float

    @classmethod
    def of(cls, ones: list[Result], others: list[Result]) -> Difference | None:
        """Difference between the results of two methods, if they have a draw alike."""
        pairs = on_same_draws(ones, others)
        if not pairs:
            return None
        first, second = ([pair[i] for pair in pairs] for i in range(2))
        values = np.array([a["accuracy"] - b["accuracy"] for a, b in pairs])
        images = np.hypot(_error_of_images(first), _error_of_images(second))
        error = np.hypot(images, _error_of_seeds(values))
        return cls(
            Score.of(first),
            Score.of(second),
            float(100 * values.mean()),
            float(100 * error),
        )


def _error_of_seeds(values: NDArray[np.float64]) -> float:
    """Standard error of a mean, wider as few seeds tell their spread poorly.

    Twice that is the 95 % interval of Student's t. Zero for one value, which tells
    nothing of it.
    """
    n = len(values)
    if n < 2:
        return 0.0
    return float(values.std(ddof=1) / np.sqrt(n) * t.ppf(0.975, n - 1) / 2)


def _error_of_images(results: list[Result]) -> float:
    """Standard error of a mean accuracy from the test images, the same of all seeds."""
    p = float(np.mean([r["accuracy"] for r in results]))
    return float(np.sqrt(p * (1 - p) / max(r.get("n_test", _N_TEST) for r in results)))


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

        Other load on the machine takes nothing of that, but makes each second do less.
        """
        on_gpu = any(r["machine"]["gpu"] for r in self.of(cell))
        return self.mean(cell, "seconds" if on_gpu else "cpu_seconds")

    def relative_time(self, cell: Cell, other: Cell) -> float | None:
        """Time of training relative to another's, if one machine measured both."""
        machines = {_hardware(r) for c in (cell, other) for r in self.of(c)}
        if len(machines) != 1:
            return None
        one, of = self.seconds(cell), self.seconds(other)
        return one / of if one and of else None


def _hardware(result: Result) -> tuple[Any, ...]:
    keys = ("processor", "cores", "threads", "gpu")
    return (*(result["machine"].get(key) for key in keys), result.get("dtype"))


def _setting(cell: Cell) -> Cell:
    return replace(cell, seed=0, rate=None)


def purity(result: Result) -> float | None:
    """Share of the labels taken for clean that are right."""
    if "recall" not in result:
        return None
    kept_wrong = result["noise_rate"] * (1 - result["recall"])
    return float(1 - kept_wrong / (1 - result["flagged"]))


def collapsed(result: Result) -> bool:
    """Whether its probe collapsed and was trained again by cross-entropy.

    Results from before that was noted do not say so.
    """
    asked = result.get("parameters", {}).get("loss", "ce")
    return asked != "ce" and result.get("probe_criterion") == "CrossEntropyLoss"


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
