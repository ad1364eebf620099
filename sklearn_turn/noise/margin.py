"""Noise that depends on the margin between the two classes in question (PMD)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from ._checks import Floats, Seed, check_rate, distributions, encode

# Type -> chance of a flip at margin d, up to a factor common to all samples.
_TYPES = {
    1: lambda d: (1 - d**2) / 2,
    2: lambda d: 1 - d**3,
    3: lambda d: 1 - (d**3 + d**2 + d) / 3,
}


def pmd(
    proba: ArrayLike,
    y: ArrayLike,
    noise_rate: float,
    *,
    kind: int = 1,
    labels: ArrayLike | None = None,
    random_state: Seed = None,
) -> NDArray[Any]:
    """Polynomial-margin-diminishing noise: the surer a classifier, the rarer a flip.

    A sample can only flip to the most probable class other than its own. With the
    margin d between the probabilities of these two, without sign, it does so with
    probability min(1, c τ(d)), where τ(d) is (1 − d²)/2 for type I, 1 − d³ for II,
    1 − (d³ + d² + d)/3 for III, and c makes `noise_rate` the expected share of flips.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Predictions, in the order of `labels`, or else sorted. They must not be too
        sure: a sample with a margin of 1 never flips. The paper trains a network on
        clean labels for them.
    y, labels, random_state
        As in `symmetric`.
    noise_rate : float
        Expected fraction of wrong labels, in [0, 1].
    kind : {1, 2, 3}, default=1
        Type I, II or III.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y` or `labels`

    Raises
    ------
    ValueError
        As `symmetric`; also if `proba` has another shape or holds no probabilities,
        `kind` is another number, or margins of 1 leave fewer samples than
        `noise_rate` asks for.

    Notes
    -----
    Source: Zhang et al., "Learning with Feature-Dependent Label Noise: a Progressive
    Approach", ICLR 2021, arXiv:2103.07756. The code of its authors, pxiangwu/PLC,
    differs in two things. It replaces every label by the classifier's first or second
    choice, even one that is neither; here labels are as given but for the flips, so
    that nothing is wrong at rate 0. And it divides the chance to stay, not multiplies
    that to flip as the paper has it, which flips sure samples too.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.noise import pmd
    >>> proba = np.random.RandomState(0).dirichlet([0.5] * 10, size=10_000)
    >>> y = proba.argmax(axis=1)
    >>> y_noisy = pmd(proba, y, 0.3, kind=2, random_state=0)
    >>> print(round((y_noisy != y).mean(), 1))
    0.3
    """
    check_rate(noise_rate)
    if kind not in _TYPES:
        raise ValueError(f"kind must be 1, 2 or 3, got {kind!r}.")
    classes, codes = encode(y, labels)
    rows = np.arange(len(codes))
    shape = (len(codes), len(classes))
    remedy = "Pass what predict_proba returns, not logits."
    predicted = distributions(proba, "proba", shape, rows, remedy)
    own = predicted[rows, codes]
    predicted[rows, codes] = -1
    rival = predicted.argmax(axis=1)
    margin = np.abs(own - predicted[rows, rival])
    chance = _scaled_to_rate(_TYPES[kind](margin), noise_rate)
    flipped = check_random_state(random_state).uniform(size=len(codes)) < chance
    return classes[np.where(flipped, rival, codes)]


def _scaled_to_rate(tau: Floats, noise_rate: float) -> Floats:
    """min(1, c * tau) for the c at which these are `noise_rate` on average."""
    n_flips = noise_rate * len(tau)
    ordered = np.sort(tau[tau > 0])[::-1]
    if n_flips > len(ordered):
        raise ValueError(
            f"noise_rate={noise_rate} is out of reach: only {len(ordered)} of "
            f"{len(tau)} samples have a margin below 1. Pass softer probabilities: "
            "at a higher temperature, or out of fold."
        )
    if not len(ordered):
        return tau
    # If the k largest are cut off at 1, the rest share what is left in proportion.
    left = n_flips - np.arange(len(ordered))
    rest = np.cumsum(ordered[::-1])[::-1]
    k = np.argmax(left * ordered <= rest)
    return np.minimum(1, left[k] / rest[k] * tau)
