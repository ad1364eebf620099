"""Loss functions that tolerate wrong labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def generalized_cross_entropy(logits: Tensor, target: Tensor, q: float) -> Tensor:
    """Generalised cross-entropy (1 - p_y^q) / q of each sample.

    Its gradient is p_y^q times that of cross-entropy, so samples whose given label
    the model finds unlikely count little. ``q=0`` is the limit, cross-entropy;
    ``q=1`` is the mean absolute error (up to a factor of 2).

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)
    target : Tensor of shape (n,), int64
        Given labels.
    q : float in [0, 1]

    Returns
    -------
    Tensor of shape (n,)

    References
    ----------
    Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", NeurIPS 2018, equation 6.
    """
    cross_entropy = nn.functional.cross_entropy(logits, target, reduction="none")
    if q == 0:
        return cross_entropy
    # p_y^q = exp(-q CE): no power of a probability that has underflowed to zero.
    return -torch.expm1(-q * cross_entropy) / q


class GCELoss(nn.Module):
    """Mean generalised cross-entropy over a batch of logits.

    Parameters
    ----------
    q : float in [0, 1], default=0.7
        Robustness: 0 is cross-entropy, 1 the mean absolute error.
    """

    def __init__(self, q: float = 0.7):
        super().__init__()
        self.q = q

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return generalized_cross_entropy(logits, target, self.q).mean()
