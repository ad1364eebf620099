"""What the Displays share: matplotlib, which is optional, panels, colours and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Two of Okabe and Ito's colours, told apart by everybody, and a darker shade of each.
CLEAN, CLEAN_DARK = "#0072B2", "#00405f"
NOISY, NOISY_DARK = "#E69F00", "#8a4b00"
# Petroff, "Accessible color sequences for data visualization", 2021, for up to ten.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
# Beside colours, for whom these are not enough.
MARKERS = ("o", "^", "s", "v", "D")


def pyplot() -> Any:
    """Import ``matplotlib.pyplot``.

    Raises
    ------
    ImportError
        With the name of the extra to install.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Drawing needs matplotlib: pip install 'sklearn-turn[plots]'."
        ) from error
    return plt


def one_axes(ax: Any, figsize: tuple[float, float]) -> Any:
    """The axes to draw on: those given, or those of a new figure."""
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax


def panels(ax: Any, n_panels: int, figsize: tuple[float, float]) -> NDArray[Any]:
    """Axes beside each other.

    Parameters
    ----------
    ax : matplotlib Axes, array-like of Axes or None
        One is divided into panels, as many as there are panels are used as they are,
        None makes a new figure.
    n_panels : int
    figsize : tuple of float
        Of a new figure, in inches.

    Returns
    -------
    ndarray of shape (n_panels,) of Axes

    Raises
    ------
    ValueError
        If there is another number of axes.
    """
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(1, n_panels, figsize=figsize, layout="constrained")
    elif n_panels > 1 and not np.ndim(ax):
        place = ax.get_subplotspec()
        if place is None:
            raise ValueError(
                f"These axes are not of plt.subplots and cannot be divided. Pass "
                f"{n_panels} axes for the {n_panels} panels."
            )
        ax.set_axis_off()
        grid = place.subgridspec(1, n_panels)
        ax = [ax.figure.add_subplot(place) for place in grid]
    axes: NDArray[Any] = np.asarray(ax, dtype=object).reshape(-1)
    if len(axes) != n_panels:
        raise ValueError(
            f"{n_panels} panels need one axes, which is divided, or {n_panels}; "
            f"{len(axes)} were given."
        )
    return axes


def shorten(name: Any, width: int = 18) -> str:
    """A label on one line of at most ``width`` characters, without mathematics.

    Names may differ at the end only: it stays.
    """
    text = " ".join(str(name).split())
    if len(text) > width:
        end = width // 3
        text = text[: width - 1 - end] + "…" + text[-end:]
    return text.replace("$", r"\$")


def bool_mask(name: str, values: ArrayLike, n_samples: int, example: str) -> Any:
    """An array of bool with an entry per sample, or an error that says so."""
    mask: NDArray[Any] = np.asarray(values)
    if mask.shape != (n_samples,) or mask.dtype != bool:
        raise ValueError(
            f"{name} must be bool with one entry for each of {n_samples} samples, such "
            f"as {example}; it is {mask.dtype} of shape {mask.shape}."
        )
    return mask


def apart(places: Sequence[int], distance: int) -> list[int]:
    """Those of the places, taken in order, that keep a distance from all before."""
    taken: list[int] = []
    for place in places:
        if all(abs(place - other) >= distance for other in taken):
            taken.append(place)
    return taken
