"""Mixed precision on a CPU."""

import pytest
import torch
from torch import nn

from sklearn_turn.backbones.autocast import autocast

BF16, F32 = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    "groups, training, dtype",
    [(1, True, BF16), (4, True, F32), (1, False, BF16), (4, False, BF16)],
)
def test_grouped_convolutions_train_in_float32(groups, training, dtype):
    conv = nn.Conv2d(4, 8, 3, groups=groups)
    with autocast("cpu", BF16, training=training):
        out = conv(torch.randn(2, 4, 8, 8))
    assert out.dtype == dtype


def test_grouped_convolution_of_a_bfloat16_result_is_that_of_float32():
    torch.manual_seed(0)
    convs = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    images = torch.randn(2, 3, 8, 8)
    with autocast("cpu", BF16, training=True):
        between = convs[0](images)
        out = convs[1](between)
    assert between.dtype == BF16
    torch.testing.assert_close(out, convs[1](between.float()), rtol=0, atol=0)
    out.sum().backward()
    assert all(p.grad.dtype == F32 for p in convs.parameters())


def test_groups_may_be_named():
    image, weight = torch.randn(1, 2, 4, 4), torch.randn(2, 1, 3, 3)
    with autocast("cpu", BF16, training=True):
        out = torch.conv2d(image, weight, groups=2)
    assert out.dtype == F32
    torch.testing.assert_close(out, torch.conv2d(image, weight, groups=2))


@pytest.mark.parametrize("training", [True, False])
def test_fused_attention_is_for_inference(training):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 16, requires_grad=True) for _ in "qkv")
    attend = nn.functional.scaled_dot_product_attention
    with autocast("cpu", BF16, training=training):
        out = attend(query, key, value)
    assert ("Flash" in out.grad_fn.name()) != training
    weights = (query @ key.mT / 4).softmax(dim=-1)
    torch.testing.assert_close(out.float(), weights @ value, rtol=0.02, atol=0.02)


def test_no_type_leaves_all_in_float32():
    with autocast("cpu", None, training=True):
        assert nn.Linear(3, 2)(torch.randn(4, 3)).dtype == F32
        assert nn.Conv2d(4, 4, 1, groups=4)(torch.randn(1, 4, 2, 2)).dtype == F32
    with autocast("cpu", BF16, training=True):
        assert nn.Linear(3, 2)(torch.randn(4, 3)).dtype == BF16
    assert nn.Linear(3, 2)(torch.randn(4, 3)).dtype == F32
