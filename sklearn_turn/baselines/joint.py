"""What the methods of this package share: a rule of training, and its classifier."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import StrOptions
from skorch.callbacks import BatchScoring, Callback, EpochScoring
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..base import BaseClassifier
from ..constructor import COUNT, parameter, with_parameters
from ..net_options import callback_of, check_fine_tune_options, check_probe_options
from ..nets import Options, Start, fit_net, make_net
from ..parameters import FineTuneParameters, ProbeParameters
from ..progress import tell
from ..steps import fine_tuning_net, fresh_start, probe_net
from ..task import Result, Selection, Task
from ..training.batches import Batch, RandomOrder, batch_size_of, root_and_rows
from ..training.evidence import Evidence
from ..training.net import Net
from .parts import Part, PartSampler
from .peers import PeerNet, Peers

_LOGGER = logging.getLogger(__name__)


# Of the loader of training, what the sampler of parts replaces.
_REPLACED = ("", "shuffle", "drop_last", "collate_fn")


class JointTraining(Callback):
    """What a method does in each epoch and each step.

    Subclasses define :meth:`parts` and :meth:`terms`. The first epochs train every
    member by :meth:`warmup_loss` on all samples, each in an order of its own.

    Parameters
    ----------
    task : Task
        Only its labels and random state are kept.
    warmup_epochs : int

    Attributes
    ----------
    n_members : int
        Of classifiers.
    batch_share : float
        Size of each part of a step, relative to the batch size.
    projects : bool
        Whether members have a ``projection`` of their features.
    epoch_ : int
        Number of the current epoch, from 0.
    done_ : float
        Fraction of training done.
    selection_ : Selection or None
        What the last epoch was trained on.
    """

    n_members: ClassVar[int] = 2
    batch_share: ClassVar[float] = 1.0
    projects: bool = False

    #: Made anew when training begins; all else that is found is kept in a checkpoint.
    not_resumed = ("sampler_",)

    def __init__(self, task: Task, warmup_epochs: int = 0):
        self.codes = task.y
        self.classes = task.classes
        self.rng = task.random_state
        self.warmup_epochs = warmup_epochs
        self.selection_: Selection | None = None

    def parts(self, net: PeerNet, dataset: Any) -> Sequence[Part]:
        """Sets that each step of the next epoch draws from; selection happens here."""
        return [Part(np.arange(len(dataset)))] * self.n_members

    def terms(self, members: list[Any], k: int, parts: list[Batch]) -> Iterator[Tensor]:
        """Terms of the loss of member k in one step, on a batch of each part.

        They are differentiated one by one, before the next is asked for.
        """
        raise TypeError(f"{type(self).__name__} defines no loss.")

    def warmup_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Loss of the first epochs."""
        return cross_entropy(logits, y)

    def member_terms(
        self, members: list[Any], k: int, parts: list[Batch]
    ) -> Iterator[Tensor]:
        """Terms of the loss of member k, be it of the first epochs or of the rule."""
        if self.epoch_ < self.warmup_epochs:
            yield self.warmup_loss(members[k](parts[k].x), parts[k].y)
        else:
            yield from self.terms(members, k, parts)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def labels(self) -> NDArray[Any]:
        """Given labels as the user gave them."""
        return self.classes[self.codes]

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        size = batch_size_of(net, len(self.codes))
        self.sampler_ = PartSampler(self.rng, max(1, int(size * self.batch_share)))
        self.warmup_share_ = self.warmup_epochs / net.max_epochs
        self.epoch_ = -1

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        self.epoch_ += 1
        self.step_ = 0
        root, rows = root_and_rows(dataset_train)
        parts: Sequence[Part] = [Part(rows)] * self.n_members
        if self.epoch_ >= self.warmup_epochs:
            parts = self.parts(net, root)
        # What a train_split sets aside may be selected, but is never trained on.
        trained = np.zeros(len(root), dtype=bool)
        trained[rows] = True
        self.sampler_.parts = [Part(p.rows[trained[p.rows]], p.leads) for p in parts]

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            self.done_ = (self.epoch_ + self.step_ / net.n_batches_) / net.max_epochs
            self.step_ += 1

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.sampler_.parts = ()  # a fitted net keeps what was found, not how

    def ramp(self, share: float) -> float:
        """From 0 to 1 over that share of training, after warm-up."""
        if share == 0:
            return 1.0
        return float(np.clip((self.done_ - self.warmup_share_) / share, 0, 1))

    def select(
        self,
        net: PeerNet,
        clean_mask: NDArray[np.bool_],
        clean_proba: NDArray[np.float64],
        evidence: Evidence,
        noise_filter: Any = None,
    ) -> None:
        """Note what was selected, in the history too.

        Parameters
        ----------
        net : PeerNet
        clean_mask, clean_proba : ndarray of shape (n_samples,)
        evidence : dict of str to ndarray
            With "losses" and "predicted" of all samples.
        noise_filter : estimator, default=None
            The fitted filter.
        """
        self.selection_ = Selection(
            clean_mask,
            clean_proba,
            evidence["losses"][:, 0],
            np.where(clean_mask, self.codes, evidence["predicted"]),
            noise_filter,
        )
        kept = np.bincount(self.codes[clean_mask], minlength=self.n_classes)
        net.history.record("kept", kept.tolist())
        tell(
            _LOGGER,
            f"epoch {self.epoch_ + 1}: {kept.sum()} of {len(self.codes)} labels are "
            f"clean ({kept.min()} to {kept.max()} per class)",
            verbose=net.verbose,
        )


@with_parameters
class JointClassifier(ProbeParameters, FineTuneParameters, BaseClassifier):
    """Base of classifiers with a rule; subclasses define ``_rule``.

    Parameters
    ----------
    mode : {"probe", "fine-tune"}, default="probe"
        Train linear heads on features of the frozen backbone, computed once, for
        ``lp_epochs``; or whole networks on images, for ``fft_epochs``. The parameters
        whose names begin with "lp" belong to the former, those with "fft" and what
        follows them to the latter.
    fft_epochs : int, default=5
        Epochs of full fine-tuning. TURN's paper gives its baselines one epoch more
        than TURN.
    lp_warmup_epochs : int, default=2
        First epochs of the probe, which use cross-entropy on all labels.
    fft_warmup_epochs : int, default=1
        The same of fine-tuning.
    """

    mode: str = parameter(default="probe", legal=[StrOptions({"probe", "fine-tune"})])
    fft_epochs: int = parameter(default=5, legal=[COUNT])
    lp_warmup_epochs: int = parameter(default=2, legal=[COUNT])
    fft_warmup_epochs: int = parameter(default=1, legal=[COUNT])

    @property
    def _probes(self) -> bool:
        return self.mode == "probe"

    def _rule(self, task: Task) -> JointTraining:
        """The method's rule, for the task that is trained on."""
        raise TypeError(f"{type(self).__name__} defines no rule.")

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_probe_options(self)
        check_fine_tune_options(self)
        if self.distributed and not self._probes:
            raise ValueError(
                f"{type(self).__name__} cannot be fine-tuned by several processes: "
                "each step depends on all of its batch. Set distributed=False, or "
                "mode='probe', whose pass of the backbone is shared."
            )
        n_epochs, prefix = self.lp_epochs, "lp"
        if not self._probes:
            n_epochs, prefix = self.fft_epochs, "fft"
        if 0 < n_epochs <= self._warmup_epochs:
            raise ValueError(
                f"All {n_epochs} epochs are warm-up, so that {type(self).__name__} "
                f"would never select: raise {prefix}_epochs above "
                f"{prefix}_warmup_epochs={self._warmup_epochs}."
            )
        for name in ("lp_params", "fft_params"):
            extra = getattr(self, name) or {}
            for key in extra:
                kind, _, option = key.partition("__")
                if kind == "iterator_train" and option in _REPLACED:
                    raise ValueError(
                        f"{name} holds {key!r}, but {type(self).__name__} draws the "
                        "batches of training itself. Remove it."
                    )
            if any(key.startswith("criterion") for key in extra):
                raise ValueError(
                    f"{name} holds a criterion, but {type(self).__name__} has a loss "
                    "of its own. Remove it."
                )
            for entry in extra.get("callbacks") or []:
                callback = callback_of(entry)
                is_score = isinstance(callback, EpochScoring | BatchScoring)
                if is_score and callback.on_train:
                    raise ValueError(
                        f"{name} holds {type(callback).__name__} of training batches, "
                        f"for which {type(self).__name__} has no single prediction. "
                        "Set on_train=False, and train_split for held-out samples."
                    )
                if isinstance(callback, RandomOrder):
                    raise ValueError(
                        f"{name} holds {type(callback).__name__}, which selects the "
                        f"samples of each epoch, and so does {type(self).__name__}. "
                        "Remove it."
                    )

    @property
    def _warmup_epochs(self) -> int:
        return self.lp_warmup_epochs if self._probes else self.fft_warmup_epochs

    def _run(self, task: Task) -> Result:
        trained = task.frozen if self._probes else task
        rule = self._rule(trained)
        options = self._peers(rule, rule.n_members, rule.projects)
        callbacks = [("rule", rule)]
        if self._probes:
            probe = probe_net(trained, self, options, callbacks)
            fit_net(probe, trained, rate="lp_lr")
            self._warn_if_stopped(rule, probe)
            net = _before_heads(task, probe, options)
            return Result(net, probe, rule.selection_, is_frozen=True)
        start = fresh_start(task)
        net = fine_tuning_net(task, self, start, options, callbacks=callbacks)
        fit_net(net, task)
        self._warn_if_stopped(rule, net)
        return Result(net, None, rule.selection_, is_frozen=not self.fft_epochs)

    def _warn_if_stopped(self, rule: JointTraining, net: Net) -> None:
        n_epochs = len(net.history)
        if n_epochs and (n_epochs <= rule.warmup_epochs or rule.selection_ is None):
            warnings.warn(
                f"Training ended after {n_epochs} epochs, before "
                f"{type(self).__name__} selected any labels: it is like plain training "
                "on all of them. Let early stopping have more patience, or lower the "
                "epochs of warm-up.",
                UserWarning,
                stacklevel=4,
            )

    def _peers(
        self, rule: JointTraining | None, n_members: int, projects: bool
    ) -> Options:
        """Options of a net of several classifiers."""
        return {
            "kind": PeerNet,
            "rule": rule,
            "module": Peers,
            "module__n_members": n_members,
            "module__projects": projects,
            "module__shared": self._probes,
        }

    def _blank_net(self, task: Task, start: Start, state: Mapping[str, Tensor]) -> Net:
        names = [name.split(".") for name in state]
        n_members = len({name[1] for name in names})
        projects = any(name[2] == "projection" for name in names)
        options = self._peers(None, n_members, projects)
        net = make_net(task, start, None, callbacks=[], max_epochs=0, **options)
        return fit_net(net, task)


def _before_heads(task: Task, probe: Any, options: Options) -> Net:
    """The backbone before the heads that were trained on its features."""
    first = probe.members_[0]
    start = Start(first.scale, first.head)
    net: Any = make_net(task, start, None, callbacks=[], max_epochs=0, **options)
    fit_net(net, task)
    for member, trained in zip(net.members_, probe.members_, strict=True):
        member.head = copy.deepcopy(trained.head)
    return net
