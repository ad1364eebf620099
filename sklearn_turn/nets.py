"""The skorch net of a task: our options, the user's, and which may not be set."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from skorch.callbacks import LRScheduler
from torch import nn

from .backbones import Embedder
from .exceptions import DistributedError, NotEnoughMemoryError
from .losses import SampleLoss
from .parameters import FineTuneParameters, LossParameters, ProbeParameters
from .processes import ALONE
from .task import Task
from .training.batches import RandomOrder, RowBatches, on_device
from .training.evidence import check_in_order
from .training.modules import Classifier
from .training.net import Diverged, Net, diverged
from .training.optimizers import make_optimizer
from .training.out_of_memory import exhausted_device
from .training.schedules import CosineSchedule
from .training.shared import SharedNet

Options = dict[str, Any]

# Of a skorch net, but the estimator's to set.
_OURS = {
    *("module", "classes", "device", "warmup_epochs", "layer_decay", "phase"),
    "predict_nonlinearity",
}


class Start(NamedTuple):
    """What fine-tuning starts from, beside the backbone.

    Attributes
    ----------
    scale : Module
    head : Linear
    """

    scale: nn.Module
    head: nn.Linear


def copied_start(scale: nn.Module, head: nn.Linear) -> Start:
    """A copy; what a callback kept from being trained, the next net trains."""
    scale, head = copy.deepcopy((scale, head))
    return Start(scale, head.requires_grad_(True))


def make_net(
    task: Task,
    start: Start,
    extra: Mapping[str, Any] | None,
    *,
    callbacks: list[tuple[str, Any]],
    last: Sequence[tuple[str, Any]] = (),
    kind: type[Net] = Net,
    **options: Any,
) -> Net:
    """A skorch net for a task, not trained.

    Parameters
    ----------
    task : Task
    start : Start
    extra : mapping or None
        The user's options, which win over ours.
    callbacks : list of (str, Callback)
        The user's come after them.
    last : sequence of (str, Callback), default=()
        Come after the user's.
    kind : type, default=Net
        Class of the net.
    **options
        Ours.

    Returns
    -------
    Net
    """
    processes = task.runtime.processes
    if kind is Net and processes.are_several and not task.is_frozen:
        # Heads on features train in seconds, in every process alike.
        kind, options = SharedNet, {**options, "processes": processes}
    extra = dict(extra or {})
    added = list(extra.pop("callbacks", None) or [])
    if any(isinstance(callback_of(entry), RandomOrder) for entry in added):
        # The user's selects the samples of each epoch, and ours would do so as well.
        callbacks = [c for c in callbacks if not isinstance(c[1], RandomOrder)]
    if any(isinstance(callback_of(entry), LRScheduler) for entry in added):
        callbacks = [c for c in callbacks if not isinstance(c[1], CosineSchedule)]
    if "optimizer" in extra:
        # Another optimiser takes none of our options but the learning rate.
        options = {k: v for k, v in options.items() if not k.startswith("optimizer__")}
    if "criterion" in extra:
        if isinstance(extra["criterion"], nn.Module):
            # Of this net alone: it may have a state, or parameters.
            extra["criterion"] = copy.deepcopy(extra["criterion"])
        options = {k: v for k, v in options.items() if not k.startswith("criterion")}
    batch_size = extra.get("batch_size", options.get("batch_size", 1))
    if batch_size == -1:  # skorch's word for all
        batch_size = len(task.y)
    return kind(
        **{
            "module": Classifier,
            "module__embed": task.embed,
            "module__scale": start.scale,
            "module__head": start.head,
            "optimizer": make_optimizer,
            "classes": np.arange(task.n_classes),
            "device": str(task.runtime.device),
            "iterator_valid__batch_size": task.runtime.batch_size,
            **_loaders(task, extra, batch_size),
            **options,
            "callbacks": [*callbacks, *added, *last],
            **extra,
        },
    )


def _loaders(task: Task, extra: Mapping[str, Any], batch_size: int) -> Options:
    """How a net reads batches: features as rows in memory, all else by a loader."""
    n_samples, runtime = len(task.y), task.runtime
    valid, train = (
        runtime.loader_options(
            decodes=task.source.decodes, n_batches=-(-n_samples // size)
        )
        for size in (runtime.batch_size, batch_size)
    )
    if task.is_frozen:
        valid["pin_memory"] = train["pin_memory"] = False  # perhaps on the device
    options = {f"iterator_valid__{k}": v for k, v in valid.items()}
    if task.is_frozen and not any(k.startswith("iterator_train") for k in extra):
        return {**options, "iterator_train": RowBatches}
    n_workers = extra.get("iterator_train__num_workers", train["num_workers"])
    train["persistent_workers"] = n_workers > 0
    return {**options, **{f"iterator_train__{k}": v for k, v in train.items()}}


def _own(net: Net) -> Net:
    """A net that may be trained further, pickled and used without other processes.

    Its checkpoint, which is of this fit, would put the weights back.
    """
    if isinstance(net, SharedNet):
        net.processes = ALONE
    for name in ("callbacks", "callbacks_"):
        given = getattr(net, name) or []
        setattr(net, name, [c for c in given if callback_name(c) != "checkpoint"])
    net.n_epochs_done_ = 0
    return net


def fit_net(net: Net, task: Task, *, rate: str = "fft_lr") -> Net:
    """Train a net on a task, or only initialise it for no epochs; return it.

    Raises
    ------
    ValueError
        If training diverged; the message names the parameter of the learning ``rate``.
    NotEnoughMemoryError
        If the device has too little memory; the message names what needs less.
    """
    if not net.max_epochs:
        net.initialize()
        net.module_.eval()
        return _own(net)
    if isinstance(task.embed, Embedder):
        task.embed.free_untrained_batch_norm()
    try:
        # The labels once more, for a stratified train_split.
        net.fit(on_device(task.dataset, task.runtime.device), task.y)
    except Diverged:
        # Cleansing found it, or a probe on what this net made of the features.
        raise diverged(net, rate) from None
    except RuntimeError as error:
        if isinstance(error, DistributedError) or exhausted_device(error) is None:
            raise
        error.__traceback__ = None  # which holds activations
        raise NotEnoughMemoryError(_what_needs_less(task, net.batch_size)) from error
    net.forget_optimizer()
    if isinstance(net.criterion_, SampleLoss):
        net.criterion_.forget()
    net.module_.eval()
    _check_converged(net, task, rate)
    return _own(net)


def _what_needs_less(task: Task, batch_size: int) -> str:
    if task.is_frozen:
        return (
            f"There is too little memory to train on batches of {batch_size} features. "
            "Set device='cpu', which features hardly need more than."
        )
    return (
        f"There is too little memory to fine-tune with batches of {batch_size} "
        f"samples. Lower fft_batch_size; set precision='bfloat16'; set "
        "fft_grad_checkpointing=True, which computes activations twice instead of "
        "keeping them; or take a smaller input_size or backbone. With a train_split, "
        "lower batch_size as well."
    )


def _check_converged(net: Net, task: Task, rate: str) -> None:
    # Finite weights may still overflow: two samples tell.
    logits = net.evaluation_step(task.dataset.__getitems__(range(min(2, len(task.y)))))
    finite = all(bool(t.isfinite().all()) for t in (logits, *net.module_.parameters()))
    finite &= all(np.isfinite(row.get("train_loss", 0.0)) for row in net.history)
    if not finite:
        raise diverged(net, rate)


def check_probe_options(parameters: ProbeParameters) -> None:
    """Raise if ``lp_params`` holds unknown options, or some that are ours to set.

    Raises
    ------
    ValueError
        Naming the option and what to use instead.
    """
    extra = parameters.lp_params or {}
    _check_net_options("lp_params", extra, "lp_epochs")
    own = {"lr": "lp_lr", "optimizer__lr": "lp_lr"}
    own |= dict.fromkeys(("batch_size", "iterator_train__batch_size"), "lp_batch_size")
    _refuse_twice("lp_params", extra, parameters, own)
    _refuse_other_loss("lp_params", extra, parameters)


def check_fine_tune_options(
    parameters: FineTuneParameters, *, selects: bool = False
) -> None:
    """Raise if ``fft_params`` holds unknown options, or some that are ours to set.

    Parameters
    ----------
    parameters : FineTuneParameters
    selects : bool
        Whether the method itself selects the samples of each epoch.

    Raises
    ------
    ValueError
        Naming the option and what to use instead.
    """
    extra = parameters.fft_params or {}
    _check_net_options("fft_params", extra, "fft_epochs")
    own = {"lr": "fft_lr", "optimizer__lr": "fft_lr"}
    own |= dict.fromkeys(("batch_size", "iterator_train__batch_size"), "fft_batch_size")
    own["optimizer__weight_decay"] = "fft_weight_decay"
    _refuse_twice("fft_params", extra, parameters, own)
    _refuse_other_loss("fft_params", extra, parameters)
    if "optimizer__name" in extra:
        raise ValueError(
            "fft_params holds 'optimizer__name'; set fft_optimizer instead."
        )
    for name in ("fft_optimizer", "fft_weight_decay"):
        if "optimizer" in extra and getattr(parameters, name) is not None:
            raise ValueError(
                f"fft_params holds an optimizer, so that {name} has no effect. Leave "
                f"{name} at None; options go into fft_params, such as "
                "'optimizer__weight_decay'."
            )
    added = [callback_of(entry) for entry in extra.get("callbacks") or []]
    if selects and any(isinstance(callback, RandomOrder) for callback in added):
        raise ValueError(
            "fft_params holds a callback that selects the samples of each epoch, and "
            "so does the estimator. Remove it, or set cleansing=None."
        )


def _refuse_twice(
    name: str, extra: Mapping[str, Any], parameters: Any, own: Mapping[str, str]
) -> None:
    """Raise if an option of the net is given in two ways, of which one would win."""
    for key, ours in own.items():
        if key in extra and getattr(parameters, ours) is not None:
            raise ValueError(
                f"{name} holds {key!r}, so that {ours}={getattr(parameters, ours)} has "
                f"no effect. Leave one of them out; a search needs {ours}."
            )


def _refuse_other_loss(name: str, extra: Mapping[str, Any], parameters: Any) -> None:
    """Raise if a criterion takes the place of a loss that was chosen as well."""
    of_loss = [field.name for field in fields(LossParameters)]
    if not isinstance(parameters, LossParameters):
        # Of TURN's probe; other methods have a loss of their own.
        of_loss = ["q"] if name == "lp_params" and hasattr(parameters, "q") else []
    for field in of_loss:
        if f"criterion__{field}" in extra and "criterion" not in extra:
            raise ValueError(f"{name} holds 'criterion__{field}'; set {field} instead.")
        value = getattr(parameters, field)
        usual = inspect.signature(type(parameters)).parameters[field].default
        # A loss may be a module, which equals itself alone.
        if "criterion" in extra and not (value is usual or value == usual):
            raise ValueError(
                f"{name} holds a criterion, so that {field}={value!r} has no effect. "
                "Leave one of them out."
            )


def _check_net_options(name: str, extra: Mapping[str, Any] | None, epochs: str) -> None:
    extra = dict(extra or {})
    _check_callbacks(name, extra.pop("callbacks", None), "train_split" in extra)
    if "max_epochs" in extra:
        raise ValueError(f"{name} holds max_epochs; set {epochs} instead.")
    if not callable(extra.get("train_split") or Net):
        raise ValueError(
            f"The train_split of {name} is {extra['train_split']!r}; pass an object "
            "such as skorch.dataset.ValidSplit(5, stratified=True)."
        )
    for key in ("iterator_train__sampler", "iterator_train__batch_sampler"):
        if key in extra:
            raise ValueError(
                f"{name} holds {key!r}, but the estimator chooses the samples of each "
                "epoch. For another choice, pass a callback derived from Cleansing."
            )
    check_in_order(extra, name)
    criterion = extra.get("criterion")
    kind = criterion if isinstance(criterion, type) else type(criterion)
    if issubclass(kind, nn.NLLLoss):
        raise ValueError(
            f"The criterion of {name} is an NLLLoss, which takes log-probabilities, "
            "but is given logits. Use torch.nn.CrossEntropyLoss, with the same "
            "arguments."
        )
    ours = sorted(key for key in extra if key.split("__")[0] in _OURS)
    if ours:
        raise ValueError(
            f"{name} holds {ours[0]!r}, which the estimator sets itself. Use its own "
            "parameters, such as backbone, device or fft_layer_decay."
        )
    net = Net(Classifier)
    known = {*net.get_params(deep=False), "optimizer", *net.prefixes_}
    unknown = sorted(key for key in extra if key.split("__")[0] not in known)
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=3)
        hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"{name} holds {unknown[0]!r}, which is no argument of a skorch net.{hint}"
        )


def _check_callbacks(name: str, callbacks: Any, has_split: bool) -> None:
    if not isinstance(callbacks, (list, tuple, type(None))):
        raise ValueError(
            f"The callbacks of {name} are {callbacks!r}; pass a list of them."
        )
    for entry in callbacks or []:
        callback = callback_of(entry)
        if isinstance(callback, type):
            raise ValueError(
                f"{name} holds the class {callback.__name__} as a callback; pass an "
                f"instance: {callback.__name__}()."
            )
        monitored = str(getattr(callback, "monitor", ""))
        if monitored.startswith("valid") and not has_split:
            raise ValueError(
                f"{name} holds {type(callback).__name__}, which monitors "
                f"{monitored!r}, but no validation set: add "
                "'train_split': skorch.dataset.ValidSplit(5, stratified=True)."
            )
    given = {callback_name(entry) for entry in callbacks or []}
    taken = sorted(given & {"cosine", "order", "cleansing", "rule", "checkpoint"})
    if taken:
        raise ValueError(
            f"{name} names a callback {taken[0]!r}, as the estimator does; choose "
            "another name."
        )


def callback_name(entry: Any) -> Any:
    """The name of a callback of a list of callbacks or pairs, if it has one."""
    return entry[0] if isinstance(entry, tuple) else None


def callback_of(entry: Any) -> Any:
    """A callback of a list of callbacks or pairs of name and callback."""
    return entry[1] if isinstance(entry, tuple) else entry
