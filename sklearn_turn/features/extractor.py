"""Frozen backbones as scikit-learn transformers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ..backbones import BackboneLike, check_backbone, load_backbone, make_embedder
from ..inputs import as_source
from ..parameters import BACKBONE_CONSTRAINTS
from ..training.runtime import Runtime
from .extraction import extract_features


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Turn images into the features of a frozen, pre-trained backbone.

    Put it before any classifier; with
    :class:`~sklearn_turn.NoiseFilteredClassifier` around that classifier, wrong
    labels are filtered too. Nothing is learned from the data.

    Parameters
    ----------
    backbone, pretrained, input_size, crop_pct, batch_size, num_workers, device, \
precision, memory, verbose
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

    _parameter_constraints = BACKBONE_CONSTRAINTS

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
        memory: Any = None,
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
        self.memory = memory
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
        if isinstance(self.backbone, str):
            check_backbone(self.backbone)
        source = as_source(X)
        loaded = load_backbone(
            self.backbone,
            pretrained=self.pretrained,
            input_size=self.input_size,
            crop_pct=self.crop_pct,
            example=source.load([0]) if source.is_raw else None,
        )
        self._embed = make_embedder(loaded, Runtime.of(self).dtype, raw=source.is_raw)
        self._input_size = loaded.input_size
        self.n_features_out_ = loaded.width
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the features of each image.

        Parameters
        ----------
        X : images or file paths

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
        """
        check_is_fitted(self)
        source = as_source(X)
        source.fit_to(self._input_size)
        return extract_features(
            self._embed, source, Runtime.of(self), memory=self.memory
        ).numpy()

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the features, ``feature0`` and on."""
        check_is_fitted(self)
        names = [f"feature{i}" for i in range(self.n_features_out_)]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags
