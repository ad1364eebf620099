"""Fitted classifiers in one file: weights as safetensors, all else as JSON in it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .. import __version__
from ..backbones import Embedder
from ..backbones.identity import describe, probe_features
from ..exceptions import ModelFileError, NotSavedWarning
from ..inputs import FeatureRows, RawInputs, Source
from ..labels import plain_index
from ..nets import Start
from ..task import Task
from ..training.device import Runtime
from ..training.modules import Standardize, linear_head
from .arrays import CodecError, Tensors
from .codec import classes_by_path, pack, unpack
from .files import read, write
from .history import pack_history

# Raised when fitted attributes change, so that files of before cannot be read.
_FORMAT = 1
# Between the features of one batch in other precisions, as a share of their size.
_ROUNDING = 0.1
_OF_THE_MACHINE = {"memory", "checkpoint"}
_NETS = ("net_", "probe_")


class SavedAsFile:
    """Gives classifiers ``save`` and ``load``."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted classifier to one file, without pickle.

        Weights and arrays are safetensors, all else is JSON in one of them. Parameters
        that are code are left out, and have to be passed to :meth:`load`: a backbone
        that is a module or a function, callbacks, a filter of your own. ``memory`` and
        ``checkpoint`` are left out too: they are of this machine. An index of pandas
        with several levels, periods or a time zone becomes text, and joins no more:
        pass the table to ``label_issues(loaded, table)``.

        Parameters
        ----------
        path : path
            Of the file, such as ``model.safetensors``. One that is there is replaced
            when the new one is whole; of a link, the file it points to.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ModelFileError
            If a fitted attribute cannot be saved, or the file not be written.

        Warns
        -----
        NotSavedWarning
            If the history holds what cannot be saved.
        """
        check_is_fitted(self)
        estimator: Any = self
        tensors: Tensors = {}
        parameters, unsaved = {}, {}
        given = estimator.get_params(deep=False)
        for name, value in given.items():
            if name in _OF_THE_MACHINE:
                continue
            try:
                parameters[name] = pack(value, tensors, name, states=False)
            except CodecError:
                unsaved[name] = getattr(value, "__qualname__", type(value).__qualname__)
        # Of what has to be passed, the classes will be known.
        known = classes_by_path(given[name] for name in unsaved)
        fitted: dict[str, Any] = {}
        nets, left_out = {}, set()
        for name in ["_published", *estimator._published]:
            if name not in vars(self):
                continue
            found = vars(self)[name]
            if name == "sample_index_":
                found = plain_index(found)
            if name in _NETS:
                history, without = pack_history(
                    found.history, tensors, f"{name}history"
                )
                state = pack(dict(found.module_.state_dict()), tensors, name)
                nets[name] = {"state": state, "history": history}
                left_out |= without
            elif name == "history_":
                fitted[name], without = pack_history(found, tensors, name)
                left_out |= without
            else:
                try:
                    fitted[name] = pack(found, tensors, name, states=False, known=known)
                except CodecError as error:
                    raise ModelFileError(f"Not saved: {error}") from error
        if left_out:
            warnings.warn(
                f"Entries of the history are not saved: {', '.join(sorted(left_out))}. "
                "Record plain values.",
                NotSavedWarning,
                stacklevel=2,
            )
        node = {
            "format": _FORMAT,
            "version": __version__,
            "class": type(self).__name__,
            "parameters": parameters,
            "unsaved": unsaved,
            "fitted": fitted,
            "nets": nets,
            "backbone": _backbone_of(estimator.net_.module_),
            "sight": pack(_sight_of(estimator.net_.module_), tensors, "sight"),
        }
        try:
            write(Path(path), node, tensors)
        except OSError as error:
            raise ModelFileError(f"Not saved: {error}.") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Self:
        """Read a classifier that :meth:`save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : path
        **parameters
            In place of those in the file: what could not be saved, or another
            ``device``.

        Returns
        -------
        estimator
            Fitted.

        Raises
        ------
        FileNotFoundError
        ModelFileError
            If the file is damaged or holds another class, a format of another version
            or weights of another backbone, or if a parameter is missing; the message
            says what differs.
        """
        known: Any = cls
        unknown = sorted(parameters.keys() - known._get_param_names())
        if unknown:
            raise TypeError(f"{cls.__name__} has no parameter {unknown[0]!r}.")
        try:
            # Weights are drawn at random, before those of the file take their place.
            with torch.random.fork_rng(devices=[]):
                return _load(cls, Path(path), parameters)
        except (FileNotFoundError, ModelFileError):
            raise
        except CodecError as error:
            raise ModelFileError(str(error)) from error
        except Exception as error:  # whatever a damaged file leads to
            raise ModelFileError(
                f"{str(path)!r} is damaged, or does not fit what was passed: "
                f"{type(error).__name__}: {error}"
            ) from error


def _load(cls: Any, path: Path, given: dict[str, Any]) -> Any:
    node, tensors = read(path)
    _check_kind(cls, path, node)
    missing = {k: v for k, v in node["unsaved"].items() if k not in given}
    if missing:
        listed = ", ".join(f"{name} ({what})" for name, what in missing.items())
        raise ModelFileError(
            f"{str(path)!r} does not hold these parameters, which are code: {listed}. "
            f"Pass what the model was fitted with, {cls.__name__}.load(path, "
            f"{next(iter(missing))}=...)."
        )
    known = classes_by_path(given.values())

    def values(nodes: Mapping[str, Any]) -> dict[str, Any]:
        return {k: unpack(v, tensors, known=known) for k, v in nodes.items()}

    parameters = {**values(node["parameters"]), **given}
    for name in _OF_THE_MACHINE - given.keys():
        parameters.pop(name, None)  # whatever the file says
    estimator = cls(**parameters)
    fitted = values(node["fitted"])
    nets = {name: values(net) for name, net in node["nets"].items()}
    # The architecture alone: its weights are in the file.
    architecture = cls(**{**parameters, "pretrained": False})
    state, is_of_features = nets["net_"]["state"], node["backbone"] is None
    task = _blank_task(architecture, fitted, state, is_of_features=is_of_features)
    for name, net in nets.items():
        on_features = name == "probe_" and not task.is_frozen
        start = _blank_start(net["state"])
        rows = torch.zeros(1, start.head.in_features)
        part = task.on_features(rows) if on_features else task
        fitted[name] = estimator._blank_net(part, start, net["state"])
        _fill(fitted[name], net, path)
    _check_backbone(fitted["net_"], node["backbone"], path)
    _check_sight(fitted["net_"], unpack(node["sight"], tensors), path)
    vars(estimator).update(fitted)
    return estimator


def _blank_task(
    estimator: Any, fitted: dict[str, Any], state: Tensors, *, is_of_features: bool
) -> Task:
    """The task of the fit without its data."""
    runtime = Runtime.of(estimator)
    source: Source = Source()
    if fitted["_is_raw"]:
        like = np.zeros((2, *fitted["input_shape_"]), fitted["_raw_type"])
        source = RawInputs(like)
    if is_of_features:
        source = FeatureRows(torch.zeros(1, _blank_start(state).head.in_features))
    backbone, embed, source = estimator._prepare(source, runtime)
    classes = fitted["classes_"]
    return Task(
        source=source,
        y=np.zeros(1, dtype=np.intp),
        classes=classes,
        used=np.ones(1, dtype=bool),
        backbone=backbone,
        embed=embed,
        runtime=runtime,
        random_state=np.random.RandomState(0),
    )


def _blank_start(state: Tensors) -> Start:
    """Scale and head of the shape that a saved net has."""
    # By their whole names: a layer of the backbone may be called a head too.
    first = "" if "head.weight" in state else "members.0."
    n_classes, width = state[f"{first}head.weight"].shape
    scale: nn.Module = nn.Identity()
    if f"{first}scale.mean" in state:
        scale = Standardize(torch.zeros(2, width), of_backbone=True)
    return Start(scale, linear_head(width, n_classes))


def _fill(net: Any, saved: dict[str, Any], path: Path) -> None:
    """Give a net the weights and records of a saved one."""
    module: nn.Module = net.module_
    try:
        module.load_state_dict(saved["state"])
    except RuntimeError as error:
        differ = _differences(module.state_dict(), saved["state"])
        raise ModelFileError(
            f"The weights in {str(path)!r} are of another backbone, or another "
            f"input_size, than the one given: {differ}."
        ) from error
    module.eval()
    net.history.extend(saved["history"])


def _check_backbone(net: Any, saved: dict[str, Any] | None, path: Path) -> None:
    """Raise if a backbone differs in what its weights do not show."""
    found = _backbone_of(net.module_)
    if found == saved:
        return
    was, now = saved or {}, found or {}
    differ = [k for k in {**was, **now} if was.get(k) != now.get(k)]
    listed = "; ".join(f"{k} (saved {was.get(k)}, now {now.get(k)})" for k in differ)
    raise ModelFileError(
        f"The model in {str(path)!r} was fitted with another backbone: {listed}. Pass "
        "the one it was fitted with, or install the version of timm of then."
    )


def _backbone_of(module: Any) -> dict[str, Any] | None:
    if not isinstance(module.embed, Embedder):
        return None
    description = describe(module.embed)
    del description["precision"]  # the machine's, or a parameter
    return description


def _sight_of(module: Any) -> NDArray[np.float32] | None:
    """What a backbone that takes images makes of a fixed batch."""
    embed = module.embed
    is_of_images = isinstance(embed, Embedder) and embed.takes_images
    return probe_features(embed) if is_of_images else None


def _check_sight(net: Any, saved: NDArray[np.float32] | None, path: Path) -> None:
    """Raise if a backbone does something else, which no description shows."""
    found = _sight_of(net.module_)
    if found is None or saved is None:
        return
    size = np.abs(saved).max()
    if found.shape == saved.shape and np.abs(found - saved).max() <= _ROUNDING * size:
        return
    raise ModelFileError(
        f"The model in {str(path)!r} was fitted with another backbone: with the same "
        "weights, the one given makes other features of an image. Pass the one it was "
        "fitted with."
    )


def _check_kind(cls: type, path: Path, node: dict[str, Any]) -> None:
    there, here = node.get("format"), _FORMAT
    if there != here:
        raise ModelFileError(
            f"{str(path)!r} was written by sklearn-turn {node.get('version')} in "
            f"format {there}; this is {__version__}, which reads format {here}. "
            "Install that version, or fit again."
        )
    if node["class"] != cls.__name__:
        raise ModelFileError(
            f"{str(path)!r} holds a {node['class']}: read it by "
            f"{node['class']}.load, not {cls.__name__}.load."
        )


def _differences(module: Tensors, saved: Tensors) -> str:
    def shapes(state: dict[str, Tensor]) -> dict[str, Any]:
        return {k: tuple(v.shape) for k, v in state.items()}

    here, there = shapes(module), shapes(saved)
    parts = {
        "only saved": [k for k in there if k not in here],
        "not saved": [k for k in here if k not in there],
        "of another shape": [
            f"{k} (saved {there[k]}, now {here[k]})"
            for k in there
            if k in here and there[k] != here[k]
        ],
    }
    return "; ".join(
        f"{len(names)} {what}, such as {names[0]}"
        for what, names in parts.items()
        if names
    )
