"""Samples that are there several times are kept together."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sklearn_turn import NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.folds import copies_of, deal_folds
from sklearn_turn.noise import symmetric

drawn = np.array([3, 0, 3, 1, 2, 0, *range(4, 40)])


def _kinds():
    rows = np.random.RandomState(0).normal(size=(40, 5)).astype(np.float32)
    yield "rows", rows[drawn]
    yield "a view", np.asfortranarray(rows)[drawn]
    yield "a tensor", torch.from_numpy(rows)[drawn]
    yield "sparse", sparse.random(40, 50, 0.3, format="csr", random_state=0)[drawn]
    yield "images", rows.reshape(40, 1, 5)[drawn]
    yield "paths", [f"photos/{i}.jpg" for i in drawn]
    yield "texts", np.array([f"text {i}" for i in drawn], dtype=object)
    yield "arrays", [rows[i, : 2 + i % 4] for i in drawn]
    pd = pytest.importorskip("pandas")
    yield "a frame", pd.DataFrame({"a": drawn, "b": [f"text {i}" for i in drawn]})


@pytest.mark.parametrize("X", [pytest.param(X, id=kind) for kind, X in _kinds()])
def test_copies_share_a_group_and_others_do_not(X):
    groups = copies_of(X)
    assert ((groups[:, None] == groups) == (drawn[:, None] == drawn)).all()


def test_where_nothing_is_equal_nothing_is_copied():
    assert copies_of(np.arange(30.0)[:, None]) is None
    black = [Image.new("L", (2, 2)) for _ in range(30)]  # have no hash
    assert copies_of(black) is None
    assert copies_of(object()) is None


def test_values_that_repeat_are_no_copies():
    X = np.arange(300)[:, None] % 4
    assert copies_of(X) is None
    X[:2] = 9
    groups = copies_of(X)
    assert groups[0] == groups[1] and len(np.unique(groups)) == 299


def test_folds_keep_copies_together_and_spread_classes():
    y = np.random.RandomState(0).randint(3, size=60)
    copies = np.random.RandomState(1).randint(40, size=60)
    folds = deal_folds(y, 5, np.random.RandomState(2), copies)
    for group in np.unique(copies):
        assert len(np.unique(folds[copies == group])) == 1
    n_groups = len(np.unique(copies))
    sizes = [len(np.unique(copies[folds == fold])) for fold in range(5)]
    assert sum(sizes) == n_groups and np.ptp(sizes) <= 1
    alone = deal_folds(y, 5, np.random.RandomState(2), np.arange(60) + 7)
    np.testing.assert_array_equal(alone, deal_folds(y, 5, np.random.RandomState(2)))


def test_a_class_of_copies_of_one_sample_cannot_be_judged():
    y = np.repeat([0, 1], [8, 2])
    with pytest.warns(CleansingWarning, match="one sample: 1"):
        deal_folds(y, 2, np.random.RandomState(0), np.array([*range(8), 8, 8]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deal_folds(y, 2, np.random.RandomState(0))


@pytest.mark.parametrize(
    "clf",
    [
        TURNClassifier(fft_epochs=0, random_state=0),
        NoiseFilteredClassifier(),
        NoiseFilteredClassifier(LogisticRegression(C=0.1), cv=3),
    ],
    ids=["TURN", "default", "logistic"],
)
def test_a_bootstrap_does_not_hide_wrong_labels(clf):
    X, truth = make_blobs(
        400, 64, centers=5, cluster_std=9.0, center_box=(-5, 5), random_state=0
    )
    X = StandardScaler().fit_transform(X)
    y = symmetric(truth, 0.3, random_state=0)
    rows = np.tile(np.arange(400), 3)
    wrong = (y != truth)[rows]
    clf.fit(X[rows], y[rows])
    assert (~clf.clean_mask_)[wrong].mean() > 0.8
    assert abs(clf.noise_filter_.noise_rate_ - wrong.mean()) < 0.1
