"""Loss functions that tolerate wrong labels, one value per sample."""

from __future__ import annotations

from torch import Tensor, expm1, nn
from torch.nn.functional import cross_entropy


class SampleLoss(nn.Module):
    """Base of losses with one value per sample; a net takes their (weighted) mean.

    Subclasses define ``forward(logits, target, index)``.

    Attributes
    ----------
    takes_logits : bool
        Whether ``forward`` is given logits, as here, or probabilities.
    """

    takes_logits = True

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Loss of each sample.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
        target : Tensor of shape (n,), int64
            Given labels.
        index : Tensor of shape (n,), int64
            Positions of the samples in the training set, for losses with a memory.

        Returns
        -------
        Tensor of shape (n,)
        """
        raise TypeError(f"{type(self).__name__} defines no loss.")


class CrossEntropyLoss(SampleLoss):
    """Cross-entropy of each sample, -log p_y."""

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        return cross_entropy(logits, target, reduction="none")


class GCELoss(SampleLoss):
    """Generalised cross-entropy of each sample.

    Parameters
    ----------
    q : float in [0, 1], default=0.7
        Robustness: 0 is cross-entropy, 1 the mean absolute error.
    """

    def __init__(self, q: float = 0.7):
        super().__init__()
        self.q = q

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        return generalized_cross_entropy(logits, target, self.q)


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
    losses = cross_entropy(logits, target, reduction="none")
    if q == 0:
        return losses
    # p_y^q = exp(-q CE): no power of a probability that has underflowed to zero.
    return -expm1(-q * losses) / q
