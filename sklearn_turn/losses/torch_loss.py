"""A torch loss of the user's as the criterion of a net."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .base import SampleLoss


def torch_criterion(
    loss: nn.Module | type[nn.Module], n_classes: int | None = None
) -> dict[str, Any]:
    """Option of a skorch net for a torch loss: ``criterion``.

    Parameters
    ----------
    loss : Module or type
        A loss of (logits, labels), or a :class:`SampleLoss`; a class is called without
        arguments, and every net trains with a copy of an instance.
    n_classes : int, default=None
        If given, the loss is tried on so many classes.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is no class of losses, needs arguments, takes no logits, or fails when
        tried.
    """
    if isinstance(loss, type) and not issubclass(loss, nn.Module):
        raise ValueError(
            f"loss is the class {loss.__name__}, which is no torch module. Pass a "
            "name, or a loss such as torch.nn.CrossEntropyLoss(label_smoothing=0.1)."
        )
    make = loss if isinstance(loss, type) else partial(copy.deepcopy, loss)
    try:
        made = make()
    except TypeError as error:
        raise ValueError(
            f"loss is the class {_name(loss)}, which cannot be made without arguments "
            f"({error}). Pass an instance."
        ) from error
    if isinstance(made, nn.NLLLoss):
        raise ValueError(
            "loss is an NLLLoss, which takes log-probabilities, but a loss is given "
            "logits. Use torch.nn.CrossEntropyLoss, with the same arguments."
        )
    if n_classes is not None:
        _try(made, n_classes)
    return {"criterion": make}


def _try(loss: nn.Module, n_classes: int) -> None:
    """Raise if a torch loss cannot train a classifier of so many classes.

    Raises
    ------
    ValueError
        If it fails on logits and labels, or returns neither one number nor one per
        sample, or none that depends on the logits.
    """
    n = 3 if n_classes != 3 else 4  # as many as classes would hide an elementwise loss
    logits = torch.linspace(-1, 1, n * n_classes).reshape(n, n_classes)
    logits.requires_grad_()
    target = torch.arange(n) % n_classes
    more = [torch.arange(n)] if isinstance(loss, SampleLoss) else []
    asked = (
        f"The loss {_name(loss)} must take logits of shape (n, {n_classes}) and labels "
        "of shape (n,) in 0 .. n_classes - 1, and return one number or one per sample"
    )
    try:
        losses = loss.cpu()(logits, target, *more)
    except Exception as error:
        raise ValueError(f"{asked}, but fails: {error}") from error
    if not isinstance(losses, Tensor) or tuple(losses.shape) not in [(), (n,)]:
        got = getattr(losses, "shape", type(losses).__name__)
        raise ValueError(f"{asked}, but for {n} samples returns {got}.")
    if not losses.requires_grad or not losses.isfinite().all():
        raise ValueError(
            f"{asked}, finite and differentiable in the logits, but returns {losses}."
        )


def _name(loss: nn.Module | type[nn.Module]) -> str:
    return loss.__name__ if isinstance(loss, type) else type(loss).__name__
