"""Which labels are clean: a mixture of two Gaussians on the losses of each class."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..exceptions import CleansingWarning
from ..labels import encode_known, encode_labels, label_vector
from ..validation import validated_fit
from .lowest import lowest_of_each_class
from .mixture import Floats, Ints, TwoGaussians, fit_by_group

Mask = NDArray[np.bool_]


class GMMNoiseFilter(TransformerMixin, BaseEstimator):
    """Turn per-sample losses into the probability that a given label is clean.

    A model that has not yet memorised wrong labels gives them a higher loss. For each
    given class, a mixture of two Gaussians is fitted to the losses of its samples;
    the posterior of the component with the lower mean is the probability of a clean
    label (TURN, Step 2-1), and a label is selected as clean when it exceeds ``tau``.

    The plain rule has known failures, each of which has a guard here: a mixture
    always splits, even clean data (``min_separation``); a class can lose all its
    samples (``min_kept``); a few samples or constant losses carry no mixture
    (``min_samples``); and the posterior of the low component can rise again with the
    loss (it is made non-increasing).

    Parameters
    ----------
    tau : float in [0, 1], default=0.6
        A label is clean when its posterior is greater. The paper's τ.
    scope : {"class", "global"}, default="class"
        One mixture per given class (TURN) or one for all samples (DivideMix).
    min_separation : float, default=2.0
        Flag no label of a class whose components overlap (Ashman's D at most this):
        the split would cut one population in two, easy and hard. With labels of
        several classes, a class is split all the same when its higher component is
        worse than chance, that is when the mean of its losses, cross-entropies in
        nats, reaches the logarithm of the number of classes. 0 always splits, as the
        paper does; infinity splits by chance alone.
    min_samples : int, default=10
        Flag no label of a class with fewer samples than this.
    min_kept : float in [0, 1], default=0.05
        Keep at least this fraction of each class, and at least one sample: those
        with the lowest losses. Selection is then no longer by ``tau``, and a
        :class:`~sklearn_turn.exceptions.CleansingWarning` says where. Samples with a
        non-finite loss are never kept, nor is a class that has no other.
    max_iter : int, default=100
        Most rounds of expectation-maximisation.
    tol : float, default=0.001
        Stop when the mean log-likelihood of a class changes by less.
    reg_covar : float, default=0.0005
        Added to the variances of losses scaled to [0, 1] within each class
        (DivideMix's value).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The given labels; absent when fitted without ``y``.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each label is clean. 1 in classes that are not split, 0
        where the loss is not finite.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Which labels are selected as clean; the others are flagged as noisy.
    noise_rate_ : float
        Estimated share of wrong labels, ``1 - clean_proba_.mean()``.
    class_counts_ : ndarray of shape (n_classes,), int
        Samples per given class.
    mixtures_ : TwoGaussians
        ``weights``, ``means`` and ``variances``, each of shape (n_groups, 2), in
        units of the loss, the lower-mean component first; one row per class (one in
        all when the scope is global), NaN where a class has too few samples or too
        little spread for a mixture.
    pooled_mixture_ : TwoGaussians
        One row: the mixture over all samples, for losses whose label is not given.
        Fitted when it is read.
    unsplit_ : ndarray of shape (n_groups,), bool
        Classes whose losses are one population, so that no label is flagged.
    n_iter_ : int
        Rounds of expectation-maximisation used.
    n_features_in_ : int
        Losses per sample.

    See Also
    --------
    NoiseFilteredClassifier : Filter and refit any classifier.

    References
    ----------
    Ahn et al., "Fine-tuning Pre-trained Models for Robustness under Noisy Labels",
    IJCAI 2024, Section 4.1; Li et al., "DivideMix", ICLR 2020 (scaling and
    regularisation of the mixture); Ashman, Bird and Zepf, AJ 108, 1994 (D).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_turn import GMMNoiseFilter
    >>> losses = np.r_[np.linspace(0.0, 0.4, 80), np.linspace(3.0, 4.0, 20)]
    >>> found = GMMNoiseFilter().fit(losses.reshape(-1, 1), np.zeros(100))
    >>> found.clean_mask_.sum()
    np.int64(80)
    >>> round(found.noise_rate_, 2)
    0.2
    """

    _parameter_constraints = {
        "tau": [Interval(Real, 0, 1, closed="both")],
        "scope": [StrOptions({"class", "global"})],
        "min_separation": [Interval(Real, 0, np.inf, closed="both")],
        "min_samples": [Interval(Integral, 2, None, closed="left")],
        "min_kept": [Interval(Real, 0, 1, closed="both")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "reg_covar": [Interval(Real, 0, None, closed="neither")],
    }

    evidence = "losses"
    classes_: NDArray[Any]
    clean_proba_: Floats
    clean_mask_: Mask
    noise_rate_: float

    def __init__(
        self,
        tau: float = 0.6,
        *,
        scope: str = "class",
        min_separation: float = 2.0,
        min_samples: int = 10,
        min_kept: float = 0.05,
        max_iter: int = 100,
        tol: float = 1e-3,
        reg_covar: float = 5e-4,
    ):
        self.tau = tau
        self.scope = scope
        self.min_separation = min_separation
        self.min_samples = min_samples
        self.min_kept = min_kept
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar

    @validated_fit
    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the mixtures to losses and select the clean labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, 1) or (n_samples, T)
            Losses, or the losses of T epochs, which are averaged (as DivideMix does
            under heavy noise). Samples with a non-finite loss are flagged.
        y : array-like of shape (n_samples,), default=None
            Given labels. Without them all samples form one class.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the losses are one-dimensional, or X and y differ in length.
        """
        losses, labels = self._check_losses(X, y, reset=True)
        if labels is None:
            if hasattr(self, "classes_"):  # of an earlier fit
                del self.classes_
            codes = np.zeros(len(losses), dtype=np.intp)
        else:
            self.classes_, codes = encode_labels(labels)
        groups = codes if self.scope == "class" else np.zeros_like(codes)
        finite = np.isfinite(losses)
        if not finite.all():
            warnings.warn(
                f"{(~finite).sum()} of {len(losses)} losses are not finite; these "
                "labels are flagged as noisy. If training diverged, lower the "
                "learning rate.",
                CleansingWarning,
                stacklevel=2,
            )
        self._warn_if_small(np.bincount(groups[finite], minlength=groups.max() + 1))
        self._losses = losses
        self.mixtures_ = self._fit_mixtures(losses, groups)
        self.n_iter_ = max(1, self.mixtures_.n_iter)
        self.class_counts_ = np.bincount(codes)
        self.unsplit_ = self._find_unsplit(self.mixtures_)
        self.clean_proba_ = _posterior(losses, groups, self.mixtures_, self.unsplit_)
        # tau = 1 asks for certainty, which a class that is not split has by definition.
        certain = self.unsplit_[groups] & finite
        clean = (self.clean_proba_ > self.tau) | certain
        self.clean_mask_ = self._raise_to_floor(clean, losses, codes)
        self.noise_rate_ = float(1.0 - self.clean_proba_.mean())
        return self

    def transform(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """Probability that each label is clean, by the fitted mixtures.

        Parameters
        ----------
        X : array-like of shape (n_samples, 1) or (n_samples, T)
            Losses, as in :meth:`fit`.
        y : array-like of shape (n_samples,), default=None
            Given labels. Without them the mixture over all samples is used; the
            per-class posteriors of the training samples are ``clean_proba_``.

        Returns
        -------
        ndarray of shape (n_samples, 1), float64

        Raises
        ------
        ValueError
            If the losses or labels do not fit those of :meth:`fit`.
        """
        check_is_fitted(self)
        losses, labels = self._check_losses(X, y, reset=False)
        if labels is not None and self.scope == "class":
            groups, mixtures = self._encode_known(labels), self.mixtures_
        else:
            groups, mixtures = np.zeros(len(losses), np.intp), self.pooled_mixture_
        unsplit = self._find_unsplit(mixtures)
        return _posterior(losses, groups, mixtures, unsplit)[:, None]

    @property
    def pooled_mixture_(self) -> TwoGaussians:
        """Mixture over all samples, one row."""
        check_is_fitted(self)
        if len(self.mixtures_.means) == 1:
            return self.mixtures_
        return self._fit_mixtures(self._losses, np.zeros(len(self._losses), np.intp))

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Name of the output column, ``["clean_proba"]``."""
        check_is_fitted(self)
        return np.asarray(["clean_proba"], dtype=object)

    def _check_losses(
        self, X: ArrayLike, y: ArrayLike | None, *, reset: bool
    ) -> tuple[Floats, NDArray[Any] | None]:
        if isinstance(X, np.ndarray) and X.ndim == 1:
            # scikit-learn's own checks require that one dimension is refused.
            raise ValueError(
                "Expected 2D array, got 1D array instead: one row per sample and one "
                "column per epoch. Reshape your data using losses.reshape(-1, 1)."
            )
        losses: Floats = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite=False
        )
        labels = None
        if y is not None:
            labels = label_vector(y, warn=True)
            check_classification_targets(labels)
            if len(labels) != len(losses):
                raise ValueError(
                    f"There are {len(losses)} losses but {len(labels)} labels; pass "
                    "one label per loss, in the same order."
                )
        with np.errstate(invalid="ignore"):
            return losses.mean(axis=1), labels

    def _encode_known(self, labels: NDArray[Any]) -> Ints:
        """Place of each label among those of the fit."""
        if not hasattr(self, "classes_"):
            raise ValueError(
                "The filter was fitted without labels and has no mixture per class; "
                "call transform without y, or fit with y."
            )
        return encode_known(labels, self.classes_)

    def _warn_if_small(self, sizes: Ints) -> None:
        small = np.flatnonzero(sizes < self.min_samples)
        remedy = "A GMMNoiseFilter may have a lower min_samples"
        remedy += ", or scope='global'." if self.scope == "class" else "."
        if len(small):
            warnings.warn(
                f"{len(small)} of {len(sizes)} classes have fewer than min_samples="
                f"{self.min_samples} samples, too few for a mixture, so that none of "
                f"their labels is flagged: {self._counts(small, sizes)}. {remedy}",
                CleansingWarning,
                stacklevel=3,
            )

    def _counts(self, groups: Ints, counts: Ints, out_of: Ints | None = None) -> str:
        """List up to ten groups by the names of their classes, with their counts."""
        names = getattr(self, "classes_", ["all"])
        names = names if len(names) == len(counts) else ["all"]
        listed = [
            f"{names[g]}: {counts[g]}"
            + (f" of {out_of[g]}" if out_of is not None else "")
            for g in groups[:10]
        ]
        return ", ".join(listed) + (", ..." if len(groups) > 10 else "")

    def _fit_mixtures(self, losses: Floats, groups: Ints) -> TwoGaussians:
        return fit_by_group(
            losses,
            groups,
            min_samples=self.min_samples,
            max_iter=self.max_iter,
            tol=self.tol,
            reg_covar=self.reg_covar,
        )

    def _find_unsplit(self, mixtures: TwoGaussians) -> Mask:
        """Groups whose two components are one population, or that have no mixture."""
        # NaN compares False, so a group without a mixture is not split.
        split = mixtures.separation > self.min_separation
        n_classes = len(self.class_counts_)
        if n_classes > 1:  # among fewer, chance has no meaning
            split |= mixtures.means[:, 1] >= np.log(n_classes)
        return ~split

    def _raise_to_floor(self, clean: Mask, losses: Floats, codes: Ints) -> Mask:
        """Add the lowest losses of classes that keep less than ``min_kept``."""
        sizes = self.class_counts_
        floor = np.maximum(1, np.ceil(self.min_kept * sizes - 1e-9)).astype(int)
        kept = np.bincount(codes[clean], minlength=len(sizes))
        # There is nothing to add where no loss is finite, which was warned of.
        some = np.bincount(codes[np.isfinite(losses)], minlength=len(sizes)) > 0
        short = np.flatnonzero((kept < floor) & some)
        if not len(short):
            return clean
        quota = np.zeros_like(floor)
        quota[short] = floor[short]
        finite = np.where(np.isfinite(losses), losses, np.nan)
        clean = clean | lowest_of_each_class(finite, codes, quota)
        wanted = (
            f"fewer samples than min_kept={self.min_kept} asks for"
            if self.min_kept
            else "no sample"
        )
        warnings.warn(
            f"{len(short)} of {len(sizes)} classes kept {wanted}: "
            f"{self._counts(short, kept, sizes)}. Those most likely to be clean were "
            "kept instead. Lower the threshold, or train for longer before labels are "
            "filtered, if this happens often.",
            CleansingWarning,
            stacklevel=3,
        )
        return clean

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _posterior(
    losses: Floats, groups: Ints, mixtures: TwoGaussians, unsplit: Mask
) -> Floats:
    """Clean probability: 1 in groups not split, 0 where the loss is not finite."""
    finite = np.isfinite(losses)
    posterior = np.where(finite, 1.0, 0.0)
    split = finite & ~unsplit[groups]
    posterior[split] = mixtures.low_posterior(losses[split], groups[split])
    return posterior
