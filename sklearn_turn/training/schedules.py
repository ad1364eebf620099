"""Learning rate and loss over the course of training."""

from __future__ import annotations

import math
from typing import Any

from skorch.callbacks import Callback


class CosineSchedule(Callback):
    """Linear warm-up, then cosine decay to zero, by the fraction of training done.

    The number of steps is not known before training, because cleansing keeps a
    different number of samples each epoch; the fraction of epochs is.

    Parameters
    ----------
    warmup : float in [0, 1), default=0.1
        Fraction of training spent on warm-up.
    """

    def __init__(self, warmup: float = 0.1):
        self.warmup = warmup

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        # Training that goes on starts from the first rate, not from the decayed one.
        for group in net.optimizer_.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.epoch_ = -1

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.epoch_ += 1
        self.step_ = 0

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if not training:
            return
        step = 1 / (net.max_epochs * net.n_batches_)
        done = (self.epoch_ + self.step_ / net.n_batches_) / net.max_epochs
        factor = self._factor(done, step)
        for group in net.optimizer_.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.step_ += 1

    def _factor(self, done: float, step: float) -> float:
        # A warm-up of no more than one step would be all of that step, up to rounding.
        if done < self.warmup and step < self.warmup * (1 - 1e-9):
            # Never exactly zero: the first step should count.
            return max(done / self.warmup, 0.01)
        rest = max(0.0, (done - self.warmup) / (1 - self.warmup))
        return 0.5 * (1 + math.cos(math.pi * rest))
