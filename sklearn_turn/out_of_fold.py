"""Predictions for the training samples by linear probes that did not see them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from .exceptions import CollapsedProbeWarning
from .folds import deal_folds, given_folds, with_copies_together
from .nets import Options
from .parameters import ProbeParameters
from .progress import progress
from .selection.comparison import explains_better
from .steps import features_of, linear_probe, warmup_of_probe
from .task import Task
from .training.evidence import Evidence, collect_evidence, completed


class OutOfFoldEvidence:
    """What noise filters ask for, without the labels they are to find wrong.

    A network agrees with the labels it was trained on, the more so the longer it trains
    on what it selected itself. Linear probes on its features, each trained without one
    fold of the samples, say what the features know; they cost seconds and no pass of
    the backbone. The tuned features lean towards the labels they were trained on, and
    each epoch's err elsewhere: log-probabilities are averaged over the probes of all
    epochs so far and those on the frozen features, which no selection has touched.

    Where labels are of very unequal frequency, some classes may be as frequent as that,
    or the labels be wrong in one direction, which probes that start from the
    frequencies take for the truth. Probes that start from equal chances take true
    differences for wrong labels. Those by which the labels are better explained are
    kept.

    Parameters
    ----------
    task : Task
    parameters : ProbeParameters
        Of the probes.
    loss : dict
        Options of the skorch nets: ``criterion`` and ``criterion__*``.
    folds : int or array-like of shape (n_given,), int
        How many, or that of each sample given to ``fit``.

    Attributes
    ----------
    task : Task
        On the frozen features; heads start as suits the labels better.
    """

    def __init__(
        self, task: Task, parameters: ProbeParameters, loss: Options, folds: Any
    ):
        # The user's callbacks are for the probe that is kept.
        extra = {**(parameters.lp_params or {}), "callbacks": []}
        extra["phase"] = "out-of-fold probe"
        self.parameters = parameters.probe_only(lp_params=extra)
        self.loss = loss
        if isinstance(folds, Integral):
            dealt = deal_folds(task.y, int(folds), task.random_state)
            self.folds = with_copies_together(dealt, task.y, features_of(task))
        else:
            self.folds = given_folds(folds, task.y, task.classes, task.used)
        self.tunes_features = not task.is_frozen
        self.task = task.frozen
        self.total = self._log_proba(self.task)
        self.n_averaged = 1
        if task.log_frequencies is not None:
            self._compare_equal_chances()

    def state_dict(self) -> dict[str, Any]:
        """What was added up so far."""
        return {"total": self.total, "n_averaged": self.n_averaged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict` of another one of the same folds."""
        self.total, self.n_averaged = state["total"], state["n_averaged"]

    def first(self) -> Evidence:
        """Evidence of the frozen features."""
        return self._evidence(features_of(self.task).numpy())

    def __call__(self, evidence: Evidence) -> Evidence:
        """Better evidence in place of a network's own.

        Parameters
        ----------
        evidence : dict of str to ndarray
            With "features" of the network as it is.
        """
        features = evidence["features"]
        if self.tunes_features:  # else they are as they were
            tuned = self.task.on_features(torch.from_numpy(features))
            self.total = self.total + self._log_proba(tuned)
            self.n_averaged += 1
        return self._evidence(features)

    def _compare_equal_chances(self) -> None:
        """Start from equal chances from now on, if that explains the labels better."""
        equal = replace(self.task, log_frequencies=None)
        with warnings.catch_warnings():
            # If they are kept, so does the probe that fine-tuning starts from.
            warnings.simplefilter("ignore", CollapsedProbeWarning)
            # With the same warm-up: another one makes more of a difference.
            total = self._log_proba(equal, warmed_up_as=self.task)
            # Of several processes one decides, lest they differ by a rounding error.
            is_better = self.task.runtime.processes.first(
                "the start of probes",
                lambda: explains_better(
                    log_softmax(total, axis=1),
                    log_softmax(self.total, axis=1),
                    self.task.y,
                    by=0.0,
                ),
            )
            if is_better:
                self.task, self.total = equal, self._log_proba(equal)

    def _log_proba(
        self, task: Task, warmed_up_as: Task | None = None
    ) -> NDArray[np.float64]:
        # Decided once: folds have fewer samples.
        warmup = warmup_of_probe(warmed_up_as or task, self.parameters)
        parameters = self.parameters.probe_only(lp_warmup_epochs=warmup)
        log_proba = np.empty((len(task.y), task.n_classes))
        n_folds = self.folds.max() + 1
        folds = progress(
            range(n_folds),
            "out-of-fold probes",
            task.runtime.verbose,
            count=lambda fold: int((self.folds == fold).sum()),
        )
        task = replace(task, runtime=replace(task.runtime, verbose=0))
        for fold in folds:
            held = self.folds == fold
            seen, rest = (task.part(np.flatnonzero(rows)) for rows in (~held, held))
            probe = linear_probe(seen, parameters, self.loss)
            found, _ = collect_evidence(probe, rest.dataset, {"log_proba"})
            log_proba[held] = found["log_proba"]
        return log_proba

    def _evidence(self, features: NDArray[np.float32]) -> Evidence:
        log_proba = log_softmax(self.total / self.n_averaged, axis=1)
        return completed({"log_proba": log_proba, "features": features}, self.task.y)
