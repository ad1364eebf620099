"""Predictions for the training samples by linear probes that did not see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from .folds import deal_folds, with_copies_together
from .nets import Options
from .parameters import ProbeParameters
from .progress import progress
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

    Parameters
    ----------
    task : Task
    parameters : ProbeParameters
        Of the probes.
    loss : dict
        Options of the skorch nets: ``criterion`` and ``criterion__*``.
    n_folds : int
    """

    def __init__(
        self, task: Task, parameters: ProbeParameters, loss: Options, n_folds: int
    ):
        self.task = task
        # The user's callbacks are for the probe that is kept.
        extra = {**(parameters.lp_params or {}), "callbacks": []}
        extra["phase"] = "out-of-fold probe"
        # Decided once: folds have fewer samples.
        warmup = warmup_of_probe(task.frozen, parameters)
        self.parameters = parameters.probe_only(
            lp_params=extra, lp_warmup_epochs=warmup
        )
        self.loss = loss
        folds = deal_folds(task.y, n_folds, task.random_state)
        self.folds = with_copies_together(folds, task.y, features_of(task))
        self.total = self._log_proba(task.frozen)
        self.n_averaged = 1

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
        if not self.task.is_frozen:  # else the features are as they were
            tuned = self.task.on_features(torch.from_numpy(features))
            self.total = self.total + self._log_proba(tuned)
            self.n_averaged += 1
        return self._evidence(features)

    def _log_proba(self, task: Task) -> NDArray[np.float64]:
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
            probe = linear_probe(seen, self.parameters, self.loss)
            found, _ = collect_evidence(probe, rest.dataset, {"log_proba"})
            log_proba[held] = found["log_proba"]
        return log_proba

    def _evidence(self, features: NDArray[np.float32]) -> Evidence:
        log_proba = log_softmax(self.total / self.n_averaged, axis=1)
        return completed({"log_proba": log_proba, "features": features}, self.task.y)
