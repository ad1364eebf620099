"""The processes that fit one estimator together, and what they tell each other.

They are those of torch's process group, which ``accelerate`` or ``torchrun`` and
``torch.distributed.init_process_group`` make: one for each GPU, each with the same
script and the same data. What is told here goes through the CPU; gradients go the way
that torch chooses.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .exceptions import DistributedError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# For how long a process that failed waits for others to hear of it: they may be in the
# middle of a step that cannot be finished without it.
_PATIENCE = timedelta(seconds=30)


# One may read from a disk for hours what others find in a cache. If one dies, its
# connection closes, and the others hear of it at once.
_LONGEST = timedelta(days=1)


@dataclass(frozen=True)
class Processes:
    """This process and how many there are; by default it is alone.

    Every method is called by all processes, in the same order. One that fails instead
    takes part by its error, so that none waits for ever.

    Attributes
    ----------
    rank : int
        Number of this process. The first one, 0, decides what has to be the same.
    count : int
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def of(cls, distributed: bool) -> Processes:
        """Those that work together when an estimator's ``distributed`` is set.

        Raises
        ------
        ValueError
            If there are several that are not connected.
        """
        if not distributed:
            return cls()
        if dist.is_available() and dist.is_initialized():
            if _GROUPS.get("of") is dist.group.WORLD and _GROUPS.get("broken"):
                raise DistributedError(
                    "The processes lost each other in an earlier fit. End them all, "
                    "and start them again."
                )
            return cls(dist.get_rank(), dist.get_world_size())
        if (count := os.environ.get("WORLD_SIZE", "1")) != "1":
            raise ValueError(
                f"distributed=True, but the {count} processes that were started are "
                "not connected. Call accelerate.Accelerator() or "
                "torch.distributed.init_process_group() before fit, or set "
                "distributed=False for fits that are independent."
            )
        return cls()

    @property
    def are_several(self) -> bool:
        """Whether there is anyone to tell."""
        return self.count > 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that decides, prints and writes."""
        return self.rank == 0

    def share(self, n: int, size: int = 1) -> range:
        """This process's part of n things: a run of whole batches of that size."""
        n_batches = -(-n // size)
        first, end = (n_batches * k // self.count for k in (self.rank, self.rank + 1))
        return range(first * size, min(end * size, n))

    def exchange(self, what: str, value: Any = None) -> list[Any]:
        """Values of all processes, by rank.

        Parameters
        ----------
        what : str
            What they are; the same in all processes, if these do the same.
        value : object, default=None
            Small, and without tensors on a device.

        Raises
        ------
        DistributedError
            In all processes, if one of them failed, does something else or is gone.
        """
        if not self.are_several:
            return [value]
        answers = self._gather(what, None, value)
        for rank, (_, error, _) in enumerate(answers):
            if error is not None:
                raise DistributedError(
                    f"Process {rank} of {self.count} failed: {error}"
                )
        if len({what for what, _, _ in answers}) > 1:
            told = ", ".join(f"{k}: {what}" for k, (what, _, _) in enumerate(answers))
            raise DistributedError(
                f"The processes of this fit do not do the same ({told}). Run the same "
                "calls in all of them, and let callbacks stop all or none."
            )
        return [value for _, _, value in answers]

    def first(self, what: str, decide: Callable[[], T]) -> T:
        """What the first process decides, in all of them.

        Parameters
        ----------
        what : str
            As for :meth:`exchange`.
        decide : callable
            Called in the first process only; what it returns can be pickled and has no
            tensors on a device.
        """
        if not self.are_several:
            return decide()
        data = torch.empty(0, dtype=torch.uint8)
        if self.is_first:
            with self.together():
                value = decide()
                data = _packed(value)
        (size, *_) = self.exchange(what, len(data) if self.is_first else 0)
        if not self.is_first:
            data = torch.empty(size, dtype=torch.uint8)
        self._broadcast(data, source=0)
        return value if self.is_first else _unpacked(data)

    def join(self, what: str, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows of all processes, in the order of their ranks.

        Parameters
        ----------
        what : str
            As for :meth:`exchange`.
        parts : dict of str to Tensor
            Each of shape (n_own, ...), on the CPU; empty if this process has no rows.

        Returns
        -------
        dict of str to Tensor
            Each of shape (n_all, ...).
        """
        if not self.are_several:
            return parts
        own = {name: (part.shape, part.dtype) for name, part in parts.items()}
        told = self.exchange(what, own)
        joined: dict[str, Tensor] = {}
        for name, (shape, dtype) in max(told, key=len).items():
            lengths = [shapes[name][0][0] if shapes else 0 for shapes in told]
            whole = torch.empty((sum(lengths), *shape[1:]), dtype=dtype)
            for rank, rows in enumerate(whole.split(lengths)):
                if rank == self.rank and len(rows):
                    rows.copy_(parts[name])
                self._broadcast(rows, source=rank)
            joined[name] = whole
        return joined

    def equalize(self, what: str, module: nn.Module) -> None:
        """Give a module the first process's parameters and buffers, in all of them."""
        if not self.are_several:
            return
        tensors = list(module.state_dict().values())
        self.exchange(what, None)
        for tensor in tensors:
            there = tensor.detach().cpu().contiguous()
            self._broadcast(there, source=0)
            tensor.copy_(there)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """End all processes' work by an error if the block of one of them fails."""
        try:
            yield
        except DistributedError:
            raise  # which they all have heard of
        except Exception as error:
            if self.are_several and not _is_told(error):
                setattr(error, _TOLD, True)
                # Those that are gone as well need not hear of it.
                with contextlib.suppress(DistributedError):
                    self._gather("", f"{type(error).__name__}: {error}", None)
            raise

    @property
    def group(self) -> Any:
        """Group of all processes for tensors on the CPU."""
        if _GROUPS.get("of") is not dist.group.WORLD:
            made = dist.new_group(backend="gloo", timeout=_LONGEST)
            _GROUPS.update(of=dist.group.WORLD, cpu=made, broken=False)
        return _GROUPS["cpu"]

    def _gather(self, *told: Any) -> list[tuple[str, str | None, Any]]:
        """What is done, what failed and a value, of each process."""
        what, error, value = told
        data = _packed(told)
        # Mostly there is nothing but that all do the same, and the heads say it.
        news = int(error is not None or value is not None)
        head = torch.tensor([news, zlib.crc32(what.encode()), len(data)])
        heads = [torch.empty_like(head) for _ in range(self.count)]
        patience = None if error is None else _PATIENCE
        _wait(lambda: dist.all_gather(heads, head, self.group, True), patience)
        if not news and all(torch.equal(one, head) for one in heads):
            return [(what, None, None)] * self.count
        sizes = [int(one[2]) for one in heads]
        own = torch.zeros(max(sizes), dtype=torch.uint8)
        own[: len(data)] = data
        parts = [torch.empty_like(own) for _ in range(self.count)]
        _wait(lambda: dist.all_gather(parts, own, self.group, True), patience)
        return [_unpacked(part[:size]) for part, size in zip(parts, sizes, strict=True)]

    def _broadcast(self, tensor: Tensor, source: int) -> None:
        # By its bytes: not every type of numbers can be sent.
        content = tensor.view(-1).view(torch.uint8)
        if len(content):
            _wait(lambda: dist.broadcast(content, source, self.group, True))


def fitted_together(fit: F) -> F:
    """Method decorator: an error in one process ends all of a ``distributed`` fit."""

    @functools.wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        with Processes.of(self.distributed).together():
            return fit(self, *args, **kwargs)

    return cast(F, wrapper)


#: What one process is that has no others.
ALONE = Processes()

_TOLD = "_told_to_all_processes"

# torch's group of all processes, and one of the same for tensors on the CPU.
_GROUPS: dict[str, Any] = {}


def _is_told(error: BaseException | None) -> bool:
    """Whether the others have heard of an error, or of one that it was raised from."""
    while error is not None:
        if isinstance(error, DistributedError) or getattr(error, _TOLD, False):
            return True
        error = error.__cause__
    return False


def _wait(start: Callable[[], Any], patience: timedelta | None = None) -> None:
    """Begin to talk and wait until all have.

    Raises
    ------
    DistributedError
        If they do not.
    """
    try:
        work = start()
        work.wait() if patience is None else work.wait(patience)
    except RuntimeError as error:
        _GROUPS["broken"] = True
        raise DistributedError(
            "Another process of this fit has ended, or has not answered in time; its "
            f"own output may tell why ({error})."
        ) from error


def _packed(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)


def _unpacked(data: Tensor) -> Any:
    return pickle.loads(data.numpy().tobytes())
