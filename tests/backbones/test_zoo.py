"""Models with a name: local folders, torchvision, and the one in the package."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
import torch
import torchvision
from backbones.models import HALF, IMAGENET, pooled, tiny
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from sklearn_turn import FeatureExtractor
from sklearn_turn.backbones import ALIASES, load_backbone


def write_local(folder, name, model_args=None, **config):
    """A folder as timm's ``local-dir:`` reads it; returns the model saved there."""
    model = tiny(name, **(model_args or {}))
    save_file(model.state_dict(), folder / "model.safetensors")
    contents = {
        "architecture": name,
        "num_classes": model.num_classes,
        "model_args": model_args or {},
        "pretrained_cfg": dict(model.pretrained_cfg, **config),
    }
    (folder / "config.json").write_text(json.dumps(contents))
    return model


def test_local_folder(offline, tmp_path):
    model = write_local(
        tmp_path, "test_resnet", mean=[0.1, 0.2, 0.3], crop_pct=0.8, tag="mine"
    )
    loaded = load_backbone(f"local-dir:{tmp_path}")
    assert loaded.mean == (0.1, 0.2, 0.3)
    assert loaded.crop_pct == 0.8
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(images), pooled(model, images))


def test_local_folder_of_a_fixed_size_architecture(offline, tmp_path):
    model = write_local(tmp_path, "vit_tiny_patch16_224", {"depth": 1})
    loaded = load_backbone(f"local-dir:{tmp_path}", input_size=96)
    assert loaded.input_size == 96
    patches = loaded.module.patch_embed.state_dict()
    for key, value in model.patch_embed.state_dict().items():
        torch.testing.assert_close(patches[key], value)


def test_name_of_a_local_folder_says_nothing_of_the_architecture(offline, tmp_path):
    folder = tmp_path / "vit"
    folder.mkdir()
    write_local(folder, "test_resnet")
    assert load_backbone(f"local-dir:{folder}", input_size=64).input_size == 64


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_model_without_its_classifier(tmp_path, name):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    *_, classifier = (m for m in model.modules() if isinstance(m, nn.Linear))
    entered = []
    classifier.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    loaded = load_backbone(
        f"torchvision:{name}", pretrained=tmp_path / "weights.pth", input_size=64
    )
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        model(images)
        torch.testing.assert_close(loaded.module(images), entered[0])
    assert loaded.width == classifier.in_features
    assert (loaded.mean, loaded.std) == IMAGENET


def test_torchvision_model_without_a_linear_classifier():
    with pytest.raises(ValueError, match="squeezenet1_1"):
        load_backbone("torchvision:squeezenet1_1", pretrained=False)


def test_letters_ship_with_the_package(offline):
    weights = resources.files("sklearn_turn") / "weights" / ALIASES["letters"].file
    assert weights.stat().st_size < 1_000_000
    loaded = load_backbone("letters")
    assert (loaded.input_size, loaded.width) == (32, 128)
    assert (loaded.mean, loaded.std, loaded.crop_pct) == (*HALF, 1.0)
    found = loaded.module.state_dict()
    stored = load_file(str(weights))
    for name in found:
        torch.testing.assert_close(found[name], stored[name].to(found[name].dtype))


def test_letters_know_more_of_digits_than_random_weights():
    digits = load_digits()
    images, labels = (digits.images[:600] / 16).astype(np.float32), digits.target[:600]
    scores = {}
    for pretrained in (True, False):
        torch.manual_seed(0)
        extract = FeatureExtractor(
            "letters", pretrained=pretrained, device="cpu", precision="float32"
        )
        features = extract.fit_transform(images)
        features = (features - features.mean(0)) / (features.std(0) + 1e-6)
        knn = KNeighborsClassifier(3).fit(features[:300], labels[:300])
        scores[pretrained] = knn.score(features[300:], labels[300:])
    # Measured: 0.89 against 0.83.
    assert scores[True] > 0.85
    assert scores[True] > scores[False] + 0.02


@torch.no_grad()
def calibrate(inception, images):
    """BatchNorm statistics by which outputs are not vanishingly small."""
    for module in inception.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    auxiliary, inception.AuxLogits = inception.AuxLogits, None  # for larger images
    inception.train()(images)
    inception.AuxLogits = auxiliary


@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_inception_trains_without_its_auxiliary_classifier(tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.inception_v3(init_weights=False, transform_input=True)
    images = torch.rand(2, 3, 96, 96)
    calibrate(model, images)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    module = load_backbone(
        "torchvision:inception_v3",
        pretrained=tmp_path / "weights.pth",
        input_size=96,
    ).module
    model.fc = nn.Identity()
    with torch.no_grad():
        expected = model.eval()(images)
        torch.testing.assert_close(module(images), expected)
        assert expected.std() > 0.1
        assert module.train()(images).shape == (2, 2048)
    assert not [name for name, _ in module.named_parameters() if "Aux" in name]
