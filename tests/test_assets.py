"""Real weights on real photos with real label noise. Skipped where they are absent."""

from __future__ import annotations

import csv
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_turn import FeatureExtractor, NoiseFilteredClassifier, TURNClassifier

# ImageNet's classes for what the photos show: all breeds of dogs; acoustic and
# electric guitar; tusker, Indian and African elephant.
IMAGENET_CLASSES = {"dog": range(151, 269), "guitar": (402, 546)}
IMAGENET_CLASSES["elephant"] = (101, 385, 386)

ON_CPU = {"device": "cpu", "precision": "float32"}


def read_csv(archive, name="labels.csv"):
    return list(csv.DictReader(archive.read(name).decode().splitlines()))


def extract(archive, rows, folder):
    archive.extractall(folder, [row["path"] for row in rows])
    return [str(folder / row["path"]) for row in rows]


@pytest.fixture(scope="session")
def cifar(assets, tmp_path_factory):
    """400 training images with human labels, 200 test images with clean ones."""
    folder = tmp_path_factory.mktemp("cifar10n")
    with zipfile.ZipFile(assets / "cifar10n.zip") as archive:
        rows = read_csv(archive)
        train = [row for row in rows if row["split"] == "train"][:400]
        test = [row for row in rows if row["split"] == "test"][:200]
        data = SimpleNamespace(
            X=extract(archive, train, folder), X_test=extract(archive, test, folder)
        )
    data.clean = np.array([row["clean"] for row in train])
    data.worse = np.array([row["worse"] for row in train])
    data.is_wrong = data.clean != data.worse
    data.y_test = np.array([row["clean"] for row in test])
    return data


@pytest.fixture(scope="session")
def pacs(assets, tmp_path_factory):
    """20 photos of each class: paths and labels."""
    folder = tmp_path_factory.mktemp("pacs")
    with zipfile.ZipFile(assets / "pacs_photo.zip") as archive:
        rows = read_csv(archive)
        labels = sorted({row["label"] for row in rows})
        chosen = [
            row
            for label in labels
            for row in [row for row in rows if row["label"] == label][:20]
        ]
        paths = extract(archive, chosen, folder)
    return SimpleNamespace(X=paths, y=np.array([row["label"] for row in chosen]))


@pytest.fixture(scope="session")
def vit(assets):
    """Backbone and weights of the ViT-Ti/16."""
    path = assets / "vit_tiny_patch16_224.safetensors"
    return {"backbone": "vit_tiny_patch16_224", "pretrained": path, **ON_CPU}


@pytest.fixture(scope="session")
def vit_features(vit, cifar):
    extractor = FeatureExtractor(**vit, input_size=96).fit(cifar.X)
    return extractor.transform(cifar.X), extractor.transform(cifar.X_test)


def linear_classifier():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))


def assert_better_than_guessing(flagged, is_wrong):
    """Flagged labels are wrong more often than any, by more than luck."""
    rate = is_wrong.mean()
    found = is_wrong[flagged].sum()
    assert found / flagged.sum() > rate
    assert binom.sf(found - 1, flagged.sum(), rate) < 1e-3


def test_pretrained_features_separate_the_classes(vit_features, cifar):
    train, test = vit_features
    model = linear_classifier().fit(train, cifar.clean)
    # Chance is 0.1. With 10,000 images at this size a probe reaches 0.62.
    assert model.score(test, cifar.y_test) > 0.4


def test_noise_filter_on_features_finds_wrong_human_labels(vit_features, cifar):
    train, test = vit_features
    # At 96 pixels the features know little, and the channel flags too many.
    model = NoiseFilteredClassifier(linear_classifier(), "gmm", cv=None)
    model.fit(train, cifar.worse)
    assert_better_than_guessing(~model.clean_mask_, cifar.is_wrong)
    assert model.score(test, cifar.y_test) > 0.3


def test_turn_finds_wrong_human_labels_in_image_files(vit, cifar):
    # At 96 pixels the features know little, and the channel flags three labels in four.
    model = TURNClassifier(
        **vit,
        input_size=96,
        noise_filter="gmm",
        fft_epochs=1,
        fft_lr=3e-5,
        random_state=0,
    )
    model.fit(cifar.X, cifar.worse)
    assert_better_than_guessing(~model.clean_mask_, cifar.is_wrong)
    assert [epoch["phase"] for epoch in model.history_].count("fine-tune") == 1
    assert model.history_[-1]["n_train"] <= model.clean_mask_.sum()
    assert model.score(cifar.X_test, cifar.y_test) > 0.3


def test_turn_as_it_comes_suggests_better_labels_than_people_gave(vit, cifar):
    model = TURNClassifier(**vit, fft_epochs=0, random_state=0)
    model.fit(cifar.X, cifar.worse)
    # Measured: precision .74 and recall .81, .71 of the suggested labels right.
    flagged = ~model.clean_mask_
    assert_better_than_guessing(flagged, cifar.is_wrong)
    assert cifar.is_wrong[flagged].mean() > 0.65
    assert flagged[cifar.is_wrong].mean() > 0.7
    right = (model.suggested_labels_ == cifar.clean).mean()
    assert right > 0.65 > (cifar.worse == cifar.clean).mean()


def test_features_times_imagenet_head_names_the_photos(vit, pacs):
    """From file to class: decoding, resizing, normalising, weights, pooling."""
    shown = np.isin(pacs.y, list(IMAGENET_CLASSES))
    paths, labels = np.array(pacs.X)[shown], pacs.y[shown]
    features = FeatureExtractor(**vit).fit_transform(paths)
    weights = load_file(vit["pretrained"])
    logits = features @ weights["head.weight"].T + weights["head.bias"]
    predicted = logits.argmax(axis=1)
    right = [
        guess in IMAGENET_CLASSES[label]
        for guess, label in zip(predicted, labels, strict=True)
    ]
    # Measured over 120 photos: 0.97.
    assert np.mean(right) > 0.85


def test_mobilenet_features_separate_photos(assets, pacs):
    features = FeatureExtractor(
        "mobilenetv2_100",
        pretrained=assets / "mobilenetv2_100.safetensors",
        input_size=96,
        **ON_CPU,
    ).fit_transform(pacs.X)
    model = linear_classifier().fit(features[::2], pacs.y[::2])
    # Chance is 0.14.
    assert model.score(features[1::2], pacs.y[1::2]) > 0.7
