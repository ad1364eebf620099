"""What tells backbones apart."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import timm
import torch
from backbones.models import tiny
from torch import nn

from sklearn_turn.backbones import Embedder, identity, load_backbone, make_embedder
from sklearn_turn.backbones.identity import describe, probe_features, weights_digest


def embed_of(module, dtype=None, **options):
    loaded = load_backbone(module, **{"input_size": 64, **options})
    return make_embedder(loaded, dtype, raw=False)


class Encoder(nn.Module):
    """Whose settings no description shows."""

    def __init__(self, pool="mean", activation="relu"):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self._options = [pool, activation]  # as a public attribute it would show

    def forward(self, images):
        pool, activation = self._options
        values = getattr(torch, activation)(self.conv(images)).flatten(2)
        return values.mean(dim=2) if pool == "mean" else values.amax(dim=2)


def encoder(**options):
    torch.manual_seed(0)
    return Encoder(**options)


def test_equal_backbones_are_described_alike():
    first, second = (embed_of(encoder()) for _ in range(2))
    assert describe(first) == describe(second)
    assert json.loads(json.dumps(describe(first))) == describe(first)
    np.testing.assert_array_equal(probe_features(first), probe_features(second))


def test_what_the_description_shows():
    reference = describe(embed_of(tiny()))
    assert reference["architecture"] == "test_resnet"
    other_weights = tiny()
    other_weights.conv1[0].weight.data[0, 0, 0, 0] += 1e-6
    others = [
        embed_of(other_weights),
        embed_of(tiny(), torch.bfloat16),
        embed_of(tiny(), input_size=96),
        embed_of(tiny(), crop_pct=0.5),
        embed_of(tiny(global_pool="max")),
    ]
    descriptions = [json.dumps(describe(e)) for e in [*others, embed_of(tiny())]]
    assert descriptions.pop() == json.dumps(reference)
    assert len({*descriptions, json.dumps(reference)}) == len(others) + 1


@pytest.mark.parametrize("layer", [nn.GELU(), nn.ReLU6()])
def test_layers_without_weights_are_described(layer):
    first, second = (
        embed_of(nn.Sequential(encoder(), layer)) for layer in (nn.ReLU(), layer)
    )
    assert describe(first)["weights"] == describe(second)["weights"]
    assert describe(first) != describe(second)


@pytest.mark.parametrize("options", [{"pool": "max"}, {"activation": "tanh"}])
def test_what_only_the_probe_shows(options):
    first, second = embed_of(encoder()), embed_of(encoder(**options))
    assert describe(first) == describe(second)
    a, b = probe_features(first), probe_features(second)
    # The cache takes differences up to 0.005 for rounding.
    assert np.abs(a - b).sum() > 0.01 * np.abs(b).sum()


def test_plain_attributes_of_layers_are_described():
    first, second = embed_of(encoder()), embed_of(encoder())
    second.backbone.pad = 3
    assert describe(first)["settings"] != describe(second)["settings"]
    third = embed_of(encoder()).train()
    assert describe(first) == describe(third)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([2, 3], [2, 4]),
        ((0.485, 0.456), (0.4815, 0.4578)),
        ({"a": [1], "b": None}, {"a": [1], "b": 0}),
        ({1, 2}, {1, 3}),
        (np.arange(5000), np.arange(1, 5001)),
        (np.float32(1), np.float32(2)),
        ([np.zeros(3)], [np.ones(3)]),
        ([], [0]),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_attributes_that_hold_data_are_described(one, other):
    embeds = [embed_of(encoder()) for _ in range(3)]
    for embed, value in zip(embeds, (one, copy.deepcopy(one), other), strict=True):
        embed.backbone.ignored = value
    first, same, different = (describe(embed)["settings"] for embed in embeds)
    assert first == same != different


def test_what_decides_no_features_is_not_described():
    first, second = embed_of(tiny("test_vit")), embed_of(tiny("test_vit"))
    block = second.backbone.blocks[0]
    block.attn.fused_attn = not block.attn.fused_attn
    second.backbone.set_grad_checkpointing()
    second.backbone.pretrained_cfg = {**second.backbone.pretrained_cfg, "url": "here"}
    second.backbone.last = torch.rand(3)  # a result, say
    assert describe(first) == describe(second)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"cpu": torch.ones(2)}),
        ([], [("a", torch.ones(2))]),
        ({"cpu": {}}, {"cpu": {0: torch.ones(2)}}),
        ({torch.relu: 1}, {torch.tanh: 1}),
        ({nn.ReLU(): 1}, {nn.ReLU(): 1}),
    ],
)
def test_what_a_layer_keeps_for_itself_is_not_described(before, after):
    """By addresses, too, nothing could be found in another process."""
    first, second = embed_of(encoder()), embed_of(encoder())
    first.backbone.kept, second.backbone.kept = before, after
    assert describe(first) == describe(second)


@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0"])
def test_a_pass_does_not_change_the_description(name):
    embed = embed_of(timm.create_model(name, num_classes=0), input_size=224).eval()
    before = describe(embed)
    with torch.no_grad():
        embed(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    assert describe(embed) == before == describe(copy.deepcopy(embed).train())


def test_data_within_itself_is_described():
    embed = embed_of(encoder())
    embed.backbone.ignored = [1]
    embed.backbone.ignored.append(embed.backbone.ignored)
    assert describe(embed) == describe(copy.deepcopy(embed))


def test_activation_of_clip_is_told_apart():
    first, second = (
        embed_of(tiny("test_vit", act_layer=act)) for act in ("gelu", "quick_gelu")
    )
    a, b = probe_features(first), probe_features(second)
    assert np.abs(a - b).sum() > 0.005 * np.abs(b).sum()


def test_buffers_that_are_not_saved_count():
    module = nn.Linear(2, 2)
    module.register_buffer("scale", torch.ones(2), persistent=False)
    before = weights_digest(module)
    module.scale += 1
    assert weights_digest(module) != before


@pytest.mark.parametrize("training", [False, True])
def test_probe_is_in_evaluation_mode_and_leaves_no_trace(training):
    embed = embed_of(tiny(drop_rate=0.5)).train(training)
    expected = copy.deepcopy(embed).eval()
    first = probe_features(embed)
    assert (first.shape, first.dtype) == ((2, embed.backbone_width), np.float32)
    np.testing.assert_array_equal(first, probe_features(expected))
    assert embed.training is training
    assert weights_digest(embed) == weights_digest(expected)


def test_probe_of_a_raw_backbone_is_its_example():
    torch.manual_seed(0)
    embed = Embedder(nn.Identity(), nn.Linear(3, 2), None, 2)
    example = torch.rand(1, 3)
    with torch.no_grad():
        expected = embed.backbone(example).numpy()
    np.testing.assert_array_equal(probe_features(embed, example), expected)
    with pytest.raises(ValueError, match="example"):
        probe_features(embed)


@pytest.fixture
def digests(monkeypatch):
    """How often the weights were hashed."""
    made = []
    compute = identity._digest

    def counting(tensors):
        made.append(compute(tensors))
        return made[-1]

    monkeypatch.setattr(identity, "_digest", counting)
    return made


def train(module, **options):
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-6, **options)
    module(torch.rand(4, 3)).sum().backward()
    optimizer.step()


def load(module):
    state = {k: v + 1 for k, v in module.state_dict().items()}
    module.load_state_dict(state)


def normalise(module):
    with torch.no_grad():
        module.train()(torch.rand(4, 3))


CHANGES = {
    "fused optimiser": lambda m: train(m, fused=True),
    "optimiser": lambda m: train(m, fused=False),
    "through .data": lambda m: m[0].weight.data.add_(1e-6),
    "another .data": lambda m: setattr(m[0].weight, "data", torch.ones(5, 3)),
    "BatchNorm": normalise,
    "loading": load,
    "type": lambda m: m.double(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_hashed_once_and_after_every_change(digests, change):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    before = weights_digest(module)
    assert weights_digest(module) == before
    assert len(digests) == 1
    CHANGES[change](module)
    after = weights_digest(module)
    assert after != before
    assert after == weights_digest(copy.deepcopy(module))


def test_digest_is_of_values_not_of_their_layout():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    other = copy.deepcopy(conv).to(memory_format=torch.channels_last)
    assert weights_digest(conv) == weights_digest(other)
    assert weights_digest(conv) != weights_digest(nn.Conv2d(3, 4, 3))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16])
def test_every_type_has_a_digest(dtype):
    module = nn.Identity()
    module.register_buffer("values", torch.zeros(7, dtype=dtype))
    module.register_buffer("number", torch.zeros((), dtype=dtype))
    before = weights_digest(module)
    module.values[-1] = 1
    assert weights_digest(module) != before


def test_real_clip_variants_differ_in_name():
    names = ("vit_base_patch16_clip_224", "vit_base_patch16_clip_quickgelu_224")
    assert len({timm.get_pretrained_cfg(n).architecture for n in names}) == 2
