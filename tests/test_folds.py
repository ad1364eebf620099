"""Samples that are there several times are kept together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sklearn_turn import NoiseFilteredClassifier, TURNClassifier, copies
from sklearn_turn.copies import copies_of
from sklearn_turn.folds import deal_folds, with_copies_together
from sklearn_turn.noise import symmetric

drawn = np.array([3, 0, 3, 1, 2, 0, *range(4, 40)])


def _kinds():
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(40, 5)).astype(np.float32)
    rows[7, 2] = np.nan
    yield "rows", rows[drawn]
    yield "a view", np.asfortranarray(rows)[drawn]
    yield "lists", rows[drawn].tolist()
    yield "a tensor", torch.from_numpy(rows)[drawn].requires_grad_()
    yield "half precision", torch.from_numpy(rows)[drawn].bfloat16()
    yield "sparse", sparse.random(40, 50, 0.3, format="csr", random_state=0)[drawn]
    yield "images", rng.randint(256, size=(40, 4, 4, 3), dtype=np.uint8)[drawn]
    yield "paths", [f"photos/{i}.jpg" for i in drawn]
    yield "texts", np.array([f"text {i}" for i in drawn], dtype=object)
    yield "arrays", [rows[i, : 2 + i % 4] for i in drawn]
    yield "objects", np.array([[-i, "cat", np.nan, *rows[i]] for i in drawn], object)
    pd = pytest.importorskip("pandas")
    texts = [f"text {i}" for i in drawn]
    frame = pd.DataFrame({"a": -drawn, "b": texts, "c": np.nan, "d": rows[drawn, 0]})
    yield "a frame", frame
    yield "categories", frame.astype({"b": "category"})


@pytest.mark.parametrize("X", [pytest.param(X, id=kind) for kind, X in _kinds()])
def test_copies_share_a_group_and_others_do_not(X):
    groups = copies_of(X)
    assert ((groups[:, None] == groups) == (drawn[:, None] == drawn)).all()


def _no_copies():
    rng = np.random.RandomState(0)
    yield "all different", rng.normal(size=(30, 2))
    yield "pictures", [Image.new("L", (2, 2)) for _ in range(30)]
    yield "an object", object()
    yield "no memory", torch.empty(30, 2, device="meta")
    yield "nothing", []
    yield "ragged", [[0, [1]], [1, 2], [0, [1]]]
    yield "a sparse tensor", torch.eye(30).to_sparse()
    frame = pytest.importorskip("pandas").DataFrame({"a": [[1], [2], [1]] * 9})
    yield "lists in a frame", frame
    yield "one of 40 levels", np.eye(40)[rng.randint(40, size=2000)]
    yield "two of 12 levels", rng.randint(12, size=(2000, 2))
    yield "age and sex", np.c_[rng.randint(18, 80, 100), rng.randint(2, size=100)]
    yield "codes of 500 levels", rng.randint(500, size=2000)[:, None]
    yield "words", [["yes", "no", "maybe"][i] for i in rng.randint(3, size=50)]
    yield "counts", sparse.csr_array(rng.poisson(0.02, size=(500, 60)))


@pytest.mark.parametrize("X", [pytest.param(X, id=kind) for kind, X in _no_copies()])
def test_what_is_different_or_equal_by_chance_is_no_copy(X):
    assert copies_of(X) is None


def test_samples_of_a_minority_are_copies_however_often_they_were_drawn():
    rows = np.random.RandomState(0).normal(size=(1008, 4))
    groups = copies_of(rows[np.r_[:1008, np.repeat(np.arange(8), 123)]])
    assert len(np.unique(groups)) == 1008


def test_folds_keep_copies_together_and_the_rest_as_it_was():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 3)), rng.randint(3, size=60)
    folds = deal_folds(y, 5, np.random.RandomState(2))
    np.testing.assert_array_equal(with_copies_together(folds, y, X), folds)
    X[[50, 55]] = X[3]
    expected = folds.copy()
    expected[[50, 55]] = folds[3]
    np.testing.assert_array_equal(with_copies_together(folds, y, X), expected)


def test_no_class_loses_all_its_judges_to_copies():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(40, 3)), np.repeat([0, 1, 2], [36, 2, 2])
    X[[0, 1]] = X[[36, 37]]  # a class whose samples are in one fold by their copies
    X[39] = X[38]  # and one that is one sample
    folds = np.arange(40) % 4
    folds[[0, 1, 36, 37]] = 0, 0, 2, 3
    together = with_copies_together(folds, y, X)
    assert together[0] == together[36] != together[37] == together[1]
    np.testing.assert_array_equal(together[38:], folds[38:])


def test_few_samples_that_are_there_often_leave_no_fold_empty():
    rng = np.random.RandomState(0)
    rows = np.r_[:4, rng.randint(4, size=8)]
    X, y = rng.normal(size=(4, 6))[rows], rows % 2
    for seed in range(20):
        dealt = deal_folds(y, 5, np.random.RandomState(seed))
        folds = with_copies_together(dealt, y, X)
        assert np.bincount(folds).min() > 0
        assert np.ptp(folds[y == 0]) > 0 and np.ptp(folds[y == 1]) > 0
    assert len(TURNClassifier(fft_epochs=0, random_state=0).fit(X, y).clean_mask_) == 12


def test_siblings_stay_in_the_folds_they_are_in():
    """Frames of one clip lie side by side; one copied frame must not deal them anew."""
    rng = np.random.RandomState(0)
    truth = np.repeat(rng.randint(2, size=100), 6)
    y = np.where(np.repeat(rng.rand(100) < 0.2, 6), 1 - truth, truth)
    X = np.repeat(rng.normal(size=(100, 4)), 6, axis=0) + 1.5 * truth[:, None]
    X = X + 0.01 * rng.normal(size=X.shape)
    model = LogisticRegression(C=10.0)
    found = NoiseFilteredClassifier(model).fit(X, y).clean_proba_
    X[7] = X[6]
    again = NoiseFilteredClassifier(model).fit(X, y).clean_proba_
    np.testing.assert_allclose(again, found, atol=0.05)


@pytest.mark.parametrize(
    "clf",
    [TURNClassifier(fft_epochs=0, random_state=0), NoiseFilteredClassifier()],
    ids=["TURN", "any classifier"],
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


def test_copies_are_known_in_two_columns_of_measurements():
    rows = np.tile(np.random.RandomState(0).normal(size=(400, 2)), (3, 1))
    groups = copies_of(rows)
    assert (
        (groups[:, None] == groups)
        == (np.arange(1200)[:, None] % 400 == np.arange(1200) % 400)
    ).all()
    mixed = np.c_[rows[:, 0], np.arange(1200) % 400 % 2]  # a number and a category
    assert copies_of(mixed) is not None


def test_what_is_a_copy_does_not_depend_on_hashes(monkeypatch):
    """They are salted anew in every process, and chance is judged by some samples."""
    X = np.random.RandomState(5).randint(53, size=(6000, 5))
    X = np.r_[X, X[:50]]
    keys, seen = copies._keys(X), []
    original = copies._equal_by_chance

    def noted(X, rows):
        seen.append(rows)
        return original(X, rows)

    monkeypatch.setattr(copies, "_equal_by_chance", noted)
    for salt in (0, 2**62 - 1):
        monkeypatch.setattr(copies, "_keys", lambda X, salt=salt: keys ^ salt)
        copies_of(X)
    assert len(seen) == 2
    np.testing.assert_array_equal(*seen)


def test_a_class_keeps_its_folds_when_copies_move_for_another():
    """Copies with several labels: what the second class needs would undo the first."""
    samples = np.random.RandomState(0).normal(size=(30, 4))
    rows = np.r_[0, 1, 0, 2, 2, 3:25]
    y = np.r_[0, 0, 1, 1, 1, np.full(22, 2)]
    folds = with_copies_together(
        np.r_[4, 0, 1, 4, 2, np.arange(22) % 5], y, samples[rows]
    )
    assert folds[0] == folds[2] and folds[3] == folds[4]
    assert all(len(np.unique(folds[y == code])) > 1 for code in range(3))
