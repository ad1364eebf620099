"""The skorch nets of both phases, and cleansing as a skorch callback."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring
from skorch.dataset import unpack_data
from skorch.utils import to_device, to_numpy
from torch import Tensor, nn

from ._runtime import progress
from .errors import CleansingWarning
from .losses import GCELoss
from .noise_filter import GMMNoiseFilter, draw_balanced
from .sources import Labelled, Ragged


def make_optimizer(
    params: list[dict[str, Any]], *, name: str, weight_decay: float, **options: Any
) -> torch.optim.Optimizer:
    """Build a torch optimiser that decays weight matrices only.

    Parameters
    ----------
    params : list of dict
        Parameter groups from skorch.
    name : {"adamw", "adam", "sgd"}
    weight_decay : float
        For parameters of two or more dimensions; biases and norms have none.
    **options
        Passed on, such as ``lr`` and ``momentum``.
    """
    tensors = [p for group in params for p in group["params"]]
    groups = [{"params": tensors, "weight_decay": 0.0}]
    if weight_decay:
        groups = [
            {
                "params": [p for p in tensors if p.ndim > 1],
                "weight_decay": weight_decay,
            },
            {"params": [p for p in tensors if p.ndim <= 1], "weight_decay": 0.0},
        ]
    optimizers = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
    }
    # One kernel per step instead of several per parameter, where torch has it.
    fused = tensors[0].device.type in ("cpu", "cuda")
    options = {"fused": fused, **options}
    return optimizers[name]([g for g in groups if g["params"]], **options)


def softmax(logits: Tensor) -> Tensor:
    """Turn logits into probabilities (skorch knows it for cross-entropy only)."""
    return torch.softmax(logits, dim=-1)


class Net(NeuralNetClassifier):
    """A skorch classifier whose modules return logits and whose batches stay raw.

    Images of different sizes reach the module as one batch; progress bars follow
    ``verbose``; nothing is printed per epoch but by callbacks.
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        criterion: Any = nn.CrossEntropyLoss,
        train_split: Any = None,
        predict_nonlinearity: Any = softmax,
        verbose: int = 0,
        **kwargs: Any,
    ):
        super().__init__(
            module,
            *args,
            criterion=criterion,
            train_split=train_split,
            predict_nonlinearity=predict_nonlinearity,
            verbose=verbose,
            **kwargs,
        )

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss")),
        ]

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        if isinstance(x, (Tensor, Ragged)):
            return self.module_(x.to(self.device, non_blocking=True))
        return super().infer(x, **fit_params)

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **params: Any
    ) -> None:
        if iterator is None:
            return
        # Cleansing changes the number of batches from epoch to epoch.
        self.n_batches_ = len(iterator)
        bar = progress(iterator, f"{prefix} epoch {len(self.history)}", self.verbose)
        super().run_single_epoch(bar, training, prefix, step_fn, **params)

    def forget_optimizer(self) -> None:
        """Drop the optimiser's state, two thirds of the memory of a trained net."""
        self.optimizer_.state.clear()
        self.module_.zero_grad(set_to_none=True)


class CosineSchedule(Callback):
    """Linear warm-up, then cosine decay to zero, by the fraction of training done.

    The number of steps is not known before training, because cleansing keeps another
    number of samples each epoch; the fraction of epochs is.

    Parameters
    ----------
    warmup : float in [0, 1), default=0.1
        Fraction of training spent on warm-up.
    """

    def __init__(self, warmup: float = 0.1):
        self.warmup = warmup

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.initial_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.epoch_ = -1

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.epoch_ += 1
        self.step_ = 0

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if not training:
            return
        within = self.step_ / net.n_batches_
        factor = self._factor((self.epoch_ + within) / net.max_epochs)
        for group, lr in zip(net.optimizer_.param_groups, self.initial_, strict=True):
            group["lr"] = lr * factor
        self.step_ += 1

    def _factor(self, done: float) -> float:
        if done < self.warmup:
            # Never exactly zero: the first step should count.
            return max(done / self.warmup, 0.01)
        rest = (done - self.warmup) / (1 - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * rest))


class RobustAfterWarmup(Callback):
    """Train with cross-entropy for the first epochs, then with the criterion's q.

    At a fresh head p_y = 1/C, where the gradient of generalised cross-entropy is
    C^-q times that of cross-entropy; with many classes it would hardly start.

    Parameters
    ----------
    warmup_epochs : int
    """

    def __init__(self, warmup_epochs: int):
        self.warmup_epochs = warmup_epochs

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.q_ = net.criterion_.q

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        warming_up = len(net.history) <= self.warmup_epochs
        net.criterion_.q = 0.0 if warming_up else self.q_


class SubsetSampler(torch.utils.data.Sampler):
    """Visits the current subset in random order; the subset can be replaced.

    Attributes
    ----------
    indices : ndarray of int
        The subset.
    """

    def __init__(self, random_state: np.random.RandomState, batch_size: int):
        self.indices = np.empty(0, dtype=np.intp)
        self._random_state = random_state
        self._batch_size = batch_size

    def __len__(self) -> int:
        # BatchNorm cannot train on a last batch of one; that sample waits its turn.
        n = len(self.indices)
        lone = n > 1 and self._batch_size > 1 and n % self._batch_size == 1
        return n - lone

    def __iter__(self) -> Iterator[int]:
        order = self._random_state.permutation(self.indices)
        return iter(order[: len(self)].tolist())


class RowBatches:
    """Batches of rows in memory, in a sampler's order; quicker than a loader.

    Parameters
    ----------
    dataset : Labelled
    sampler : Sampler
    batch_size : int
    shuffle : bool
        As the loader's; the order is the sampler's.
    """

    def __init__(
        self, dataset: Labelled, *, sampler: Any, batch_size: int, shuffle: bool = False
    ):
        self.dataset = dataset
        self.sampler = sampler
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        for indices in torch.tensor(list(self.sampler)).split(self.batch_size):
            yield self.dataset.__getitems__(indices)


class RandomOrder(Callback):
    """Visit all training samples in random order, and never a batch of one.

    Base of callbacks that visit a part of them: they override :meth:`select`.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
    """

    def __init__(self, random_state: Any = None):
        self.random_state = random_state

    def select(self, net: Any, dataset: Any) -> np.ndarray:
        """Indices of the samples to visit in the next epoch."""
        return np.arange(len(dataset))

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        options = net.get_params_for("iterator_train")
        ours = isinstance(options.get("sampler"), SubsetSampler)  # of a failed fit
        if options.get("batch_sampler") or (options.get("sampler") and not ours):
            raise ValueError(
                f"{type(self).__name__} chooses the samples of each epoch; remove "
                "iterator_train__sampler or iterator_train__batch_sampler."
            )
        self.rng_ = check_random_state(self.random_state)
        batch_size = options.get("batch_size", net.batch_size)
        self.sampler_ = SubsetSampler(self.rng_, batch_size)
        # Set as attributes: skorch's set_params refuses iterator options of a net
        # that is already initialised.
        self.saved_ = {
            k: vars(net)[k] for k in _SAMPLING if k in vars(net) and not ours
        }
        net.iterator_train__sampler = self.sampler_
        net.iterator_train__shuffle = False
        self.epoch_ = 0

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        self.sampler_.indices = self.select(net, dataset_train)
        self.epoch_ += 1

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        # The net's own settings come back, and it can be pickled without the data.
        for name in _SAMPLING:
            delattr(net, name)
        vars(net).update(self.saved_)


class Cleansing(RandomOrder):
    """Select the clean subset before each epoch of any skorch classifier.

    Before an epoch, the cross-entropy of every training sample under the current
    model is computed in evaluation mode, in index order; a noise filter judges the
    labels; the epoch then visits a class-balanced draw from those it believes (TURN,
    Step 2-1). The net must not set a sampler of its own.

    Parameters
    ----------
    noise_filter : estimator, default=None
        Fitted on ``(losses, y)``; it must set ``clean_mask_`` and ``clean_proba_``.
        None is :class:`~sklearn_turn.GMMNoiseFilter`.
    every_epoch : bool, default=True
        False cleanses once, before the first epoch.
    balance : {"min"}, float >= 1 or None, default="min"
        Draw from every class as many samples as the smallest class has clean, at
        most this many times as many, or all clean samples.
    first_losses : ndarray of shape (n_samples,), default=None
        Losses before the first epoch, when they are known; saves one pass.
    random_state : int, RandomState or None, default=None
        For the draw and the order of samples.

    Attributes
    ----------
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last cleansing.
    noise_filter_ : estimator
        The filter fitted at the last cleansing.
    kept_indices_ : ndarray of int
        The subset drawn for the last epoch.
    n_loss_passes_ : int
        Passes over the training set made to compute losses.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import make_blobs
    >>> from skorch import NeuralNetClassifier
    >>> from sklearn_turn import Cleansing
    >>> X, y = make_blobs(200, centers=2, random_state=0)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear, module__in_features=2, module__out_features=2,
    ...     criterion=torch.nn.CrossEntropyLoss, lr=0.1, max_epochs=3, verbose=0,
    ...     train_split=None, callbacks=[Cleansing(random_state=0)],
    ... )
    >>> net = net.fit(X.astype("float32"), y)
    >>> net.history[:, "n_train"]  # doctest: +ELLIPSIS
    [...]
    """

    def __init__(
        self,
        noise_filter: Any = None,
        *,
        every_epoch: bool = True,
        balance: str | float | None = "min",
        first_losses: Any = None,
        random_state: Any = None,
    ):
        self.noise_filter = noise_filter
        self.every_epoch = every_epoch
        self.balance = balance
        self.first_losses = first_losses
        self.random_state = random_state

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        super().on_train_begin(net, **kwargs)
        self.n_loss_passes_ = 0

    def select(self, net: Any, dataset: Any) -> np.ndarray:
        """Believed samples, balanced over classes."""
        if self.epoch_ == 0 or self.every_epoch:
            self._cleanse(net, dataset)
        return self.kept_indices_

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        super().on_epoch_begin(net, dataset_train, **kwargs)
        net.history.record("kept", self.kept_counts_.tolist())
        net.history.record("n_train", len(self.sampler_))
        if net.verbose:
            counts = self.kept_counts_
            print(
                f"epoch {self.epoch_}: believed {self.noise_filter_.clean_mask_.sum()} "
                f"of {len(self.losses_)} labels, training on {len(self.sampler_)} "
                f"({counts.min()} to {counts.max()} believed per class)"
            )

    def judge(self, losses: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Fit the noise filter to losses and return which labels it believes.

        Parameters
        ----------
        losses : ndarray of shape (n_samples,)
        y : ndarray of shape (n_samples,), int

        Returns
        -------
        ndarray of shape (n_samples,), bool
        """
        chosen = GMMNoiseFilter() if self.noise_filter is None else self.noise_filter
        self.losses_ = losses
        self.noise_filter_ = clone(chosen).fit(losses.reshape(-1, 1), y)
        return self.noise_filter_.clean_mask_

    def _cleanse(self, net: Any, dataset: Any) -> None:
        if self.epoch_ == 0 and self.first_losses is not None:
            losses, y = np.asarray(self.first_losses), dataset_labels(dataset)
        else:
            losses, y = per_sample_losses(net, dataset)
            self.n_loss_passes_ += 1
        mask = self.judge(losses, y)
        self.kept_counts_ = np.bincount(y[mask], minlength=int(y.max()) + 1)
        self.kept_indices_ = draw_balanced(mask, y, self.balance, self.rng_)
        if 10 * len(self.kept_indices_) < mask.sum():
            warnings.warn(
                f"balance={self.balance!r} trains on {len(self.kept_indices_)} of "
                f"{mask.sum()} believed samples, because the smallest class has only "
                f"{self.kept_counts_[self.kept_counts_ > 0].min()}. Raise balance, "
                "say to 10, or set it to None.",
                CleansingWarning,
                stacklevel=2,
            )


def dataset_labels(dataset: Any) -> np.ndarray:
    """Labels of a dataset without reading its images, where it can tell them."""
    y = getattr(dataset, "y", None)
    if y is None:
        y = [dataset[i][1] for i in range(len(dataset))]
    return np.asarray(to_numpy(y) if isinstance(y, Tensor) else y)


def per_sample_losses(net: Any, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of each given label under a skorch classifier, in index order.

    Parameters
    ----------
    net : skorch.NeuralNetClassifier
        Its module returns logits when the criterion is one of logits, else
        probabilities, as skorch expects.
    dataset : torch Dataset

    Returns
    -------
    losses : ndarray of shape (n_samples,), float64
    y : ndarray of shape (n_samples,), int
    """
    of_logits = isinstance(net.criterion_, (nn.CrossEntropyLoss, GCELoss))
    losses, labels = [], []
    iterator = net.get_iterator(dataset, training=False)
    for batch in progress(iterator, "losses", net.verbose):
        _, y = unpack_data(batch)
        out = net.evaluation_step(batch, training=False)
        out = out[0] if isinstance(out, tuple) else out
        y = to_device(torch.as_tensor(y), out.device).long()
        if of_logits:
            loss = nn.functional.cross_entropy(out.float(), y, reduction="none")
        else:
            likelihood = out.float().gather(1, y[:, None])[:, 0]
            loss = -likelihood.clamp_min(torch.finfo(torch.float32).tiny).log()
        losses.append(loss)
        labels.append(y)
    return (
        torch.cat(losses).double().cpu().numpy(),
        torch.cat(labels).cpu().numpy(),
    )


def history(nets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per-epoch records of skorch nets, in order, without the per-batch ones.

    Parameters
    ----------
    nets : mapping of str to skorch net or None
        Phase -> net that was trained in it.

    Returns
    -------
    list of dict
    """
    names = {"dur": "seconds"}
    return [
        {
            "phase": phase,
            **{names.get(k, k): v for k, v in row.items() if k in _RECORDED},
        }
        for phase, net in nets.items()
        if net is not None
        for row in net.history
    ]


_SAMPLING = ("iterator_train__sampler", "iterator_train__shuffle")
_RECORDED = ("epoch", "train_loss", "valid_loss", "dur", "n_train", "kept")
