"""Compiled backbones give what others give, and leave no trace in what is kept."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest
import torch
from support import Pool, tiny

from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.backbones import load_backbone, make_embedder
from sklearn_turn.baselines import CoTeaching


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """Compilation without a compiler of C++; modules that were compiled."""
    count = []

    def compiled(function, **options):
        count.append(function)
        return plain(function, backend="eager", **options)

    plain = torch.compile
    monkeypatch.setattr(torch, "compile", compiled)
    yield count
    torch._dynamo.reset()


def embedder(**options):
    torch.manual_seed(0)
    backbone = load_backbone("test_vit", pretrained=False, input_size=32)
    return make_embedder(backbone, None, raw=False, **options).eval()


def test_features_and_names_are_the_same(compiled):
    plain, fast = embedder(), embedder(compile=True)
    assert len(compiled) == 1
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), fast(images))
        torch.testing.assert_close(plain(images[:2]), fast(images[:2]))
    assert list(plain.state_dict()) == list(fast.state_dict())


def test_a_pickle_and_a_copy_are_not_compiled():
    fast = embedder(compile=True)
    for other in (pickle.loads(pickle.dumps(fast)), copy.deepcopy(fast)):
        assert other.backbone._compiled_call_impl is None


def test_a_fit_is_the_same_and_is_saved_without_it(images, compiled, tmp_path):
    options = {"input_size": 32, "augment": None, "precision": "float32"}
    fitted = [
        tiny(compile=on, backbone="test_vit", pretrained=False, **options).fit(
            images.X, images.y
        )
        for on in (False, True)
    ]
    assert len(compiled) == 1
    plain, fast = (clf.predict_proba(images.X) for clf in fitted)
    np.testing.assert_allclose(plain, fast, atol=1e-4)
    fitted[1].save(tmp_path / "model.safetensors")
    again = TURNClassifier.load(tmp_path / "model.safetensors", compile=False)
    np.testing.assert_allclose(again.predict_proba(images.X), fast, atol=1e-5)
    names = list(fitted[1].net_.module_.state_dict())
    assert not any("orig_mod" in name for name in names)
    assert pickle.loads(pickle.dumps(fitted[1])).predict(images.X).shape == (60,)


def test_features_come_from_the_same_cache(images, tmp_path, compiled):
    extract = FeatureExtractor(Pool(), input_size=8, memory=str(tmp_path))
    first = extract.fit_transform(images.X)
    second = extract.set_params(compile=True).fit_transform(images.X)
    np.testing.assert_array_equal(first, second)


def test_every_network_is_compiled(images, compiled):
    clf = CoTeaching(
        functools.partial(Pool),
        input_size=8,
        mode="fine-tune",
        fft_epochs=2,
        compile=True,
        random_state=0,
    )
    members = clf.fit(images.X, images.y).net_.members_
    assert len(members) == 2
    for member in members:
        assert member.embed.backbone._compiled_call_impl is not None
