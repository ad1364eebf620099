"""Several classifiers of one task, trained in step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import Embedder
from ..training.batches import Batch
from ..training.device import moved
from ..training.evidence import Evidence, collect_evidence
from ..training.inference import join, steps
from ..training.modules import Classifier, Model
from ..training.net import Net
from .parts import PartBatches, cut

if TYPE_CHECKING:
    from .joint import JointTraining

# Heads that start alike, on the same features, would stay alike.
_SPREAD_OF_HEADS = 0.01

_PROJECTION_WIDTH = 128


class Peers(Model):
    """Classifiers of one task; together they predict the mean of their probabilities.

    Parameters
    ----------
    embed : Module
        Raw batch to features.
    scale : Module
    head : Linear
    n_members : int
    shared : bool
        Whether the members have one backbone in common, which is not trained, or each
        a copy.
    projects : bool
        Whether each has a ``projection`` of its features for contrastive losses.
    """

    members: Any

    def __init__(
        self,
        embed: nn.Module,
        scale: nn.Module,
        head: nn.Linear,
        n_members: int = 2,
        shared: bool = False,
        projects: bool = False,
    ):
        super().__init__()
        self.shared = shared
        self.members = nn.ModuleList()
        for k in range(n_members):
            own = embed if shared or k == 0 else _another(embed)
            self.members.append(Classifier(own, scale, copy.deepcopy(head)))
            if n_members > 1:
                nn.init.normal_(self.members[k].head.weight, std=_SPREAD_OF_HEADS)
            if projects:
                self.members[k].projection = nn.Sequential(
                    nn.Linear(head.in_features, head.in_features),
                    nn.ReLU(),
                    nn.Linear(head.in_features, _PROJECTION_WIDTH),
                )

    @property
    def embed(self) -> nn.Module:
        """Raw batch to features, of the first member."""
        embed: nn.Module = self.members[0].embed
        return embed

    def forward(self, batch: Any) -> Tensor:
        """Logarithm of the mean probabilities of a raw batch."""
        if self.shared:
            return self.classify(self.embed(batch))
        return mean_log_proba([member(batch) for member in self.members])

    def classify(self, features: Tensor) -> Tensor:
        """Logarithm of the mean probabilities, by features of a shared backbone."""
        return mean_log_proba([member.classify(features) for member in self.members])

    def undecayed(self) -> set[str]:
        return {
            f"members.{k}.{name}"
            for k, member in enumerate(self.members)
            for name in member.undecayed()
        }

    def layer_scales(self, decay: float) -> dict[str, float]:
        return {
            f"members.{k}.{name}": scale
            for k, member in enumerate(self.members)
            for name, scale in member.layer_scales(decay).items()
        }


def _another(embed: nn.Module) -> nn.Module:
    """A copy, which is compiled if the original is."""
    copied = copy.deepcopy(embed)
    if isinstance(copied, Embedder):
        copied.compile_backbone()
    return copied


def mean_log_proba(logits: Sequence[Tensor]) -> Tensor:
    """Logarithm of the mean of several classifiers' probabilities.

    Parameters
    ----------
    logits : sequence of Tensor of shape (n, n_classes)

    Returns
    -------
    Tensor of shape (n, n_classes)
    """
    log_proba = torch.stack([one.log_softmax(dim=1) for one in logits])
    return log_proba.logsumexp(dim=0) - np.log(len(logits))


class PeerNet(Net):
    """A skorch net of :class:`Peers`; each member is trained by the rule's loss.

    The terms of the members' losses are differentiated one after the other, so that
    the activations of one pass are all there is at a time. The members have no trained
    parameter in common, and the one optimiser does what one for each would do; clipping
    of the gradient's norm is of that of all members together.

    Parameters
    ----------
    module, **kwargs
        As for :class:`~sklearn_turn.training.Net`.
    rule : JointTraining
    """

    def __init__(self, module: Any, *args: Any, rule: JointTraining, **kwargs: Any):
        super().__init__(module, *args, **kwargs)
        self.rule = rule

    @property
    def members_(self) -> list[Any]:
        """The classifiers."""
        return list(self.module_.members)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        if not training:
            return super().get_iterator(dataset, training)
        options = self.get_params_for("iterator_train")
        for name in ("batch_size", "shuffle", "collate_fn"):
            options.pop(name, None)
        return PartBatches(dataset, self.rule.sampler_, **options)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        x, y, index = (moved(part, self.device) for part in batch[:3])
        parts = cut(Batch(x, y, index), self.rule.sampler_.sizes)
        loss = torch.zeros((), device=self.device)
        for k in range(len(self.module_.members)):
            for term in self.rule.member_terms(self.members_, k, parts):
                term.backward()
                loss += term.detach() / len(self.module_.members)
        return {"loss": loss, "y_pred": None}

    def evidence(self, dataset: Any, wanted: Collection[str] = ()) -> Evidence:
        """What the members say together of every sample, in index order.

        Parameters
        ----------
        dataset : Labelled
        wanted : collection of {"log_proba", "features"}
            Besides losses and predictions.
        """
        return collect_evidence(self, dataset, wanted, self._phase_of_pass)[0]

    @property
    def _phase_of_pass(self) -> str:
        return f"cleansing for epoch {len(self.history)}"

    def evaluate(
        self, dataset: Any, of: Callable[[list[Tensor], Tensor], dict[str, Tensor]]
    ) -> Evidence:
        """Run every sample through every member once, in index order.

        In evaluation mode and without augmentation; a sample is read once for all.

        Parameters
        ----------
        dataset : Labelled
        of : callable
            From each member's logits (n, n_classes) and the given labels (n,) of a
            batch to what is wanted of it, each of shape (n, ...).

        Returns
        -------
        dict of str to ndarray
            Each of shape (n_samples, ...), floats as float64.
        """

        def step(batch: Batch) -> dict[str, Tensor]:
            self._set_training(False)
            x, y = moved(batch.x, self.device), moved(batch.y, self.device)
            if self.module_.shared:
                x = self.module_.embed(x)
                logits = [member.classify(x) for member in self.members_]
            else:
                logits = [member(x) for member in self.members_]
            return of([one.float() for one in logits], y)

        batches = self.get_iterator(dataset, training=False)
        outputs = steps(
            batches, step, description=self._phase_of_pass, verbose=self.verbose
        )
        found = join(outputs, len(dataset))
        return {
            name: (tensor.double() if tensor.is_floating_point() else tensor).numpy()
            for name, tensor in found.items()
        }
