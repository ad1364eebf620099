"""Weight decay and layers, against timm's own parameter groups."""

from __future__ import annotations

import pytest
import timm
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from sklearn_turn.backbones.layers import layer_scales, undecayed

NAMES = [
    "test_vit",
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "xcit_nano_12_p16_224",
]


@pytest.fixture(scope="module", params=NAMES)
def models(request):
    """A timm model with its head, and without."""
    whole = timm.create_model(request.param, num_classes=3)
    return whole, timm.create_model(request.param, num_classes=0)


def by_name(model, groups, key):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group[key] for group in groups for p in group["params"]}


def exempt(model):
    return set(getattr(model, "no_weight_decay", set)())


def test_undecayed_is_timms(models):
    whole, headless = models
    groups = param_groups_weight_decay(
        whole, weight_decay=0.3, no_weight_decay_list=exempt(whole)
    )
    decays = by_name(whole, groups, "weight_decay")
    expected = {n for n, _ in headless.named_parameters() if decays[n] == 0}
    assert undecayed(headless) == expected
    assert expected < {n for n, _ in headless.named_parameters()}


@pytest.mark.parametrize("decay", [0.75, 1.0])
def test_layer_scales_are_timms(models, decay):
    whole, headless = models
    groups = param_groups_layer_decay(
        whole, layer_decay=decay, no_weight_decay_list=exempt(whole)
    )
    scales = by_name(whole, groups, "lr_scale")
    found = layer_scales(headless, decay)
    assert found == pytest.approx({name: scales[name] for name in found})
    assert found.keys() == {name for name, _ in headless.named_parameters()}
    assert len(set(found.values())) > 3 or decay == 1


def test_embeddings_are_not_decayed():
    names = undecayed(timm.create_model("test_vit", num_classes=0))
    assert {"pos_embed", "cls_token"} < names


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(nn.init.zeros_(nn.Linear(2, 2).weight.data))
        self.bias = nn.Parameter(self.weight.data.clone())
        self.table = nn.Parameter(self.weight.data.clone())
        self.tables = nn.Parameter(self.weight.data.clone())


def test_modules_of_ones_own():
    assert undecayed(nn.Linear(2, 2)) == {"bias"}
    holder = nn.ModuleDict({"part": Wide()})
    assert undecayed(holder) == {"part.bias"}
    holder.no_weight_decay = lambda: ["part.tab*e"]
    assert undecayed(holder) == {"part.bias", "part.table"}


def test_layers_that_nobody_ordered():
    with pytest.raises(ValueError, match="Linear has no group_matcher.*param_groups"):
        layer_scales(nn.Linear(2, 2), 0.5)
