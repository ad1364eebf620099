"""Probability of every true class, by a channel's matrix and a known noise rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_softmax, logsumexp, softmax

from .mixture import Floats


def log_joint_of(log_proba: Floats, temperature: float, noise: Floats) -> Floats:
    """Logarithm of a class's probability times that of the given label under it.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
    temperature : float
    noise : ndarray of shape (n_samples, n_classes)
        Probability of each sample's label, were each class the true one.
    """
    with np.errstate(divide="ignore"):
        joint: Floats = log_softmax(log_proba / temperature, axis=1) + np.log(noise)
    return joint


def posterior_of(log_joint: Floats, codes: NDArray[np.intp], offset: float) -> Floats:
    """Bayes' rule, with the log-odds of the given labels shifted; changes its input."""
    log_joint[np.arange(len(codes)), codes] += offset
    posterior: Floats = softmax(log_joint, axis=1)
    return posterior


def log_odds_of(log_joint: Floats, codes: NDArray[np.intp]) -> Floats:
    """Log-odds of the given labels, also of those whose probability rounds to 1."""
    rows = np.arange(len(codes))
    others = log_joint.copy()
    others[rows, codes] = -np.inf
    log_odds: Floats = log_joint[rows, codes] - logsumexp(others, axis=1)
    return log_odds


def offset_for(log_odds: Floats, mean: float) -> float:
    """What to add to log-odds so that the probabilities have a mean.

    Infinite ones stay as they are; if they alone exceed the mean, the nearest is found.
    """

    def excess(offset: float) -> float:
        return float(expit(log_odds + offset).mean() - mean)

    # Beyond 700, probabilities are 0 and 1 in double precision.
    most = 700.0 + np.abs(log_odds[np.isfinite(log_odds)]).max(initial=0.0)
    if excess(-most) >= 0:
        return -most
    return most if excess(most) <= 0 else float(brentq(excess, -most, most))
