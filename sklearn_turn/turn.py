"""TURN: linear probing, then cleansing and full fine-tuning in turn (Algorithm 1)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, cast

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .base import BaseClassifier
from .losses import GCELoss
from .nets import check_fine_tune_options, check_probe_options
from .out_of_fold import OutOfFoldEvidence
from .parameters import (
    FineTuneParameters,
    ProbeParameters,
    parameter,
    with_parameters,
)
from .selection.protocol import (
    check_noise_filter,
    evidence_of,
    fit_filter,
    make_filter,
)
from .steps import (
    check_fine_tune,
    fine_tune,
    fresh_start,
    linear_probe,
    start_of,
    undecided,
)
from .task import Result, Selection, Task
from .training.cleansing import Cleansing
from .training.evidence import collect_evidence


@with_parameters
class TURNClassifier(ProbeParameters, FineTuneParameters, BaseClassifier):
    """Fine-tune a pre-trained image model on labels you do not trust.

    A linear probe is trained with a robust loss on features computed once by the
    frozen backbone. What it says of the training samples tells clean labels from
    noisy ones, class by class. The whole network is then fine-tuned on a balanced draw
    of the clean ones, and the labels are filtered again before every epoch.

    Parameters
    ----------
    lp_epochs : int, default=20
        Epochs of linear probing, the paper's E_LP. 0 starts fine-tuning from an
        untrained head.
    q : float in [0, 1], default=0.7
        Robustness of the probe's generalised cross-entropy; 0 is cross-entropy.
    cleansing : {"epoch", "once"} or None, default="epoch"
        Filter labels before every epoch of fine-tuning, before the first only, or
        train on all labels.
    noise_filter : {"gmm", "channel"} or estimator, default="gmm"
        Rule that selects the clean labels: :class:`GMMNoiseFilter`, the paper's, by
        the losses; :class:`NoiseChannelFilter`, by the whole
        prediction; or a filter of your own (:mod:`sklearn_turn.selection.protocol`).
    tau : float in [0, 1], default=None
        A label is clean when its clean probability is greater. None is the filter's
        own threshold, for "gmm" the paper's τ = 0.6. No effect on an estimator, which
        has its own.
    cleansing_folds : int, None or "auto", default="auto"
        Filter labels by linear probes that did not see them, trained on that many
        folds of the features at each cleansing; they cost no pass of the backbone.
        None filters by the network's own predictions, as the paper does. "auto" is
        None for "gmm", 5 for "channel" and None for an estimator.
    balance : {"min"}, float >= 1 or None, default="min"
        Every class contributes as many samples as the class with the fewest clean
        ones (the paper's rule), at most this many times as many, or all its clean
        ones.
    fft_epochs : int, default=4
        Epochs of full fine-tuning, the paper's E_FFT. 0 stops after the probe.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    clean_mask_ : ndarray of shape (n_samples,), bool
        Labels that were clean at the last cleansing, in the order given to ``fit``.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each label is clean; 0 for skipped samples.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last cleansing; NaN for skipped
        samples. Absent when ``cleansing`` is None.
    noise_filter_ : estimator
        The filter of the last cleansing, fitted on the samples that could be read.
        Absent when ``cleansing`` is None.
    probe_ : skorch net
        The linear probe on features. Absent when ``lp_epochs`` is 0.
    net_ : skorch net
        The fine-tuned model; its module is ``net_.module_``.
    history_ : list of dict
        One per epoch: ``phase`` ("probe" or "fine-tune"), ``epoch``, ``train_loss``,
        ``seconds``, and when cleansing ``n_train`` and ``kept`` (clean labels per
        class).
    skipped_ : ndarray of int
        Positions of samples left out because they could not be read.
    input_shape_ : tuple or None
        Shape of one sample; None for files.
    n_features_in_ : int
        Values per sample; absent for files.

    See Also
    --------
    GMMNoiseFilter : How losses become clean probabilities.
    Cleansing : Step 2 for any skorch classifier.

    References
    ----------
    Ahn, Kim, Ko and Yun, "Fine-tuning Pre-trained Models for Robustness under Noisy
    Labels", IJCAI 2024, Algorithm 1.

    Examples
    --------
    2-D X is taken as features, so the method can be tried without a backbone:

    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import TURNClassifier
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, centers=3, random_state=0, cluster_std=0.8)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = TURNClassifier(random_state=0).fit(X, y_noisy)
    >>> clf.predict(X[:3]).shape
    (3,)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    q: float = parameter(default=0.7, legal=[Interval(Real, 0, 1, closed="both")])
    cleansing: str | None = parameter(
        default="epoch", legal=[StrOptions({"epoch", "once"}), None]
    )
    noise_filter: Any = parameter(
        default="gmm", legal=[StrOptions({"gmm", "channel"}), HasMethods(["fit"])]
    )
    tau: float | None = parameter(
        default=None, legal=[Interval(Real, 0, 1, closed="both"), None]
    )
    cleansing_folds: int | str | None = parameter(
        default="auto",
        legal=[StrOptions({"auto"}), Interval(Integral, 2, None, closed="left"), None],
    )
    balance: str | float | None = parameter(
        default="min",
        legal=[StrOptions({"min"}), Interval(Real, 1, None, closed="left"), None],
    )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_probe_options(self)
        check_fine_tune_options(self, selects=self.cleansing is not None)
        if self.cleansing is not None:
            check_noise_filter(make_filter(self.noise_filter, self.tau))

    @property
    def _n_folds(self) -> int | None:
        if self.cleansing_folds == "auto":
            return 5 if self.noise_filter == "channel" else None
        return cast(int | None, self.cleansing_folds)

    def _run(self, task: Task) -> Result:
        noise_filter = make_filter(self.noise_filter, self.tau)
        wanted = {evidence_of(noise_filter)}

        check_fine_tune(task, self)

        # Step 1: linear probing, on features computed once.
        probe, start = None, fresh_start(task)
        loss = {"criterion": GCELoss, "criterion__q": self.q}
        if self.lp_epochs:
            probe = linear_probe(task, self, loss)
            start = start_of(probe)
        if self.cleansing is None:
            net = fine_tune(task, self, start)
            everything = Selection(np.ones(len(task.y), bool), np.ones(len(task.y)))
            return Result(net, probe, everything, is_frozen=not self.fft_epochs)
        # The backbone is untouched so far: the first cleansing needs no pass over it.
        refine = None
        if probe is None:
            evidence = undecided(task, wanted)
        elif self._n_folds is None:
            evidence, _ = collect_evidence(probe, task.frozen.dataset, wanted)
        else:
            refine = OutOfFoldEvidence(task, self, loss, self._n_folds)
            evidence = refine.first()

        # Step 2: before every epoch select clean samples; fine-tune on them.
        cleansing = Cleansing(
            noise_filter,
            every_epoch=self.cleansing == "epoch",
            balance=self.balance,
            first_evidence=evidence,
            refine=refine,
            classes=task.classes,
            random_state=task.random_state,
        )
        net = fine_tune(task, self, start, callbacks=[("cleansing", cleansing)])
        cleansing.forget_data()
        if self.fft_epochs:
            fitted, losses = cleansing.noise_filter_, cleansing.losses_
        else:
            fitted = fit_filter(noise_filter, evidence, task.labels)
            losses = evidence["losses"][:, 0]
            if self.verbose:
                n_clean = fitted.clean_mask_.sum()
                print(f"{n_clean} of {len(task.y)} labels are clean")
        selection = Selection(fitted.clean_mask_, fitted.clean_proba_, losses, fitted)
        return Result(net, probe, selection, is_frozen=not self.fft_epochs)
