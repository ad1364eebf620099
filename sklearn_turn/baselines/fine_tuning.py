"""Full fine-tuning on all labels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

from ..base import BaseClassifier
from ..constructor import COUNT, parameter, with_parameters
from ..net_options import check_fine_tune_options
from ..parameters import FineTuneParameters, LossParameters
from ..steps import fine_tune, fresh_start
from ..task import Result, Task
from ..training.batches import RandomOrder
from ..warm_start import WarmStartParameters

# Labels of a class, of fewer of which it means nothing that it is never predicted.
_SOME = 20


@with_parameters
class FullFineTuning(
    WarmStartParameters, LossParameters, FineTuneParameters, BaseClassifier
):
    """Train the whole network on all samples, from a fresh head.

    Parameters
    ----------
    fft_epochs : int, default=5
        The paper gives its baselines one epoch more than TURN.
    fft_warmup_epochs : int, default=1
        First epochs, which use cross-entropy: at a fresh head a robust loss has a
        gradient C^-q times smaller, and classes that were not learned before it begins
        may be given up, which a warning says.

    Attributes
    ----------
    net_ : skorch net
        The fine-tuned model.
    history_ : list of dict
        One per epoch: ``phase`` ("fine-tune"), ``epoch``, ``train_loss``, ``seconds``.

    See Also
    --------
    sklearn_turn.losses : Equations and sources of the losses.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import FullFineTuning
    >>> X, y = make_blobs(200, centers=3, random_state=0)
    >>> FullFineTuning(random_state=0).fit(X, y).predict(X).shape
    (200,)
    """

    fft_epochs: int = parameter(default=5, legal=[COUNT])
    fft_warmup_epochs: int = parameter(default=1, legal=[COUNT])

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_loss()
        check_fine_tune_options(self)

    def _run(self, task: Task) -> Result:
        if task.earlier is None or task.earlier.is_frozen:
            start, warmup_epochs = fresh_start(task), self.fft_warmup_epochs
        else:
            start, warmup_epochs = task.earlier.start, 0  # the head is not fresh
        self._warn_if_unused(self.fft_epochs, warmup_epochs, "fft")
        loss = self._loss(
            n_samples=len(task.y),
            n_classes=task.n_classes,
            n_visits=self.fft_epochs - warmup_epochs,
        )
        predicted = Predicted(task.n_classes)
        net = fine_tune(
            task,
            self,
            start,
            loss=loss,
            warmup_epochs=warmup_epochs,
            callbacks=[
                ("order", RandomOrder(task.random_state)),
                ("predicted", predicted),
            ],
        )
        is_robust = getattr(net.criterion_, "may_collapse", False)
        if is_robust and self.fft_epochs > warmup_epochs:
            processes, own = task.runtime.processes, predicted.found_.numpy()
            found = np.any(processes.exchange("classes predicted", own), axis=0)
            if processes.rank == 0:
                _warn_of_lost_classes(task, net, found)
        return Result(net, is_frozen=not self.fft_epochs)


class Predicted(Callback):
    """Which classes a net predicts in the last epoch of training; costs no pass.

    Parameters
    ----------
    n_classes : int

    Attributes
    ----------
    found_ : Tensor of shape (n_classes,), bool
    """

    def __init__(self, n_classes: int):
        self.n_classes = n_classes

    def initialize(self) -> Predicted:
        self.found_ = torch.ones(self.n_classes, dtype=torch.bool)
        return self

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.found_ = torch.zeros(self.n_classes, dtype=torch.bool, device=net.device)

    def on_batch_end(
        self,
        net: Any,
        training: bool = False,
        y_pred: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        if training and y_pred is not None:
            self.found_[y_pred.argmax(dim=1)] = True

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.found_ = self.found_.cpu()  # pickles must load where there is no GPU


def _warn_of_lost_classes(task: Task, net: Any, found: Any) -> None:
    counts = np.bincount(task.y, minlength=task.n_classes)
    lost = np.flatnonzero(~found & (counts >= _SOME))
    if not len(lost):
        return
    names = ", ".join(map(str, task.classes[lost[:10]]))
    warnings.warn(
        f"Fine-tuning with {net.criterion_} never predicts {len(lost)} of "
        f"{task.n_classes} classes: {names}. A robust loss gives up classes that were "
        "not learned before it begins: raise fft_warmup_epochs, or use loss='ce'.",
        UserWarning,
        stacklevel=4,
    )
