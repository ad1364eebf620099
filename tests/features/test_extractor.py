"""FeatureExtractor: a frozen backbone as a transformer."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import timm
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version
from timm.data import create_transform
from torch import nn

from sklearn_turn import FeatureExtractor, NoiseFilteredClassifier
from sklearn_turn.exceptions import ImageReadError
from sklearn_turn.inputs import ImageFiles, RawInputs

SIZE = 64
SKLEARN = parse_version(sklearn.__version__)

# torch's loader forks; Python 3.12 and later warn where threads are running.
forking = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def extractor(backbone="test_resnet", **options):
    options = {"device": "cpu", "precision": "float32", **options}
    if isinstance(backbone, str):
        options.setdefault("pretrained", False)
    return FeatureExtractor(backbone, **options)


def tiny_vit(seed=0):
    torch.manual_seed(seed)
    return timm.create_model("test_vit", num_classes=0, img_size=SIZE).eval()


def tiny_resnet():
    """With BatchNorm statistics that differ from those of any batch, in train mode."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.train()


def smooth_images(n, seed=0):
    """Images whose pixels vary slowly, so that resizing is well defined."""
    small = np.random.RandomState(seed).randint(0, 256, (n, 6, 8, 3)).astype(np.uint8)
    big = [Image.fromarray(x).resize((90, 70), Image.Resampling.BICUBIC) for x in small]
    return np.stack([np.array(image) for image in big])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of eight PNG images of two sizes."""
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for i, image in enumerate(smooth_images(8)):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(image[: 70 - 10 * (i % 2)]).save(paths[-1])
    return paths


@torch.no_grad()
def naive_features(model, pil_images):
    """Features as timm's documentation computes them, one image at a time."""
    config = model.pretrained_cfg
    transform = create_transform(
        (3, SIZE, SIZE),
        is_training=False,
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
    )
    rows = [model(transform(image)[None])[0] for image in pil_images]
    return torch.stack(rows).numpy()


def assert_close_features(found, expected):
    # Rounding of resized pixels; see test_images. Measured: 0.0005.
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.005 * np.abs(expected).max()


@pytest.mark.parametrize("make", [tiny_vit, tiny_resnet])
def test_features_of_arrays_are_timms(make):
    model, X = make(), smooth_images(6)
    expected = naive_features(make().eval(), [Image.fromarray(x) for x in X])
    found = extractor(model, input_size=SIZE).fit_transform(X)
    assert_close_features(found, expected)
    # The images differ by far more than the tolerance.
    assert np.ptp(expected, axis=0).max() > 0.05 * np.abs(expected).max()


def test_features_of_files_are_timms(files):
    model = tiny_vit()
    images = []
    for path in files:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    found = extractor(model, input_size=SIZE).fit_transform(files)
    assert_close_features(found, naive_features(model, images))


def test_same_size_images_need_no_tolerance():
    model, X = tiny_vit(), smooth_images(5)[:, :SIZE, :SIZE]
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[k]).view(3, 1, 1) for k in ("mean", "std"))
    images = (torch.from_numpy(X).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        expected = model(images).numpy()
    found = extractor(model, input_size=SIZE, crop_pct=1.0).fit_transform(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_vit, tiny_resnet])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_chunks_do_not_matter(files, make, batch_size):
    model = make()
    together = extractor(model, input_size=SIZE, batch_size=100).fit_transform(files)
    apart = extractor(model, input_size=SIZE, batch_size=batch_size)
    np.testing.assert_allclose(
        apart.fit_transform(files), together, rtol=1e-4, atol=1e-5
    )


def test_bfloat16_is_close_to_float32():
    model, X = tiny_vit(), smooth_images(6)
    full = extractor(model, input_size=SIZE).fit_transform(X)
    half = extractor(model, input_size=SIZE, precision="bfloat16").fit_transform(X)
    assert half.dtype == np.float32
    assert not np.array_equal(half, full)
    # Measured: 0.006.
    assert np.abs(half - full).max() < 0.03 * np.abs(full).max()


class Counting(nn.Module):
    """Mean colours, and the number of images in each batch it has seen."""

    seen: list[int] = []

    def forward(self, images):
        self.seen.append(len(images))
        return images.mean(dim=(2, 3))


def test_each_image_passes_once():
    Counting.seen.clear()
    extract = extractor(Counting, input_size=8, batch_size=5).fit(smooth_images(13))
    # Fitting runs one blank image, to find the width.
    assert Counting.seen == [1]
    Counting.seen.clear()
    extract.transform(smooth_images(13))
    assert Counting.seen == [5, 5, 3]


def test_files_are_decoded_for_the_size_before_the_crop(files):
    asked = []

    class Noted(ImageFiles):
        def sized_for(self, pixels):
            asked.append(pixels)
            return super().sized_for(pixels)

    extract = extractor(input_size=32, crop_pct=0.25).fit(files)
    assert not asked
    features = extract.transform(Noted(files))
    assert asked == [128]
    np.testing.assert_array_equal(features, extract.transform(files))


def test_native_size_given_or_not_is_the_same(tmp_path):
    # A JPEG this large is decoded at a reduced scale, which must suit the backbone.
    class Big(Counting):
        pretrained_cfg = {"input_size": (3, 320, 320), "crop_pct": 1.0}

        def forward(self, images):
            return images[:, :, ::40, ::40].flatten(1)

    path = tmp_path / "large.jpg"
    noise = np.random.RandomState(0).randint(0, 256, (900, 900, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, quality=95)
    native = extractor(Big()).fit_transform([path])
    given = extractor(Big(), input_size=320).fit_transform([path])
    np.testing.assert_array_equal(native, given)


def test_in_a_pipeline(digits):
    model = make_pipeline(
        extractor("letters", pretrained=True),
        StandardScaler(),
        LogisticRegression(max_iter=500),
    )
    model.fit(digits.X[:400], digits.y_true[:400])
    # Measured: 0.96; chance is 0.1.
    assert model.score(digits.X_test[:300], digits.y_test[:300]) > 0.9


def test_noise_filter_behind_it_finds_wrong_labels(digits):
    def score(classifier):
        model = make_pipeline(extractor("letters", pretrained=True), classifier)
        model.fit(digits.X, digits.y)
        return model, model.score(digits.X_test, digits.y_test)

    inner = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    _, plain = score(inner)
    filtered, cleaned = score(NoiseFilteredClassifier(inner))
    flagged = ~filtered[-1].clean_mask_
    # Measured: precision 0.94, recall 0.99; accuracy 0.95 against 0.93.
    assert digits.is_wrong[flagged].mean() > 0.85
    assert flagged[digits.is_wrong].mean() > 0.85
    assert cleaned > plain


def test_cross_validation_and_search_on_paths(files):
    y = [0, 1] * 4
    model = make_pipeline(extractor(input_size=32), LogisticRegression())
    scores = cross_val_score(model, files, y, cv=2, error_score="raise")
    assert scores.shape == (2,)
    search = GridSearchCV(
        model, {"featureextractor__input_size": [32, 48]}, cv=2, error_score="raise"
    )
    search.fit(np.array(files), y)
    assert search.best_params_["featureextractor__input_size"] in (32, 48)
    assert search.predict(files).shape == (8,)


def test_clone_keeps_parameters_and_forgets_the_fit(files):
    extract = extractor(input_size=32, batch_size=3).fit(files)
    copy = clone(extract)
    assert copy.get_params() == extract.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(files)


@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_fitted_extractor_can_be_stored(files, tmp_path, how):
    extract = extractor(input_size=32).fit(files)
    if how == "pickle":
        copy = pickle.loads(pickle.dumps(extract))
    else:
        joblib.dump(extract, tmp_path / "extract.joblib")
        copy = joblib.load(tmp_path / "extract.joblib")
    np.testing.assert_array_equal(copy.transform(files), extract.transform(files))


def test_a_fit_on_an_accelerator_is_stored_for_the_cpu(monkeypatch, files):
    # "meta" stands for a device that is not everywhere; what is there has no values.
    extract = extractor(tiny_resnet(), input_size=SIZE).fit(files)
    extract._embed.to("meta")
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "cpu", lambda self: self.to_empty(device="cpu"))
        stored = pickle.dumps(extract)
    devices = {
        module: {tensor.device.type for tensor in module.state_dict().values()}
        for module in (extract._embed, pickle.loads(stored)._embed)
    }
    # The extractor itself goes on where it was.
    assert list(devices.values()) == [{"meta"}, {"cpu"}]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_fit_on_a_gpu_is_loaded_without_one(files, tmp_path):
    extract = extractor(tiny_resnet(), input_size=SIZE, device="cuda").fit(files)
    features = extract.transform(files)
    joblib.dump(extract.set_params(device="cpu"), tmp_path / "extract.joblib")
    np.save(tmp_path / "files.npy", files)
    code = """
    import joblib, numpy, torch
    assert not torch.cuda.is_available()
    features = joblib.load("extract.joblib").transform(numpy.load("files.npy"))
    numpy.save("features.npy", features)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=os.environ
        | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    found = np.load(tmp_path / "features.npy")
    np.testing.assert_allclose(found, features, rtol=1e-2, atol=1e-2)


def test_only_the_backbone_is_positional_and_all_is_documented():
    parameters = inspect.signature(FeatureExtractor).parameters
    first, *others = parameters.values()
    assert first.name == "backbone"
    assert {p.kind for p in others} == {inspect.Parameter.KEYWORD_ONLY}
    section = FeatureExtractor.__doc__.split("Attributes")[0]
    documented = re.findall(r"^(\w+) : ", section, re.MULTILINE)
    assert sorted(documented) == sorted(parameters)


def test_random_weights_are_those_of_the_seed(files):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (
        extractor("test_convnext3", input_size=32, random_state=seed).fit(files)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    features = first.transform(files)
    np.testing.assert_array_equal(again.transform(files), features)
    assert not np.allclose(other.transform(files), features)


def test_names_and_pandas_output(files):
    extract = extractor(input_size=32).set_output(transform="pandas")
    X = pd.Series(files, index=list("hgfedcba"))
    frame = extract.fit(X).transform(X)
    assert list(frame.columns) == [f"feature{i}" for i in range(96)]
    assert list(frame.columns) == list(extract.get_feature_names_out())
    if parse_version("1.8") <= SKLEARN:  # Older ones keep a DataFrame's index only.
        assert list(frame.index) == list("hgfedcba")
    plain = extract.set_output(transform="default").transform(X)
    np.testing.assert_array_equal(frame.to_numpy(), plain)


def test_extractor_sees_what_it_was_not_fitted_on(files):
    # Nothing is learned from the data, so files and arrays of any size may follow.
    extract = extractor(tiny_vit(), input_size=SIZE).fit(files[:1])
    X = smooth_images(2)
    alone = extractor(tiny_vit(), input_size=SIZE).fit_transform(X)
    np.testing.assert_allclose(extract.transform(X), alone, rtol=1e-5, atol=1e-6)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        extractor().transform(smooth_images(1))
    with pytest.raises(NotFittedError):
        extractor().get_feature_names_out()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"input_size": -1}, "input_size"),
        ({"precision": "half"}, "precision"),
        ({"backbone": 3}, "backbone"),
        ({"device": "gpu"}, "device"),
    ],
)
def test_illegal_parameters_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        extractor().set_params(**options).fit(smooth_images(2))


def test_features_are_not_images():
    with pytest.raises(ValueError, match=r"Expected images.*shape \(4, 3\)"):
        extractor().fit(np.zeros((4, 3)))


def test_raw_inputs_are_not_images():
    tokens = RawInputs(np.ones((4, 3), dtype=np.int64))
    with pytest.raises(ValueError, match="fitted on images, but X holds RawInputs"):
        extractor(input_size=32).fit(smooth_images(2)).transform(tokens)
    on_raw = extractor(nn.Linear(3, 2)).fit(RawInputs(np.ones((4, 3))))
    with pytest.raises(ValueError, match="fitted on RawInputs, but X holds images"):
        on_raw.transform(smooth_images(2))


def test_no_images():
    extract = extractor(input_size=32).fit(smooth_images(1))
    for X in (smooth_images(1)[:0], []):
        with pytest.raises(ValueError, match=r"0 sample|no images|Expected images"):
            extract.transform(X)


@forking
@pytest.mark.parametrize("num_workers", [0, 1])
def test_truncated_file_is_named(files, tmp_path, num_workers):
    with open(files[0], "rb") as file:
        content = file.read()
    bad = tmp_path / "truncated.png"
    bad.write_bytes(content[: len(content) // 2])
    extract = extractor(input_size=32, num_workers=num_workers)
    with pytest.raises(ImageReadError, match=r"1 of 3.*\n.*truncated\.png") as caught:
        extract.fit_transform([*files[:2], str(bad)])
    assert caught.value.paths == [str(bad)]


@forking
def test_worker_processes_give_the_same_features(files):
    model = tiny_vit()
    alone = extractor(model, input_size=SIZE, num_workers=0).fit_transform(files)
    helped = extractor(model, input_size=SIZE, num_workers=1).fit_transform(files)
    np.testing.assert_array_equal(helped, alone)
