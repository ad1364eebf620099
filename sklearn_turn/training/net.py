"""The skorch net of every phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring
from torch import Tensor, nn

from ..inputs import Ragged
from .runtime import progress


def softmax(logits: Tensor) -> Tensor:
    """Turn logits into probabilities (skorch knows it for cross-entropy only)."""
    return torch.softmax(logits, dim=-1)


class Net(NeuralNetClassifier):
    """A skorch classifier whose modules return logits and whose batches stay raw.

    Images of different sizes reach the module as one batch; progress bars follow
    ``verbose``; nothing is printed per epoch but by callbacks.
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        criterion: Any = nn.CrossEntropyLoss,
        train_split: Any = None,
        predict_nonlinearity: Any = softmax,
        verbose: int = 0,
        **kwargs: Any,
    ):
        super().__init__(
            module,
            *args,
            criterion=criterion,
            train_split=train_split,
            predict_nonlinearity=predict_nonlinearity,
            verbose=verbose,
            **kwargs,
        )

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss")),
        ]

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        if isinstance(x, (Tensor, Ragged)):
            return self.module_(x.to(self.device, non_blocking=True))
        return super().infer(x, **fit_params)

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **params: Any
    ) -> None:
        if iterator is None:
            return
        # Cleansing changes the number of batches from epoch to epoch.
        self.n_batches_ = len(iterator)
        bar = progress(iterator, f"{prefix} epoch {len(self.history)}", self.verbose)
        super().run_single_epoch(bar, training, prefix, step_fn, **params)

    def forget_optimizer(self) -> None:
        """Drop the optimiser's state, two thirds of the memory of a trained net."""
        self.optimizer_.state.clear()
        self.module_.zero_grad(set_to_none=True)


def history(nets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per-epoch records of skorch nets, in order, without the per-batch ones.

    Parameters
    ----------
    nets : mapping of str to skorch net or None
        Phase -> net that was trained in it.

    Returns
    -------
    list of dict
    """
    names = {"dur": "seconds"}
    return [
        {
            "phase": phase,
            **{names.get(k, k): v for k, v in row.items() if k in _RECORDED},
        }
        for phase, net in nets.items()
        if net is not None
        for row in net.history
    ]


_RECORDED = ("epoch", "train_loss", "valid_loss", "dur", "n_train", "kept")
