"""CORES: a regulariser that makes predictions confident, and a sieve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..constructor import COUNT, NOT_NEGATIVE, SHARE, parameter, with_parameters
from ..selection import CORESNoiseFilter
from ..selection.protocol import fit_filter
from ..task import Task
from ..training.batches import Batch
from .joint import JointClassifier, JointTraining
from .parts import Part
from .peers import PeerNet

# Greatest β ρ_k in training. Where labels of class k have a share of less than that
# among samples that look alike, their probability is driven to 0.
_LARGEST_PUSH = 1 / 3


@with_parameters
class CORES(JointClassifier):
    r"""Cross-entropy with a confidence regulariser; a sieve drops unlikely labels.

    With ρ_k the share of label k among the given ones, the loss of a sample is

    .. math:: -\log p_y - β \sum_k ρ_k (-\log p_k),

    which makes predictions confident, and so right and wrong labels tell apart. β is
    0 during warm-up, then rises to ``beta``. From there on, before each epoch, only
    labels are trained on that are more probable than labels are on average
    (:class:`CORESNoiseFilter`),

    .. math:: -\log p_y \le \frac{1}{C} \sum_k -\log p_k.

    Parameters
    ----------
    beta : float >= 0, default=2.0
        Final weight of the regulariser; no more than 1 / (3 max ρ) is used, which is
        less than 2 where a class has more than a sixth of the labels.
    rise : float in [0, 1], default=0.3
        Share of training over which β rises, after warm-up.
    fft_warmup_epochs : int, default=2
        First epochs of fine-tuning, which use cross-entropy on all labels. With fewer,
        β meets an untrained head, and one class may take all.

    Attributes
    ----------
    clean_mask_ : ndarray of shape (n_samples,), bool
        Labels that passed the sieve last.
    clean_proba_ : ndarray of shape (n_samples,), float64
        p_y / (p_y + g), with g the geometric mean of the probabilities.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last sieving.
    suggested_labels_ : ndarray of shape (n_samples,)
        Given labels where clean, else the prediction at the last sieving.
    noise_filter_ : CORESNoiseFilter
    net_, probe_ : skorch net
        ``probe_`` is a head on features, and absent when fine-tuned.
    history_ : list of dict
        One per epoch: ``phase``, ``epoch``, ``train_loss``, ``seconds``, and when
        sieved ``kept`` (clean labels per class).

    Notes
    -----
    Published: β is 0 for 10 of 100 epochs and rises to 2 over 30; here for
    ``lp_warmup_epochs`` or ``fft_warmup_epochs``, and over the same 30 %. Published,
    sieving begins 30 epochs after the start; here when β has risen, and the last epoch
    is sieved in any case: of five epochs of fine-tuning, two of which warm up, no other
    one. The published code sieves each batch as it is
    augmented; here all samples once per epoch, without augmentation. It divides the
    learning rate by 1 + β, to make up for the larger loss; Adam is indifferent to the
    scale of a loss, so that is left out: lower ``fft_lr`` with "sgd".
    A class of which nothing passes keeps its most probable sample, with a warning. The
    second phase, which trains on dropped samples without their labels, is not
    included.

    Published β is 2 whatever the classes, of which there were 10 or more. The
    regulariser pushes the probability of class k down by β ρ_k, and cross-entropy pulls
    it up by the share of its labels among samples that look alike, 1 at most: with
    β ρ_k near 1 or above, as of two balanced classes or one large one, class k is not
    learned even from clean labels. Here β max ρ is at most 1 / 3.

    The loss has no lower bound: probabilities go to 0 and 1 and are no longer
    calibrated. When β > 1, so falls the loss of a constant prediction.

    References
    ----------
    Cheng et al., "Learning with Instance-Dependent Label Noise: A Sample Sieve
    Approach", ICLR 2021; https://github.com/UCSC-REAL/cores for defaults.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import CORES
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, n_features=16, centers=3, random_state=0)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = CORES(random_state=0).fit(X, y_noisy)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    beta: float = parameter(default=2.0, legal=[NOT_NEGATIVE])
    rise: float = parameter(default=0.3, legal=[SHARE])
    fft_warmup_epochs: int = parameter(default=2, legal=[COUNT])

    def _rule(self, task: Task) -> JointTraining:
        return CORESTraining(task, self)


class CORESTraining(JointTraining):
    """The sieve of each epoch, and the loss of a step.

    Parameters
    ----------
    task : Task
    parameters : CORES
    """

    n_members = 1

    def __init__(self, task: Task, parameters: CORES):
        super().__init__(task, parameters._warmup_epochs)
        shares = np.bincount(task.y, minlength=self.n_classes) / len(task.y)
        self.final_beta = min(parameters.beta, _LARGEST_PUSH / float(shares.max()))
        self.rise = parameters.rise
        self.shares = torch.from_numpy(shares).float()

    def parts(self, net: PeerNet, dataset: Any) -> Sequence[Part]:
        # The last epoch is sieved however few there are.
        last = self.epoch_ + 1 == net.max_epochs
        done = self.epoch_ / net.max_epochs
        if done < self.warmup_share_ + self.rise - 1e-9 and not last:
            return super().parts(net, dataset)
        evidence = net.evidence(dataset, {"log_proba"})
        fitted = fit_filter(CORESNoiseFilter(), evidence, self.labels)
        self.select(net, fitted.clean_mask_, fitted.clean_proba_, evidence, fitted)
        return [Part(np.flatnonzero(fitted.clean_mask_))]

    @property
    def beta(self) -> float:
        """Weight of the regulariser at this point of training."""
        return self.final_beta * self.ramp(self.rise)

    def terms(self, members: list[Any], k: int, parts: list[Batch]) -> Iterator[Tensor]:
        logits, y = members[k](parts[k].x), parts[k].y
        average = -logits.log_softmax(dim=1) @ self.shares.to(logits.device)
        yield cross_entropy(logits, y) - self.beta * average.mean()
