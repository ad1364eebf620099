"""Names, modules and checkpoints become headless backbones."""

from __future__ import annotations

import json
import re
from importlib import resources
from itertools import permutations

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from timm.layers import resample_abs_pos_embed
from torch import nn

from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.backbones import ALIASES, check_backbone, load_backbone, make_embedder
from sklearn_turn.exceptions import WeightsNotFoundError
from sklearn_turn.inputs import as_source
from sklearn_turn.training.runtime import Runtime, forward_all

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
TINY = ["test_vit", "test_resnet", "test_convnext"]


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub that is not asked, and a cache that is empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


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


# -- names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alias", "architecture", "statistics"),
    [
        ("vit_b16", "vit_base_patch16_224", HALF),
        ("vit_l16", "vit_large_patch16_224", HALF),
        ("convnext_t", "convnext_tiny", IMAGENET),
        ("mae_vit_b", "vit_base_patch16_224", IMAGENET),
        ("clip_vit_b", "vit_base_patch16_clip_224", CLIP),
        ("clip_vit_l14", "vit_large_patch14_clip_224", CLIP),
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
    check_backbone(alias)


def test_aliases_of_the_same_architecture_have_other_weights():
    weights = [(recipe.timm_name, recipe.url) for recipe in ALIASES.values()]
    assert len(set(weights)) == len(weights)


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


# -- modules and factories -------------------------------------------------------------


def test_module_is_copied():
    module = tiny().train()
    before = state_of(module)
    copy = load_backbone(module).module
    assert not copy.training
    for parameter in copy.parameters():
        parameter.data.add_(1)
    assert module.training
    assert_same_state(module, before)


def test_module_brings_its_own_preprocessing():
    module = tiny("test_vit", num_classes=0)
    module.pretrained_cfg = dict(
        module.pretrained_cfg,
        mean=(0.1, 0.2, 0.3),
        interpolation="bilinear",
        crop_mode="squash",
    )
    loaded = load_backbone(module)
    assert make_embedder(loaded, None, raw=False).transform.crop_mode == "squash"
    assert load_backbone(tiny("test_vit")).crop_mode == "center"
    assert (loaded.input_size, loaded.width) == (160, 64)
    assert loaded.mean == (0.1, 0.2, 0.3)
    assert loaded.interpolation == "bilinear"


class Pooling(nn.Module):
    """The mean of each channel: a backbone that knows nothing of timm."""

    def forward(self, images):
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize("backbone", [Pooling(), Pooling, lambda: Pooling()])
def test_own_modules_take_imagenet_preprocessing(backbone):
    loaded = load_backbone(backbone)
    assert isinstance(loaded.module, Pooling)
    assert (loaded.width, loaded.input_size, loaded.crop_pct) == (3, 224, 1.0)
    assert (loaded.mean, loaded.std) == IMAGENET


class Returning(nn.Module):
    """Returns what it is told to."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, images):
        return self.result(images)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (lambda x: x, r"\(1, 3, 64, 64\)"),
        (lambda x: x.mean(), r"\(\)"),
        (lambda x: torch.zeros(2, 7), r"\(2, 7\)"),
        (lambda x: (x, x), "tuple"),
        (lambda x: None, "NoneType"),
    ],
)
def test_output_must_be_one_row_per_image(result, shown):
    with pytest.raises(ValueError, match=f"Returning.*returned {shown}"):
        load_backbone(Returning(result), input_size=64)


def test_module_that_fails_on_an_image():
    with pytest.raises(ValueError, match=r"Linear failed.*input_size"):
        load_backbone(nn.Linear(7, 2))


@pytest.mark.parametrize(("made", "named"), [(None, "NoneType"), ("resnet50", "str")])
def test_factory_must_return_a_module(made, named):
    with pytest.raises(ValueError, match=f"factory returned {named}"):
        load_backbone(lambda: made)


# -- width and input size --------------------------------------------------------------


def test_width_is_what_comes_out_not_what_is_declared():
    loaded = load_backbone("mobilenetv3_small_050", pretrained=False, input_size=32)
    assert loaded.module.num_features == 288
    assert loaded.width == 1024


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [None, 64, 96])
def test_input_size(name, size):
    loaded = load_backbone(name, pretrained=False, input_size=size)
    assert loaded.input_size == size or (size is None and loaded.input_size == 160)
    images = torch.zeros(2, 3, loaded.input_size, loaded.input_size)
    with torch.no_grad():
        assert loaded.module(images).shape == (2, loaded.width)
    assert not loaded.module.training


def test_input_size_that_the_architecture_cannot_take():
    with pytest.raises(ValueError, match=r"3 x 100 x 100.*input_size"):
        load_backbone("test_vit", pretrained=False, input_size=100)


def test_crop_pct_is_the_backbones_unless_given():
    assert load_backbone("test_resnet", pretrained=False).crop_pct == 0.95
    loaded = load_backbone("test_resnet", pretrained=False, crop_pct=0.5)
    assert loaded.crop_pct == 0.5


# -- checkpoints -----------------------------------------------------------------------


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
    expected = f"{total - 3} of {total} keys match, 1 have another shape and 2 are miss"
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


# -- weights from elsewhere ------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_vit", "hf-hub:timm/test_vit.r160_in1k"])
def test_weights_that_cannot_be_had_name_the_ways_out(offline, name):
    with pytest.raises(WeightsNotFoundError) as caught:
        load_backbone(name)
    message = str(caught.value)
    assert "test_vit" in message
    for way_out in ["pretrained='", ".safetensors", "HF_HOME", "pretrained=False"]:
        assert way_out in message
    # No internals of the hub.
    assert "http" not in message
    assert len(message) < 700


def test_random_weights_need_no_hub(offline):
    assert load_backbone("test_vit", pretrained=False).width == 64


def write_local(folder, name, model_args=None, **config):
    """A folder as timm's ``local-dir:`` reads it; returns the model saved there."""
    model = tiny(name, **(model_args or {}))
    save_file(model.state_dict(), folder / "model.safetensors")
    contents = {
        "architecture": name,
        "num_classes": model.num_classes,
        "model_args": model_args or {},
        "pretrained_cfg": dict(model.pretrained_cfg, **config),
    }
    (folder / "config.json").write_text(json.dumps(contents))
    return model


def test_local_folder(offline, tmp_path):
    model = write_local(
        tmp_path, "test_resnet", mean=[0.1, 0.2, 0.3], crop_pct=0.8, tag="mine"
    )
    loaded = load_backbone(f"local-dir:{tmp_path}")
    assert loaded.mean == (0.1, 0.2, 0.3)
    assert loaded.crop_pct == 0.8
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(images), pooled(model, images))


def test_local_folder_of_a_fixed_size_architecture(offline, tmp_path):
    model = write_local(tmp_path, "vit_tiny_patch16_224", {"depth": 1})
    loaded = load_backbone(f"local-dir:{tmp_path}", input_size=96)
    assert loaded.input_size == 96
    patches = loaded.module.patch_embed.state_dict()
    for key, value in model.patch_embed.state_dict().items():
        torch.testing.assert_close(patches[key], value)


def test_name_of_a_local_folder_says_nothing_of_the_architecture(offline, tmp_path):
    folder = tmp_path / "vit"
    folder.mkdir()
    write_local(folder, "test_resnet")
    assert load_backbone(f"local-dir:{folder}", input_size=64).input_size == 64


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_model_without_its_classifier(tmp_path, name):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    *_, classifier = (m for m in model.modules() if isinstance(m, nn.Linear))
    entered = []
    classifier.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    loaded = load_backbone(
        f"torchvision:{name}", pretrained=tmp_path / "weights.pth", input_size=64
    )
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        model(images)
        torch.testing.assert_close(loaded.module(images), entered[0])
    assert loaded.width == classifier.in_features
    assert (loaded.mean, loaded.std) == IMAGENET


def test_torchvision_model_without_a_linear_classifier():
    with pytest.raises(ValueError, match="squeezenet1_1"):
        load_backbone("torchvision:squeezenet1_1", pretrained=False)


def test_unknown_torchvision_model_suggests_close_ones():
    with pytest.raises(ValueError, match=r"'resnet81'.*Did you mean.*'resnet18'"):
        load_backbone("torchvision:resnet81", pretrained=False)


@pytest.mark.parametrize("pretrained", [True, False])
def test_missing_local_folder(tmp_path, pretrained):
    with pytest.raises(OSError, match="nowhere"):
        load_backbone(f"local-dir:{tmp_path}/nowhere", pretrained=pretrained)


def test_letters_ship_with_the_package(offline):
    weights = resources.files("sklearn_turn") / "weights" / ALIASES["letters"].file
    assert weights.stat().st_size < 1_000_000
    loaded = load_backbone("letters")
    assert (loaded.input_size, loaded.width) == (32, 128)
    assert (loaded.mean, loaded.std, loaded.crop_pct) == (*HALF, 1.0)
    found = loaded.module.state_dict()
    stored = load_file(str(weights))
    for name in found:
        torch.testing.assert_close(found[name], stored[name].to(found[name].dtype))


def test_letters_know_more_of_digits_than_random_weights():
    digits = load_digits()
    images, labels = (digits.images[:600] / 16).astype(np.float32), digits.target[:600]
    scores = {}
    for pretrained in (True, False):
        torch.manual_seed(0)
        extract = FeatureExtractor(
            "letters", pretrained=pretrained, device="cpu", precision="float32"
        )
        features = extract.fit_transform(images)
        features = (features - features.mean(0)) / (features.std(0) + 1e-6)
        knn = KNeighborsClassifier(3).fit(features[:300], labels[:300])
        scores[pretrained] = knn.score(features[300:], labels[300:])
    # Measured: 0.89 against 0.83.
    assert scores[True] > 0.85
    assert scores[True] > scores[False] + 0.02


# -- frozen means frozen ---------------------------------------------------------------


@pytest.fixture
def remembered():
    """A factory of a model with BatchNorm, and the models it has made."""
    made = []

    def factory():
        made.append(tiny(num_classes=0).train())
        return made[-1]

    return factory, made


def test_feature_extraction_leaves_batchnorm_alone(remembered, images):
    factory, made = remembered
    extract = FeatureExtractor(factory, input_size=32, device="cpu").fit(images.X)
    extract.transform(images.X)
    (module,) = made
    assert_same_state(module, tiny(num_classes=0).state_dict())


def test_probe_and_prediction_leave_the_backbone_alone(remembered, images):
    factory, made = remembered
    model = TURNClassifier(
        factory, input_size=32, lp_epochs=2, fft_epochs=0, device="cpu", random_state=0
    )
    model.fit(images.X, images.y).predict(images.X)
    (module,) = made
    assert_same_state(module, tiny(num_classes=0).state_dict())


@pytest.mark.parametrize("freeze", [False, True])
def test_fine_tuning_changes_batchnorm_when_it_may(remembered, images, freeze):
    # Without the first the two tests above could pass on a module that is never run.
    factory, made = remembered
    model = TURNClassifier(
        factory,
        input_size=32,
        lp_epochs=1,
        fft_epochs=1,
        cleansing=None,
        freeze_batch_norm=freeze,
        device="cpu",
    )
    model.fit(images.X, images.y)
    before = tiny(num_classes=0).state_dict()
    after = made[0].state_dict()
    moved = [
        name
        for name in before
        if name.endswith("running_mean") and not torch.equal(before[name], after[name])
    ]
    assert bool(moved) is not freeze


# -- the real weights ------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "error, reported",
    [(OSError, WeightsNotFoundError), (AssertionError, AssertionError)],
)
def test_errors_of_the_module_are_not_blamed_on_weights(monkeypatch, error, reported):
    def fail(*args, **options):
        raise error("of its own")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(reported) as caught:
        load_backbone("test_resnet")
    assert error in (type(caught.value), type(caught.value.__cause__))


def test_features_can_take_part_in_training(images):
    runtime = Runtime.resolve(
        device="cpu", precision="float32", batch_size=16, num_workers=0
    )
    embed = make_embedder(load_backbone(Pooling()), None, raw=False)
    features = forward_all(embed, as_source(images.X), runtime)
    assert not features.is_inference()
    nn.Linear(3, 2)(features).sum().backward()
