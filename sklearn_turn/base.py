"""Fit and predict of every classifier: check, run the method, publish its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from .agreement import agree_on_result, agree_on_start
from .backbones import Backbone, Embedder, check_backbone, embedder_for
from .constructor import with_parameters
from .features import extract_features
from .input_checks import check_new_data, check_training_data
from .inputs import FeatureRows, Source
from .labels import log_frequencies, own_index, plain_labels
from .nets import Start
from .parameters import ClassifierParameters, FineTuneParameters
from .processes import fitted_together
from .saving import FitCheckpoint, SavedAsFile
from .steps import assemble
from .stopping import let_go
from .task import Result, Task
from .training.device import Runtime, free_memory, seeded
from .training.inference import forward_batches
from .training.modules import AfterFeatures
from .training.net import Net
from .validation import validated_fit
from .warm_start import Earlier, glimpse, name_of, whole_history


@with_parameters
class BaseClassifier(SavedAsFile, ClassifierMixin, ClassifierParameters, BaseEstimator):
    """Base of the classifiers; subclasses add parameters and define ``_run``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    given_labels_ : ndarray of shape (n_samples,)
        The labels as given to ``fit``.
    sample_index_ : pandas.Index of length n_samples, or ndarray from a file
        Index of ``y``, or of ``X``, where pandas gives it one of its own; else absent.
    skipped_ : ndarray of int
        Positions of samples left out because they could not be read.
    input_shape_ : tuple or None
        Shape of one sample; None for files.
    n_features_in_ : int
        Values per sample; absent for files.
    """

    @validated_fit
    @fitted_together
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Train on images, image files or features, and their given labels.

        Parameters
        ----------
        X : images, file paths, a dataset or features
            Images: an array or tensor of shape (n_samples, height, width, channels),
            (n_samples, channels, height, width) or (n_samples, height, width), uint8
            in 0..255 or float in [0, 1], with 1, 3 or 4 channels; or a list of PIL
            images. Paths: a list, an array or a Series of n_samples image files. A
            map-style torch or Hugging Face dataset. Features: a 2-D array of shape
            (n_samples, n_features); then there is no backbone, and only the head is
            trained. See "Inputs" in the documentation for each form.
        y : array-like of shape (n_samples,)
            Given labels, of any type that sorts.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X, y or a parameter is not as described, before any training. A
            parameter outside its range leaves the estimator as it was; after any other
            error it is not fitted, or with ``warm_start`` as before.
        ImageReadError
            If files are missing or cannot be decoded.
        WeightsNotFoundError
            If the pre-trained weights are not available.
        CheckpointError
            If ``checkpoint`` holds another fit, or cannot be used.
        NotEnoughMemoryError
            If the device has too little; the message names what needs less.

        Warns
        -----
        CleansingWarning, CollapsedProbeWarning, SkippedImageWarning
            If labels cannot be selected as usual, the probe had to be trained again,
            or images are left out; the messages say more.
        """
        earlier = Earlier.of(self)
        if earlier is None:
            self._forget()
        self._check_parameters()
        runtime = Runtime.of(self, together=True)
        index = own_index(y, X)
        y = plain_labels(y)
        source, classes, codes, used = check_training_data(self, X, y)
        if earlier is not None:
            check_new_data(self, X)
            earlier.check(self, classes)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        seed = agree_on_start(self, source, classes[codes], runtime, seed, earlier)
        # Features of a network that is trained on are of no use to another fit.
        memory = self.memory if earlier is None or earlier.is_frozen else None
        checkpoint = None
        with ExitStack() as held:
            held.callback(free_memory, runtime.device)
            try:
                if (folder := self.checkpoint) is not None:
                    fit = (self, source, classes[codes], runtime, seed, earlier)
                    # Other processes get copies, which hold nothing.
                    checkpoint = runtime.processes.first(
                        "checkpoint",
                        lambda: held.enter_context(FitCheckpoint.open(folder, *fit)),
                    )
                    seed = checkpoint.seed
                    memory = checkpoint.features if memory is None else memory
                with seeded(seed, runtime.device):
                    task, result = self._train(
                        source,
                        runtime,
                        y=codes,
                        classes=classes,
                        used=used,
                        log_frequencies=log_frequencies(codes, len(classes)),
                        random_state=np.random.RandomState(seed),
                        memory=memory,
                        checkpoint=checkpoint,
                        earlier=earlier,
                    )
            except BaseException as error:
                let_go(self, error)
                raise
        # A copy: the caller may correct y in place.
        self._publish(X, np.array(y).ravel(), task, result, index)
        return self

    def _train(
        self, source: Source, runtime: Runtime, *, earlier: Earlier | None, **known: Any
    ) -> tuple[Task, Result]:
        """Task of a fit and its result; apart, so that nothing else holds networks."""
        prepare = self._prepare if earlier is None else partial(earlier.prepare, self)
        backbone, embed, source = prepare(source, runtime)
        if (checkpoint := known["checkpoint"]) is not None:
            runtime.processes.first("backbone", lambda: checkpoint.confirm(embed))
        known |= {"backbone": backbone, "embed": embed, "earlier": earlier}
        task = Task(source=source, runtime=runtime, **known)
        return task, agree_on_result(self._run(task), runtime.processes)

    def _run(self, task: Task) -> Result:
        """Run the method; called with torch seeded."""
        raise TypeError(f"{type(self).__name__} defines no method.")

    def _check_parameters(self) -> None:
        """Raise for what constraints cannot express, before any work."""
        check_backbone(self.backbone)

    def _prepare(
        self, source: Source, runtime: Runtime
    ) -> tuple[Backbone | None, nn.Module, Source]:
        """Load the backbone, and join it with the transform that feeds it."""
        if isinstance(source, FeatureRows):
            return None, nn.Identity(), source
        tuning: dict[str, Any] = {}
        if isinstance(self, FineTuneParameters):
            tuning["augment"] = self.augment
            tuning["freeze_batch_norm"] = self.freeze_batch_norm
            tuning["grad_checkpointing"] = self.fft_grad_checkpointing
        backbone, embed = embedder_for(self, source, runtime.dtype, **tuning)
        return backbone, embed, embed.sized(source)

    def _forget(self) -> None:
        """Remove what an earlier fit published."""
        for name in self.__dict__.pop("_published", ()):
            self.__dict__.pop(name, None)

    def _publish(self, X: Any, y: Any, task: Task, result: Result, index: Any) -> None:
        """Set all fitted attributes at once."""
        self._forget()
        published: dict[str, Any] = {
            "classes_": task.classes,
            "net_": result.net,
            "history_": whole_history(task.earlier, result.probe, result.net),
            "given_labels_": y,
            "skipped_": np.flatnonzero(~task.used),
            "input_shape_": task.source.item_shape,
            "_is_frozen": result.is_frozen,
            "_is_raw": task.source.is_raw,
            "_backbone_name": name_of(self.backbone),
        }
        published |= {} if index is None else {"sample_index_": index}
        if task.source.is_raw:
            like: Any = task.source.load([0])
            published["_raw_type"] = like.numpy().dtype.name
        if result.probe is not None:
            published["probe_"] = result.probe
        if result.selection is not None:
            published |= result.selection.attributes(task.used, y, task.classes)
        if result.selection is not None and result.selection.noise_rate is not None:
            published["_noise_rate"] = result.selection.noise_rate
            published["_glimpse"] = glimpse(task.source)
        if not isinstance(task.source, FeatureRows):
            if task.source.item_shape is not None:
                published["n_features_in_"] = int(np.prod(task.source.item_shape))
        else:
            # scikit-learn finds names and number of the features.
            validate_data(self, X, skip_check_array=True)
        self.__dict__.update(published)
        self._published = [*published, "n_features_in_", "feature_names_in_"]

    def _blank_net(self, task: Task, start: Start, state: Mapping[str, Tensor]) -> Net:
        """A net as the fit made it, for the weights of one that was saved."""
        return assemble(task, start)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Class probabilities.

        Parameters
        ----------
        X : images, file paths or features
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns follow ``classes_``.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`, and after one that failed.
        ValueError
            If X holds features after images or the reverse, or arrays of another shape
            than in :meth:`fit`; or if the outputs are not finite.
        ImageReadError
            If files are missing or cannot be decoded.
        """
        return np.concatenate([proba.numpy() for proba in self._probabilities(X)])

    def _probabilities(self, X: Any) -> Iterator[Tensor]:
        """Class probabilities of one batch after the other."""
        source = check_new_data(self, X)
        module: Any = self.net_.module_
        runtime = Runtime.of(self)
        forward: nn.Module = module
        if self._is_frozen and isinstance(module.embed, Embedder):
            # As in training, these features may be in the cache.
            features = extract_features(
                module.embed, source, runtime, memory=self.memory
            )
            source, forward = FeatureRows(features), AfterFeatures(module)
        for logits in forward_batches(forward, source, runtime, "predict"):
            proba = torch.softmax(logits.cpu().double(), dim=1)
            if not proba.isfinite().all():
                raise ValueError(
                    "The model's outputs are not finite: fine-tuning diverged, or "
                    "these samples overflow. Fit with a lower fft_lr, or with "
                    "precision='float32'."
                )
            yield proba

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of each sample.

        Parameters
        ----------
        X : images, file paths or features
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.

        Raises
        ------
        NotFittedError, ValueError, ImageReadError
            As :meth:`predict_proba`.
        """
        codes = [proba.argmax(dim=1).numpy() for proba in self._probabilities(X)]
        return self.classes_[np.concatenate(codes)]

    def __sklearn_is_fitted__(self) -> bool:
        return "net_" in vars(self)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
