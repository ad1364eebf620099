"""Weights from files and hubs, and errors that say what to do without them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..exceptions import WeightsNotFoundError


@contextlib.contextmanager
def weights_or_error(name: str, *, wanted: bool) -> Iterator[None]:
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


def download(url: str) -> str:
    """Fetch a checkpoint into torch's hub cache once; return its path."""
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    path = os.path.join(folder, os.path.basename(url))
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        torch.hub.download_url_to_file(url, path)
    return path


def is_path(pretrained: Any) -> bool:
    return isinstance(pretrained, (str, os.PathLike))


def load_checkpoint(module: nn.Module, path: str) -> None:
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
