"""Fits that go on from the network of the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .backbones import Backbone, Embedder
from .constructor import parameter, with_parameters
from .inputs import (
    FeatureRows,
    ImageFiles,
    Source,
    Subset,
    as_rows,
    as_source,
    is_images,
)
from .inputs.keys import some_of
from .nets import Start, copied_start
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
    noise_rate : float or None
        What that filter found, unless it was told.
    glimpse : str or None
        Of the samples.
    backbone : str or None
        Its name.
    is_frozen : bool
        Whether its backbone was not trained.
    """

    net: Net
    probe: Net | None
    history: list[dict[str, Any]]
    classes: NDArray[Any]
    labels: NDArray[Any]
    noise_filter: Any
    noise_rate: float | None
    glimpse: str | None
    backbone: str | None
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
            noise_rate=fitted.get("_noise_rate"),
            glimpse=fitted.get("_glimpse"),
            backbone=fitted.get("_backbone_name"),
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
        cause = None
        try:
            embed.load_state_dict(tuned.embed.state_dict())
        except RuntimeError as error:
            cause = error
        if isinstance(embed, Embedder):
            # Its BatchNorm, if it was not pre-trained, has other statistics by now.
            is_random = estimator.pretrained is False and self.backbone is not None
            pretrained = tuned.embed.freeze_batch_norm and not is_random
            embed.freeze_batch_norm = embed.freeze_batch_norm and pretrained
        named = self.backbone, name_of(estimator.backbone)
        is_other = None not in named and named[0] != named[1]
        if isinstance(embed, Embedder):
            # Equal shapes of the weights say little: an activation has none.
            is_other |= repr(embed.backbone) != repr(tuned.embed.backbone)
        if cause is not None or is_other:
            raise ValueError(
                "warm_start=True goes on from the fitted network, whose weights do not "
                "fit the backbone and input_size that are set now. Set them back, or "
                "set warm_start=False to begin anew."
            ) from cause
        return backbone, embed, source

    @property
    def start(self) -> Start:
        """A copy of what is behind the backbone, on the CPU."""
        module: Any = self.net.module_
        scale, head = copied_start(module.scale, module.head)
        return Start(scale.cpu(), head.cpu())

    def rate_found(
        self, noise_filter: Any, source: Source, labels: NDArray[Any]
    ) -> dict[str, Any]:
        """Noise rate that such a filter found, if samples and labels are the same.

        As arguments of :class:`~sklearn_turn.Cleansing`; none if they are others.
        """
        if self.noise_rate is None or type(noise_filter) is not type(self.noise_filter):
            return {}
        if not np.array_equal(self.labels, labels) or glimpse(source) != self.glimpse:
            return {}
        interval = getattr(self.noise_filter, "noise_rate_interval_", None)
        return {"noise_rate": self.noise_rate, "noise_rate_interval": interval}


def name_of(backbone: Any) -> str | None:
    """Name of a backbone that was given by its name."""
    return backbone if isinstance(backbone, str) else None


def glimpse(source: Source) -> str:
    """Kind and digests of up to 256 samples, by which other sets are told apart."""
    some = some_of(len(source), 256).tolist()
    kind = type(source.source if isinstance(source, Subset) else source).__name__
    return " ".join([kind, *(key.hex() for key in source.contents(some))])


def are_others(classifier: Any, X: Any) -> bool:
    """Whether samples are not those that a classifier was fitted on.

    Told of features and of files. Some may have been changed since, and images of
    other kinds cannot be compared, as they may be the same in another form.

    Parameters
    ----------
    classifier : classifier
        Fitted.
    X : samples or None
        As ``fit`` takes them.
    """
    seen = getattr(classifier, "_glimpse", None)
    if seen is None or X is None:
        return False
    try:
        source: Source
        if is_images(X):
            source = as_source(X, check=False)
        else:
            source = FeatureRows(np.asarray(as_rows(X), dtype=np.float32))
        is_known_kind = isinstance(source, FeatureRows | ImageFiles)
        if not is_known_kind or len(source) != len(classifier.given_labels_):
            return False
        used = np.delete(np.arange(len(source)), classifier.skipped_)
        (kind, *keys), (before, *others) = (
            text.split(" ") for text in (glimpse(Subset(source, used)), seen)
        )
    except (OSError, ValueError, TypeError):
        return False  # files that are gone may be listed
    return kind == before and 2 * np.sum(np.array(keys) == np.array(others)) < len(keys)


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
