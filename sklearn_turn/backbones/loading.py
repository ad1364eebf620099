"""Alias, timm name, factory or module -> a headless module that is ready."""

from __future__ import annotations

import copy
import difflib
import importlib.resources
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoints import download, is_path, load_checkpoint, weights_or_error
from .recipes import ALIASES, DEFAULT, IMAGENET_MEAN, IMAGENET_STD, Recipe

_TORCHVISION = "torchvision:"


BackboneLike = str | nn.Module | Callable[[], nn.Module]


@dataclass(frozen=True)
class Backbone:
    """A headless module with all that is needed to feed and fine-tune it.

    Attributes
    ----------
    module : Module
        Maps (n, 3, input_size, input_size) to (n, width).
    width : int
        Number of features.
    input_size : int
        Side of the square input, in pixels.
    mean, std : tuple of float
    crop_pct : float
    crop_mode : {"center", "squash"}
        See :class:`~sklearn_turn.backbones.BatchTransform`.
    interpolation : str
    recipe : Recipe
        Default optimiser settings.
    """

    module: nn.Module
    width: int
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: str
    interpolation: str
    recipe: Recipe


def check_backbone(backbone: BackboneLike) -> None:
    """Raise if ``backbone`` names nothing, before any work is done.

    Parameters
    ----------
    backbone : str, Module or callable

    Raises
    ------
    ValueError
        For an unknown name, with the closest known ones.
    """
    if not isinstance(backbone, str) or backbone in ALIASES:
        return
    if backbone.startswith(("hf-hub:", "hf_hub:", "local-dir:", _TORCHVISION)):
        return
    import timm

    architecture, _, tag = backbone.partition(".")
    if timm.is_model(architecture):
        tags = timm.list_models(architecture + ".*", pretrained=True)
        if tag and backbone not in tags:
            raise ValueError(
                f"{architecture!r} has no weights tagged {tag!r}. It has "
                f"{', '.join(tags) or 'none'}."
            )
        return
    known = list(dict.fromkeys([*ALIASES, *timm.list_models()]))
    close = difflib.get_close_matches(backbone, known, n=4, cutoff=0.5)
    hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
    raise ValueError(
        f"Unknown backbone {backbone!r}.{hint} Use an alias ({', '.join(ALIASES)}), a "
        "name from timm.list_models(), a module, or a function that returns one."
    )


def load_backbone(
    backbone: BackboneLike,
    *,
    pretrained: bool | str | os.PathLike[str] = True,
    input_size: int | None = None,
    crop_pct: float | None = None,
    example: Any = None,
) -> Backbone:
    """Build a backbone in evaluation mode, on the CPU.

    Parameters
    ----------
    backbone : str, Module or callable
        Alias, timm name, module (copied, so the caller's stays as it is) or a
        function without arguments returning a module.
    pretrained : bool or path, default=True
        True takes the published weights; a path is a ``.safetensors`` or ``.pth``
        checkpoint. Modules and factories bring their own weights; for them only a
        path has an effect.
    input_size : int, default=None
        Side of the input in pixels; None is the backbone's own (224 for modules).
    crop_pct : float, default=None
        Share of the resized image that is kept; None is the backbone's own.
    example : Tensor, default=None
        A batch of one raw sample, for backbones that do not take images.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        Unknown name, a checkpoint that does not fit, or a module that does not map a
        batch of images to one row of features each.
    WeightsNotFoundError
        Weights that cannot be had.
    """
    check_backbone(backbone)
    if isinstance(backbone, str):
        module, config, recipe = _named_module(backbone, pretrained, input_size)
    else:
        module = (
            copy.deepcopy(backbone) if isinstance(backbone, nn.Module) else backbone()
        )
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"The backbone factory returned {type(module).__name__}, not a "
                "torch.nn.Module."
            )
        config, recipe = dict(getattr(module, "pretrained_cfg", None) or {}), DEFAULT
        if is_path(pretrained):
            load_checkpoint(module, os.fspath(pretrained))  # type: ignore[arg-type]
    size = input_size or recipe.input_size or config.get("input_size", (3, 224, 224))[2]
    module = module.eval()
    return Backbone(
        module=module,
        width=_feature_width(
            module, torch.zeros(1, 3, size, size) if example is None else example
        ),
        input_size=size,
        mean=tuple(config.get("mean", IMAGENET_MEAN)),
        std=tuple(config.get("std", IMAGENET_STD)),
        crop_pct=crop_pct or config.get("crop_pct") or 1.0,
        crop_mode=config.get("crop_mode") or "center",
        interpolation=config.get("interpolation", "bicubic"),
        recipe=recipe,
    )


def _named_module(
    name: str, pretrained: Any, input_size: int | None
) -> tuple[nn.Module, Mapping[str, Any], Recipe]:
    """Build from an alias, a timm name or a torchvision name."""
    if name.startswith(_TORCHVISION):
        module, config = _torchvision_module(
            name.removeprefix(_TORCHVISION), pretrained
        )
        return module, config, DEFAULT
    recipe = ALIASES.get(name) or replace(DEFAULT, timm_name=name)
    published = pretrained is True and not (recipe.file or recipe.url)
    import timm

    kwargs: dict[str, Any] = {"num_classes": 0}
    if input_size is not None and _has_fixed_size(recipe.timm_name):
        # Such architectures (ViTs) resample their position embedding.
        kwargs["img_size"] = input_size
    with weights_or_error(recipe.timm_name, wanted=published):
        try:
            module = timm.create_model(recipe.timm_name, pretrained=published, **kwargs)
        except TypeError:
            # Of a folder or hub name the architecture is not known beforehand.
            kwargs.pop("img_size", None)
            module = timm.create_model(recipe.timm_name, pretrained=published, **kwargs)
    if is_path(pretrained):
        load_checkpoint(module, os.fspath(pretrained))
    elif pretrained and recipe.file:
        weights = importlib.resources.files("sklearn_turn") / "weights" / recipe.file
        load_checkpoint(module, str(weights))
    elif pretrained and recipe.url:
        with weights_or_error(name, wanted=True):
            path = download(recipe.url)
        load_checkpoint(module, path)
    own: dict[str, Any] = dict(module.pretrained_cfg)  # type: ignore[arg-type]
    if recipe.mean is not None:
        own |= {"mean": recipe.mean, "std": recipe.std}
    if recipe.input_size is not None:
        own["crop_pct"] = 1.0
    return module, own, recipe


def _has_fixed_size(timm_name: str) -> bool:
    import timm

    if ":" in timm_name:  # a hub or a folder: perhaps
        return True
    known = timm.get_pretrained_cfg(timm_name)
    return bool(known and known.to_dict().get("fixed_input_size"))


def _torchvision_module(
    name: str, pretrained: Any
) -> tuple[nn.Module, Mapping[str, Any]]:
    """Build a torchvision classification model and take its classifier off."""
    import torchvision.models

    if name not in torchvision.models.list_models(module=torchvision.models):
        close = difflib.get_close_matches(name, torchvision.models.list_models(), n=4)
        raise ValueError(
            f"Unknown torchvision model {name!r}."
            + (f" Did you mean {', '.join(map(repr, close))}?" if close else "")
        )
    weights = torchvision.models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    config = {
        "input_size": (3, preset.crop_size[0], preset.crop_size[0]),
        "crop_pct": preset.crop_size[0] / preset.resize_size[0],
        "interpolation": preset.interpolation.value,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
    }
    with weights_or_error(f"torchvision:{name}", wanted=pretrained is True):
        module = torchvision.models.get_model(
            name, weights=weights if pretrained is True else None
        )
    # The classifier is the last child, whatever it is called; what precedes its last
    # linear layer (dropout, norms) belongs to the features.
    parent, last = module, list(module.named_children())[-1][0]
    while not isinstance(getattr(parent, last), nn.Linear):
        parent = getattr(parent, last)
        children = list(parent.named_children())
        if not children:
            raise ValueError(
                f"torchvision's {name!r} does not end in a linear classifier that "
                "could be taken off. Pass a module without it instead of the name."
            )
        last = children[-1][0]
    setattr(parent, last, nn.Identity())
    if is_path(pretrained):
        load_checkpoint(module, os.fspath(pretrained))
    return module, config


@torch.no_grad()
def _feature_width(module: nn.Module, example: Tensor) -> int:
    """Find the number of features by running one sample."""
    size = " x ".join(map(str, example.shape[1:]))
    try:
        out = module(example)
    except Exception as error:
        raise ValueError(
            f"The backbone {type(module).__name__} failed on one sample of {size}: "
            f"{error}. For images, set input_size to the side it takes."
        ) from error
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != 1:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(
            f"The backbone {type(module).__name__} must map a batch to one row of "
            f"features for each sample; for one sample it returned {shape}. Pool its "
            "output to shape (n, features)."
        )
    return out.shape[1]
