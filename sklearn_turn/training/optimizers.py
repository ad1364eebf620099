"""Optimisers and their parameter groups."""

from __future__ import annotations

from typing import Any

import torch


def make_optimizer(
    params: list[dict[str, Any]], *, name: str, weight_decay: float, **options: Any
) -> torch.optim.Optimizer:
    """Build a torch optimiser that decays weight matrices only.

    Parameters
    ----------
    params : list of dict
        Parameter groups from skorch.
    name : {"adamw", "adam", "sgd"}
    weight_decay : float
        For parameters of two or more dimensions; biases and norms have none.
    **options
        Passed on, such as ``lr`` and ``momentum``.
    """
    tensors = [p for group in params for p in group["params"]]
    groups = [{"params": tensors, "weight_decay": 0.0}]
    if weight_decay:
        groups = [
            {
                "params": [p for p in tensors if p.ndim > 1],
                "weight_decay": weight_decay,
            },
            {"params": [p for p in tensors if p.ndim <= 1], "weight_decay": 0.0},
        ]
    optimizers = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
    }
    # One kernel per step instead of several per parameter, where torch has it.
    fused = tensors[0].device.type in ("cpu", "cuda")
    options = {"fused": fused, **options}
    return optimizers[name]([g for g in groups if g["params"]], **options)
