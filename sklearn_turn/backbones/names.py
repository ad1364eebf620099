"""What may be given as a backbone, checked before any work is done."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from ..exceptions import WeightsNotFoundError
from .recipes import ALIASES

BackboneLike = str | nn.Module | Callable[[], nn.Module]

TORCHVISION = "torchvision:"
HUB = ("hf-hub:", "hf_hub:")
FOLDER = "local-dir:"


def check_backbone(backbone: BackboneLike) -> None:
    """Raise if ``backbone`` is nothing that can be built.

    Parameters
    ----------
    backbone : str, Module or callable

    Raises
    ------
    ValueError
        For an unknown name, with the closest known ones; for a function or class that
        needs arguments.
    WeightsNotFoundError
        For a local folder that does not exist or has no ``config.json``.
    """
    if isinstance(backbone, nn.Module):
        return
    if not isinstance(backbone, str):
        _check_factory(backbone)
    elif backbone.startswith(FOLDER):
        _check_folder(backbone.removeprefix(FOLDER))
    elif backbone.startswith(TORCHVISION):
        _check_torchvision(backbone.removeprefix(TORCHVISION))
    elif backbone not in ALIASES and not backbone.startswith(HUB):
        _check_timm(backbone)


def _check_factory(factory: Any) -> None:
    name = getattr(factory, "__name__", type(factory).__name__)
    if not callable(factory):
        raise ValueError(
            f"backbone must be a name, a torch.nn.Module or a function that returns "
            f"one, not {factory!r}."
        )
    try:
        signature = inspect.signature(factory)
    except ValueError:  # of some functions written in C
        return
    try:
        signature.bind()
    except TypeError as error:
        raise ValueError(
            f"The backbone {name} cannot be called without arguments ({error}). Pass "
            f"the module, {name}(...), or a function without arguments that returns it."
        ) from None


def _check_folder(folder: str) -> None:
    if not os.path.isfile(os.path.join(folder, "config.json")):
        lacks = "has no config.json" if os.path.isdir(folder) else "does not exist"
        raise WeightsNotFoundError(
            f"The backbone {FOLDER + folder!r} cannot be loaded: the folder {lacks}. "
            "It must hold config.json and weights, as timm.models.save_for_hf writes."
        )


def _check_torchvision(name: str) -> None:
    import torchvision.models

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(f"Unknown torchvision model {name!r}.{_hint(name, known)}")


def _check_timm(name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = dict.fromkeys([*ALIASES, *timm.list_models()])
        raise ValueError(
            f"Unknown backbone {name!r}.{_hint(name, known)} Use an alias "
            f"({', '.join(ALIASES)}), a name from timm.list_models(), a module, or a "
            "function that returns one."
        )
    tags = timm.list_models(architecture + ".*", pretrained=True)
    if tag and name not in tags:
        raise ValueError(
            f"{architecture!r} has no weights tagged {tag!r}. It has "
            f"{', '.join(tags) or 'none'}."
        )


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    return f" Did you mean {', '.join(map(repr, close))}?" if close else ""
