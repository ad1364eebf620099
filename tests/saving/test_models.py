"""Fitted classifiers that are saved, and read as they were."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from support import pool
from torch import nn

from sklearn_turn import FeatureMemory, GMMNoiseFilter, TURNClassifier
from sklearn_turn.baselines import (
    CORES,
    FINE,
    UNICON,
    CoTeaching,
    DivideMix,
    ELRPlus,
    FullFineTuning,
    LinearProbing,
)
from sklearn_turn.exceptions import ModelFileError
from sklearn_turn.inputs import RawInputs
from sklearn_turn.saving import files

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_turn.exceptions.CleansingWarning"
)

METHODS = [
    (TURNClassifier, {}),
    (TURNClassifier, {"fft_epochs": 0}),
    (TURNClassifier, {"lp_epochs": 0}),
    (TURNClassifier, {"cleansing": None}),
    (TURNClassifier, {"noise_filter": GMMNoiseFilter(0.7, scope="global")}),
    (LinearProbing, {}),
    (FullFineTuning, {}),
    *((m, {}) for m in (DivideMix, UNICON, ELRPlus, CoTeaching, CORES, FINE)),
    *(
        (m, {"mode": "fine-tune"})
        for m in (DivideMix, UNICON, ELRPlus, CoTeaching, CORES, FINE)
    ),
]


def brief(method, backbone=pool, **params):
    epochs = {"lp_epochs": 3, "fft_epochs": 2}
    known = method._parameter_constraints
    epochs = {k: v for k, v in epochs.items() if k in known}
    if "fft_warmup_epochs" in known:
        epochs["fft_warmup_epochs"] = 0 if method is ELRPlus else 1
    return method(backbone, input_size=8, random_state=0, **{**epochs, **params})


def assert_same(one, other):
    """Two values, whatever they are."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, dict):
        assert_same(list(one), list(other))
        assert_same(list(one.values()), list(other.values()))
    elif hasattr(one, "get_params") or dataclasses.is_dataclass(one):
        assert_same(vars(one), vars(other))
    elif not callable(one):
        assert one == other or one != one


def assert_same_model(one, other, X):
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        if name not in ("net_", "probe_"):
            assert_same(value, vars(other)[name])
    if hasattr(one, "probe_"):
        states = (list(m.probe_.module_.state_dict().values()) for m in (one, other))
        assert all(map(torch.equal, *states))


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_every_classifier_is_read_as_it_was(method, params, images, tmp_path):
    y = np.array(["cat", "dog", "é"])[images.y]
    clf = brief(method, **params).fit(images.X, y)
    path = tmp_path / "model.safetensors"
    clf.save(path)
    read = method.load(path, backbone=pool)
    assert_same_model(clf, read, images.X)
    # What was read can be saved, and fitted again.
    read.save(tmp_path / "again")
    assert_same_model(clf, method.load(tmp_path / "again", backbone=pool), images.X)
    assert_array_equal(
        read.fit(images.X, y).predict_proba(images.X), clf.predict_proba(images.X)
    )


def test_features_given_need_no_backbone(blobs, tmp_path):
    clf = TURNClassifier(random_state=0).fit(blobs.X, blobs.y)
    clf.save(tmp_path / "model")
    read = TURNClassifier.load(tmp_path / "model")
    assert_same_model(clf, read, blobs.X)
    with pytest.raises(ValueError, match="3 features"):
        read.predict(np.zeros((2, 3)))


def test_raw_inputs(tmp_path):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 4)

        def forward(self, tokens):
            return self.table(tokens).mean(dim=1)

    X = RawInputs(np.random.RandomState(0).randint(0, 9, (30, 5)))
    y = np.arange(30) % 2
    clf = brief(LinearProbing, Bag).fit(X, y)
    clf.save(tmp_path / "model")
    read = LinearProbing.load(tmp_path / "model", backbone=Bag)
    assert_array_equal(read.predict_proba(X), clf.predict_proba(X))
    with pytest.raises(ValueError, match="fitted on RawInputs"):
        read.predict(np.zeros((2, 5)))


def test_raw_inputs_of_a_backbone_without_weights(tmp_path):
    X = RawInputs(np.random.RandomState(0).normal(size=(30, 5)).astype(np.float32))
    clf = brief(LinearProbing, nn.Flatten()).fit(X, np.arange(30) % 2)
    clf.save(tmp_path / "model")
    read = LinearProbing.load(tmp_path / "model", backbone=nn.Flatten())
    assert_array_equal(read.predict_proba(X), clf.predict_proba(X))


def test_a_named_backbone_is_read_by_another_process_without_its_weights(
    digits, tmp_path
):
    X = digits.X[:60]
    clf = FullFineTuning(
        "letters", fft_epochs=1, random_state=0, memory=FeatureMemory(tmp_path / "f")
    ).fit(X, digits.y[:60])
    path, out = tmp_path / "model.safetensors", tmp_path / "proba.npy"
    np.save(tmp_path / "X.npy", X)
    clf.save(path)
    program = (
        "import sys, numpy as np; from sklearn_turn.baselines import FullFineTuning\n"
        "import sklearn_turn.backbones.checkpoints as c\n"
        "c.load_checkpoint = None  # would fail if it was asked for\n"
        "model, X, out = sys.argv[1:]\n"
        "np.save(out, FullFineTuning.load(model).predict_proba(np.load(X)))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, path, tmp_path / "X.npy"]
    subprocess.run([*command, out], check=True)
    np.testing.assert_allclose(np.load(out), clf.predict_proba(X), atol=1e-6)


def test_other_programs_can_read_the_file(images, tmp_path):
    clf = brief(TURNClassifier).fit(images.X, images.y)
    clf.save(tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    assert_array_equal(tensors["clean_proba_"].numpy(), clf.clean_proba_)
    weight = clf.net_.module_.head.weight.detach()
    assert torch.equal(tensors["net_.head.weight"], weight)
    with safe_open(tmp_path / "model.safetensors", framework="np") as file:
        text = file.get_tensor("sklearn_turn.json").tobytes()
    assert json.loads(text)["class"] == "TURNClassifier"


class Mine(GMMNoiseFilter):
    pass


def test_parameters_that_are_code_are_asked_for(images, tmp_path):
    clf = brief(TURNClassifier, noise_filter=Mine()).fit(images.X, images.y)
    clf.save(tmp_path / "model")
    with pytest.raises(
        ModelFileError, match=r"code: backbone \(pool\), noise_filter \(Mine\)\. Pass"
    ):
        TURNClassifier.load(tmp_path / "model")
    read = TURNClassifier.load(tmp_path / "model", backbone=pool, noise_filter=Mine())
    assert type(read.noise_filter_) is Mine
    assert_same_model(clf, read, images.X)


def wider():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 48))


class Doubled(nn.Module):
    """With the parameters of :class:`support.Pool`."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, images):
        fields = nn.functional.adaptive_avg_pool2d(images, 4)
        return 2 * (self.gain * fields + self.shift).flatten(1)


def test_another_backbone_is_refused_with_what_differs(images, tmp_path):
    path = tmp_path / "model"
    brief(LinearProbing).fit(images.X, images.y).save(path)
    with pytest.raises(ModelFileError, match=r"1 only saved|2 only saved.*gain"):
        LinearProbing.load(path, backbone=wider)
    with pytest.raises(
        ModelFileError, match=r"another backbone: class \(saved support"
    ):
        LinearProbing.load(path, backbone=Doubled)
    with pytest.raises(ModelFileError, match=r"input_size \(saved 8, now 16\)"):
        LinearProbing.load(path, backbone=pool, input_size=16)


class Headed(nn.Module):
    """With layers named as the parts of a classifier are."""

    def __init__(self):
        super().__init__()
        self.conv_head = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 5)
        self.scale = nn.Module()
        self.scale.mean = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.head(self.conv_head(x).mean((2, 3)))


@pytest.mark.parametrize("method", [LinearProbing, FullFineTuning, CoTeaching])
def test_a_backbone_may_have_layers_of_any_name(method, images, tmp_path):
    torch.manual_seed(0)
    backbone = Headed()
    clf = brief(method, backbone).fit(images.X, images.y)
    clf.save(tmp_path / "model")
    read = method.load(tmp_path / "model", backbone=backbone)
    assert_array_equal(read.predict_proba(images.X), clf.predict_proba(images.X))


class Times(nn.Module):
    """Its factor is seen by no description."""

    def __init__(self, factor):
        super().__init__()
        self._factor = (factor,)
        self.linear = nn.Linear(48, 8)

    def forward(self, x):
        fields = nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
        return self._factor[0] * self.linear(fields)


def test_a_backbone_that_sees_something_else_is_refused(images, tmp_path):
    backbone = Times(1.0)
    brief(LinearProbing, backbone).fit(images.X, images.y).save(tmp_path / "model")
    LinearProbing.load(tmp_path / "model", backbone=backbone)
    backbone._factor = (-3.0,)
    with pytest.raises(ModelFileError, match="other features of an image"):
        LinearProbing.load(tmp_path / "model", backbone=backbone)


def test_folders_of_this_machine_are_not_in_the_file(images, tmp_path):
    memory = FeatureMemory(tmp_path / "features", dtype="float16")
    clf = brief(FullFineTuning, memory=memory, checkpoint=tmp_path / "fit")
    clf.fit(images.X, images.y).save(tmp_path / "model")
    read = FullFineTuning.load(tmp_path / "model", backbone=pool)
    assert read.memory is None
    assert read.checkpoint is None
    # Whatever a file says.
    node, tensors = files.read(tmp_path / "model")
    node["parameters"]["memory"] = str(tmp_path / "elsewhere")
    files.write(tmp_path / "model", node, tensors)
    read = FullFineTuning.load(tmp_path / "model", backbone=pool)
    assert read.memory is None
    read = FullFineTuning.load(tmp_path / "model", backbone=pool, memory=memory)
    assert read.memory is memory


def test_reading_draws_no_random_numbers(images, tmp_path):
    brief(FullFineTuning).fit(images.X, images.y).save(tmp_path / "model")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    FullFineTuning.load(tmp_path / "model", backbone=pool)
    assert torch.rand(1) == expected


def test_places_where_no_file_can_be_are_named(blobs, tmp_path):
    clf = TURNClassifier(lp_epochs=1, fft_epochs=0, random_state=0)
    clf.fit(blobs.X, blobs.y)
    with pytest.raises(ModelFileError, match="there is no folder '.*nowhere'"):
        clf.save(tmp_path / "nowhere" / "model")
    with pytest.raises(ModelFileError, match="is a folder"):
        clf.save(tmp_path)
    assert not list(tmp_path.iterdir())


class Fits(BaseEstimator):
    """A filter with an estimator of another package within."""

    def fit(self, losses, y=None):
        self.clean_mask_ = losses[:, 0] <= np.median(losses)
        self.clean_proba_ = self.clean_mask_.astype(float)
        self.inner_ = LogisticRegression().fit(losses, self.clean_mask_)
        return self


def test_what_could_not_be_read_is_not_written(blobs, tmp_path):
    clf = TURNClassifier(
        noise_filter=Fits(), lp_epochs=1, fft_epochs=1, random_state=0
    ).fit(blobs.X, blobs.y)
    with pytest.raises(ModelFileError, match=r"filter_\.inner_ is a LogisticReg"):
        clf.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_refused_or_read(blobs, tmp_path):
    """Whatever letter of the JSON is another one; by no other error."""
    clf = TURNClassifier(lp_epochs=1, fft_epochs=0, random_state=0)
    clf.fit(blobs.X, blobs.y).save(tmp_path / "model")
    node, tensors = files.read(tmp_path / "model")
    text, rng = json.dumps(node), np.random.RandomState(0)
    spots = [i for i, letter in enumerate(text) if letter.isalnum()]
    outcomes = set()
    for place in rng.permutation(spots)[:60]:
        changed = text[:place] + rng.choice(list("0129abz")) + text[place + 1 :]
        tensors["sklearn_turn.json"] = torch.tensor(list(changed.encode())).byte()
        save_file(tensors, tmp_path / "damaged")
        try:
            TURNClassifier.load(tmp_path / "damaged")
            outcomes.add("read")
        except ModelFileError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
    for content in ("[]", "{}", "3", '{"format": 1}', "[" * 100_000 + "]" * 100_000):
        tensors["sklearn_turn.json"] = torch.tensor(list(content.encode())).byte()
        save_file(tensors, tmp_path / "damaged")
        with pytest.raises(ModelFileError):
            TURNClassifier.load(tmp_path / "damaged")
    with pytest.raises(TypeError, match="no parameter 'colour'"):
        TURNClassifier.load(tmp_path / "model", colour=3)


def test_other_files_are_refused(images, tmp_path):
    path = tmp_path / "model"
    clf = brief(LinearProbing)
    with pytest.raises(NotFittedError):
        clf.save(path)
    clf.fit(images.X, images.y).save(path)
    with pytest.raises(ModelFileError, match=r"holds a LinearProbing: read it by Lin"):
        TURNClassifier.load(path)
    with pytest.raises(FileNotFoundError):
        LinearProbing.load(tmp_path / "none")
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    with pytest.raises(ModelFileError, match="damaged"):
        LinearProbing.load(path, backbone=pool)
    path.write_bytes(whole.replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(
        ModelFileError, match="format 2; this is .*Install that version"
    ):
        LinearProbing.load(path, backbone=pool)


def test_a_save_that_fails_leaves_the_old_file(images, tmp_path, monkeypatch):
    path = tmp_path / "model"
    clf = brief(LinearProbing).fit(images.X, images.y)
    clf.save(path)
    before = path.read_bytes()
    clf.given_labels_ = object()
    with pytest.raises(ModelFileError, match="given_labels_ is a object"):
        clf.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("fits", [False, True])
def test_skops_reads_what_it_wrote(fits, blobs):
    """Another format without pickle, which lists the types a file asks for."""
    skops = pytest.importorskip("skops.io")
    clf = TURNClassifier(random_state=0)
    if fits:
        clf.fit(blobs.X, blobs.y)
    data = skops.dumps(clf)
    read = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    assert read.get_params() == clf.get_params()
    if fits:
        assert_array_equal(read.predict_proba(blobs.X), clf.predict_proba(blobs.X))
