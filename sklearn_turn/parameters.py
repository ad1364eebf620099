"""Constructor parameters, each written once: default, legal values and description.

An estimator inherits the groups it needs and adds its own. Its constructor is a real
one, with explicit keyword arguments, and its docstring lists all of them.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeVar, dataclass_transform

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import Tensor, nn

from .losses import CrossEntropyLoss, GCELoss

T = TypeVar("T")

_POSITIVE = Interval(Integral, 1, None, closed="left")
_COUNT = Interval(Integral, 0, None, closed="left")
_SHARE = Interval(Real, 0, 1, closed="both")
_RATE = Interval(Real, 0, None, closed="neither")


def parameter(*, default: Any, legal: list[Any], kw_only: bool = True) -> Any:
    """Declare a constructor parameter.

    Parameters
    ----------
    default : object
    legal : list
        What scikit-learn's ``_parameter_constraints`` takes.
    kw_only : bool, default=True
    """
    return field(default=default, kw_only=kw_only, metadata={"legal": legal})


@dataclass_transform(kw_only_default=True, field_specifiers=(parameter,))
def with_parameters(cls: type[T]) -> type[T]:
    """Class decorator: constructor, constraints and docstring from the parameters.

    Parameters
    ----------
    cls : type
        Its annotated parameters and those of its bases become keyword arguments of
        ``__init__``, which stores them and does nothing else.

    Returns
    -------
    type
        The same class.
    """
    cls = dataclass(eq=False, repr=False)(cls)
    declared: Any = cls
    declared._parameter_constraints = {
        f.name: list(f.metadata["legal"]) for f in fields(declared)
    }
    if cls.__doc__:
        cls.__doc__ = _document(cls)
    return cls


# The section's title, then everything up to the next title or the end.
_SECTION = re.compile(r"(Parameters\n-{10}\n)(.*?)(?=\n+\S[^\n]*\n---|\Z)", re.DOTALL)


# Class -> what its own docstring says of its own parameters.
_OWN_ENTRIES: dict[type, dict[str, str]] = {}


def _entries(cls: type) -> dict[str, str]:
    """Parameter -> its text in the class's own docstring."""
    found = _SECTION.search(_dedented(cls))
    section = found[2].strip("\n") if found else ""
    entries: dict[str, str] = {}
    for text in re.split(r"\n(?=\S)", section) if section else []:
        names = text.split(" : ", 1)[0]
        entries |= {name.strip(): text for name in names.split(",")}
    return entries


def _dedented(cls: type) -> str:
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


def _document(cls: type) -> str:
    """Docstring that also lists inherited parameters: positional, own, the rest."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[1:]):
        texts |= _OWN_ENTRIES.get(base, {})
    own = _OWN_ENTRIES[cls] = _entries(cls)
    texts |= own
    declared = fields(cls)
    first = [f.name for f in declared if not f.kw_only]
    rest = [f.name for f in declared if f.name not in own]
    order = dict.fromkeys([*first, *own, *rest])
    listed = "\n".join(dict.fromkeys(texts[n] for n in order if n in texts))
    # Between an empty section and the next title there is only one line break.
    return _SECTION.sub(
        lambda found: found[1] + listed + "\n" * (not found[2]), _dedented(cls), count=1
    )


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
    input_size: int | None = parameter(default=None, legal=[_POSITIVE, None])
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
        Processes that decode image files. "auto" is up to 8 with a CUDA device and 0
        elsewhere, where files are decoded by as many threads as torch uses. No effect
        on results.
    device : str or torch.device, default="auto"
        "cpu", "cuda", "cuda:1", "mps"; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the backbone; "auto" is bfloat16 autocast where the hardware has matrix
        units for it.
    memory : path, joblib.Memory, FeatureMemory or None, default=None
        Folder where features are kept. An image passes through the frozen backbone
        once, then: the folds and candidates of a search and later runs read its
        features. Any number of processes may share the folder.
    random_state : int, RandomState or None, default=None
        An int makes a fit repeatable, bit for bit on a CPU, whatever
        ``num_workers``. Fits in threads of one process take turns.
    verbose : int, default=0
        1 shows progress bars, and after each cleansing how many labels are clean.
    """

    batch_size: int = parameter(default=64, legal=[_POSITIVE])
    num_workers: int | str = parameter(
        default="auto", legal=[_COUNT, StrOptions({"auto"})]
    )
    device: str | torch.device = parameter(default="auto", legal=[str, torch.device])
    precision: str = parameter(
        default="auto", legal=[StrOptions({"auto", "float32", "bfloat16"})]
    )
    memory: Any = parameter(
        default=None, legal=[str, os.PathLike, HasMethods(["cache"]), None]
    )
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
    """

    on_bad_image: str = parameter(
        default="raise", legal=[StrOptions({"raise", "skip"})]
    )


@with_parameters
class ProbeParameters:
    """Linear probing.

    Parameters
    ----------
    lp_epochs : int, default=20
        Epochs of linear probing, the paper's E_LP.
    lp_warmup_epochs : int, default=2
        First epochs of the probe, which use cross-entropy: at a fresh head a robust
        loss has a gradient C^-q times smaller.
    lp_lr : float, default=None
        Peak learning rate of the probe (AdamW, cosine decay). None is 1e-3 for up to
        192 features, and 1e-3 * sqrt(192 / n_features) for more.
    lp_batch_size : int, default=None
        None is 128, or less for fewer than 3072 samples, so that an epoch has about
        24 steps: with few, the probe would not get far.
    lp_params : dict, default=None
        More arguments for the probe's skorch net, such as ``callbacks`` or
        ``optimizer__betas``.
    """

    lp_epochs: int = parameter(default=20, legal=[_COUNT])
    lp_warmup_epochs: int = parameter(default=2, legal=[_COUNT])
    lp_lr: float | None = parameter(default=None, legal=[_RATE, None])
    lp_batch_size: int | None = parameter(default=None, legal=[_POSITIVE, None])
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
        own. The learning rate decides whether fine-tuning helps: tune it first.
        Biases, norms and what timm exempts (position embeddings) are not decayed.
    fft_layer_decay : float in (0, 1], default=None
        Learning rate of each layer relative to the next one, so that early layers
        change less; 0.75 is usual for ViTs. None is one rate for all. Needs a timm
        backbone.
    fft_batch_size : int, default=None
        None is 64, or down to 16 for fewer than 3072 samples: with few steps
        fine-tuning would not get far.
    fft_lr_warmup : float in [0, 1), default=0.1
        Share of fine-tuning over which the learning rate rises.
    freeze_batch_norm : bool, default=True
        BatchNorm layers keep the statistics of the pre-training and use them while
        fine-tuning: the batches of a small clean subset estimate them poorly. No
        effect on backbones without BatchNorm.
    augment : {"light", "color"}, callable or None, default="light"
        Augmentation while fine-tuning: random flip and crop, the same with random
        brightness, contrast and saturation, a function of a float batch
        (n, 3, height, width) in [0, 1] on the device, or none. Use None where mirror
        images differ in meaning, as with digits.
    fft_params : dict, default=None
        More arguments for the skorch net of fine-tuning, such as ``callbacks``,
        ``train_split`` or ``optimizer__param_groups``. A callback that is a skorch
        ``LRScheduler`` takes the place of the cosine schedule.
    """

    fft_epochs: int = parameter(default=4, legal=[_COUNT])
    fft_optimizer: str | None = parameter(
        default=None, legal=[StrOptions({"adamw", "adam", "sgd"}), None]
    )
    fft_lr: float | None = parameter(default=None, legal=[_RATE, None])
    fft_weight_decay: float | None = parameter(
        default=None, legal=[Interval(Real, 0, None, closed="left"), None]
    )
    fft_layer_decay: float | None = parameter(
        default=None, legal=[Interval(Real, 0, 1, closed="right"), None]
    )
    fft_batch_size: int | None = parameter(default=None, legal=[_POSITIVE, None])
    fft_lr_warmup: float = parameter(
        default=0.1, legal=[Interval(Real, 0, 1, closed="left")]
    )
    freeze_batch_norm: bool = parameter(default=True, legal=["boolean"])
    augment: str | Callable[[Tensor], Tensor] | None = parameter(
        default="light", legal=[StrOptions({"light", "color"}), callable, None]
    )
    fft_params: dict[str, Any] | None = parameter(default=None, legal=[dict, None])


@with_parameters
class LossParameters:
    """The loss of a method that has one.

    Parameters
    ----------
    loss : {"ce", "gce"}, default="ce"
        Cross-entropy, or generalised cross-entropy.
    q : float in [0, 1], default=0.7
        Robustness of "gce"; 0 is cross-entropy.
    """

    loss: str = parameter(default="ce", legal=[StrOptions({"ce", "gce"})])
    q: float = parameter(default=0.7, legal=[_SHARE])

    def _loss(self) -> dict[str, Any]:
        """Options of a skorch net: ``criterion`` and ``criterion__*``."""
        if self.loss == "ce":
            return {"criterion": CrossEntropyLoss}
        return {"criterion": GCELoss, "criterion__q": self.q}
