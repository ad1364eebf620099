"""Labels that people have checked."""

from __future__ import annotations

from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax
from sklearn.base import clone
from support import Pool, Tally, tiny

from sklearn_turn import NoiseChannelFilter, NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.exceptions import CheckpointError
from sklearn_turn.inspection import label_issues, noise_summary
from sklearn_turn.noise import symmetric
from sklearn_turn.saving.fingerprint import describe
from sklearn_turn.selection.correction import trained_labels


def _drawn(n=1500, rate=0.2, seed=0):
    """Calibrated predictions of five classes: s (s e + z) for the true class's e."""
    rng = np.random.RandomState(seed)
    truth = rng.randint(5, size=n)
    s = 2.0
    logits = s * (s * np.eye(5)[truth] + rng.normal(size=(n, 5)))
    return log_softmax(logits, axis=1), truth, symmetric(truth, rate, random_state=seed)


def _where(rows, labels):
    return [label if known else None for known, label in zip(rows, labels, strict=True)]


def test_after_corrections_from_the_top_of_the_list_the_rest_is_still_found():
    log_proba, truth, y = _drawn()
    first = NoiseChannelFilter().fit(log_proba, y)
    n_half = (y != truth).sum() // 2
    reviewed = np.zeros(len(y), bool)
    reviewed[np.argsort(first.clean_proba_, kind="stable")[:n_half]] = True
    left = (y != truth) & ~reviewed
    corrected = np.where(reviewed, truth, y)
    alone = NoiseChannelFilter().fit(log_proba, corrected)
    assert (~alone.clean_mask_).sum() < 0.2 * left.sum()  # what this is for
    verified = _where(reviewed, truth)
    found = NoiseChannelFilter(verified_labels=verified).fit(log_proba, y)
    flagged = ~found.clean_mask_ & ~reviewed
    assert flagged[left].mean() > 0.8
    assert left[flagged].mean() > 0.45
    assert abs(found.noise_rate_ - (y != truth).mean()) < 0.02


def test_verified_labels_are_certain_and_the_channel_is_that_of_all_labels():
    log_proba, truth, y = _drawn()
    plain = NoiseChannelFilter().fit(log_proba, y)
    rows = np.arange(len(y)) % 3 == 0
    found = NoiseChannelFilter(verified_labels=_where(rows, truth)).fit(log_proba, y)
    np.testing.assert_array_equal(found.label_proba_[rows], np.eye(5)[truth[rows]])
    np.testing.assert_array_equal(found.clean_mask_[rows], (y == truth)[rows])
    np.testing.assert_array_equal(found.suggested_labels_[rows], truth[rows])
    np.testing.assert_array_equal(found.label_proba_[~rows], plain.label_proba_[~rows])
    np.testing.assert_array_equal(found.transition_matrix_, plain.transition_matrix_)
    assert found.noise_rate_ == pytest.approx(1 - found.clean_proba_.mean())
    low, high = found.noise_rate_interval_
    assert low <= found.noise_rate_ <= high


def test_a_told_rate_is_that_of_all_labels():
    log_proba, truth, y = _drawn()
    rows = np.arange(len(y)) < 400
    verified = _where(rows, truth)
    told = NoiseChannelFilter(noise_rate=0.25, verified_labels=verified)
    assert told.fit(log_proba, y).noise_rate_ == pytest.approx(0.25, abs=1e-6)
    n_wrong = (y != truth)[rows].sum()
    told.set_params(noise_rate=0.5 * n_wrong / len(y)).fit(log_proba, y)
    # Fewer than are known to be wrong: all others are right.
    assert told.noise_rate_ == pytest.approx(n_wrong / len(y), abs=1e-6)


def test_all_may_be_verified():
    log_proba, truth, y = _drawn(300)
    for rate in (None, 0.1):
        told = NoiseChannelFilter(noise_rate=rate, verified_labels=truth)
        found = told.fit(log_proba, y)
        np.testing.assert_array_equal(found.clean_mask_, y == truth)
        assert found.noise_rate_ == pytest.approx((y != truth).mean())


@pytest.mark.parametrize(
    "verified",
    [
        [1, None, None, 0, None, 1],
        np.array([1, np.nan, np.nan, 0, np.nan, 1]),
        pd.Series([1, None, None, 0, None, 1], index=list("fedcba")),
        pd.Series([1, None, None, 0, None, 1], dtype="Int64"),
        pd.Series([1, None, None, 0, None, 1], dtype="category"),
        np.array([1, pd.NA, None, 0, float("nan"), 1], dtype=object),
    ],
    ids=["list", "float", "Series", "Int64", "category", "object"],
)
def test_what_is_not_verified_may_be_missing_in_every_way(verified):
    log_proba = np.log(np.full((6, 2), 0.5))
    y = [0, 1, 0, 1, 0, 1]
    found = NoiseChannelFilter(verified_labels=verified).fit(log_proba, y)
    assert found.suggested_labels_[[0, 3, 5]].tolist() == [1, 0, 1]
    assert found.clean_proba_[[0, 3, 5]].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("labels", [["cat", "dog"], [False, True], [3, 7]], ids=str)
def test_verified_labels_are_of_the_kind_of_y(labels):
    y = np.array(labels * 3)
    verified = [labels[1], *[None] * 5]
    told = NoiseChannelFilter(verified_labels=verified)
    found = told.fit(np.log(np.full((6, 2), 0.5)), y)
    assert found.suggested_labels_[0] == labels[1]


@pytest.mark.parametrize(
    "verified, match",
    [
        ([0, None], r"shape \(2,\), but there are 6 labels.*in their order"),
        ([2, *[None] * 5], r"labels that y does not: \[2\]"),
        (["0", *[None] * 5], "two types"),
        (np.zeros((6, 1)), r"shape \(6, 1\)"),
    ],
    ids=["length", "unknown", "text", "column"],
)
def test_what_does_not_fit_is_refused_before_any_pass(verified, match, images):
    told = NoiseChannelFilter(verified_labels=verified)
    y = [0, 1] * 3
    with pytest.raises(ValueError, match=match):
        told.fit(np.log(np.full((6, 2), 0.5)), y)
    with pytest.raises(ValueError, match=match):
        NoiseFilteredClassifier(noise_filter=told).fit(np.eye(6), y)
    tally = Tally()
    clf = tiny(backbone=lambda: Pool(tally), noise_filter=told)
    with pytest.raises(ValueError, match=match):
        clf.fit(images.X[:6], y)
    assert tally.evaluated == tally.trained == 0


def _features(seed=0):
    rng = np.random.RandomState(seed)
    truth = rng.randint(4, size=400)
    X = 1.5 * np.eye(4)[truth] + rng.normal(size=(400, 4))
    return X, truth, symmetric(truth, 0.3, random_state=seed)


def test_turn_trains_on_what_was_verified_and_finds_the_rest():
    X, truth, y = _features()
    rows = np.arange(400) % 2 == 0
    told = NoiseChannelFilter(verified_labels=_where(rows, truth))
    clf = TURNClassifier(noise_filter=told, fft_epochs=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(clf.suggested_labels_[rows], truth[rows])
    np.testing.assert_array_equal(clf.clean_mask_[rows], (y == truth)[rows])
    wrong = (y != truth) & ~rows
    assert (~clf.clean_mask_)[wrong].mean() > 0.8
    # All that was verified is trained on, be it the given label or another.
    assert min(row["n_train"] for row in clf.history_[-2:]) >= rows.sum() - 1
    assert abs(noise_summary(clf).noise_rate - (y != truth).mean()) < 0.06
    best = label_issues(clf).sort_values("rank").index[: (rows & (y != truth)).sum()]
    assert rows[best].all()


def test_settings_survive_copies_and_files(tmp_path):
    X, truth, y = _features()
    verified = _where(np.arange(400) % 2 == 0, truth)
    told = NoiseChannelFilter(verified_labels=verified)
    assert clone(told).get_params()["verified_labels"] == verified
    clf = TURNClassifier(noise_filter=told, fft_epochs=1, random_state=0).fit(X, y)
    issues = label_issues(clf)
    joblib.dump(clf, tmp_path / "clf.joblib")
    pd.testing.assert_frame_equal(
        label_issues(joblib.load(tmp_path / "clf.joblib")), issues
    )
    clf.save(tmp_path / "clf.turn")
    pd.testing.assert_frame_equal(
        label_issues(TURNClassifier.load(tmp_path / "clf.turn")), issues
    )


def test_new_labels_have_not_been_verified():
    X, truth, y = _features()
    told = NoiseChannelFilter(verified_labels=truth)
    clf = TURNClassifier(noise_filter=told, fft_epochs=0, random_state=0).fit(X, y)
    X, truth, y = _features(1)
    issues = label_issues(clf, X, y)
    wrong = issues.loc[y != truth, "is_label_issue"]
    assert wrong.mean() > 0.8


def test_a_checkpoint_is_of_one_set_of_verified_labels(tmp_path, images):
    first = np.where(np.arange(60) < 5, images.y, -1)
    verified = [None if label < 0 else label for label in first.tolist()]
    told = NoiseChannelFilter(verified_labels=verified)
    clf = tiny(noise_filter=told, checkpoint=str(tmp_path)).fit(images.X, images.y)
    clf.fit(images.X, images.y)  # it is there, and the same
    other = NoiseChannelFilter(verified_labels=[*verified[:4], *[None] * 56])
    with pytest.raises(CheckpointError, match="noise_filter"):
        clf.set_params(noise_filter=other).fit(images.X, images.y)


def test_a_class_whose_labels_are_all_wrong_does_not_get_them_back():
    """Verified to be another one, unlike labels that are merely not clean."""
    fitted = SimpleNamespace(
        clean_proba_=np.array([1.0, 1.0, 0.0, 0.0]),
        clean_mask_=np.array([True, True, False, False]),
        suggested_labels_=np.array([0, 1, 0, 0]),
        label_proba_=np.eye(3)[[0, 1, 0, 0]],
        verified_labels=[None, None, 0, 0],
    )
    codes, suggested = np.array([0, 1, 2, 2]), np.array([0, 1, 0, 0])
    _, trained, used, kept = trained_labels(fitted, {}, codes, suggested, "hard")
    assert trained.tolist() == [0, 1, 0, 0] and used.all() and not kept.any()
    fitted.verified_labels = None
    _, trained, used, kept = trained_labels(fitted, {}, codes, suggested, "hard")
    assert trained.tolist() == [0, 1, 2, 2] and kept.tolist() == [0, 0, 1, 1]


def test_what_is_known_to_be_wrong_leaves_the_rest_as_uncertain():
    log_proba, truth, y = _drawn(600, rate=0.1)
    low, high = NoiseChannelFilter().fit(log_proba, y).noise_rate_interval_
    wrong = np.flatnonzero(y != truth)
    known = np.isin(np.arange(600), wrong[: len(wrong) // 2])
    told = NoiseChannelFilter(verified_labels=_where(known, truth)).fit(log_proba, y)
    assert told.noise_rate_interval_[0] >= low
    assert told.noise_rate_interval_[1] >= high
    assert told.noise_rate_interval_[1] - told.noise_rate_interval_[0] > 0.01


@pytest.mark.parametrize("dtype", ["object", "Int64", "category"])
def test_a_series_is_kept_in_files_and_told_from_another(dtype, tmp_path, images):
    X, truth, y = _features()
    verified = pd.Series(_where(np.arange(400) % 2 == 0, truth)).astype(dtype)
    told = NoiseChannelFilter(verified_labels=verified)
    fold = pd.Series(np.arange(400) % 3)
    clf = TURNClassifier(
        noise_filter=told, cleansing_folds=fold, fft_epochs=1, random_state=0
    ).fit(X, y)
    clf.save(tmp_path / "clf.turn")
    again = TURNClassifier.load(tmp_path / "clf.turn")
    pd.testing.assert_frame_equal(label_issues(again), label_issues(clf))
    found = [None if pd.isna(v) else v for v in again.noise_filter.verified_labels]
    assert found == [None if pd.isna(v) else v for v in verified]
    one, other = (
        describe(NoiseChannelFilter(verified_labels=v))
        for v in (verified, verified.where(np.arange(400) != 200))
    )
    assert one != other
