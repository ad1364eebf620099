"""Step 2 of TURN for any skorch net."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch.dataset import unpack_data
from skorch.utils import to_device, to_numpy
from torch import Tensor, nn

from ..exceptions import CleansingWarning
from ..losses import GCELoss
from ..selection import GMMNoiseFilter, draw_balanced
from .batches import RandomOrder
from .runtime import progress


class Cleansing(RandomOrder):
    """Select the clean subset before each epoch of any skorch classifier.

    Before an epoch, the cross-entropy of every training sample under the current
    model is computed in evaluation mode, in index order; a noise filter judges the
    labels; the epoch then visits a class-balanced draw from those it believes (TURN,
    Step 2-1). The net must not set a sampler of its own.

    Parameters
    ----------
    noise_filter : estimator, default=None
        Fitted on ``(losses, y)``; it must set ``clean_mask_`` and ``clean_proba_``.
        None is :class:`~sklearn_turn.GMMNoiseFilter`.
    every_epoch : bool, default=True
        False cleanses once, before the first epoch.
    balance : {"min"}, float >= 1 or None, default="min"
        Draw from every class as many samples as the smallest class has clean, at
        most this many times as many, or all clean samples.
    first_losses : ndarray of shape (n_samples,), default=None
        Losses before the first epoch, when they are known; saves one pass.
    random_state : int, RandomState or None, default=None
        For the draw and the order of samples.

    Attributes
    ----------
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last cleansing.
    noise_filter_ : estimator
        The filter fitted at the last cleansing.
    kept_indices_ : ndarray of int
        The subset drawn for the last epoch.
    n_loss_passes_ : int
        Passes over the training set made to compute losses.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import make_blobs
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn_turn import Cleansing
    >>> X, y = make_blobs(200, centers=2, random_state=0)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear, module__in_features=2, module__out_features=2,
    ...     criterion=torch.nn.CrossEntropyLoss, lr=0.1, max_epochs=3, verbose=0,
    ...     train_split=None, callbacks=[Cleansing(random_state=0)],
    ... )
    >>> net = net.fit(X.astype("float32"), y)
    >>> net.history[:, "n_train"]  # doctest: +ELLIPSIS
    [...]
    """

    def __init__(
        self,
        noise_filter: Any = None,
        *,
        every_epoch: bool = True,
        balance: str | float | None = "min",
        first_losses: Any = None,
        random_state: Any = None,
    ):
        self.noise_filter = noise_filter
        self.every_epoch = every_epoch
        self.balance = balance
        self.first_losses = first_losses
        self.random_state = random_state

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        super().on_train_begin(net, **kwargs)
        self.n_loss_passes_ = 0

    def select(self, net: Any, dataset: Any) -> np.ndarray:
        """Believed samples, balanced over classes."""
        if self.epoch_ == 0 or self.every_epoch:
            self._cleanse(net, dataset)
        return self.kept_indices_

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        super().on_epoch_begin(net, dataset_train, **kwargs)
        net.history.record("kept", self.kept_counts_.tolist())
        net.history.record("n_train", len(self.sampler_))
        if net.verbose:
            counts = self.kept_counts_
            print(
                f"epoch {self.epoch_}: believed {self.noise_filter_.clean_mask_.sum()} "
                f"of {len(self.losses_)} labels, training on {len(self.sampler_)} "
                f"({counts.min()} to {counts.max()} believed per class)"
            )

    def judge(self, losses: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Fit the noise filter to losses and return which labels it believes.

        Parameters
        ----------
        losses : ndarray of shape (n_samples,)
        y : ndarray of shape (n_samples,), int

        Returns
        -------
        ndarray of shape (n_samples,), bool
        """
        chosen = GMMNoiseFilter() if self.noise_filter is None else self.noise_filter
        self.losses_ = losses
        self.noise_filter_ = clone(chosen).fit(losses.reshape(-1, 1), y)
        return self.noise_filter_.clean_mask_

    def _cleanse(self, net: Any, dataset: Any) -> None:
        if self.epoch_ == 0 and self.first_losses is not None:
            losses, y = np.asarray(self.first_losses), dataset_labels(dataset)
        else:
            losses, y = per_sample_losses(net, dataset)
            self.n_loss_passes_ += 1
        mask = self.judge(losses, y)
        self.kept_counts_ = np.bincount(y[mask], minlength=int(y.max()) + 1)
        self.kept_indices_ = draw_balanced(mask, y, self.balance, self.rng_)
        if 10 * len(self.kept_indices_) < mask.sum():
            warnings.warn(
                f"balance={self.balance!r} trains on {len(self.kept_indices_)} of "
                f"{mask.sum()} believed samples, because the smallest class has only "
                f"{self.kept_counts_[self.kept_counts_ > 0].min()}. Raise balance, "
                "say to 10, or set it to None.",
                CleansingWarning,
                stacklevel=2,
            )


def dataset_labels(dataset: Any) -> np.ndarray:
    """Labels of a dataset without reading its images, where it can tell them."""
    y = getattr(dataset, "y", None)
    if y is None:
        y = [dataset[i][1] for i in range(len(dataset))]
    return np.asarray(to_numpy(y) if isinstance(y, Tensor) else y)


def per_sample_losses(net: Any, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of each given label under a skorch classifier, in index order.

    Parameters
    ----------
    net : skorch.NeuralNetClassifier
        Its module returns logits when the criterion is one of logits, else
        probabilities, as skorch expects.
    dataset : torch Dataset

    Returns
    -------
    losses : ndarray of shape (n_samples,), float64
    y : ndarray of shape (n_samples,), int
    """
    of_logits = isinstance(net.criterion_, (nn.CrossEntropyLoss, GCELoss))
    losses, labels = [], []
    iterator = net.get_iterator(dataset, training=False)
    for batch in progress(iterator, "losses", net.verbose):
        _, y = unpack_data(batch)
        out = net.evaluation_step(batch, training=False)
        out = out[0] if isinstance(out, tuple) else out
        y = to_device(torch.as_tensor(y), out.device).long()
        if of_logits:
            loss = nn.functional.cross_entropy(out.float(), y, reduction="none")
        else:
            likelihood = out.float().gather(1, y[:, None])[:, 0]
            loss = -likelihood.clamp_min(torch.finfo(torch.float32).tiny).log()
        losses.append(loss)
        labels.append(y)
    return (
        torch.cat(losses).double().cpu().numpy(),
        torch.cat(labels).cpu().numpy(),
    )
