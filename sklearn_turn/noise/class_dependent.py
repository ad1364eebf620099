"""Noise that depends on the class: symmetric, asymmetric, pair-flip."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, check_random_state

from ..labels import check_labels, check_no_missing_labels, encode_labels

Seed = int | np.random.RandomState | None
Codes = NDArray[np.intp]
Floats = NDArray[np.float64]

#: The CIFAR-10 confusions of Patrini et al. (2017), by class name.
CIFAR10_ASYMMETRIC: dict[str, str] = {
    "truck": "automobile",
    "bird": "airplane",
    "deer": "horse",
    "cat": "dog",
    "dog": "cat",
}
#: The same, for labels that are CIFAR-10's class indices.
CIFAR10_ASYMMETRIC_INDICES: dict[int, int] = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


def symmetric(
    y: ArrayLike,
    noise_rate: float,
    *,
    include_true: bool = False,
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
    random_state : int, RandomState instance or None, default=None
        Pass an int for reproducible labels.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y`

    Raises
    ------
    ValueError
        If `noise_rate` is outside [0, 1], or `y` is not one-dimensional, has missing
        labels or has fewer than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.noise import symmetric
    >>> y = np.repeat(["cat", "dog", "owl"], 10)
    >>> int((symmetric(y, 0.4, random_state=0) != y).sum())
    12
    """
    classes, codes = encode_checked(y, noise_rate)
    rng = check_random_state(random_state)
    n_flips = round(noise_rate * len(codes))
    chosen = rng.choice(len(codes), size=n_flips, replace=False)
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
    random_state: Seed = None,
) -> NDArray[Any]:
    """Flip ``round(noise_rate * n_c)`` samples of each mapped class c to its target.

    All flips start from the clean labels, so a map may swap two classes. The overall
    rate of wrong labels is `noise_rate` times the share of the mapped classes: half of
    `noise_rate` for CIFAR-10. Source: Patrini et al., CVPR 2017, arXiv:1609.03683.

    Parameters
    ----------
    y, random_state
        As in `symmetric`.
    noise_rate : float
        Fraction of each mapped class to flip, in [0, 1].
    class_map : "blocks" or mapping of class to class, default="blocks"
        "blocks" cuts the sorted classes into consecutive blocks of `block_size`; each
        class flips to the next in its block, the last to the first. A short last block
        is a smaller circle; a last block of one class stays clean. This is the "noise
        within super-classes" of published CIFAR-100 code (ELR, APL), though blocks of
        the alphabetical labels are not its super-classes. For CIFAR-10, pass
        `CIFAR10_ASYMMETRIC` or, for integer labels, `CIFAR10_ASYMMETRIC_INDICES`.
    block_size : int, default=5
        Classes per block, at least 2.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y`

    Raises
    ------
    ValueError
        As `symmetric`; also if `block_size` is below 2, or `class_map` is another
        string or names a class that is not in `y`.

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
    classes, codes = encode_checked(y, noise_rate)
    if isinstance(class_map, str):
        if class_map != "blocks":
            raise ValueError(
                f"class_map must be 'blocks' or a dict, got {class_map!r}."
            )
        if block_size < 2:
            raise ValueError(f"block_size must be at least 2, got {block_size}.")
        targets = _next_in_block(len(classes), block_size)
    else:
        targets = _mapped(classes, class_map)
    return classes[_flip_to_targets(codes, targets, noise_rate, random_state)]


def pair_flip(
    y: ArrayLike, noise_rate: float, *, random_state: Seed = None
) -> NDArray[Any]:
    """Flip ``round(noise_rate * n_c)`` samples of each class c to the next class.

    Classes are taken in sorted order; the last one flips to the first. Source: Han et
    al., "Co-teaching", NeurIPS 2018, arXiv:1804.06872.

    Parameters
    ----------
    y, noise_rate, random_state
        As in `asymmetric`.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y`

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
    classes, codes = encode_checked(y, noise_rate)
    targets = _next_in_block(len(classes), len(classes))
    return classes[_flip_to_targets(codes, targets, noise_rate, random_state)]


def transition_matrix(
    y_true: ArrayLike, y_noisy: ArrayLike, *, labels: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Estimate P(noisy label = j | true label = i) by counting.

    Parameters
    ----------
    y_true, y_noisy : array-like of shape (n_samples,)
        Labels before and after the noise.
    labels : array-like of shape (n_classes,), optional
        Order of the rows and columns; default: all labels in use, sorted.

    Returns
    -------
    T : ndarray of shape (n_classes, n_classes), dtype float64
        Rows sum to 1; the row of a class absent from `y_true` is 0.

    Raises
    ------
    ValueError
        If lengths differ, or `labels` has duplicates or lacks a label in use.

    Examples
    --------
    >>> from sklearn_turn.noise import transition_matrix
    >>> transition_matrix(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    true, noisy = _check_labels(y_true, "y_true"), _check_labels(y_noisy, "y_noisy")
    check_consistent_length(true, noisy)
    classes, codes = encode_labels(np.concatenate([true, noisy]))
    in_use = classes.tolist()
    order = in_use if labels is None else _check_labels(labels, "labels").tolist()
    position = {label: i for i, label in enumerate(order)}
    if len(position) < len(order) or not position.keys() >= set(in_use):
        raise ValueError(f"labels must list each class once, and all of {in_use}.")
    codes = np.array([position[label] for label in in_use], dtype=np.intp)[codes]
    counts = np.zeros((len(order), len(order)))
    np.add.at(counts, (codes[: len(true)], codes[len(true) :]), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _check_labels(y: ArrayLike, name: str) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {labels.shape}.")
    check_no_missing_labels(y, name)
    check_labels(y)
    return labels


def encode_checked(y: ArrayLike, noise_rate: float) -> tuple[NDArray[Any], Codes]:
    """Check what every generator takes; return the classes and each sample's code."""
    if not isinstance(noise_rate, Real) or not 0 <= noise_rate <= 1:
        raise ValueError(
            f"noise_rate must be in [0, 1], got {noise_rate!r}; 40 % is 0.4."
        )
    classes, codes = encode_labels(_check_labels(y, "y"))
    if len(classes) < 2:
        raise ValueError(f"y must hold at least two classes, got {len(classes)}.")
    return classes, codes


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
            "use the labels of y, same type and spelling."
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
        noisy[rng.choice(members, size=n_flips, replace=False)] = target
    return noisy
