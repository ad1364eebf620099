"""Fit, filter, refit: label filtering inside plain scikit-learn."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier

from sklearn_turn import GMMNoiseFilter, NoiseChannelFilter, NoiseFilteredClassifier
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.noise import pair_flip, symmetric


class Recorder(ClassifierMixin, BaseEstimator):
    """Logistic regression that remembers the rows each fit was given."""

    rows: list[np.ndarray] = []

    def fit(self, X, y):
        self.rows.append(np.asarray(X).copy())
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


def test_rows_that_are_flagged_are_dropped(blobs, monkeypatch):
    monkeypatch.setattr(Recorder, "rows", [])
    clf = NoiseFilteredClassifier(Recorder(), cv=None).fit(blobs.X, blobs.y)
    first, last = Recorder.rows
    np.testing.assert_array_equal(first, blobs.X)
    np.testing.assert_array_equal(last, blobs.X[clf.clean_mask_])
    assert 150 < len(last) < 250


def test_final_classifier_is_the_one_fitted_by_hand(blobs):
    base = LogisticRegression()
    clf = NoiseFilteredClassifier(base, "gmm", cv=None).fit(blobs.X, blobs.y)
    proba = clone(base).fit(blobs.X, blobs.y).predict_proba(blobs.X)
    losses = -np.log(proba[np.arange(300), blobs.y])
    np.testing.assert_allclose(clf.losses_, losses)
    mask = GMMNoiseFilter().fit(losses[:, None], blobs.y).clean_mask_
    by_hand = clone(base).fit(blobs.X[mask], blobs.y[mask])
    np.testing.assert_allclose(
        clf.predict_proba(blobs.X), by_hand.predict_proba(blobs.X)
    )
    np.testing.assert_allclose(
        clf.decision_function(blobs.X), by_hand.decision_function(blobs.X)
    )


def test_wrong_labels_are_found_and_their_removal_helps(blobs):
    clf = NoiseFilteredClassifier().fit(blobs.X, blobs.y)
    found = ~clf.clean_mask_
    assert blobs.is_wrong[found].mean() > 0.9
    assert found[blobs.is_wrong].mean() > 0.9
    truth = np.eye(3)[blobs.y_true]
    plain = LogisticRegression().fit(blobs.X, blobs.y).predict_proba(blobs.X)
    brier = ((clf.predict_proba(blobs.X) - truth) ** 2).sum(axis=1).mean()
    assert brier < 0.5 * ((plain - truth) ** 2).sum(axis=1).mean()


def test_labels_may_be_strings(blobs):
    names = np.array(["red", "green", "blue"])
    clf = NoiseFilteredClassifier().fit(blobs.X, names[blobs.y])
    assert clf.classes_.tolist() == ["blue", "green", "red"]
    assert (clf.predict(blobs.X) == names[blobs.y_true]).mean() > 0.9
    assert clf.clean_mask_[~blobs.is_wrong].mean() > 0.9


@pytest.mark.parametrize(
    "memoriser",
    [KNeighborsClassifier(1), DecisionTreeClassifier(random_state=0)],
    ids=["nearest", "tree"],
)
def test_memorising_classifiers_need_cv(memoriser, blobs):
    with pytest.warns(CleansingWarning, match="certain of each label.*cv=5"):
        blind = NoiseFilteredClassifier(memoriser, cv=None).fit(blobs.X, blobs.y)
    assert blind.clean_mask_.all()
    cv = StratifiedKFold(5, shuffle=True, random_state=0)
    sighted = NoiseFilteredClassifier(memoriser, "gmm", cv=cv).fit(blobs.X, blobs.y)
    found = ~sighted.clean_mask_
    assert found[blobs.is_wrong].mean() > 0.7
    assert blobs.is_wrong[found].mean() > blobs.is_wrong.mean() + 0.1
    gain = sighted.score(blobs.X, blobs.y_true) - blind.score(blobs.X, blobs.y_true)
    assert gain > 0.05


def test_cv_losses_come_from_models_that_did_not_see_the_sample(blobs):
    cv = StratifiedKFold(3)
    clf = NoiseFilteredClassifier(LogisticRegression(), cv=cv).fit(blobs.X, blobs.y)
    for train, test in cv.split(blobs.X, blobs.y):
        model = LogisticRegression().fit(blobs.X[train], blobs.y[train])
        likelihood = model.predict_proba(blobs.X[test])
        expected = -np.log(likelihood[np.arange(len(test)), blobs.y[test]])
        np.testing.assert_allclose(clf.losses_[test], expected)


@pytest.mark.parametrize("cv", [None, 5], ids=["seen", "out of fold"])
def test_the_classifier_is_given_the_users_labels(cv, blobs):
    y = np.array(["red", "green", "blue"])[blobs.y]
    weighted = LogisticRegression(class_weight={"red": 1, "green": 2, "blue": 3})
    clf = NoiseFilteredClassifier(weighted, "gmm", cv=cv).fit(blobs.X, y)
    assert clf.clean_mask_[~blobs.is_wrong].mean() > 0.9


def test_test_folds_must_be_a_partition(blobs):
    cv = ShuffleSplit(5, random_state=0)
    with pytest.raises(ValueError, match=r"ShuffleSplit.*must hold each sample once"):
        NoiseFilteredClassifier(cv=cv).fit(blobs.X, blobs.y)


class LowestHalf(BaseEstimator):
    """A filter that selects the half of the labels with the lower losses."""

    def fit(self, X, y):
        self.clean_mask_ = X[:, 0] <= np.median(X[:, 0])
        self.clean_proba_ = self.clean_mask_.astype(float)
        return self


def test_custom_filter_is_used(blobs):
    half = LowestHalf()
    clf = NoiseFilteredClassifier(noise_filter=half).fit(blobs.X, blobs.y)
    assert clf.clean_mask_.sum() == 150
    assert clf.losses_[clf.clean_mask_].max() < clf.losses_[~clf.clean_mask_].min()
    assert clf.noise_filter_ is not half and not hasattr(half, "clean_mask_")


def test_inside_a_pipeline(blobs):
    pipeline = make_pipeline(
        StandardScaler(), NoiseFilteredClassifier(LogisticRegression())
    ).fit(blobs.X, blobs.y)
    by_hand = NoiseFilteredClassifier(LogisticRegression()).fit(
        StandardScaler().fit_transform(blobs.X), blobs.y
    )
    np.testing.assert_allclose(
        pipeline.predict_proba(blobs.X),
        by_hand.predict_proba(StandardScaler().fit_transform(blobs.X)),
    )
    assert pipeline[-1].n_features_in_ == 2


def test_around_a_pipeline(blobs):
    inner = make_pipeline(StandardScaler(), SVC(probability=False))
    with pytest.raises(ValueError, match="'estimator' parameter"):
        NoiseFilteredClassifier(inner).fit(blobs.X, blobs.y)
    inner = make_pipeline(StandardScaler(), LogisticRegression())
    clf = NoiseFilteredClassifier(inner).fit(blobs.X, blobs.y)
    assert clf.score(blobs.X, blobs.y_true) > 0.9


def test_grid_search_reaches_both_inner_estimators(blobs):
    search = GridSearchCV(
        NoiseFilteredClassifier(LogisticRegression(), GMMNoiseFilter()),
        {"noise_filter__tau": [0.3, 0.9], "estimator__C": [1e-3, 1.0]},
        cv=3,
        error_score="raise",
    ).fit(blobs.X, blobs.y)
    best, chosen = search.best_estimator_, search.best_params_
    assert chosen["noise_filter__tau"] == best.noise_filter_.tau
    assert chosen["estimator__C"] == best.estimator_.C
    assert search.score(blobs.X, blobs.y_true) > 0.9


def test_cross_validate(blobs):
    scores = cross_validate(
        NoiseFilteredClassifier(), blobs.X, blobs.y, cv=3, error_score="raise"
    )
    # 70 % of the held-out labels are right.
    assert scores["test_score"].mean() == pytest.approx(0.7, abs=0.1)


def test_methods_of_the_classifier_are_passed_on(blobs):
    nearest = NoiseFilteredClassifier(KNeighborsClassifier()).fit(blobs.X, blobs.y)
    assert not hasattr(nearest, "decision_function")
    with pytest.raises(NotFittedError):
        NoiseFilteredClassifier().predict(blobs.X)


def test_feature_names_are_passed_on(blobs):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(blobs.X, columns=["width", "height"])
    clf = NoiseFilteredClassifier().fit(frame, blobs.y)
    assert clf.feature_names_in_.tolist() == ["width", "height"]
    assert (clf.predict(frame) == blobs.y_true).mean() > 0.9


def test_clean_data_is_hardly_touched():
    X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.8)
    clf = NoiseFilteredClassifier().fit(X, y)
    assert clf.clean_mask_.mean() > 0.9


def test_inner_estimators_are_not_fitted_in_place(blobs):
    base, noise_filter = LogisticRegression(), GMMNoiseFilter()
    NoiseFilteredClassifier(base, noise_filter).fit(blobs.X, symmetric(blobs.y, 0.1))
    assert not hasattr(base, "coef_")
    assert not hasattr(noise_filter, "clean_mask_")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_labels_are_refused_before_any_fit(missing, blobs, monkeypatch):
    monkeypatch.setattr(Recorder, "rows", [])
    y = np.array(["a", "b", "c"], dtype=object)[blobs.y]
    y[3] = missing
    with pytest.raises(ValueError, match="missing"):
        NoiseFilteredClassifier(Recorder()).fit(blobs.X, y)
    assert Recorder.rows == []


def test_forest_that_rules_classes_out_does_not_blind_the_filter():
    # A forest gives many given labels a probability of exactly zero, and its few
    # largest losses must not stretch the scale until all others look alike.
    X, y_true = load_digits(return_X_y=True)
    y = symmetric(y_true, 0.4, random_state=0)
    forest = RandomForestClassifier(30, random_state=0)
    clf = NoiseFilteredClassifier(forest, cv=3).fit(X, y)
    found, is_wrong = ~clf.clean_mask_, y != y_true
    assert is_wrong[found].mean() > 0.75
    assert found[is_wrong].mean() > 0.8


class Without(BaseEstimator):
    """A filter that selects everything but some classes."""

    def __init__(self, classes=()):
        self.classes = classes

    def fit(self, X, y):
        self.clean_mask_ = ~np.isin(y, self.classes)
        self.clean_proba_ = self.clean_mask_.astype(float)
        return self


def test_a_class_that_loses_all_its_samples_keeps_its_column(blobs):
    clf = NoiseFilteredClassifier(LogisticRegression(), Without([1]))
    with pytest.warns(CleansingWarning, match="selected no sample of class 1:"):
        clf.fit(blobs.X, blobs.y)
    assert clf.classes_.tolist() == [0, 1, 2]
    kept = blobs.y != 1
    by_hand = LogisticRegression().fit(blobs.X[kept], blobs.y[kept])
    proba = clf.predict_proba(blobs.X)
    np.testing.assert_allclose(proba[:, [0, 2]], by_hand.predict_proba(blobs.X))
    np.testing.assert_array_equal(proba[:, 1], 0)
    decision = clf.decision_function(blobs.X)
    assert decision.shape == (300, 3)
    np.testing.assert_array_equal(decision[:, 2], by_hand.decision_function(blobs.X))
    np.testing.assert_array_equal(
        clf.classes_[decision.argmax(axis=1)], clf.predict(blobs.X)
    )
    np.testing.assert_array_equal(
        clf.classes_[proba.argmax(axis=1)], clf.predict(blobs.X)
    )


@pytest.mark.filterwarnings("ignore:The `probability` parameter was deprecated")
@pytest.mark.parametrize(
    "around",
    [
        lambda svc: svc,
        lambda svc: make_pipeline(StandardScaler(), svc),
        lambda svc: GridSearchCV(make_pipeline(svc), {"svc__C": [1.0]}, cv=2),
    ],
    ids=["alone", "in a pipeline", "in a search"],
)
def test_decisions_of_pairs_of_classes_are_none_of_a_class(around):
    """With three classes there are three pairs."""
    X, y = make_blobs(120, centers=4, random_state=0)
    svc = SVC(probability=True, random_state=0, decision_function_shape="ovo")
    clf = NoiseFilteredClassifier(around(svc), Without([1]))
    with pytest.warns(CleansingWarning, match="selected no sample"):
        clf.fit(X, y)
    with pytest.raises(ValueError, match="Use decision_function_shape='ovr'"):
        clf.decision_function(X)


@pytest.mark.parametrize("fitted_before", [False, True])
def test_after_a_fit_that_failed_nothing_is_fitted(fitted_before, blobs):
    clf = NoiseFilteredClassifier()
    if fitted_before:
        clf.fit(blobs.X, blobs.y)
    clf.set_params(noise_filter=Without(["red", "green", "blue"]))
    with pytest.raises(ValueError, match="none of the 300 labels"):
        clf.fit(blobs.X, np.array(["red", "green", "blue"])[blobs.y])
    with pytest.raises(NotFittedError):
        clf.predict(blobs.X)
    assert not [name for name in vars(clf) if name.endswith("_")]


def test_no_classifier_is_fitted_on_one_class(blobs):
    names = np.array(["red", "green", "blue"])[blobs.y]
    clf = NoiseFilteredClassifier(noise_filter=Without(["red", "blue"]))
    with pytest.raises(
        ValueError, match="Without selected samples of class 'green' only"
    ):
        clf.fit(blobs.X, names)


def test_a_filter_that_selects_nothing(blobs):
    clf = NoiseFilteredClassifier(noise_filter=Without([0, 1, 2]))
    with pytest.raises(ValueError, match="Without selected none of the 300 labels"):
        clf.fit(blobs.X, blobs.y)


def test_a_fold_without_a_class_is_refused_before_any_fit(blobs, monkeypatch):
    monkeypatch.setattr(Recorder, "rows", [])
    order = np.argsort(blobs.y_true, kind="stable")
    names = np.array(["red", "green", "blue"])[blobs.y_true]
    clf = NoiseFilteredClassifier(Recorder(), cv=KFold(3))
    with pytest.raises(ValueError, match="no training sample of class 'red'"):
        clf.fit(blobs.X[order], names[order])
    assert Recorder.rows == []
    once = np.r_[blobs.y[:50], 7]
    with pytest.raises(ValueError, match="no training sample of class 7"):
        NoiseFilteredClassifier(cv=2).fit(blobs.X[:51], once)


def test_the_channel_by_its_name(blobs):
    cv = StratifiedKFold(3)
    clf = NoiseFilteredClassifier(LogisticRegression(), "channel", cv=cv)
    clf.fit(blobs.X, blobs.y)
    log_proba = cross_val_predict(
        LogisticRegression(), blobs.X, blobs.y, cv=cv, method="predict_log_proba"
    )
    by_hand = NoiseChannelFilter().fit(log_proba, blobs.y)
    np.testing.assert_allclose(clf.clean_proba_, by_hand.clean_proba_, atol=1e-6)
    assert clf.noise_filter_.noise_rate_ == pytest.approx(0.3, abs=0.05)
    assert blobs.is_wrong[~clf.clean_mask_].mean() > 0.9
    assert (~clf.clean_mask_)[blobs.is_wrong].mean() > 0.9


def test_the_channel_takes_probabilities_of_zero(blobs):
    votes = KNeighborsClassifier(15)
    assert (votes.fit(blobs.X, blobs.y).predict_proba(blobs.X) == 0).any()
    clf = NoiseFilteredClassifier(votes, "channel", cv=3).fit(blobs.X, blobs.y)
    assert np.isfinite(clf.clean_proba_).all()
    assert blobs.is_wrong[~clf.clean_mask_].mean() > 0.8


class Far(BaseEstimator):
    """A filter of features: samples far from the origin are flagged."""

    evidence = "features"

    def fit(self, X, y):
        self.clean_mask_ = np.abs(X).max(axis=1) < 5
        self.clean_proba_ = self.clean_mask_.astype(float)
        return self


def test_features_are_what_the_classifier_is_given(blobs):
    clf = NoiseFilteredClassifier(noise_filter=Far()).fit(blobs.X, blobs.y)
    expected = np.abs(blobs.X).max(axis=1) < 5
    np.testing.assert_array_equal(clf.clean_mask_, expected)


@pytest.mark.parametrize(
    "X",
    [
        [["a few words"], ["and more"], ["others"], ["last"]],
        np.zeros((4, 2, 2)),
        ["a", "b", "c", "d"],
    ],
    ids=["text", "images", "strings"],
)
def test_features_must_be_numbers(X):
    class Anything(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            raise AssertionError

        def predict_proba(self, X):
            raise AssertionError

    with pytest.raises(
        ValueError, match=r"numeric array of shape \(n_samples, width\)"
    ):
        NoiseFilteredClassifier(Anything(), Far()).fit(X, [0, 1, 0, 1])


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are its features."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return X


def test_with_many_classes_right_and_wrong_labels_differ_below_the_usual_floor():
    # A thousand classes: right labels have a probability of .0045, wrong ones .0006.
    n_classes = 1000
    y = np.repeat(np.arange(n_classes), 2)
    is_wrong = np.arange(2000) % 10 == 0
    p = np.where(is_wrong, 0.0006, 0.0045)
    X = np.repeat(((1 - p) / (n_classes - 1))[:, None], n_classes, axis=1)
    X[np.arange(2000), y] = p
    clf = NoiseFilteredClassifier(Given(), GMMNoiseFilter(scope="global")).fit(X, y)
    np.testing.assert_allclose(clf.losses_, -np.log(p))
    np.testing.assert_array_equal(clf.clean_mask_, ~is_wrong)


def test_losses_have_a_ceiling():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.4, 0.6]])
    clf = NoiseFilteredClassifier(Given(), Without()).fit(X, [0, 1, 1, 0])
    np.testing.assert_allclose(clf.losses_, -np.log([1, 1, 0.005, 0.4]))


def test_the_truth_value_of_an_estimator_is_never_taken(blobs):
    # An ensemble that is not fitted has no length.
    ensemble = BaggingClassifier(LogisticRegression(), 3, random_state=0)
    with pytest.raises(AttributeError):
        len(ensemble)
    clf = NoiseFilteredClassifier(ensemble).fit(blobs.X, blobs.y)
    assert clf.score(blobs.X, blobs.y_true) > 0.9

    class Empty(LowestHalf):
        def __len__(self):
            return 0

    clf = NoiseFilteredClassifier(noise_filter=Empty()).fit(blobs.X, blobs.y)
    assert clf.clean_mask_.sum() == 150


def test_labels_in_a_column_are_taken_with_scikit_learns_warning(blobs):
    plain = NoiseFilteredClassifier().fit(blobs.X, blobs.y)
    with pytest.warns(DataConversionWarning):
        column = NoiseFilteredClassifier().fit(blobs.X, blobs.y[:, None])
    np.testing.assert_array_equal(column.clean_mask_, plain.clean_mask_)
    np.testing.assert_array_equal(column.predict(blobs.X), plain.predict(blobs.X))


def test_labels_must_be_given(blobs):
    with pytest.raises(ValueError, match="requires y to be passed"):
        NoiseFilteredClassifier().fit(blobs.X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        NoiseFilteredClassifier().fit(blobs.X, blobs.y[:-1])


class KnowsMore(LogisticRegression):
    """Has a column for every label there might be, first or last."""

    def __init__(self, known=(0, 1, 2, 3)):
        super().__init__()
        self.known = known

    def predict_proba(self, X):
        seen, self.classes_ = self.classes_, self.seen_
        proba = super().predict_proba(X)
        self.classes_ = seen
        columns = np.zeros((len(X), 4))
        for column, label in zip(proba.T, self.seen_, strict=True):
            columns[:, self.known.index(label)] = column
        return columns

    def fit(self, X, y):
        super().fit(X, y)
        self.seen_, self.classes_ = self.classes_, np.array(self.known)
        return self


@pytest.mark.parametrize("known", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 1, 0, 3)])
@pytest.mark.parametrize("codes", [(0, 1, 2), (0, 1, 3), (0, 2, 3)])
def test_columns_of_labels_that_are_not_there_are_left_out(known, codes, blobs):
    y = np.array(codes)[blobs.y]
    clf = NoiseFilteredClassifier(KnowsMore(known), "channel").fit(blobs.X, y)
    plain = NoiseFilteredClassifier(LogisticRegression(), "channel").fit(blobs.X, y)
    np.testing.assert_array_equal(clf.suggested_labels_, plain.suggested_labels_)
    np.testing.assert_allclose(clf.predict_proba(blobs.X), plain.predict_proba(blobs.X))


class OneTooMany(LogisticRegression):
    def predict_proba(self, X):
        proba = super().predict_proba(X)
        return np.column_stack([proba, np.zeros(len(X))])


def test_more_columns_than_classes_are_refused(blobs):
    clf = NoiseFilteredClassifier(OneTooMany(), "channel")
    with pytest.raises(ValueError, match=r"OneTooMany has 4 columns.*classes_ are 3"):
        clf.fit(blobs.X, blobs.y)


@pytest.mark.parametrize("noise_filter", ["gm", 3, LogisticRegression()])
def test_what_is_no_filter_is_refused(noise_filter, blobs):
    with pytest.raises((TypeError, ValueError), match="noise filter|noise_filter"):
        NoiseFilteredClassifier(noise_filter=noise_filter).fit(blobs.X, blobs.y)


class Reversed(LogisticRegression):
    """Its classes, and columns, are in the opposite order; that is legal."""

    def fit(self, X, y):
        super().fit(X, y)
        self.classes_ = self.classes_[::-1]
        return self

    def predict_proba(self, X):
        self.classes_ = self.classes_[::-1]
        proba = super().predict_proba(X)
        self.classes_ = self.classes_[::-1]
        return proba[:, ::-1]

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.mark.parametrize("cv", [None, 5], ids=["seen", "out of fold"])
def test_columns_follow_the_classes_whatever_the_estimators_order(cv, blobs):
    clf, plain = (
        NoiseFilteredClassifier(estimator, "channel", cv=cv).fit(blobs.X, blobs.y)
        for estimator in (Reversed(), LogisticRegression())
    )
    np.testing.assert_array_equal(clf.suggested_labels_, plain.suggested_labels_)
    np.testing.assert_array_equal(clf.clean_mask_, plain.clean_mask_)
    np.testing.assert_allclose(clf.predict_proba(blobs.X), plain.predict_proba(blobs.X))
    np.testing.assert_array_equal(clf.predict(blobs.X), plain.predict(blobs.X))


@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
def test_suggested_labels_are_better_than_given_ones(noise_filter, blobs):
    clf = NoiseFilteredClassifier(noise_filter=noise_filter).fit(blobs.X, blobs.y)
    np.testing.assert_array_equal(clf.given_labels_, blobs.y)
    right = clf.suggested_labels_ == blobs.y_true
    assert right.mean() > 0.9 > (blobs.y == blobs.y_true).mean()


def test_features_in_single_precision_find_as_many_labels():
    # Their classifiers give probabilities in single precision, with many zeros.
    rng = np.random.RandomState(1)
    y_true = rng.randint(10, size=1500)
    X = 0.8 * rng.normal(size=(10, 128))[y_true] + rng.normal(size=(1500, 128))
    y = symmetric(y_true, 0.05, random_state=0)
    clf = NoiseFilteredClassifier(LinearDiscriminantAnalysis(), "channel", cv=3)
    for dtype in (np.float32, np.float64):
        found = clf.fit(X.astype(dtype), y)
        assert found.noise_filter_.noise_rate_ == pytest.approx(0.05, abs=0.01)


class Knowing(ClassifierMixin, BaseEstimator):
    """Knows a class that is never labelled, in an order of its own, as a list."""

    def fit(self, X, y):
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = ["z", *self.model_.classes_[::-1]]
        return self

    def predict(self, X):
        return np.full(len(X), "z")

    def predict_proba(self, X):
        proba = self.model_.predict_proba(X)[:, ::-1]
        return np.column_stack([np.full(len(X), 0.25), 0.75 * proba])


@pytest.mark.parametrize("noise_filter", ["gmm", "channel"])
def test_a_class_that_is_known_but_not_labelled(noise_filter, blobs):
    names = np.array(["a", "b", "c"])
    clf = NoiseFilteredClassifier(Knowing(), noise_filter).fit(blobs.X, names[blobs.y])
    same = NoiseFilteredClassifier(LogisticRegression(), noise_filter)
    same.fit(blobs.X, names[blobs.y])
    np.testing.assert_allclose(clf.losses_, same.losses_)
    np.testing.assert_array_equal(clf.clean_mask_, same.clean_mask_)
    np.testing.assert_allclose(clf.predict_proba(blobs.X), same.predict_proba(blobs.X))
    np.testing.assert_array_equal(clf.predict(blobs.X), same.predict(blobs.X))


@pytest.mark.parametrize("known", [["cat", "dog"], ["dog", "cat"], ["ant", "fox"]])
def test_binary_decisions_agree_with_predictions(known, blobs):
    """Also of a classifier that knows other classes, or in another order."""

    class Fixed(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.array(known)
            return self

        def decision_function(self, X):
            return X[:, 0]

        def predict_proba(self, X):
            right = 1 / (1 + np.exp(-X[:, 0]))
            return np.column_stack([1 - right, right])

    y = np.array(["cat", "dog"])[blobs.y % 2]
    if "fox" in known:
        y = np.array(["cat", "fox"])[blobs.y % 2]
    clf = NoiseFilteredClassifier(Fixed(), "gmm").fit(blobs.X, y)
    decision = clf.decision_function(blobs.X)
    assert decision.shape == (300,)
    np.testing.assert_array_equal(
        clf.classes_[(decision > 0).astype(int)],
        clf.classes_[clf.predict_proba(blobs.X).argmax(axis=1)],
    )
    if known == ["cat", "dog"]:
        np.testing.assert_allclose(decision, blobs.X[:, 0])


def test_learned_labels_that_all_look_right_are_told(blobs):
    trees = RandomForestClassifier(random_state=0)
    with pytest.warns(CleansingWarning, match="No label is flagged.*Set cv=5"):
        NoiseFilteredClassifier(trees, "channel", cv=None).fit(blobs.X, blobs.y)


def test_by_default_labels_are_judged_out_of_fold_by_the_channel(blobs):
    clf = NoiseFilteredClassifier().fit(blobs.X, blobs.y)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
    proba = cross_val_predict(model, blobs.X, blobs.y, cv=5, method="predict_proba")
    expected = NoiseChannelFilter().fit(np.log(proba), blobs.y)
    np.testing.assert_array_equal(clf.clean_mask_, expected.clean_mask_)
    np.testing.assert_allclose(clf.clean_proba_, expected.clean_proba_, atol=1e-6)


def one_way(n_classes, rate, n=2000):
    """Classes far apart, one of which is often taken for another."""
    rng = np.random.default_rng(0)
    truth = rng.integers(n_classes, size=n)
    X = 2.5 * rng.normal(size=(n_classes, 16))[truth] + rng.normal(size=(n, 16))
    y = np.where((truth == 1) & (rng.random(n) < rate), 0, truth)
    return X, y, y != truth


@pytest.mark.parametrize(("n_classes", "rate"), [(2, 0.15), (2, 0.4), (10, 0.4)])
def test_by_default_labels_wrong_in_one_direction_are_found(n_classes, rate):
    X, y, wrong = one_way(n_classes, rate)
    found = NoiseFilteredClassifier().fit(X, y)
    assert (~found.clean_mask_)[wrong].mean() > 0.95
    assert wrong[~found.clean_mask_].mean() > 0.95
    assert 0.85 * wrong.mean() < found.noise_filter_.noise_rate_


def test_by_default_both_judges_have_the_same_folds():
    X, y, _ = one_way(2, 0.4, n=1000)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = NoiseFilteredClassifier(cv=list(folds.split(X, y))).fit(X, y)
    once = NoiseFilteredClassifier(cv=folds.split(X, y)).fit(X, y)  # a generator
    np.testing.assert_array_equal(once.clean_proba_, found.clean_proba_)
    assert found.estimator_[-1].class_weight == "balanced"


@pytest.mark.parametrize("seed", range(3))
def test_by_default_right_labels_that_are_hard_to_predict_are_not_flagged(seed):
    rng = np.random.default_rng(seed)
    y = (rng.random(2000) < 0.4).astype(int)
    X = 0.24 * y[:, None] + rng.normal(size=(2000, 8))
    with pytest.warns(CleansingWarning):  # too poor predictions, to tell
        found = NoiseFilteredClassifier().fit(X, y)
    assert found.clean_mask_.all()


def test_by_default_right_labels_of_unequal_classes_are_not_flagged():
    rng = np.random.default_rng(0)
    y = (rng.random(1000) < 0.1).astype(int)
    X = 0.7 * y[:, None] + rng.normal(size=(1000, 8))
    found = NoiseFilteredClassifier().fit(X, y)
    assert found.clean_mask_.mean() > 0.99
    assert found.estimator_[-1].class_weight is None
    balanced = LogisticRegression(C=1 / 8, class_weight="balanced")
    with pytest.warns(CleansingWarning, match="seem to have another label"):
        found = NoiseFilteredClassifier(balanced).fit(X, y)
    assert found.clean_mask_.mean() < 0.95


def test_by_default_wide_features_are_not_learned_by_heart():
    X, y = make_blobs(400, n_features=150, centers=4, cluster_std=14, random_state=0)
    y_noisy = symmetric(y, 0.3, random_state=0)
    wrong = y != y_noisy
    found = ~NoiseFilteredClassifier().fit(X, y_noisy).clean_mask_
    plain = LogisticRegression(max_iter=1000)
    loose = ~NoiseFilteredClassifier(plain).fit(X, y_noisy).clean_mask_
    assert found[wrong].mean() > 0.8
    assert wrong[found].mean() > 0.8
    assert wrong[found].mean() > wrong[loose].mean() + 0.1


def test_folds_are_at_most_as_many_as_the_largest_class_has_samples(blobs):
    rows = np.r_[[np.flatnonzero(blobs.y == c)[:3] for c in range(3)]].ravel()
    X, y = blobs.X[rows], blobs.y[rows]
    for cv in (3, 5, 100):
        clf = NoiseFilteredClassifier(noise_filter="gmm", cv=cv)
        with pytest.warns(CleansingWarning, match="too few for a mixture"):
            clf.fit(X, y)
        folds = StratifiedKFold(3)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5))
        proba = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
        np.testing.assert_allclose(clf.losses_, -np.log(proba[np.arange(9), y]))


@pytest.mark.parametrize("name", ["gmm", "channel"])
def test_thresholds_of_named_filters_can_be_searched(name, blobs):
    clf = NoiseFilteredClassifier(noise_filter=name)
    search = GridSearchCV(clf, {"tau": [0.05, 0.95]}, cv=3).fit(blobs.X, blobs.y)
    tau = search.best_params_["tau"]
    assert search.best_estimator_.noise_filter_.tau == tau
    masks = [
        clone(clf).set_params(tau=tau).fit(blobs.X, blobs.y).clean_mask_
        for tau in (0.05, 0.95)
    ]
    assert masks[0].sum() > masks[1].sum()


def test_no_filter_is_none_of_the_choices(blobs):
    with pytest.raises(ValueError, match="'noise_filter' parameter"):
        NoiseFilteredClassifier(noise_filter=None).fit(blobs.X, blobs.y)


def test_by_default_sparse_features_of_texts_are_taken():
    rng = np.random.RandomState(0)
    y = rng.randint(3, size=600)
    words = rng.poisson(0.03, size=(600, 400))
    words[:, :60] += rng.poisson(0.6, size=(600, 60)) * (
        y[:, None] == np.arange(60) % 3
    )
    y_noisy = symmetric(y, 0.2, random_state=0)
    clf = NoiseFilteredClassifier().fit(csr_array(words.astype(float)), y_noisy)
    found = ~clf.clean_mask_
    assert (y != y_noisy)[found].mean() > 0.9
    assert found[y != y_noisy].mean() > 0.9


def network(n_outputs, **options):
    torch.manual_seed(0)
    return NeuralNetClassifier(
        torch.nn.Linear(2, n_outputs),
        criterion=torch.nn.CrossEntropyLoss,
        lr=0.1,
        max_epochs=20,
        train_split=None,
        verbose=0,
        **options,
    )


def test_a_trained_network_is_refused_as_its_copies_know_the_labels(blobs):
    X = blobs.X.astype(np.float32)
    net = network(3).fit(X, blobs.y)
    search = GridSearchCV(net, {"lr": [0.1]})
    for model in (net, make_pipeline(StandardScaler(), net), search):
        with pytest.raises(ValueError, match="was trained before"):
            NoiseFilteredClassifier(model).fit(X, blobs.y)
    found = ~NoiseFilteredClassifier(network(3)).fit(X, blobs.y).clean_mask_
    assert blobs.is_wrong[found].mean() > 0.9


class AllBut(BaseEstimator):
    """A filter that finds no clean label in a class."""

    def __init__(self, lost=1):
        self.lost = lost

    def fit(self, X, y):
        self.clean_mask_ = y != self.lost
        self.clean_proba_ = self.clean_mask_.astype(float)
        return self


@pytest.mark.parametrize("far", [1, -1e4], ids=["near", "saturated"])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_network_does_not_predict_a_class_without_a_clean_label(lost, far, blobs):
    X = (far * blobs.X).astype(np.float32)
    clf = NoiseFilteredClassifier(network(3), AllBut(lost))
    with pytest.warns(CleansingWarning, match=f"selected no sample of class {lost}"):
        clf.fit(blobs.X.astype(np.float32), blobs.y)
    with torch.no_grad():  # so that the network by itself prefers it
        clf.estimator_.module_.bias[lost] += 2
    assert (clf.estimator_.predict(X) == lost).any()
    proba = clf.predict_proba(X)
    assert (proba[:, lost] == 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(clf.predict(X), proba.argmax(axis=1))


def test_classes_of_another_type_are_refused(blobs):
    class Renamed(Recorder):
        def fit(self, X, y):
            super().fit(X, y)
            self.classes_ = self.classes_.astype(str)
            return self

    with pytest.raises(ValueError, match="classes_ of Renamed are of two types"):
        NoiseFilteredClassifier(Renamed()).fit(blobs.X, blobs.y)


def test_that_none_is_flagged_though_few_are_predicted_is_told():
    # A classifier that has learned how often labels are wrong explains them all.
    X, truth = make_blobs(900, centers=3, cluster_std=0.5, random_state=0)
    y = pair_flip(truth, 0.4, random_state=0)
    clf = NoiseFilteredClassifier(GaussianNB())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(X, y)
    assert clf.clean_mask_.all()
    told = [str(warning.message) for warning in caught]
    assert any(re.match(r"No label is flagged, though \d+% are not", t) for t in told)
    assert {warning.filename for warning in caught} == {__file__}


def test_classes_of_one_sample_each_cannot_be_judged():
    with pytest.raises(ValueError, match="Each class has one sample"):
        NoiseFilteredClassifier().fit([[0.0], [1.0]], [0, 1])


def test_text_labels_of_networks_are_refused(blobs):
    names = np.array(["ant", "bee", "cat"])[blobs.y]
    with pytest.raises(TypeError, match="codes, not on text"):
        NoiseFilteredClassifier(network(3)).fit(blobs.X.astype(np.float32), names)
