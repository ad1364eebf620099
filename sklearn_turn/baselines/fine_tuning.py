"""Full fine-tuning on all labels."""

from __future__ import annotations

from ..base import BaseClassifier
from ..constructor import COUNT, parameter, with_parameters
from ..net_options import check_fine_tune_options
from ..parameters import FineTuneParameters, LossParameters
from ..steps import fine_tune, fresh_start
from ..task import Result, Task
from ..warm_start import WarmStartParameters


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
        gradient C^-q times smaller.

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
        net = fine_tune(task, self, start, loss=loss, warmup_epochs=warmup_epochs)
        return Result(net, is_frozen=not self.fft_epochs)
