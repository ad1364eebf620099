"""Alias, timm name, factory or module -> a headless module that is ready."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoints import is_path, load_checkpoint
from .names import BackboneLike, check_backbone
from .recipes import DEFAULT, IMAGENET_MEAN, IMAGENET_STD, Recipe
from .zoo import named_module


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
    crop_mode : {"center", "squash", "border"}
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
        function without arguments returning a module. The classifier of a timm model
        is taken off.
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
        Unknown name, a checkpoint that does not fit, a module that does not map a batch
        of images to one row of features each, or one that was trained on images of
        another shape than squares, where ``input_size`` does not say which to take.
    WeightsNotFoundError
        No such checkpoint, or published weights that cannot be downloaded.
    """
    check_backbone(backbone)
    # A grid may hold NumPy's values, which neither `is True` nor JSON knows.
    pretrained = pretrained if is_path(pretrained) else bool(pretrained)
    input_size = None if input_size is None else int(input_size)
    crop_pct = None if crop_pct is None else float(crop_pct)
    if isinstance(backbone, str):
        module, config, recipe = named_module(backbone, pretrained, input_size)
    else:
        module = _own_module(backbone)
        config, recipe = dict(getattr(module, "pretrained_cfg", None) or {}), DEFAULT
        if is_path(pretrained):
            load_checkpoint(module, pretrained)  # type: ignore[arg-type]
    size = input_size or recipe.input_size or _side_of(config, raw=example is not None)
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


def _side_of(config: Mapping[str, Any], *, raw: bool) -> int:
    """Side of the images that a backbone was trained on."""
    height, width = config.get("input_size", (3, 224, 224))[1:]
    if height != width and not raw:
        raise ValueError(
            f"The backbone was trained on {height} x {width} pixels, and is given "
            "squares here. Set input_size to their side."
        )
    return int(width)


def _own_module(backbone: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """A copy of the caller's module, or of what the caller's function returns."""
    module = backbone if isinstance(backbone, nn.Module) else backbone()
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"The backbone factory returned {type(module).__name__}, not a "
            "torch.nn.Module."
        )
    # A function may return the same module every time.
    module = copy.deepcopy(module)
    _without_classifier(module)
    return module


def _without_classifier(module: Any) -> None:
    """Take the classifier of a timm model off: logits are not features."""
    classes = getattr(module, "num_classes", None)
    if not classes or not hasattr(module, "reset_classifier"):
        return
    pool = getattr(module, "global_pool", None)
    pool = getattr(pool, "pool_type", pool)
    # Without its name, some architectures go back to average pooling.
    options = {"global_pool": pool} if isinstance(pool, str) else {}
    module.reset_classifier(0, **options)


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
