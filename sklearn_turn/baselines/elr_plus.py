"""ELR+: early predictions hold back what is learned later."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..constructor import COUNT, NOT_NEGATIVE, SHARE, parameter, with_parameters
from ..losses.memory import SampleMemory
from ..net_options import callback_of
from ..task import Selection, Task
from ..training.batches import Batch
from .joint import JointClassifier, JointTraining
from .mixing import logits_of, mixed_up, views_of

# Least value of 1 - <t, p>, which bounds the regulariser.
_LEAST = 1e-4

# Epochs over which a published run averages weights: 0.997 at 391 steps per epoch.
_EPOCHS_AVERAGED = 1 / (391 * -math.log(0.997))


@with_parameters
class ELRPlus(JointClassifier):
    r"""Two networks, their moving averages, mixing and early-learning regularisation.

    Of each sample every network k has a target t, the running mean of what the moving
    average of the weights of the *other* network predicts, p',

    .. math:: t \leftarrow b t + (1 - b)\, p'.

    Samples, labels and targets of a batch are mixed with one l = max(l, 1 - l),
    l ~ Beta(α, α), and with p the prediction for a mixture, y and t mixed alike,

    .. math:: L = -\sum_c y_c \log p_c + λ \log (1 - \langle t, p \rangle).

    The second term keeps predictions near the targets, which were formed before wrong
    labels were learned by heart. The prediction is the mean of the two moving averages.

    Parameters
    ----------
    elr_lambda : float >= 0, default=7.0
        λ. Published are 7 for CIFAR-100, and 3 for CIFAR-10 and Clothing1M; in short
        training 7 did better with few classes as well, as in ``loss="elr"``.
    elr_beta : float in [0, 1), default=0.9
        b. Published are 0.9 for CIFAR-100, and 0.7 for CIFAR-10 and Clothing1M.
    alpha : float >= 0, default=1.0
        Of mixing; 0 mixes nothing.
    ema : float in [0, 1], default=None
        Decay of the moving averages per step. None averages over 0.85 epochs, as the
        published 0.997 does in a long run. It rises to that value over the first half
        of training.
    lp_warmup_epochs, fft_warmup_epochs : int, default=0
        First epochs, which use cross-entropy alone. The paper has none.

    Attributes
    ----------
    clean_proba_ : ndarray of shape (n_samples,), float64
        What the targets, averaged over both networks, give to each label; 1 for what a
        ``train_split`` set aside.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Where the label is the targets' most probable class.
    suggested_labels_ : ndarray of shape (n_samples,)
        The targets' most probable class.
    net_, probe_ : skorch net
        The moving averages; ``probe_`` has heads on features, and is absent when
        fine-tuned.
    history_ : list of dict
        One per epoch: ``phase``, ``epoch``, ``train_loss``, ``seconds``.

    Notes
    -----
    Published are 200 to 250 epochs, with the decay rising over 40 000 steps, half of
    training; the same half here. For CIFAR-100 λ rises as well, and in the
    cross-entropy mixed labels are multiplied by mixed targets and made to sum to one;
    both are left out. The published code trains the networks in turn, here in step;
    and it updates targets in training mode, here in evaluation mode. In its loss it
    bounds every probability p to [1e-4, 1 - 1e-4], but not the targets; here
    1 - <t, p> is bounded, as in ``loss="elr"``. It selects nothing: ``clean_mask_`` is
    what its targets say.

    Targets take 8 bytes per sample and class while training.

    References
    ----------
    Liu, Niles-Weed, Razavian and Fernandez-Granda, "Early-Learning Regularization
    Prevents Memorization of Noisy Labels", NeurIPS 2020, equations 6 and 9;
    https://github.com/shengliu66/ELR for defaults.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import ELRPlus
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, n_features=16, centers=3, random_state=0)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = ELRPlus(random_state=0).fit(X, y_noisy)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    scores_only = True  # see sklearn_turn.selection.protocol

    elr_lambda: float = parameter(default=7.0, legal=[NOT_NEGATIVE])
    elr_beta: float = parameter(
        default=0.9, legal=[Interval(Real, 0, 1, closed="left")]
    )
    alpha: float = parameter(default=1.0, legal=[NOT_NEGATIVE])
    ema: float | None = parameter(default=None, legal=[SHARE, None])
    lp_warmup_epochs: int = parameter(default=0, legal=[COUNT])
    fft_warmup_epochs: int = parameter(default=0, legal=[COUNT])

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("lp_params", "fft_params"):
            for entry in (getattr(self, name) or {}).get("callbacks") or []:
                callback = callback_of(entry)
                if getattr(callback, "load_best", False):
                    raise ValueError(
                        f"{name} holds {type(callback).__name__} with load_best=True, "
                        "which would bring back networks in place of their moving "
                        "averages. Set load_best=False."
                    )

    def _rule(self, task: Task) -> JointTraining:
        return ELRPlusTraining(task, self)


class ELRPlusTraining(JointTraining):
    """Targets and moving averages, and the loss of a step.

    Parameters
    ----------
    task : Task
    parameters : ELRPlus
    """

    def __init__(self, task: Task, parameters: ELRPlus):
        super().__init__(task, parameters._warmup_epochs)
        self.elr_lambda = parameters.elr_lambda
        self.elr_beta = parameters.elr_beta
        self.alpha = parameters.alpha
        self.ema = parameters.ema

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        super().on_train_begin(net, **kwargs)
        self.averages_ = copy.deepcopy(net.members_)
        for average in self.averages_:
            average.eval().requires_grad_(False)
        self.targets_ = [self._memory() for _ in self.averages_]

    def _memory(self) -> SampleMemory:
        return SampleMemory(len(self.codes), self.n_classes)

    def terms(self, members: list[Any], k: int, parts: list[Batch]) -> Iterator[Tensor]:
        batch = parts[k]
        (x,) = views_of(members[k], batch, 1)
        t = self._update(k, x, batch.index)
        # Labels and targets beside each other, to be mixed alike.
        y = one_hot(batch.y, self.n_classes).float()
        x, both = mixed_up(x, torch.cat([y, t], dim=1), self.alpha, self.rng)
        y, t = both.chunk(2, dim=1)
        log_p = logits_of(members[k], x).float().log_softmax(dim=1)
        agreement = (t * log_p.exp()).sum(dim=1)
        held = torch.log((1 - agreement).clamp_min(_LEAST))
        yield (self.elr_lambda * held - (y * log_p).sum(dim=1)).mean()

    def _update(self, k: int, x: Tensor, index: Tensor) -> Tensor:
        """Move the targets of a batch towards the other network's average."""
        with torch.no_grad():
            p = logits_of(self.averages_[1 - k], x).float().softmax(dim=1)
        t = self.targets_[k].read(index, p.device)
        t = self.elr_beta * t + (1 - self.elr_beta) * p
        self.targets_[k].write(index, t)
        return t

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if not training:
            return
        decay = self.ema
        if decay is None:
            decay = math.exp(-1 / (_EPOCHS_AVERAGED * net.n_batches_))
        decay *= sigmoid_ramp(2 * self.done_)
        for average, member in zip(self.averages_, net.members_, strict=True):
            follow(average, member, decay)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        super().on_train_end(net, **kwargs)
        for member, average in zip(net.members_, self.averages_, strict=True):
            member.load_state_dict(average.state_dict())
        everyone = torch.arange(len(self.codes))
        both = [memory.read(everyone, torch.device("cpu")) for memory in self.targets_]
        t = torch.stack(both).mean(dim=0).double().numpy()
        # A sample that a train_split set aside has no target, and is not judged.
        unseen = np.flatnonzero(~t.any(axis=1))
        t[unseen, self.codes[unseen]] = 1.0
        t /= t.sum(axis=1, keepdims=True)
        best = t.argmax(axis=1)
        proba = np.take_along_axis(t, self.codes[:, None], axis=1)[:, 0]
        self.selection_ = Selection(best == self.codes, proba, suggested=best)
        del self.averages_, self.targets_


def follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move a running mean of weights, w' <- decay w' + (1 - decay) w.

    Buffers, such as the statistics of BatchNorm, are copied.
    """
    with torch.no_grad():
        pairs = zip(average.parameters(), module.parameters(), strict=True)
        for mean, current in pairs:
            mean.lerp_(current, 1 - decay)
        for kept, new in zip(average.buffers(), module.buffers(), strict=True):
            kept.copy_(new)


def sigmoid_ramp(done: float) -> float:
    """exp(-5 (1 - x)^2) for x up to 1, then 1."""
    return math.exp(-5 * (1 - min(done, 1.0)) ** 2)
