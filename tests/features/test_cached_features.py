"""Features computed once, whatever the folds, candidates and runs."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV

from sklearn_turn import FeatureExtractor, FeatureMemory, TURNClassifier
from sklearn_turn.backbones import Embedder
from sklearn_turn.baselines import LinearProbing


@pytest.fixture
def seen():
    """Samples that went through any backbone."""
    counted = []

    def count(module, args):
        if isinstance(module, Embedder):
            counted.append(len(args[0]))

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
        "letters", fft_epochs=0, memory=str(tmp_path), random_state=0
    )
    grid = {"tau": [0.5, 0.6, 0.7], "lp_epochs": [1, 2, 3]}
    GridSearchCV(model, grid, cv=5).fit(images, y)
    assert sum(seen) == 59


@pytest.mark.parametrize("dtype, tolerance", [("float32", 0), ("float16", 2e-3)])
def test_cached_features_are_those_computed(tmp_path, images, dtype, tolerance, seen):
    plain = FeatureExtractor("letters").fit_transform(images)
    memory = FeatureMemory(tmp_path, dtype=dtype)
    extract = FeatureExtractor("letters", memory=memory).fit(images)
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
    small = FeatureExtractor("letters", memory=tmp_path).fit_transform(images)
    large = FeatureExtractor("letters", memory=tmp_path, input_size=64)
    expected = FeatureExtractor("letters", input_size=64).fit_transform(images)
    np.testing.assert_array_equal(large.fit_transform(images), expected)
    assert not np.allclose(small, expected)


def test_other_weights_have_other_features(tmp_path, images, seen):
    for seed in (0, 1):
        torch.manual_seed(seed)
        extract = FeatureExtractor(
            "test_convnext3", pretrained=False, input_size=32, memory=tmp_path
        )
        extract.fit_transform(images)
    assert sum(seen) == 120


def test_a_changed_file_is_computed_again(tmp_path, images, seen):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image).save(path)
    extract = FeatureExtractor("letters", memory=tmp_path / "cache").fit(paths)
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
        FeatureExtractor("letters", memory=blocked).fit_transform(images)
    assert not seen
