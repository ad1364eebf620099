"""Maximum likelihood of a noise channel: transition matrix and temperature.

Model: sample i has true class k with probability p_i(k) = softmax(logits_i / t)_k, and
the given label j arises from it with probability T[k, j]. Of the log-likelihood,
sum_i log sum_k p_i(k) T[k, y_i], expectation-maximisation finds the maximum in T, where
it is concave; t is searched by the likelihood of held-out labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import entropy

from .blocks import Blocks
from .mixture import Floats, Ints

#: Prior strengths to choose from, in samples per row of the transition matrix, the
#: strongest first: one shared noise rate, then rows that are ever freer.
STRENGTHS = (np.inf, 100.0, 30.0, 10.0, 3.0, 1.0)
# Share of wrong labels that expectation-maximisation starts from, and its least value
# in the prior: a probability of zero would never leave zero.
_START, _LEAST_RATE = 0.1, 1e-6
# Logarithms to the base of two of the temperatures tried, in units of the logits that
# were given: wide enough for scores of any scale. Around the best of them, and around
# that of another strength, the search goes this far.
_OCTAVES = np.arange(-8.0, 6.5)
_STEP = 0.75
# Cost of each octave squared away from 1, in nats: above 1 and below, and at least per
# sample, which is more than expectation-maximisation leaves open. Symmetric noise and
# doubts explain the labels of sure predictions alike; out of fold, these are seldom
# several times too sure, but often too soft.
_PULL_UP, _PULL_DOWN, _PULL_PER_SAMPLE = 1.5, 0.5, 1e-4
# Nats of the likelihood of all held-out labels by which noise must explain them better
# than no noise does. One rate pays for a prior of Beta(1, 8) too, since any rate
# explains poor predictions about as well as doubts do; of matrices several are tried.
_RATE_GAIN, _MATRIX_GAIN, _PRIOR = 0.75, 4.0, 7.0
#: Entries of log-probabilities on which temperature and strength are chosen. Beyond
# that, only the transition matrix is fitted to all samples.
ENOUGH = 10_000_000


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
        Of the prior.
    held_out : float
        Mean log-likelihood of the samples, each by the matrix fitted without it.
    n_iter : int
        Rounds of expectation-maximisation.
    """

    matrices: Floats
    temperature: float
    strength: float
    held_out: float
    n_iter: int


def fit_channel(
    log_proba: Floats,
    codes: Ints,
    *,
    strengths: tuple[float, ...] = STRENGTHS,
    n_folds: int,
    max_iter: int,
    tol: float,
) -> tuple[Channel, Ints]:
    """Fit matrices, with the temperature and strength that held-out labels ask for.

    A free matrix explains its own samples best with predictions that are too sharp,
    hence the held-out likelihood for both. Strengths are tried from the first on, as
    long as it grows; one that does not help is forgiven. If what is found is hardly
    more likely than that all labels are right, or than labels which have nothing to do
    with the predictions, then no noise is the result.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes), float64
        Finite.
    codes : ndarray of shape (n_samples,), int
        Given labels, in ``0 .. n_classes - 1``.
    strengths : tuple of float
        Of the prior, see :func:`fit_matrices`.
    n_folds : int
    max_iter : int
        Most rounds of expectation-maximisation.
    tol : float
        Stop when the mean log-likelihood changes by less.

    Returns
    -------
    channel : Channel
    fold : ndarray of shape (n_samples,), int
        Which of the channel's matrices was fitted without each sample.
    """
    blocks, order = Blocks.of(log_proba, codes, n_folds)
    fold = np.empty_like(blocks.fold)
    fold[order] = blocks.fold
    few = blocks.thinned(ENOUGH // log_proba.shape[1])
    fit = partial(fit_matrices, n_folds=n_folds, max_iter=max_iter, tol=tol)
    temperature = _coarse_temperature(few, fit)
    found: list[Channel] = []  # each better than those before
    failed = 0
    for strength in strengths:
        tried = fit(few, temperature, strength)
        if not found or tried.held_out > found[-1].held_out:
            temperature = _best_temperature(few, strength, fit, near=temperature)
            found.append(fit(few, temperature, strength))
            failed = 0
        else:
            failed += 1
        if failed > 1:
            break
    none = _without_noise(few, n_folds)
    likely = [c for c in found if _is_likely(c, none, few)]
    if not likely:
        return none, fold
    best = likely[-1]
    if few is not blocks:
        best = fit(blocks, best.temperature, best.strength)
    return best, fold


def says_little(channel: Channel, codes: Ints) -> bool:
    """Whether the frequencies of the labels explain them about as well.

    Parameters
    ----------
    channel : Channel
    codes : ndarray of shape (n_samples,), int
        Given labels it was fitted to.
    """
    by_frequencies = -float(entropy(np.bincount(codes)))
    return len(codes) * (channel.held_out - by_frequencies) < _MATRIX_GAIN


def _is_likely(channel: Channel, none: Channel, blocks: Blocks) -> bool:
    """Whether noise explains labels better than doubts, and than chance."""
    least = _MATRIX_GAIN
    if np.isinf(channel.strength):
        least = _RATE_GAIN - _PRIOR * float(np.log(channel.matrices[-1, 0, 0]))
    gain = _penalised(blocks, none) - _penalised(blocks, channel)
    enough = len(blocks.fold) * gain >= least
    return enough and not says_little(channel, blocks.codes)


def fit_matrices(
    blocks: Blocks,
    temperature: float,
    strength: float,
    *,
    n_folds: int = 0,
    max_iter: int,
    tol: float,
) -> Channel:
    """Expectation-maximisation in the transition matrix, for all folds at once.

    The rows have a Dirichlet prior worth ``strength`` samples around a matrix with the
    same noise rate in all rows, spread evenly; the rate is that of all expected counts.

    Parameters
    ----------
    blocks : Blocks
    temperature : float
    strength : float
        Infinity: the prior's matrix itself, one number for all.
    n_folds : int, default=0
        0 fits the matrix of all samples alone.
    max_iter : int
    tol : float
        Stop when the mean log-likelihood changes by less.

    Returns
    -------
    Channel
    """
    proba = blocks.proba(temperature)
    rows, n_classes = np.arange(len(proba)), proba.shape[1]
    # Column f is zero for the samples of fold f; the last one has all samples.
    used = np.ones((len(proba), n_folds + 1))
    if n_folds:
        used[rows, blocks.fold] = 0.0
    rates = np.full(n_folds + 1, _START)
    if np.isinf(strength):
        given = proba[rows, blocks.codes][:, None]
        rates, log_likelihood, n_iter = _maximise(
            lambda rates: _update_rates(rates, given, used, n_classes),
            rates,
            max_iter,
            tol,
        )
        matrices = _uniform_noise(rates, n_classes)
    else:
        matrices, log_likelihood, n_iter = _maximise(
            lambda T: _update_matrices(T, proba, blocks.bounds, used, strength),
            _uniform_noise(rates, n_classes),
            max_iter,
            tol,
        )
    return Channel(
        matrices=matrices.transpose(1, 2, 0),
        temperature=temperature,
        strength=strength,
        held_out=float(log_likelihood[rows, blocks.fold if n_folds else -1].mean()),
        n_iter=n_iter,
    )


def _without_noise(blocks: Blocks, n_folds: int) -> Channel:
    """The channel that passes all labels on, with the temperature that suits it."""
    n, n_classes = blocks.log_proba.shape
    rows = np.arange(n)
    matrices = _uniform_noise(np.full(n_folds + 1, _LEAST_RATE), n_classes)

    def by_fold(octave: float) -> Floats:
        proba = log_softmax(blocks.log_proba / 2.0**octave, axis=1)
        given = proba[rows, blocks.codes]
        return np.bincount(blocks.fold, weights=given, minlength=n_folds) / n

    found = minimize_scalar(
        lambda octave: temperature_cost(n, octave) - by_fold(octave).sum(),
        bounds=_OCTAVES[[0, -1]],
        method="bounded",
        options={"xatol": 0.05},
    )
    # As a noise rate is, the temperature is compared on samples it was not fitted to.
    octaves = found.x + np.linspace(-2 * _STEP, 2 * _STEP, 13)
    fine = np.linspace(octaves[0], octaves[-1], 301)
    likely = CubicSpline(octaves, [by_fold(octave) for octave in octaves])(fine)
    others = likely.sum(axis=1, keepdims=True) - likely
    best = (others - temperature_cost(n, fine)[:, None]).argmax(axis=0)
    return Channel(
        matrices=matrices.transpose(1, 2, 0),
        temperature=float(2.0**found.x),
        strength=np.inf,
        held_out=float(likely[best, np.arange(n_folds)].sum()),
        n_iter=1,
    )


def _maximise(
    update: Callable[[Floats], tuple[Floats, Floats]],
    start: Floats,
    max_iter: int,
    tol: float,
) -> tuple[Floats, Floats, int]:
    """Repeat an update until the likelihood rests.

    Parameters
    ----------
    update : callable
        From what is fitted to a better one, and the likelihood of each sample before,
        of shape (n_samples, n_matrices).

    Returns
    -------
    fitted : ndarray
    log_likelihood : ndarray of shape (n_samples, n_matrices)
    n_iter : int
    """
    fitted, last = start, -np.inf
    for n_iter in range(1, max_iter + 1):  # noqa: B007 (read after the loop)
        updated, likelihood = update(fitted)
        log_likelihood = np.log(likelihood)
        mean = float(log_likelihood[:, -1].mean())
        if abs(mean - last) < tol:
            break
        fitted, last = updated, mean
    return fitted, log_likelihood, n_iter


def _update_rates(
    rates: Floats, given: Floats, used: Floats, n_classes: int
) -> tuple[Floats, Floats]:
    """One round for one noise rate per matrix, which needs p_i of given labels only."""
    right = (1.0 - rates) * given
    likelihood = right + rates / (n_classes - 1) * (1.0 - given)
    share = (used * right / likelihood).sum(axis=0) / used.sum(axis=0)
    return _clipped(1.0 - share), likelihood


def _update_matrices(
    T: Floats, proba: Floats, bounds: Ints, used: Floats, strength: float
) -> tuple[Floats, Floats]:
    """One round for whole matrices; T[j, f, k] is fold f's T[k, j]."""
    counts = np.empty_like(T)
    likelihood = np.empty_like(used)
    for j, column in enumerate(T):
        rows = slice(bounds[j], bounds[j + 1])
        likelihood[rows] = proba[rows] @ column.T
        counts[j] = column * ((used[rows] / likelihood[rows]).T @ proba[rows])
    right = np.einsum("kfk->f", counts) / counts.sum(axis=(0, 2))
    prior = _uniform_noise(_clipped(1.0 - right), T.shape[2])
    updated = counts + strength * prior
    return updated / updated.sum(axis=0), likelihood


def _clipped(rates: Floats) -> Floats:
    return np.clip(rates, _LEAST_RATE, 1.0 - _LEAST_RATE)


def _uniform_noise(rates: Floats, n_classes: int) -> Floats:
    """Matrices with one noise rate each, spread evenly over the other classes.

    Returns
    -------
    ndarray of shape (n_classes, n_matrices, n_classes)
        Given label, matrix, true class: in this order a label's column, which the
        update reads, lies in one piece.
    """
    T = np.empty((n_classes, len(rates), n_classes))
    T[:] = rates[:, None] / (n_classes - 1)
    classes = np.arange(n_classes)
    T[classes, :, classes] = 1.0 - rates
    return T


def _coarse_temperature(blocks: Blocks, fit: Callable[..., Channel]) -> float:
    """Best temperature of a wide grid, with one noise rate for all classes."""
    losses = [_loss(blocks, octave, np.inf, fit) for octave in _OCTAVES]
    return float(2.0 ** _OCTAVES[int(np.argmin(losses))])


def _best_temperature(
    blocks: Blocks, strength: float, fit: Callable[..., Channel], *, near: float
) -> float:
    """Best temperature within a step of that grid."""
    centre = np.log2(near)
    found = minimize_scalar(
        lambda octave: _loss(blocks, octave, strength, fit),
        bounds=(centre - _STEP, centre + _STEP),
        method="bounded",
        options={"xatol": 0.05, "maxiter": 20},
    )
    return float(2.0**found.x)


def _loss(
    blocks: Blocks, octave: float, strength: float, fit: Callable[..., Channel]
) -> float:
    return _penalised(blocks, fit(blocks, float(2.0**octave), strength))


def _penalised(blocks: Blocks, channel: Channel) -> float:
    """Nats per sample, those for a temperature other than 1 included."""
    cost = temperature_cost(len(blocks.fold), np.log2(channel.temperature))
    return float(cost - channel.held_out)


def temperature_cost(n_samples: int, octave: Any) -> Any:
    """Nats per sample that temperatures cost, by their logarithm to the base of two."""
    pull = np.where(octave > 0, _PULL_UP, _PULL_DOWN) / n_samples
    return np.maximum(pull, _PULL_PER_SAMPLE) * octave**2
