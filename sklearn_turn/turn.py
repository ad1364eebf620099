"""TURN: linear probing, then cleansing and full fine-tuning in turn (Algorithm 1)."""

from __future__ import annotations

import logging
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .base import BaseClassifier
from .constructor import SHARE, parameter, with_parameters
from .losses import GCELoss
from .net_options import check_fine_tune_options, check_probe_options
from .nets import Options, Start
from .out_of_fold import OutOfFoldEvidence
from .parameters import FineTuneParameters, ProbeParameters
from .progress import tell
from .selection.correction import suggested_codes
from .selection.protocol import (
    check_noise_filter,
    evidence_of,
    fit_filter,
    make_filter,
    rate_found,
)
from .selection.verified import filter_of_used
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
from .training.net import Net
from .warm_start import WarmStartParameters

_LOGGER = logging.getLogger(__name__)

#: What "auto" stands for with the paper's filter and others of losses or features.
ALGORITHM_1: dict[str, Any] = {
    "cleansing_folds": None,
    "balance": "min",
    "label_correction": None,
}
#: What it stands for with filters of the whole prediction, such as "channel".
WHOLE_PREDICTION: dict[str, Any] = {
    "cleansing_folds": 5,
    "balance": None,
    "label_correction": "hard",
}


@with_parameters
class TURNClassifier(
    WarmStartParameters, ProbeParameters, FineTuneParameters, BaseClassifier
):
    """Fine-tune a pre-trained image model on labels you do not trust.

    A linear probe is trained with a robust loss on features computed once by the
    frozen backbone. What probes say of the training samples tells clean labels from
    noisy ones. The whole network is then fine-tuned, and the labels are filtered again
    before every epoch.

    By default a noise channel computes the probability of every true class, and samples
    are trained on the class that is probable enough, be it the given label or another.
    ``noise_filter="gmm", tau=0.6`` is Algorithm 1 of the paper: a mixture of two
    Gaussians on the losses of each class, and training on a class-balanced draw of the
    clean samples only.

    Parameters
    ----------
    lp_epochs : int, default=20
        Epochs of linear probing, the paper's E_LP. 0 starts fine-tuning from an
        untrained head.
    q : float in [0, 1], default=0.7
        Robustness of the probe's generalised cross-entropy; 0 is cross-entropy. No
        effect where all epochs are warm-up (``lp_epochs <= lp_warmup_epochs``).
    cleansing : {"epoch", "once"} or None, default="epoch"
        Filter labels before every epoch of fine-tuning, before the first only, or
        train on all labels.
    noise_filter : {"channel", "gmm"} or estimator, default="channel"
        Rule that selects the clean labels: :class:`NoiseChannelFilter`, by the whole
        prediction, in some 50 bytes of memory per sample and class;
        :class:`GMMNoiseFilter`, the paper's, by the losses; or a filter of your own
        (:mod:`sklearn_turn.selection.protocol`).
    tau : float in [0, 1], default=None
        A label is clean when its clean probability is greater. None is the filter's
        own threshold: 0.8 for "channel", the paper's 0.6 for "gmm". No effect on an
        estimator, which has its own. With soft labels it decides which labels are
        flagged, and not what is trained on.
    cleansing_folds : {"auto"}, int, array-like or None, default="auto"
        Filter labels by linear probes that did not see them, trained on that many
        folds of the features at each cleansing; they cost no pass of the backbone.
        Where labels are of very unequal frequency, probes are tried that start from
        the frequencies, and from equal chances, and those kept that explain the
        labels better.
        An array of shape (n_samples,) holds the fold of each sample, any integers, for
        samples that belong together, as frames of a film do: a probe that saw the
        siblings of a sample, mislabelled like itself, finds the label right.
        None filters by the network's own predictions, as the paper does. "auto" is
        5 for filters of the whole prediction, such as "channel", and None for others.
        No effect without a probe (``lp_epochs=0``).
    balance : {"min", "auto"}, float >= 1 or None, default="auto"
        Every class contributes as many samples as the class with the fewest clean
        ones (the paper's rule), at most this many times as many, or all its clean
        ones (None). "auto" is None for filters of the whole prediction and "min" for
        others.
    label_correction : {"hard", "soft", "auto"} or None, default="auto"
        What becomes of samples whose label is not clean: the paper leaves them out
        (None). "hard" trains on the suggested label where its probability exceeds the
        threshold, and leaves out the rest; a class of which nothing would be left
        keeps its labels, with a warning. "soft" trains every sample on the
        probabilities of its true class, given the prediction and the label. "auto" is
        "hard" for filters of the whole prediction and None for others.
    fft_epochs : int, default=4
        Epochs of full fine-tuning, the paper's E_FFT. 0 stops after the probe.

    Attributes
    ----------
    clean_mask_ : ndarray of shape (n_samples,), bool
        Labels that were clean at the last cleansing, in the order given to ``fit``.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each label is clean; 0 for skipped samples.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last cleansing; NaN for skipped
        samples. Absent when ``cleansing`` is None.
    suggested_labels_ : ndarray of shape (n_samples,)
        The labels as they should be by the last cleansing. Absent when ``cleansing``
        is None.
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

    See Also
    --------
    NoiseChannelFilter : How predictions become clean probabilities.
    GMMNoiseFilter : How losses do.
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

    q: float = parameter(default=0.7, legal=[SHARE])
    cleansing: str | None = parameter(
        default="epoch", legal=[StrOptions({"epoch", "once"}), None]
    )
    noise_filter: Any = parameter(
        default="channel", legal=[StrOptions({"gmm", "channel"}), HasMethods(["fit"])]
    )
    tau: float | None = parameter(default=None, legal=[SHARE, None])
    cleansing_folds: Any = parameter(
        default="auto",
        legal=[
            StrOptions({"auto"}),
            Interval(Integral, 2, None, closed="left"),
            "array-like",
            None,
        ],
    )
    balance: str | float | None = parameter(
        default="auto",
        legal=[
            StrOptions({"min", "auto"}),
            Interval(Real, 1, None, closed="left"),
            None,
        ],
    )

    label_correction: str | None = parameter(
        default="auto", legal=[StrOptions({"hard", "soft", "auto"}), None]
    )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_probe_options(self)
        check_fine_tune_options(self, selects=self.cleansing is not None)
        if self.cleansing is not None:
            check_noise_filter(make_filter(self.noise_filter, self.tau))

    def _run(self, task: Task) -> Result:
        noise_filter = make_filter(self.noise_filter, self.tau)
        noise_filter = filter_of_used(noise_filter, task.used)
        rule = self._resolved(noise_filter)
        if self.cleansing is not None:
            check_noise_filter(noise_filter, task.labels)
        is_soft = self.cleansing is not None and rule["label_correction"] == "soft"
        check_fine_tune(task, self, soft_labels=is_soft)

        # Step 1: linear probing, on features computed once.
        refine = self._out_of_fold(task, rule)
        probe, start = self._probed(task if refine is None else refine.task)
        if self.cleansing is None:
            net = fine_tune(task, self, start)
            everything = Selection(np.ones(len(task.y), bool), np.ones(len(task.y)))
            return Result(net, probe, everything, is_frozen=not self.fft_epochs)

        # Step 2: before every epoch select clean samples; fine-tune on them.
        cleansing = Cleansing(
            noise_filter,
            every_epoch=self.cleansing == "epoch",
            warmup_epochs=0,
            balance=rule["balance"],
            label_correction=rule["label_correction"],
            classes=task.classes,
            random_state=task.random_state,
            **self._known(task, probe, refine, noise_filter, rule),
        )
        net = fine_tune(task, self, start, callbacks=[("cleansing", cleansing)])
        selection = self._selected(task, cleansing)
        cleansing.forget_data()
        return Result(net, probe, selection, is_frozen=not self.fft_epochs)

    def _resolved(self, noise_filter: Any) -> dict[str, Any]:
        """What "auto" stands for, or what was set instead."""
        is_whole = evidence_of(noise_filter) == "log_proba"
        auto = WHOLE_PREDICTION if is_whole else ALGORITHM_1
        given = {name: getattr(self, name) for name in auto}
        return {
            name: auto[name] if isinstance(value, str) and value == "auto" else value
            for name, value in given.items()
        }

    @property
    def _loss(self) -> Options:
        """Of all probes."""
        return {"criterion": GCELoss, "criterion__q": self.q}

    def _out_of_fold(
        self, task: Task, rule: dict[str, Any]
    ) -> OutOfFoldEvidence | None:
        """What labels are filtered by, if not by the network's own predictions."""
        folds = rule["cleansing_folds"]
        if folds is None or self.cleansing is None or not self.lp_epochs:
            return None
        return OutOfFoldEvidence(task, self, self._loss, folds)

    def _probed(self, task: Task) -> tuple[Net | None, Start]:
        """The probe, if there is one, and what fine-tuning starts from."""
        if task.earlier is not None:
            return task.earlier.probe, task.earlier.start
        if not self.lp_epochs:
            return None, fresh_start(task)
        probe = linear_probe(task, self, self._loss)
        return probe, start_of(probe)

    def _known(
        self,
        task: Task,
        probe: Net | None,
        refine: OutOfFoldEvidence | None,
        noise_filter: Any,
        rule: dict[str, Any],
    ) -> dict[str, Any]:
        """What cleansing starts from: arguments of :class:`Cleansing`.

        While the backbone is untouched, the first cleansing needs no pass over it.
        """
        earlier = task.earlier
        if refine is not None:
            known = {"first_evidence": refine.first(), "refine": refine}
            if earlier is not None:
                known |= earlier.rate_found(noise_filter, task.source, task.labels)
            return known
        if earlier is not None and not earlier.is_frozen:
            return {}  # the network is asked, as before all other epochs
        wanted = {evidence_of(noise_filter)}
        wanted |= {"log_proba"} if rule["label_correction"] else set()
        if probe is None:
            return {"first_evidence": undecided(task, wanted)}
        first, _ = collect_evidence(probe, task.frozen.dataset, wanted)
        return {"first_evidence": first}

    def _selected(self, task: Task, cleansing: Any) -> Selection:
        """What the last cleansing selected; without fine-tuning, the only one."""
        if self.fft_epochs:
            selection = Selection.of(
                cleansing.noise_filter_, cleansing.losses_, cleansing.suggested_codes_
            )
        else:
            evidence, y = cleansing.first_evidence, task.y
            fitted = fit_filter(
                cleansing.noise_filter, evidence, task.labels, needs_clean=False
            )
            text = f"{fitted.clean_mask_.sum()} of {len(y)} labels are clean"
            tell(_LOGGER, text, verbose=task.runtime.verbose)
            predicted = evidence["predicted"]
            suggested = suggested_codes(fitted, predicted, y, task.classes)
            selection = Selection.of(fitted, evidence["losses"][:, 0], suggested)
        if cleansing.refine is None:
            return selection
        rate = rate_found(cleansing.noise_filter, selection.noise_filter)
        return replace(selection, noise_rate=rate)
