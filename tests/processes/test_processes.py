"""What needs no second process: shares, refusals, one process that is alone."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from support import Spy, assert_same, estimated, spy_net, tiny

from sklearn_turn import Cleansing, FeatureExtractor
from sklearn_turn.baselines import ELRPlus
from sklearn_turn.parameters import RunParameters
from sklearn_turn.processes import ALONE, Processes
from sklearn_turn.training.device import Runtime
from sklearn_turn.training.shared_net import ShareSampler


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 1, 7, 64, 100])
@pytest.mark.parametrize("size", [1, 8, 64])
def test_shares_are_all_there_is(count, n, size):
    shares = [Processes(rank, count).share(n, size) for rank in range(count)]
    assert [i for share in shares for i in share] == list(range(n))
    n_batches = [-(-len(share) // size) for share in shares]
    assert max(n_batches) - min(n_batches) <= 1
    # Batches are those of one process.
    assert all(share.start % size == 0 for share in shares if share)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n, size", [(10, 4), (9, 4), (3, 1), (8, 4), (0, 4)])
def test_batches_are_those_of_one_process(count, drop_last, n, size):
    order = np.random.RandomState(0).permutation(n).tolist()
    samplers = [
        ShareSampler(order, size, Processes(rank, count), drop_last)
        for rank in range(count)
    ]
    loader = torch.utils.data.DataLoader(
        order, batch_size=size, collate_fn=list, drop_last=drop_last
    )
    for k, whole in enumerate(loader):
        seen = []
        for sampler in samplers:
            own, all_ = sampler.sizes(k)
            batch = list(sampler)[k]
            assert all_ == len(whole)
            assert len(batch) == max(own, 1)  # one that has none keeps in step
            assert set(batch) <= set(whole)
            seen += batch[:own]
        assert seen == whole
    assert {len(sampler) for sampler in samplers} == {len(loader)}


def test_alone_there_is_no_one_to_ask():
    assert ALONE.exchange("anything", 1) == [1]
    assert ALONE.first("anything", lambda: 1) == 1
    assert ALONE.join("anything", {}) == {}
    ALONE.equalize("anything", torch.nn.Linear(1, 1))
    with pytest.raises(MemoryError), ALONE.together():
        raise MemoryError


def test_without_others_distributed_changes_nothing(images):
    first = tiny().fit(images.X, images.y)
    second = tiny(distributed=True).fit(images.X, images.y)
    assert_same(estimated(first), estimated(second))
    assert clone(second).distributed
    assert pickle.loads(pickle.dumps(second)).predict(images.X).shape == (60,)
    extract = FeatureExtractor("test_vit", pretrained=False, input_size=32)
    both = [
        extract.set_params(random_state=0, distributed=on).fit_transform(images.X)
        for on in (False, True)
    ]
    np.testing.assert_array_equal(*both)
    np.testing.assert_array_equal(both[0], extract.transform(images.X))


def test_features_of_fit_transform_follow_set_output(images):
    pytest.importorskip("pandas")
    extract = FeatureExtractor("test_vit", pretrained=False, input_size=32)
    frame = extract.set_output(transform="pandas").fit_transform(images.X)
    assert list(frame.columns[:2]) == ["feature0", "feature1"]


def test_processes_that_are_not_connected(images, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="the 4 processes that were started are not"):
        tiny(distributed=True).fit(images.X, images.y)
    # Fits of their own are fits of one process, and so are predictions.
    clf = tiny().fit(images.X, images.y)
    assert clf.set_params(distributed=True).predict(images.X).shape == (60,)


def test_networks_in_step_are_refused_by_name(images):
    clf = ELRPlus(mode="fine-tune", distributed=True)
    with pytest.raises(ValueError, match="ELRPlus cannot be fine-tuned by several"):
        clf.fit(images.X, images.y)


def test_cleansing_refuses_a_net_that_shows_it_a_part(numbered):
    X, y = numbered
    net = spy_net(callbacks=[Cleansing()])
    net.initialize()
    net.accelerator = SimpleNamespace(num_processes=2)
    with pytest.raises(TypeError, match="Use an estimator with distributed=True"):
        net.fit(X, y)
    net.accelerator.num_processes = 1
    assert isinstance(net.fit(X, y).module_, Spy)


def test_each_process_has_its_gpu(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    for visible, expected in [(4, "cuda:3"), (1, "cuda:0")]:
        monkeypatch.setattr(torch.cuda, "device_count", lambda visible=visible: visible)
        settings = RunParameters(distributed=True)
        assert str(Runtime.of(settings).device) == expected
    assert str(Runtime.of(RunParameters()).device) == "cuda"
    assert (
        str(Runtime.of(RunParameters(device="cpu", distributed=True)).device) == "cpu"
    )


def test_loader_processes_are_shared_among_those_of_a_machine(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert Runtime.of(RunParameters()).num_workers == 1
