"""Ways to find wrong labels that are compared, and how they are scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_turn import GMMNoiseFilter, TURNClassifier
from sklearn_turn.baselines import LinearProbing
from sklearn_turn.metrics import label_issue_ranking_scores, label_issue_scores

#: What a method says: "quality" of each label, "flags" and "noise_rate" if it decides.
Found = dict[str, Any]


@dataclass
class Observed:
    """Features and labels, and what the network says that was trained on them."""

    X: NDArray[np.float32]
    y: NDArray[np.intp]
    losses: NDArray[np.float64]
    y_true: NDArray[np.intp]  # to score only
    X_test: NDArray[np.float32]
    y_test: NDArray[np.intp]
    found: dict[str, Found] = field(default_factory=dict)  # by the network itself


def detect(seen: Observed, seed: int) -> dict[str, dict[str, float]]:
    """Scores of each method, with the accuracy of a probe on what it keeps."""
    X, y, losses = seen.X, seen.y, seen.losses
    found: dict[str, Found] = {"small loss, rate known": {"quality": -losses}}
    mixture = GMMNoiseFilter().fit(losses[:, None], y)
    found["mixture (TURN)"] = said_by(mixture, losses)
    options = {"cleansing_folds": 5, "fft_epochs": 0, "random_state": seed}
    for name, noise_filter in (("mixture, out of fold", "gmm"), ("channel", "channel")):
        model = TURNClassifier(noise_filter=noise_filter, **options).fit(X, y)
        found[name] = said_by(model.noise_filter_, model.losses_)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores = cross_val_predict(model, X, y, cv=5, method="decision_function")
    found["cleanlab"] = _cleanlab(np.exp(log_softmax(scores, axis=1)), y)
    kept = TURNClassifier(noise_filter=Keep(), **options).fit(X, y)
    found["cleanlab, probes"] = _cleanlab(np.exp(kept.noise_filter_.log_proba_), y)
    found |= seen.found
    return {method: _score(seen, said, seed) for method, said in found.items()}


def said_by(fitted: Any, losses: NDArray[np.float64]) -> Found:
    """What a fitted noise filter says; labels found equally clean go by their loss."""
    return {
        "flags": ~fitted.clean_mask_,
        "quality": fitted.clean_proba_ - 1e-9 * losses,
        "noise_rate": fitted.noise_rate_,
    }


class Keep(BaseEstimator):
    """A filter that keeps what it is given, and finds all labels clean."""

    evidence = "log_proba"

    def fit(self, X: Any, y: Any) -> Any:
        self.log_proba_ = X
        self.clean_mask_ = np.ones(len(y), dtype=bool)
        self.clean_proba_ = np.ones(len(y))
        return self


def _cleanlab(proba: Any, y: Any) -> Found:
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    joint = estimate_joint(y, proba)
    return {
        "flags": find_label_issues(y, proba, n_jobs=1),
        "quality": get_label_quality_scores(y, proba),
        "noise_rate": float(1 - np.trace(joint)),
    }


def _score(seen: Observed, found: Found, seed: int) -> dict[str, float]:
    y, wrong = seen.y, seen.y != seen.y_true
    flags = found.get("flags")
    if flags is None:  # as many as there are
        flags = np.zeros(len(y), dtype=bool)
        flags[np.argsort(found["quality"])[: wrong.sum()]] = True
    accuracy = float("nan")
    if len(np.unique(y[~flags])) > 1:
        probe = LinearProbing(loss="gce", random_state=seed)
        probe.fit(seen.X[~flags], y[~flags])
        accuracy = 100 * probe.score(seen.X_test, seen.y_test)
    row = {
        **label_issue_scores(wrong, flags),
        **label_issue_ranking_scores(wrong, found["quality"]),
        "accuracy": accuracy,
        "noise_rate": found.get("noise_rate", float("nan")),
    }
    row["flagged"] *= 100
    return row
