"""The skorch net of a task: made from our options and the user's, and trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from skorch.callbacks import LRScheduler
from torch import nn

from .backbones import Embedder
from .exceptions import DistributedError, NotEnoughMemoryError
from .losses import SampleLoss
from .net_options import callback_name, callback_of
from .processes import ALONE
from .task import Task
from .training.batches import RandomOrder, RowBatches, on_device
from .training.modules import Classifier
from .training.net import Diverged, Net, diverged
from .training.optimizers import make_optimizer
from .training.out_of_memory import exhausted_device
from .training.schedules import CosineSchedule
from .training.shared_net import SharedNet

Options = dict[str, Any]


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
            "Set device='cpu', which is quick enough for a head on features."
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
