"""Scores of wrong-label detection, against counting by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sklearn_turn.metrics import (
    label_issue_ranking_scores,
    label_issue_scores,
    noise_rate_error,
    transition_matrix_error,
)


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_flags_are_counts(seed):
    rng = np.random.RandomState(seed)
    wrong, flagged = rng.uniform(size=(2, 50)) < 0.3
    both = sum(w and f for w, f in zip(wrong, flagged, strict=True))
    scores = label_issue_scores(wrong, flagged)
    assert scores["precision"] == pytest.approx(both / flagged.sum())
    assert scores["recall"] == pytest.approx(both / wrong.sum())
    assert scores["f1"] == pytest.approx(2 * both / (flagged.sum() + wrong.sum()))
    assert scores["flagged"] == flagged.mean()


@pytest.mark.parametrize("wrong, flagged", itertools.product([0, 1], repeat=2))
def test_scores_of_flags_when_all_or_none_are(wrong, flagged):
    scores = label_issue_scores(np.full(4, wrong), np.full(4, flagged))
    both = float(wrong and flagged)
    assert scores["precision"] == scores["recall"] == scores["f1"] == both


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_a_ranking_are_those_of_all_thresholds(seed):
    rng = np.random.RandomState(seed)
    wrong = rng.uniform(size=60) < 0.3
    quality = np.round(rng.uniform(size=60) - 0.3 * wrong, 1)  # with ties
    scores = label_issue_ranking_scores(wrong, quality)
    best = max(
        label_issue_scores(wrong, quality <= t)["f1"] for t in np.unique(quality)
    )
    assert scores["best_f1"] == pytest.approx(best)
    pairs = [
        1.0 * (a < b) + 0.5 * (a == b) for a in quality[wrong] for b in quality[~wrong]
    ]
    assert scores["auroc"] == pytest.approx(np.mean(pairs))
    area, recall_before = 0.0, 0.0
    for t in np.unique(quality):
        at = label_issue_scores(wrong, quality <= t)
        area += (at["recall"] - recall_before) * at["precision"]
        recall_before = at["recall"]
    assert scores["average_precision"] == pytest.approx(area)


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_ranking_of_one_kind_has_no_score(wrong):
    scores = label_issue_ranking_scores(np.full(5, wrong), np.linspace(0, 1, 5))
    assert all(np.isnan(value) for value in scores.values())


def test_scores_must_be_finite():
    with pytest.raises(ValueError, match="NaN or infinity"):
        label_issue_ranking_scores([0, 1], [0.5, np.nan])


def test_rate_error_has_a_sign():
    assert noise_rate_error([True, False], 0.4) == pytest.approx(-0.1)


def test_matrix_error_is_the_mean_total_variation():
    T = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])
    distances = [
        max(
            abs(T[k, list(subset)].sum() - np.eye(3)[k, list(subset)].sum())
            for r in range(4)
            for subset in itertools.combinations(range(3), r)
        )
        for k in range(3)
    ]
    assert transition_matrix_error(np.eye(3), T) == pytest.approx(np.mean(distances))
    weighted = transition_matrix_error(np.eye(3), T, weights=[1, 2, 0])
    assert weighted == pytest.approx(np.average(distances, weights=[1, 2, 0]))


@pytest.mark.parametrize(
    "T, message",
    [
        (np.eye(2), "2 and 3 classes|3 and 2 classes"),
        (np.ones((3, 3)), "sum to one"),
        (np.array([[2, -1, 0], [0, 1, 0], [0, 0, 1]]), "non-negative"),
        (np.ones((3, 2)), "square"),
    ],
)
def test_a_matrix_that_is_none_is_refused(T, message):
    with pytest.raises(ValueError, match=message):
        transition_matrix_error(np.eye(3), T)


def test_no_labels_have_no_scores():
    for score in (
        lambda: label_issue_scores([], []),
        lambda: label_issue_ranking_scores([], []),
        lambda: noise_rate_error([], 0.1),
    ):
        with pytest.raises(ValueError, match="mask is empty"):
            score()


def test_labels_are_no_masks():
    with pytest.raises(ValueError, match=r"True and False.*y != y_true"):
        label_issue_scores([0, 1, 2], [0, 1, 1])
    with pytest.raises(ValueError, match=r"True and False"):
        label_issue_ranking_scores(["a", "b"], [0.1, 0.2])


@pytest.mark.parametrize("rate", [-0.1, 7, np.nan])
def test_a_rate_is_a_share(rate):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        noise_rate_error([True, False], rate)


@pytest.mark.parametrize(
    "weights", [[0, 0], [1, -1], [1, 2, 3], [np.nan, 1], [np.inf, 1]]
)
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be 2 non-negative"):
        transition_matrix_error(np.eye(2), np.eye(2), weights=weights)
