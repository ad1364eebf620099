"""Early-learning regularisation."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import SampleLoss, at_label, check_range, log_proba
from .memory import SampleMemory, check_index

# Least value of 1 - <t, p>, which bounds the regulariser.
_LEAST = 1e-4


class ELRLoss(SampleLoss):
    """Early-learning regularised cross-entropy of each sample.

    -log p_y + lambda log(1 - <t, p>), where t is a running average of the sample's own
    predictions: at each visit t <- beta t + (1 - beta) p, from zero, without gradient.
    A network learns the clean labels first; the second term holds it to what it then
    said. It does not depend on the label, so the loss of a soft label is linear in it.

    Parameters
    ----------
    n_samples, n_classes : int
        Size of the memory t: float32, on the device of the logits up to 1 GiB, in the
        host's memory up to 8 GiB (2 billion numbers, such as 2 million samples of 1000
        classes).
    lambda_ : float >= 0, default=7.0
        Weight of the regulariser. 0 is cross-entropy.
    beta : float in [0, 1), default=0.9
        Share of t that is kept at a visit. The defaults are published for CIFAR-100;
        for CIFAR-10 they are 3.0 and 0.7, and with asymmetric noise 1.0 and 0.9.

    Raises
    ------
    ValueError
        If the memory would be larger.

    Notes
    -----
    The published code bounds every p_k to [1e-4, 1 - 1e-4] and divides by the sum
    before the average. Here 1 - <t, p> is bounded by 1e-4 from below, which is what the
    upper bound is for; the lower one would give a tenth of the average to classes that
    are ruled out when there are 1000. In evaluation t is read and not changed. Epochs
    of warm-up, which the published code has none of, do not count as visits.

    References
    ----------
    Liu, Niles-Weed, Razavian and Fernandez-Granda, "Early-Learning Regularization
    Prevents Memorization of Noisy Labels", NeurIPS 2020, equations 6 and 9.
    """

    may_collapse = True

    def __init__(
        self, n_samples: int, n_classes: int, lambda_: float = 7.0, beta: float = 0.9
    ):
        super().__init__()
        check_range("elr", "beta", beta, "in [0, 1)", ok=0 <= beta < 1)
        self.lambda_, self.beta = lambda_, beta
        self._average = SampleMemory(n_samples, n_classes)

    def extra_repr(self) -> str:
        return f"lambda_={self.lambda_}, beta={self.beta}"

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        check_index(self, index, len(logits))
        log_p = log_proba(logits)
        p = log_p.exp()
        average = self._average.read(index, logits.device)
        if self.training:
            average = self.beta * average + (1 - self.beta) * p.detach()
            self._average.write(index, average)
        disagreement = (1 - (average * p).sum(dim=1)).clamp_min(_LEAST)
        return self.lambda_ * torch.log(disagreement) - at_label(log_p, target)
