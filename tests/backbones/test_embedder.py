"""Frozen means frozen; layouts and types of what goes through."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from backbones.models import Pooling, assert_same_state, tiny
from torch import nn

from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.backbones import Embedder, load_backbone, make_embedder
from sklearn_turn.baselines import FullFineTuning
from sklearn_turn.inputs import as_source
from sklearn_turn.training.device import Runtime
from sklearn_turn.training.inference import forward_all


def with_batch_norm():
    """Factory of a model with BatchNorm, in training mode."""
    return tiny(num_classes=0).train()


def test_feature_extraction_leaves_batchnorm_alone(images):
    extract = FeatureExtractor(with_batch_norm, input_size=32, device="cpu")
    extract.fit(images.X).transform(images.X)
    module = extract._embed.backbone
    assert_same_state(module, tiny(num_classes=0).state_dict())


def test_probe_and_prediction_leave_the_backbone_alone(images):
    model = TURNClassifier(
        with_batch_norm, input_size=32, lp_epochs=2, fft_epochs=0, device="cpu"
    )
    model.fit(images.X, images.y).predict(images.X)
    module = model.net_.module_.embed.backbone
    assert_same_state(module, tiny(num_classes=0).state_dict())


def fresh_batch_norm():
    """A model that never saw an image."""
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=0)


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("freeze", [False, True])
def test_fine_tuning_changes_batchnorm_when_it_may(images, freeze, pretrained):
    # Without the first the two tests above could pass on a module that is never run.
    # Frozen at the statistics it is made with, BatchNorm would normalise nothing.
    make = with_batch_norm if pretrained else fresh_batch_norm
    model = TURNClassifier(
        make,
        input_size=32,
        lp_epochs=1,
        fft_epochs=1,
        cleansing=None,
        freeze_batch_norm=freeze,
        device="cpu",
    )
    model.fit(images.X, images.y)
    before = make().state_dict()
    after = model.net_.module_.embed.backbone.state_dict()
    moved = [
        name
        for name in before
        if name.endswith("running_mean") and not torch.equal(before[name], after[name])
    ]
    assert bool(moved) is not (freeze and pretrained)


def test_batch_norm_that_was_trained_here_is_frozen_elsewhere(images, tmp_path):
    """A fit that goes on from a saved one has statistics to keep."""
    options = {"input_size": 32, "fft_epochs": 1, "device": "cpu", "random_state": 0}
    model = FullFineTuning(fresh_batch_norm, **options).fit(images.X, images.y)
    model.save(tmp_path / "model.safetensors")
    again = FullFineTuning.load(
        tmp_path / "model.safetensors", backbone=fresh_batch_norm, warm_start=True
    )
    before = copy.deepcopy(again.net_.module_.embed.backbone.state_dict())
    after = again.fit(images.X, images.y).net_.module_.embed.backbone.state_dict()
    means = [name for name in before if name.endswith("running_mean")]
    assert means and all(torch.equal(before[name], after[name]) for name in means)


def test_an_augmentation_that_is_a_module_is_left_alone(images):
    class Brighter(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, batch):
            assert self.training
            return batch * self.factor

    augment = Brighter().eval()
    options = {"input_size": 8, "fft_lr": 0.1, "random_state": 0, "augment": augment}
    clf = FullFineTuning(Pooling(), **options)
    first = clf.fit(images.X, images.y).predict_proba(images.X)
    assert augment.factor == 1 and augment.factor.requires_grad
    assert not augment.training
    assert clf.net_.module_.embed.transform.augment.factor == 1
    again = clf.fit(images.X, images.y).predict_proba(images.X)
    np.testing.assert_array_equal(first, again)


def test_features_can_take_part_in_training(images):
    runtime = Runtime(torch.device("cpu"), None, 16, 0, 0)
    embed = make_embedder(load_backbone(Pooling()), None, raw=False)
    features = forward_all(embed, as_source(images.X), runtime)
    assert not features.is_inference()
    nn.Linear(3, 2)(features).sum().backward()


class Mixed(nn.Module):
    """A convolution over frames, and one over images if there is a place for it."""

    def __init__(self, *, with_images):
        super().__init__()
        self.volume = nn.Conv3d(3, 4, 3)
        self.plane = nn.Conv2d(4, 4, 3) if with_images else nn.Identity()

    def forward(self, clips):
        frames = self.volume(clips).mean(dim=2)
        return self.plane(frames).mean(dim=(2, 3))


@pytest.mark.parametrize("with_images", [False, True])
def test_convolutions_over_volumes(with_images):
    torch.manual_seed(0)
    module = Mixed(with_images=with_images).eval()
    clips = torch.rand(2, 3, 4, 8, 8)
    expected = module(clips)
    embed = Embedder(nn.Identity(), module, None, 4).eval()
    torch.testing.assert_close(embed(clips), expected)


def test_convolutions_over_images_run_in_their_fastest_layout():
    conv = nn.Conv2d(3, 8, 3)
    seen = []
    conv.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    module = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    Embedder(nn.Identity(), module, None, 8)(torch.rand(2, 3, 8, 8))
    for tensor in (conv.weight, *seen):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
