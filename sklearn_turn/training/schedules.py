"""Learning rate and loss over the course of training."""

from __future__ import annotations

import math
from typing import Any

from skorch.callbacks import Callback


class CosineSchedule(Callback):
    """Linear warm-up, then cosine decay to zero, by the fraction of training done.

    The number of steps is not known before training, because cleansing keeps another
    number of samples each epoch; the fraction of epochs is.

    Parameters
    ----------
    warmup : float in [0, 1), default=0.1
        Fraction of training spent on warm-up.
    """

    def __init__(self, warmup: float = 0.1):
        self.warmup = warmup

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.initial_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.epoch_ = -1

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.epoch_ += 1
        self.step_ = 0

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if not training:
            return
        within = self.step_ / net.n_batches_
        factor = self._factor((self.epoch_ + within) / net.max_epochs)
        for group, lr in zip(net.optimizer_.param_groups, self.initial_, strict=True):
            group["lr"] = lr * factor
        self.step_ += 1

    def _factor(self, done: float) -> float:
        if done < self.warmup:
            # Never exactly zero: the first step should count.
            return max(done / self.warmup, 0.01)
        rest = (done - self.warmup) / (1 - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * rest))


class RobustAfterWarmup(Callback):
    """Train with cross-entropy for the first epochs, then with the criterion's q.

    At a fresh head p_y = 1/C, where the gradient of generalised cross-entropy is
    C^-q times that of cross-entropy; with many classes it would hardly start.

    Parameters
    ----------
    warmup_epochs : int
    """

    def __init__(self, warmup_epochs: int):
        self.warmup_epochs = warmup_epochs

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.q_ = net.criterion_.q

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        warming_up = len(net.history) <= self.warmup_epochs
        net.criterion_.q = 0.0 if warming_up else self.q_
