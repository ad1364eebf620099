"""Co-teaching: each network learns from what the other finds easy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..constructor import parameter, with_parameters
from ..exceptions import CleansingWarning
from ..losses import GCELoss
from ..out_of_fold import OutOfFoldEvidence
from ..selection import NoiseChannelFilter
from ..task import Selection, Task
from ..training.batches import Batch
from .joint import JointClassifier, JointTraining
from .mixing import guessing, logits_of, views_of
from .parts import Part
from .peers import PeerNet

_N_FOLDS = 5
# So much more may be wrong than is found before it is said.
_UNSURE = 0.1


@with_parameters
class CoTeaching(JointClassifier):
    r"""Two networks; each is trained on the samples of least loss of the other.

    Both see the same batch. Of its B samples, each network picks the (1 - r_e) B with
    the least cross-entropy, and the *other* network is trained on these. The share
    that is forgotten rises over the first E_w epochs, the warm-up, to the noise rate R,

    .. math:: r_e = R \min(e / E_w, 1), \qquad e = 0, 1, \dots

    The prediction is the mean of both.

    Parameters
    ----------
    noise_rate : float in [0, 1) or "auto", default="auto"
        R. "auto" estimates it, by :class:`~sklearn_turn.NoiseChannelFilter` and linear
        probes on the frozen features that did not see the labels.

    Attributes
    ----------
    clean_proba_ : ndarray of shape (n_samples,), float64
        How often, after warm-up, a network picked the sample when it met it; 1 for
        what a ``train_split`` set aside.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Picked more than half of the times.
    net_, probe_ : skorch net
        Both networks; ``probe_`` has heads on features, and is absent when fine-tuned.
    history_ : list of dict
        One per epoch: ``phase``, ``epoch``, ``train_loss`` (of the picked samples),
        ``seconds`` and ``forget_rate``, r of the epoch, at the end R.

    Notes
    -----
    Published: r_e rises over 10 of 200 epochs; here over ``lp_warmup_epochs`` or
    ``fft_warmup_epochs``. The published code picks in training mode and divides the
    mean loss by the number of picked samples once more; neither is done here. At least
    two samples of a batch are picked.

    References
    ----------
    Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely
    Noisy Labels", NeurIPS 2018, Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import CoTeaching
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, n_features=16, centers=3, random_state=0)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = CoTeaching(random_state=0).fit(X, y_noisy)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    noise_rate: float | str = parameter(
        default="auto",
        legal=[StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
    )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.noise_rate == "auto" and not self.lp_epochs:
            raise ValueError(
                "noise_rate='auto' is estimated by linear probes, but lp_epochs is 0. "
                "Set it to 1 or more (20 by default), or give the noise_rate."
            )

    def _rule(self, task: Task) -> JointTraining:
        rate = self.noise_rate
        if isinstance(rate, str):
            rate = self._estimate(task)
        return CoTeachingTraining(task, float(rate), self._warmup_epochs)

    def _estimate(self, task: Task) -> float:
        loss = {"criterion": GCELoss}
        evidence = OutOfFoldEvidence(task, self, loss, _N_FOLDS).first()
        found = NoiseChannelFilter().fit(evidence["log_proba"], task.labels)
        rate, (low, high) = found.noise_rate_, found.noise_rate_interval_
        if high - rate > _UNSURE:
            warnings.warn(
                f"By noise_rate='auto' {rate:.0%} of the labels are wrong, and that is "
                f"the share of each batch that is forgotten, but {low:.0%} to "
                f"{high:.0%} may be wrong by what is predicted: there are too few "
                "samples, or too poor predictions, to tell. Give the noise_rate, if "
                "you know it.",
                CleansingWarning,
                stacklevel=6,
            )
        return rate


class CoTeachingTraining(JointTraining):
    """What is forgotten in each epoch, and who learns what in a step.

    Parameters
    ----------
    task : Task
    noise_rate : float
    rising_epochs : int
        E_w.
    """

    def __init__(self, task: Task, noise_rate: float, rising_epochs: int):
        super().__init__(task)
        self.noise_rate = noise_rate
        self.rising_epochs = rising_epochs
        self.met_, self.picked_ = np.zeros((2, len(task.y)))
        self._view: Any = None
        self._picks: list[Tensor] = []

    @property
    def forget_rate(self) -> float:
        """r of this epoch."""
        if self.epoch_ >= self.rising_epochs:
            return self.noise_rate
        return self.noise_rate * self.epoch_ / self.rising_epochs

    def parts(self, net: PeerNet, dataset: Any) -> Sequence[Part]:
        net.history.record("forget_rate", self.forget_rate)
        return [Part(np.arange(len(dataset)))]

    def terms(self, members: list[Any], k: int, parts: list[Batch]) -> Iterator[Tensor]:
        batch = parts[0]
        if k == 0:  # both pick before either learns
            (self._view,) = views_of(members[0], batch, 1)
            self._picks = self._pick(members, batch)
        picked = self._picks[1 - k]
        logits = logits_of(members[k], self._view[picked])
        yield cross_entropy(logits, batch.y[picked])

    def _pick(self, members: list[Any], batch: Batch) -> list[Tensor]:
        """Places in the batch of what each network finds easiest."""
        # Rounded at random, lest a low rate come to nothing in small batches.
        kept = (1 - self.forget_rate) * len(batch.y)
        n = max(2, int(kept + self.rng.uniform()))
        with guessing(members):
            logits = [logits_of(member, self._view) for member in members]
            losses = [cross_entropy(z, batch.y, reduction="none") for z in logits]
        picks = [loss.argsort(stable=True)[:n] for loss in losses]
        if self.epoch_ >= self.rising_epochs:
            index = batch.index.cpu().numpy()
            self.met_[index] += len(members)
            for places in picks:
                self.picked_[index[places.cpu().numpy()]] += 1
        return picks

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        super().on_train_end(net, **kwargs)
        self._view, self._picks = None, []
        # What a train_split set aside was not met, and is not judged.
        proba = np.where(self.met_ > 0, self.picked_ / np.maximum(self.met_, 1), 1.0)
        clean = proba > 0.5
        if not clean.any():
            clean = proba == proba.max()
            warnings.warn(
                f"No label was picked by more than half of the networks that met it; "
                f"the {clean.sum()} picked most count as clean. A noise_rate of "
                f"{self.noise_rate:.2f} may be too high.",
                CleansingWarning,
                stacklevel=2,
            )
        self.selection_ = Selection(clean, proba)
