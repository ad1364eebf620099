"""What two processes do together, and one alone for comparison.

A scenario takes the rank of its process, or None for one alone, and a folder that the
processes share.
"""

from __future__ import annotations

import os
import signal
import warnings
from unittest import mock

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, Freezer, Unfreezer
from skorch.dataset import ValidSplit
from skorch.utils import noop
from support import Interrupt, Pool, Tally, tiny
from torch import nn

from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.baselines import CoTeaching, FullFineTuning, LinearProbing
from sklearn_turn.exceptions import SkippedImageWarning
from sklearn_turn.training.net import Net

torch.set_num_threads(1)

# Neither batches of 8 nor two processes divide it.
N = 61


def data():
    """Images of three classes, each with a colour of its own; some labels wrong."""
    y = np.arange(N) % 3
    X = np.random.RandomState(0).randint(0, 120, (N, 8, 8, 3))
    X[np.arange(N), :, :, y] += 100
    y[:9] = (y[:9] + 1) % 3
    return X.astype(np.uint8), y


def fit(rank, *, cls=None, data=data, **params):
    """A fitted classifier and how many samples passed through its backbone."""
    tally = Tally()
    params = {
        "backbone": Pool(tally),
        "augment": None,
        "fft_lr": 1e-2,
        "batch_size": 8,
        "distributed": rank is not None,
        **params,
    }
    if cls is None:
        clf = tiny(**{"lp_epochs": 60, **params})  # enough to tell labels apart
    else:
        clf = cls(input_size=8, **{"random_state": 0, **params})
    return clf.fit(*data()), tally


def found(fitted):
    """All that has to be the same."""
    clf, tally = fitted
    published = ("losses_", "clean_mask_", "clean_proba_", "suggested_labels_")
    return {
        "weights": {k: v.numpy() for k, v in clf.net_.module_.state_dict().items()},
        **{name: getattr(clf, name) for name in published if hasattr(clf, name)},
        "history": [
            {k: v for k, v in row.items() if k not in ("phase", "seconds")}
            for row in clf.history_
        ],
        "evaluated": tally.evaluated,
        "trained": tally.trained,
    }


def turn(rank, folder):
    fitted = fit(rank, fft_epochs=3, verbose=1)
    clf, _ = fitted
    result = found(fitted)  # before more samples pass
    if rank in (0, None):
        result["proba"] = clf.predict_proba(data()[0])  # by one process alone
    return result


def algorithm_1(rank, folder):
    return found(fit(rank, noise_filter="gmm", fft_batch_size=7, fft_epochs=3))


def soft_labels(rank, folder):
    return found(fit(rank, label_correction="soft", fft_optimizer="sgd"))


def one_at_a_time(rank, folder):
    """Batches of one sample, of which one process has none; a loss with a memory."""
    params = {"loss": "elr", "fft_batch_size": 1, "fft_epochs": 4, "q": None}
    return found(fit(rank, cls=FullFineTuning, **params))


def memory_of_a_loss(rank, folder):
    params = {"loss": "gce", "truncation": 0.4, "fft_batch_size": 6, "fft_epochs": 4}
    return found(fit(rank, cls=FullFineTuning, **params))


def batch_norm(rank, folder):
    """Statistics of batches are each process's own; only the processes are alike."""
    backbone = nn.Sequential(nn.BatchNorm2d(3), Pool())
    return found(fit(rank, backbone=backbone, freeze_batch_norm=False))


class HalfUsed(Pool):
    """A backbone with a parameter that it does not use."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.ones(1))

    def __deepcopy__(self, memo):
        copied = HalfUsed()
        copied.load_state_dict(self.state_dict())
        return copied


def unused_parameter(rank, folder):
    return found(fit(rank, backbone=HalfUsed()))


def unfrozen(rank, folder):
    """From its third epoch on the backbone is trained as well."""
    callbacks = [Freezer("embed.*"), Unfreezer("embed.*", at=3)]
    return found(fit(rank, fft_epochs=4, fft_params={"callbacks": callbacks}))


def validation(rank, folder):
    split = ValidSplit(0.25, stratified=True, random_state=0)
    result = found(fit(rank, fft_params={"train_split": split}))
    del result["evaluated"]  # each runs the whole of a validation set
    return result


class OtherwiseRounded(TURNClassifier):
    """Validates otherwise in the second process, as another device might."""

    def _run(self, task):
        validates = Net.validation_step
        rank = task.runtime.processes.rank

        def step(net, batch, **params):
            result = validates(net, batch, **params)
            if rank:
                net.history.record_batch("valid_acc", 0.1 * len(net.history))
            return result

        with mock.patch.object(Net, "validation_step", step):
            return super()._run(task)


def other_validation(rank, folder):
    """Early stopping must end training everywhere, or nowhere."""
    watch = EarlyStopping("valid_acc", lower_is_better=False, patience=2, sink=noop)
    split = ValidSplit(0.25, stratified=True, random_state=0)
    params = {"train_split": split, "callbacks": [watch]}
    result = found(fit(rank, cls=OtherwiseRounded, fft_epochs=6, fft_params=params))
    del result["evaluated"]
    return result


def no_seed(rank, folder):
    return found(fit(rank, random_state=None, augment="light"))


def probe(rank, folder):
    tally = Tally()
    clf = LinearProbing(
        Pool(tally),
        input_size=8,
        batch_size=8,
        random_state=0,
        distributed=rank is not None,
    )
    return found((clf.fit(*data()), tally))


def two_heads(rank, folder):
    return found(fit(rank, cls=CoTeaching, noise_rate=0.2))


def two_networks(rank, folder):
    return fit(rank, cls=CoTeaching, noise_rate=0.2, mode="fine-tune")


def features(rank, folder):
    X, y = make_blobs(90, centers=3, random_state=0)
    return found(fit(rank, data=lambda: (X, y)))


def few(rank, folder):
    """Fewer batches than processes: one has nothing to do in passes."""
    X, y = data()
    return found(fit(rank, data=lambda: (X[:7], y[:7]), batch_size=64))


def files(rank, folder):
    """Image files with a cache, some of them damaged."""
    own = folder / "files"
    paths = [str(own / f"{i:02}.png") for i in range(N)]
    X, y = data()
    if rank in (0, None):
        own.mkdir(exist_ok=True)
        for path, image in zip(paths, X, strict=True):
            Image.fromarray(image).save(path)
        for i in (3, 50):
            (own / f"{i:02}.png").write_bytes(b"no image")
    if rank is not None:
        torch.distributed.barrier()
    params = {"memory": str(folder / "memory"), "on_bad_image": "skip"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedImageWarning)
        clf, tally = fit(rank, data=lambda: (paths, y), **params)
    return {"skipped": clf.skipped_, **found((clf, tally))}


def extractor(rank, folder):
    tally = Tally()
    extract = FeatureExtractor(
        Pool(tally), input_size=8, batch_size=8, distributed=rank is not None
    )
    X, _ = data()
    joint = extract.fit_transform(X)
    shared = tally.evaluated
    result = {"joint": joint, "evaluated": shared}
    if rank in (0, None):
        result["own"] = extract.transform(X)
    return result


def search(rank, folder):
    model = tiny(distributed=rank is not None, augment=None)
    found = GridSearchCV(model, {"fft_epochs": [1, 2]}, cv=2).fit(*data())
    return {"scores": found.cv_results_["mean_test_score"]}


class InterruptOnce(Interrupt):
    """Ctrl-C in the first fit; the second one has the same parameters."""

    done = False

    def on_batch_end(self, net, **kwargs):
        if not self.done:
            super().on_batch_end(net, **kwargs)


def resumed(rank, folder):
    """Stopped by Ctrl-C in its third epoch, and gone on with."""
    params = {"fft_epochs": 4, "augment": "light"}
    through = found(fit(rank, **params))
    # The first process alone reads and writes.
    params["checkpoint"] = folder / f"checkpoint of {rank}"
    params["fft_params"] = {"callbacks": [InterruptOnce(3)]}
    try:
        fit(rank, **params)
    except KeyboardInterrupt:
        InterruptOnce.done = True
    return {"through": through, "resumed": found(fit(rank, **params))}


def other_labels(rank, folder):
    X, y = data()
    return fit(rank, data=lambda: (X, y if rank == 0 else y[::-1].copy()))


def other_length(rank, folder):
    X, y = data()
    return fit(rank, data=lambda: (X[: N - rank], y[: N - rank]))


def other_images(rank, folder):
    X, y = data()
    return fit(rank, data=lambda: (X if rank == 0 else 255 - X, y))


def other_parameters(rank, folder):
    return fit(rank, lp_epochs=2 + rank)


def other_network(rank, folder):
    """One goes on from a fit of its own, the other begins."""
    X, y = data()
    clf = FullFineTuning(Pool(), input_size=8, warm_start=True, augment=None)
    if rank == 0:
        clf.fit(X, y)
    return clf.set_params(distributed=True).fit(X, y)


def other_folder(rank, folder):
    """One keeps a checkpoint, the other none; then both do, in the same folder."""
    params = {"fft_epochs": 1, "lp_epochs": 1}
    kept = folder / "of the first"
    try:
        fit(rank, checkpoint=kept if rank == 0 else None, **params)
    except ValueError as error:
        fit(rank, checkpoint=kept, **params)
        return error


def other_split(rank, folder):
    split = ValidSplit(0.25, random_state=rank, stratified=True)
    return fit(rank, fft_params={"train_split": Differs(split)})


class Differs:
    """A split that hides from a comparison what it splits by."""

    __slots__ = ("split",)

    def __init__(self, split):
        self.split = split

    def __call__(self, *args, **kwargs):
        return self.split(*args, **kwargs)

    def __str__(self):
        return "split"


def bad_label(rank, folder):
    """What is refused in one process before it tells of its data."""
    X, y = data()
    return fit(rank, data=lambda: (X, y if rank == 0 else np.full(N, 0.5)))


class Fails(Pool):
    """A backbone that fails in one process, in one mode."""

    def __init__(self, rank=None, training=False):
        super().__init__()
        self.rank, self.fails_in_training = rank, training

    def __deepcopy__(self, memo):
        copied = Fails(self.rank, self.fails_in_training)
        copied.load_state_dict(self.state_dict())
        return copied

    def forward(self, images):
        # Two images ask what tells backbones apart, one how many features there are.
        fails = len(images) > 2 and self.training == self.fails_in_training
        if fails and torch.distributed.get_rank() == self.rank:
            raise MemoryError("no memory")
        return super().forward(images)


def fails_in_feature_pass(rank, folder):
    return fit(rank, backbone=Fails(1, training=False))


def fails_in_training(rank, folder):
    return fit(rank, backbone=Fails(0, training=True))


class FailsAtBegin(Callback):
    """Fails in one process when training begins."""

    def on_train_begin(self, net, **kwargs):
        if torch.distributed.get_rank() == 1:
            raise MemoryError("no memory")


def fails_before_training(rank, folder):
    return fit(rank, fft_params={"callbacks": [FailsAtBegin()]})


class FailsAtStep(Callback):
    """Fails in one process before the batch is passed on."""

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and torch.distributed.get_rank() == 1:
            raise MemoryError("no memory")


def fails_before_a_step(rank, folder):
    backbone = nn.Sequential(nn.BatchNorm2d(3), Pool())
    callbacks = [FailsAtStep()]
    return fit(rank, backbone=backbone, fft_params={"callbacks": callbacks})


def fails_in_reading(rank, folder):
    """A checkpoint is damaged; the next fit is not affected."""
    params = {"fft_epochs": 1, "lp_epochs": 1}
    kept = folder / "damaged"
    fit(rank, checkpoint=kept, **params)
    if rank == 0:
        (kept / "epoch.safetensors").write_bytes(b"nothing")
    torch.distributed.barrier()
    try:
        fit(rank, checkpoint=kept, **params)
    except Exception as error:
        fit(rank, **params)
        return error


class FailsAtEnd(Callback):
    """Fails in one process when an epoch ends."""

    def on_epoch_end(self, net, **kwargs):
        if torch.distributed.get_rank() == 1:
            raise MemoryError("no memory")


def fails_between_epochs(rank, folder):
    return fit(rank, fft_params={"callbacks": [FailsAtEnd()]})


class StopsOne(Callback):
    """Stops training in one process only, as early stopping does."""

    def on_epoch_end(self, net, **kwargs):
        if torch.distributed.get_rank() == 1:
            raise KeyboardInterrupt


def stops_one(rank, folder):
    return fit(rank, fft_params={"callbacks": [StopsOne()]}, fft_epochs=3)


class OwnParameter(nn.Module):
    """A criterion that would have to be trained."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, logits, target):
        return nn.functional.cross_entropy(self.scale * logits, target)


def trained_criterion(rank, folder):
    return fit(rank, fft_params={"criterion": OwnParameter})


def summed_criterion(rank, folder):
    options = {"criterion": nn.CrossEntropyLoss, "criterion__reduction": "sum"}
    return fit(rank, fft_params=options)


class Dies(Callback):
    """Ends a process in the middle of an epoch, as a machine out of memory does."""

    def on_batch_end(self, net, training=False, **kwargs):
        if torch.distributed.get_rank() == 1 and len(net.history) == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(rank, folder):
    return fit(rank, fft_params={"callbacks": [Dies()]}, fft_epochs=4)


#: With what one process finds alone, up to rounding.
AS_ONE = [
    turn,
    algorithm_1,
    soft_labels,
    one_at_a_time,
    memory_of_a_loss,
    unused_parameter,
    unfrozen,
    validation,
    other_validation,
    probe,
    two_heads,
    features,
    few,
    files,
    extractor,
    search,
]
#: With the same in both processes, but not as one alone.
ALIKE = [batch_norm, no_seed, resumed]
#: Refused by an error of both.
REFUSED = [
    two_networks,
    other_labels,
    other_length,
    other_images,
    other_parameters,
    other_network,
    other_folder,
    other_split,
    trained_criterion,
    summed_criterion,
]
#: An error of the process given, of which the other hears.
FAILED = {
    bad_label: 1,
    fails_in_feature_pass: 1,
    fails_before_training: 1,
    fails_before_a_step: 1,
    fails_in_training: 0,
    fails_in_reading: 0,
    fails_between_epochs: 1,
}
SCENARIOS = {
    scenario.__name__: scenario
    for scenario in [*AS_ONE, *ALIKE, *REFUSED, *FAILED, stops_one, killed]
}
