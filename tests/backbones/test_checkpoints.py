"""Local checkpoints: layouts, what does not fit, what is not loaded."""

from __future__ import annotations

from itertools import permutations

import pytest
import timm
import torch
from backbones.models import (
    HALF,
    IMAGENET,
    TINY,
    Pooling,
    assert_same_state,
    at_size,
    pooled,
    tiny,
)
from safetensors.torch import load_file, save_file
from torch import nn

from sklearn_turn.backbones import load_backbone
from sklearn_turn.backbones.checkpoints import load_checkpoint
from sklearn_turn.exceptions import WeightsNotFoundError


def save_wrapped(state, path):
    torch.save({"state_dict": state, "epoch": 3}, path)


def save_from_data_parallel(state, path):
    torch.save({f"module.{name}": value for name, value in state.items()}, path)


def save_as_msn(state, path):
    parallel = {f"module.{name}": value for name, value in state.items()}
    other = {name: torch.zeros_like(value) for name, value in parallel.items()}
    torch.save({"encoder": other, "target_encoder": parallel, "epoch": 3}, path)


FORMATS = {
    "plain.safetensors": save_file,
    "plain.pth": torch.save,
    "wrapped.pth": save_wrapped,
    "parallel.pth": save_from_data_parallel,
    "msn.pth.tar": save_as_msn,
}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("file", FORMATS)
def test_checkpoint_round_trip(tmp_path, name, file):
    model = tiny(name)
    FORMATS[file](model.state_dict(), tmp_path / file)
    loaded = load_backbone(name, pretrained=tmp_path / file)
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(images), pooled(model, images))


@pytest.mark.parametrize("backbone", ["module", "factory"])
def test_checkpoint_into_a_module_of_ones_own(tmp_path, backbone):
    path = str(tmp_path / "weights.safetensors")
    save_file(tiny(seed=1, num_classes=0).state_dict(), path)
    module = tiny(seed=2, num_classes=0)
    given = module if backbone == "module" else lambda: module
    loaded = load_backbone(given, pretrained=path)
    assert_same_state(loaded.module, load_file(path))


def test_half_precision_checkpoint_is_loaded_as_float32(tmp_path):
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in tiny(num_classes=0).state_dict().items()
    }
    save_file(state, tmp_path / "half.safetensors")
    loaded = load_backbone("test_resnet", pretrained=tmp_path / "half.safetensors")
    found = loaded.module.state_dict()
    assert {v.dtype for v in found.values() if v.is_floating_point()} == {torch.float32}
    for name, value in state.items():
        torch.testing.assert_close(found[name], value.to(found[name].dtype))


def test_position_embedding_follows_the_input_size(tmp_path):
    path = tmp_path / "vit.safetensors"
    model = tiny("test_vit")
    save_file(model.state_dict(), path)
    loaded = load_backbone("test_vit", pretrained=path, input_size=96)
    expected = at_size(model, "test_vit", 96)
    assert loaded.module.pos_embed.shape != model.pos_embed.shape
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(images), pooled(expected, images))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {name: folder / f"{name}.safetensors" for name in TINY}
    for name, path in paths.items():
        save_file(tiny(name).state_dict(), path)
    return paths


@pytest.mark.parametrize(("name", "other"), permutations(TINY, 2))
def test_checkpoint_of_another_architecture(checkpoints, name, other):
    with pytest.raises(ValueError, match=r"does not fit.*\d+ of \d+ keys match"):
        load_backbone(name, pretrained=checkpoints[other])


def test_error_counts_the_keys_that_match(tmp_path):
    state = tiny(num_classes=0).state_dict()
    weights = [name for name in state if name.endswith("weight")]
    del state[weights[0]], state[weights[1]]
    state[weights[2]] = torch.zeros(5, 5)
    total = len(tiny(num_classes=0).state_dict())
    save_file(state, tmp_path / "short.safetensors")
    expected = f"{total - 3} of {total} keys match, 1 have another shape, 2 are miss"
    with pytest.raises(ValueError, match=expected) as caught:
        load_backbone("test_resnet", pretrained=tmp_path / "short.safetensors")
    for name in weights[:3]:
        assert name in str(caught.value)


def test_batch_counters_may_be_missing(tmp_path):
    model = tiny(num_classes=0)
    state = {
        name: value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert len(state) < len(model.state_dict())
    save_file(state, tmp_path / "uncounted.safetensors")
    loaded = load_backbone("test_resnet", pretrained=tmp_path / "uncounted.safetensors")
    assert_same_state(loaded.module, model.state_dict())


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickled_code_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1), "extra": Payload(trace)}, path)
    with pytest.raises(ValueError, match=r"could not be read"):
        load_backbone("test_resnet", pretrained=path)
    assert not trace.exists()


def test_pickled_module_is_refused_without_advice_to_run_it(tmp_path):
    torch.save(tiny(), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"could not be read") as caught:
        load_backbone("test_resnet", pretrained=tmp_path / "module.pth")
    message = str(caught.value)
    assert "tensors only" in message
    # torch's own message explains at length how to switch the protection off.
    assert "safe_globals" not in message
    assert "weights_only" not in message


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_damaged_checkpoint(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x10\x00not a checkpoint")
    with pytest.raises(ValueError, match="could not be read"):
        load_backbone("test_resnet", pretrained=tmp_path / name)


@pytest.mark.parametrize("backbone", ["test_resnet", Pooling])
def test_missing_checkpoint(tmp_path, backbone):
    path = tmp_path / "absent.safetensors"
    with pytest.raises(WeightsNotFoundError, match=r"absent\.safetensors.*not exist"):
        load_backbone(backbone, pretrained=path)


@pytest.mark.parametrize("size", [None, 96])
def test_real_vit_loads_in_full(assets, size):
    path = assets / "vit_tiny_patch16_224.safetensors"
    loaded = load_backbone("vit_tiny_patch16_224", pretrained=path, input_size=size)
    found, stored = loaded.module.state_dict(), load_file(path)
    assert {name for name in stored if name not in found} == {
        "head.weight",
        "head.bias",
    }
    assert found.keys() <= stored.keys()
    resampled = {name for name in found if found[name].shape != stored[name].shape}
    assert resampled == (set() if size is None else {"pos_embed"})
    for name in found.keys() - resampled:
        assert torch.equal(found[name], stored[name])

    whole = timm.create_model("vit_tiny_patch16_224", checkpoint_path=str(path)).eval()
    if size is not None:
        whole = at_size(whole, "vit_tiny_patch16_224", size)
    batch = torch.rand(2, 3, loaded.input_size, loaded.input_size)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(batch), pooled(whole, batch))
    assert (loaded.mean, loaded.std) == HALF


def test_real_mobilenet_loads_without_batch_counters(assets):
    path = assets / "mobilenetv2_100.safetensors"
    loaded = load_backbone("mobilenetv2_100", pretrained=path)
    found, stored = loaded.module.state_dict(), load_file(path)
    assert not any(name.endswith("num_batches_tracked") for name in stored)
    missing = found.keys() - stored.keys()
    assert missing
    assert all(name.endswith("num_batches_tracked") for name in missing)
    for name in stored:
        assert torch.equal(found[name], stored[name])
    assert (loaded.width, loaded.input_size) == (1280, 224)
    assert (loaded.mean, loaded.std) == IMAGENET


def test_checkpoint_of_a_deeper_model(tmp_path):
    deep = timm.create_model("test_vit", depth=8)
    shallow = timm.create_model("test_vit", num_classes=0)
    more = {k for k in deep.state_dict() if k.startswith(("blocks.6.", "blocks.7."))}
    assert len(shallow.blocks) == 6
    save_file(deep.state_dict(), tmp_path / "deep.safetensors")
    with pytest.raises(ValueError, match=f"has {len(more)} more.*blocks.6") as caught:
        load_backbone("test_vit", pretrained=tmp_path / "deep.safetensors")
    total = len(shallow.state_dict())
    assert f"{total} of {total} keys match" in str(caught.value)


class Trunk(nn.Module):
    """A backbone of one's own, whose classifier was called ``head``."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.conv(images).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("extra", "fits"),
    [
        ("head.weight", True),
        ("fc.0.bias", True),
        ("classifier.weight", True),
        ("decoder_blocks.0.weight", True),
        ("conv.scale", False),
        ("conv2.weight", False),
        ("fc_norm.weight", False),
        ("header.weight", False),
    ],
)
def test_what_a_checkpoint_may_have_besides(tmp_path, extra, fits):
    module = Trunk()
    save_file({**module.state_dict(), extra: torch.ones(2)}, tmp_path / "x.safetensors")
    if fits:
        load_checkpoint(Trunk(), tmp_path / "x.safetensors")
    else:
        with pytest.raises(ValueError, match=f"1 more, for example {extra}"):
            load_checkpoint(Trunk(), tmp_path / "x.safetensors")


def test_norm_in_the_head_is_part_of_the_features(tmp_path):
    """timm's ConvNeXt has its last norm in ``head``."""
    state = tiny("test_convnext").state_dict()
    state["head.pre_logits.fc.weight"] = torch.ones(2)
    assert {"head.norm.weight", "head.fc.weight"} < state.keys()
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="1 more, for example head.pre_logits"):
        load_backbone("test_convnext", pretrained=tmp_path / "x.safetensors")


def test_file_is_read_once(tmp_path, monkeypatch):
    torch.save(tiny(num_classes=0).state_dict(), tmp_path / "weights.pth")
    reads = []
    read = torch.load

    def counting(path, *args, **options):
        reads.append(path)
        return read(path, *args, **options)

    monkeypatch.setattr(torch, "load", counting)
    load_backbone("test_resnet", pretrained=tmp_path / "weights.pth")
    assert len(reads) == 1
