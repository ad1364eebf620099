"""What a noise filter is: filters of one's own, and how mistakes in them are told."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_turn import (
    GMMNoiseFilter,
    NoiseChannelFilter,
    NoiseFilteredClassifier,
)
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.selection import CORESNoiseFilter, FINENoiseFilter
from sklearn_turn.selection.protocol import (
    check_log_proba,
    check_noise_filter,
    fit_filter,
    make_filter,
)


class SmallLoss(BaseEstimator):
    """A known share of the labels, those with the lowest losses, is clean."""

    def __init__(self, share=0.7):
        self.share = share

    def fit(self, X, y):
        rank = X[:, 0].argsort().argsort() / len(X)
        self.clean_proba_ = 1 - rank
        self.clean_mask_ = rank < self.share
        return self


class Agreement(BaseEstimator):
    """A label is clean when it is the most probable one."""

    evidence = "log_proba"

    def fit(self, X, y):
        classes, codes = np.unique(y, return_inverse=True)
        self.clean_proba_ = np.exp(X[np.arange(len(y)), codes])
        self.clean_mask_ = classes[X.argmax(axis=1)] == y
        return self


class Neighbors(BaseEstimator):
    """A label is clean when most of the nearest samples share it."""

    evidence = "features"

    def __init__(self, n_neighbors=10):
        self.n_neighbors = n_neighbors

    def fit(self, X, y):
        search = NearestNeighbors(n_neighbors=self.n_neighbors).fit(X)
        neighbors = search.kneighbors(return_distance=False)
        self.clean_proba_ = (y[neighbors] == y[:, None]).mean(axis=1)
        self.clean_mask_ = self.clean_proba_ > 0.5
        return self


@pytest.mark.parametrize("noise_filter", [SmallLoss(), Agreement(), Neighbors()])
@pytest.mark.parametrize("names", [False, True], ids=["numbers", "strings"])
def test_a_filter_of_ones_own(noise_filter, names, blobs):
    y = np.array(["red", "green", "blue"])[blobs.y] if names else blobs.y
    clf = NoiseFilteredClassifier(noise_filter=noise_filter).fit(blobs.X, y)
    found = ~clf.clean_mask_
    assert blobs.is_wrong[found].mean() > 0.7
    assert found[blobs.is_wrong].mean() > 0.7
    assert clf.noise_filter_ is not noise_filter
    assert not hasattr(noise_filter, "clean_mask_")


class Recorder(BaseEstimator):
    """Keeps what it was fitted on, and selects everything."""

    def __init__(self, evidence="losses"):
        self.evidence = evidence

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        self.clean_mask_ = np.ones(len(y), dtype=bool)
        self.clean_proba_ = np.ones(len(y))
        return self


@pytest.mark.filterwarnings("ignore:No label is flagged")
@pytest.mark.parametrize("kind", ["losses", "log_proba", "features"])
def test_a_filter_is_given_the_evidence_it_asks_for(kind, blobs):
    model = LogisticRegression()
    y = np.array(["b", "c", "a"])[blobs.y]
    clf = NoiseFilteredClassifier(model, Recorder(kind), cv=None).fit(blobs.X, y)
    proba = LogisticRegression().fit(blobs.X, y).predict_proba(blobs.X)
    codes = np.searchsorted(["a", "b", "c"], y)
    expected = {
        "losses": -np.log(proba[np.arange(300), codes].clip(0.005))[:, None],
        "log_proba": np.log(proba),
        "features": blobs.X,
    }
    np.testing.assert_allclose(clf.noise_filter_.X_, expected[kind])
    np.testing.assert_array_equal(clf.noise_filter_.y_, y)


def test_names_and_thresholds():
    assert isinstance(make_filter("gmm", None), GMMNoiseFilter)
    assert make_filter("gmm", None).tau == GMMNoiseFilter().tau
    assert make_filter("gmm", 0.3).tau == 0.3
    assert make_filter("channel", None).tau == NoiseChannelFilter().tau
    assert make_filter("channel", 0.3).tau == 0.3
    own = SmallLoss()
    assert make_filter(own, 0.3) is own
    with pytest.raises(ValueError, match="noise_filter='gm' is unknown"):
        make_filter("gm", None)


class NoParams:
    def fit(self, X, y):
        return self


class ChangesItsParameter(SmallLoss):
    def __init__(self, share=None):
        self.share = [share]


class NoFit(BaseEstimator):
    pass


class Votes(ClassifierMixin, Neighbors):
    """A filter that can predict as well, and says what it is."""

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize(
    "noise_filter, error, message",
    [
        (SmallLoss, TypeError, r"the class SmallLoss; pass an instance: SmallLoss\(\)"),
        (NoFit(), TypeError, "has no fit"),
        ("gmm", TypeError, "has no fit"),
        (NoParams(), TypeError, "NoParams cannot be cloned.*BaseEstimator"),
        (ChangesItsParameter(), TypeError, "ChangesItsParameter cannot be cloned"),
        (LogisticRegression(), TypeError, "LogisticRegression has predict.*classifier"),
        (make_pipeline(LogisticRegression()), TypeError, "Pipeline has predict"),
        (StandardScaler(), TypeError, "StandardScaler has transform.*transformer"),
        (LocalOutlierFactor(), TypeError, "LocalOutlierFactor has fit_predict"),
        (TSNE(), TypeError, "TSNE has fit_transform"),
        (KernelDensity(), TypeError, "KernelDensity has score_samples"),
        (Recorder("loss"), ValueError, "Recorder.evidence is 'loss'.*'log_proba'"),
        (GMMNoiseFilter(tau=2), ValueError, "The 'tau' parameter of GMMNoiseFilter"),
    ],
)
def test_what_is_no_noise_filter_is_refused(noise_filter, error, message):
    with pytest.raises(error, match=message):
        check_noise_filter(noise_filter)


@pytest.mark.parametrize(
    "noise_filter",
    [SmallLoss(), Agreement(), Votes(), GMMNoiseFilter(), NoiseChannelFilter()],
)
def test_what_is_a_noise_filter_is_accepted(noise_filter):
    check_noise_filter(noise_filter)


@pytest.mark.parametrize("noise_filter", [SmallLoss, LogisticRegression()])
def test_refused_before_any_fit(noise_filter, blobs):
    class Untouched(LogisticRegression):
        def fit(self, X, y):
            raise AssertionError

    with pytest.raises((TypeError, ValueError)):
        NoiseFilteredClassifier(Untouched(), noise_filter).fit(blobs.X, blobs.y)


class Fixed(BaseEstimator):
    """Sets what it was given."""

    def __init__(self, mask=None, proba=None):
        self.mask = mask
        self.proba = proba

    def fit(self, X, y):
        if self.mask is not None:
            self.clean_mask_ = self.mask
        if self.proba is not None:
            self.clean_proba_ = self.proba
        return self


YES, HALF = np.ones(4, dtype=bool), np.full(4, 0.5)
BAD_RESULTS = {
    "no mask": (None, HALF, TypeError, "did not set clean_mask_"),
    "no probabilities": (YES, None, TypeError, "did not set clean_proba_"),
    "short mask": (YES[:3], HALF, ValueError, r"clean_mask_ must be.*\(4,\).*\(3,\)"),
    "numbers": (YES * 1.0, HALF, ValueError, "clean_mask_.*dtype bool.*float64"),
    "indices": (np.array([0, 2]), HALF, ValueError, "clean_mask_.*dtype bool.*int64"),
    "list": ([True] * 4, HALF, ValueError, "clean_mask_ must be.*it is a list"),
    "column": (YES, HALF[:, None], ValueError, r"clean_proba_ must be.*\(4, 1\)"),
    "percent": (YES, HALF * 100, ValueError, "4 of 4 values.*index 0: 50"),
    "negative": (YES, HALF * [1, -1, 1, 1], ValueError, "1 of 4 values.*index 1: -0.5"),
    "NaN": (YES, HALF * [1, 1, np.nan, 1], ValueError, "1 of 4 values.*index 2: nan"),
    "nothing": (~YES, HALF, ValueError, "none of the 4 labels as clean.*threshold"),
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_a_wrong_result_is_told_by_its_name(case):
    mask, proba, error, message = BAD_RESULTS[case]
    evidence = {"losses": np.ones((4, 1))}
    with pytest.raises(error, match=f"Fixed.*{message}"):
        fit_filter(Fixed(mask, proba), evidence, np.array([0, 1, 0, 1]))


class Suggests(Fixed):
    """Sets what is optional as well."""

    def __init__(self, **found):
        super().__init__(YES, HALF)
        self.found = found

    def get_params(self, deep=True):
        return self.found

    def fit(self, X, y):
        vars(self).update(self.found)
        return super().fit(X, y)


THIRDS = np.full((4, 3), 1 / 3)
BAD_SUGGESTIONS = {
    "list": ("suggested_labels_", [0, 1, 0, 1], r"ndarray of shape \(4,\),.*a list"),
    "short": ("suggested_labels_", np.zeros(3), r"shape \(4,\),.*shape \(3,\)"),
    "columns": ("label_proba_", THIRDS[:, :2], r"shape \(4, 3\).*shape \(4, 2\)"),
    "rows": ("label_proba_", THIRDS[:3], r"shape \(4, 3\).*shape \(3, 3\)"),
    "percent": ("label_proba_", THIRDS * 99, "12 of 12 values.*index 0, 0: 33"),
}


@pytest.mark.parametrize("case", BAD_SUGGESTIONS)
def test_a_wrong_suggestion_is_told_by_its_name(case):
    attribute, value, message = BAD_SUGGESTIONS[case]
    evidence = {"losses": np.ones((4, 1)), "log_proba": np.log(THIRDS)}
    with pytest.raises(ValueError, match=f"Suggests.{attribute} must.*{message}"):
        fit_filter(Suggests(**{attribute: value}), evidence, np.array([0, 1, 0, 2]))


def test_probabilities_of_the_classes_sum_to_one():
    evidence = {"losses": np.ones((4, 1)), "log_proba": np.log(THIRDS)}
    codes = np.array([0, 1, 0, 2])
    none = np.vstack([THIRDS[:2], np.zeros((2, 3))])
    told = "rows of Suggests.label_proba_ must sum to one, but 2 of 4.*sample 2 is 0"
    with pytest.raises(ValueError, match=told):
        fit_filter(Suggests(label_proba_=none), evidence, codes)
    half = THIRDS.astype(np.float16)  # 0.3333 * 3
    assert fit_filter(Suggests(label_proba_=half), evidence, codes)


def test_nothing_selected_where_labels_are_corrected_is_warned_of():
    evidence = {"losses": np.ones((4, 1))}
    told = "Fixed selected none of the 4.*threshold is too high.*as they are given"
    with pytest.warns(CleansingWarning, match=told):
        fit_filter(Fixed(~YES, HALF), evidence, np.arange(4) % 2, needs_clean=False)


class InPlace(BaseEstimator):
    """A filter that computes in what it was given."""

    def __init__(self, evidence="features", what="X"):
        self.evidence = evidence
        self.what = what

    def fit(self, X, y):
        given = X if self.what == "X" else y
        given *= 0
        return self


@pytest.mark.parametrize("what", ["X", "y"])
@pytest.mark.parametrize("kind", ["losses", "log_proba", "features"])
def test_a_filter_cannot_change_what_it_was_given(kind, what):
    evidence = {kind: np.ones((4, 2))}
    y = np.array([1, 2, 1, 2])
    with pytest.raises(ValueError, match="read-only"):
        fit_filter(InPlace(kind, what), evidence, y)
    np.testing.assert_array_equal(evidence[kind], 1)
    assert y.tolist() == [1, 2, 1, 2]
    assert evidence[kind].flags.writeable and y.flags.writeable


def test_nothing_selected_from_losses_that_are_not_finite_is_a_diverged_training():
    evidence = {"losses": np.full((4, 1), np.nan)}
    with pytest.raises(ValueError, match="lower the learning rate"):
        fit_filter(Fixed(~YES, HALF), evidence, np.array([0, 1, 0, 1]))


def test_single_precision_probabilities_and_rounding_are_accepted():
    proba = np.array([1 + 1e-7, -1e-9, 0.5, 1], dtype=np.float32)
    evidence = {"losses": np.ones((4, 1))}
    fitted = fit_filter(Fixed(YES, proba), evidence, np.array([0, 1, 0, 1]))
    np.testing.assert_array_equal(fitted.clean_proba_, proba)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 1000])
def test_log_probabilities_of_every_precision_are_accepted(dtype, n_classes):
    logits = np.random.RandomState(0).normal(size=(50, n_classes))
    log_proba = log_softmax(logits, axis=1).astype(dtype)
    checked = check_log_proba(log_proba, n_classes)
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, log_proba)


def test_a_list_with_certain_rows_is_taken_for_log_probabilities():
    checked = check_log_proba([[0.0, -np.inf], [np.log(0.5), np.log(0.5)]], 2)
    assert checked.shape == (2, 2)


def test_selection_needs_no_torch():
    code = (
        "import sys\n"
        "from sklearn_turn import GMMNoiseFilter, NoiseChannelFilter\n"
        "from sklearn_turn import NoiseFilteredClassifier, metrics, noise\n"
        "import sklearn_turn.selection.protocol as protocol\n"
        "protocol.make_filter('gmm', None), protocol.make_filter('channel', None)\n"
        "NoiseFilteredClassifier(cv=2).fit([[0.0], [1], [0], [1]], [0, 1, 0, 1])\n"
        "heavy = {'torch', 'timm', 'torchvision', 'skorch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "noise_filter",
    [GMMNoiseFilter(), NoiseChannelFilter(), CORESNoiseFilter(), FINENoiseFilter()],
    ids=lambda noise_filter: type(noise_filter).__name__,
)
def test_large_nullable_labels_do_not_merge(noise_filter):
    ids = np.repeat([2**53, 2**53 + 1], 20)
    rng = np.random.RandomState(0)
    X = log_softmax(rng.normal(size=(40, 2)), axis=1)
    fitted = noise_filter.fit(X, pd.Series(ids, dtype="Int64"))
    assert fitted.classes_.tolist() == [2**53, 2**53 + 1]
