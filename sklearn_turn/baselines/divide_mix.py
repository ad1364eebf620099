"""DivideMix: two networks divide the samples for each other, and learn from all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from ..constructor import (
    COUNT_FROM_1,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    parameter,
    with_parameters,
)
from ..selection import GMMNoiseFilter
from ..selection.lowest import lowest_of_each_class
from ..selection.protocol import fit_filter
from ..task import Task
from ..training.batches import Batch
from .joint import JointClassifier, JointTraining
from .mixing import guessing, mean_proba, mix_match_loss, sharpen, views_of
from .parts import Part
from .peers import PeerNet, mean_log_proba

# Of the published 300 epochs, those over which the weight of guesses rises.
_RAMP = 16 / 300


@with_parameters
class DivideMix(JointClassifier):
    r"""Two networks tell each other which labels are clean, and guess the others.

    Before each epoch a mixture of two Gaussians is fitted to the cross-entropies of
    each network over all samples, scaled to [0, 1]; w_i is the posterior of the
    component with the lower mean. Network k is trained on the division by the *other*
    network, labelled samples (w > ``tau``) and unlabelled ones. For a batch of each,
    with p the mean prediction for the augmented views of a sample,

    - labels are refined by the network itself, sharpen(w y + (1 - w) p_k);
    - those of unlabelled samples are guessed by both, sharpen((p_1 + p_2) / 2),

    where sharpen(p) is p^(1/T), made to sum to one. All views are mixed up with each
    other (MixMatch) with l = max(l, 1 - l), l ~ Beta(α, α), and

    .. math:: L = -\tfrac{1}{|X'|} \sum_{X'} t \log p
              + λ_u \tfrac{1}{|U'|C} \sum_{U'} ‖t - p‖^2
              + \sum_c π_c \log (π_c / \bar p_c), \qquad π_c = 1 / C.

    The prediction is the mean of both.

    Parameters
    ----------
    tau : float in [0, 1], default=0.5
        Labels with a greater clean probability are kept (the published p_threshold;
        it is 0.6 under 90 % noise).
    temperature : float > 0, default=0.5
        T of sharpening.
    alpha : float >= 0, default=4.0
        α of mixing; 0.5 for photos with human noise.
    lambda_u : float >= 0, default=25.0
        Weight of guessed labels; published from 0 (little noise, photos) to 150
        (much).
    loss_epochs : int, default=1
        Losses are averaged over that many last divisions; 5 under 90 % noise.
    confidence_penalty : bool, default=False
        Subtract the entropy of predictions from the loss while warming up, which is
        for asymmetric noise.

    Attributes
    ----------
    clean_proba_ : ndarray of shape (n_samples,), float64
        Mean w of both networks at the last division.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Where the mean w is greater than ``tau``; of a class without such a label, the
        best one that a network learned from.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last division, by the mean prediction.
    suggested_labels_ : ndarray of shape (n_samples,)
        Given labels where clean, else the mean prediction at the last division.
    net_, probe_ : skorch net
        Both networks; ``probe_`` has heads on features, and is absent when fine-tuned.
    history_ : list of dict
        One per epoch: ``phase``, ``epoch``, ``train_loss``, ``seconds``, and after
        warm-up ``kept`` (clean labels per class).

    Notes
    -----
    The published code differs in what follows, beside its networks and its 300 epochs.

    - Its networks are trained in turn, an epoch each; here in step, so that either
      division is one epoch old at most and the samples of both are read together.
    - A step takes half a batch of labelled and half of unlabelled samples, so that
      memory stays within twice that of plain fine-tuning. Warm-up takes half batches
      as well, of each network's own order, where published are whole ones.
    - Warm-up takes 10 to 30 epochs and λ_u rises over 16: here ``lp_warmup_epochs`` or
      ``fft_warmup_epochs``, and the same 5 % of training.
    - A label with a greater loss has no greater w; the published posterior may rise
      again in the tails. With ``loss_epochs`` above 1, losses are averaged and then
      scaled to [0, 1]; published, those of each epoch are scaled and then averaged.
    - Co-refinement and guesses ran in training mode; here in evaluation mode.
    - A class of which nothing is clean keeps its lowest loss, with a warning; with
      nothing clean at all the published code stops.
    - Features have one view each, and are not augmented.

    In a space of few dimensions, mixtures of two classes lie where a third one is: set
    ``alpha=0`` there.

    References
    ----------
    Li, Socher and Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised
    Learning", ICLR 2020, Algorithm 1; https://github.com/LiJunnan1992/DivideMix for
    defaults.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import DivideMix
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, n_features=16, centers=3, random_state=0)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = DivideMix(random_state=0).fit(X, y_noisy)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    tau: float = parameter(default=0.5, legal=[SHARE])
    temperature: float = parameter(default=0.5, legal=[POSITIVE])
    alpha: float = parameter(default=4.0, legal=[NOT_NEGATIVE])
    lambda_u: float = parameter(default=25.0, legal=[NOT_NEGATIVE])
    loss_epochs: int = parameter(default=1, legal=[COUNT_FROM_1])
    confidence_penalty: bool = parameter(default=False, legal=["boolean"])

    def _rule(self, task: Task) -> JointTraining:
        return DivideMixTraining(task, self)


class DivideMixTraining(JointTraining):
    """The two divisions of each epoch, and the loss of a step.

    Parameters
    ----------
    task : Task
    parameters : DivideMix
    """

    batch_share = 0.5
    n_views = 2

    def __init__(self, task: Task, parameters: DivideMix):
        super().__init__(task, parameters._warmup_epochs)
        self.temperature = parameters.temperature
        self.alpha = parameters.alpha
        self.lambda_u = parameters.lambda_u
        self.loss_epochs = parameters.loss_epochs
        self.confidence_penalty = parameters.confidence_penalty
        self.filter = GMMNoiseFilter(
            parameters.tau,
            scope="global",
            min_separation=0.0,
            min_kept=0.0,
            max_iter=10,
            tol=1e-2,
        )
        self.losses_: list[NDArray[np.float64]] = []

    def warmup_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        loss = super().warmup_loss(logits, y)
        if not self.confidence_penalty:
            return loss
        log_proba = log_softmax(logits, dim=1)
        return loss + (log_proba.exp() * log_proba).sum(dim=1).mean()

    def parts(self, net: PeerNet, dataset: Any) -> Sequence[Part]:
        found = net.evaluate(dataset, _losses)
        last = [*self.losses_, found["each"]]
        self.losses_ = last[-self.loss_epochs :]
        trajectories = np.stack(self.losses_, axis=2)
        divisions = [
            fit_filter(self.filter, {"losses": trajectories[:, k]}, self.labels)
            for k in range(2)
        ]
        w = np.stack([division.clean_proba_ for division in divisions], axis=1)
        self.w_ = torch.from_numpy(w).float().to(net.device)
        mean = w.mean(axis=1)
        clean = mean > self.filter.tau
        # Either network learns from some label of every class.
        lost = np.bincount(self.codes[clean], minlength=self.n_classes) == 0
        learned = divisions[0].clean_mask_ | divisions[1].clean_mask_
        best_first = np.where(learned, -mean, np.nan)
        clean |= lowest_of_each_class(best_first, self.codes, lost.astype(np.intp))
        self.select(net, clean, mean, found)
        # Network 0 learns from the division by network 1, and the reverse.
        return [
            part
            for division in reversed(divisions)
            for part in (
                Part(np.flatnonzero(division.clean_mask_)),
                Part(np.flatnonzero(~division.clean_mask_), leads=False),
            )
        ]

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        super().on_train_end(net, **kwargs)
        self.losses_, self.w_ = [], torch.empty(0)

    def terms(self, members: list[Any], k: int, parts: list[Batch]) -> Iterator[Tensor]:
        labelled, unlabelled = parts[2 * k : 2 * k + 2]
        own, other = members[k], 1 - k
        views = views_of(own, labelled, self.n_views)
        more = views_of(own, unlabelled, self.n_views)
        with guessing(members):
            w = self.w_[labelled.index, other, None]
            given = one_hot(labelled.y, self.n_classes)
            refined = w * given + (1 - w) * mean_proba([own], views)
            guessed = mean_proba(members, more) if more else refined[:0]
        yield mix_match_loss(
            own,
            (views, sharpen(refined, self.temperature)),
            (more, sharpen(guessed, self.temperature)),
            alpha=self.alpha,
            lambda_u=self.lambda_u * self.ramp(_RAMP),
            rng=self.rng,
        )


def _losses(logits: list[Tensor], y: Tensor) -> dict[str, Tensor]:
    """Losses of the given labels by each network, and the evidence of both."""
    each = [cross_entropy(one, y, reduction="none") for one in logits]
    log_proba = mean_log_proba(logits)
    return {
        "each": torch.stack(each, dim=1),
        "losses": -log_proba.gather(1, y[:, None]),
        "predicted": log_proba.argmax(dim=1),
    }
