"""Backbones: alias, timm name, factory or module -> a headless module that is ready.

Also what belongs to a backbone and not to the method: preprocessing, and the
optimiser, learning rate and weight decay that fine-tune its family well.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import hashlib
import importlib.resources
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .errors import WeightsNotFoundError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Recipe:
    """What an alias stands for.

    The optimiser settings are those two later comparisons with TURN hard-code per
    backbone (DeFT and IDO, both MIT), the best stand-in for the paper's own table,
    which is not available.

    Attributes
    ----------
    timm_name : str
        Architecture and weight tag in timm.
    license : str
        Licence of the pre-trained weights.
    optimizer : str
        "adamw", "adam" or "sgd".
    lr, weight_decay, momentum : float
        For full fine-tuning.
    file : str or None
        Weights that ship with this package, by file name.
    input_size : int or None
        Where it differs from the timm model's.
    mean, std : tuple of float or None
        Of the channels, likewise.
    url : str or None
        Checkpoint to download, where timm has none.
    """

    timm_name: str
    license: str
    optimizer: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-4
    momentum: float = 0.0
    file: str | None = None
    input_size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    url: str | None = None


ALIASES: dict[str, Recipe] = {
    "vit_b16": Recipe(
        "vit_base_patch16_224.augreg_in1k", "Apache-2.0", "sgd", 1e-2, 1e-5
    ),
    "vit_l16": Recipe(
        "vit_large_patch16_224.augreg_in21k_ft_in1k", "Apache-2.0", "sgd", 1e-2, 1e-5
    ),
    "convnext_t": Recipe("convnext_tiny.fb_in1k", "Apache-2.0", "adamw", 1e-4, 1e-4),
    "mae_vit_b": Recipe(
        "vit_base_patch16_224.mae", "CC-BY-NC-4.0", "adamw", 1e-4, 1e-3
    ),
    # No published setting was found for MSN; these are the library's own defaults.
    "msn_vit_b": Recipe(
        "vit_base_patch16_224",
        "CC-BY-NC-4.0",
        url="https://dl.fbaipublicfiles.com/msn/vitb16_600ep.pth.tar",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    "clip_vit_b": Recipe(
        "vit_base_patch16_clip_224.openai", "MIT", "sgd", 5e-4, 5e-4, 0.9
    ),
    "clip_vit_l14": Recipe(
        "vit_large_patch14_clip_224.openai", "MIT", "sgd", 5e-4, 5e-4, 0.9
    ),
    "resnet50": Recipe("resnet50.a1_in1k", "Apache-2.0", "adamw", 1e-3, 1e-5),
    # Trained by examples/pretrain_letters.py; for demonstrations and tests.
    "letters": Recipe(
        "test_convnext3",
        "BSD-3-Clause",
        "adamw",
        3e-4,
        1e-4,
        file="letters_convnext.safetensors",
        input_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}

_TORCHVISION = "torchvision:"

# For a timm name, factory or module without an alias.
_DEFAULT = Recipe("", "")

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
        See :class:`~sklearn_turn.transforms.BatchTransform`.
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
        config, recipe = dict(getattr(module, "pretrained_cfg", None) or {}), _DEFAULT
        if _is_path(pretrained):
            _load_checkpoint(module, os.fspath(pretrained))  # type: ignore[arg-type]
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
        return module, config, _DEFAULT
    recipe = ALIASES.get(name) or replace(_DEFAULT, timm_name=name)
    published = pretrained is True and not (recipe.file or recipe.url)
    import timm

    kwargs: dict[str, Any] = {"num_classes": 0}
    if input_size is not None and _has_fixed_size(recipe.timm_name):
        # Such architectures (ViTs) resample their position embedding.
        kwargs["img_size"] = input_size
    with _weights_must_be_had(recipe.timm_name, wanted=published):
        try:
            module = timm.create_model(recipe.timm_name, pretrained=published, **kwargs)
        except TypeError:
            # Of a folder or hub name the architecture is not known beforehand.
            kwargs.pop("img_size", None)
            module = timm.create_model(recipe.timm_name, pretrained=published, **kwargs)
    if _is_path(pretrained):
        _load_checkpoint(module, os.fspath(pretrained))
    elif pretrained and recipe.file:
        weights = importlib.resources.files(__package__) / "weights" / recipe.file
        _load_checkpoint(module, str(weights))
    elif pretrained and recipe.url:
        with _weights_must_be_had(name, wanted=True):
            path = _download(recipe.url)
        _load_checkpoint(module, path)
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
    with _weights_must_be_had(f"torchvision:{name}", wanted=pretrained is True):
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
    if _is_path(pretrained):
        _load_checkpoint(module, os.fspath(pretrained))
    return module, config


@contextlib.contextmanager
def _weights_must_be_had(name: str, *, wanted: bool) -> Iterator[None]:
    """Turn a hub's many errors into one that says what to do."""
    try:
        yield
    except Exception as error:
        if not wanted or isinstance(error, (TypeError, AssertionError)):
            raise  # of the module, before any weights are asked for
        raise WeightsNotFoundError(
            f"The weights of {name!r} could not be had ({type(error).__name__}). Ways "
            "out: pass pretrained='path/to/weights.safetensors' with a downloaded "
            "checkpoint; fill the hub's cache on a machine with a network and point "
            "HF_HOME (for torch's own hub, TORCH_HOME) at a copy of it; choose another "
            "backbone whose weights you have ('local-dir:/path' reads a folder with "
            "config.json and weights); or pass pretrained=False to train from scratch."
        ) from error


def _download(url: str) -> str:
    """Fetch a checkpoint into torch's hub cache once; return its path."""
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    path = os.path.join(folder, os.path.basename(url))
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        torch.hub.download_url_to_file(url, path)
    return path


def _is_path(pretrained: Any) -> bool:
    return isinstance(pretrained, (str, os.PathLike))


def _load_checkpoint(module: nn.Module, path: str) -> None:
    """Load a local checkpoint, refusing one that leaves weights at random."""
    if not os.path.isfile(path):
        raise WeightsNotFoundError(
            f"The checkpoint {path!r} does not exist. Give the path of a .safetensors "
            "or .pth file."
        )
    try:
        state = _read_state(path)
    except Exception as error:
        raise ValueError(
            f"The checkpoint {path!r} could not be read ({type(error).__name__}). It "
            "must be a .safetensors file, or a .pth file that holds tensors only: "
            "other pickled objects are not loaded, because that would run their code."
        ) from error
    # timm keeps, beside many architectures, a filter that renames old keys and
    # resamples position embeddings to the input size.
    filter_fn = getattr(
        sys.modules[type(module).__module__], "checkpoint_filter_fn", None
    )
    if filter_fn is not None:
        # Of another architecture, it may fail; the keys then say more.
        with contextlib.suppress(Exception):
            state = filter_fn(state, module)
    expected = module.state_dict()
    fits = {k for k, v in expected.items() if k in state and state[k].shape == v.shape}
    # BatchNorm's counter of batches is not a weight and is often left out.
    missing = [
        k for k in expected if k not in fits and not k.endswith("num_batches_tracked")
    ]
    if missing:
        wrong = [k for k in missing if k in state]
        raise ValueError(
            f"The checkpoint {path!r} does not fit {type(module).__name__}: "
            f"{len(fits)} of {len(expected)} keys match, {len(wrong)} have another "
            f"shape and {len(missing) - len(wrong)} are missing, for example "
            f"{', '.join(missing[:3])}. Choose the backbone the checkpoint was made "
            "with."
        )
    module.load_state_dict(
        {k: v.to(expected[k].dtype) for k, v in state.items() if k in fits},
        strict=False,
    )


def _read_state(path: str) -> dict[str, Tensor]:
    """Read tensors by name, from the layouts in use."""
    from timm.models import load_state_dict

    if not path.endswith(".safetensors"):
        content = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and "target_encoder" in content:
            # MSN's own layout: the averaged encoder, wrapped for parallel training.
            encoder = content["target_encoder"]
            return {k.removeprefix("module."): v for k, v in encoder.items()}
    return load_state_dict(path, device="cpu", weights_only=True)


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


def weights_digest(module: nn.Module) -> str:
    """Digest of a module's parameters and buffers, the same for equal weights.

    Parameters
    ----------
    module : Module

    Returns
    -------
    str
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        )
    return digest.hexdigest()
