"""Full fine-tuning on all labels."""

from __future__ import annotations

from numbers import Integral

from sklearn.utils._param_validation import Interval

from ..base import BaseClassifier
from ..nets import check_fine_tune_options
from ..parameters import (
    FineTuneParameters,
    LossParameters,
    parameter,
    with_parameters,
)
from ..steps import fine_tune, fresh_start
from ..task import Result, Task

_COUNT = Interval(Integral, 0, None, closed="left")


@with_parameters
class FullFineTuning(LossParameters, FineTuneParameters, BaseClassifier):
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
    classes_ : ndarray of shape (n_classes,)
    net_ : skorch net
        The fine-tuned model.
    history_ : list of dict
        One per epoch: ``phase`` ("fine-tune"), ``epoch``, ``train_loss``, ``seconds``.
    skipped_ : ndarray of int
        Positions of samples left out because they could not be read.
    input_shape_ : tuple or None
        Shape of one sample; None for files.
    n_features_in_ : int
        Values per sample; absent for files.

    References
    ----------
    Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import FullFineTuning
    >>> X, y = make_blobs(200, centers=3, random_state=0)
    >>> FullFineTuning(random_state=0).fit(X, y).predict(X).shape
    (200,)
    """

    fft_epochs: int = parameter(default=5, legal=[_COUNT])
    fft_warmup_epochs: int = parameter(default=1, legal=[_COUNT])

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_fine_tune_options(self)

    def _run(self, task: Task) -> Result:
        net = fine_tune(
            task,
            self,
            fresh_start(task),
            loss=self._loss(),
            warmup_epochs=self.fft_warmup_epochs,
        )
        return Result(net, is_frozen=not self.fft_epochs)
