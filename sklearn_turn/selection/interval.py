"""Which shares of wrong labels are not ruled out by what is predicted."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from .mixture import Floats, Ints
from .transition import temperature_cost

# Nats by which an explanation may be less likely than the best and not be ruled out.
_AS_WELL = 2.0
# Entries of log-probabilities by which that is decided: of more samples the interval is
# that of so many, which is wider, and narrow enough.
_ENOUGH = 300_000
# Noise rates tried, and logarithms to the base of two of the temperatures, from that of
# the fitted channel on.
_N_RATES, _LEAST = 60, 1e-3
_OCTAVES = np.arange(-4.0, 3.25, 0.25)


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
    step = max(1, log_proba.size // _ENOUGH)
    some, given = log_proba[::step], codes[::step]
    n, n_classes = some.shape
    rates = np.r_[0.0, np.geomspace(_LEAST, 1.0 - 1.0 / n_classes, _N_RATES)]
    likely = np.full(len(rates), -np.inf)
    for octave in np.log2(temperature) + _OCTAVES:
        log_right = log_softmax(some / 2.0**octave, axis=1)[np.arange(n), given]
        right = np.exp(log_right)
        wrong = (1.0 - right) / (n_classes - 1)
        # Without noise the logarithm is known, also where the probability is 0.
        mean = [log_right.mean()]
        mean += [np.log(right + r * (wrong - right)).mean() for r in rates[1:]]
        likely = np.maximum(likely, mean - temperature_cost(n, octave))
    ruled_in = rates[n * (likely.max() - likely) <= _AS_WELL]
    return float(ruled_in.min()), float(ruled_in.max())
