"""Frozen backbones as scikit-learn transformers."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._runtime import Runtime, forward_all
from .backbones import BackboneLike, load_backbone
from .base import BaseFineTuner, make_embedder
from .images import as_source


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Turn images into the features of a frozen, pre-trained backbone.

    Put it before any classifier; with
    :class:`~sklearn_turn.NoiseFilteredClassifier` around that classifier, wrong
    labels are filtered too. Nothing is learned from the data.

    Parameters
    ----------
    backbone, pretrained, input_size, crop_pct, batch_size, num_workers, device, \
precision, verbose
        As in :class:`~sklearn_turn.TURNClassifier`.

    Attributes
    ----------
    n_features_out_ : int
        Number of features.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn import FeatureExtractor
    >>> images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    >>> extract = FeatureExtractor("test_resnet", pretrained=False, input_size=32)
    >>> extract.fit_transform(images).shape
    (2, 96)
    """

    _parameter_constraints = {
        name: BaseFineTuner._parameter_constraints[name]
        for name in (
            "backbone",
            "pretrained",
            "input_size",
            "crop_pct",
            "batch_size",
            "num_workers",
            "device",
            "precision",
            "verbose",
        )
    }

    def __init__(
        self,
        backbone: BackboneLike = "vit_b16",
        *,
        pretrained: bool | str | os.PathLike[str] = True,
        input_size: int | None = None,
        crop_pct: float | None = None,
        batch_size: int = 64,
        num_workers: int | str = "auto",
        device: str = "auto",
        precision: str = "auto",
        verbose: int = 0,
    ):
        self.backbone = backbone
        self.pretrained = pretrained
        self.input_size = input_size
        self.crop_pct = crop_pct
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.precision = precision
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Load the backbone; ``X`` is checked and otherwise not used.

        Parameters
        ----------
        X : images or file paths
            As in :meth:`TURNClassifier.fit`.
        y : ignored

        Returns
        -------
        self
        """
        self._source(X)
        loaded = load_backbone(
            self.backbone,
            pretrained=self.pretrained,
            input_size=self.input_size,
            crop_pct=self.crop_pct,
        )
        self._embed = make_embedder(loaded, self._runtime(), None)
        self.n_features_out_ = loaded.width
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the features of each image.

        Parameters
        ----------
        X : images or file paths

        Returns
        -------
        ndarray of shape (n_samples, n_features_out_), float32
        """
        check_is_fitted(self)
        source = self._source(X)
        return forward_all(self._embed, source, self._runtime(), "features").numpy()

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the features, ``feature0`` and on."""
        check_is_fitted(self)
        names = [f"feature{i}" for i in range(self.n_features_out_)]
        return np.asarray(names, dtype=object)

    def _source(self, X: Any):
        return as_source(X, min_size=self.input_size or 224)

    def _runtime(self) -> Runtime:
        return Runtime.resolve(
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            verbose=int(self.verbose),
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags
