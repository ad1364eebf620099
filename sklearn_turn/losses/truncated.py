"""Generalised cross-entropy that leaves out samples of improbable labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import SampleLoss, check_range
from .entropy import generalized_cross_entropy
from .memory import SampleMemory, check_index


class TruncatedGCELoss(SampleLoss):
    """Truncated generalised cross-entropy of each sample, with pruning.

    L_q(p_y) = (1 - p_y^q) / q where p_y > k, and the constant L_q(k) elsewhere. At a
    fresh head p_y is below k everywhere and nothing would be learned. So each sample
    has a weight w, 1 at first, and the loss is w L_q(p_y) + (1 - w) L_q(k): pruned
    samples, of weight 0, have no gradient. Weights are refreshed to whether p_y > k,
    for a soft label to whether its expected L_q is less than L_q(k); a pruned sample
    comes back when the model has come to agree with its label.

    Parameters
    ----------
    n_samples : int
        Size of the training set; 3 bytes are kept per sample.
    q : float in [0, 1], default=0.7
        Robustness, as in :class:`GCELoss`.
    truncation : float in (0, 1), default=0.5
        The threshold k. A model of many classes may never exceed the published 0.5.
    plain_visits : int, default=1
        How often each sample is visited with weight 1 before its weight is refreshed
        for the first time. The estimators take a third of the epochs.

    Notes
    -----
    The published code refreshes all weights every 10 epochs, from a third (CIFAR-10) or
    a half (CIFAR-100) of training on, in a pass of its own over the training set by the
    best model so far. Here the prediction in training, made anyway, sets the weight for
    the sample's next visit: no pass, and it is as old as one epoch.

    References
    ----------
    Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", NeurIPS 2018, equations 9 to 11 and Algorithm 1.
    """

    may_collapse = True

    def __init__(
        self,
        n_samples: int,
        q: float = 0.7,
        truncation: float = 0.5,
        plain_visits: int = 1,
    ):
        super().__init__()
        check_range("gce", "q", q, "in [0, 1]", ok=0 <= q <= 1)
        check_range("gce", "truncation", truncation, "in (0, 1)", ok=0 < truncation < 1)
        self.q, self.truncation, self.plain_visits = q, truncation, plain_visits
        self._visits = SampleMemory(n_samples, dtype=torch.int16)
        self._pruned = SampleMemory(n_samples, dtype=torch.bool)

    def extra_repr(self) -> str:
        return f"q={self.q}, truncation={self.truncation}"

    @property
    def _bound(self) -> float:
        """L_q(k)."""
        k, q = self.truncation, self.q
        return (1 - k**q) / q if q else -math.log(k)

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        check_index(self, index, len(logits))
        losses = generalized_cross_entropy(logits, target, self.q)
        pruned = self._pruned.read(index, logits.device)
        if self.training:
            visits = self._visits.read(index, logits.device) + 1
            self._visits.write(index, visits)
            improbable = losses.detach() >= self._bound
            self._pruned.write(index, improbable & (visits >= self.plain_visits))
        return torch.where(pruned, self._bound, losses)
