"""Which parameters of a backbone are decayed, and in which layer they are."""

from __future__ import annotations

from fnmatch import fnmatch
from types import SimpleNamespace
from typing import Any

from torch import nn


def undecayed(backbone: nn.Module) -> set[str]:
    """Names of the parameters that get no weight decay.

    Biases and norms, and what timm exempts in the architecture, such as position
    embeddings and class tokens.

    Parameters
    ----------
    backbone : Module

    Returns
    -------
    set of str
    """
    # Names, or patterns of names.
    exempted_by: Any = getattr(backbone, "no_weight_decay", list)
    exempted = list(exempted_by())
    return {
        name
        for name, parameter in backbone.named_parameters()
        if parameter.ndim <= 1
        or name.endswith(".bias")
        or any(fnmatch(name, pattern) for pattern in exempted)
    }


def layer_scales(backbone: nn.Module, decay: float) -> dict[str, float]:
    """Factor of each parameter's learning rate when it decays from layer to layer.

    The head, which is not part of the backbone, has factor 1, and what lies d layers
    below it ``decay ** d``, as in :func:`timm.optim.param_groups_layer_decay`.

    Parameters
    ----------
    backbone : Module
        Of timm, or with its own ``group_matcher``.
    decay : float in (0, 1]

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If the backbone does not say which layer a parameter is in.
    """
    from timm.models import group_parameters

    matcher_of: Any = getattr(backbone, "group_matcher", None)
    if matcher_of is None:
        raise ValueError(
            f"fft_layer_decay needs to know the order of the layers, but "
            f"{type(backbone).__name__} has no group_matcher() as timm's models do. "
            "Use a timm backbone, or set the rates with "
            "fft_params={'optimizer__param_groups': [('stem*', {'lr': 1e-5}), ...]}."
        )
    # A name that no matcher knows counts as the head, which is the last layer.
    head = "head of the classifier"
    names = [name for name, _ in backbone.named_parameters()]
    whole: Any = SimpleNamespace(
        named_parameters=lambda: ((name, name) for name in [*names, head])
    )
    matcher = matcher_of(coarse=False)
    layers = group_parameters(whole, matcher, reverse=True)
    return {name: decay ** (layers[head] - layers[name]) for name in names}
