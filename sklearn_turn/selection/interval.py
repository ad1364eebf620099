"""Which shares of wrong labels are not ruled out by what is predicted."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import log_softmax

from .mixture import Floats, Ints
from .transition import temperature_cost

# Nats by which an explanation may be less likely than the best and not be ruled out.
_AS_WELL = 2.0
# Entries of log-probabilities by which that is decided, and samples whatever the number
# of classes: of more, the interval is that of so many, which is wider.
_ENOUGH, _AT_LEAST = 300_000, 3_000
# Noise rates tried, and logarithms to the base of two of the temperatures, from that of
# the fitted channel on; between them the likelihood is interpolated, so many times as
# finely.
_RATES, _LEAST = 60, 1e-3
_OCTAVES = np.arange(-4.0, 3.25, 0.25)
_FINER = 20


def rate_interval(
    log_proba: Floats, codes: Ints, temperature: float
) -> tuple[float, float]:
    """Likelihood interval, of some 95 %, of one noise rate for all classes.

    Of every rate the most likely temperature counts: doubts of the classifier and wrong
    labels explain in part the same.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes), float64
        Finite.
    codes : ndarray of shape (n_samples,), int
        Given labels.
    temperature : float
        Near which others are tried.

    Returns
    -------
    low, high : float
    """
    most = max(_AT_LEAST, _ENOUGH // log_proba.shape[1])
    if len(log_proba) > most:
        drawn = np.random.RandomState(0).permutation(len(log_proba))[:most]
        log_proba, codes = log_proba[drawn], codes[drawn]
    n, n_classes = log_proba.shape
    rates = np.geomspace(_LEAST, 1.0 - 1.0 / n_classes, _RATES)
    octaves = np.log2(temperature) + _OCTAVES
    likely = np.empty((len(octaves), 1 + _RATES))
    for row, octave in zip(likely, octaves, strict=True):
        log_right = log_softmax(log_proba / 2.0**octave, axis=1)[np.arange(n), codes]
        right = np.exp(log_right)
        wrong = (1.0 - right) / (n_classes - 1)
        # Without noise the logarithm is known, also where the probability is 0.
        row[0] = log_right.mean()
        row[1:] = [np.log(right + rate * (wrong - right)).mean() for rate in rates]
        row -= temperature_cost(n, octave)
    best = n * CubicSpline(octaves, likely)(_finely(octaves)).max(axis=0)
    logs = _finely(np.log(rates))
    of_rates = CubicSpline(np.log(rates), best[1:])(logs)
    least = max(best[0], of_rates.max()) - _AS_WELL
    ruled_in = np.exp(logs[of_rates >= least])
    low = 0.0 if best[0] >= least else float(ruled_in.min())
    return low, float(ruled_in.max(initial=low))


def _finely(grid: Floats) -> Floats:
    return np.linspace(grid[0], grid[-1], _FINER * (len(grid) - 1) + 1)
