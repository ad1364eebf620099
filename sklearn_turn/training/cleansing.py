"""Step 2 of TURN for any skorch net."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from skorch.utils import is_dataset

from ..exceptions import CleansingWarning
from ..labels import decoded, sorted_classes
from ..progress import tell
from ..selection import draw_balanced
from ..selection.correction import suggested_codes, trained_labels
from ..selection.protocol import (
    evidence_of,
    fit_filter,
    make_filter,
    with_noise_rate,
)
from .batches import Labelled, RandomOrder, processes_of, root_and_rows
from .cleansing_checks import check_cleansing
from .evidence import Evidence, collect_evidence, completed, labels_of
from .net import diverged

_LOGGER = logging.getLogger(__name__)

# What is found at a cleansing, beside the evidence.
_DECIDED = (
    "losses_",
    "noise_filter_",
    "noise_rate_",
    "noise_rate_interval_",
    "suggested_codes_",
    "kept_counts_",
    "kept_indices_",
)
# Of the epochs, by default, and how many at most. Of 30 epochs of a small network on
# digits, a tenth to a third did about as well, and without, the channel had nothing to
# go by; after 20 of 100 it found nothing, as the network knew the labels by heart.
_WARMUP_SHARE, _LONGEST_WARMUP = 0.2, 10
# Times a noise rate that another must be to replace it.
_CLEARLY = 1.1


class Cleansing(RandomOrder):
    """Select the clean subset before each epoch of any skorch classifier.

    Before an epoch every training sample passes through the current model, in
    evaluation mode and in index order; a noise filter finds the clean labels; the
    epoch then visits these, or a class-balanced draw from them (TURN, Step 2-1). The
    net must not set a sampler of its own. Samples that a ``train_split`` sets aside are
    filtered like all others and never trained on; what a ``Subset`` given to ``fit``
    leaves out is neither.

    Parameters
    ----------
    noise_filter : {"gmm", "channel"} or estimator, default="gmm"
        See :mod:`sklearn_turn.selection.protocol`. The channel underestimates the noise
        when it is given what a network says of labels it was trained on, as here, and
        finds none once the network knows them by heart: keep training short, or pass
        ``refine``.
    every_epoch : bool, default=True
        False cleanses once, after the warm-up.
    warmup_epochs : int, default=None
        First epochs, which train on all labels as they are, before any is filtered: an
        untrained network has nothing to say of them. None is a fifth of ``max_epochs``,
        rounded up and at most 10, and 0 with ``first_evidence``. Set it to 0 for a
        network that knows the classes already. Epochs of an earlier ``partial_fit``
        count.
    balance : {"min"}, float >= 1 or None, default=None
        Draw from every class as many samples as the smallest class has clean, the rule
        of the paper; at most this many times as many; or all clean samples.
    label_correction : {"hard", "soft"} or None, default=None
        What becomes of samples whose label is not clean. None leaves them out. "hard"
        trains on the suggested label where its probability exceeds the filter's
        ``tau`` (0.5 without one), and leaves out the rest; a class of which nothing
        would be left keeps its labels, with a warning. "soft" trains every sample on
        the probabilities of its true class, given the prediction and the label. With
        either, classes are balanced by the corrected labels. Needs a
        :class:`~sklearn_turn.training.Net` and a
        :class:`~sklearn_turn.training.Labelled` dataset, whose batches tell which
        samples they hold.
    first_evidence : mapping of str to ndarray, default=None
        What the filter asks for, before the first epoch, when it is known; saves one
        pass and the warm-up. Always "losses" of shape (n_samples, 1) or "log_proba" of
        shape (n_samples, n_classes), which brings the others; without it, a filter that
        suggests no labels of its own leaves them as given.
    refine : callable, default=None
        From evidence, with the features of the network, to better evidence, which is
        then given to the filter. Not called for ``first_evidence``. A filter with a
        parameter ``noise_rate`` that is None is told, from the second cleansing on, the
        rate it found before, unless it now finds one that is higher by a tenth.
    noise_rate : float, default=None
        With ``refine``, the rate that the filter found before training.
    noise_rate_interval : tuple of float, default=None
        With ``noise_rate``, how sure that rate was: the filter's
        ``noise_rate_interval_``.
    classes : array-like of shape (n_classes,), default=None
        Labels that the dataset's codes stand for, sorted; the filter is given these.
    random_state : int, RandomState or None, default=None
        For the draw and the order of samples.

    Attributes
    ----------
    evidence_ : dict of str to ndarray
        What the last cleansing was based on; always with "losses".
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last cleansing.
    noise_filter_ : estimator
        The filter fitted at the last cleansing.
    kept_indices_ : ndarray of int
        The subset drawn for the last epoch.
    suggested_codes_ : ndarray of shape (n_samples,), int
        The label each sample should have, by the last cleansing.
    clean_masks_ : list of ndarray of shape (n_samples,), bool
        Which labels were clean at each epoch after the warm-up.
    n_passes_ : int
        Passes over the training set made for evidence.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import make_blobs
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn_turn import Cleansing
    >>> X, y = make_blobs(200, centers=2, random_state=0)
    >>> y[:20] = 1 - y[:20]  # 20 wrong labels
    >>> _ = torch.manual_seed(0)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear, module__in_features=2, module__out_features=2,
    ...     criterion=torch.nn.CrossEntropyLoss, lr=0.1, max_epochs=9, verbose=0,
    ...     train_split=None, callbacks=[Cleansing(random_state=0)],
    ... )
    >>> net = net.fit(X.astype("float32"), y)
    >>> net.history[:, "n_train"]  # two epochs to warm up
    [200, 200, 176, 176, 175, 169, 165, 165, 165]
    >>> net.history[-1, "kept"]  # clean labels of each class
    [84, 81]
    """

    #: Much of it is large, and made anew at every cleansing.
    not_resumed = (*RandomOrder.not_resumed, "evidence_", "given_")

    def __init__(
        self,
        noise_filter: Any = "gmm",
        *,
        every_epoch: bool = True,
        warmup_epochs: int | None = None,
        balance: str | float | None = None,
        label_correction: str | None = None,
        first_evidence: Mapping[str, NDArray[Any]] | None = None,
        refine: Callable[[Evidence], Evidence] | None = None,
        noise_rate: float | None = None,
        noise_rate_interval: tuple[float, float] | None = None,
        classes: ArrayLike | None = None,
        random_state: Any = None,
    ):
        self.noise_filter = noise_filter
        self.every_epoch = every_epoch
        self.warmup_epochs = warmup_epochs
        self.balance = balance
        self.label_correction = label_correction
        self.first_evidence = first_evidence
        self.refine = refine
        self.noise_rate = noise_rate
        self.noise_rate_interval = noise_rate_interval
        self.classes = classes
        self.random_state = random_state

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        self.filter_ = make_filter(self.noise_filter, None)
        # Beside a dataset, y is what a train_split is stratified by.
        labels = getattr(X, "y", None) if is_dataset(X) else y
        check_cleansing(self, self.filter_, net, labels)
        self.classes_ = sorted_classes(self.classes)
        super().on_train_begin(net, **kwargs)
        # A part of another dataset, whose rest is not ours.
        self.given_ = X if isinstance(X, torch.utils.data.Subset) else None
        for name in ("evidence_", *_DECIDED):  # may be of other data
            self.__dict__.pop(name, None)
        self.refine_ = self.refine
        self.noise_rate_ = self.noise_rate
        self.noise_rate_interval_ = self.noise_rate_interval
        self.n_passes_ = 0
        self.clean_masks_: list[NDArray[np.bool_]] = []

    def select(self, net: Any, dataset: Any) -> NDArray[np.intp]:
        """Clean samples, balanced over classes; all of them in the warm-up."""
        root = root_and_rows(dataset, self.given_)[0] if self.label_correction else None
        if root is not None and not isinstance(root, Labelled):
            raise TypeError(
                f"label_correction={self.label_correction!r} needs batches that tell "
                f"which samples they hold, which {type(root).__name__} does not give. "
                "Train on sklearn_turn.training.Labelled(source, y)."
            )
        if self._warms_up(net):
            if self.label_correction:
                net.targets_ = None  # of a fit that failed
            return super().select(net, dataset)
        if self.every_epoch or not self.clean_masks_:
            self._cleanse(net, dataset)
        return self.kept_indices_

    def _warms_up(self, net: Any) -> bool:
        """Whether this epoch, the last of the history, trains on all labels."""
        if self.warmup_epochs is not None:
            epochs = self.warmup_epochs
        elif self.first_evidence is not None:
            epochs = 0
        else:
            epochs = min(ceil(_WARMUP_SHARE * net.max_epochs), _LONGEST_WARMUP)
        return len(net.history) <= epochs

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        super().on_epoch_begin(net, dataset_train, **kwargs)
        net.history.record("n_train", len(self.sampler_))
        if self._warms_up(net):
            return
        self.clean_masks_.append(self.noise_filter_.clean_mask_)
        net.history.record("kept", self.kept_counts_.tolist())
        counts = self.kept_counts_
        tell(
            _LOGGER,
            f"epoch {self.epoch_}: {counts.sum()} of {len(self.losses_)} labels are "
            f"clean, training on {len(self.sampler_)} ({counts.min()} to "
            f"{counts.max()} clean per class)",
            verbose=net.verbose,
        )

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        super().on_train_end(net, **kwargs)
        self.given_ = None
        if net.history and self._warms_up(net):
            warnings.warn(
                f"All {len(net.history)} epochs were warm-up, and no label was "
                "filtered. Train for more epochs, or lower warmup_epochs of Cleansing.",
                CleansingWarning,
                stacklevel=2,
            )
        if self.label_correction:
            net.targets_ = None

    def forget_data(self) -> None:
        """Keep what was found, not the data it was found in."""
        self.first_evidence, self.refine, self.refine_ = None, None, None
        self.evidence_: Evidence = {}

    def _cleanse(self, net: Any, dataset: Any) -> None:
        root, rows = root_and_rows(dataset, self.given_)
        # Known before the first epoch only: a partial_fit goes on from another model.
        if len(net.history) == 1 and self.first_evidence is not None:
            y = labels_of(root)
            self.evidence_ = completed(self.first_evidence, y)
        else:
            wanted = {"features" if self.refine_ else evidence_of(self.filter_)}
            wanted |= {"log_proba"} if self.label_correction else set()
            phase = f"cleansing for epoch {len(net.history)}"
            self.evidence_, y = collect_evidence(net, root, wanted, phase)
            self.n_passes_ += 1
            found = (self.evidence_.get(name, 0.0) for name in ("losses", "features"))
            if not all(np.isfinite(values).all() for values in found):
                raise diverged(net, "lr")
            if self.refine_ is not None:
                self.evidence_ = self.refine_(self.evidence_)
        # Of several processes one decides, lest they differ by a rounding error.
        decided, targets = processes_of(net).first(
            "labels", lambda: self._decide(y, rows)
        )
        self.__dict__.update(decided)
        if targets is not None:
            net.targets_ = torch.from_numpy(targets).to(net.device)

    def _decide(
        self, y: NDArray[np.intp], rows: NDArray[np.intp]
    ) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """What the evidence says, and the labels to train towards if not the given."""
        self.losses_ = self.evidence_["losses"][:, 0]
        labels = decoded(y, self.classes_)
        fitted = self.noise_filter_ = self._fit_filter(labels)
        classes = self._codes(y) if self.classes_ is None else self.classes_
        self.suggested_codes_ = suggested_codes(
            fitted, self.evidence_.get("predicted", y), y, classes
        )
        self.kept_counts_ = np.bincount(
            y[fitted.clean_mask_], minlength=int(y.max()) + 1
        )
        targets, codes, used, kept = trained_labels(
            fitted, self.evidence_, y, self.suggested_codes_, self.label_correction
        )
        if kept.any():
            lost = np.unique(y[kept])
            how = "trained on as they are labelled"
            self._warn_of("leaves no sample to", lost, how)
        self._warn_of_lost_classes(y, codes[used])
        self.kept_indices_ = draw_balanced(
            used[rows], codes[rows], self.balance, self.rng_
        )
        self._warn_of_few(codes[used], int(used[rows].sum()))
        return {name: getattr(self, name) for name in _DECIDED}, targets

    def _codes(self, y: NDArray[np.intp]) -> NDArray[np.intp]:
        """Codes of all classes; the net may know some that are not in y."""
        log_proba = self.evidence_.get("log_proba")
        return np.arange(y.max() + 1 if log_proba is None else log_proba.shape[1])

    def _fit_filter(self, labels: NDArray[Any]) -> Any:
        """The filter fitted on the evidence; its noise rate never falls.

        The rate is a property of the labels. What ``refine`` makes of a network has not
        seen them at first, but comes to agree with those the network trains on, and
        the estimate would fall from epoch to epoch. It may rise clearly, as where the
        first features were too poor to show wrong labels.
        """
        fit = partial(
            fit_filter,
            evidence=self.evidence_,
            y=labels,
            needs_clean=self.label_correction is None,
        )
        if self.refine_ is None:
            return fit(self.filter_)
        held = self.noise_rate_
        told = with_noise_rate(self.filter_, held)
        fitted = fit(told)
        if held is None or told is self.filter_:
            return self._noting_rate(fitted)
        if getattr(fitted, "offset_", 1.0) > 0:  # more wrong labels than it was told
            free = fit(self.filter_)
            if free.noise_rate_ > _CLEARLY * held:
                return self._noting_rate(free)
        if self.noise_rate_interval_ is not None:
            # The rate was found, not known.
            fitted.noise_rate_interval_ = self.noise_rate_interval_
        return fitted

    def _noting_rate(self, fitted: Any) -> Any:
        """A fitted filter, whose rate later ones are told."""
        self.noise_rate_ = getattr(fitted, "noise_rate_", None)
        self.noise_rate_interval_ = getattr(fitted, "noise_rate_interval_", None)
        return fitted

    def _warn_of_lost_classes(
        self, y: NDArray[np.intp], trained: NDArray[np.intp]
    ) -> None:
        lost = np.setdiff1d(y, trained)
        if not len(lost):
            return
        soft = self.label_correction == "soft"
        advice = (
            f" {'Use' if soft else 'Lower its threshold, or use'} "
            "noise_filter='gmm', which keeps samples of every class."
        )
        how = f"{'hardly' if soft else 'not'} trained on"
        self._warn_of("selected no sample of", lost, how, advice)

    def _warn_of(
        self, did: str, lost: NDArray[np.intp], how: str, advice: str = ""
    ) -> None:
        """Warn of classes that the filter left without a sample."""
        names = lost if self.classes_ is None else self.classes_[lost]
        warnings.warn(
            f"{type(self.filter_).__name__} {did} {len(lost)} classes, which are "
            f"{how}: {', '.join(map(str, names[:10]))}.{advice}",
            CleansingWarning,
            stacklevel=5,
        )

    def _warn_of_few(self, selected: NDArray[np.intp], n_selected: int) -> None:
        if 10 * len(self.kept_indices_) >= n_selected:
            return
        counts = np.bincount(selected)
        warnings.warn(
            f"balance={self.balance!r} trains on {len(self.kept_indices_)} of "
            f"{n_selected} clean samples, because the smallest class has "
            f"only {counts[counts > 0].min()}. Raise balance, say to 10, or set it "
            "to None.",
            CleansingWarning,
            stacklevel=3,
        )
