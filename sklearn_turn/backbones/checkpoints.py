"""Weights from local files, which must fit."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..exceptions import WeightsNotFoundError

# Under which training scripts store weights: MSN's averaged encoder, averaged weights,
# then the plain ones.
_LAYOUTS = ("target_encoder", "state_dict_ema", "model_ema", "state_dict", "model")

# What follows a backbone, or was needed to pre-train it alone.
_HEADS = {"head", "head_dist", "heads", "fc", "classifier", "mask_token"}
_HEAD_PREFIXES = ("aux", "decoder")


def is_path(pretrained: Any) -> bool:
    return isinstance(pretrained, (str, os.PathLike))


def load_checkpoint(
    module: nn.Module, path: str | os.PathLike[str], removed: Iterable[str] = ()
) -> None:
    """Load a local checkpoint, refusing one that does not fit.

    Parameters
    ----------
    module : Module
    path : path-like
        ``.safetensors``, or ``.pth`` with tensors only.
    removed : iterable of str
        Parts that were taken off the module, of which the checkpoint may have weights.

    Raises
    ------
    WeightsNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read, leaves weights at random, or holds more layers than
        the module has.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise WeightsNotFoundError(
            f"The checkpoint {path!r} does not exist. Give the path of a .safetensors "
            "or .pth file."
        )
    try:
        state = unwrapped(_read(path))
    except Exception as error:
        raise ValueError(
            f"The checkpoint {path!r} could not be read ({type(error).__name__}). It "
            "must be a .safetensors file, or a .pth file that holds tensors only: "
            "other pickled objects are not loaded, because that would run their code."
        ) from error
    load_state(module, state, path, removed)


def _read(path: str) -> Any:
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def unwrapped(content: Any) -> dict[str, Tensor]:
    """Weights by name, from the layouts in use.

    Parameters
    ----------
    content : mapping
        What a checkpoint file holds.

    Returns
    -------
    dict of str to Tensor
    """
    from timm.models import clean_state_dict

    for name in _LAYOUTS:
        if isinstance(content.get(name), dict):
            content = content[name]
            break
    return {
        name: value
        for name, value in clean_state_dict(content).items()
        if isinstance(value, Tensor)
    }


def load_state(
    module: nn.Module,
    state: dict[str, Tensor],
    origin: str,
    removed: Iterable[str] = (),
) -> None:
    """Load weights into a module, refusing those that do not fit.

    Parameters
    ----------
    module : Module
    state : dict of str to Tensor
    origin : str
        Where they are from, for messages.
    removed : iterable of str
        See :func:`load_checkpoint`.

    Raises
    ------
    ValueError
    """
    state = _in_names_of(module, state)
    expected = module.state_dict()
    fits = {k for k, v in expected.items() if k in state and state[k].shape == v.shape}
    # BatchNorm's counter of batches is not a weight and is often left out.
    missing = [
        k for k in expected if k not in fits and not k.endswith("num_batches_tracked")
    ]
    surplus = [
        k for k in state if k not in expected and not _in_head(k, module, removed)
    ]
    if missing or surplus:
        wrong = [k for k in missing if k in state]
        examples = ", ".join([*missing[:3], *surplus[:3]])
        raise ValueError(
            f"The checkpoint {origin!r} does not fit {type(module).__name__}: "
            f"{len(fits)} of {len(expected)} keys match, {len(wrong)} have another "
            f"shape, {len(missing) - len(wrong)} are missing and the checkpoint has "
            f"{len(surplus)} more, for example {examples}. Choose the backbone the "
            "checkpoint was made with."
        )
    module.load_state_dict(
        {k: state[k].to(expected[k].dtype) for k in fits}, strict=False
    )


def _in_names_of(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as this version of the module calls them."""
    # timm keeps, beside many architectures, a filter that renames old keys and
    # resamples position embeddings to the input size.
    home = sys.modules.get(type(module).__module__)
    filter_fn = getattr(home, "checkpoint_filter_fn", None)
    if filter_fn is not None:
        # Of another architecture, it may fail; the keys then say more.
        with contextlib.suppress(Exception):
            return dict(filter_fn(dict(state), module))
    return state


def _in_head(key: str, module: nn.Module, removed: Iterable[str]) -> bool:
    """Whether a weight is of what a backbone lacks: a classifier and the like."""
    config = getattr(module, "pretrained_cfg", None) or {}
    classifier = config.get("classifier") or ()
    names = [classifier] if isinstance(classifier, str) else [*classifier]
    if key.startswith(tuple(f"{name}." for name in [*names, *removed])):
        return True
    first = key.split(".")[0].lower()
    # Where a part of this name has weights in the module, they are its features'.
    own = {name.split(".")[0].lower() for name in module.state_dict()}
    known = first in _HEADS or first.startswith(_HEAD_PREFIXES)
    return known and first not in own
