"""Bad input is refused in the caller's terms, before any training."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from support import CLASSIFIERS, Fixed, Pool, Tally, pool, tiny

from sklearn_turn import (
    FeatureExtractor,
    GMMNoiseFilter,
    NoiseFilteredClassifier,
    TURNClassifier,
)
from sklearn_turn.exceptions import (
    CleansingWarning,
    ImageReadError,
    SkippedImageWarning,
)
from sklearn_turn.inputs import RawInputs


def _with(y, index, value):
    changed = np.array(["a", "b", "c"], dtype=object)[y]
    changed[index] = value
    return changed


BAD_LABELS = {
    "too few": (lambda y: y[:-1], r"inconsistent numbers of samples: \[60, 59\]"),
    "none": (lambda y: None, "requires y to be passed"),
    "one class": (lambda y: np.full(60, 5), "only one class.*5"),
    "None": (lambda y: _with(y, 3, None), "missing.*index 3"),
    "first None": (lambda y: _with(y, 0, None), "missing.*index 0"),
    "NaN among strings": (lambda y: _with(y, 3, np.nan), "NaN"),
    "NaN": (lambda y: np.where(np.arange(60) == 3, np.nan, y), "NaN"),
    "mixed types": (lambda y: _with(y, 3, 7), "mix types.*int, str"),
    "continuous": (lambda y: y + 0.5, "Unknown label type: continuous"),
    "two columns": (lambda y: np.column_stack([y, y]), "y should be a 1d array"),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("case", BAD_LABELS)
@pytest.mark.parametrize("features", [False, True], ids=["images", "features"])
def test_bad_labels(features, case, kind, images, monkeypatch):
    change, message = BAD_LABELS[case]
    tally, trained = Tally(), []
    monkeypatch.setattr(kind, "_run", lambda self, task: trained.append(task))
    X = images.X.reshape(60, -1)[:, :5] if features else images.X
    clf = kind(lambda: Pool(tally), input_size=8)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, change(images.y))
    assert (tally.built, tally.calls, trained) == (0, 0, [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_must_be_finite(value, blobs, monkeypatch):
    trained = []
    monkeypatch.setattr(TURNClassifier, "_run", lambda self, task: trained.append(1))
    X = blobs.X.copy()
    X[5, 1] = value
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        TURNClassifier().fit(X, blobs.y)
    assert trained == []
    fitted = TURNClassifier(lp_epochs=5, fft_epochs=0, random_state=0)
    monkeypatch.undo()
    fitted.fit(blobs.X, blobs.y)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        fitted.predict(X)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (0, 8, 8)], ids=str)
def test_no_images_at_all(shape):
    with pytest.raises(ValueError, match=r"0 sample|empty|no images|at least"):
        tiny().fit(np.empty(shape, dtype=np.uint8), np.empty(0, dtype=int))


def test_one_image(images):
    with pytest.raises(ValueError, match="only one class"):
        tiny().fit(images.X[:1], images.y[:1])


def test_unknown_device_is_named(blobs):
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        TURNClassifier(device="gpu").fit(blobs.X, blobs.y)


@pytest.mark.parametrize(
    "parameter",
    [
        {"tau": 2},
        {"q": -0.1},
        {"lp_epochs": -1},
        {"fft_epochs": 1.5},
        {"cleansing": "twice"},
        {"balance": 0.5},
        {"fft_optimizer": "lion"},
        {"fft_lr": 0},
        {"fft_lr_warmup": 1.0},
        {"augment": "heavy"},
        {"crop_pct": 0},
        {"precision": "float64"},
        {"lp_params": [1]},
    ],
    ids=str,
)
def test_parameters_out_of_range(parameter, blobs):
    name = next(iter(parameter))
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        TURNClassifier(**parameter).fit(blobs.X, blobs.y)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_predict_needs_a_fit(kind, images):
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(kind(pool), method)(images.X)


@pytest.fixture(scope="module")
def on_images(images):
    return tiny(lp_epochs=1, fft_epochs=0).fit(images.X, images.y)


@pytest.fixture(scope="module")
def on_features(blobs):
    clf = TURNClassifier(lp_epochs=1, fft_epochs=0, random_state=0)
    return clf.fit(blobs.X, blobs.y)


@pytest.mark.parametrize("shape", [(2, 9, 8, 3), (2, 8, 8, 1), (2, 8, 8), (2, 3, 8, 8)])
def test_predict_on_another_image_shape(shape, on_images):
    given, fitted = (str(s).replace("(", r"\(") for s in (shape[1:], (8, 8, 3)))
    with pytest.raises(ValueError, match=f"{given}.*{fitted}".replace(")", r"\)")):
        on_images.predict(np.zeros(shape, dtype=np.uint8))


def test_predict_on_features_after_images(on_images, blobs):
    with pytest.raises(ValueError, match="fitted on images, but X holds 2-D features"):
        on_images.predict(blobs.X)


def test_predict_on_images_after_features(on_features, images, png_files):
    for X in (images.X, png_files):
        with pytest.raises(ValueError, match=r"fitted on 2-D features.*images"):
            on_features.predict(X)


@pytest.mark.parametrize("n_features", [1, 3])
def test_predict_on_another_number_of_features(n_features, on_features):
    message = f"X has {n_features} features, but TURNClassifier is expecting 2"
    with pytest.raises(ValueError, match=message):
        on_features.predict(np.zeros((4, n_features)))


NO_SETS = {
    "None": (None, "X is None"),
    "path": ("photo.jpg", "one path.*Pass a list"),
    "bytes": (b"photo.jpg", "one path.*Pass a list"),
    "list of bytes": ([b"1", b"2"], "holds bytes"),
    "dict": ({"image": [1, 2], "label": [0, 1]}, "keys 'image', 'label'"),
    "generator": ((i for i in range(3)), "generator.*list"),
    "set": ({1, 2}, "set.*list"),
    "number": (object(), "without length"),
    "image": (Image.new("RGB", (8, 8)), "one image"),
    "5-D": (np.zeros((2, 3, 4, 5, 6)), "5 dimensions"),
    "objects": (np.full((2, 8, 8, 3), None), "not of numbers"),
}


@pytest.mark.parametrize("case", NO_SETS)
def test_what_is_no_set_of_samples_is_named(case):
    X, message = NO_SETS[case]
    with pytest.raises((TypeError, ValueError), match=message):
        TURNClassifier().fit(X, [0, 1])


def test_mixed_labels_in_a_list(blobs):
    with pytest.raises(ValueError, match=r"mix types.*int, str"):
        TURNClassifier().fit(blobs.X[:4], ["a", "b", 1, 2])


def test_a_device_that_is_not_there(blobs):
    if torch.cuda.is_available():
        pytest.skip("there is such a device")
    with pytest.raises(ValueError, match="device='cuda', but torch sees 0 devices"):
        TURNClassifier(device="cuda").fit(blobs.X, blobs.y)


@pytest.mark.parametrize(
    "noise_filter, message",
    [
        (GMMNoiseFilter, "GMMNoiseFilter"),
        (LogisticRegression(), "looks like a classifier"),
        ("median", "noise_filter"),
        (3, "noise_filter"),
        (GMMNoiseFilter(tau=3), "tau"),
    ],
    ids=["class", "classifier", "name", "number", "its parameter"],
)
def test_a_noise_filter_that_is_none(noise_filter, message, blobs, monkeypatch):
    ran = []
    monkeypatch.setattr(TURNClassifier, "_run", lambda self, task: ran.append(1))
    with pytest.raises((TypeError, ValueError), match=message):
        TURNClassifier(noise_filter=noise_filter).fit(blobs.X, blobs.y)
    assert ran == []


@pytest.mark.parametrize(
    "memory, error", [(3, ValueError), (joblib, TypeError)], ids=["number", "module"]
)
def test_a_memory_that_is_none(memory, error, blobs):
    with pytest.raises(error, match="memory"):
        TURNClassifier(memory=memory).fit(blobs.X, blobs.y)


def test_raw_inputs_and_images_are_not_mistaken(on_images, images):
    with pytest.raises(ValueError, match="fitted on images, but X holds RawInputs"):
        on_images.predict(RawInputs(images.X))


def test_one_class_is_named_plainly(blobs):
    with pytest.raises(ValueError, match=r"only one class: 0\.0\.$"):
        TURNClassifier().fit(blobs.X, np.zeros(300))


def test_an_empty_list_of_paths_is_a_pattern_that_found_none():
    for fit in (TURNClassifier().fit, FeatureExtractor("letters").fit):
        with pytest.raises(ValueError, match="empty list.*check the pattern"):
            fit([], [])


def test_a_frame_with_one_column_of_paths(images, png_files):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"path": png_files})
    for fit in (tiny().fit, FeatureExtractor("letters").fit):
        with pytest.raises(TypeError, match=r"Pass that column: X\['path'\]"):
            fit(frame, images.y)
    assert tiny().fit(frame["path"], images.y).predict(frame["path"]).shape == (60,)


def test_a_missing_path_is_named_with_the_way_out(images, png_files):
    pd = pytest.importorskip("pandas")
    paths = pd.Series([*png_files[:-1], None])
    with pytest.raises(ValueError, match=r"Item 59 of the paths.*dropna"):
        tiny(on_bad_image="skip").fit(paths, images.y)


def test_when_no_image_can_be_read(images, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(60)]
    for path in paths:
        Path(path).write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        tiny(on_bad_image="skip").fit(paths, images.y)
    assert str(caught.value).startswith("Cannot read any of 60 images:")
    assert "and 50 more" in str(caught.value)
    assert str(caught.value).endswith("None is left to train on.")  # skipped they are


def test_a_folder_among_the_paths(images, png_files, tmp_path):
    with pytest.raises(ValueError, match="a folder; datasets.load_image_folder"):
        tiny().fit([*png_files[:-1], str(tmp_path)], images.y)


@pytest.mark.parametrize("dtype, advice", [("uint16", "65535"), ("bool", "float32")])
def test_the_advice_for_other_types_keeps_the_picture(dtype, advice, images):
    X = (images.X > 100) if dtype == "bool" else images.X.astype(dtype) * 257
    with pytest.raises(ValueError, match=advice):
        tiny().fit(X, images.y)
    scaled = X.astype("float32") / (1 if dtype == "bool" else 65535)
    assert tiny(lp_epochs=20).fit(scaled, images.y).score(scaled, images.y) > 0.9


def test_a_class_without_a_readable_image_is_named(images, png_files):
    for index in np.flatnonzero(images.y == 1):
        with open(png_files[index], "wb") as file:
            file.write(b"not an image")
    names = np.array(["cat", "dog", "owl"])[images.y]
    with pytest.warns(SkippedImageWarning) as caught:
        clf = tiny(on_bad_image="skip").fit(png_files, names)
    assert any("never predicted: dog." in str(w.message) for w in caught)
    assert clf.classes_.tolist() == ["cat", "owl"]


def test_images_need_an_extractor_before_the_filtered_classifier(images):
    with pytest.raises(ValueError, match=r"4 dimensions.*FeatureExtractor"):
        NoiseFilteredClassifier().fit(images.X, images.y)


def test_a_class_that_a_filter_drops_is_named(blobs):
    clf = TURNClassifier(noise_filter=Fixed(blobs.y != 1), random_state=0)
    with pytest.warns(CleansingWarning, match="no sample of 1 classes.*: 1. Lower"):
        clf.fit(blobs.X, blobs.y)
