"""Two-component Gaussian mixtures in one dimension, fitted to many groups at once.

Cleansing fits one mixture per class before every epoch. With a thousand classes, a
thousand separate fits take longer than the probe; one expectation-maximisation over
all samples, with sums per group, does the same arithmetic in a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class TwoGaussians:
    """One mixture of two Gaussians per group.

    Attributes
    ----------
    weights, means, variances : ndarray of shape (n_groups, 2)
        Column 0 is the component with the lower mean. A group without a usable
        mixture has NaN in its row.
    """

    weights: Floats
    means: Floats
    variances: Floats
    n_iter: int = 0

    @property
    def separation(self) -> Floats:
        """Ashman's D per group, |mu_0 - mu_1| / sqrt((var_0 + var_1) / 2).

        Two components are commonly called separate when D > 2 (Ashman, Bird and
        Zepf, 1994).
        """
        gap = self.means[:, 1] - self.means[:, 0]
        return gap / np.sqrt(self.variances.mean(axis=1))

    def expected_counts(self, edges: Floats, sizes: Ints) -> Floats:
        """Values that each component is expected to put into the bars of a histogram.

        Parameters
        ----------
        edges : ndarray of shape (n_bars + 1,)
            Increasing.
        sizes : ndarray of shape (n_groups,)
            Values in each group.

        Returns
        -------
        ndarray of shape (2, n_bars)
            Summed over the groups that have a mixture.
        """
        z = (edges - self.means[..., None]) / np.sqrt(self.variances)[..., None]
        share = self.weights[..., None] * np.diff(ndtr(z))
        return np.nansum(sizes[:, None, None] * share, axis=0)

    def thresholds(self, tau: float, low: float, high: float) -> Floats:
        """Where the posterior of each group falls to ``tau``, by bisection.

        Returns
        -------
        ndarray of shape (n_groups,)
            ``low`` or ``high`` where it does not within these bounds, NaN for groups
            without a mixture.
        """
        groups = np.arange(len(self.means))
        below, above = np.full(len(groups), low), np.full(len(groups), high)
        for _ in range(60):
            middle = 0.5 * (below + above)
            with np.errstate(invalid="ignore"):  # groups without a mixture
                clean = self.low_posterior(middle, groups) > tau
            below, above = (
                np.where(clean, middle, below),
                np.where(clean, above, middle),
            )
        return np.where(np.isnan(self.means[:, 0]), np.nan, above)

    def low_posterior(self, x: Floats, groups: Ints) -> Floats:
        """Posterior of the lower-mean component, made non-increasing in ``x``.

        The log-odds of two Gaussians are a parabola in ``x``. Past its vertex the
        wider component takes over again, so a very low value could be called "high"
        and a very high one "low". Holding ``x`` at the vertex removes that half of
        the parabola and changes nothing on the other.
        """
        mean, var = self.means[groups], self.variances[groups]
        curvature = var[:, 1] - var[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = (mean[:, 0] * var[:, 1] - mean[:, 1] * var[:, 0]) / curvature
        x = np.where(curvature > 0, np.maximum(x, vertex), x)
        x = np.where(curvature < 0, np.minimum(x, vertex), x)
        return _low_responsibility(_log_joint(x, self, groups))[0]


def fit_by_group(
    losses: Floats,
    groups: Ints,
    *,
    min_samples: int,
    max_iter: int,
    tol: float,
    reg_covar: float,
) -> TwoGaussians:
    """Fit a mixture to the losses of each group that can carry one.

    Losses are scaled to [0, 1] within each group, and the mixtures scaled back.

    Parameters
    ----------
    losses : ndarray of shape (n,)
        Those that are not finite are left out.
    groups : ndarray of shape (n,)
        Group of each loss, in ``0 .. n_groups - 1``.
    min_samples : int
        Fewest finite losses that carry a mixture.
    max_iter, tol, reg_covar
        See :func:`fit_two_gaussians`.

    Returns
    -------
    TwoGaussians
        NaN rows for groups with too few losses, or constant ones.
    """
    n_groups = int(groups.max()) + 1
    finite = np.isfinite(losses)
    x, g = losses[finite], groups[finite]
    low, high = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
    np.minimum.at(low, g, x)
    np.maximum.at(high, g, x)
    spread = high - low
    enough = np.bincount(g, minlength=n_groups) >= min_samples
    # A spread at the level of rounding is a constant loss.
    usable = enough & (spread > 1e-9 * np.maximum(1.0, np.abs(high)))
    weights, means, variances = (np.full((n_groups, 2), np.nan) for _ in range(3))
    n_iter = 0
    if usable.any():
        rows = usable[g]
        x, g = x[rows], g[rows]
        dense = (np.cumsum(usable) - 1)[g]
        scaled = fit_two_gaussians(
            (x - low[g]) / spread[g],
            dense,
            int(usable.sum()),
            max_iter=max_iter,
            tol=tol,
            reg_covar=reg_covar,
        )
        unit = spread[usable, None]
        weights[usable] = scaled.weights
        means[usable] = scaled.means * unit + low[usable, None]
        variances[usable] = scaled.variances * unit**2
        n_iter = scaled.n_iter
    return TwoGaussians(weights, means, variances, n_iter)


def fit_two_gaussians(
    x: Floats,
    groups: Ints,
    n_groups: int,
    *,
    max_iter: int,
    tol: float,
    reg_covar: float,
) -> TwoGaussians:
    """Fit a mixture of two Gaussians to each group by expectation-maximisation.

    Starts from the best split into two of each sorted group (the exact optimum of
    2-means in one dimension), so no random state is involved. A group stops when its
    mean log-likelihood changes by less than ``tol``, whatever the others do.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Finite values.
    groups : ndarray of shape (n,)
        Group of each value, in ``0 .. n_groups - 1``; every group has at least two
        distinct values.
    n_groups : int
        Number of groups.
    max_iter : int
        Most rounds of expectation-maximisation.
    tol : float
        Stop when the mean log-likelihood of a group changes by less.
    reg_covar : float
        Added to every variance, in squared units of ``x``.

    Returns
    -------
    TwoGaussians
    """

    def total(values: Floats) -> Floats:
        return np.bincount(groups, weights=values, minlength=n_groups).astype(float)

    counts = np.bincount(groups, minlength=n_groups).astype(float)

    def maximise(resp: Floats) -> TwoGaussians:
        weights, means, variances = (np.empty((n_groups, 2)) for _ in range(3))
        for k, r in enumerate((resp, 1.0 - resp)):
            # The tiny constant is scikit-learn's: it keeps an empty component finite.
            mass = total(r) + 10 * np.finfo(float).eps
            means[:, k] = total(r * x) / mass
            variances[:, k] = total(r * (x - means[groups, k]) ** 2) / mass + reg_covar
            weights[:, k] = mass / counts
        return TwoGaussians(weights, means, variances)

    mixtures = maximise(_split_in_two(x, groups, n_groups))
    running = np.ones(n_groups, dtype=bool)
    last = np.full(n_groups, -np.inf)
    for n_iter in range(1, max_iter + 1):  # noqa: B007 (read after the loop)
        resp, evidence = _low_responsibility(_log_joint(x, mixtures, groups))
        likelihood = total(evidence) / counts
        mixtures = _choose(running, maximise(resp), mixtures)
        running &= np.abs(likelihood - last) >= tol
        last = likelihood
        if not running.any():
            break
    swapped = (mixtures.means[:, 0] > mixtures.means[:, 1])[:, None]
    weights, means, variances = (
        np.where(swapped, values[:, ::-1], values)
        for values in (mixtures.weights, mixtures.means, mixtures.variances)
    )
    return TwoGaussians(weights, means, variances, n_iter)


def _log_joint(x: Floats, mixtures: TwoGaussians, groups: Ints) -> Floats:
    """Log of weight times density, of shape (n, 2)."""
    var = mixtures.variances
    constant = np.log(mixtures.weights) - 0.5 * np.log(2 * np.pi * var)
    distance = (x[:, None] - mixtures.means[groups]) ** 2
    return constant[groups] - 0.5 * distance / var[groups]


def _low_responsibility(log_joint: Floats) -> tuple[Floats, Floats]:
    """Responsibility of component 0, and the log evidence of each value."""
    evidence = np.logaddexp(log_joint[:, 0], log_joint[:, 1])
    return np.exp(log_joint[:, 0] - evidence), evidence


def _choose(where: NDArray[np.bool_], a: TwoGaussians, b: TwoGaussians) -> TwoGaussians:
    rows = where[:, None]
    return TwoGaussians(
        np.where(rows, a.weights, b.weights),
        np.where(rows, a.means, b.means),
        np.where(rows, a.variances, b.variances),
    )


def _split_in_two(x: Floats, groups: Ints, n_groups: int) -> Floats:
    """1.0 for the values in the lower half of the best split of their group, else 0.0.

    The best split of a sorted group maximises the variance between its two parts.
    """
    order = np.lexsort((x, groups))
    counts = np.bincount(groups, minlength=n_groups)
    start = np.concatenate([[0], np.cumsum(counts)[:-1]])
    g = groups[order]
    means = np.bincount(groups, weights=x, minlength=n_groups) / counts
    centred = x[order] - means[g]
    # Sum of the group up to and including each value. Every group sums to zero: those
    # before add nothing, and the variance between the parts of one is
    # sum^2 * n / (n_low * n_high).
    low_sum = np.cumsum(centred)
    n_low = np.arange(len(x)) - start[g] + 1.0
    n_high = counts[g] - n_low
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(n_high > 0, low_sum**2 / (n_low * n_high), -1.0)
    best = np.maximum.reduceat(between, start)[g]
    position = np.where(between >= best, n_low, np.inf)
    n_best = np.minimum.reduceat(position, start)[g]
    low = np.empty(len(x))
    low[order] = n_low <= n_best
    return low
