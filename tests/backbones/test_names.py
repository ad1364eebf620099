"""What is nothing that can be built is refused before any work."""

from __future__ import annotations

import re
from functools import partial

import pytest
from backbones.models import Pooling
from torch import nn

from sklearn_turn import TURNClassifier
from sklearn_turn.backbones import ALIASES, check_backbone, load_backbone
from sklearn_turn.exceptions import WeightsNotFoundError


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("vit_b61", "vit_b16"),
        ("resnet05", "resnet50"),
        ("convnext_tny", "convnext_tiny"),
        ("mobilnetv2_100", "mobilenetv2_100"),
    ],
)
def test_unknown_name_suggests_close_ones(typo, meant):
    with pytest.raises(ValueError, match=f"Unknown backbone '{typo}'") as caught:
        check_backbone(typo)
    suggestions = re.search(r"Did you mean (.*?)\?", str(caught.value)).group(1)
    suggestions = suggestions.split(", ")
    assert repr(meant) in suggestions
    assert len(set(suggestions)) == len(suggestions)


def test_unknown_name_without_a_close_one_lists_the_aliases():
    with pytest.raises(ValueError, match="Unknown backbone 'qqqq'") as caught:
        load_backbone("qqqq")
    assert "Did you mean" not in str(caught.value)
    for alias in ALIASES:
        assert alias in str(caught.value)


@pytest.mark.parametrize("pretrained", [True, False])
def test_unknown_weight_tag_names_the_known_ones(pretrained):
    unknown = (ValueError, WeightsNotFoundError)
    with pytest.raises(unknown, match=r"nonsense.*r160_in1k"):
        load_backbone("test_resnet.nonsense", pretrained=pretrained)


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "hf-hub:timm/any"])
def test_known_names_pass(name):
    check_backbone(name)


def test_name_is_checked_before_anything_else():
    with pytest.raises(ValueError, match=r"Did you mean.*'resnet50'"):
        TURNClassifier("resnet_50").fit(["absent.png"], [0])


def test_unknown_torchvision_model_suggests_close_ones():
    with pytest.raises(ValueError, match=r"'resnet81'.*Did you mean.*'resnet18'"):
        load_backbone("torchvision:resnet81", pretrained=False)


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_pass(alias):
    check_backbone(alias)


@pytest.mark.parametrize("check", [check_backbone, load_backbone])
def test_class_that_needs_arguments(check):
    with pytest.raises(ValueError, match=r"Linear cannot be called.*in_features") as e:
        check(nn.Linear)
    assert "Linear(...)" in str(e.value)


@pytest.mark.parametrize(
    "factory", [Pooling, partial(nn.Linear, 3, 2), lambda size=3: nn.Identity()]
)
def test_factories_that_need_none_pass(factory):
    check_backbone(factory)


@pytest.mark.parametrize("backbone", [3, None, ["resnet50"]])
def test_what_cannot_be_called(backbone):
    with pytest.raises(ValueError, match="a name, a torch.nn.Module or a function"):
        check_backbone(backbone)


@pytest.mark.parametrize("check", [check_backbone, load_backbone])
def test_local_folder_must_hold_a_model(tmp_path, check):
    with pytest.raises(WeightsNotFoundError, match="nowhere.*does not exist"):
        check(f"local-dir:{tmp_path}/nowhere")
    with pytest.raises(WeightsNotFoundError, match="has no config.json"):
        check(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    check_backbone(f"local-dir:{tmp_path}")
