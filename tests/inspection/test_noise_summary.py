"""How much noise there is, and between which classes."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_turn import NoiseChannelFilter, NoiseFilteredClassifier
from sklearn_turn.baselines import CORES, UNICON, ELRPlus, LinearProbing
from sklearn_turn.inspection import export_report, noise_summary
from sklearn_turn.selection import CORESNoiseFilter

pd = pytest.importorskip("pandas")


class Fitted(ClassifierMixin, BaseEstimator):
    """A classifier that found what it is told."""

    def __init__(self, given, suggested, quality, skipped=()):
        self.classes_ = np.unique(given)
        self.given_labels_ = np.asarray(given)
        self.suggested_labels_ = np.asarray(suggested)
        self.clean_proba_ = np.asarray(quality)
        self.clean_mask_ = self.clean_proba_ > 0.5
        self.skipped_ = np.asarray(skipped, dtype=int)

    def fit(self, X, y):
        return self


@pytest.fixture(scope="module")
def found():
    """40 labels of four classes; "emu" was given to one sample that was skipped."""
    rng = np.random.RandomState(0)
    given, suggested = (
        [*rng.choice(["cat", "dog", "eel"], 39).tolist(), "emu"] for _ in range(2)
    )
    return Fitted(given, suggested, np.r_[rng.uniform(size=39), 0.0], skipped=[39])


def test_counts_and_rates_by_hand(found):
    summary = noise_summary(found)
    q = found.clean_proba_[:39]
    assert summary.n_samples == 39
    assert summary.n_label_issues == (q <= 0.5).sum()
    assert summary.noise_rate == pytest.approx(1 - q.mean())
    # Variances of labels right or wrong, of the mean label, and the part left open.
    known = q.mean() * (1 - q.mean()) - (q * (1 - q)).mean()
    widened = q.mean() * (1 - q.mean()) / known
    half = 1.96 * np.sqrt(widened * (q * (1 - q)).sum()) / 39
    np.testing.assert_allclose(
        summary.interval, (1 - q.mean() - half, 1 - q.mean() + half), rtol=1e-4
    )
    for label in ("cat", "dog", "eel"):
        rows = np.flatnonzero(found.given_labels_[:39] == label)
        row = summary.per_class.loc[label]
        assert row["n_samples"] == len(rows)
        assert row["n_label_issues"] == (q[rows] <= 0.5).sum()
        assert row["n_suggested"] == (found.suggested_labels_[:39] == label).sum()
        assert row["noise_rate"] == pytest.approx(1 - q[rows].mean())
        assert row["lower"] < row["noise_rate"] < row["upper"]
    assert summary.per_class.loc["emu", "n_samples"] == 0
    assert np.isnan(summary.per_class.loc["emu", "noise_rate"])


def test_pairs_and_transitions_by_hand(found):
    summary = noise_summary(found)
    pairs = Counter(
        (given, suggested)
        for given, suggested in zip(
            found.given_labels_[:39], found.suggested_labels_[:39], strict=True
        )
    )
    sizes = Counter(found.given_labels_[:39].tolist())
    rows = list(summary.confused_pairs.itertuples(index=False))
    assert {(r.given_label, r.suggested_label): r.n_samples for r in rows} == {
        pair: n for pair, n in pairs.items() if pair[0] != pair[1]
    }
    assert all(r.share == r.n_samples / sizes[r.given_label] for r in rows)
    numbers = summary.confused_pairs["n_samples"].tolist()
    assert numbers == sorted(numbers, reverse=True)
    matrix = summary.transition_matrix
    assert matrix.index.name == "true"
    assert matrix.columns.name == "given"
    true = Counter(found.suggested_labels_[:39].tolist())
    assert matrix.loc["cat", "dog"] == pairs["dog", "cat"] / true["cat"]
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_interval_covers_a_rate_that_was_estimated_with_it(rate):
    """Scores of right and wrong labels overlap; only the rate is unknown."""
    rng = np.random.RandomState(0)
    covered = []
    for _ in range(300):
        wrong = rng.uniform(size=300) < rate
        score = rng.normal(size=300) + 2 * wrong
        odds = np.exp(2 * score - 2)  # of N(2, 1) against N(0, 1)
        estimate = 0.5
        for _ in range(300):  # expectation-maximisation
            is_wrong = estimate * odds / (estimate * odds + 1 - estimate)
            estimate = is_wrong.mean()
        labels = np.arange(300) % 2
        low, high = noise_summary(Fitted(labels, labels, 1 - is_wrong)).interval
        covered.append(low <= wrong.mean() <= high)
    assert 0.92 < np.mean(covered) < 0.98


def test_interval_stays_within_zero_and_one():
    labels = np.arange(10) % 2
    for q in (0.001, 0.999):
        low, high = noise_summary(Fitted(labels, labels, np.full(10, q))).interval
        assert 0 <= low <= high <= 1
    # Probabilities that are all alike tell nothing of the labels ...
    assert noise_summary(Fitted(labels, labels, np.full(10, 0.5))).interval == (0, 1)
    # ... unless these all look right.
    low, high = noise_summary(Fitted(labels, labels, np.full(10, 1 - 1e-9))).interval
    assert low == 0 and high < 0.001
    certain = noise_summary(Fitted(labels, labels, np.ones(10)))
    assert certain.interval == (0, 0)
    assert len(certain.confused_pairs) == 0
    assert "0 of 10 labels look wrong" in repr(certain)
    assert "there may be more" not in repr(certain)


def test_matrix_of_the_channel(blobs):
    model = NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, blobs.y)
    summary = noise_summary(make_pipeline(StandardScaler(), model))
    np.testing.assert_array_equal(
        summary.transition_matrix, model.noise_filter_.transition_matrix_
    )
    assert summary.noise_rate == pytest.approx(model.noise_filter_.noise_rate_)
    assert summary.noise_rate == pytest.approx(blobs.is_wrong.mean(), abs=0.05)


def test_printed(found):
    text = repr(noise_summary(found))
    assert text.splitlines()[0].endswith("of 39 labels look wrong")
    rate = 100 * (1 - found.clean_proba_[:39].mean())
    assert f"estimated share of wrong labels: {rate:.1f}% (" in text
    assert "there may be more: mistakes that depend on the sample" in text
    first = noise_summary(found).confused_pairs.iloc[0]
    arrow = f"  {first['given_label']} -> {first['suggested_label']}: "
    assert f"{arrow}{first['n_samples']}\n" in text
    assert text.endswith("and 1 more pairs")


def test_what_has_not_looked_is_refused(blobs):
    model = LinearProbing(lp_epochs=1, device="cpu").fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match="LinearProbing has not looked for wrong"):
        noise_summary(model)
    with pytest.raises(NotFittedError):
        noise_summary(NoiseFilteredClassifier())


def test_without_pandas_the_extra_is_named(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-turn\[plots\]'"):
        noise_summary(found)


def test_what_is_not_ruled_out_and_how_well_labels_are_predicted_are_printed(found):
    found = copy.copy(found)
    found.clean_mask_ = np.ones(40, dtype=bool)
    found.clean_proba_ = np.ones(40)
    found.noise_filter_ = SimpleNamespace(
        noise_rate_interval_=(0.0, 0.3), agreement_=0.625
    )
    summary = noise_summary(found)
    assert summary.interval == (0.0, 0.3)
    assert summary.agreement == 0.625
    printed = str(summary)
    assert "0.0% (0.0% to 30.0%" in printed
    assert "none is flagged, but up to 30% may be wrong" in printed
    assert "predicts 62% of the given labels" in printed


def test_a_low_threshold_is_no_lack_of_evidence(blobs):
    filtered = NoiseFilteredClassifier(noise_filter=NoiseChannelFilter(tau=0.0), cv=5)
    summary = noise_summary(filtered.fit(blobs.X, blobs.y))
    assert summary.n_label_issues == 0
    assert summary.noise_rate > 0.1
    assert "none is flagged" not in str(summary)


@pytest.mark.parametrize(
    "method",
    [
        *(cls(lp_epochs=3) for cls in (CORES, ELRPlus, UNICON)),
        NoiseFilteredClassifier(noise_filter=CORESNoiseFilter()),
    ],
    ids=lambda method: type(method).__name__,
)
def test_scores_that_are_no_probabilities_give_no_interval(method, blobs, tmp_path):
    clf = method.fit(blobs.X, blobs.y)
    summary = noise_summary(clf)
    share = 1 - clf.clean_mask_.mean()
    expected = getattr(clf, "noise_filter_", SimpleNamespace(noise_rate_=share))
    assert summary.noise_rate == pytest.approx(expected.noise_rate_)
    assert np.isnan(summary.interval).all()
    assert summary.per_class[["lower", "upper"]].isna().all(axis=None)
    issues = pd.Series(~clf.clean_mask_).groupby(blobs.y).mean()
    np.testing.assert_allclose(summary.per_class["noise_rate"], issues)
    assert "its scores are no probabilities" in str(summary)
    page = export_report(clf, blobs.X, blobs.y, tmp_path / "report.html")
    assert '"interval":null' in page.read_text()


@pytest.mark.parametrize(("n_rare", "told"), [(20, True), (90, False)])
def test_what_unequal_labels_hide_is_told(n_rare, told):
    labels = np.repeat(["cat", "rat"], [100, n_rare])
    summary = noise_summary(Fitted(labels, labels, np.full(len(labels), 0.99)))
    assert ("often missed may not show" in str(summary)) is told


def test_what_was_skipped_first_moves_nothing():
    """The first sample could not be read; the others are a, b, b, b."""
    given, suggested = list("babbb"), list("bbbba")
    summary = noise_summary(Fitted(given, suggested, [0, 0.1, 0.9, 0.9, 0.2], [0]))
    assert summary.noise_rate == pytest.approx(1 - np.mean([0.1, 0.9, 0.9, 0.2]))
    assert summary.per_class["n_label_issues"].tolist() == [1, 1]
    assert summary.n_label_issues == 2
    pairs = summary.confused_pairs[["given_label", "suggested_label"]]
    assert sorted(map(tuple, pairs.to_numpy())) == [("a", "b"), ("b", "a")]
    # Rows are true labels: a was given as b; b as a once and as b twice.
    np.testing.assert_allclose(summary.transition_matrix, [[0, 1], [1 / 3, 2 / 3]])
