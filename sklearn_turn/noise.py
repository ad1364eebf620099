"""Label-noise simulators: clean labels in, labels with a known share of errors out.

Papers use one name for several generators; here each has its own, and each docstring
says whose meaning it follows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state

from .labels import check_no_missing_labels, encode_labels

__all__ = [
    "CIFAR10_ASYMMETRIC",
    "CIFAR10_ASYMMETRIC_INDICES",
    "asymmetric",
    "instance_cheng2021",
    "instance_xia2020",
    "pair_flip",
    "symmetric",
    "transition_matrix",
]

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

# Memory for one block of samples in float64.
_BLOCK_BYTES = 2**25

_RandomState = int | np.random.RandomState | None
_Codes = NDArray[np.intp]
_Floats = NDArray[np.float64]


def symmetric(
    y: ArrayLike,
    noise_rate: float,
    *,
    include_true: bool = False,
    random_state: _RandomState = None,
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
    classes, codes = _encode(y, noise_rate)
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
    random_state: _RandomState = None,
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
    classes, codes = _encode(y, noise_rate)
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
    y: ArrayLike, noise_rate: float, *, random_state: _RandomState = None
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
    classes, codes = _encode(y, noise_rate)
    targets = _next_in_block(len(classes), len(classes))
    return classes[_flip_to_targets(codes, targets, noise_rate, random_state)]


def instance_cheng2021(
    X: ArrayLike,
    y: ArrayLike,
    noise_rate: float,
    *,
    rate_std: float = 0.1,
    standardize: bool = False,
    random_state: _RandomState = None,
) -> NDArray[Any]:
    """Instance-dependent noise with one projection shared by all classes (CORES).

    Sample i is flipped with probability q_i, drawn from N(noise_rate, rate_std^2)
    truncated to [0, 1]. A flipped sample gets class c != y_i with probability
    softmax(x_i W)_c over the wrong classes, where W ~ N(0, 1) has shape
    (n_features, C). Results are not comparable with those under `instance_xia2020`.
    Source: Cheng et al., ICLR 2021, arXiv:2010.02347, and its code, UCSC-REAL/cores;
    the labels have the same distribution, but the same seed gives other draws.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Numeric samples, such as uint8 images; flattened. They are read in blocks, but
        W takes ``8 * n_features * C`` bytes: pass thumbnails of large images.
    y, random_state
        As in `symmetric`.
    noise_rate : float
        Mean of the normal distribution of q, in [0, 1]. Near 0 or 1 the truncation
        moves the realised rate inwards: 0.05 gives 0.10. Exactly 0 flips nothing.
    rate_std : float, default=0.1
        Standard deviation of that distribution, above 0.
    standardize : bool, default=False
        Whether to give each feature mean 0 and variance 1 first. The published code
        uses raw 0-255 pixels, whose mean image favours the same few classes for every
        sample. On 10,000 CIFAR-10 images with 100 pseudo-classes and rate 0.4, one
        class drew 50 to 67 % of the wrong labels and 63 to 68 classes drew none.
        Dividing by 255 changed little (37 to 55 %, 62 to 65 classes); standardised,
        the top class drew 6 to 7 % and every class drew some.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y`

    Raises
    ------
    ValueError
        As `symmetric`; also if `rate_std` is not positive, or `X` is not numeric, not
        finite, has no features or differs from `y` in length.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.noise import instance_cheng2021
    >>> X = np.random.RandomState(0).randint(256, size=(1000, 8, 8, 3), dtype=np.uint8)
    >>> y = np.arange(1000) % 10
    >>> y_noisy = instance_cheng2021(X, y, 0.4, random_state=0)
    >>> print(round((y_noisy != y).mean(), 1))
    0.4
    """
    return _instance(
        X, y, noise_rate, rate_std, standardize, random_state, shared_weights=True
    )


def instance_xia2020(
    X: ArrayLike,
    y: ArrayLike,
    noise_rate: float,
    *,
    rate_std: float = 0.1,
    standardize: bool = False,
    random_state: _RandomState = None,
) -> NDArray[Any]:
    """Instance-dependent noise with a projection W_y for each true class (PDN).

    As `instance_cheng2021`, with W_{y_i} in the place of W: each class sends its wrong
    labels to classes of its own, so that no class attracts the noise of all. Source:
    Xia et al., "Part-dependent Label Noise", NeurIPS 2020, arXiv:2006.07836, and its
    code, xiaoboxia/Part-dependent-label-noise.

    Parameters
    ----------
    X, y, noise_rate, rate_std, random_state
        As in `instance_cheng2021`. Only one W_y is held at a time.
    standardize : bool, default=False
        As in `instance_cheng2021`, but it matters less: in the setting measured there,
        the top class drew 3 % of the wrong labels raw and 2 % standardised.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y`

    Raises
    ------
    ValueError
        As `instance_cheng2021`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn.noise import instance_xia2020
    >>> X = np.random.RandomState(0).rand(1000, 8, 8, 3)
    >>> y = np.arange(1000) % 10
    >>> y_noisy = instance_xia2020(X, y, 0.4, random_state=0)
    >>> print(round((y_noisy != y).mean(), 1))
    0.4
    """
    return _instance(
        X, y, noise_rate, rate_std, standardize, random_state, shared_weights=False
    )


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
    return labels


def _encode(y: ArrayLike, noise_rate: float) -> tuple[NDArray[Any], _Codes]:
    """Check what every generator takes; return the classes and each sample's code."""
    if not 0 <= noise_rate <= 1:
        raise ValueError(
            f"noise_rate must be in [0, 1], got {noise_rate}; 40 % is 0.4."
        )
    classes, codes = encode_labels(_check_labels(y, "y"))
    if len(classes) < 2:
        raise ValueError(f"y must hold at least two classes, got {len(classes)}.")
    return classes, codes


def _next_in_block(n_classes: int, block_size: int) -> _Codes:
    position = np.arange(n_classes)
    start = position - position % block_size
    length = np.minimum(block_size, n_classes - start)
    return start + (position - start + 1) % length


def _mapped(classes: NDArray[Any], class_map: Mapping[Any, Hashable]) -> _Codes:
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
    codes: _Codes, targets: _Codes, noise_rate: float, random_state: _RandomState
) -> _Codes:
    rng = check_random_state(random_state)
    noisy = codes.copy()
    for source, target in enumerate(targets):
        # Members by clean label: a sample flipped into `source` must not flip again.
        members = np.flatnonzero(codes == source)
        n_flips = round(noise_rate * len(members))
        noisy[rng.choice(members, size=n_flips, replace=False)] = target
    return noisy


def _instance(
    X: ArrayLike,
    y: ArrayLike,
    noise_rate: float,
    rate_std: float,
    standardize: bool,
    random_state: _RandomState,
    shared_weights: bool,
) -> NDArray[Any]:
    classes, codes = _encode(y, noise_rate)
    try:
        samples = np.asarray(X)
        if samples.ndim > 2:
            samples = samples.reshape(len(samples), -1)
        samples = check_array(samples, input_name="X")
        check_consistent_length(samples, codes)
    except ValueError as error:
        raise ValueError(
            "X must hold finite numbers in shape (n_samples, ...), with one sample for "
            f"each label of y. {error}"
        ) from error
    rng = check_random_state(random_state)
    rates = _flip_probabilities(noise_rate, rate_std, len(codes), rng)
    flipped = rng.uniform(size=len(codes)) < rates
    mean, std = _mean_and_std(samples) if standardize else (0.0, 1.0)
    # Cheng: one group of all samples; Xia: one for each true class.
    group = np.zeros_like(codes) if shared_weights else codes
    noisy = codes.copy()
    for g in range(group.max() + 1):
        weights = rng.normal(size=(samples.shape[1], len(classes)))
        members = np.flatnonzero(flipped & (group == g))
        for rows, block in _blocks(samples, members, len(classes)):
            logits = (block - mean) / std @ weights
            logits[np.arange(len(rows)), codes[rows]] = -np.inf
            # The arg max of logits plus Gumbel noise is a draw from their softmax,
            # without the overflow of exponentials: raw pixels give logits of 1e4.
            noisy[rows] = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    return classes[noisy]


def _flip_probabilities(
    noise_rate: float, rate_std: float, n_samples: int, rng: np.random.RandomState
) -> _Floats:
    if not 0 < rate_std < np.inf:
        raise ValueError(f"rate_std must be a finite number above 0, got {rate_std}.")
    if noise_rate == 0:
        # Truncated at 0, the distribution would flip 8 % of "clean" labels.
        return np.zeros(n_samples)
    from scipy.stats import truncnorm  # slow to import

    low, high = -noise_rate / rate_std, (1 - noise_rate) / rate_std
    return truncnorm(low, high, noise_rate, rate_std).rvs(n_samples, random_state=rng)


def _mean_and_std(X: NDArray[Any]) -> tuple[_Floats, _Floats]:
    rows = np.arange(len(X))
    mean = sum(block.sum(axis=0) for _, block in _blocks(X, rows)) / len(X)
    # A second pass: as a difference of squares the variance would lose its digits.
    squares = (((block - mean) ** 2).sum(axis=0) for _, block in _blocks(X, rows))
    std = np.sqrt(sum(squares) / len(X))
    # A constant feature has no spread but rounding error: do not magnify it.
    std[std <= 1e-12 * np.abs(mean)] = 1.0
    return mean, std


def _blocks(
    X: NDArray[Any], rows: _Codes, n_columns: int = 0
) -> Iterator[tuple[_Codes, _Floats]]:
    """Yield some rows of X at a time as float64, leaving room for `n_columns` more."""
    step = max(1, _BLOCK_BYTES // (8 * (X.shape[1] + n_columns)))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        yield some, X[some].astype(np.float64)
