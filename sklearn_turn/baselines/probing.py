"""Linear probing on all labels."""

from __future__ import annotations

from ..base import BaseClassifier
from ..constructor import with_parameters
from ..net_options import check_probe_options
from ..parameters import LossParameters, ProbeParameters
from ..steps import assemble, linear_probe, start_of, warmup_of_probe
from ..task import Result, Task


@with_parameters
class LinearProbing(LossParameters, ProbeParameters, BaseClassifier):
    """Train a linear head on the features of a frozen backbone.

    Parameters
    ----------

    Attributes
    ----------
    probe_ : skorch net
        The head, on features.
    net_ : skorch net
        Backbone and head.
    history_ : list of dict
        One per epoch: ``phase`` ("probe"), ``epoch``, ``train_loss``, ``seconds``.

    See Also
    --------
    sklearn_turn.losses : Equations and sources of the losses.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import LinearProbing
    >>> X, y = make_blobs(200, centers=3, random_state=0)
    >>> LinearProbing(loss="gce", random_state=0).fit(X, y).predict(X).shape
    (200,)
    """

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_loss()
        check_probe_options(self)

    def _run(self, task: Task) -> Result:
        n_warmup = warmup_of_probe(task, self)
        self._warn_if_unused(self.lp_epochs, n_warmup, "lp")
        loss = self._loss(
            n_samples=len(task.y),
            n_classes=task.n_classes,
            n_visits=self.lp_epochs - n_warmup,
        )
        probe = linear_probe(task, self, loss)
        return Result(assemble(task, start_of(probe)), probe, is_frozen=True)
