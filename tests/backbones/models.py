"""Models that several tests of backbones share."""

from __future__ import annotations

import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
TINY = ["test_vit", "test_resnet", "test_convnext"]


def tiny(name="test_resnet", seed=0, **options):
    """A timm model with random weights and, unlike a fresh one, BatchNorm history."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@torch.no_grad()
def pooled(model, images):
    """Features of a timm classifier: what enters its last linear layer."""
    return model.forward_head(model.forward_features(images), pre_logits=True)


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same_state(module, expected):
    found = module.state_dict()
    assert found.keys() == expected.keys()
    assert not [key for key in found if not torch.equal(found[key], expected[key])]


def at_size(vit, name, size):
    """The same ViT for another input size, its position embedding resampled."""
    resized = timm.create_model(name, img_size=size, num_classes=vit.num_classes)
    state = vit.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"],
        new_size=list(resized.patch_embed.grid_size),
        num_prefix_tokens=vit.num_prefix_tokens,
    )
    resized.load_state_dict(state)
    return resized.eval()


class Pooling(nn.Module):
    """The mean of each channel: a backbone that knows nothing of timm."""

    def forward(self, images):
        return images.mean(dim=(2, 3))
