"""Frozen backbones as scikit-learn transformers."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from ..backbones import Embedder, check_backbone, embedder_for
from ..constructor import with_parameters
from ..inputs import Source, as_source
from ..parameters import BackboneParameters, RunParameters
from ..processes import fitted_together
from ..training.device import Runtime, seeded
from ..validation import validated_fit
from .extraction import extract_features


@with_parameters
class FeatureExtractor(
    TransformerMixin, RunParameters, BackboneParameters, BaseEstimator
):
    """Turn images into the features of a frozen, pre-trained backbone.

    Put it before any classifier; with
    :class:`~sklearn_turn.NoiseFilteredClassifier` around that classifier, noisy
    labels are filtered too. Nothing is learned from the data.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
        Decides the weights when ``pretrained`` is False.
    verbose : int, default=0
        1 shows progress.

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

    @validated_fit
    @fitted_together
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the backbone; ``X`` is checked and otherwise not used.

        Parameters
        ----------
        X : images or file paths
            As in :meth:`TURNClassifier.fit`.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For parameters or ``X`` of the wrong kind.
        WeightsNotFoundError
            If the weights are neither here nor can be downloaded.
        ImageReadError
            If files are missing or are not images.
        """
        check_backbone(self.backbone)
        runtime = Runtime.of(self, together=True)
        source = as_source(X)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        seed = runtime.processes.first("seed", lambda: seed)
        with seeded(seed, runtime.device):
            loaded, self._embed = embedder_for(self, source, runtime.dtype)
        self.n_features_out_ = loaded.width
        return self

    @fitted_together
    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Load the backbone, and compute the features of each image.

        As :meth:`fit` and then :meth:`transform`; but if ``distributed``, the processes
        share the images, and all get all features.

        Parameters
        ----------
        X : images or file paths
            As in :meth:`TURNClassifier.fit`.
        y : ignored

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
        """
        self.fit(X)
        source = as_source(X, check=False)
        return self._features(source, Runtime.of(self, together=True))

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the features of each image.

        Parameters
        ----------
        X : images or file paths
            Of the kind given to :meth:`fit`, of any size.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If ``X`` holds no images, or raw samples where images were fitted.
        ImageReadError
            If files are missing or cannot be decoded.
        FeatureCacheError
            If ``memory`` cannot be used.
        """
        check_is_fitted(self)
        source = as_source(X, check=False)  # reading names bad files
        return self._features(source, Runtime.of(self))

    def _features(self, source: Source, runtime: Runtime) -> NDArray[np.float32]:
        takes_images = self._embed.takes_images
        if source.is_raw == takes_images:
            fitted, given = ("images", "RawInputs")[:: 1 if takes_images else -1]
            raise ValueError(
                f"This {type(self).__name__} was fitted on {fitted}, but X holds "
                f"{given}."
            )
        source = self._embed.sized(source)
        return extract_features(
            self._embed, source, runtime, memory=self.memory
        ).numpy()

    def __getstate__(self) -> dict[str, Any]:
        # A copy: scikit-learn returns the estimator's own dict.
        state: dict[str, Any] = dict(super().__getstate__())
        if isinstance(embed := state.get("_embed"), Embedder):
            # A pickle must load where there is no such device.
            state["_embed"] = copy.deepcopy(embed).cpu()
        return state

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
