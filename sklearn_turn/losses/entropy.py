"""Cross-entropy and two relatives of it."""

from __future__ import annotations

import math

from torch import Tensor, expm1

from .base import SampleLoss, check_range, expectation, log_proba

#: What log(0) is in the reverse cross-entropy: log(1e-4), as published.
LOG_ZERO = math.log(1e-4)


class CrossEntropyLoss(SampleLoss):
    """Cross-entropy of each sample, -log p_y. Linear in the label."""

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        return generalized_cross_entropy(logits, target, 0.0)


class GCELoss(SampleLoss):
    """Generalised cross-entropy of each sample, (1 - p_y^q) / q.

    A soft label gets the expectation over the label. See
    :func:`generalized_cross_entropy`.

    Parameters
    ----------
    q : float in [0, 1], default=0.7
        Robustness: 0 is cross-entropy, 1 the mean absolute error.
    """

    def __init__(self, q: float = 0.7):
        super().__init__()
        check_range("gce", "q", q, "in [0, 1]", ok=0 <= q <= 1)
        self.q = q
        self.may_collapse = q > 0

    def extra_repr(self) -> str:
        return f"q={self.q}"

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        return generalized_cross_entropy(logits, target, self.q)


class SCELoss(SampleLoss):
    """Symmetric cross-entropy of each sample, alpha * CE + beta * RCE.

    CE = -log p_y learns, and the reverse cross-entropy RCE = -sum_k p_k log y_k
    withstands wrong labels. With log 0 taken as A = log(1e-4) the latter is
    -A (1 - p_y), a multiple of the mean absolute error. A soft label gets the
    expectation over the label: RCE itself is not linear in it.

    Parameters
    ----------
    alpha, beta : float, default=0.1, 1.0
        Published for 10 classes; for CIFAR-100 they are 6.0 and 0.1.

    Notes
    -----
    The published code bounds probabilities by 1e-7 from below. There is no need to,
    as log p comes from the logits: a label that the model rules out still has a
    gradient.

    References
    ----------
    Wang, Ma, Chen, Luo, Yi and Bailey, "Symmetric Cross Entropy for Robust Learning
    with Noisy Labels", ICCV 2019, equations 5 and 7.
    """

    may_collapse = True

    def __init__(self, alpha: float = 0.1, beta: float = 1.0):
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}"

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        def loss(log_p: Tensor) -> Tensor:
            return self.beta * LOG_ZERO * expm1(log_p) - self.alpha * log_p

        return expectation(loss, log_proba(logits), target)


def generalized_cross_entropy(logits: Tensor, target: Tensor, q: float) -> Tensor:
    """Generalised cross-entropy (1 - p_y^q) / q of each sample.

    Its gradient is p_y^q times that of cross-entropy, so samples whose given label
    the model finds unlikely count little. ``q=0`` is the limit, cross-entropy;
    ``q=1`` is the mean absolute error (up to a factor of 2).

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)
    target : Tensor of shape (n,), int64, or (n, n_classes), float
        Labels or soft labels; the loss of the latter is the expectation over the label.
    q : float in [0, 1]

    Returns
    -------
    Tensor of shape (n,)

    Notes
    -----
    p_y^q is exp(q log p_y): no power of a probability that has underflowed to zero.
    Published codes bound p_y by 1e-7 instead, where the gradient ends.

    References
    ----------
    Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", NeurIPS 2018, equation 6.
    """

    def loss(log_p: Tensor) -> Tensor:
        return -expm1(q * log_p) / q if q else -log_p

    return expectation(loss, log_proba(logits), target)
