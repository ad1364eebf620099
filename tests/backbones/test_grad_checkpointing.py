"""Activations computed twice instead of kept: the same training, in less memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backbones.models import Pooling, tiny
from numpy.testing import assert_array_equal

from sklearn_turn import TURNClassifier
from sklearn_turn.backbones import load_backbone, make_embedder
from sklearn_turn.baselines import DivideMix, FullFineTuning, LinearProbing

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_turn.exceptions.CleansingWarning"),
    # Of torch 2.4, about itself.
    pytest.mark.filterwarnings("ignore:.torch.cpu.amp:FutureWarning"),
]


def embedder(name, **options):
    backbone = load_backbone(tiny(name, num_classes=0), input_size=32)
    return make_embedder(backbone, None, raw=False, augment=None, **options)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet"])
def test_gradients_are_the_same_and_less_is_kept(name, images):
    x = torch.from_numpy(images.X[:8].copy()).permute(0, 3, 1, 2)
    gradients, kept = {}, {}
    for checkpoints in (False, True):
        embed = embedder(name, grad_checkpointing=checkpoints).train()
        saved = []

        def pack(tensor, saved=saved):
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = embed(x).square().sum()
        kept[checkpoints] = sum(saved)
        loss.backward()
        gradients[checkpoints] = {
            name: p.grad for name, p in embed.named_parameters() if p.grad is not None
        }
    assert gradients[True].keys() == gradients[False].keys()
    for name, grad in gradients[False].items():
        torch.testing.assert_close(gradients[True][name], grad, rtol=1e-5, atol=1e-6)
    assert kept[True] < 0.7 * kept[False]


def test_only_training_computes_twice(images):
    embed = embedder("test_vit", grad_checkpointing=True)
    calls = []
    block = embed.backbone.blocks[0]
    block.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    x = torch.from_numpy(images.X[:2].copy()).permute(0, 3, 1, 2)
    embed.eval()(x).sum().backward()
    assert len(calls) == 1
    embed.train()(x).sum().backward()
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (TURNClassifier, {"lp_epochs": 1}),
        (FullFineTuning, {}),
        (DivideMix, {"mode": "fine-tune"}),
    ],
)
def test_fits_are_the_same(method, params, images, tmp_path):
    def fit(checkpoints, precision="float32"):
        clf = method(
            "test_vit",
            pretrained=False,
            input_size=32,
            fft_epochs=2,
            fft_batch_size=16,
            fft_grad_checkpointing=checkpoints,
            memory=tmp_path,  # of the same features
            precision=precision,
            random_state=0,
            **params,
        )
        return clf.fit(images.X[:32], images.y[:32])

    plain, checkpointed = fit(False), fit(True)
    embed = checkpointed.net_.module_.embed
    assert embed.grad_checkpointing and not embed.backbone.grad_checkpointing
    for one, other in zip(
        plain.net_.module_.parameters(),
        checkpointed.net_.module_.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    proba = checkpointed.predict_proba(images.X)
    np.testing.assert_allclose(proba, plain.predict_proba(images.X), atol=1e-5)
    assert fit(True, "bfloat16").score(images.X, images.y) >= 0  # other kernels


def test_a_saved_model_is_read_back(images, tmp_path):
    clf = FullFineTuning(
        "test_vit",
        pretrained=False,
        input_size=32,
        fft_epochs=1,
        fft_warmup_epochs=0,
        fft_grad_checkpointing=True,
    )
    clf.fit(images.X, images.y).save(tmp_path / "model")
    loaded = FullFineTuning.load(tmp_path / "model")
    assert_array_equal(loaded.predict_proba(images.X), clf.predict_proba(images.X))


class Refusing(Pooling):
    """As timm's models without gradient checkpointing do."""

    def set_grad_checkpointing(self, enable=True):
        assert not enable, "gradient checkpointing not supported"


@pytest.mark.parametrize("backbone", [Pooling, Refusing])
def test_backbones_without_it_are_refused_before_work(backbone, images):
    clf = FullFineTuning(backbone, input_size=8, fft_grad_checkpointing=True)
    with pytest.raises(ValueError, match=f"{backbone.__name__} has no gradient check"):
        clf.fit(images.X, images.y)


def test_features_have_no_backbone_and_a_probe_trains_none(blobs, images):
    TURNClassifier(fft_epochs=1, lp_epochs=1, fft_grad_checkpointing=True).fit(
        blobs.X, blobs.y
    )
    assert "fft_grad_checkpointing" not in LinearProbing().get_params()
