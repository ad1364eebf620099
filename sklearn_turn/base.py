"""What every classifier of the library does alike.

Checking the input, encoding labels, extracting features once, probing, fine-tuning
and predicting. A method is a subclass whose ``_train`` says which of these it uses.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import (
    Tags,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from .backbones import (
    Backbone,
    BatchTransform,
    Embedder,
    check_backbone,
    load_backbone,
    make_embedder,
)
from .backbones.augment import AUGMENTATIONS
from .exceptions import CollapsedProbeWarning, SkippedImageWarning
from .features import extract_features
from .inputs import (
    FeatureRows,
    Source,
    Subset,
    as_source,
    is_images,
    raise_if_unreadable,
)
from .inputs.labels import check_labels, encode_labels
from .losses import GCELoss
from .parameters import BACKBONE_CONSTRAINTS
from .task import Task
from .training.batches import Labelled, RandomOrder, RowBatches
from .training.modules import Classifier, Standardize, linear_head
from .training.net import Net
from .training.optimizers import make_optimizer
from .training.runtime import Runtime, forward_all, free_memory, seeded
from .training.schedules import CosineSchedule, RobustAfterWarmup


class BaseFineTuner(ClassifierMixin, BaseEstimator):
    """Base of the classifiers; subclasses define ``__init__`` and ``_train``."""

    _parameter_constraints: dict[str, list[Any]] = {
        **BACKBONE_CONSTRAINTS,
        "q": [Interval(Real, 0, 1, closed="both")],
        "lp_epochs": [Interval(Integral, 0, None, closed="left")],
        "lp_warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "lp_lr": [Interval(Real, 0, None, closed="neither"), None],
        "lp_batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "lp_params": [dict, None],
        "fft_epochs": [Interval(Integral, 0, None, closed="left")],
        "fft_optimizer": [StrOptions({"adamw", "adam", "sgd"}), None],
        "fft_lr": [Interval(Real, 0, None, closed="neither"), None],
        "fft_weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "fft_batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "fft_warmup": [Interval(Real, 0, 1, closed="left")],
        "fft_params": [dict, None],
        "freeze_batch_norm": ["boolean"],
        "augment": [StrOptions(set(AUGMENTATIONS)), callable, None],
        "on_bad_image": [StrOptions({"raise", "skip"})],
        "random_state": ["random_state"],
    }

    @_fit_context(prefer_skip_nested_validation=True)
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
            If X or y is not as above, before any training.
        ImageReadError
            If files are missing or cannot be decoded.
        WeightsNotFoundError
            If the pre-trained weights cannot be had.
        """
        runtime = Runtime.of(self)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        try:
            with seeded(seed, runtime.device):
                task = self._begin(X, y, runtime, np.random.RandomState(seed))
                self._train(task)
        finally:
            free_memory(runtime.device)
        self._spread_over_skipped(task.used)
        return self

    def _train(self, task: Task) -> None:
        raise TypeError(f"{type(self).__name__} defines no training.")

    # -- input ----------------------------------------------------------------------

    def _begin(
        self, X: Any, y: Any, runtime: Runtime, random_state: np.random.RandomState
    ) -> Task:
        """Check all that can be checked before work starts, then forget past fits."""
        if isinstance(self.backbone, str):
            check_backbone(self.backbone)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        check_labels(y)
        if is_images(X):
            source = as_source(X, check=self.on_bad_image == "raise")
            check_consistent_length(source, y)
            y = column_or_1d(y, warn=True)
        else:
            X, y = validate_data(
                self, X, y, dtype=np.float32, ensure_min_samples=2, force_writeable=True
            )
            source = FeatureRows(X)
        check_classification_targets(y)
        classes, codes = encode_labels(np.asarray(y))
        used = self._readable(source)
        if not used.all():
            source = Subset(source, np.flatnonzero(used))
            classes, codes = encode_labels(classes[codes[used]])
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, but the "
                f"data contains only one class: {classes[0]!r}."
            )
        backbone, embed = self._backbone_for(source, runtime)

        # Attributes of an earlier fit, some of which exist for some inputs only.
        fresh = {"n_features_in_", "feature_names_in_"} if backbone is None else set()
        for name in [n for n in vars(self) if n.endswith("_") and n not in fresh]:
            delattr(self, name)
        self.classes_ = classes
        self.input_shape_ = source.item_shape
        self.skipped_ = np.flatnonzero(~used)
        self._frozen = not getattr(self, "fft_epochs", 0)
        if backbone is not None and source.item_shape is not None:
            self.n_features_in_ = int(np.prod(source.item_shape))
        return Task(
            source=source,
            y=codes,
            n_classes=len(classes),
            used=used,
            backbone=backbone,
            embed=embed,
            runtime=runtime,
            random_state=random_state,
        )

    def _readable(self, source: Source) -> NDArray[np.bool_]:
        """Which samples to train with: all, unless bad ones are to be skipped."""
        used = np.ones(len(source), dtype=bool)
        if self.on_bad_image == "skip":
            bad = source.problems(decode=True)
            used[[index for index, _, _ in bad]] = False
            if not used.any():
                raise_if_unreadable(source, decode=True)
            if bad:
                warnings.warn(
                    f"{len(bad)} of {len(source)} images cannot be read and are "
                    f"skipped, the first {bad[0][1]!r} ({bad[0][2]}); see skipped_.",
                    SkippedImageWarning,
                    stacklevel=4,
                )
        return used

    def _spread_over_skipped(self, used: NDArray[np.bool_]) -> None:
        """Give per-sample results an entry for every sample passed to fit."""
        if used.all():
            return
        for name, fill in (
            ("clean_mask_", 0),
            ("clean_proba_", 0),
            ("losses_", np.nan),
        ):
            if hasattr(self, name):
                values = getattr(self, name)
                spread = np.full(len(used), fill, dtype=values.dtype)
                spread[used] = values
                setattr(self, name, spread)

    def _backbone_for(
        self, source: Source, runtime: Runtime
    ) -> tuple[Backbone | None, nn.Module]:
        if isinstance(source, FeatureRows):
            return None, nn.Identity()
        backbone = load_backbone(
            self.backbone,
            pretrained=self.pretrained,
            input_size=self.input_size,
            crop_pct=self.crop_pct,
            example=source.load([0]) if source.is_raw else None,
        )
        source.fit_to(backbone.input_size)
        # Absent where nothing but a head is trained.
        training = {
            name: getattr(self, name)
            for name in ("augment", "freeze_batch_norm")
            if hasattr(self, name)
        }
        return backbone, make_embedder(
            backbone, runtime.dtype, raw=source.is_raw, **training
        )

    # -- the steps ------------------------------------------------------------------

    def _extract(self, task: Task) -> Tensor:
        """Compute z_i = f(x_i; theta) for every sample, once."""
        if isinstance(task.source, FeatureRows):
            return task.source.rows
        assert isinstance(task.embed, Embedder), "images have a backbone"
        return extract_features(
            task.embed, task.source, task.runtime, memory=self.memory
        )

    def _untrained_head(
        self, task: Task
    ) -> tuple[nn.Module, nn.Linear, NDArray[np.float64]]:
        """Scale, head and losses before any training: every class equally likely."""
        scale: nn.Module = nn.Identity()
        if isinstance(task.source, FeatureRows):
            scale = Standardize(task.source.rows, of_backbone=False)
            width = task.source.rows.shape[1]
        else:
            assert task.backbone is not None, "images have a backbone"
            width = task.backbone.width
        losses = np.full(len(task.y), np.log(task.n_classes))
        return scale, linear_head(width, task.n_classes), losses

    def _linear_probe(self, features: Tensor, task: Task, q: float) -> Net:
        """Train a linear head on fixed features by generalised cross-entropy.

        A probe that collapsed onto few classes is trained again by cross-entropy.
        """
        probe = self._fit_probe(features, task, q)
        if q == 0 or not _collapsed(probe, features, task):
            return probe
        warnings.warn(
            f"The linear probe with q={q} predicts far fewer classes than are "
            "labelled; it was trained again with cross-entropy (q=0). Raise "
            "lp_warmup_epochs or lower q to avoid this.",
            CollapsedProbeWarning,
            stacklevel=5,
        )
        return self._fit_probe(features, task, 0.0)

    def _fit_probe(self, features: Tensor, task: Task, q: float) -> Net:
        rows = FeatureRows(features)
        probe = Net(
            Classifier,
            module__embed=nn.Identity(),
            module__scale=Standardize(features, of_backbone=task.backbone is not None),
            module__head=linear_head(features.shape[1], task.n_classes),
            criterion=GCELoss,
            criterion__q=q,
            **self._net_options(
                task,
                rows,
                max_epochs=self.lp_epochs,
                batch_size=self.lp_batch_size
                or _batch_size(len(rows), steps=24, most=128, least=8),
                lr=self._head_lr(features.shape[1]),
                optimizer__name="adamw",
                optimizer__weight_decay=0.0,
                extra=self.lp_params,
                verbose=0,
                callbacks=[
                    ("cosine", CosineSchedule(warmup=0.0)),
                    ("warmup", RobustAfterWarmup(self.lp_warmup_epochs)),
                    ("order", RandomOrder(task.random_state)),
                ],
            ),
        )
        return _fit_net(probe, rows, task)

    def _fine_tune(
        self,
        task: Task,
        *,
        scale: nn.Module,
        head: nn.Linear,
        criterion: Any,
        callbacks: list[tuple[str, Any]],
        **criterion_options: Any,
    ) -> Net:
        """Train all parameters for ``fft_epochs`` epochs, on what callbacks select."""
        if task.backbone is not None:
            recipe = task.backbone.recipe
            optimizer, lr, decay = recipe.optimizer, recipe.lr, recipe.weight_decay
            momentum = recipe.momentum
        else:
            # Only a head on features: go on as the probe did.
            lr = self._head_lr(head.in_features)
            optimizer, decay, momentum = "adamw", 0.0, 0.0
        options: dict[str, Any] = {
            "max_epochs": self.fft_epochs,
            "batch_size": self.fft_batch_size
            or _batch_size(len(task.y), steps=48, most=64, least=16),
            "lr": lr if self.fft_lr is None else self.fft_lr,
            "optimizer__name": self.fft_optimizer or optimizer,
            "optimizer__weight_decay": (
                decay if self.fft_weight_decay is None else self.fft_weight_decay
            ),
        }
        if options["optimizer__name"] == "sgd":
            options["optimizer__momentum"] = momentum
        schedule = ("cosine", CosineSchedule(self.fft_warmup))
        callbacks = callbacks or [("order", RandomOrder(task.random_state))]
        net = Net(
            Classifier,
            module__embed=task.embed,
            module__scale=scale,
            module__head=head,
            criterion=criterion,
            **criterion_options,
            **self._net_options(
                task,
                task.source,
                extra=self.fft_params,
                callbacks=[schedule, *callbacks],
                **options,
            ),
        )
        return _fit_net(net, task.source, task)

    def _head_lr(self, width: int) -> float:
        """Learning rate of a head on standardised features.

        With more features every step changes the outputs more, and wrong labels are
        learned by heart sooner.
        """
        chosen: float | None = getattr(self, "lp_lr", None)
        return chosen or 1e-3 * min(1.0, (192 / width) ** 0.5)

    def _net_options(
        self,
        task: Task,
        source: Source,
        *,
        extra: Mapping[str, Any] | None,
        callbacks: list[tuple[str, Any]],
        **options: Any,
    ) -> dict[str, Any]:
        """Options of a skorch net; the user's ``extra`` wins over ours."""
        extra = dict(extra or {})
        added = extra.pop("callbacks", [])
        if "optimizer" in extra:
            # Another optimiser takes none of our options but the learning rate.
            ours = [key for key in options if key.startswith("optimizer__")]
            options = {k: v for k, v in options.items() if k not in ours}
        loader = task.runtime.loader_options(source)
        training = {f"iterator_train__{k}": v for k, v in loader.items()}
        if isinstance(source, FeatureRows) and not any(
            key.startswith("iterator_train") for key in extra
        ):
            training = {"iterator_train": RowBatches}
        return {
            "optimizer": make_optimizer,
            "classes": np.arange(task.n_classes),
            "device": str(task.runtime.device),
            "verbose": task.runtime.verbose,
            "iterator_valid__batch_size": task.runtime.batch_size,
            **training,
            **{f"iterator_valid__{k}": v for k, v in loader.items()},
            **options,
            "callbacks": [*callbacks, *added],
            **extra,
        }

    # -- prediction -----------------------------------------------------------------

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
        """
        source = self._check_predict(X)
        module, runtime = self.net_.module_, Runtime.of(self)
        if self._frozen and isinstance(module.embed, Embedder):
            # As in training, these features may be in the cache.
            features = extract_features(
                module.embed, source, runtime, memory=self.memory
            )
            module = nn.Sequential(module.scale, module.head)
            source = FeatureRows(features)
        logits = forward_all(module, source, runtime, "predict")
        return torch.softmax(logits.double(), dim=1).numpy()

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
        """
        codes = self.predict_proba(X).argmax(axis=1)
        return self.classes_[codes]

    def _check_predict(self, X: Any) -> Source:
        check_is_fitted(self)
        embed = self.net_.module_.embed
        on_features = isinstance(embed, nn.Identity)
        if is_images(X) == on_features and (on_features or np.ndim(X) == 2):
            fitted, given = ("2-D features", "images")[:: 1 if on_features else -1]
            raise ValueError(
                f"This {type(self).__name__} was fitted on {fitted}, but X holds "
                f"{given}."
            )
        if on_features:
            return FeatureRows(validate_data(self, X, reset=False, dtype=np.float32))
        source = as_source(X)
        if isinstance(embed.transform, BatchTransform):
            source.fit_to(embed.transform.input_size)
        if None not in (source.item_shape, self.input_shape_) and (
            source.item_shape != self.input_shape_
        ):
            raise ValueError(
                f"X holds samples of shape {source.item_shape}, but "
                f"{type(self).__name__} was fitted on samples of shape "
                f"{self.input_shape_}. Resize them, or fit and predict on file paths, "
                "which may have any size."
            )
        return source

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _fit_net(net: Net, source: Source, task: Task) -> Net:
    if net.max_epochs:
        net.fit(Labelled(source, task.y), None)
    else:
        net.initialize()
    net.forget_optimizer()
    return net


def _collapsed(probe: Net, features: Tensor, task: Task) -> bool:
    """Whether predictions use less than half as many classes as the labels do.

    Classes are counted in effect, by the perplexity of their shares: 1 when one class
    takes all, the number of classes when all are equal.
    """
    logits = forward_all(probe.module_, FeatureRows(features), task.runtime)
    predicted = np.bincount(logits.argmax(dim=1).numpy(), minlength=task.n_classes)
    labelled = np.bincount(task.y, minlength=task.n_classes)
    return 2 * _perplexity(predicted) <= _perplexity(labelled)


def _batch_size(n_samples: int, *, steps: int, most: int, least: int) -> int:
    """Largest batch with which all samples make that many steps, within bounds."""
    return max(least, min(most, n_samples // steps))


def _perplexity(counts: NDArray[np.intp]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
