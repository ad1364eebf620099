"""What all classifiers share: fit, predict, repeat, save."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import (
    CLASSIFIERS,
    Pool,
    assert_different,
    assert_same,
    estimated,
    pool,
    tiny,
)

from sklearn_turn import FeatureExtractor, NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.exceptions import SkippedImageWarning

REPEATED = pytest.mark.parametrize(
    "params",
    [
        {"backbone": pool, "input_size": 8},
        {"backbone": "test_vit", "pretrained": False, "input_size": 32},
        {"backbone": "test_convnext", "pretrained": False, "input_size": 32},
        {"backbone": "letters"},
    ],
    ids=["factory", "vit", "convnext", "letters"],
)


@REPEATED
def test_random_state_makes_a_fit_repeatable(params, images):
    params = {"lp_epochs": 2, "fft_epochs": 2, "fft_batch_size": 8, **params}
    fits = []
    for seed in (0, 0, 1):
        # Whatever was drawn from torch's own generator before.
        torch.manual_seed(len(fits))
        clf = TURNClassifier(**params, random_state=seed)
        fits.append(estimated(clf.fit(images.X, images.y)))
    assert_same(fits[0], fits[1])
    assert_different(fits[0], fits[2])


@REPEATED
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_global_random_states_are_left_alone(kind, params, images):
    torch.manual_seed(0)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    kind(**params, random_state=0).fit(images.X[:30], images.y[:30])
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], before_numpy)


def test_fits_on_features_are_repeatable_too(blobs):
    before = torch.get_rng_state()
    fits = [
        TURNClassifier(random_state=seed).fit(blobs.X, blobs.y) for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(estimated(fits[0]), estimated(fits[1]))
    assert_different(estimated(fits[0]), estimated(fits[2]))


def test_a_random_state_instance_moves_on(blobs):
    rng = np.random.RandomState(0)
    clf = TURNClassifier(lp_epochs=2, fft_epochs=1, random_state=rng)
    first = estimated(clf.fit(blobs.X, blobs.y))
    assert_different(first, estimated(clf.fit(blobs.X, blobs.y)))


@pytest.mark.parametrize("kind", [LinearProbing, FullFineTuning])
def test_baselines_are_repeatable(kind, images):
    proba = [
        kind("test_vit", pretrained=False, input_size=32, random_state=0)
        .fit(images.X, images.y)
        .predict_proba(images.X)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*proba)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["red", "green", "blue"]),
        np.array(["red", "green", "blue"], dtype=object),
        np.array([7, 3, 11]),
        np.array([2.0, -1.0, 5.0]),
    ],
    ids=["str", "object", "int", "float"],
)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_predictions_are_members_of_classes(kind, names, blobs):
    clf = kind(random_state=0).fit(blobs.X, names[blobs.y])
    np.testing.assert_array_equal(clf.classes_, np.sort(names))
    predicted = clf.predict(blobs.X)
    assert predicted.dtype == names.dtype
    assert (predicted == names[blobs.y_true]).mean() > 0.8
    proba = clf.predict_proba(blobs.X)
    np.testing.assert_array_equal(predicted, clf.classes_[proba.argmax(axis=1)])


@pytest.mark.parametrize("collect", [list, tuple, np.array])
def test_labels_in_any_sequence(collect, images):
    names = collect(["rgb"[label] for label in images.y])
    clf = tiny(lp_epochs=20).fit(images.X, names)
    assert clf.classes_.tolist() == ["b", "g", "r"]
    assert (clf.predict(images.X) == np.array(names)).mean() > 0.9


def test_a_column_of_labels_is_flattened_with_a_warning(images):
    with pytest.warns(DataConversionWarning):
        clf = tiny().fit(images.X, images.y[:, None])
    assert clf.predict(images.X).shape == (60,)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_probabilities_are_float64_and_sum_to_one(kind, images):
    clf = kind(pool, input_size=8, random_state=0).fit(images.X, images.y)
    proba = clf.predict_proba(images.X)
    assert proba.dtype == np.float64 and proba.shape == (60, 3)
    assert proba.min() >= 0
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_features_are_learned(kind, blobs):
    accuracy = kind(random_state=0).fit(blobs.X, blobs.y).score(blobs.X, blobs.y_true)
    by_convex = LogisticRegression().fit(blobs.X, blobs.y)
    assert accuracy > by_convex.score(blobs.X, blobs.y_true) - 0.15


def test_read_only_features_raise_no_warning(blobs):
    X = blobs.X.astype(np.float32)
    X.setflags(write=False)
    torch.set_warn_always(True)
    try:
        clf = TURNClassifier(lp_epochs=2, fft_epochs=1).fit(X, blobs.y)
        assert clf.predict(X).shape == (300,)
    finally:
        torch.set_warn_always(False)


def test_lossless_files_train_as_the_array_does(images, png_files):
    from_array = tiny(lp_epochs=5).fit(images.X, images.y)
    from_files = tiny(lp_epochs=5).fit(png_files, images.y)
    assert_same(estimated(from_array), estimated(from_files))
    np.testing.assert_array_equal(
        from_array.predict_proba(png_files), from_files.predict_proba(images.X)
    )
    assert from_files.input_shape_ is None
    assert not hasattr(from_files, "n_features_in_")
    assert from_array.input_shape_ == (8, 8, 3)
    assert from_array.n_features_in_ == 192


@pytest.mark.parametrize("source", ["array", "files"])
def test_grid_search_over_the_papers_parameters(source, images, png_files):
    X = images.X if source == "array" else png_files
    grid = {"tau": [0.3, 0.6], "lp_epochs": [0, 10], "fft_epochs": [0, 1]}
    search = GridSearchCV(tiny(), grid, cv=2, error_score="raise")
    search.fit(X, images.y)
    assert search.best_params_["lp_epochs"] == 10
    by_setting = dict(
        zip(
            map(str, search.cv_results_["params"]),
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    )
    untrained = str({"fft_epochs": 0, "lp_epochs": 0, "tau": 0.3})
    assert by_setting[untrained] == pytest.approx(1 / 3, abs=0.1)
    assert search.best_score_ > 0.9
    assert search.predict(X).shape == (60,)


@pytest.mark.parametrize("source", ["array", "files"])
def test_cross_validate(source, images, png_files):
    X = images.X if source == "array" else np.array(png_files)
    result = cross_validate(
        tiny(lp_epochs=20),
        X,
        images.y,
        cv=3,
        scoring=["accuracy", "neg_log_loss"],
        return_estimator=True,
        error_score="raise",
    )
    assert result["test_accuracy"].mean() > 0.9
    assert [len(clf.losses_) for clf in result["estimator"]] == [40, 40, 40]


def test_last_in_a_pipeline_on_features(blobs):
    pipeline = make_pipeline(StandardScaler(), TURNClassifier(random_state=0))
    pipeline.fit(blobs.X, blobs.y)
    by_hand = TURNClassifier(random_state=0)
    scaled = StandardScaler().fit_transform(blobs.X)
    np.testing.assert_array_equal(
        pipeline.predict(blobs.X), by_hand.fit(scaled, blobs.y).predict(scaled)
    )


def test_after_a_feature_extractor_in_a_pipeline(images, png_files):
    pipeline = make_pipeline(
        FeatureExtractor(pool, input_size=8), TURNClassifier(random_state=0)
    )
    pipeline.fit(png_files, images.y)
    assert pipeline.score(images.X, images.y) > 0.9


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(ensemble, images):
    calibrated = CalibratedClassifierCV(tiny(lp_epochs=20), cv=2, ensemble=ensemble)
    calibrated.fit(images.X, images.y)
    proba = calibrated.predict_proba(images.X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (calibrated.predict(images.X) == images.y).mean() > 0.9


def test_damaged_files_are_left_out_on_request(images, png_files):
    bad = [4, 30]
    for index in bad:
        with open(png_files[index], "wb") as file:
            file.write(b"not an image")
    good = np.setdiff1d(np.arange(60), bad)
    with pytest.warns(SkippedImageWarning, match="2 of 60"):
        clf = tiny(on_bad_image="skip").fit(png_files, images.y)
    assert clf.skipped_.tolist() == bad
    without = tiny().fit(images.X[good], images.y[good])
    np.testing.assert_array_equal(clf.clean_mask_[good], without.clean_mask_)
    np.testing.assert_array_equal(clf.losses_[good], without.losses_)
    assert not clf.clean_mask_[bad].any() and np.isnan(clf.losses_[bad]).all()
    np.testing.assert_array_equal(clf.given_labels_, images.y)
    np.testing.assert_array_equal(clf.suggested_labels_[bad], images.y[bad])
    np.testing.assert_array_equal(
        clf.suggested_labels_[good], without.suggested_labels_
    )


def test_clone_of_a_fitted_classifier_is_unfitted(images):
    clf = tiny().fit(images.X, images.y)
    copy = clone(clf)
    assert copy.get_params() == clf.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(images.X)
    assert_same(estimated(clf), estimated(copy.fit(images.X, images.y)))


def test_fitting_leaves_parameters_as_they_were(images):
    lp_params, fft_params = {"callbacks": []}, {"optimizer__betas": (0.8, 0.9)}
    clf = tiny(lp_params=lp_params, fft_params=fft_params)
    before = clf.get_params()
    clf.fit(images.X, images.y)
    assert clf.get_params() == before
    assert lp_params == {"callbacks": []}
    assert fft_params == {"optimizer__betas": (0.8, 0.9)}


def test_a_module_is_copied_before_use(images):
    backbone = Pool().train()
    clf = tiny(backbone=backbone, fft_lr=0.01).fit(images.X, images.y)
    assert torch.equal(backbone.gain, torch.ones(3, 1, 1))
    assert torch.equal(backbone.shift, torch.zeros(3, 1, 1))
    assert backbone.training and backbone.gain.grad is None
    assert clf.net_.module_.embed.backbone is not backbone
    again = clone(clf).fit(images.X, images.y)
    assert_same(estimated(clf), estimated(again))


def test_fitting_twice_starts_afresh(images):
    clf = tiny(fft_lr=0.01).fit(images.X, images.y)
    first = estimated(clf)
    assert_same(first, estimated(clf.fit(images.X, images.y)))


def test_refit_forgets_what_the_earlier_fit_set(blobs, images, png_files):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(blobs.X, columns=["width", "height"])
    clf = tiny().fit(frame, blobs.y)
    assert clf.feature_names_in_.tolist() == ["width", "height"]
    clf.set_params(cleansing=None).fit(png_files, images.y)
    for name in (
        "feature_names_in_",
        "n_features_in_",
        "losses_",
        "noise_filter_",
    ):
        assert not hasattr(clf, name)
    assert clf.clean_mask_.shape == (60,)
    clf.fit(blobs.X, blobs.y)
    assert clf.n_features_in_ == 2 and clf.input_shape_ == (2,)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_saved_models_predict_the_same_and_hold_little_but_parameters(kind, tmp_path):
    # 1.2 MB of images beside 1.2 MB of parameters: keeping either twice would show.
    rng = np.random.RandomState(0)
    X = rng.randint(0, 255, (400, 32, 32, 3), dtype=np.uint8)
    y = np.arange(400) % 2
    X[y == 1] //= 2  # something to learn
    epochs = {TURNClassifier: ["lp_epochs", "fft_epochs"]}
    epochs = epochs.get(kind, ["lp_epochs" if kind is LinearProbing else "fft_epochs"])
    clf = kind(
        "test_vit",
        pretrained=False,
        input_size=32,
        random_state=0,
        **dict.fromkeys(epochs, 1),
    ).fit(X, y)
    path = tmp_path / "model.joblib"
    joblib.dump(clf, path)
    loaded = joblib.load(path)
    np.testing.assert_array_equal(
        loaded.predict_proba(X[:50]), clf.predict_proba(X[:50])
    )
    np.testing.assert_array_equal(loaded.classes_, clf.classes_)
    if kind is TURNClassifier:
        np.testing.assert_array_equal(loaded.clean_mask_, clf.clean_mask_)
    n_bytes = 4 * sum(p.numel() for p in clf.net_.module_.parameters())
    assert path.stat().st_size < 1.3 * n_bytes


def test_saved_features_models_predict_the_same(blobs, tmp_path):
    clf = TURNClassifier(random_state=0).fit(blobs.X, blobs.y)
    joblib.dump(clf, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(
        loaded.predict_proba(blobs.X), clf.predict_proba(blobs.X)
    )


def test_silent_by_default(images, capsys):
    tiny().fit(images.X, images.y).predict(images.X)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_after_a_failed_refit_nothing_is_fitted(kind, images):
    clf = kind(pool, input_size=8, random_state=0).fit(images.X, images.y)
    with pytest.raises(ValueError, match="missing"):
        clf.fit(images.X, np.where(np.arange(60) == 3, np.nan, images.y))
    with pytest.raises(NotFittedError):
        clf.predict(images.X)
    fitted = [name for name in vars(clf) if name.endswith("_")]
    assert fitted == []


def test_a_fit_that_fails_in_training_publishes_nothing(images):
    def fail(batch):
        raise MemoryError("no memory left")

    clf = tiny(augment=fail)
    with pytest.raises(MemoryError):
        clf.fit(images.X, images.y)
    assert [name for name in vars(clf) if name.endswith("_")] == []


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_loader_processes_do_not_change_a_fit(images, png_files):
    fits = [
        TURNClassifier(
            "test_convnext",
            pretrained=False,
            input_size=32,
            lp_epochs=2,
            fft_epochs=2,
            num_workers=num_workers,
            random_state=0,
        ).fit(png_files, images.y)
        for num_workers in (0, 2)
    ]
    assert_same(*map(estimated, fits))
    np.testing.assert_array_equal(*(clf.predict_proba(png_files) for clf in fits))


def test_fits_in_threads_are_those_of_one_thread(images):
    def fit(seed):
        clf = TURNClassifier("letters", lp_epochs=2, fft_epochs=1, random_state=seed)
        return estimated(clf.fit(images.X, images.y))

    alone = [fit(seed) for seed in range(3)]
    together = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(fit)(seed) for seed in range(3)
    )
    for first, second in zip(alone, together, strict=True):
        assert_same(first, second)


def test_uint8_and_float_images_in_one_list(images):
    mixed = [
        image if i % 2 else (image / 255).astype(np.float32)
        for i, image in enumerate(images.X)
    ]
    extract = FeatureExtractor(pool, input_size=8)
    np.testing.assert_allclose(
        extract.fit_transform(mixed), extract.fit_transform(images.X), atol=1e-5
    )


def test_a_filter_is_given_the_users_labels(images):
    names = np.array(["red", "green", "blue"])[images.y]
    clf = tiny(noise_filter="gmm").fit(images.X, names)
    assert clf.noise_filter_.classes_.tolist() == ["blue", "green", "red"]
    proba = clf.noise_filter_.transform(clf.losses_[:, None], names)
    np.testing.assert_allclose(proba[:, 0], clf.clean_proba_)


def test_skipped_files_may_be_repeated(images, png_files):
    """As in a bootstrap of a source."""
    from sklearn_turn.inputs import ImageFiles

    with open(png_files[4], "wb") as file:
        file.write(b"not an image")
    chosen = np.array([*range(40), 4, 4])
    X, y = ImageFiles(png_files)[chosen], images.y[chosen]
    with pytest.warns(SkippedImageWarning, match="3 of 42"):
        clf = tiny(on_bad_image="skip").fit(X, y)
    assert clf.skipped_.tolist() == [4, 40, 41]
    assert clf.clean_mask_.shape == (42,)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pil_images_that_are_not_read_yet(num_workers, tmp_path):
    """Their open files are shared with loader processes."""
    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 255, (12, 120, 120, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    lazy = [Image.open(path) for path in sorted(tmp_path.glob("*.png"))]
    extract = FeatureExtractor(pool, input_size=8, num_workers=num_workers).fit(lazy)
    expected = FeatureExtractor(pool, input_size=8).fit_transform(pixels)
    for _ in range(3):
        np.testing.assert_allclose(extract.transform(lazy), expected, rtol=1e-5)
    for image in lazy:
        image.close()


@pytest.mark.parametrize("collect", [np.array, pd.Series])
@pytest.mark.parametrize("kind", [LinearProbing, NoiseFilteredClassifier])
def test_given_labels_stay_when_the_caller_corrects_them_in_place(kind, collect, blobs):
    y = collect(blobs.y)
    clf = kind().fit(blobs.X, y)
    y[:] = blobs.y[0]
    np.testing.assert_array_equal(clf.given_labels_, blobs.y)


@pytest.mark.parametrize("kind", [LinearProbing, NoiseFilteredClassifier])
def test_nullable_labels_are_predicted_as_they_are(kind, blobs):
    y = pd.Series(blobs.y == blobs.y[0], dtype="boolean")
    clf = kind().fit(blobs.X, y)
    assert clf.classes_.dtype == clf.given_labels_.dtype == bool


def test_features_that_a_network_made(blobs):
    rows = torch.tensor(blobs.X, requires_grad=True)
    clf = LinearProbing(lp_epochs=1, random_state=0)
    expected = clf.fit(blobs.X, blobs.y).predict_proba(blobs.X)
    again = clf.fit(rows, blobs.y).predict_proba(rows)
    np.testing.assert_array_equal(again, expected)


def test_parameters_may_be_numpys(images, png_files, tmp_path):
    plain = {"batch_size": 3, "lp_batch_size": 4, "fft_batch_size": 5, "input_size": 32}
    fits = []
    for convert in (int, np.int64):
        clf = tiny(
            **{name: convert(value) for name, value in plain.items()},
            crop_pct=np.float32(0.5) if convert is np.int64 else 0.5,
            memory=tmp_path / convert.__name__,
        )
        fits.append(clf.fit(png_files, images.y).predict_proba(png_files))
    np.testing.assert_array_equal(*fits)
