"""What a loss keeps of every training sample from one visit to the next."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Above this the memory lies in the host's memory, not on an accelerator.
MOST_ON_DEVICE = 2**30
#: Above this there is none.
MOST = 8 * 2**30


class SampleMemory:
    """One row of numbers per training sample, made when it is first used.

    Parameters
    ----------
    n_samples : int
    shape : tuple of int
        Of a row.
    dtype : torch.dtype

    Raises
    ------
    ValueError
        If it would take more than 8 GiB.
    """

    def __init__(self, n_samples: int, *shape: int, dtype: torch.dtype = torch.float32):
        self.shape = (n_samples, *shape)
        self.dtype = dtype
        self._rows: Tensor | None = None
        self.nbytes = math.prod(self.shape) * torch.empty(0, dtype=dtype).element_size()
        if self.nbytes > MOST:
            sizes = " x ".join(f"{size:,}" for size in self.shape)
            raise ValueError(
                f"This loss would keep {sizes} numbers, {self.nbytes / 2**30:.1f} GiB, "
                f"of the training samples; at most {MOST / 2**30:.0f} GiB are. Choose "
                "a loss without a memory, such as 'gce' or 'sce', or train on fewer "
                "samples."
            )

    def read(self, index: Tensor, device: torch.device) -> Tensor:
        """Rows of samples, zeros before the first visit.

        Parameters
        ----------
        index : Tensor of shape (n,), int64
        device : torch.device
            Where they are wanted; the memory lies there unless it takes over 1 GiB.

        Returns
        -------
        Tensor of shape (n, *shape)
        """
        if self._rows is None:
            here = device if self.nbytes <= MOST_ON_DEVICE else torch.device("cpu")
            self._rows = torch.zeros(self.shape, dtype=self.dtype, device=here)
        return self._rows[index.to(self._rows.device)].to(device)

    def write(self, index: Tensor, rows: Tensor) -> None:
        """Replace rows of samples that have been read.

        Parameters
        ----------
        index : Tensor of shape (n,), int64
        rows : Tensor of shape (n, *shape)
        """
        assert self._rows is not None, "read first"
        kept = self._rows
        kept[index.to(kept.device)] = rows.detach().to(kept.device, kept.dtype)

    def state_dict(self) -> dict[str, Tensor | None]:
        """What is kept, as modules say it."""
        return {"rows": self._rows}

    def load_state_dict(self, state: dict[str, Tensor | None]) -> None:
        """Go on from :meth:`state_dict` of another memory."""
        self._rows = state["rows"]

    def clear(self) -> None:
        """Free it; the next use starts from zeros."""
        self._rows = None


def check_index(loss: object, index: Tensor, n: int) -> None:
    """Raise if a loss with a memory is not told which samples it sees.

    Raises
    ------
    ValueError
    """
    if len(index) != n:
        raise ValueError(
            f"{type(loss).__name__} keeps a memory of each training sample, but is "
            f"given the positions of {len(index)} of {n} samples. Train it through an "
            "estimator of this library, or choose a loss without a memory."
        )
