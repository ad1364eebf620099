"""Maximum likelihood of a noise channel: transition matrix and temperature.

Model: sample i has true class k with probability p_i(k) = softmax(logits_i / t)_k, and
the given label j arises from it with probability T[k, j]. Of the log-likelihood,
sum_i log sum_k p_i(k) T[k, y_i], expectation-maximisation finds the maximum in T, a
search in one dimension that in t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from .mixture import Floats, Ints

#: Prior strengths to choose from, in samples per row of the transition matrix, the
#: strongest first: one shared noise rate, then rows that are ever freer.
STRENGTHS = (np.inf, 100.0, 30.0, 10.0, 3.0, 1.0)
# Share of wrong labels that expectation-maximisation starts from, and its least value
# in the prior: a probability of zero would never leave zero.
_START, _LEAST_RATE = 0.2, 1e-6
# Temperatures in units of the logits that were given, wide enough for scores of any
# scale, and how far from the previous one the next is searched.
_TEMPERATURES = 2.0 ** np.arange(-8.0, 6.5, 1.0)
_OCTAVES = 1.0
# Entries of log-probabilities used to choose temperature and strength; more samples
# than that change neither.
_ENOUGH = 2_000_000


@dataclass(frozen=True)
class Blocks:
    """Log-probabilities and folds, with the samples sorted by given label.

    Attributes
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
    bounds : ndarray of shape (n_classes + 1,), int
        Samples with given label j are ``bounds[j] : bounds[j + 1]``.
    fold : ndarray of shape (n_samples,), int
        Fold each sample is held out in.
    """

    log_proba: NDArray[np.floating]
    bounds: Ints
    fold: Ints

    @classmethod
    def of(cls, log_proba: Floats, codes: Ints, n_folds: int) -> tuple[Blocks, Ints]:
        """Sort by given label; also return the order.

        The samples of a class are dealt to the folds in turn, in the order given.
        """
        n_classes = log_proba.shape[1]
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=n_classes)
        bounds = np.r_[0, np.cumsum(counts)]
        rank = np.arange(len(codes)) - bounds[codes[order]]
        return cls(log_proba[order], bounds, rank % n_folds), order

    def thinned(self, n_samples: int) -> Blocks:
        """About that many samples, evenly from all classes and folds."""
        step = len(self.fold) // max(1, n_samples)
        if step <= 1:
            return self
        n_folds = int(self.fold.max()) + 1
        codes = np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))
        rank = np.arange(len(codes)) - self.bounds[codes]
        kept = np.flatnonzero((rank // n_folds) % step == 0)
        counts = np.bincount(codes[kept], minlength=len(self.bounds) - 1)
        return Blocks(
            self.log_proba[kept], np.r_[0, np.cumsum(counts)], self.fold[kept]
        )

    def proba(self, temperature: float) -> NDArray[np.floating]:
        return np.exp(log_softmax(self.log_proba / temperature, axis=1))


@dataclass(frozen=True)
class Channel:
    """A fitted channel.

    Attributes
    ----------
    matrices : ndarray of shape (n_folds + 1, n_classes, n_classes)
        Transition matrices fitted without the samples of each fold; the last one is
        fitted to all. Rows are true classes, columns given labels.
    temperature : float
    strength : float
    log_likelihood : float
        Mean over samples, by the matrix fitted to all.
    held_out : float
        Mean over samples, each by the matrix fitted without it.
    """

    matrices: Floats
    temperature: float
    strength: float
    log_likelihood: float
    held_out: float


def fit_matrices(
    proba: NDArray[np.floating],
    blocks: Blocks,
    strength: float,
    *,
    start: Floats | None = None,
    max_iter: int,
    tol: float,
) -> tuple[Floats, float, float]:
    """Expectation-maximisation in the transition matrix, for all folds at once.

    The rows have a Dirichlet prior worth ``strength`` samples around a matrix with the
    same noise rate in all rows, spread evenly; the rate is that of all expected counts.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        p_i(k), sorted as in ``blocks``.
    blocks : Blocks
    strength : float
        Infinity: the prior's matrix itself, one number for all.
    start : ndarray of shape (n_matrices, n_classes, n_classes), default=None
        One matrix: all samples only, no folds.
    max_iter : int
    tol : float
        Stop when the mean log-likelihood grows by less.

    Returns
    -------
    matrices, log_likelihood, held_out : as in Channel
    """
    n_classes = proba.shape[1]
    T = one_matrix(n_classes)[None] if start is None else start
    # Column f of the weights is zero for the samples of fold f; the last has all.
    used = np.ones((len(proba), len(T)), dtype=proba.dtype)
    folds = len(T) > 1
    if folds:
        used[np.arange(len(proba)), blocks.fold] = 0.0
    likelihood = np.empty((len(proba), len(T)))
    last = -np.inf
    for _ in range(max_iter):
        counts = np.zeros_like(T)
        for j in range(n_classes):
            rows = slice(blocks.bounds[j], blocks.bounds[j + 1])
            column = T[:, :, j].astype(proba.dtype)
            mixed = proba[rows] @ column.T
            likelihood[rows] = mixed
            counts[:, :, j] = column * ((used[rows] / mixed).T @ proba[rows])
        fitted = float(np.log(likelihood[:, -1]).mean())
        if fitted - last < tol:
            break
        last = fitted
        T = _posterior_mode(counts, strength)
    held_out = np.nan
    if folds:
        held_out = float(np.log(likelihood[np.arange(len(proba)), blocks.fold]).mean())
    return T, fitted, held_out


def one_matrix(n_classes: int, rate: float = _START) -> Floats:
    """Transition matrix with one noise rate, spread evenly over the other classes."""
    T = np.full((n_classes, n_classes), rate / max(1, n_classes - 1))
    np.fill_diagonal(T, 1.0 - rate)
    return T


def _posterior_mode(counts: Floats, strength: float) -> Floats:
    """Rows of the most probable matrices, given expected counts and the prior."""
    n_classes = counts.shape[1]
    right = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
    rates = np.clip(1.0 - right, _LEAST_RATE, 1.0 - _LEAST_RATE)
    prior = np.stack([one_matrix(n_classes, rate) for rate in rates])
    if np.isinf(strength):
        return prior
    T = counts + strength * prior
    return T / T.sum(axis=2, keepdims=True)


def fit_channel(
    blocks: Blocks,
    strengths: tuple[float, ...],
    n_folds: int,
    *,
    max_iter: int,
    tol: float,
) -> Channel:
    """Fit temperature and matrices, with the strength of the best held-out likelihood.

    From the strongest prior on, as long as a freer matrix predicts held-out labels
    better (one step that does not is forgiven).
    """
    few = blocks.thinned(_ENOUGH // blocks.log_proba.shape[1])
    temperature = _coarse_temperature(few)
    best: Channel | None = None
    failed = 0
    for strength in strengths:
        tried = _fit_one(few, strength, temperature, n_folds, max_iter, tol)
        temperature = tried.temperature
        if best is None or tried.held_out > best.held_out:
            best, failed = tried, 0
        else:
            failed += 1
        if failed > 1:
            break
    assert best is not None
    if few is blocks:
        return best
    fitted = fit_matrices(
        blocks.proba(best.temperature),
        blocks,
        best.strength,
        start=best.matrices,
        max_iter=max_iter,
        tol=tol,
    )
    return Channel(fitted[0], best.temperature, best.strength, *fitted[1:])


def _fit_one(
    blocks: Blocks,
    strength: float,
    near: float,
    n_folds: int,
    max_iter: int,
    tol: float,
) -> Channel:
    """Temperature and matrices at one strength of the prior."""

    def loss(octave: float) -> float:
        proba = blocks.proba(2.0**octave)
        return -fit_matrices(proba, blocks, strength, max_iter=max_iter, tol=tol)[1]

    temperature = _search(loss, near)
    start = np.repeat(one_matrix(blocks.log_proba.shape[1])[None], n_folds + 1, axis=0)
    fitted = fit_matrices(
        blocks.proba(temperature),
        blocks,
        strength,
        start=start,
        max_iter=max_iter,
        tol=tol,
    )
    return Channel(fitted[0], temperature, strength, *fitted[1:])


def _search(loss: Callable[[float], float], near: float) -> float:
    """Temperature of the least loss within some octaves of another."""
    centre = np.log2(near)
    bounds = (centre - _OCTAVES, centre + _OCTAVES)
    options = {"xatol": 0.02, "maxiter": 20}
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options=options)
    return float(2.0**found.x)


def _coarse_temperature(blocks: Blocks) -> float:
    """Best temperature of a wide grid, with one noise rate for all classes.

    That model needs only the probability of each given label.
    """
    n_classes = blocks.log_proba.shape[1]
    codes = np.repeat(np.arange(n_classes), np.diff(blocks.bounds))
    rates = np.linspace(0.0, 0.95, 20)[:, None]
    likelihoods = []
    for t in _TEMPERATURES:
        p = blocks.proba(t)[np.arange(len(codes)), codes]
        mixed = (1.0 - rates) * p + rates / max(1, n_classes - 1) * (1.0 - p)
        likelihoods.append(np.log(mixed + 1e-12).mean(axis=1).max())
    return float(_TEMPERATURES[int(np.argmax(likelihoods))])
