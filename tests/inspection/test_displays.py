"""Noise transitions, suspects, training curves and maps of features."""

from __future__ import annotations

import copy
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import Fixed, pool, tiny
from torch import nn

from sklearn_turn import FeatureExtractor, NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.inputs import RawInputs
from sklearn_turn.inspection import (
    EmbeddingDisplay,
    NoiseTransitionDisplay,
    SuspectGridDisplay,
    TrainingCurveDisplay,
    label_issues,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def no_figures_but_its_own():
    """Others, doctests among them, may have left some open."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def axes():
    return plt.subplots()[1]


@pytest.fixture(scope="module")
def filtered(blobs):
    return NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, blobs.y)


@pytest.fixture(scope="module")
def tuned(images):
    """TURN on images, 12 of whose labels are wrong."""
    y = images.y.copy()
    y[:12] = (y[:12] + 1) % 3
    mask = np.ones(60, dtype=bool)
    mask[:10] = False
    return tiny(noise_filter=Fixed(mask)).fit(images.X, y)


DRAW = {
    "transition": lambda ax=None: NoiseTransitionDisplay.from_predictions(
        [0, 1, 1, 2], [0, 1, 2, 2], ax=ax
    ),
    "suspects": lambda ax=None: SuspectGridDisplay.from_predictions(
        np.zeros((4, 9, 9, 3), np.uint8), [0, 0, 1, 1], [0, 1, 1, 0], ax=ax
    ),
}
PANELS = {
    "curve": lambda ax=None: TrainingCurveDisplay.from_history(
        [{"train_loss": 2.0, "valid_acc": 0.3}, {"train_loss": 1.0, "valid_acc": 0.5}],
        ax=ax,
    ),
    "embedding": lambda ax=None: EmbeddingDisplay.from_features(
        {"a": np.eye(6), "b": np.eye(6)}, np.arange(6) % 2, method="pca", ax=ax
    ),
}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_one_axes(draw, axes):
    assert draw(axes).ax_ is axes
    assert draw(axes).figure_ is axes.figure
    new = draw()
    assert new.ax_.figure is new.figure_ is not axes.figure
    again = new.plot()  # as often as one likes
    assert again is new and new.figure_.number == plt.get_fignums()[-1]


@pytest.mark.parametrize("draw", PANELS.values(), ids=PANELS)
def test_panels(draw, axes):
    new = draw()
    assert new.axes_.shape == (2,)
    assert all(ax.figure is new.figure_ for ax in new.axes_)
    # One axes is divided, its place is kept ...
    place = axes.get_position()
    inside = draw(axes)
    inside.figure_.canvas.draw()
    assert inside.figure_ is axes.figure
    for ax in inside.axes_:
        assert ax.get_position().x0 >= place.x0 - 1e-6
        assert ax.get_position().x1 <= place.x1 + 1e-6
    # ... several are used as they are.
    given = plt.subplots(1, 2)[1]
    assert list(draw(given).axes_) == list(given)
    with pytest.raises(ValueError, match="2 panels need one axes.*3 were given"):
        draw(plt.subplots(1, 3)[1])
    with pytest.raises(ValueError, match="not of plt.subplots.*Pass 2 axes"):
        draw(plt.figure().add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize("draw", [*DRAW.values(), *PANELS.values()])
def test_without_matplotlib_the_extra_is_named(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-turn\[plots\]'"):
        draw()


# Transitions


def test_transitions_are_a_confusion_matrix(axes):
    rng = np.random.RandomState(0)
    true = rng.choice(["cat", "cow", "dog"], 200)
    given = np.where(rng.rand(200) < 0.3, rng.choice(["cat", "cow", "dog"], 200), true)
    display = NoiseTransitionDisplay.from_predictions(true, given, ax=axes)
    expected = confusion_matrix(true, given, normalize="true")
    np.testing.assert_allclose(display.matrix, expected)
    assert display.classes.tolist() == ["cat", "cow", "dog"]
    # The picture has the wrong labels, in percent, the diagonal is left open.
    shown = display.im_.get_array()
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(shown[off], 100 * expected[off])
    assert np.ma.getmaskarray(shown)[~off].all() or np.isnan(shown[~off]).all()
    texts = [text.get_text() for text in display.text_]
    assert texts == [f"{value:.0f}" for value in 100 * expected.ravel()]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "cow", "dog"]
    assert axes.get_xlabel() == "given label"


def test_transitions_of_the_channel_are_its_own(filtered):
    display = NoiseTransitionDisplay.from_estimator(filtered)
    np.testing.assert_array_equal(
        display.matrix, filtered.noise_filter_.transition_matrix_
    )


def test_transitions_of_the_mixture_are_counted(blobs):
    pipeline = make_pipeline(
        StandardScaler(), NoiseFilteredClassifier(noise_filter="gmm", cv=None)
    )
    pipeline.fit(blobs.X, blobs.y)
    display = NoiseTransitionDisplay.from_estimator(pipeline)
    expected = confusion_matrix(
        pipeline[-1].suggested_labels_, blobs.y, normalize="true"
    )
    np.testing.assert_allclose(display.matrix, expected)


def test_noise_that_is_the_same_everywhere_is_faint():
    matrix = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    display = NoiseTransitionDisplay(matrix=matrix, classes=np.arange(4)).plot()
    assert display.im_.norm(10.0) == pytest.approx(0.25)


def test_of_many_classes_those_are_named_that_stand_out():
    matrix = np.eye(120)
    matrix[70, 71], matrix[70, 70] = 0.4, 0.6
    matrix[3, 90], matrix[3, 3] = 0.2, 0.8
    display = NoiseTransitionDisplay(matrix=matrix, classes=np.arange(120)).plot()
    display.figure_.canvas.draw()
    rows = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    columns = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert {"70", "3"} <= set(rows) and {"71", "90"} <= set(columns)
    assert display.text_ == []
    boxes = sorted(
        (tick.get_window_extent() for tick in display.ax_.get_yticklabels()),
        key=lambda box: box.y0,
    )
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


@pytest.mark.parametrize("n_classes", [2, 10, 30])
def test_no_name_is_cut_off(n_classes):
    names = [f"a class with a long name, {i}" for i in range(n_classes)]
    display = NoiseTransitionDisplay(matrix=np.eye(n_classes), classes=names).plot()
    figure = display.figure_
    figure.canvas.draw()
    width, height = figure.bbox.size
    for ax in figure.axes:
        for label in (ax.xaxis.label, ax.yaxis.label, *ax.get_yticklabels()):
            box = label.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0, label
            assert box.x1 <= width and box.y1 <= height, label
    shown = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert len(set(shown)) == n_classes


def test_one_class_has_no_noise():
    display = NoiseTransitionDisplay.from_predictions(["a", "a"], ["a", "a"])
    assert display.matrix.tolist() == [[1.0]]


def test_transitions_refuse_what_does_not_fit(blobs):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        NoiseTransitionDisplay.from_predictions([0, 1], [0])
    with pytest.raises(ValueError, match="no labels to compare"):
        NoiseTransitionDisplay.from_predictions([], [])
    with pytest.raises(ValueError, match="two types, 0 and 'a'. Name the classes"):
        NoiseTransitionDisplay.from_predictions([0, 1], ["a", "b"])
    with pytest.raises(ValueError, match="Input y_given contains NaN"):
        NoiseTransitionDisplay.from_predictions([0, 1], [0, np.nan])
    with pytest.raises(NotFittedError):
        NoiseTransitionDisplay.from_estimator(NoiseFilteredClassifier())
    knn = KNeighborsClassifier().fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match="KNeighborsClassifier has not looked"):
        NoiseTransitionDisplay.from_estimator(knn)


# Suspects


def test_suspects_in_the_order_of_their_quality(filtered, blobs, axes):
    X = np.zeros((300, 10, 20, 3), dtype=np.uint8)
    X[:, :, :, 0] = np.arange(300)[:, None, None] % 256
    display = SuspectGridDisplay.from_estimator(filtered, X, n_suspects=7, ax=axes)
    flagged = np.flatnonzero(~filtered.clean_mask_)
    expected = label_issues(filtered).loc[flagged].sort_values("rank").index[:7]
    np.testing.assert_array_equal(display.indices, expected)
    np.testing.assert_array_equal(display.given_labels, blobs.y[expected])
    np.testing.assert_array_equal(
        display.suggested_labels, filtered.suggested_labels_[expected]
    )
    for image, index in zip(display.images, expected, strict=True):
        np.testing.assert_array_equal(image, X[index])
    # Twice as wide as high, seven tiles that do not overlap.
    boxes = [image.get_extent() for image in axes.images]
    assert len(boxes) == 7
    for left, right, bottom, top in boxes:
        assert right - left == pytest.approx(2 * abs(top - bottom))
    assert (
        len({(round(left, 3), round(bottom, 3)) for left, _, bottom, _ in boxes}) == 7
    )
    captions = [text.get_text() for text in display.text_]
    assert captions == [f"→ {label}" for label in display.suggested_labels]


def test_suspects_of_predictions_are_where_labels_differ(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for file in files[:4]:
        Image.new("L", (600, 300)).save(file)
    display = SuspectGridDisplay.from_predictions(
        files, list("aaabb"), list("abaaa"), pixels=50
    )
    assert display.indices.tolist() == [1, 3, 4]
    assert [None if i is None else i.shape for i in display.images] == [
        (25, 50, 3),
        (25, 50, 3),
        None,  # no such file
    ]
    assert "cannot be read" in [text.get_text() for text in display.ax_.texts]


def test_a_suspect_may_have_no_better_label(filtered):
    model = copy.copy(filtered)
    model.suggested_labels_ = filtered.given_labels_
    X = np.zeros((300, 8, 8, 3), dtype=np.uint8)
    display = SuspectGridDisplay.from_estimator(model, X, n_suspects=2)
    assert [text.get_text() for text in display.text_] == ["no better label"] * 2


def test_no_suspects_are_a_picture_that_says_so():
    X = np.zeros((2, 9, 9), np.uint8)
    display = SuspectGridDisplay.from_predictions(X, [0, 1], [0, 1])
    assert [text.get_text() for text in display.ax_.texts] == ["no label looks wrong"]


def test_suspects_refuse_what_does_not_fit(filtered, blobs):
    with pytest.raises(ValueError, match="no pictures to draw"):
        SuspectGridDisplay.from_estimator(filtered, blobs.X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SuspectGridDisplay.from_estimator(filtered, np.zeros((9, 9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match="n_suspects must be 1 or more"):
        SuspectGridDisplay.from_estimator(filtered, blobs.X, n_suspects=0)


# Training curves


def lines(ax):
    return {line.get_label(): line.get_ydata() for line in ax.get_lines()}


def test_curves_are_those_of_the_history(blobs):
    clf = TURNClassifier(lp_epochs=3, fft_epochs=2, random_state=0, device="cpu")
    clf.fit(blobs.X, blobs.y)
    display = TrainingCurveDisplay.from_estimator(clf, is_wrong=blobs.is_wrong)
    probe, tuning, kept = display.axes_
    losses = [row["train_loss"] for row in clf.history_]
    np.testing.assert_array_equal(lines(probe)["training"], losses[:3])
    np.testing.assert_array_equal(lines(tuning)["training"], losses[3:])
    shares = [100 * sum(row["kept"]) / 300 for row in clf.history_[3:]]
    np.testing.assert_allclose(lines(kept)["kept, of all labels"], shares)
    purity = lines(kept)["right, of those kept"]
    assert len(purity) == 2
    last = 100 * np.mean(~blobs.is_wrong[clf.clean_mask_])
    assert purity[-1] == pytest.approx(last)
    base = 100 * np.mean(~blobs.is_wrong)
    np.testing.assert_allclose(lines(kept)["right, of all labels"], base)
    assert purity.min() > base


def test_purity_leaves_out_what_could_not_be_read(images, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(60)]
    for file, image in zip(files[1:], images.X[1:], strict=True):
        Image.fromarray(image).save(file)
    files[0].write_bytes(b"")
    is_wrong = np.arange(60) < 20
    mask = np.arange(1, 60) >= 10  # keeps 50, of which 10 are wrong
    clf = tiny(noise_filter=Fixed(mask), on_bad_image="skip")
    with pytest.warns(UserWarning, match="1 of 60 images cannot be read"):
        clf.fit(files, images.y)
    display = TrainingCurveDisplay.from_estimator(clf, is_wrong=is_wrong)
    np.testing.assert_allclose(display.purity, [40 / 50, 40 / 50])
    assert display.base_purity == pytest.approx(40 / 59)


def test_without_cleansing_there_are_losses_only(blobs):
    clf = LinearProbing(lp_epochs=2, device="cpu").fit(blobs.X, blobs.y)
    display = TrainingCurveDisplay.from_estimator(clf, is_wrong=blobs.is_wrong)
    assert [ax.get_title(loc="left") for ax in display.axes_] == ["linear probe"]
    assert display.purity is None


def test_what_a_search_found_is_drawn(images):
    search = GridSearchCV(tiny(lp_epochs=1, fft_epochs=1), {}, cv=2)
    search.fit(images.X, images.y)
    curve = TrainingCurveDisplay.from_estimator(search)
    assert len(curve.history) == 2
    embedding = EmbeddingDisplay.from_estimator(
        search, images.X, images.y, method="pca"
    )
    assert list(embedding.points) == ["before fine-tuning", "after fine-tuning"]


def test_validation_and_scores_have_their_curves():
    history = [
        {"train_loss": 2.0, "valid_loss": 2.5, "valid_acc": 0.4, "kept": [3, 4]},
        {"train_loss": 1.0, "valid_loss": 1.5, "valid_acc": 0.6, "kept": [5, 5]},
    ]
    display = TrainingCurveDisplay.from_history(history)
    losses, kept, scores = display.axes_
    assert lines(losses)["validation"].tolist() == [2.5, 1.5]
    assert kept.get_lines()[0].get_ydata().tolist() == [7, 10]
    assert lines(scores)["valid_acc"].tolist() == [0.4, 0.6]


def test_curves_refuse_what_has_none(filtered, blobs):
    with pytest.raises(ValueError, match="keeps no history of epochs"):
        TrainingCurveDisplay.from_estimator(filtered)
    with pytest.raises(ValueError, match="no epoch to draw"):
        TrainingCurveDisplay.from_history([])
    clf = LinearProbing(lp_epochs=1, device="cpu").fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match="is_wrong must be bool.*300 samples"):
        TrainingCurveDisplay.from_estimator(clf, is_wrong=blobs.y)


# Maps of features


def test_maps_before_and_after_fine_tuning(tuned, images):
    display = EmbeddingDisplay.from_estimator(
        tuned, images.X, images.y, method="pca", max_samples=40
    )
    backbones = {
        "before fine-tuning": pool(),
        "after fine-tuning": tuned.net_.module_.embed.backbone,
    }
    assert list(display.points) == list(backbones)
    rows = np.sort(np.random.RandomState(0).permutation(60)[:40])
    np.testing.assert_array_equal(display.y, images.y[rows])
    for title, backbone in backbones.items():
        extract = FeatureExtractor(backbone, input_size=8)
        features = extract.fit_transform(images.X[rows])
        expected = np.abs(PCA(2).fit_transform(features.astype(float)))
        np.testing.assert_allclose(np.abs(display.points[title]), expected, atol=1e-3)
    assert not np.allclose(*display.points.values(), atol=1e-3)


def test_the_map_is_that_of_scikit_learn(blobs):
    display = EmbeddingDisplay.from_features(blobs.X, blobs.y_true, method="pca")
    expected = PCA(2).fit_transform(blobs.X)
    np.testing.assert_allclose(np.abs(display.points["features"]), np.abs(expected))
    # Neighbours, the sample itself left out, by scikit-learn's classifier.
    knn = KNeighborsClassifier(n_neighbors=10).fit(blobs.X, blobs.y_true)
    neighbours = knn.kneighbors(return_distance=False)
    same = blobs.y_true[neighbours] == blobs.y_true[:, None]
    assert display.agreement["features"] == pytest.approx(same.mean())


def test_tsne_is_the_same_each_time_and_keeps_clusters():
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], 30)
    X = rng.normal(size=(60, 5)) + 20 * y[:, None]
    first, second = (EmbeddingDisplay.from_features(X, y).points for _ in range(2))
    np.testing.assert_array_equal(first["features"], second["features"])
    knn = KNeighborsClassifier(1).fit(first["features"][::2], y[::2])
    assert knn.score(first["features"][1::2], y[1::2]) == 1


def test_frozen_backbones_and_features_have_one_map(blobs):
    clf = LinearProbing(lp_epochs=1, device="cpu").fit(blobs.X, blobs.y)
    display = EmbeddingDisplay.from_estimator(clf, blobs.X, blobs.y, method="pca")
    assert list(display.points) == ["features"]
    clf = TURNClassifier(lp_epochs=5, fft_epochs=1, random_state=0, device="cpu")
    clf.fit(blobs.X, blobs.y)
    tuned = EmbeddingDisplay.from_estimator(clf, blobs.X, blobs.y, method="pca")
    assert list(tuned.points) == ["features"]
    np.testing.assert_allclose(tuned.points["features"], display.points["features"])


class Tokens(nn.Module):
    """Means of embeddings of token ids."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 8)

    def forward(self, ids):
        return self.table(ids.long()).mean(dim=1)


def test_a_tuned_encoder_of_rows_that_are_no_features_has_two_maps():
    ids = np.random.RandomState(0).randint(0, 10, (60, 5))
    X, y = RawInputs(ids), ids[:, 0] % 2
    clf = FullFineTuning(Tokens(), fft_epochs=1, random_state=0).fit(X, y)
    display = EmbeddingDisplay.from_estimator(clf, X, y, method="pca")
    assert list(display.points) == ["before fine-tuning", "after fine-tuning"]


@pytest.mark.parametrize("n_classes", [2, 10, 20, 100])
def test_legend_names_or_neither(n_classes):
    y = np.arange(2 * n_classes) % n_classes
    X = np.random.RandomState(0).rand(len(y), 3)
    ax = EmbeddingDisplay.from_features(X, y, method="pca").axes_[0]
    legend = ax.get_legend()
    assert (legend is not None) == (n_classes <= 10)
    assert len(ax.texts) == (20 if n_classes == 20 else 0)
    if legend is not None:
        assert len(legend.get_texts()) == n_classes
    looks = {
        (
            c.get_facecolor().tobytes(),
            len(c.get_paths()[0].vertices),
            str(c.get_paths()),
        )
        for c in ax.collections
    }
    assert len(looks) >= min(n_classes, 10)


def test_maps_refuse_what_does_not_fit(filtered, blobs):
    with pytest.raises(TypeError, match="NoiseFilteredClassifier has no backbone"):
        EmbeddingDisplay.from_estimator(filtered, blobs.X, blobs.y)
    with pytest.raises(ValueError, match="method must be 'tsne' or 'pca'"):
        EmbeddingDisplay.from_features(blobs.X, blobs.y, method="umap")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        EmbeddingDisplay.from_features(blobs.X, blobs.y[:9])
    with pytest.raises(ValueError, match="minimum of 3 is required"):
        EmbeddingDisplay.from_features(blobs.X[:2], blobs.y[:2])


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend():
    y = np.array(["_bg", "cat"])[np.arange(6) % 2]
    display = EmbeddingDisplay.from_features(np.eye(6), y, method="pca")
    texts = display.axes_[-1].get_legend().get_texts()
    assert [text.get_text().strip() for text in texts] == ["_bg", "cat"]


def test_without_fine_tuning_there_is_no_purity_to_draw(blobs):
    clf = TURNClassifier(fft_epochs=0, random_state=0).fit(blobs.X, blobs.y)
    display = TrainingCurveDisplay.from_estimator(clf, is_wrong=blobs.is_wrong)
    assert display.purity is None
    assert display.base_purity == pytest.approx(1 - blobs.is_wrong.mean())
