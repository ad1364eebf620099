"""What all losses share: the interface, and how labels enter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, nll_loss

from .memory import SampleMemory


class SampleLoss(nn.Module):
    """Base of losses with one value per sample; a net takes their (weighted) mean.

    Subclasses define ``forward(logits, target, index)``. Those that keep something
    per sample do so in a :class:`~.memory.SampleMemory`, and update it in training mode
    only.

    Attributes
    ----------
    may_collapse : bool
        Whether a model trained by it from a fresh head may end on few classes, as
        robust losses do where all labels look unlikely. Cross-entropy then takes over.
    """

    may_collapse = False

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Loss of each sample.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
        target : Tensor of shape (n,), int64, or (n, n_classes), float
            Labels, or their probabilities: soft labels, whose loss is the expectation
            over the label.
        index : Tensor of shape (n,), int64
            Positions of the samples in the training set, for losses with a memory.

        Returns
        -------
        Tensor of shape (n,)
        """
        raise TypeError(f"{type(self).__name__} defines no loss.")

    def get_extra_state(self) -> dict[str, dict[str, Tensor | None]]:
        """What is kept per sample; torch makes it part of the ``state_dict``."""
        return {name: memory.state_dict() for name, memory in self._memories()}

    def set_extra_state(self, state: dict[str, dict[str, Tensor | None]]) -> None:
        """Go on from another loss's; called by ``load_state_dict``."""
        for name, memory in self._memories():
            memory.load_state_dict(state[name])

    def share(self, processes: Any, seen: Tensor) -> None:
        """Learn what other processes keep of the samples that they have seen.

        Parameters
        ----------
        processes : Processes
        seen : Tensor of shape (n,), int64, on the CPU
            Positions of the samples that this process has seen, and no other.
        """
        for name, memory in self._memories():
            rows = memory.read(seen, torch.device("cpu"))
            told = processes.join(f"{name} of a loss", {"index": seen, "rows": rows})
            memory.write(told["index"], told["rows"])

    def _memories(self) -> list[tuple[str, SampleMemory]]:
        return [(k, v) for k, v in vars(self).items() if isinstance(v, SampleMemory)]

    def forget(self) -> None:
        """Drop what is kept per sample; called when training has ended."""
        for _, memory in self._memories():
            memory.clear()


def log_proba(logits: Tensor) -> Tensor:
    """Log-probabilities, in float32 at least: autocast makes logits of half of it."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return log_softmax(logits, dim=1, dtype=dtype)


def at_label(values: Tensor, target: Tensor) -> Tensor:
    """Values of the labels, or their expectation over soft ones.

    Parameters
    ----------
    values : Tensor of shape (n, n_classes)
        What each label would have.
    target : Tensor of shape (n,), int64, or (n, n_classes), float

    Returns
    -------
    Tensor of shape (n,)
    """
    if target.is_floating_point():
        return (target * values).sum(dim=1)
    # That gathers, with a gradient that is quicker than gather's.
    return -nll_loss(values, target, reduction="none")


def expectation(
    loss: Callable[[Tensor], Tensor], log_p: Tensor, target: Tensor
) -> Tensor:
    """Loss of each sample, of a loss that depends on its label's log-probability only.

    Parameters
    ----------
    loss : callable
        Log-probabilities to losses, element by element.
    log_p : Tensor of shape (n, n_classes)
    target : Tensor of shape (n,), int64, or (n, n_classes), float

    Returns
    -------
    Tensor of shape (n,)
    """
    if target.is_floating_point():
        return at_label(loss(log_p), target)
    return loss(at_label(log_p, target))


def check_range(loss: str, name: str, value: float, legal: str, *, ok: bool) -> None:
    """Raise if a parameter of a loss is out of its range.

    Raises
    ------
    ValueError
    """
    if not ok:
        raise ValueError(f"The loss {loss!r} needs {name} {legal}, but got {value!r}.")
