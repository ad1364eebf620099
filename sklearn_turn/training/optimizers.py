"""Optimisers, and which parameters they decay and at what rate they train them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .modules import Model


def make_optimizer(
    params: list[dict[str, Any]],
    *,
    name: str = "adamw",
    weight_decay: float = 0.0,
    **options: Any,
) -> torch.optim.Optimizer:
    """Build a torch optimiser from parameter groups.

    Parameters
    ----------
    params : list of dict
        Parameter groups; a group's own options win over the following.
    name : {"adamw", "adam", "sgd"}, default="adamw"
    weight_decay : float, default=0.0
    **options
        Passed on, such as ``lr`` and ``momentum``.
    """
    optimizers = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
    }
    # One kernel per step instead of several per parameter, where torch has it.
    fused = params[0]["params"][0].device.type in ("cpu", "cuda")
    options = {"fused": fused, "weight_decay": weight_decay, **options}
    return optimizers[name](params, **options)


def refine_groups(
    groups: list[dict[str, Any]],
    names: Mapping[int, str],
    module: nn.Module,
    *,
    lr: float,
    decays: bool = True,
    layer_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Split parameter groups by weight decay and by layer.

    Parameters
    ----------
    groups : list of dict
        As skorch makes them from ``optimizer__param_groups``; options that a group
        sets itself stay.
    names : mapping of int to str
        id of each parameter -> its name in ``module``.
    module : Module
        Biases and norms are not decayed, nor what timm exempts in the backbone of a
        :class:`Model`.
    lr : float
        Learning rate of groups without one.
    decays : bool, default=True
        Whether there is weight decay at all; without, fewer groups are quicker.
    layer_decay : float, default=None
        Learning rate of each layer relative to the next one.

    Returns
    -------
    list of dict
    """
    exempt: set[str] = set()
    if decays:
        exempt |= {name for name, p in module.named_parameters() if p.ndim <= 1}
    scales: dict[str, float] = {}
    if isinstance(module, Model):
        exempt |= module.undecayed() if decays else set()
        scales = {} if layer_decay is None else module.layer_scales(layer_decay)
    refined: list[dict[str, Any]] = []
    for group in groups:
        options = {k: v for k, v in group.items() if k != "params"}
        parts: dict[tuple[bool, float], list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            name = names[id(parameter)]
            parts[name in exempt, scales.get(name, 1.0)].append(parameter)
        for (without_decay, scale), parameters in parts.items():
            part = {"params": parameters, **options}
            if without_decay:
                part.setdefault("weight_decay", 0.0)
            if layer_decay is not None:
                part.setdefault("lr", scale * lr)
            refined.append(part)
    return refined
