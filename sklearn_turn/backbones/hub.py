"""Published weights: found in the cache, or downloaded, or soon given up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from ..exceptions import WeightsNotFoundError
from .names import FOLDER, HUB

# Seconds to wait for the hub's first answer.
_PATIENCE = 5.0
# As timm names them there.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@contextlib.contextmanager
def downloading(name: str) -> Iterator[None]:
    """Report a failed download as weights that are missing.

    Parameters
    ----------
    name : str
        Of the backbone.

    Raises
    ------
    WeightsNotFoundError
        On errors of the network or the disk. Others are left as they are.
    """
    try:
        yield
    except _download_errors() as error:
        raise _missing_weights(name, _reason(error)) from error


def located(name: str) -> tuple[str, dict[str, Any]]:
    """How timm finds a model's weights without waiting for a hub that is away.

    Without a network the hub's client would try each of several files for most of a
    minute, older versions even if the weights are in its cache.

    Parameters
    ----------
    name : str
        Of timm.

    Returns
    -------
    name : str
        What to ask timm for.
    options : dict
        More arguments of :func:`timm.create_model`.

    Raises
    ------
    WeightsNotFoundError
        If there are no such weights, or they would have to be downloaded and the hub
        does not answer.
    """
    if name.startswith(HUB):
        return _located_on_hub(name), {}
    if name.startswith(FOLDER):
        return name, {}

    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise _missing_weights(name, "none are published")
    if not config.hf_hub_id:
        return name, {}
    # Unlike other people's, timm's models keep their weights once they are published.
    file = _cached(config.hf_hub_id, _WEIGHTS)
    if file is not None:
        # Not in the layout of the model's authors, which some would be read by.
        return name, {"pretrained_cfg_overlay": {"file": file, "custom_load": False}}
    if why_not := _unreachable():
        raise _missing_weights(name, why_not)
    return name, {}


def _located_on_hub(name: str) -> str:
    why_not = _unreachable()
    if why_not is None:
        return name
    repository = name.partition(":")[2]
    config = _cached(repository, ["config.json"])
    if config is None or _cached(repository, _WEIGHTS) is None:
        raise _missing_weights(name, why_not)
    return FOLDER + os.path.dirname(config)


def _unreachable() -> str | None:
    """Why the hub cannot be asked, or None if it answers."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except _download_errors():
        return f"{urlsplit(constants.ENDPOINT).hostname} does not answer"
    return None


def _cached(repository: str, files: Iterable[str]) -> str | None:
    """Path of the first of some files that is in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    repo_id, _, revision = repository.partition("@")
    for file in files:
        path = try_to_load_from_cache(repo_id, file, revision=revision or None)
        if isinstance(path, str):
            return path
    return None


def _download_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    # Its base is that of the HTTP client, which is another one in each major version.
    return (OSError, *HfHubHTTPError.__bases__)


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", error)  # urllib wraps the error of the system
    return getattr(cause, "strerror", None) or type(error).__name__


def _missing_weights(name: str, reason: str) -> WeightsNotFoundError:
    return WeightsNotFoundError(
        f"The weights of {name!r} are not available here ({reason}). Ways out: pass "
        "pretrained='path/to/weights.safetensors' with a downloaded checkpoint; fill "
        "the hub's cache on a machine with a network and point HF_HOME (for torch's "
        "own hub, TORCH_HOME) at a copy of it; choose another backbone whose weights "
        "you have ('local-dir:/path' reads a folder with config.json and weights); or "
        "pass pretrained=False to train from scratch."
    )
