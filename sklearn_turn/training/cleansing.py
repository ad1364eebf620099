"""Step 2 of TURN for any skorch net."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import CleansingWarning
from ..selection import draw_balanced
from ..selection.protocol import (
    check_noise_filter,
    evidence_of,
    fit_filter,
    make_filter,
)
from .batches import RandomOrder, root_and_rows
from .evidence import Evidence, collect_evidence, labels_of


class Cleansing(RandomOrder):
    """Select the clean subset before each epoch of any skorch classifier.

    Before an epoch every training sample passes through the current model, in
    evaluation mode and in index order; a noise filter finds the clean labels; the
    epoch then visits a class-balanced draw from these (TURN, Step 2-1). The net must
    not set a sampler of its own. Samples that a ``train_split`` sets aside are
    filtered like all others and never trained on.

    Parameters
    ----------
    noise_filter : {"gmm", "channel"} or estimator, default=None
        See :mod:`sklearn_turn.selection.protocol`. None is
        :class:`~sklearn_turn.GMMNoiseFilter`. The channel underestimates the noise
        when it is given what a network says of labels it was trained on, as here,
        unless ``refine`` does better.
    every_epoch : bool, default=True
        False cleanses once, before the first epoch.
    balance : {"min"}, float >= 1 or None, default="min"
        Draw from every class as many samples as the smallest class has clean, at
        most this many times as many, or all clean samples.
    first_evidence : mapping of str to ndarray, default=None
        What the filter asks for ("losses" of shape (n_samples, 1) and the like),
        before the first epoch, when it is known; saves one pass.
    refine : callable, default=None
        From evidence, with the features of the network, to better evidence, which is
        then given to the filter. Not called for ``first_evidence``.
    classes : ndarray of shape (n_classes,), default=None
        Labels that the dataset's codes stand for; the filter is given these.
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
    ...     train_split=None, callbacks=[Cleansing(balance=None, random_state=0)],
    ... )
    >>> net = net.fit(X.astype("float32"), y)
    >>> net.history[-1, "kept"]  # clean labels of each class
    [84, 81]
    """

    def __init__(
        self,
        noise_filter: Any = None,
        *,
        every_epoch: bool = True,
        balance: str | float | None = "min",
        first_evidence: Mapping[str, NDArray[Any]] | None = None,
        refine: Callable[[Evidence], Evidence] | None = None,
        classes: NDArray[Any] | None = None,
        random_state: Any = None,
    ):
        self.noise_filter = noise_filter
        self.every_epoch = every_epoch
        self.balance = balance
        self.first_evidence = first_evidence
        self.refine = refine
        self.classes = classes
        self.random_state = random_state

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.filter_ = make_filter(self.noise_filter, None)
        check_noise_filter(self.filter_)
        balance = self.balance
        if not (
            balance is None
            or balance == "min"
            or (isinstance(balance, Real) and balance >= 1)
        ):
            raise ValueError(
                f"balance must be 'min', a number of at least 1 or None, not "
                f"{balance!r}."
            )
        super().on_train_begin(net, **kwargs)
        self.n_passes_ = 0

    def select(self, net: Any, dataset: Any) -> NDArray[np.intp]:
        """Clean samples, balanced over classes."""
        if self.epoch_ == 0 or self.every_epoch:
            self._cleanse(net, dataset)
        return self.kept_indices_

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        super().on_epoch_begin(net, dataset_train, **kwargs)
        net.history.record("kept", self.kept_counts_.tolist())
        net.history.record("n_train", len(self.sampler_))
        if net.verbose:
            counts = self.kept_counts_
            print(
                f"epoch {self.epoch_}: {counts.sum()} of {len(self.losses_)} labels "
                f"are clean, training on {len(self.sampler_)} ({counts.min()} to "
                f"{counts.max()} clean per class)"
            )

    def forget_data(self) -> None:
        """Keep what was found, not the data it was found in."""
        self.first_evidence, self.refine = None, None
        self.evidence_: Evidence = {}

    def _cleanse(self, net: Any, dataset: Any) -> None:
        root, rows = root_and_rows(dataset)
        # Known before the first epoch only: a partial_fit goes on from another model.
        if len(net.history) == 1 and self.first_evidence is not None:
            self.evidence_, y = dict(self.first_evidence), labels_of(root)
        else:
            wanted = {"features" if self.refine else evidence_of(self.filter_)}
            self.evidence_, y = collect_evidence(net, root, wanted)
            self.n_passes_ += 1
            if self.refine is not None:
                self.evidence_ = self.refine(self.evidence_)
        self.losses_ = self.evidence_["losses"][:, 0]
        labels = y if self.classes is None else self.classes[y]
        self.noise_filter_ = fit_filter(self.filter_, self.evidence_, labels)
        mask = self.noise_filter_.clean_mask_
        self.kept_counts_ = np.bincount(y[mask], minlength=int(y.max()) + 1)
        lost = np.flatnonzero((self.kept_counts_ == 0) & (np.bincount(y) > 0))
        if len(lost):
            names = lost if self.classes is None else self.classes[lost]
            warnings.warn(
                f"{type(self.filter_).__name__} selected no sample of "
                f"{len(lost)} classes, which are not trained on: "
                f"{', '.join(map(str, names[:10]))}. Lower its threshold, or use "
                "noise_filter='gmm', which keeps samples of every class.",
                CleansingWarning,
                stacklevel=2,
            )
        self.kept_indices_ = draw_balanced(mask[rows], y[rows], self.balance, self.rng_)
        if 10 * len(self.kept_indices_) < mask[rows].sum():
            warnings.warn(
                f"balance={self.balance!r} trains on {len(self.kept_indices_)} of "
                f"{mask[rows].sum()} clean samples, because the smallest class has "
                f"only {self.kept_counts_[self.kept_counts_ > 0].min()}. Raise "
                "balance, say to 10, or set it to None.",
                CleansingWarning,
                stacklevel=2,
            )
