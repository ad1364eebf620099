"""Groups of constructor parameters: default, legal values and description."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import fields
from numbers import Real
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from .constructor import (
    COUNT,
    COUNT_FROM_1,
    NOT_NEGATIVE,
    POSITIVE,
    parameter,
    with_parameters,
)
from .losses.choice import DEFAULTS, named_criterion
from .losses.torch_loss import torch_criterion


@with_parameters
class BackboneParameters:
    """Which backbone, and what it is fed.

    Parameters
    ----------
    backbone : str, Module or callable, default="vit_b16"
        An alias ("vit_b16", "vit_l16", "convnext_t", "mae_vit_b", "msn_vit_b",
        "clip_vit_b", "clip_vit_l14", "resnet50", and "letters", a small one that
        ships with the package), a timm name, a module (copied before use) or a
        function returning one. Not used for 2-D X.
    pretrained : bool or path, default=True
        True downloads the published weights through timm; a path is a
        ``.safetensors`` or ``.pth`` checkpoint; False starts at random.
    input_size : int, default=None
        Side of the backbone's input in pixels; None is its own. Smaller is faster.
    crop_pct : float in (0, 1], default=None
        Share of the resized image that is kept at its centre; None is the
        backbone's own.
    """

    backbone: str | nn.Module | Callable[[], nn.Module] = parameter(
        default="vit_b16", legal=[str, callable], kw_only=False
    )
    pretrained: bool | str | os.PathLike[str] = parameter(
        default=True, legal=["boolean", str, os.PathLike]
    )
    input_size: int | None = parameter(default=None, legal=[COUNT_FROM_1, None])
    crop_pct: float | None = parameter(
        default=None, legal=[Interval(Real, 0, 1, closed="right"), None]
    )


@with_parameters
class RunParameters:
    """Where and how networks run.

    Parameters
    ----------
    batch_size : int, default=64
        For passes without gradients.
    num_workers : int or "auto", default="auto"
        Processes that decode image files. "auto" is up to 8 with a CUDA device, in a
        worker of a search no more than its share of the CPUs, and 0 elsewhere, where
        files are decoded by as many threads as torch uses. Daemonic processes, such as
        Dask's workers, start none. No effect on results.
    device : str or torch.device, default="auto"
        "cpu", "cuda", "cuda:1", "mps"; "auto" takes an accelerator if there is one.
        Of several GPUs, workers of ``n_jobs`` take one each, in turn; other processes
        the first they see.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the backbone; "auto" is bfloat16 autocast where the hardware has
        instructions for it.
    memory : path, joblib.Memory, FeatureMemory or None, default=None
        Folder where features are kept. An image passes through the frozen backbone
        once, then: the folds and candidates of a search and later runs read its
        features. Any number of processes may share the folder, also while it fills.
    compile : bool, default=False
        Compile the backbone by ``torch.compile`` when it is first run, which takes a
        minute or more, and again for other sizes of batches; for long runs on a GPU.
        Needs a C++ compiler. Results differ by rounding.
    distributed : bool, default=False
        Share the work of one fit among the processes of torch's process group, each
        of which calls ``fit`` with the same data and parameters and gets the same
        result: passes of the backbone and fine-tuning. Predictions are each process's
        own. See "Several GPUs" in the documentation.
    random_state : int, RandomState or None, default=None
        An int makes a fit repeatable, bit for bit on a CPU, whatever
        ``num_workers``. Fits in threads of one process take turns.
    verbose : int, default=0
        1 shows progress, and after each cleansing how many labels are clean.
    """

    batch_size: int = parameter(default=64, legal=[COUNT_FROM_1])
    num_workers: int | str = parameter(
        default="auto", legal=[COUNT, StrOptions({"auto"})]
    )
    device: str | torch.device = parameter(default="auto", legal=[str, torch.device])
    precision: str = parameter(
        default="auto", legal=[StrOptions({"auto", "float32", "bfloat16"})]
    )
    memory: Any = parameter(default=None, legal=[str, os.PathLike, joblib.Memory, None])
    compile: bool = parameter(default=False, legal=["boolean"])
    distributed: bool = parameter(default=False, legal=["boolean"])
    random_state: int | np.random.RandomState | None = parameter(
        default=None, legal=["random_state"]
    )
    verbose: int = parameter(default=0, legal=["verbose"])


@with_parameters
class ClassifierParameters(RunParameters, BackboneParameters):
    """What every classifier with a backbone takes.

    Parameters
    ----------
    on_bad_image : {"raise", "skip"}, default="raise"
        Refuse to fit when image files are missing or damaged, or leave them out: they
        are listed in ``skipped_`` and never count as clean. Skipping reads every file
        once more. Predictions always refuse, also those of a search or a
        cross-validation: drop bad files before these.
    checkpoint : path, default=None
        Folder for one fit, which goes on there when it was stopped, in whatever way,
        and is called again with the same data and parameters; on a CPU with the same
        number of threads it ends with the same bits. Features are kept as they are
        computed, and the state of fine-tuning after every epoch, three to four times
        the size of the model.
    """

    on_bad_image: str = parameter(
        default="raise", legal=[StrOptions({"raise", "skip"})]
    )
    checkpoint: str | os.PathLike[str] | None = parameter(
        default=None, legal=[str, os.PathLike, None]
    )


@with_parameters
class ProbeParameters:
    """Linear probing.

    Parameters
    ----------
    lp_epochs : int, default=20
        Epochs of linear probing, the paper's E_LP.
    lp_warmup_epochs : int, default=None
        First epochs of the probe, which use cross-entropy: at a fresh head a robust
        loss has a gradient C^-q times smaller. None is 2, or half of ``lp_epochs``
        where classes are of very unequal size, of which a robust loss would give up the
        rare, and where they are many: 28 or more in 480 steps, which is what fewer than
        3072 samples have; C with fewer than 1.75 C^1.7 steps in general. With fewer
        than 3 C^1.7 it is a quarter.
    lp_lr : float, default=None
        Peak learning rate of the probe (AdamW, cosine decay). None is
        1e-3 * sqrt(192 / n_features), at most 1e-2.
    lp_batch_size : int, default=None
        None is 128, or down to 8 for fewer than 3072 samples, so that an epoch has
        about 24 steps: with few, the probe would not get far.
    lp_params : dict, default=None
        More arguments for the probe's skorch net, such as ``callbacks`` or
        ``optimizer__betas``. Callbacks act on the probe that is kept, not on those
        that are trained out of fold to judge labels.
    """

    lp_epochs: int = parameter(default=20, legal=[COUNT])
    lp_warmup_epochs: int | None = parameter(default=None, legal=[COUNT, None])
    lp_lr: float | None = parameter(default=None, legal=[POSITIVE, None])
    lp_batch_size: int | None = parameter(default=None, legal=[COUNT_FROM_1, None])
    lp_params: dict[str, Any] | None = parameter(default=None, legal=[dict, None])

    def probe_only(self, **changes: Any) -> ProbeParameters:
        """These parameters without the rest of an estimator, some of them changed."""
        values = {f.name: getattr(self, f.name) for f in fields(ProbeParameters)}
        return ProbeParameters(**{**values, **changes})


@with_parameters
class FineTuneParameters:
    """Full fine-tuning.

    Parameters
    ----------
    fft_epochs : int, default=4
        Epochs of full fine-tuning, the paper's E_FFT.
    fft_optimizer : {"adamw", "adam", "sgd"}, default=None
        None is the backbone's own default.
    fft_lr, fft_weight_decay : float, default=None
        Peak learning rate (cosine decay) and weight decay; None is the backbone's
        own. With an optimiser of the other kind, the backbone's own rate is multiplied
        by 100 for SGD, or divided by 100 for "adamw", "adam" and others. The
        learning rate decides whether fine-tuning helps: tune it first.
        Biases, norms and what timm exempts (position embeddings) are not decayed.
    fft_layer_decay : float in (0, 1], default=None
        Learning rate of each layer relative to the next one, so that early layers
        change less; 0.75 is usual for ViTs. None is one rate for all. Needs a timm
        backbone. Groups of ``optimizer__param_groups`` with a rate keep theirs.
    fft_batch_size : int, default=None
        None is 64, or down to 16 for fewer than 3072 samples: with few steps
        fine-tuning would not get far.
    fft_lr_warmup : float in [0, 1), default=0.1
        Share of fine-tuning over which the learning rate rises; nothing where that is
        one step or less.
    freeze_batch_norm : bool, default=True
        BatchNorm layers keep the statistics of the pre-training and use them while
        fine-tuning: the batches of a small clean subset estimate them poorly. No
        effect on backbones without BatchNorm, or without pre-training.
    fft_grad_checkpointing : bool, default=False
        Compute activations again in the backward pass instead of keeping them: far
        less memory for a third more time, and the same gradients. BatchNorm layers
        that are not frozen count every batch twice. For timm backbones.
    augment : {"light", "color"}, callable or None, default="light"
        Augmentation while fine-tuning: random flip and crop, the same with random
        brightness, contrast and saturation, a function of a float batch
        (n, 3, height, width) in [0, 1] on the device, or none. Use None where mirror
        images differ in meaning, as with digits.
    fft_params : dict, default=None
        More arguments for the skorch net of fine-tuning, such as ``callbacks``,
        ``train_split`` or ``optimizer__param_groups``. A callback that is a skorch
        ``LRScheduler`` takes the place of the cosine schedule, which would overrule
        others that set the learning rate.
    """

    fft_epochs: int = parameter(default=4, legal=[COUNT])
    fft_optimizer: str | None = parameter(
        default=None, legal=[StrOptions({"adamw", "adam", "sgd"}), None]
    )
    fft_lr: float | None = parameter(default=None, legal=[POSITIVE, None])
    fft_weight_decay: float | None = parameter(default=None, legal=[NOT_NEGATIVE, None])
    fft_layer_decay: float | None = parameter(
        default=None, legal=[Interval(Real, 0, 1, closed="right"), None]
    )
    fft_batch_size: int | None = parameter(default=None, legal=[COUNT_FROM_1, None])
    fft_lr_warmup: float = parameter(
        default=0.1, legal=[Interval(Real, 0, 1, closed="left")]
    )
    freeze_batch_norm: bool = parameter(default=True, legal=["boolean"])
    fft_grad_checkpointing: bool = parameter(default=False, legal=["boolean"])
    augment: str | Callable[[Tensor], Tensor] | None = parameter(
        default="light", legal=[StrOptions({"light", "color"}), callable, None]
    )
    fft_params: dict[str, Any] | None = parameter(default=None, legal=[dict, None])


@with_parameters
class LossParameters:
    """The loss of a method that has one.

    Parameters
    ----------
    loss : str, Module or type, default="ce"
        "ce" (cross-entropy), "gce" (generalised, or truncated), "sce" (symmetric),
        "elr" (early-learning regularised), "nce+rce", "ngce+mae", "nce+agce",
        "nce+aul" or "nce+ael" (active and passive), see :mod:`sklearn_turn.losses`. Or
        a torch loss of logits and labels, averaged or per sample: an instance, which is
        copied before use, or a class that needs no arguments.
    q : float, default=None
        Exponent of "gce", "ngce+mae" (both in [0, 1]; 0 is cross-entropy), "nce+agce"
        and "nce+aul". None, here and below, is the value published for the loss and
        about as many classes; other losses ignore it.
    truncation : float in (0, 1), default=None
        Of "gce": samples whose label stays less probable are left out of training
        after a third of the epochs; published is 0.5. None leaves out none.
    alpha, beta : float, default=None
        Weights of the two terms of "sce" and of the sums "x+y", in this order.
    a : float, default=None
        Asymmetry of "nce+agce", "nce+aul" (greater than 1) and "nce+ael".
    elr_lambda : float, default=None
        Weight of the regulariser of "elr"; None is 7.
    elr_beta : float in [0, 1), default=None
        Share of a sample's average prediction that "elr" keeps from one epoch to the
        next; None is 0.9. The averages take 4 bytes per sample and class in training.
    """

    loss: str | nn.Module | type[nn.Module] = parameter(
        default="ce", legal=[StrOptions(set(DEFAULTS)), nn.Module, type]
    )
    q: float | None = parameter(default=None, legal=[NOT_NEGATIVE, None])
    truncation: float | None = parameter(
        default=None, legal=[Interval(Real, 0, 1, closed="neither"), None]
    )
    alpha: float | None = parameter(default=None, legal=[NOT_NEGATIVE, None])
    beta: float | None = parameter(default=None, legal=[NOT_NEGATIVE, None])
    a: float | None = parameter(default=None, legal=[POSITIVE, None])
    elr_lambda: float | None = parameter(default=None, legal=[NOT_NEGATIVE, None])
    elr_beta: float | None = parameter(
        default=None, legal=[Interval(Real, 0, 1, closed="left"), None]
    )

    def _check_loss(self) -> None:
        """Raise for a loss that is wrong whatever the data."""
        if isinstance(self.loss, str):
            self._loss(n_samples=1, n_classes=2, n_visits=1)
        else:
            torch_criterion(self.loss)

    def _warn_if_unused(self, n_epochs: int, n_warmup: int, prefix: str) -> None:
        """Warn of a loss that no epoch is left for."""
        given = (getattr(self, f"{prefix}_params") or {}).get("criterion")
        unused = f"loss={self.loss!r}" if given is None else f"criterion {given!r}"
        if 0 < n_epochs <= n_warmup and (self.loss != "ce" or given is not None):
            warnings.warn(
                f"All {n_epochs} epochs are warm-up with cross-entropy, so that "
                f"{unused} is not used: raise {prefix}_epochs above "
                f"{prefix}_warmup_epochs={n_warmup}, or lower that.",
                stacklevel=2,
            )

    def _loss(self, *, n_samples: int, n_classes: int, n_visits: int) -> dict[str, Any]:
        """Options of a skorch net: ``criterion`` and ``criterion__*``.

        Parameters
        ----------
        n_samples, n_classes : int
            Of the training set.
        n_visits : int
            How often the loss will see each sample.

        Raises
        ------
        ValueError
            If the loss would fail on such data.
        """
        if not isinstance(self.loss, str):
            return torch_criterion(self.loss, n_classes)
        given = {f.name: getattr(self, f.name) for f in fields(LossParameters)}
        return named_criterion(
            self.loss,
            given,
            n_samples=n_samples,
            n_classes=n_classes,
            n_visits=n_visits,
        )
