"""Linear probing and full fine-tuning on all labels, by one loss."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from ..backbones import BackboneLike
from ..base import BaseFineTuner
from ..losses import GCELoss
from ..task import Task
from ..training.net import history


def _constraints(prefixes: tuple[str, ...]) -> dict[str, Any]:
    """The base's constraints for parameters of the given steps and of all of them."""
    return {
        "loss": [StrOptions({"ce", "gce"})],
        **{
            name: rule
            for name, rule in BaseFineTuner._parameter_constraints.items()
            if name.startswith(prefixes) or not name.startswith(("lp_", "fft_"))
        },
    }


class LinearProbing(BaseFineTuner):
    """Train a linear head on the features of a frozen backbone.

    Parameters
    ----------
    backbone, pretrained : see :class:`~sklearn_turn.TURNClassifier`
    loss : {"ce", "gce"}, default="ce"
        Cross-entropy, or generalised cross-entropy.
    q : float in [0, 1], default=0.7
        Robustness of "gce".
    lp_epochs, lp_warmup_epochs, lp_lr, lp_batch_size, lp_params : see \
:class:`~sklearn_turn.TURNClassifier`
    input_size, crop_pct, batch_size, num_workers, device, precision, memory, \
on_bad_image, random_state, verbose : see :class:`~sklearn_turn.TURNClassifier`

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    net_ : skorch net
    history_ : list of dict
    """

    _parameter_constraints = {
        name: rule
        for name, rule in _constraints(("lp_",)).items()
        if name not in ("augment", "freeze_batch_norm")
    }

    def __init__(
        self,
        backbone: BackboneLike = "vit_b16",
        *,
        pretrained: bool | str | PathLike[str] = True,
        loss: str = "ce",
        q: float = 0.7,
        lp_epochs: int = 20,
        lp_warmup_epochs: int = 2,
        lp_lr: float | None = None,
        lp_batch_size: int | None = None,
        input_size: int | None = None,
        crop_pct: float | None = None,
        batch_size: int = 64,
        num_workers: int | str = "auto",
        device: str = "auto",
        precision: str = "auto",
        memory: Any = None,
        on_bad_image: str = "raise",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        lp_params: dict[str, Any] | None = None,
    ):
        self.backbone = backbone
        self.pretrained = pretrained
        self.loss = loss
        self.q = q
        self.lp_epochs = lp_epochs
        self.lp_warmup_epochs = lp_warmup_epochs
        self.lp_lr = lp_lr
        self.lp_batch_size = lp_batch_size
        self.input_size = input_size
        self.crop_pct = crop_pct
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.precision = precision
        self.memory = memory
        self.on_bad_image = on_bad_image
        self.random_state = random_state
        self.verbose = verbose
        self.lp_params = lp_params

    def _train(self, task: Task) -> None:
        probe = self._linear_probe(
            self._extract(task), task, q=self.q if self.loss == "gce" else 0.0
        )
        self.history_ = history({"probe": probe})
        self.net_ = probe
        # Predictions start from images, training did not.
        probe.module_.embed = task.embed


class FullFineTuning(BaseFineTuner):
    """Train the whole network on all samples, from a fresh head.

    Parameters
    ----------
    backbone, pretrained : see :class:`~sklearn_turn.TURNClassifier`
    loss : {"ce", "gce"}, default="ce"
        Cross-entropy, or generalised cross-entropy.
    q : float in [0, 1], default=0.7
        Robustness of "gce".
    fft_epochs : int, default=5
        The paper gives its baselines one epoch more than TURN.
    fft_optimizer, fft_lr, fft_weight_decay, fft_batch_size, fft_warmup, fft_params, \
freeze_batch_norm, augment : see :class:`~sklearn_turn.TURNClassifier`
    input_size, crop_pct, batch_size, num_workers, device, precision, memory, \
on_bad_image, random_state, verbose : see :class:`~sklearn_turn.TURNClassifier`

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    net_ : skorch net
    history_ : list of dict
    """

    _parameter_constraints = _constraints(("fft_",))

    def __init__(
        self,
        backbone: BackboneLike = "vit_b16",
        *,
        pretrained: bool | str | PathLike[str] = True,
        loss: str = "ce",
        q: float = 0.7,
        fft_epochs: int = 5,
        fft_optimizer: str | None = None,
        fft_lr: float | None = None,
        fft_weight_decay: float | None = None,
        fft_batch_size: int | None = None,
        fft_warmup: float = 0.1,
        freeze_batch_norm: bool = True,
        augment: str | Callable[[Tensor], Tensor] | None = "light",
        input_size: int | None = None,
        crop_pct: float | None = None,
        batch_size: int = 64,
        num_workers: int | str = "auto",
        device: str = "auto",
        precision: str = "auto",
        memory: Any = None,
        on_bad_image: str = "raise",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        fft_params: dict[str, Any] | None = None,
    ):
        self.backbone = backbone
        self.pretrained = pretrained
        self.loss = loss
        self.q = q
        self.fft_epochs = fft_epochs
        self.fft_optimizer = fft_optimizer
        self.fft_lr = fft_lr
        self.fft_weight_decay = fft_weight_decay
        self.fft_batch_size = fft_batch_size
        self.fft_warmup = fft_warmup
        self.freeze_batch_norm = freeze_batch_norm
        self.augment = augment
        self.input_size = input_size
        self.crop_pct = crop_pct
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.precision = precision
        self.memory = memory
        self.on_bad_image = on_bad_image
        self.random_state = random_state
        self.verbose = verbose
        self.fft_params = fft_params

    def _train(self, task: Task) -> None:
        scale, head, _ = self._untrained_head(task)
        criterion: dict[str, Any] = {"criterion": nn.CrossEntropyLoss}
        if self.loss == "gce":
            criterion = {"criterion": GCELoss, "criterion__q": self.q}
        self.net_ = self._fine_tune(
            task, scale=scale, head=head, callbacks=[], **criterion
        )
        self.history_ = history({"fine-tune": self.net_})
