"""Which options of the skorch net may be set, and how callbacks are given."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from .parameters import FineTuneParameters, LossParameters, ProbeParameters
from .training.batches import RandomOrder
from .training.evidence import check_in_order
from .training.modules import Classifier
from .training.net import Net

# Of a skorch net, but the estimator's to set.
_OURS = {
    *("module", "classes", "device", "warmup_epochs", "layer_decay", "phase"),
    "predict_nonlinearity",
}
# Names of the estimators' own callbacks.
_TAKEN = {"cosine", "order", "cleansing", "rule", "predicted", "checkpoint"}


def check_probe_options(parameters: ProbeParameters) -> None:
    """Raise if ``lp_params`` holds unknown options, or some that are ours to set.

    Raises
    ------
    ValueError
        Naming the option and what to use instead.
    """
    extra = parameters.lp_params or {}
    _check_net_options("lp_params", extra, "lp_epochs")
    own = {"lr": "lp_lr", "optimizer__lr": "lp_lr"}
    own |= dict.fromkeys(("batch_size", "iterator_train__batch_size"), "lp_batch_size")
    _refuse_twice("lp_params", extra, parameters, own)
    _refuse_other_loss("lp_params", extra, parameters)


def check_fine_tune_options(
    parameters: FineTuneParameters, *, selects: bool = False
) -> None:
    """Raise if ``fft_params`` holds unknown options, or some that are ours to set.

    Parameters
    ----------
    parameters : FineTuneParameters
    selects : bool
        Whether the method itself selects the samples of each epoch.

    Raises
    ------
    ValueError
        Naming the option and what to use instead.
    """
    extra = parameters.fft_params or {}
    _check_net_options("fft_params", extra, "fft_epochs")
    own = {"lr": "fft_lr", "optimizer__lr": "fft_lr"}
    own |= dict.fromkeys(("batch_size", "iterator_train__batch_size"), "fft_batch_size")
    own["optimizer__weight_decay"] = "fft_weight_decay"
    _refuse_twice("fft_params", extra, parameters, own)
    _refuse_other_loss("fft_params", extra, parameters)
    if "optimizer__name" in extra:
        raise ValueError(
            "fft_params holds 'optimizer__name'; set fft_optimizer instead."
        )
    for name in ("fft_optimizer", "fft_weight_decay"):
        if "optimizer" in extra and getattr(parameters, name) is not None:
            raise ValueError(
                f"fft_params holds an optimizer, so that {name} has no effect. Leave "
                f"{name} at None; options go into fft_params, such as "
                "'optimizer__weight_decay'."
            )
    added = [callback_of(entry) for entry in extra.get("callbacks") or []]
    if selects and any(isinstance(callback, RandomOrder) for callback in added):
        raise ValueError(
            "fft_params holds a callback that selects the samples of each epoch, and "
            "so does the estimator. Remove it, or set cleansing=None."
        )


def _refuse_twice(
    name: str, extra: Mapping[str, Any], parameters: Any, own: Mapping[str, str]
) -> None:
    """Raise if an option of the net is given in two ways, of which one would win."""
    for key, ours in own.items():
        if key in extra and getattr(parameters, ours) is not None:
            raise ValueError(
                f"{name} holds {key!r}, so that {ours}={getattr(parameters, ours)} has "
                f"no effect. Leave one of them out; a search needs {ours}."
            )


def _refuse_other_loss(name: str, extra: Mapping[str, Any], parameters: Any) -> None:
    """Raise if a criterion takes the place of a loss that was chosen as well."""
    of_loss = [field.name for field in fields(LossParameters)]
    if not isinstance(parameters, LossParameters):
        # Of TURN's probe; other methods have a loss of their own.
        of_loss = ["q"] if name == "lp_params" and hasattr(parameters, "q") else []
    known = inspect.signature(type(parameters)).parameters
    for field in of_loss:
        if "criterion" not in extra:
            if f"criterion__{field}" in extra:
                raise ValueError(
                    f"{name} holds 'criterion__{field}'; set {field} instead."
                )
            continue
        value = getattr(parameters, field)
        # A class of the user's may not let it be set.
        usual = known[field].default if field in known else value
        # A loss may be a module, which equals itself alone.
        if not (value is usual or value == usual):
            raise ValueError(
                f"{name} holds a criterion, so that {field}={value!r} has no effect. "
                "Leave one of them out."
            )


def _check_net_options(name: str, extra: Mapping[str, Any] | None, epochs: str) -> None:
    extra = dict(extra or {})
    _check_callbacks(name, extra.pop("callbacks", None), "train_split" in extra)
    if "max_epochs" in extra:
        raise ValueError(f"{name} holds max_epochs; set {epochs} instead.")
    if not callable(extra.get("train_split") or Net):
        raise ValueError(
            f"The train_split of {name} is {extra['train_split']!r}; pass an object "
            "such as skorch.dataset.ValidSplit(5, stratified=True)."
        )
    for key in ("iterator_train__sampler", "iterator_train__batch_sampler"):
        if key in extra:
            raise ValueError(
                f"{name} holds {key!r}, but the estimator chooses the samples of each "
                "epoch. For another choice, pass a callback derived from Cleansing."
            )
    check_in_order(extra, name)
    criterion = extra.get("criterion")
    kind = criterion if isinstance(criterion, type) else type(criterion)
    if issubclass(kind, nn.NLLLoss):
        raise ValueError(
            f"The criterion of {name} is an NLLLoss, which takes log-probabilities, "
            "but is given logits. Use torch.nn.CrossEntropyLoss, with the same "
            "arguments."
        )
    ours = sorted(key for key in extra if key.split("__")[0] in _OURS)
    if ours:
        raise ValueError(
            f"{name} holds {ours[0]!r}, which the estimator sets itself. Use its own "
            "parameters, such as backbone, device or fft_layer_decay."
        )
    net = Net(Classifier)
    known = {*net.get_params(deep=False), "optimizer", *net.prefixes_}
    unknown = sorted(key for key in extra if key.split("__")[0] not in known)
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=3)
        hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"{name} holds {unknown[0]!r}, which is no argument of a skorch net.{hint}"
        )


def _check_callbacks(name: str, callbacks: Any, has_split: bool) -> None:
    if not isinstance(callbacks, (list, tuple, type(None))):
        raise ValueError(
            f"The callbacks of {name} are {callbacks!r}; pass a list of them."
        )
    for entry in callbacks or []:
        callback = callback_of(entry)
        if isinstance(callback, type):
            raise ValueError(
                f"{name} holds the class {callback.__name__} as a callback; pass an "
                f"instance: {callback.__name__}()."
            )
        monitored = str(getattr(callback, "monitor", ""))
        if monitored.startswith("valid") and not has_split:
            raise ValueError(
                f"{name} holds {type(callback).__name__}, which monitors "
                f"{monitored!r}, but no validation set: add "
                "'train_split': skorch.dataset.ValidSplit(5, stratified=True)."
            )
    given = {callback_name(entry) for entry in callbacks or []}
    taken = sorted(given & _TAKEN)
    if taken:
        raise ValueError(
            f"{name} names a callback {taken[0]!r}, as the estimator does; choose "
            "another name."
        )


def callback_name(entry: Any) -> Any:
    """The name of a callback of a list of callbacks or pairs, if it has one."""
    return entry[0] if isinstance(entry, tuple) else None


def callback_of(entry: Any) -> Any:
    """A callback of a list of callbacks or pairs of name and callback."""
    return entry[1] if isinstance(entry, tuple) else entry
