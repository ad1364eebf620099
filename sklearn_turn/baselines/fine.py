"""FINE: train on the samples whose features point where their class points to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..constructor import SHARE, parameter, with_parameters
from ..selection import FINENoiseFilter
from ..selection.protocol import fit_filter
from ..task import Task
from ..training.batches import Batch
from .joint import JointClassifier, JointTraining
from .parts import Part
from .peers import PeerNet


@with_parameters
class FINE(JointClassifier):
    r"""Select samples by the eigenvectors of their class, and train on these.

    With v_c the first eigenvector of the features z of class c, a sample scores

    .. math:: s_i = a_i |a_i|, \qquad a_i = \langle v_{y_i}, z_i / |z_i| \rangle,

    and its label is clean when, in a mixture of two Gaussians of the scores of its
    class, the posterior of the higher one exceeds ``zeta`` (:class:`FINENoiseFilter`,
    which says how this departs from the paper). After warm-up only these are learned,
    by cross-entropy: the same on frozen features, selected anew before each epoch of
    fine-tuning.

    Parameters
    ----------
    zeta : float in [0, 1], default=0.5
        A label is clean when its posterior is greater.
    standardize : bool, default=True
        Shift and scale features to mean 0 and variance 1 first; the paper does not.

    Attributes
    ----------
    clean_mask_ : ndarray of shape (n_samples,), bool
        Labels that were clean at the last selection.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each label is clean.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last selection.
    suggested_labels_ : ndarray of shape (n_samples,)
        Given labels where clean, else the prediction at the last selection.
    noise_filter_ : FINENoiseFilter
        That of the last selection.
    net_, probe_ : skorch net
        ``probe_`` is a head on features, and absent when fine-tuned.
    history_ : list of dict
        One per epoch: ``phase``, ``epoch``, ``train_loss``, ``seconds``, and after
        warm-up ``kept`` (clean labels per class).

    Notes
    -----
    The published code trains from scratch on all labels for 40 of 120 epochs, and
    selects every 10 epochs. Here the backbone is pre-trained, and warm-up, for
    ``lp_warmup_epochs`` or ``fft_warmup_epochs``, is for the head; every epoch of few
    selects anew. A class of which nothing is clean keeps its best sample, with a
    warning.

    References
    ----------
    Kim, Ko, Cho, Choi and Yun, "FINE Samples for Learning with Noisy Labels",
    NeurIPS 2021; https://github.com/Kthyeon/FINE_official for defaults.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import FINE
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, n_features=16, centers=3, random_state=0)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = FINE(random_state=0).fit(X, y_noisy)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    zeta: float = parameter(default=0.5, legal=[SHARE])
    standardize: bool = parameter(default=True, legal=["boolean"])

    def _rule(self, task: Task) -> JointTraining:
        return FINETraining(task, self)


class FINETraining(JointTraining):
    """The selection of each epoch, and the loss of a step.

    Parameters
    ----------
    task : Task
    parameters : FINE
    """

    n_members = 1

    def __init__(self, task: Task, parameters: FINE):
        super().__init__(task, parameters._warmup_epochs)
        self.filter = FINENoiseFilter(
            parameters.zeta, standardize=parameters.standardize
        )
        self.is_frozen = task.is_frozen
        self.fitted_: Any = None

    def parts(self, net: PeerNet, dataset: Any) -> Sequence[Part]:
        selects = self.fitted_ is None or not self.is_frozen
        evidence = net.evidence(dataset, {"features"} if selects else ())
        if selects:
            self.fitted_ = fit_filter(self.filter, evidence, self.labels)
        clean = self.fitted_.clean_mask_
        self.select(net, clean, self.fitted_.clean_proba_, evidence, self.fitted_)
        return [Part(np.flatnonzero(clean))]

    def terms(self, members: list[Any], k: int, parts: list[Batch]) -> Iterator[Tensor]:
        yield cross_entropy(members[k](parts[k].x), parts[k].y)
