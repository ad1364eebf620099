"""Aliases stand for published weights."""

from __future__ import annotations

import pytest
import timm
import torch
from backbones.models import CLIP, HALF, IMAGENET

from sklearn_turn.backbones import ALIASES


@pytest.mark.parametrize(
    ("alias", "architecture", "statistics"),
    [
        ("vit_b16", "vit_base_patch16_224", HALF),
        ("vit_l16", "vit_large_patch16_224", HALF),
        ("convnext_t", "convnext_tiny", IMAGENET),
        ("mae_vit_b", "vit_base_patch16_224", IMAGENET),
        ("clip_vit_b", "vit_base_patch16_clip_quickgelu_224", CLIP),
        ("clip_vit_l14", "vit_large_patch14_clip_quickgelu_224", CLIP),
        ("resnet50", "resnet50", IMAGENET),
    ],
)
def test_alias_names_published_weights(alias, architecture, statistics):
    name, _, tag = ALIASES[alias].timm_name.partition(".")
    assert name == architecture
    assert tag in timm.list_pretrained(f"{name}.{tag}")[0].split(".", 1)
    config = timm.get_pretrained_cfg(ALIASES[alias].timm_name)
    assert config.has_weights
    assert config.input_size == (3, 224, 224)
    assert (config.mean, config.std) == statistics


def test_aliases_of_the_same_architecture_have_other_weights():
    weights = [(recipe.timm_name, recipe.url) for recipe in ALIASES.values()]
    assert len(set(weights)) == len(weights)


@pytest.mark.parametrize("alias", ["clip_vit_b", "clip_vit_l14"])
def test_clip_has_the_activation_it_was_trained_with(alias):
    """OpenAI's CLIP: x * sigmoid(1.702 x)."""
    name = ALIASES[alias].timm_name.partition(".")[0]
    model = timm.create_model(name, depth=1, embed_dim=64, num_heads=1)
    x = torch.linspace(-3, 3, 13)
    expected = x * torch.sigmoid(1.702 * x)
    torch.testing.assert_close(model.blocks[0].mlp.act(x), expected)
