"""The table of labels and what they should be."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from support import Pool, Tally, spy_net, tiny

from sklearn_turn import (
    Cleansing,
    FeatureExtractor,
    GMMNoiseFilter,
    NoiseChannelFilter,
    NoiseFilteredClassifier,
    TURNClassifier,
)
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import CleansingWarning, SkippedImageWarning
from sklearn_turn.inspection import (
    apply_corrections,
    export_report,
    label_issues,
    neighbor_issues,
    noise_summary,
)
from sklearn_turn.noise import symmetric

pd = pytest.importorskip("pandas")

COLUMNS = [
    "given_label",
    "suggested_label",
    "label_quality",
    "is_label_issue",
    "loss",
    "rank",
]
NEIGHBORS = [
    "is_near_duplicate",
    "duplicate_set",
    "contradicting",
    "outlier_score",
    "is_outlier",
]


def quick(**params):
    return TURNClassifier(
        lp_epochs=5, fft_epochs=1, lp_lr=0.03, random_state=0, device="cpu", **params
    )


@pytest.fixture(scope="module")
def filtered(blobs):
    return NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, blobs.y)


@pytest.fixture(scope="module")
def channel(blobs):
    """Fitted with a channel on a part of the samples."""
    model = NoiseFilteredClassifier(noise_filter="channel", cv=3)
    return model.fit(blobs.X[:200], blobs.y[:200])


class Unseeing(NoiseFilteredClassifier):
    """Predicts nothing."""

    def predict_proba(self, X):
        raise AssertionError("a pass")


def test_columns_hold_what_fit_found(filtered):
    issues = label_issues(filtered)
    assert list(issues.columns) == COLUMNS
    assert issues.index.name == "index"
    assert issues.index.tolist() == list(range(300))
    np.testing.assert_array_equal(issues["given_label"], filtered.given_labels_)
    np.testing.assert_array_equal(issues["suggested_label"], filtered.suggested_labels_)
    np.testing.assert_array_equal(issues["label_quality"], filtered.clean_proba_)
    np.testing.assert_array_equal(issues["is_label_issue"], ~filtered.clean_mask_)
    np.testing.assert_array_equal(issues["loss"], filtered.losses_)
    assert issues["is_label_issue"].dtype == np.dtype(bool)
    assert issues["rank"].dtype == np.dtype(np.int64)


def test_rank_is_by_quality_then_loss_then_position(filtered):
    issues = label_issues(filtered)
    assert issues["label_quality"].duplicated().any()  # else there is nothing to test
    expected = sorted(
        range(300),
        key=lambda i: (filtered.clean_proba_[i], -filtered.losses_[i], i),
    )
    assert issues.sort_values("rank").index.tolist() == expected
    assert sorted(issues["rank"]) == list(range(1, 301))


@pytest.mark.parametrize(
    "estimator",
    [
        quick(),
        quick(noise_filter="gmm"),
        NoiseFilteredClassifier(LogisticRegression(), "channel", cv=3),
        make_pipeline(StandardScaler(), NoiseFilteredClassifier()),
        make_pipeline(NoiseFilteredClassifier()),
        GridSearchCV(NoiseFilteredClassifier(), {"noise_filter": ["gmm"]}, cv=2),
        make_pipeline(
            StandardScaler(),
            GridSearchCV(make_pipeline(NoiseFilteredClassifier()), {}, cv=2),
        ),
    ],
    ids=["turn", "turn-gmm", "filtered", "pipeline", "one-step", "search", "nested"],
)
def test_finds_the_wrong_labels(estimator, blobs):
    estimator.fit(blobs.X, blobs.y)
    issues = label_issues(estimator)
    first = issues.sort_values("rank").index[:60]
    assert blobs.is_wrong[first].mean() > 0.9
    agree = (issues["suggested_label"] == blobs.y_true).mean()
    assert agree > (issues["given_label"] == blobs.y_true).mean() + 0.15


@pytest.mark.parametrize("kind", [np.array, list, pd.Series])
def test_samples_of_fit_need_no_pass(blobs, kind):
    model = Unseeing().fit(blobs.X, blobs.y)
    expected = label_issues(model)
    pd.testing.assert_frame_equal(label_issues(model, blobs.X), expected)
    # Labels of fit mean the samples of fit.
    found = label_issues(model, blobs.X, kind(blobs.y.tolist()))
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("names", [["a", "b", "cc"], [False, True, True]])
def test_labels_of_any_type(blobs, names):
    y = np.array(names)[blobs.y]
    issues = label_issues(NoiseFilteredClassifier().fit(blobs.X, y))
    assert issues["given_label"].tolist() == y.tolist()
    assert set(issues["suggested_label"]) == set(y.tolist())


def test_paths(images, png_files):
    model = tiny(fft_epochs=0).fit(png_files, images.y)
    assert label_issues(model)["given_label"].tolist() == images.y.tolist()
    for X in (
        png_files,
        np.array(png_files),
        pd.Series(png_files, index=range(60)[::-1]),
    ):
        issues = label_issues(model, X)
        own = ["position"] if isinstance(X, pd.Series) else []
        assert list(issues.columns) == [*own, "path", *COLUMNS]
        assert issues["path"].tolist() == png_files
    pipeline = make_pipeline(FeatureExtractor(Pool(), input_size=8), model)
    assert label_issues(pipeline, png_files)["path"].tolist() == png_files


def test_names_that_are_no_text(images, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")  # in Latin-1
    os.mkdir(folder)
    paths = [f"{folder}/{i}.png" for i in range(60)]
    for path, image in zip(paths, images.X, strict=True):
        Image.fromarray(image).save(path)
    y = np.array([os.fsdecode(b"caf\xe9"), "cat", "dog"])[images.y]
    model = tiny(fft_epochs=0).fit(paths, y)
    issues = label_issues(model, paths)
    assert issues["path"][7] == f"{tmp_path}/caf\\udce9/7.png"
    assert issues["given_label"][0] == "caf\\udce9"
    issues.to_csv(tmp_path / "issues.csv")
    assert "caf\\udce9" in repr(noise_summary(model).per_class)
    report = export_report(model, paths, y, tmp_path / "report.html").read_text()
    assert json.dumps("caf\\udce9") in report


def test_unreadable_images_are_no_issues_and_come_last(images, png_files):
    with open(png_files[7], "wb") as file:
        file.write(b"not an image")
    model = tiny(fft_epochs=0, on_bad_image="skip")
    with pytest.warns(SkippedImageWarning):
        model.fit(png_files, images.y)
    issues = label_issues(model, png_files, features="extract")
    broken = issues.loc[7]
    assert np.isnan(broken["label_quality"])
    assert np.isnan(broken["outlier_score"])
    assert broken["rank"] == 60
    assert broken["suggested_label"] == broken["given_label"] == images.y[7]
    assert not broken["is_label_issue"]
    assert not broken["is_near_duplicate"]
    assert issues["label_quality"].isna().sum() == 1
    others = [path for path in png_files if path != png_files[7]]
    frozen = FeatureExtractor(Pool(), input_size=8).fit_transform(others)
    expected = neighbor_issues(frozen)["outlier_score"]
    np.testing.assert_array_equal(issues["outlier_score"].drop(7), expected)
    assert [issues[name].dtype for name in NEIGHBORS] == [
        bool,
        pd.Int64Dtype(),
        bool,
        float,
        bool,
    ]


def test_new_labels_by_the_channel_of_fit(channel, blobs):
    X, y = blobs.X[200:], blobs.y[200:]
    issues = label_issues(channel, X, y)
    # Bayes' rule by hand.
    fitted = channel.noise_filter_
    p = channel.predict_proba(X) ** (1 / fitted.temperature_)
    p /= p.sum(axis=1, keepdims=True)
    joint = np.array(
        [p[i] * fitted.transition_matrix_[:, label] for i, label in enumerate(y)]
    )
    posterior = joint / joint.sum(axis=1, keepdims=True)
    expected = posterior[np.arange(100), y]
    np.testing.assert_allclose(issues["label_quality"], expected, atol=1e-9)
    np.testing.assert_array_equal(issues["suggested_label"], posterior.argmax(axis=1))
    np.testing.assert_array_equal(issues["is_label_issue"], expected <= 0.8)
    loss = -np.log(channel.predict_proba(X)[np.arange(100), y])
    np.testing.assert_allclose(issues["loss"], loss)
    # Each label is judged by itself.
    one = label_issues(channel, X[3:4], y[3:4])
    assert one["label_quality"][0] == pytest.approx(expected[3])
    assert one["rank"].tolist() == [1]


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        NoiseFilteredClassifier(),
        LinearProbing(lp_lr=0.03, random_state=0, device="cpu"),
        FullFineTuning(random_state=0, device="cpu"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_new_labels_without_a_channel_of_fit(model, blobs):
    model.fit(blobs.X[:150], blobs.y[:150])
    X, y = blobs.X[150:], blobs.y[150:]
    issues = label_issues(model, X, y)
    expected = NoiseChannelFilter().fit(np.log(model.predict_proba(X)), y)
    np.testing.assert_allclose(issues["label_quality"], expected.clean_proba_)
    np.testing.assert_array_equal(issues["is_label_issue"], ~expected.clean_mask_)
    np.testing.assert_array_equal(issues["suggested_label"], expected.suggested_labels_)
    worst = issues.sort_values("rank").index[:30]
    assert blobs.is_wrong[150:][worst].mean() > 0.7


@pytest.mark.parametrize("noise_filter", ["channel", "gmm"])
def test_new_labels_as_text_are_not_numbers(noise_filter):
    """Of many classes and few labels NumPy compares numbers with text as text."""
    X = np.repeat(50 * np.eye(30), 12, axis=0)
    y = np.repeat(np.arange(30), 12)
    clf = NoiseFilteredClassifier(LogisticRegression(), noise_filter, cv=3).fit(X, y)
    with pytest.raises(ValueError, match="are of two types, '0' and 0"):
        label_issues(clf, X[:18], y[:18].astype(str))


def test_new_samples_pass_through_a_pipeline_once(blobs):
    class Counting(StandardScaler):
        seen = 0

        def transform(self, X):
            type(self).seen += len(X)
            return super().transform(X)

    pipeline = make_pipeline(Counting(), NoiseFilteredClassifier(cv=3))
    pipeline.fit(blobs.X[:200], blobs.y[:200])
    scaled = StandardScaler().fit(blobs.X[:200]).transform(blobs.X[200:])
    Counting.seen = 0
    issues = label_issues(pipeline, blobs.X[200:], blobs.y[200:], features="extract")
    assert Counting.seen == 100
    direct = label_issues(pipeline[-1], scaled, blobs.y[200:], features=scaled)
    pd.testing.assert_frame_equal(issues, direct)


def test_new_samples_pass_through_all_steps_of_nested_pipelines(blobs):
    inner = make_pipeline(
        StandardScaler(), NoiseFilteredClassifier(noise_filter="gmm", cv=3)
    )
    nested = make_pipeline(PolynomialFeatures(2), GridSearchCV(inner, {}, cv=2))
    flat = make_pipeline(
        PolynomialFeatures(2),
        StandardScaler(),
        NoiseFilteredClassifier(noise_filter="gmm", cv=3),
    )
    old, new = slice(200), slice(200, None)
    found, expected = (
        label_issues(
            model.fit(blobs.X[old], blobs.y[old]),
            blobs.X[new],
            blobs.y[new],
            features="extract",
        )
        for model in (nested, flat)
    )
    pd.testing.assert_frame_equal(found, expected)


def test_new_images_take_one_pass(images):
    tally = Tally()
    model = tiny(backbone=Pool(tally))
    model.fit(images.X, images.y)
    tally.evaluated = 0
    label_issues(model, images.X)
    assert tally.evaluated == 0
    y = images.y.copy()
    y[0] = 1
    label_issues(model, images.X, y)
    assert tally.evaluated == 60


def test_classes_need_not_be_sorted(blobs):
    class Reversed(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.inner_ = LogisticRegression().fit(X, y)
            self.classes_ = self.inner_.classes_[::-1]
            return self

        def predict_proba(self, X):
            return self.inner_.predict_proba(X)[:, ::-1]

    expected = label_issues(
        LogisticRegression().fit(blobs.X, blobs.y), blobs.X, blobs.y
    )
    found = label_issues(Reversed().fit(blobs.X, blobs.y), blobs.X, blobs.y)
    pd.testing.assert_frame_equal(found, expected)


def test_impossible_predictions_are_finite(blobs):
    class Certain(LogisticRegression):
        def predict_proba(self, X):
            return np.eye(3)[super().predict_proba(X).argmax(axis=1)]

    model = Certain().fit(blobs.X[:150], blobs.y[:150])
    issues = label_issues(model, blobs.X[150:], blobs.y[150:])
    assert np.isfinite(issues["loss"]).all()
    assert issues["label_quality"].between(0, 1).all()


def test_own_labels_of_a_classifier_that_does_not_look(blobs):
    model = LinearProbing(lp_lr=0.03, random_state=0, device="cpu")
    model.fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match="LinearProbing has not looked for wrong"):
        label_issues(model)
    with pytest.warns(UserWarning, match="LinearProbing was trained on these labels"):
        issues = label_issues(model, blobs.X, blobs.y)
    assert len(issues) == 300


def test_predictions_from_elsewhere(blobs, tmp_path):
    names = np.array(["x", "y", "z"])[blobs.y]
    model, folds = LogisticRegression(), KFold(3)
    proba = cross_val_predict(model, blobs.X, names, cv=folds, method="predict_proba")
    found = NoiseChannelFilter().fit(np.log(proba), names)
    same = NoiseFilteredClassifier(model, "channel", cv=folds).fit(blobs.X, names)
    issues, expected = (label_issues(e).drop(columns="loss") for e in (found, same))
    pd.testing.assert_frame_equal(
        issues.drop(columns="rank"), expected.drop(columns="rank")
    )
    first = issues.sort_values("rank")["label_quality"]
    assert first.is_monotonic_increasing
    summary, other = noise_summary(found), noise_summary(same)
    assert summary.noise_rate == pytest.approx(other.noise_rate)
    assert summary.interval == pytest.approx(other.interval)
    assert summary.agreement == other.agreement is not None
    np.testing.assert_allclose(summary.transition_matrix, found.transition_matrix_)
    page = export_report(found, blobs.X, names, tmp_path / "report.html")
    assert "NoiseChannelFilter" in page.read_text()
    names[:] = "x"  # which the caller may do
    assert label_issues(found)["given_label"].nunique() == 3


def test_a_filter_that_suggests_nothing(blobs):
    losses = np.abs(np.random.RandomState(0).randn(300, 1))
    found = GMMNoiseFilter().fit(losses, blobs.y)
    with pytest.raises(
        ValueError,
        match="GMMNoiseFilter keeps clean_mask_ and clean_proba_, but not the labels",
    ):
        label_issues(found)
    found.suggested_labels_ = blobs.y  # as a filter of one's own may have
    with pytest.raises(
        ValueError,
        match="GMMNoiseFilter keeps clean_mask_ and clean_proba_, but not the labels",
    ):
        noise_summary(found)
    with pytest.raises(
        ValueError,
        match="GMMNoiseFilter keeps clean_mask_ and clean_proba_, but not the labels",
    ):
        label_issues(found)


def test_samples_of_fit_in_another_order(filtered, channel, blobs):
    order = np.random.RandomState(0).permutation(300)
    with pytest.warns(UserWarning, match="of fit, in another order"):
        label_issues(filtered, blobs.X[order], blobs.y[order])
    names = np.array(["x", "y", "z"])[blobs.y]
    named = NoiseFilteredClassifier().fit(blobs.X, names)
    with pytest.warns(UserWarning, match="of fit, in another order"):
        label_issues(named, blobs.X[order], names[order].tolist())
    label_issues(channel, blobs.X[100:], blobs.y[100:])  # as many, but others


def test_turn_without_cleansing_has_not_looked(blobs):
    model = quick(cleansing=None).fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match="TURNClassifier has not looked for wrong"):
        label_issues(model)


def test_features_add_neighbors(filtered, blobs):
    plain = label_issues(filtered)
    expected = plain.join(neighbor_issues(blobs.X, blobs.y))
    assert list(expected.columns) == [*COLUMNS, *NEIGHBORS]
    for features in (blobs.X, blobs.X.tolist(), pd.DataFrame(blobs.X)):
        found = label_issues(filtered, features=features)
        pd.testing.assert_frame_equal(found, expected)
    found = label_issues(filtered, blobs.X, features="extract")
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("cached", [True, False])
def test_features_of_the_backbone_as_it_was(images, cached, tmp_path):
    tally = Tally()
    memory = tmp_path if cached else None
    model = tiny(backbone=Pool(tally), memory=memory).fit(images.X, images.y)
    assert tally.trained > 0
    tally.evaluated = 0
    found = label_issues(model, images.X, features="extract")
    assert tally.evaluated == (0 if cached else 60)
    frozen = FeatureExtractor(Pool(), input_size=8).fit_transform(images.X)
    expected = label_issues(model, features=frozen)
    pd.testing.assert_frame_equal(found, expected)


def test_features_of_a_pipeline(images):
    extract = FeatureExtractor(Pool(), input_size=8)
    pipeline = make_pipeline(extract, NoiseFilteredClassifier())
    pipeline.fit(images.X, images.y)
    found = label_issues(pipeline, images.X, features="extract")
    expected = label_issues(pipeline, features=extract.transform(images.X))
    pd.testing.assert_frame_equal(found, expected)


def test_files_that_tables_are_kept_in(filtered, blobs, tmp_path):
    issues = label_issues(filtered, features=blobs.X)
    issues.to_csv(tmp_path / "issues.csv")
    header = (tmp_path / "issues.csv").read_text().splitlines()[0]
    assert header.split(",") == ["index", *COLUMNS, *NEIGHBORS]
    wrong = issues["suggested_label"] != issues["given_label"]
    reviewed = issues.assign(
        mark=np.where(wrong, "wrong", "right"),
        corrected_label=issues["suggested_label"],
    )
    reviewed.to_csv(tmp_path / "reviewed.csv")
    for source in (tmp_path / "reviewed.csv", reviewed):
        corrected, dropped = apply_corrections(blobs.y, source)
        np.testing.assert_array_equal(corrected, filtered.suggested_labels_)
        assert not dropped.any()
    pytest.importorskip("pyarrow")
    issues.to_parquet(tmp_path / "issues.parquet")
    read = pd.read_parquet(tmp_path / "issues.parquet")
    pd.testing.assert_frame_equal(read, issues, check_index_type=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": np.zeros((9, 2))}, "X has 9 samples, but there are 300 labels"),
        ({"X": np.zeros((9, 2)), "y": [0, 1, 2]}, "X has 9 samples, but there are 3"),
        ({"features": np.zeros((9, 2))}, "features has 9 samples, but there are 300"),
        ({"features": "extract"}, "'extract' needs X"),
        ({"features": "frozen"}, "must be an array or 'extract', not 'frozen'"),
        ({"y": [0, 1, 2]}, "labels but no samples"),
        ({"X": np.zeros((2, 2)), "y": [0, 7]}, r"does not know: \[7\]"),
        ({"X": np.zeros((2, 2)), "y": [0, None]}, "missing labels"),
        ({"X": np.zeros((2, 2)), "y": [0, 1]}, r"no new sample labelled \[2\]"),
    ],
)
def test_what_does_not_fit_is_refused(filtered, arguments, message, monkeypatch):
    monkeypatch.setattr(
        NoiseFilteredClassifier, "predict_proba", lambda *_: pytest.fail("a pass")
    )
    with pytest.raises(ValueError, match=message):
        label_issues(filtered, **arguments)


def test_images_without_a_backbone_have_no_features(images):
    class Mean(LogisticRegression):
        def fit(self, X, y):
            return super().fit(X.mean(axis=(1, 2)), y)

        def predict_proba(self, X):
            return super().predict_proba(X.mean(axis=(1, 2)))

    model = NoiseFilteredClassifier(Mean()).fit(images.X / 255, images.y)
    with pytest.raises(ValueError, match="has no backbone to extract features"):
        label_issues(model, images.X, features="extract")


def test_classifiers_without_probabilities(blobs):
    model = Perceptron().fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match="Perceptron has no predict_proba"):
        label_issues(model, blobs.X, blobs.y)


@pytest.mark.parametrize(
    "estimator",
    [
        NoiseFilteredClassifier(),
        make_pipeline(StandardScaler(), NoiseFilteredClassifier()),
    ],
)
def test_unfitted(estimator):
    with pytest.raises(NotFittedError):
        label_issues(estimator)


def test_without_pandas_the_extra_is_named(filtered, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-turn\[plots\]'"):
        label_issues(filtered)


def test_features_of_sparse_rows(blobs):
    X = csr_array(blobs.X)
    clf = NoiseFilteredClassifier(LogisticRegression()).fit(X, blobs.y)
    assert len(label_issues(clf, X)) == len(blobs.y)
    with pytest.raises(TypeError, match="dense data is required"):
        label_issues(clf, X, features="extract")


def test_many_new_labels_are_judged_by_a_channel_of_their_own():
    """What was labelled with care says nothing of the noise of other labels."""
    X, t = make_blobs(900, centers=3, n_features=8, cluster_std=1.5, random_state=0)
    clf = TURNClassifier(fft_epochs=0, random_state=0, device="cpu")
    clf.fit(X[:450], t[:450])
    assert clf.noise_filter_.noise_rate_ < 0.01
    y = symmetric(t[450:], 0.3, random_state=0)
    found = label_issues(clf, X[450:], y)["is_label_issue"]
    wrong = y != t[450:]
    assert (found == wrong).mean() > 0.95


def test_a_channel_of_their_own_has_the_settings_of_that_of_fit(blobs):
    told = NoiseChannelFilter(tau=0.85, noise_rate=0.2)
    clf = NoiseFilteredClassifier(LogisticRegression(), told, cv=3)
    clf.fit(blobs.X[:100], blobs.y[:100])
    X, y = blobs.X[100:], blobs.y[100:]
    issues = label_issues(clf, X, y)
    expected = NoiseChannelFilter(tau=0.85).fit(np.log(clf.predict_proba(X)), y)
    np.testing.assert_allclose(issues["label_quality"], expected.clean_proba_)
    np.testing.assert_array_equal(issues["is_label_issue"], ~expected.clean_mask_)


def shuffled_table(blobs):
    """Samples of which a table of one's own has the rows in another order."""
    order = np.random.RandomState(0).permutation(300)
    table = pd.DataFrame({"a": blobs.X[:, 0], "b": blobs.X[:, 1], "label": blobs.y})
    return table.iloc[order], blobs.is_wrong[order]


@pytest.mark.parametrize(
    "estimator",
    [
        quick(),
        NoiseFilteredClassifier(),
        make_pipeline(StandardScaler(), NoiseFilteredClassifier()),
        GridSearchCV(NoiseFilteredClassifier(), {}, cv=2),
    ],
    ids=["TURN", "filtered", "pipeline", "search"],
)
@pytest.mark.parametrize("which", ["X and y", "y", "X"])
def test_the_table_joins_with_the_table_of_the_user(estimator, which, blobs, tmp_path):
    table, wrong = shuffled_table(blobs)
    X, y = table[["a", "b"]], table["label"]
    fitted = clone(estimator).fit(
        X if "X" in which else X.to_numpy(), y if "y" in which else y.to_numpy()
    )
    # Steps before the classifier keep no index: of X alone it has to be told again.
    told = X if isinstance(estimator, Pipeline) and which == "X" else None
    issues = label_issues(fitted, told, features=X.to_numpy())
    assert issues.index.equals(table.index)
    assert issues["position"].tolist() == list(range(300))
    joined = table.join(issues)
    np.testing.assert_array_equal(joined["given_label"], joined["label"])
    assert joined.loc[wrong, "is_label_issue"].mean() > 0.8
    # What a spreadsheet says is of positions.
    reviewed = issues.assign(mark="", corrected_label="")
    reviewed.loc[reviewed.index[7], "mark"] = "unsure"
    _, dropped = apply_corrections(y, reviewed)
    assert np.flatnonzero(dropped).tolist() == [7]
    reviewed.to_csv(tmp_path / "reviewed.csv")
    _, dropped = apply_corrections(y, tmp_path / "reviewed.csv")
    assert np.flatnonzero(dropped).tolist() == [7]


def test_the_table_of_new_samples_has_their_index(blobs):
    clf = quick().fit(blobs.X[:200], blobs.y[:200])
    names = [f"photo {k}" for k in range(100)]
    y = pd.Series(blobs.y[200:], index=names)
    assert label_issues(clf, blobs.X[200:], y).index.tolist() == names
    assert label_issues(clf, blobs.X[200:], y.to_numpy()).index.name == "index"


def test_predictions_with_an_index_keep_it(blobs):
    y = pd.Series(blobs.y, index=pd.date_range("2026-01-01", periods=300))
    proba = LogisticRegression().fit(blobs.X, y).predict_proba(blobs.X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CleansingWarning)
        found = NoiseChannelFilter().fit(np.log(proba), y)
        assert label_issues(found).index.equals(y.index)
        found.fit(np.log(proba), y.to_numpy())
    assert label_issues(found).index.name == "index"


@pytest.mark.parametrize(
    "index",
    [
        [f"photo {k}" for k in range(300)],
        list(range(300, 600)),
        pd.date_range("2026-01-01", periods=300, tz="UTC"),
        pd.MultiIndex.from_product([range(3), range(100)]),
    ],
    ids=["text", "numbers", "dates", "several levels"],
)
def test_a_model_from_a_file_knows_the_index(index, blobs, tmp_path):
    clf = quick().fit(blobs.X, pd.Series(blobs.y, index=index))
    clf.save(tmp_path / "model.safetensors")
    loaded = type(clf).load(tmp_path / "model.safetensors")
    found, expected = label_issues(loaded), label_issues(clf)
    pd.testing.assert_frame_equal(found.set_axis(expected.index), expected)
    assert [str(k) for k in found.index] == [str(k) for k in index]
    table = pd.DataFrame({"label": blobs.y}, index=index)
    joined = table.join(expected)
    np.testing.assert_array_equal(joined["given_label"], joined["label"])


def test_labels_that_another_classifier_may_know_by_heart_are_told(blobs):
    trees = RandomForestClassifier(random_state=0).fit(blobs.X[:200], blobs.y[:200])
    with pytest.warns(UserWarning, match="RandomForestClassifier predicts 100.0%"):
        found = label_issues(trees, blobs.X[:200], blobs.y[:200])
    assert not found["is_label_issue"].any()
    label_issues(trees, blobs.X[200:], blobs.y[200:])  # others, without a warning
    label_issues(trees, blobs.X[:49], blobs.y[:49])


def test_labels_that_a_poor_classifier_leaves_in_doubt_are_not_known_by_heart():
    X, y = make_blobs(1200, centers=3, cluster_std=5, random_state=0)
    model = LogisticRegression().fit(X[:900], y[:900])
    assert model.score(X[900:], y[900:]) < 0.7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", CleansingWarning)
        assert not label_issues(model, X[900:], y[900:])["is_label_issue"].any()


def test_of_a_net_with_cleansing_it_is_said_where_its_findings_are(blobs):
    net = spy_net(max_epochs=2, callbacks=[Cleansing()])
    net.fit(np.c_[np.arange(300), blobs.X].astype(np.float32), blobs.y)
    for ask in (label_issues, noise_summary):
        with pytest.raises(ValueError, match="keeps in its callback.*noise_filter_"):
            ask(net)
    assert dict(net.callbacks_)["Cleansing"].noise_filter_.clean_mask_.any()


def test_tables_with_columns_of_text_are_rows(blobs, tmp_path):
    table = pd.DataFrame({"a": blobs.X[:, 0], "b": blobs.X[:, 1]})
    table["city"] = np.array(["Rome", "Oslo"])[np.arange(300) % 2]
    y = blobs.y
    columns = make_column_transformer(
        (StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["city"])
    )
    model = make_pipeline(columns, NoiseFilteredClassifier()).fit(table[:200], y[:200])
    issues = label_issues(model, table[:200])
    assert issues["is_label_issue"].any()
    new = label_issues(model, table[200:], y[200:])
    assert new.index.tolist() == list(range(200, 300))
    assert "path" not in new.columns
    export_report(model, table[:200], y[:200], tmp_path / "report.html")


def test_a_channel_s_losses_are_those_of_the_given_labels(blobs):
    proba = LogisticRegression().fit(blobs.X, blobs.y).predict_proba(blobs.X)
    proba[:3] = np.eye(3)  # also of labels that cannot be
    with np.errstate(divide="ignore"):
        found = NoiseChannelFilter().fit(np.log(proba), blobs.y)
    losses = label_issues(found)["loss"]
    expected = -np.log(proba[np.arange(3, 300), blobs.y[3:]])
    np.testing.assert_allclose(losses[3:], expected)
    assert np.isfinite(losses).all()


def test_positions_are_not_taken_from_a_column_of_the_user(blobs, tmp_path):
    issues = label_issues(NoiseFilteredClassifier().fit(blobs.X, blobs.y))
    reviewed = issues.assign(mark="", corrected_label="", position="left")
    reviewed.loc[7, "mark"] = "unsure"
    _, dropped = apply_corrections(blobs.y, reviewed)
    assert np.flatnonzero(dropped).tolist() == [7]
    reviewed.to_csv(tmp_path / "reviewed.csv")
    with pytest.raises(ValueError, match="'index' and 'position', which stand for the"):
        apply_corrections(blobs.y, tmp_path / "reviewed.csv")


@pytest.mark.parametrize("name", ["index", "position", "given_label", "photo"])
def test_a_file_of_a_table_with_a_named_index_is_read(name, blobs, tmp_path):
    index = pd.Index([f"{k}.jpg" for k in range(300)], name=name)
    clf = NoiseFilteredClassifier().fit(blobs.X, pd.Series(blobs.y, index=index))
    issues = label_issues(clf)
    assert issues.index.name == ("photo" if name == "photo" else None)
    reviewed = issues.assign(mark="", corrected_label="")
    reviewed.iloc[7, reviewed.columns.get_loc("mark")] = "unsure"
    reviewed.to_csv(tmp_path / "reviewed.csv")
    _, dropped = apply_corrections(blobs.y, tmp_path / "reviewed.csv")
    assert np.flatnonzero(dropped).tolist() == [7]


def test_many_new_labels_of_some_classes_are_judged_by_the_channel_of_fit():
    X, y = make_blobs(600, centers=3, random_state=0)
    noisy = symmetric(y[:300], 0.2, random_state=0)
    clf = NoiseFilteredClassifier().fit(X[:300], noisy)
    some = np.flatnonzero(y[300:] < 2) + 300
    issues = label_issues(clf, X[some], y[some])
    assert len(issues) == len(some) >= 150
    assert issues["is_label_issue"].mean() < 0.2


def test_the_index_is_that_of_the_labels_where_the_samples_have_another():
    X, y = make_blobs(60, centers=2, random_state=0)
    frame = pd.DataFrame(X, index=np.arange(60) + 500)
    labels = pd.Series(y, index=np.arange(60) + 100)
    clf = NoiseFilteredClassifier().fit(X[5:], y[5:])
    assert label_issues(clf, frame, labels).index.tolist() == labels.index.tolist()


def test_other_samples_with_the_labels_of_fit_are_new_ones():
    """As of two folders with the same classes, sorted by them."""
    X, y_true = make_blobs(600, centers=3, random_state=0, cluster_std=0.7)
    noisy = symmetric(y_true, 0.2, random_state=0)
    rows = [np.flatnonzero(noisy == k) for k in range(3)]
    here, there = (np.concatenate([r[i : i + 90] for r in rows]) for i in (0, 90))
    y = noisy[here]
    np.testing.assert_array_equal(y, noisy[there])
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(X[here], y)
    with pytest.warns(UserWarning, match="X holds other samples.*judged as new"):
        issues = label_issues(clf, X[there], y)
    wrong = (noisy != y_true)[there]
    assert issues["is_label_issue"][wrong].mean() > 0.8
    assert wrong[issues["is_label_issue"]].mean() > 0.8
    # Those of fit are known, whatever they come in.
    known = label_issues(clf)
    for same in (X[here], X[here].astype(np.float32), pd.DataFrame(X[here])):
        pd.testing.assert_frame_equal(label_issues(clf, same, y), known)


def test_files_of_fit_are_known_when_moved_or_gone(images, png_files, tmp_path):
    clf = tiny(noise_filter="channel", fft_epochs=0).fit(png_files, images.y)
    moved = [str(tmp_path / f"{i}.png") for i in range(60)]
    for old, new in zip(png_files, moved, strict=True):
        Path(new).write_bytes(Path(old).read_bytes())
    gone = [f"nowhere/{i}.png" for i in range(60)]
    known = label_issues(clf)
    for same in (png_files, moved, gone):
        found = label_issues(clf, same, images.y)
        pd.testing.assert_frame_equal(found.drop(columns="path"), known)
    with pytest.warns(UserWarning, match="X holds other samples"):
        label_issues(clf, moved[::-1], images.y)
