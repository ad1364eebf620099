"""Noise that depends on the class: symmetric, asymmetric, pair-flip."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from ._checks import Codes, Seed, check_rate, draw_positions, encode


def symmetric(
    y: ArrayLike,
    noise_rate: float,
    *,
    include_true: bool = False,
    labels: ArrayLike | None = None,
    random_state: Seed = None,
) -> NDArray[Any]:
    """Give ``round(noise_rate * n_samples)`` random samples a uniformly drawn label.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels, of any type that sorts.
    noise_rate : float
        Fraction of the samples to relabel, in [0, 1].
    include_true : bool, default=False
        Whether the draw may return the true class. If False, every relabelled sample
        is wrong (Co-teaching, CORES, APL). If True, ``noise_rate * (C - 1) / C`` of all
        labels are wrong in expectation, with C classes (DivideMix, UNICON, ELR).
    labels : array-like of shape (n_classes,), optional
        All classes, some of which may have no sample in `y`, in the order in which
        they are numbered; default: those of `y`, sorted.
    random_state : int, RandomState instance or None, default=None
        Pass an int for reproducible labels, and another one than the data were drawn
        with: the same random numbers would make the noise depend on them.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y` or `labels`

    Raises
    ------
    ValueError
        If `noise_rate` is outside [0, 1], `y` is not one-dimensional or has missing
        labels, there are fewer than two classes, or `labels` has duplicates or lacks a
        class of `y`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.noise import symmetric
    >>> y = np.repeat(["cat", "dog", "owl"], 10)
    >>> int((symmetric(y, 0.4, random_state=0) != y).sum())
    12
    """
    check_rate(noise_rate)
    classes, codes = encode(y, labels)
    rng = check_random_state(random_state)
    n_flips = round(noise_rate * len(codes))
    chosen = draw_positions(len(codes), n_flips, rng)
    if include_true:
        codes[chosen] = rng.randint(len(classes), size=n_flips)
    else:
        shift = rng.randint(1, len(classes), size=n_flips)
        codes[chosen] = (codes[chosen] + shift) % len(classes)
    return classes[codes]


def asymmetric(
    y: ArrayLike,
    noise_rate: float,
    *,
    class_map: str | Mapping[Any, Hashable] = "blocks",
    block_size: int = 5,
    labels: ArrayLike | None = None,
    random_state: Seed = None,
) -> NDArray[Any]:
    """Flip ``round(noise_rate * n_c)`` samples of each mapped class c to its target.

    All flips start from the clean labels, so a map may swap two classes. The overall
    rate of wrong labels is `noise_rate` times the share of the mapped classes: half of
    `noise_rate` for CIFAR-10. Source: Patrini et al., CVPR 2017, arXiv:1609.03683.

    Parameters
    ----------
    y, labels, random_state
        As in `symmetric`.
    noise_rate : float
        Fraction of each mapped class to flip, in [0, 1].
    class_map : "blocks" or mapping of class to class, default="blocks"
        "blocks" cuts the classes into consecutive blocks of `block_size`; each
        class flips to the next in its block, the last to the first. A short last block
        is a smaller circle; a last block of one class stays clean. This is the "noise
        within super-classes" of published CIFAR-100 code (ELR, APL), though blocks of
        the alphabetical labels are not its super-classes; `CIFAR100_ASYMMETRIC` is
        the circle within the true ones. For CIFAR-10, pass `CIFAR10_ASYMMETRIC`.
        These are by class name; the same with ``_INDICES`` are for integer labels.
    block_size : int, default=5
        Classes per block, at least 2.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y` or `labels`

    Raises
    ------
    ValueError
        As `symmetric`; also if `block_size` is below 2, or `class_map` is another
        string or names a class that is not in `y` or `labels`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.noise import asymmetric, transition_matrix
    >>> y = np.repeat(["cat", "dog", "owl"], 10)
    >>> y_noisy = asymmetric(
    ...     y, 0.4, class_map={"cat": "dog", "dog": "cat"}, random_state=0
    ... )
    >>> transition_matrix(y, y_noisy)
    array([[0.6, 0.4, 0. ],
           [0.4, 0.6, 0. ],
           [0. , 0. , 1. ]])
    """
    check_rate(noise_rate)
    classes, codes = encode(y, labels)
    if class_map != "blocks" and not isinstance(class_map, Mapping):
        raise ValueError(f"class_map must be 'blocks' or a dict, got {class_map!r}.")
    if isinstance(class_map, str):
        if block_size < 2:
            raise ValueError(f"block_size must be at least 2, got {block_size}.")
        targets = _next_in_block(len(classes), block_size)
    else:
        targets = _mapped(classes, class_map)
    return classes[_flip_to_targets(codes, targets, noise_rate, random_state)]


def pair_flip(
    y: ArrayLike,
    noise_rate: float,
    *,
    labels: ArrayLike | None = None,
    random_state: Seed = None,
) -> NDArray[Any]:
    """Flip ``round(noise_rate * n_c)`` samples of each class c to the next class.

    Classes are taken in the order of `labels`, or else sorted; the last one flips to
    the first. Source: Han et al., "Co-teaching", NeurIPS 2018, arXiv:1804.06872.

    Parameters
    ----------
    y, noise_rate, labels, random_state
        As in `asymmetric`.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y` or `labels`

    Raises
    ------
    ValueError
        As `symmetric`.

    Examples
    --------
    >>> from sklearn_turn.noise import pair_flip
    >>> pair_flip(["a", "b", "c"], 1.0)
    array(['b', 'c', 'a'], dtype='<U1')
    """
    check_rate(noise_rate)
    classes, codes = encode(y, labels)
    targets = _next_in_block(len(classes), len(classes))
    return classes[_flip_to_targets(codes, targets, noise_rate, random_state)]


def _next_in_block(n_classes: int, block_size: int) -> Codes:
    position = np.arange(n_classes)
    start = position - position % block_size
    length = np.minimum(block_size, n_classes - start)
    return start + (position - start + 1) % length


def _mapped(classes: NDArray[Any], class_map: Mapping[Any, Hashable]) -> Codes:
    code = {label: i for i, label in enumerate(classes.tolist())}
    unknown = [c for pair in class_map.items() for c in pair if c not in code]
    if unknown:
        raise ValueError(
            f"class_map names {unknown}, not among the classes of y, {classes}: "
            "use the labels of y, same type and spelling; labels=... lists classes "
            "without samples."
        )
    targets = np.arange(len(classes))
    for source, target in class_map.items():
        targets[code[source]] = code[target]
    return targets


def _flip_to_targets(
    codes: Codes, targets: Codes, noise_rate: float, random_state: Seed
) -> Codes:
    rng = check_random_state(random_state)
    noisy = codes.copy()
    for source, target in enumerate(targets):
        # Members by clean label: a sample flipped into `source` must not flip again.
        members = np.flatnonzero(codes == source)
        n_flips = round(noise_rate * len(members))
        noisy[members[draw_positions(len(members), n_flips, rng)]] = target
    return noisy
