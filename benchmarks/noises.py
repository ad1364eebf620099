"""Label noise of the comparisons, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike, NDArray

from sklearn_turn import noise

#: Label sets by people; nothing is simulated.
HUMAN = ("aggre", "random1", "worse")


def simulate(
    kind: str,
    y: NDArray[Any],
    seed: int,
    *,
    class_map: Any = "blocks",
    inputs: Callable[[], ArrayLike] | None = None,
) -> NDArray[Any]:
    """Labels with noise.

    Parameters
    ----------
    kind : str
        "none", or a generator and its rate: "symmetric 0.6" (the true class is among
        the draws), "asymmetric 0.4", "instance cheng 0.4", "instance xia 0.4".
    y : ndarray of shape (n_samples,)
        Clean labels.
    seed : int
    class_map : mapping or "blocks"
        Of asymmetric noise.
    inputs : callable
        Returns what instance-dependent noise depends on, of shape (n_samples, ...).

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    if kind == "none":
        return y
    name, _, rate = kind.rpartition(" ")
    if name == "symmetric":
        return noise.symmetric(y, float(rate), include_true=True, random_state=seed)
    if name == "asymmetric":
        return noise.asymmetric(y, float(rate), class_map=class_map, random_state=seed)
    generators = {
        "instance cheng": noise.instance_cheng2021,
        "instance xia": noise.instance_xia2020,
    }
    if name not in generators or inputs is None:
        raise ValueError(f"No such noise here: {kind!r}.")
    return generators[name](inputs(), y, float(rate), random_state=seed)


def depends_on_images(kind: str) -> bool:
    """Whether the noise has to be drawn for all images at once."""
    return kind.startswith("instance")
