"""Frozen means frozen; layouts and types of what goes through."""

from __future__ import annotations

import pytest
import torch
from backbones.models import Pooling, assert_same_state, tiny
from torch import nn

from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.backbones import Embedder, load_backbone, make_embedder
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


@pytest.mark.parametrize("freeze", [False, True])
def test_fine_tuning_changes_batchnorm_when_it_may(images, freeze):
    # Without the first the two tests above could pass on a module that is never run.
    model = TURNClassifier(
        with_batch_norm,
        input_size=32,
        lp_epochs=1,
        fft_epochs=1,
        cleansing=None,
        freeze_batch_norm=freeze,
        device="cpu",
    )
    model.fit(images.X, images.y)
    before = tiny(num_classes=0).state_dict()
    after = model.net_.module_.embed.backbone.state_dict()
    moved = [
        name
        for name in before
        if name.endswith("running_mean") and not torch.equal(before[name], after[name])
    ]
    assert bool(moved) is not freeze


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
