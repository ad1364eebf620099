"""Passes without gradients when memory runs out, and training when it does."""

from __future__ import annotations

import gc
import warnings
import weakref

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from support import Pool, spy_net, tiny
from torch import nn

from sklearn_turn import Cleansing, FeatureExtractor, TURNClassifier
from sklearn_turn.baselines import DivideMix, FullFineTuning
from sklearn_turn.exceptions import NotEnoughMemoryError, SmallerBatchWarning
from sklearn_turn.inputs import Ragged
from sklearn_turn.training import out_of_memory
from sklearn_turn.training.batches import Batch, n_samples_of, rows_of
from sklearn_turn.training.out_of_memory import exhausted_device, steps_that_fit

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_turn.exceptions.CleansingWarning"
)


def cuda_error():
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


ERRORS = [
    cuda_error(),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
]


class Small(Pool):
    """A backbone whose device has memory for so many samples."""

    fits_training, fits_evaluation = 1000, 1000

    def __deepcopy__(self, memo):
        copied = type(self)()
        copied.load_state_dict(self.state_dict())
        return copied

    def forward(self, images):
        most = self.fits_training if self.training else self.fits_evaluation
        if len(images) > most:
            raise cuda_error()
        return super().forward(images)


class Evaluates16(Small):
    fits_evaluation = 16


class Trains3(Small):
    fits_training = 3


class FitsNothing(Small):
    fits_evaluation = 0

    def forward(self, images):
        if len(images) == 1 and not images.any():  # asks for the number of features
            return Pool.forward(self, images)
        return super().forward(images)


def limited(most, seen, error=None):
    """A step that takes so many samples, and notes what it is given."""

    def step(batch):
        seen.append(batch.tolist())
        if len(batch) > most:
            raise error or cuda_error()
        return 2 * batch

    return step


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:12])
def test_a_batch_is_halved_until_it_fits(error, monkeypatch):
    monkeypatch.setattr(out_of_memory, "free_memory", lambda device: None)
    seen = []
    batches = torch.arange(20).split(8)
    with pytest.warns(SmallerBatchWarning, match=r"8 samples .* with 2\. .*=2") as told:
        results = list(steps_that_fit(batches, limited(3, seen, error)))
    assert len(told) == 1
    assert torch.cat(results).tolist() == list(range(0, 40, 2))
    # Whole, halves, quarters; and then no attempt that is known to fail.
    assert [len(batch) for batch in seen] == [8, 4, *[2] * 10]


def test_a_later_batch_that_does_not_fit_is_halved_again():
    fits = iter([False, True, True, True, False, True, True])
    sizes = []

    def step(batch):
        sizes.append(len(batch))
        if not next(fits):
            raise cuda_error()
        return batch

    with pytest.warns(SmallerBatchWarning) as told:
        results = list(steps_that_fit(torch.arange(16).split(8), step))
    assert len(told) == 1
    assert torch.cat(results).tolist() == list(range(16))
    assert sizes == [8, 4, 4, 4, 4, 2, 2]


def test_a_single_sample_that_does_not_fit_is_an_error():
    seen = []
    with pytest.raises(NotEnoughMemoryError, match=r"single sample.*precision") as told:
        list(steps_that_fit([torch.arange(5)], limited(0, seen)))
    assert [len(batch) for batch in seen] == [5, 2, 1]
    assert isinstance(told.value.__cause__, torch.cuda.OutOfMemoryError)


def test_other_errors_are_not_tried_again():
    seen = []
    with pytest.raises(RuntimeError, match="shapes"):
        list(
            steps_that_fit([torch.arange(5)], limited(0, seen, RuntimeError("shapes")))
        )
    assert len(seen) == 1
    assert exhausted_device(MemoryError()) is None


def test_memory_is_freed_between_attempts_and_nothing_is_kept(monkeypatch):
    alive, freed = [], []

    def step(batch):
        activations = nn.Parameter(batch.float())  # a variable of a frame
        alive.append(weakref.ref(activations))
        if len(batch) > 2:
            raise cuda_error()
        return batch

    def free(device):
        freed.append((device.type, sum(ref() is not None for ref in alive)))

    monkeypatch.setattr(out_of_memory, "free_memory", free)
    gc.disable()  # without its help
    try:
        with pytest.warns(SmallerBatchWarning):
            list(steps_that_fit([torch.arange(8)], step))
    finally:
        gc.enable()
    assert freed == [("cuda", 0), ("cuda", 0)]


def test_parts_of_batches_of_every_form():
    x, y = torch.arange(5), torch.arange(5, 10)
    place = slice(1, 3)
    assert rows_of(x, place).tolist() == [1, 2]
    assert [part.tolist() for part in rows_of([x, y], place)] == [[1, 2], [6, 7]]
    assert rows_of({"a": x, "b": (y,)}, place)["b"][0].tolist() == [6, 7]
    ragged = Ragged([torch.zeros(3, n, n) for n in range(5)])
    batch = rows_of(Batch(ragged, y, x), place)
    assert [image.shape[1] for image in batch.x.images] == [1, 2]
    assert (batch.y.tolist(), batch.index.tolist()) == ([6, 7], [1, 2])
    assert batch.target is None
    forms = (x, [x, y], ({"a": x}, y), ragged, Batch(ragged, y, x))
    assert [n_samples_of(form) for form in forms] == [5] * 5


def assert_same_but_for_sums(one, other):
    for name, value in one.net_.module_.state_dict().items():
        torch.testing.assert_close(value, other.net_.module_.state_dict()[name])
    assert_array_equal(one.clean_mask_, other.clean_mask_)
    np.testing.assert_allclose(one.losses_, other.losses_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("params", [{}, {"noise_filter": "gmm"}])
def test_a_fit_goes_on_with_smaller_batches(params, images):
    with pytest.warns(SmallerBatchWarning, match="60 samples .* goes on with 15"):
        small = tiny(backbone=Evaluates16, **params).fit(images.X, images.y)
    whole = tiny(backbone=Small, **params).fit(images.X, images.y)
    assert_same_but_for_sums(small, whole)
    with pytest.warns(SmallerBatchWarning):
        proba = small.predict_proba(images.X)
    np.testing.assert_allclose(proba, whole.predict_proba(images.X), rtol=1e-5)


def test_no_sample_is_lost_or_doubled_in_the_cache(images, tmp_path):
    extract = FeatureExtractor(Evaluates16, input_size=8, memory=tmp_path)
    with pytest.warns(SmallerBatchWarning):
        features = extract.fit_transform(images.X)
    whole = FeatureExtractor(Small, input_size=8).fit_transform(images.X)
    np.testing.assert_allclose(features, whole, rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # read, not computed
        assert_array_equal(extract.transform(images.X), features)


def test_two_networks_are_asked_with_smaller_batches(images):
    options = {"input_size": 8, "mode": "fine-tune", "fft_epochs": 2, "random_state": 0}
    with pytest.warns(SmallerBatchWarning):
        small = DivideMix(Evaluates16, fft_batch_size=8, **options)
        small.fit(images.X, images.y)
    whole = DivideMix(Small, fft_batch_size=8, **options).fit(images.X, images.y)
    assert_same_but_for_sums(small, whole)


def test_cleansing_any_net_with_smaller_batches(numbered):
    X, y = numbered

    class Limited(Cleansing):
        def select(self, net, dataset):
            forward = net.module_.forward

            def limited(batch):
                if len(batch) > 20:
                    raise cuda_error()
                return forward(batch)

            net.module_.forward = limited
            try:
                return super().select(net, dataset)
            finally:
                del net.module_.forward

    with pytest.warns(SmallerBatchWarning, match="32 samples .* with 16"):
        small = spy_net(callbacks=[Limited(warmup_epochs=0, random_state=0)]).fit(X, y)
    whole = spy_net(callbacks=[Cleansing(warmup_epochs=0, random_state=0)]).fit(X, y)
    np.testing.assert_allclose(
        small.history[:, "train_loss"], whole.history[:, "train_loss"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (TURNClassifier, {"lp_epochs": 1}),
        (FullFineTuning, {}),
        (DivideMix, {"mode": "fine-tune"}),
    ],
)
def test_training_names_what_needs_less_memory(kind, params, images):
    clf = kind(Trains3, input_size=8, fft_epochs=2, fft_batch_size=16, **params)
    with pytest.raises(NotEnoughMemoryError) as told:
        clf.fit(images.X, images.y)
    for word in ("16 samples", "fft_batch_size", "precision", "fft_grad_checkpointing"):
        assert word in str(told.value)
    assert isinstance(told.value.__cause__, torch.cuda.OutOfMemoryError)
    assert not hasattr(clf, "net_")


def test_an_error_that_is_kept_holds_no_network(images, monkeypatch):
    """As notebooks keep the last one."""
    nets, alive = [], []

    class Watched(Trains3):
        def __init__(self):
            super().__init__()
            nets.append(weakref.ref(self))

    def free(device):
        gc.collect()  # as on an accelerator
        alive.append(sum(net() is not None for net in nets))

    monkeypatch.setattr("sklearn_turn.base.free_memory", free)
    clf = FullFineTuning(Watched, input_size=8, fft_batch_size=16)
    with pytest.raises(NotEnoughMemoryError) as told:
        clf.fit(images.X, images.y)
    assert told.value.__traceback__ is not None
    assert alive == [0] and len(nets) > 1


def test_training_on_features_names_what_they_have(blobs, monkeypatch):
    def fail(*args, **kwargs):
        raise cuda_error()

    monkeypatch.setattr("sklearn_turn.training.net.Net.train_step_single", fail)
    with pytest.raises(NotEnoughMemoryError, match="features.*device='cpu'"):
        TURNClassifier().fit(blobs.X, blobs.y)


def test_a_backbone_too_large_for_one_image(images):
    with pytest.raises(NotEnoughMemoryError, match="single sample"):
        tiny(backbone=FitsNothing).fit(images.X, images.y)
