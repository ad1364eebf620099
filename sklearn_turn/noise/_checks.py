"""What generators share: checks of labels, their order and the rate; a draw."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..labels import check_labels, encode_labels

Seed = int | np.random.RandomState | None
Codes = NDArray[np.intp]
Floats = NDArray[np.float64]


def one_dimensional(y: ArrayLike, name: str = "y") -> NDArray[Any]:
    """Labels as an array; raise if any is missing or of another type than the rest."""
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {labels.shape}.")
    check_labels(y, name)
    return labels


def encode(y: ArrayLike, labels: ArrayLike | None = None) -> tuple[NDArray[Any], Codes]:
    """Classes, in the order of `labels` or sorted, and each sample's place there.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or `labels` has duplicates or lacks a class
        of `y`.
    """
    classes, codes = encode_labels(one_dimensional(y))
    if labels is not None:
        order = one_dimensional(labels, "labels")
        in_use = classes.tolist()
        position = {label: i for i, label in enumerate(order.tolist())}
        if len(position) < len(order) or not position.keys() >= set(in_use):
            raise ValueError(f"labels must list each class once, and all of {in_use}.")
        codes = np.array([position[c] for c in in_use], dtype=np.intp)[codes]
        classes = order
    if len(classes) < 2:
        raise ValueError(
            f"y must hold at least two classes, got {len(classes)}; labels=... lists "
            "those without samples."
        )
    return classes, codes


def check_rate(noise_rate: float) -> None:
    """Raise if a noise rate is none."""
    if not isinstance(noise_rate, Real) or not 0 <= noise_rate <= 1:
        raise ValueError(
            f"noise_rate must be in [0, 1], got {noise_rate!r}; 40 % is 0.4."
        )


def draw_positions(n: int, k: int, rng: np.random.RandomState) -> Codes:
    """k distinct positions of n, as the ranks of uniform numbers.

    Not the first of ``rng.permutation(n)``: scikit-learn's splitters take these with
    the same seed, and the samples drawn here would all be on one side of the split.
    """
    return rng.uniform(size=n).argsort(kind="stable")[:k]


def distributions(
    values: ArrayLike, name: str, shape: tuple[int, int], used: Codes, remedy: str
) -> Floats:
    """Rows of probabilities as float64, those in `used` with a sum of exactly 1.

    Raises
    ------
    ValueError
        If the shape is another one, an entry is negative or no number, or a row in
        `used` does not sum to 1 within 1e-3.
    """
    try:
        rows = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold probabilities: {error}") from error
    if rows.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape}, got {rows.shape}. If y lacks some of the "
            "classes, pass all of them as labels=..., in the order of the columns."
        )
    if not (rows >= 0).all():  # NaN is not
        raise ValueError(f"{name} must hold probabilities; one is below 0 or NaN.")
    sums = rows.sum(axis=1)[used]
    wrong = np.flatnonzero(np.abs(sums - 1) > 1e-3)
    if wrong.size:
        first = wrong[0]
        raise ValueError(
            f"Rows of {name} must sum to 1; {wrong.size} do not, the first row "
            f"{used[first]}, with {sums[first]:.6g}. {remedy}"
        )
    rows[used] /= sums[:, None]
    return rows
