"""Models that have a name: of this library, of timm and of torchvision."""

from __future__ import annotations

import contextlib
import importlib.resources
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .checkpoints import is_path, load_checkpoint, load_state, unwrapped
from .hub import downloading, located
from .names import TORCHVISION
from .recipes import ALIASES, DEFAULT, Recipe

Config = Mapping[str, Any]


def named_module(
    name: str, pretrained: Any, input_size: int | None
) -> tuple[nn.Module, Config, Recipe]:
    """Build a headless module from its name.

    Parameters
    ----------
    name : str
        That :func:`check_backbone` accepts.
    pretrained : bool or path
    input_size : int or None
        See :func:`load_backbone`.

    Returns
    -------
    module : Module
    config : mapping
        How its input is prepared, as in timm's ``pretrained_cfg``.
    recipe : Recipe
    """
    if name.startswith(TORCHVISION):
        module, config = _torchvision_module(name, pretrained)
        return module, config, DEFAULT
    recipe = ALIASES.get(name) or replace(DEFAULT, timm_name=name)
    published = pretrained is True and not (recipe.file or recipe.url)
    module = _timm_module(recipe.timm_name, published, input_size)
    if is_path(pretrained):
        load_checkpoint(module, pretrained)
    elif pretrained and recipe.file:
        weights = importlib.resources.files("sklearn_turn") / "weights" / recipe.file
        load_checkpoint(module, str(weights))
    elif pretrained and recipe.url:
        with downloading(name):
            content = torch.hub.load_state_dict_from_url(
                recipe.url, map_location="cpu", weights_only=True
            )
        load_state(module, unwrapped(content), recipe.url)
    own: dict[str, Any] = dict(module.pretrained_cfg)  # type: ignore[arg-type]
    if recipe.mean is not None:
        own |= {"mean": recipe.mean, "std": recipe.std}
    if recipe.input_size is not None:
        own["crop_pct"] = 1.0
    return module, own, recipe


def _timm_module(name: str, published: bool, input_size: int | None) -> nn.Module:
    import timm

    # Of a folder or a model of the hub, nothing is known beforehand.
    known = None if ":" in name else timm.get_pretrained_cfg(name)
    place, options = located(name) if published else (name, {})

    def build(**more: Any) -> nn.Module:
        # Without weights to download, errors are the module's own.
        with downloading(name) if published else contextlib.nullcontext():
            return timm.create_model(
                place, pretrained=published, num_classes=0, **options, **more
            )

    if input_size is None or (known is not None and not known.fixed_input_size):
        return build()
    try:
        # Such architectures (ViTs) resample their position embedding.
        return build(img_size=input_size)
    except TypeError:
        return build()


def _torchvision_module(name: str, pretrained: Any) -> tuple[nn.Module, Config]:
    """Build a torchvision classification model and take its classifier off."""
    import torchvision.models

    architecture = name.removeprefix(TORCHVISION)
    weights = torchvision.models.get_model_weights(architecture).DEFAULT
    preset = weights.transforms()
    config = {
        "input_size": (3, preset.crop_size[0], preset.crop_size[0]),
        "crop_pct": preset.crop_size[0] / preset.resize_size[0],
        "interpolation": preset.interpolation.value,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
    }
    if pretrained is True:
        with downloading(name):
            module = torchvision.models.get_model(architecture, weights=weights)
    else:
        with warnings.catch_warnings():
            # How Inception is initialised may change some day.
            warnings.simplefilter("ignore", FutureWarning)
            module = torchvision.models.get_model(architecture, weights=None)
    removed = [_without_classifier(module, name), *_without_auxiliaries(module)]
    if is_path(pretrained):
        load_checkpoint(module, pretrained, removed)
    return module, config


def _without_classifier(module: nn.Module, name: str) -> str:
    """Take the last linear layer off; return its name.

    What precedes it in the last child (dropout, norms) belongs to the features.
    """
    parent, path = module, [list(module.named_children())[-1][0]]
    while not isinstance(last := getattr(parent, path[-1]), nn.Linear):
        children = list(last.named_children())
        if not children:
            raise ValueError(
                f"{name!r} does not end in a linear classifier that could be taken "
                "off. Pass a module without it instead of the name."
            )
        parent = last
        path.append(children[-1][0])
    setattr(parent, path[-1], nn.Identity())
    return ".".join(path)


def _without_auxiliaries(module: nn.Module) -> list[str]:
    """Take off the extra classifiers by which Inception is trained; their names."""
    if not hasattr(module, "aux_logits"):
        return []
    names = [n for n, _ in module.named_children() if n.lower().startswith("aux")]
    for name in names:
        setattr(module, name, None)
    module.aux_logits = False  # type: ignore[assignment]
    # The published weights expect a range of -1 to 1; this converts to it.
    module.transform_input = True  # type: ignore[assignment]
    return names
