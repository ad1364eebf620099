"""Noise that depends on the image: two published generators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state

from ._checks import Codes, Floats, Seed, check_rate, encode

# Memory for one block of samples in float64.
_BLOCK_BYTES = 2**25


def instance_cheng2021(
    X: ArrayLike,
    y: ArrayLike,
    noise_rate: float,
    *,
    rate_std: float = 0.1,
    standardize: bool = False,
    labels: ArrayLike | None = None,
    random_state: Seed = None,
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
    y, labels, random_state
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
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y` or `labels`

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
        X,
        y,
        noise_rate,
        rate_std,
        standardize,
        labels,
        random_state,
        shared_weights=True,
    )


def instance_xia2020(
    X: ArrayLike,
    y: ArrayLike,
    noise_rate: float,
    *,
    rate_std: float = 0.1,
    standardize: bool = False,
    labels: ArrayLike | None = None,
    random_state: Seed = None,
) -> NDArray[Any]:
    """Part-dependent noise: a projection W_y for each true class.

    As `instance_cheng2021`, with W_{y_i} in the place of W: each class sends its wrong
    labels to classes of its own, so that no class attracts the noise of all. Source:
    the noise of Xia et al., "Part-dependent Label Noise", NeurIPS 2020,
    arXiv:2006.07836 (PDN, or IDN in papers that took it over), and of its code,
    xiaoboxia/Part-dependent-label-noise.

    Parameters
    ----------
    X, y, noise_rate, rate_std, labels, random_state
        As in `instance_cheng2021`. Only one W_y is held at a time.
    standardize : bool, default=False
        As in `instance_cheng2021`, but it matters less: in the setting measured there,
        the top class drew 3 % of the wrong labels raw and 2 % standardised.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,), with the dtype of `y` or `labels`

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
        X,
        y,
        noise_rate,
        rate_std,
        standardize,
        labels,
        random_state,
        shared_weights=False,
    )


def _instance(
    X: ArrayLike,
    y: ArrayLike,
    noise_rate: float,
    rate_std: float,
    standardize: bool,
    labels: ArrayLike | None,
    random_state: Seed,
    shared_weights: bool,
) -> NDArray[Any]:
    check_rate(noise_rate)
    classes, codes = encode(y, labels)
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
) -> Floats:
    if not 0 < rate_std < np.inf:
        raise ValueError(f"rate_std must be a finite number above 0, got {rate_std}.")
    if noise_rate == 0:
        # Truncated at 0, the distribution would flip 8 % of "clean" labels.
        return np.zeros(n_samples)
    from scipy.stats import truncnorm  # slow to import

    low, high = -noise_rate / rate_std, (1 - noise_rate) / rate_std
    return truncnorm(low, high, noise_rate, rate_std).rvs(n_samples, random_state=rng)


def _mean_and_std(X: NDArray[Any]) -> tuple[Floats, Floats]:
    rows = np.arange(len(X))
    mean = sum(block.sum(axis=0) for _, block in _blocks(X, rows)) / len(X)
    # A second pass: as a difference of squares the variance would lose its digits.
    squares = (((block - mean) ** 2).sum(axis=0) for _, block in _blocks(X, rows))
    std = np.sqrt(sum(squares) / len(X))
    # A constant feature has no spread but rounding error: do not magnify it.
    std[std <= 1e-12 * np.abs(mean)] = 1.0
    return mean, std


def _blocks(
    X: NDArray[Any], rows: Codes, n_columns: int = 0
) -> Iterator[tuple[Codes, Floats]]:
    """Yield some rows of X at a time as float64, leaving room for `n_columns` more."""
    step = max(1, _BLOCK_BYTES // (8 * (X.shape[1] + n_columns)))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        yield some, X[some].astype(np.float64)
