"""Labels by a fitted noise filter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import log_softmax

from sklearn_turn.selection import NoiseChannelFilter
from sklearn_turn.selection.correction import (
    hard_labels,
    label_posterior,
    suggested_codes,
    trained_labels,
)

CLASSES = np.array(["ant", "bee", "cat"])


def test_posterior_of_a_filter_without_one_mixes_label_and_prediction():
    proba = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    fitted = SimpleNamespace(clean_proba_=np.array([0.25, 1.0]))
    codes = np.array([2, 1])
    found = label_posterior(fitted, {"log_proba": np.log(proba)}, codes, codes)
    expected = [[0.75 * 0.7, 0.75 * 0.2, 0.75 * 0.1 + 0.25], [0, 1, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # One that suggests labels is followed in these.
    fitted.suggested_labels_ = CLASSES[[0, 1]]
    found = label_posterior(
        fitted, {"log_proba": np.log(proba)}, codes, np.array([0, 1])
    )
    np.testing.assert_allclose(found, [[0.75, 0, 0.25], [0, 1, 0]])


@pytest.fixture
def channel():
    """A fitted channel with its evidence, whose codes are not its sorted labels."""
    rng = np.random.RandomState(0)
    y_true = rng.randint(3, size=300)
    codes = np.where(rng.uniform(size=300) < 0.2, (y_true + 1) % 3, y_true)
    logits = 3 * np.eye(3)[y_true] + rng.normal(size=(300, 3))
    log_proba = log_softmax(logits, axis=1)
    fitted = NoiseChannelFilter().fit(log_proba, CLASSES[codes])
    return SimpleNamespace(
        fitted=fitted, codes=codes, y_true=y_true, log_proba=log_proba
    )


def test_posterior_of_the_channel_is_its_own(channel):
    evidence = {"log_proba": channel.log_proba}
    found = label_posterior(channel.fitted, evidence, channel.codes, channel.codes)
    np.testing.assert_array_equal(found, channel.fitted.label_proba_)


def test_suggestions_of_the_channel_are_the_most_probable_classes(channel):
    predicted = np.zeros(300, dtype=int)  # plays no part
    found = suggested_codes(channel.fitted, predicted, channel.codes, CLASSES)
    np.testing.assert_array_equal(CLASSES[found], channel.fitted.suggested_labels_)
    assert (
        (found == channel.y_true).mean()
        > 0.95
        > (channel.codes == channel.y_true).mean()
    )


def test_suggestions_of_others_replace_labels_that_are_not_clean():
    fitted = SimpleNamespace(clean_mask_=np.array([True, False, False]))
    found = suggested_codes(fitted, np.array([1, 1, 2]), np.array([0, 0, 2]), CLASSES)
    assert found.tolist() == [0, 1, 2]


def test_a_suggestion_that_is_no_class_is_refused():
    suggested = np.array(["ant", "bird", "cat"])
    fitted = SimpleNamespace(suggested_labels_=suggested)
    codes = np.array([0, 1, 2])
    with pytest.raises(ValueError, match=r"suggested_labels_ .* not: \['bird'\]"):
        suggested_codes(fitted, codes, codes, CLASSES)


@pytest.mark.parametrize("seed", range(5))
def test_hard_labels_leave_a_sample_to_every_class(seed):
    rng = np.random.RandomState(seed)
    codes, suggested = rng.randint(0, 6, (2, 40))
    clean, sure = rng.rand(2, 40) < 0.1
    clean[0] = True
    before = [values.copy() for values in (codes, suggested, clean, sure)]
    trained, used, kept = hard_labels(codes, suggested, clean, sure)
    assert set(trained[used]) >= set(codes)
    for i in range(40):
        if kept[i] or clean[i]:
            assert used[i] and trained[i] == codes[i]
        elif sure[i]:
            assert used[i] and trained[i] == suggested[i]
        else:
            assert not used[i]
    for values, was in zip((codes, suggested, clean, sure), before, strict=True):
        np.testing.assert_array_equal(values, was)


def test_hard_labels_are_as_given_where_none_is_clean():
    codes, none = np.array([0, 1, 1]), np.zeros(3, dtype=bool)
    trained, used, kept = hard_labels(codes, codes[::-1], none, ~none)
    np.testing.assert_array_equal(trained, codes)
    assert used.all() and not kept.any()


def test_a_class_that_goes_back_can_empty_another():
    # Class 0 would lose its sample to 1, whose own is lost; 1 then has but that one.
    codes, suggested = np.array([0, 1, 2]), np.array([1, 2, 2])
    clean, sure = np.array([False, False, True]), np.array([True, False, False])
    trained, used, kept = hard_labels(codes, suggested, clean, sure)
    np.testing.assert_array_equal(trained, codes)
    np.testing.assert_array_equal(kept, [True, True, False])
    assert used.all()


def test_a_suggestion_is_sure_by_its_own_probability():
    """That of the given label may be high without the label being clean."""
    fitted = SimpleNamespace(
        clean_proba_=np.array([0.95, 0.99]),
        clean_mask_=np.array([False, True]),
        suggested_labels_=CLASSES[[1, 0]],
    )
    codes, suggested = np.array([0, 0]), np.array([1, 0])
    evidence = {"log_proba": np.log(np.full((2, 3), 1 / 3))}
    _, _, used, _ = trained_labels(fitted, evidence, codes, suggested, "hard")
    assert used.tolist() == [False, True]
