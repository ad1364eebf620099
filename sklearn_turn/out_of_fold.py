"""Predictions for the training samples by linear probes that did not see them."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from .exceptions import CleansingWarning
from .nets import Options
from .parameters import ProbeParameters
from .steps import features_of, linear_probe
from .task import Task
from .training.evidence import Evidence, collect_evidence


class OutOfFoldEvidence:
    """What noise filters ask for, without the labels they are to find wrong.

    A network agrees with the labels it was trained on, the more so the longer it trains
    on what it selected itself. Linear probes on its features, each trained without one
    fold of the samples, say what the features know; they cost seconds and no pass of
    the backbone. Log-probabilities of probes on the tuned features are averaged with
    those on the frozen ones, which no selection has touched.

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
        self.parameters = parameters.probe_only(lp_params=extra)
        self.loss = loss
        self.folds = deal_folds(task.y, n_folds, task.random_state)
        self.of_frozen = self._log_proba(task.frozen)

    def first(self) -> Evidence:
        """Evidence of the frozen features."""
        return self._evidence(self.of_frozen, features_of(self.task).numpy())

    def __call__(self, evidence: Evidence) -> Evidence:
        """Better evidence in place of a network's own.

        Parameters
        ----------
        evidence : dict of str to ndarray
            With "features" of the network as it is.
        """
        features = evidence["features"]
        if self.task.is_frozen:  # the features are as they were
            return self._evidence(self.of_frozen, features)
        tuned = self._log_proba(self.task.on_features(torch.from_numpy(features)))
        averaged = log_softmax((self.of_frozen + tuned) / 2, axis=1)
        return self._evidence(averaged, features)

    def _log_proba(self, task: Task) -> NDArray[np.float64]:
        log_proba = np.empty((len(task.y), task.n_classes))
        for fold in range(self.folds.max() + 1):
            held = self.folds == fold
            seen, rest = (task.part(np.flatnonzero(rows)) for rows in (~held, held))
            probe = linear_probe(seen, self.parameters, self.loss)
            found, _ = collect_evidence(probe, rest.dataset, {"log_proba"})
            log_proba[held] = found["log_proba"]
        return log_proba

    def _evidence(
        self, log_proba: NDArray[np.float64], features: NDArray[np.float32]
    ) -> Evidence:
        losses = -log_proba[np.arange(len(log_proba)), self.task.y]
        return {
            "losses": losses[:, None],
            "log_proba": log_proba,
            "features": features,
        }


def deal_folds(
    y: NDArray[np.intp], n_folds: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Fold of each sample; classes are spread over the folds evenly.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        Codes of the given labels.
    n_folds : int
    random_state : RandomState

    Returns
    -------
    ndarray of shape (n_samples,), int
        In ``0 .. n_folds - 1``.

    Warns
    -----
    CleansingWarning
        If a class has one sample: no probe can know it without having seen it.
    """
    lone = int((np.bincount(y) == 1).sum())
    if lone:
        warnings.warn(
            f"{lone} classes have one sample, so that no probe that did not see it "
            "knows the class: its label will look wrong. Give each class two samples "
            "or more, or set cleansing_folds=None.",
            CleansingWarning,
            stacklevel=5,
        )
    # Sorted by class and shuffled within, the samples are dealt in turn.
    shuffled = random_state.permutation(len(y))
    order = shuffled[np.argsort(y[shuffled], kind="stable")]
    folds = np.empty(len(y), dtype=np.intp)
    folds[order] = np.arange(len(y)) % min(n_folds, len(y))
    return folds
