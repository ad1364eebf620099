"""Features computed once, whatever the folds, candidates and runs."""

import functools
import itertools
import sqlite3
import weakref

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_turn import FeatureExtractor, FeatureMemory, TURNClassifier
from sklearn_turn.backbones import Embedder
from sklearn_turn.baselines import LinearProbing
from sklearn_turn.exceptions import FeatureCacheWarning, ImageReadError
from sklearn_turn.features import extraction
from sklearn_turn.inputs import PILImages, RawInputs
from sklearn_turn.training import inference

# In float32: bfloat16, where a CPU has it, rounds by the size of the batch.
letters = functools.partial(FeatureExtractor, "letters", precision="float32")


@pytest.fixture
def seen(monkeypatch):
    """Sizes of the batches that passed through any backbone, probes left out."""
    counted, probing = [], []
    original = extraction.probe_features

    def count(module, args):
        if isinstance(module, Embedder) and not probing:
            counted.append(len(args[0]))

    def probe_features(*args):
        probing.append(True)
        features = original(*args)
        probing.clear()
        return features

    monkeypatch.setattr(extraction, "probe_features", probe_features)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    yield counted
    hook.remove()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)


def test_a_grid_search_computes_each_image_once(tmp_path, images, seen):
    images[7] = images[8]
    y = np.arange(60) % 2
    model = TURNClassifier(
        "letters",
        noise_filter="gmm",
        fft_epochs=0,
        memory=str(tmp_path),
        random_state=0,
    )
    grid = {"tau": [0.5, 0.6, 0.7], "lp_epochs": [1, 2, 3]}
    GridSearchCV(model, grid, cv=5).fit(images, y)
    assert sum(seen) == 59


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float16", 2e-3)])
def test_cached_features_are_those_computed(tmp_path, images, dtype, tolerance, seen):
    plain = letters().fit_transform(images)
    memory = FeatureMemory(tmp_path, dtype=dtype)
    extract = letters(memory=memory).fit(images)
    first = extract.transform(images[:40])
    again = extract.transform(images)
    np.testing.assert_allclose(again, plain, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(again[:40], first)
    assert sum(seen) == 60 + 40 + 20


def test_fits_share_features_between_methods(tmp_path, images, seen):
    y = np.arange(60) % 2
    LinearProbing("letters", memory=tmp_path, random_state=0).fit(images, y)
    TURNClassifier("letters", memory=tmp_path, fft_epochs=0, random_state=0).fit(
        images, y
    )
    assert sum(seen) == 60


def test_other_preprocessing_has_other_features(tmp_path, images):
    small = letters(memory=tmp_path).fit_transform(images)
    large = letters(memory=tmp_path, input_size=64)
    expected = letters(input_size=64).fit_transform(images)
    np.testing.assert_array_equal(large.fit_transform(images), expected)
    assert not np.allclose(small, expected)


def test_other_weights_have_other_features(tmp_path, images, seen):
    for seed in (0, 1):
        extract = FeatureExtractor(
            "test_convnext3",
            pretrained=False,
            input_size=32,
            memory=tmp_path,
            random_state=seed,
        )
        extract.fit_transform(images)
    assert sum(seen) == 120


def test_a_changed_file_is_computed_again(tmp_path, images, seen):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image).save(path)
    extract = letters(memory=tmp_path / "cache").fit(paths)
    before = extract.transform(paths)
    Image.fromarray(255 - images[0]).save(paths[0], compress_level=0)
    after = extract.transform(paths)
    assert sum(seen) == 5
    assert not np.allclose(before[0], after[0])
    np.testing.assert_array_equal(before[1:], after[1:])


def test_an_unusable_folder_is_refused_before_any_pass(tmp_path, images, seen):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        letters(memory=blocked).fit_transform(images)
    assert not seen


class Encoder(nn.Module):
    """What it does last shows neither in its weights nor in its layers."""

    def __init__(self, pool):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.pool = pool

    def forward(self, images):
        return self.pool(self.conv(images))


def mean(maps):
    return maps.mean(dim=(2, 3))


def mean_by_rows(maps):
    return maps.mean(dim=3).mean(dim=2)


def maximum(maps):
    return maps.amax(dim=(2, 3))


def timm_model(name, **options):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, **options)


@pytest.mark.parametrize(
    "first, second, size",
    [
        (
            timm_model("test_vit", act_layer=nn.GELU),
            timm_model("test_vit", act_layer=nn.ReLU),
            160,
        ),
        (
            timm_model("test_resnet", global_pool="avg"),
            timm_model("test_resnet", global_pool="max"),
            64,
        ),
        (Encoder(mean), Encoder(maximum), 32),
    ],
    ids=["activation", "pooling", "attribute"],
)
def test_the_same_weights_in_another_network_have_their_own_features(
    first, second, size, tmp_path, images
):
    extract = functools.partial(FeatureExtractor, input_size=size, device="cpu")
    expected = [extract(model).fit_transform(images[:5]) for model in (first, second)]
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    for _ in range(2):
        for model, features in zip((first, second), expected, strict=True):
            found = extract(model, memory=tmp_path).fit_transform(images[:5])
            np.testing.assert_allclose(found, features, atol=1e-6)


def test_weights_that_hardly_differ_have_their_own_features(tmp_path, images, seen):
    # Fine-tuning at a low rate moves them by less than rounding may.
    first, second = Encoder(mean), Encoder(mean)
    with torch.no_grad():
        second.conv.weight *= 1.0001
    for model in (first, second):
        extract = FeatureExtractor(model, memory=tmp_path, input_size=32, device="cpu")
        extract.fit_transform(images)
    assert sum(seen) == 120


def test_networks_that_differ_by_rounding_share_features(tmp_path, images, seen):
    models = Encoder(mean), Encoder(mean_by_rows)
    options = {"input_size": 32, "device": "cpu", "precision": "float32"}
    plain = [FeatureExtractor(m, **options).fit_transform(images) for m in models]
    assert (plain[0] != plain[1]).any()
    seen.clear()
    cached = [
        FeatureExtractor(model, memory=tmp_path, **options).fit_transform(images)
        for model in models
    ]
    assert sum(seen) == 60
    np.testing.assert_array_equal(cached[0], cached[1])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_same_backbone_is_found_again(batch_size, tmp_path, images, seen):
    for size in (16, batch_size):
        extract = letters(memory=tmp_path, batch_size=size)
        extract.fit_transform(images)
    assert sum(seen) == 60


def test_an_interrupted_pass_goes_on_where_it_was(tmp_path, images, seen, monkeypatch):
    monkeypatch.setattr(extraction, "_BLOCK", 16)
    extract = letters(memory=tmp_path, batch_size=8).fit(images)
    original = Embedder.forward

    def interrupt(self, batch):
        if sum(seen) > 40:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(Embedder, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract.transform(images)
    monkeypatch.setattr(Embedder, "forward", original)
    seen.clear()
    features = extract.transform(images)
    assert sum(seen) == 60 - 32
    expected = letters().fit_transform(images)
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_a_pass_has_one_loader_however_often_it_is_stored(
    tmp_path, images, monkeypatch
):
    loaders, writes = [], []

    class Loader(torch.utils.data.DataLoader):
        def __init__(self, *args, **options):
            loaders.append(self)
            super().__init__(*args, **options)

    class Cache(extraction.FeatureCache):
        def write(self, keys, features):
            writes.append(len(keys))
            super().write(keys, features)

    monkeypatch.setattr(inference, "DataLoader", Loader)
    monkeypatch.setattr(extraction, "FeatureCache", Cache)
    monkeypatch.setattr(extraction, "_BLOCK", 16)
    source = PILImages([Image.fromarray(image) for image in images])
    extract = letters(memory=tmp_path, batch_size=8)
    extract.fit_transform(source)
    assert len(loaders) == 1
    assert writes == [16, 16, 16, 12]


@pytest.mark.parametrize("memory", [False, True])
def test_no_more_images_are_decoded_at_once_than_two_batches(memory, tmp_path, images):
    alive, numbers, peak = set(), itertools.count(), 0

    class Counted(PILImages):
        def decode(self, index):
            nonlocal peak
            image = super().decode(index)
            number = next(numbers)
            alive.add(number)
            weakref.finalize(image, alive.discard, number)
            peak = max(peak, len(alive))
            return image

    # Of different sizes, so that each stays a tensor of its own.
    sizes = [(8 + i % 3, 8) for i in range(60)]
    source = Counted(
        [Image.fromarray(x).resize(s) for x, s in zip(images, sizes, strict=True)]
    )
    extract = FeatureExtractor(
        "letters", memory=tmp_path if memory else None, batch_size=8
    )
    extract.fit_transform(source)
    assert 8 <= peak <= 16


def test_equal_images_pass_once_wherever_they_are(tmp_path, images, seen, monkeypatch):
    monkeypatch.setattr(extraction, "_BLOCK", 8)
    order = np.random.default_rng(0).integers(0, 20, 60)
    expected = letters().fit_transform(images[order])
    seen.clear()
    extract = letters(memory=tmp_path, batch_size=4)
    found = extract.fit_transform(images[order])
    assert sum(seen) == len(np.unique(order))
    np.testing.assert_allclose(found, expected, atol=1e-6)


class Bag(nn.Module):
    """A backbone for token ids."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 6, padding_idx=0)

    def forward(self, tokens):
        return self.embedding(tokens).mean(dim=1)


@pytest.mark.parametrize("kind", ["tokens", "vectors"])
def test_raw_inputs_pass_once_whatever_the_folds(kind, tmp_path, seen):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 50, (40, 7)) if kind == "tokens" else rng.random((40, 7))
    torch.manual_seed(0)
    backbone = Bag() if kind == "tokens" else nn.Linear(7, 6)
    model = make_pipeline(
        FeatureExtractor(backbone, memory=tmp_path), LogisticRegression()
    )
    cross_val_score(model, RawInputs(X), np.arange(40) % 2, cv=4, error_score="raise")
    assert sum(seen) == 40


@pytest.mark.parametrize("memory", [False, True])
def test_missing_files_are_all_named(memory, tmp_path, images):
    path = tmp_path / "there.png"
    Image.fromarray(images[0]).save(path)
    extract = letters(memory=tmp_path if memory else None)
    extract.fit([path])
    with pytest.raises(ImageReadError, match=r"2 of 3 images") as error:
        extract.transform([tmp_path / "gone.png", path, tmp_path / "lost.png"])
    assert error.value.paths == [str(tmp_path / f"{n}.png") for n in ("gone", "lost")]


def test_a_read_only_cache_serves_what_it_holds(tmp_path, images, seen, monkeypatch):
    extract = letters(memory=tmp_path).fit(images)
    first = extract.transform(images[:40])
    # As on a read-only disk; permissions do not bind a superuser.
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda path, **options: connect(f"file:{path}?mode=ro", uri=True, **options),
    )
    with pytest.warns(FeatureCacheWarning, match="not stored"):
        features = extract.transform(images)
    assert sum(seen) == 60
    np.testing.assert_array_equal(features[:40], first)
    expected = letters().fit_transform(images)
    np.testing.assert_allclose(features, expected, atol=1e-6)


class MeanOfTokens(torch.nn.Module):
    """What a padding token is shows neither in weights nor in layers."""

    def __init__(self, pad):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(9, 4)
        self.pad = pad

    def forward(self, tokens):
        used = (tokens != self.pad).float()[..., None]
        return (used * self.embedding(tokens)).sum(1) / used.sum(1).clamp_min(1)


def test_another_padding_token_has_its_own_features(tmp_path):
    from sklearn_turn.inputs import RawInputs

    X = RawInputs(np.random.RandomState(0).randint(2, 9, (20, 5)))
    for pad in (3, 2, 3):
        cached = FeatureExtractor(MeanOfTokens(pad), memory=tmp_path)
        plain = FeatureExtractor(MeanOfTokens(pad))
        np.testing.assert_allclose(
            cached.fit(X).transform(X), plain.fit(X).transform(X), rtol=1e-5
        )


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("name", ["a.png/x.png", "a\0.png", "a" * 300 + ".png"])
def test_paths_that_no_file_can_have_are_named(name, memory, tmp_path):
    (tmp_path / "a.png").touch()
    extractor = FeatureExtractor(
        "letters", memory=tmp_path / "kept" if memory else None
    )
    extractor.fit(np.zeros((3, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(ImageReadError) as caught:
        extractor.transform([str(tmp_path / name)])
    assert caught.value.paths == [str(tmp_path / name)]
