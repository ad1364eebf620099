"""Optimisers and their parameter groups."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sklearn_turn.backbones import load_backbone, make_embedder
from sklearn_turn.training.modules import Classifier
from sklearn_turn.training.net import Net
from sklearn_turn.training.optimizers import make_optimizer


def _rates(net):
    """Learning rate and decay of each parameter, by name."""
    names = {id(p): name for name, p in net.module_.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in net.optimizer_.param_groups
        for p in group["params"]
    }


def _net(module, **options):
    options = {"optimizer__name": "adamw", "optimizer__weight_decay": 0.3, **options}
    return Net(module, optimizer=make_optimizer, lr=0.01, **options).initialize()


@pytest.mark.parametrize(
    "name, kind",
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
    ],
)
def test_biases_and_norms_are_not_decayed(name, kind):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    net = _net(module, optimizer__name=name)
    assert type(net.optimizer_) is kind
    assert _rates(net) == {
        name: (0.01, 0.3 if p.ndim > 1 else 0.0)
        for name, p in module.named_parameters()
    }


def test_optimizer_of_vectors_only_has_no_empty_group():
    net = _net(nn.LayerNorm(3))
    assert [len(group["params"]) for group in net.optimizer_.param_groups] == [2]


def test_groups_of_the_user_keep_their_own_options():
    """The rate and the decay a group sets win; biases still are not decayed."""
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    groups = [("1.*", {"lr": 0.5}), ("0.weight", {"weight_decay": 0.7})]
    rates = _rates(_net(module, optimizer__param_groups=groups))
    assert rates == {
        "0.weight": (0.01, 0.7),
        "0.bias": (0.01, 0.0),
        "1.weight": (0.5, 0.3),
        "1.bias": (0.5, 0.0),
    }


@pytest.fixture(scope="module")
def vit():
    """A timm model with its head, and the same as a classifier of the library."""
    timm = pytest.importorskip("timm")
    whole = timm.create_model("test_vit", num_classes=3)
    backbone = load_backbone("test_vit", pretrained=False)
    embed = make_embedder(backbone, None, raw=False)
    return whole, Classifier(embed, nn.Identity(), nn.Linear(backbone.width, 3))


def _by_timm(groups, model):
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group.get("lr_scale", 1.0), group["weight_decay"])
        for group in groups
        for p in group["params"]
    }


def _in_timms_names(rates):
    return {
        name.removeprefix("embed.backbone."): value for name, value in rates.items()
    }


def test_what_timm_exempts_is_not_decayed(vit):
    from timm.optim import param_groups_weight_decay

    whole, ours = vit
    groups = param_groups_weight_decay(
        whole, weight_decay=0.3, no_weight_decay_list=whole.no_weight_decay()
    )
    expected = {k: decay for k, (_, decay) in _by_timm(groups, whole).items()}
    found = {k: decay for k, (_, decay) in _in_timms_names(_rates(_net(ours))).items()}
    assert found == expected
    assert found["pos_embed"] == found["cls_token"] == 0


@pytest.mark.parametrize("decay", [0.75, 0.5])
def test_layer_wise_rates_are_timms(decay, vit):
    from timm.optim import param_groups_layer_decay

    whole, ours = vit
    groups = param_groups_layer_decay(
        whole,
        weight_decay=0.3,
        no_weight_decay_list=whole.no_weight_decay(),
        layer_decay=decay,
    )
    expected = _by_timm(groups, whole)
    found = _in_timms_names(_rates(_net(ours, layer_decay=decay)))
    assert set(found) == set(expected)
    for name, (scale, weight_decay) in expected.items():
        assert found[name] == (pytest.approx(0.01 * scale), weight_decay), name
    assert len({rate for rate, _ in found.values()}) > 4


def test_the_rate_of_a_group_is_not_scaled(vit):
    groups = [("*patch_embed*", {"lr": 1e-5})]
    net = _net(vit[1], layer_decay=0.5, optimizer__param_groups=groups)
    found = _in_timms_names(_rates(net))
    assert found["patch_embed.proj.weight"][0] == 1e-5
    assert found["blocks.0.mlp.fc1.weight"][0] < 0.01


def test_optimizer_options_win_over_ours():
    module = nn.Linear(2, 2)
    for options, fused in (({}, True), ({"fused": False}, False)):
        optimizer = make_optimizer(
            [{"params": list(module.parameters())}],
            name="sgd",
            weight_decay=0.0,
            lr=0.1,
            momentum=0.9,
            **options,
        )
        assert optimizer.defaults["fused"] is fused
        assert optimizer.defaults["momentum"] == 0.9


def test_without_decay_there_is_one_group():
    net = _net(nn.Linear(3, 2), optimizer__weight_decay=0.0)
    assert len(net.optimizer_.param_groups) == 1
