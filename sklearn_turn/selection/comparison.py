"""Which of two predictions explains the given labels better."""

from __future__ import annotations

from math import ceil

from .mixture import Floats, Ints
from .transition import ENOUGH, fit_channel


def explains_better(
    log_proba: Floats, other: Floats, codes: Ints, *, by: float = 5.0
) -> bool:
    """Whether labels are better explained by some predictions than by others.

    Parameters
    ----------
    log_proba, other : ndarray of shape (n_samples, n_classes), float64
        Log-probabilities, finite, of samples held out in the same folds.
    codes : ndarray of shape (n_samples,), int
        Given labels.
    by : float, default=5.0
        Nats of the log-likelihood by which they must be ahead.

    Returns
    -------
    bool
        Of ``log_proba``.
    """
    return _explained(log_proba, codes) - _explained(other, codes) > by


def _explained(log_proba: Floats, codes: Ints) -> float:
    """Log-likelihood of held-out labels, in nats, under the channel that suits best."""
    # Of more, the likelihood may be that of a part.
    few = slice(None, None, ceil(log_proba.size / ENOUGH))
    log_proba, codes = log_proba[few], codes[few]
    channel, _ = fit_channel(log_proba, codes, n_folds=5, max_iter=100, tol=1e-5)
    return len(codes) * channel.held_out
