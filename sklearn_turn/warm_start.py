"""Fits that go on from the network of the one before."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .backbones import Backbone
from .constructor import parameter, with_parameters
from .inputs import Source
from .nets import Start
from .training.device import Runtime
from .training.net import Net, history


@with_parameters
class WarmStartParameters:
    """Fitting again.

    Parameters
    ----------
    warm_start : bool, default=False
        Whether another call of ``fit`` goes on from the fitted network: it fine-tunes
        for ``fft_epochs`` more, with a schedule of its own, on the same classes. The
        linear probe stays as it is. See "Long runs" in the documentation.
    """

    warm_start: bool = parameter(default=False, legal=["boolean"])


@dataclass(frozen=True)
class Earlier:
    """The fit that another one goes on from.

    Attributes
    ----------
    net : Net
    probe : Net or None
    history : list of dict
    classes : ndarray of shape (n_classes,)
    labels : ndarray of shape (n_samples,)
        As they were given, of the samples that were used.
    noise_filter : estimator or None
        Fitted.
    is_frozen : bool
        Whether its backbone was not trained.
    """

    net: Net
    probe: Net | None
    history: list[dict[str, Any]]
    classes: NDArray[Any]
    labels: NDArray[Any]
    noise_filter: Any
    is_frozen: bool

    @classmethod
    def of(cls, estimator: Any) -> Earlier | None:
        """The fit that the next one of an estimator goes on from, if it is to."""
        fitted = vars(estimator)
        if not getattr(estimator, "warm_start", False) or "net_" not in fitted:
            return None
        return cls(
            net=fitted["net_"],
            probe=fitted.get("probe_"),
            history=fitted["history_"],
            classes=fitted["classes_"],
            labels=np.delete(fitted["given_labels_"], fitted["skipped_"]),
            noise_filter=fitted.get("noise_filter_"),
            is_frozen=fitted["_is_frozen"],
        )

    def check(self, estimator: Any, classes: NDArray[Any]) -> None:
        """Raise if an estimator cannot go on with samples of some classes.

        Raises
        ------
        ValueError
        """
        if not np.array_equal(self.classes, classes):
            changed = {*self.classes.tolist()} ^ {*classes.tolist()}
            raise ValueError(
                "warm_start=True goes on with the classes of the fit before, but y has "
                f"{len(classes)} where that had {len(self.classes)}; they differ in "
                f"{', '.join(sorted(map(repr, changed))[:10])}. Set warm_start=False "
                "to begin anew."
            )
        if not estimator.fft_epochs:
            raise ValueError(
                "warm_start=True fine-tunes for fft_epochs more, but fft_epochs is 0. "
                "Set it to 1 or more, or set warm_start=False to begin anew."
            )

    def prepare(
        self, estimator: Any, source: Source, runtime: Runtime
    ) -> tuple[Backbone | None, nn.Module, Source]:
        """Backbone and embedder of an estimator, with the weights of the fit before.

        A copy: until the new fit has ended, the old one must be there.

        Raises
        ------
        ValueError
            If the estimator was given another backbone since.
        """
        parameters = estimator.get_params(deep=False)
        architecture = type(estimator)(**{**parameters, "pretrained": False})
        backbone, embed, source = architecture._prepare(source, runtime)
        tuned: Any = self.net.module_
        try:
            embed.load_state_dict(tuned.embed.state_dict())
        except RuntimeError as error:
            raise ValueError(
                "warm_start=True goes on from the fitted network, whose weights do not "
                "fit the backbone and input_size that are set now. Set them back, or "
                "set warm_start=False to begin anew."
            ) from error
        return backbone, embed, source

    @property
    def start(self) -> Start:
        """A copy of what is behind the backbone, on the CPU."""
        module: Any = self.net.module_
        scale, head = copy.deepcopy((module.scale, module.head))
        return Start(scale.cpu(), head.cpu())

    def noise_rate(self, noise_filter: Any, labels: NDArray[Any]) -> float | None:
        """Noise rate that such a filter found in labels, if these are the same."""
        is_same = type(noise_filter) is type(self.noise_filter)
        if not (is_same and np.array_equal(self.labels, labels)):
            return None
        held = getattr(self.noise_filter, "noise_rate", None)
        return getattr(self.noise_filter, "noise_rate_", None) if held is None else held


def whole_history(
    earlier: Earlier | None, probe: Net | None, net: Net
) -> list[dict[str, Any]]:
    """Records of the epochs of a fit, after those of the one it went on from."""
    if earlier is None:
        return history({"probe": probe, "fine-tune": net})
    tuned = [row["epoch"] for row in earlier.history if row["phase"] == "fine-tune"]
    done = max(tuned, default=0)
    rows = history({"fine-tune": net})
    return [*earlier.history, *({**row, "epoch": done + row["epoch"]} for row in rows)]
