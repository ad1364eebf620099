"""Modules, factories and names become headless modules that are ready."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import timm
import torch
from backbones.models import (
    IMAGENET,
    TINY,
    Pooling,
    assert_same_state,
    state_of,
    tiny,
)
from torch import nn

from sklearn_turn.backbones import load_backbone, make_embedder, zoo
from sklearn_turn.exceptions import WeightsNotFoundError


def test_module_is_copied():
    module = tiny().train()
    before = state_of(module)
    copy = load_backbone(module).module
    assert not copy.training
    for parameter in copy.parameters():
        parameter.data.add_(1)
    assert module.training
    assert_same_state(module, before)


def test_module_brings_its_own_preprocessing():
    module = tiny("test_vit", num_classes=0)
    module.pretrained_cfg = dict(
        module.pretrained_cfg,
        mean=(0.1, 0.2, 0.3),
        interpolation="bilinear",
        crop_mode="squash",
    )
    loaded = load_backbone(module)
    assert make_embedder(loaded, None, raw=False).transform.crop_mode == "squash"
    assert load_backbone(tiny("test_vit")).crop_mode == "center"
    assert (loaded.input_size, loaded.width) == (160, 64)
    assert loaded.mean == (0.1, 0.2, 0.3)
    assert loaded.interpolation == "bilinear"


def test_backbones_for_other_shapes_need_the_side_of_a_square():
    module = tiny("test_vit", num_classes=0)
    module.pretrained_cfg = dict(module.pretrained_cfg, input_size=(3, 320, 160))
    with pytest.raises(ValueError, match="320 x 160 pixels.*Set input_size"):
        load_backbone(module)
    assert load_backbone(module, input_size=160).input_size == 160
    example = torch.zeros(1, 3, 160, 160)  # raw samples have a size of their own
    assert load_backbone(module, example=example).width == 64
    module.pretrained_cfg = dict(module.pretrained_cfg, input_size=None)
    assert load_backbone(module, input_size=160).input_size == 160


@pytest.mark.parametrize("backbone", [Pooling(), Pooling, lambda: Pooling()])
def test_own_modules_take_imagenet_preprocessing(backbone):
    loaded = load_backbone(backbone)
    assert isinstance(loaded.module, Pooling)
    assert (loaded.width, loaded.input_size, loaded.crop_pct) == (3, 224, 1.0)
    assert (loaded.mean, loaded.std) == IMAGENET


class Returning(nn.Module):
    """Returns what it is told to."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, images):
        return self.result(images)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (lambda x: x, r"\(1, 3, 64, 64\)"),
        (lambda x: x.mean(), r"\(\)"),
        (lambda x: torch.zeros(2, 7), r"\(2, 7\)"),
        (lambda x: (x, x), "tuple"),
        (lambda x: None, "NoneType"),
    ],
)
def test_output_must_be_one_row_per_image(result, shown):
    with pytest.raises(ValueError, match=f"Returning.*returned {shown}"):
        load_backbone(Returning(result), input_size=64)


def test_module_that_fails_on_an_image():
    with pytest.raises(ValueError, match=r"Linear failed.*input_size"):
        load_backbone(nn.Linear(7, 2))


@pytest.mark.parametrize(("made", "named"), [(None, "NoneType"), ("resnet50", "str")])
def test_factory_must_return_a_module(made, named):
    with pytest.raises(ValueError, match=f"factory returned {named}"):
        load_backbone(lambda: made)


def test_width_is_what_comes_out_not_what_is_declared():
    loaded = load_backbone("mobilenetv3_small_050", pretrained=False, input_size=32)
    assert loaded.module.num_features == 288
    assert loaded.width == 1024


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [None, 64, 96])
def test_input_size(name, size):
    loaded = load_backbone(name, pretrained=False, input_size=size)
    assert loaded.input_size == size or (size is None and loaded.input_size == 160)
    images = torch.zeros(2, 3, loaded.input_size, loaded.input_size)
    with torch.no_grad():
        assert loaded.module(images).shape == (2, loaded.width)
    assert not loaded.module.training


def test_input_size_that_the_architecture_cannot_take():
    with pytest.raises(ValueError, match=r"3 x 100 x 100.*input_size"):
        load_backbone("test_vit", pretrained=False, input_size=100)


def test_crop_pct_is_the_backbones_unless_given():
    assert load_backbone("test_resnet", pretrained=False).crop_pct == 0.95
    loaded = load_backbone("test_resnet", pretrained=False, crop_pct=0.5)
    assert loaded.crop_pct == 0.5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in [*TINY, "mobilenetv3_small_050"]),
        ("test_resnet", {"global_pool": "max"}),
        ("test_vit", {"global_pool": "avg"}),
        ("test_convnext", {"global_pool": "max"}),
    ],
)
@pytest.mark.parametrize("as_factory", [False, True])
def test_classifier_of_a_timm_model_is_taken_off(name, options, as_factory):
    whole = tiny(name, **options)
    headless = timm.create_model(name, num_classes=0, **options).eval()
    state = whole.state_dict()
    headless.load_state_dict({k: state[k] for k in headless.state_dict()})
    loaded = load_backbone((lambda: whole) if as_factory else whole, input_size=64)
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = headless(images)
        torch.testing.assert_close(loaded.module(images), expected)
        assert whole(images).shape[1] == 1000  # the caller's keeps its own
    assert loaded.width == expected.shape[1] != 1000


def test_a_factory_that_always_returns_one_module():
    shared = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    first, second = (load_backbone(lambda: shared, input_size=8) for _ in range(2))
    with torch.no_grad():
        first.module[1].weight.zero_()
    assert shared[1].weight.any() and second.module[1].weight.any()


@pytest.mark.parametrize("pretrained", [True, np.True_, False, np.False_])
def test_weights_are_wanted_by_numpys_true_as_well(pretrained, monkeypatch):
    def located(name):
        raise WeightsNotFoundError(name)

    monkeypatch.setattr(zoo, "located", located)
    wanted = pytest.raises(WeightsNotFoundError)
    with wanted if pretrained else contextlib.nullcontext():
        load_backbone("test_vit", pretrained=pretrained)
