"""Features in which classes are apart and mixtures lie between them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sklearn.datasets import make_blobs

from sklearn_turn.noise import symmetric


@pytest.fixture(scope="session")
def wide():
    """16 features of three classes, 30 % of the labels wrong."""
    X, y_true = make_blobs(
        240, n_features=16, centers=3, cluster_std=3.0, random_state=0
    )
    y = symmetric(y_true, 0.3, random_state=0)
    return SimpleNamespace(X=X, y=y, y_true=y_true, is_wrong=y != y_true)
