"""The skorch net of every phase."""

from __future__ import annotations

import dis
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..inputs import Ragged
from ..losses import CrossEntropyLoss, SampleLoss
from ..progress import Phase, progress
from .batches import Batch, Labelled, already_a_batch, n_samples_of, root_and_rows
from .device import moved
from .optimizers import refine_groups


def softmax(logits: Tensor) -> Tensor:
    """Turn logits into probabilities (skorch knows it for cross-entropy only)."""
    return torch.softmax(logits, dim=-1)


class Diverged(ValueError):
    """Training diverged; the message names the parameter to lower."""


def diverged(net: NeuralNetClassifier, rate: str) -> Diverged:
    """The error of a net whose learning rate is the parameter ``rate``."""
    return Diverged(
        "Training diverged: the loss, the weights or the outputs are not finite. Lower "
        f"{rate}, which was {net.lr:g}."
    )


class Net(NeuralNetClassifier):
    """A skorch classifier whose module returns logits and whose batches stay raw.

    It trains on :class:`~sklearn_turn.training.batches.Batch`: images of different
    sizes reach the module together, and the criterion is told which samples it sees.
    Progress follows ``verbose``; nothing else is said of an epoch but by callbacks.
    With a ``train_split`` the history has ``valid_loss`` and ``valid_acc``, the share
    of held-out labels that are predicted.
    Ctrl-C leaves ``fit``, where skorch would return as if it had finished.

    Parameters
    ----------
    module, criterion, **kwargs
        As for :class:`skorch.NeuralNetClassifier`. The criterion is a
        :class:`~sklearn_turn.losses.SampleLoss` or a torch loss of (logits, target).
    warmup_epochs : int, default=0
        First epochs that are trained by cross-entropy, whatever the criterion. At a
        fresh head p_y = 1/C, where the gradient of generalised cross-entropy is C^-q
        times that of cross-entropy; with many classes it would hardly start. Validation
        uses the criterion throughout.
    layer_decay : float, default=None
        Learning rate of each layer relative to the next one; None is one for all.
    phase : str, default=None
        Name under which the progress of the whole training is shown; None shows that
        of each epoch.
    """

    #: Labels or soft labels of the whole training set, which a callback may set to
    #: train towards them in place of the given ones.
    targets_: Tensor | None = None
    #: Epochs of the current training that were done before it was stopped.
    n_epochs_done_: int = 0
    #: Rows of the training and of the validation set of a training that goes on.
    split_: tuple[Any, Any] | None = None
    #: What ended the last training from outside, such as Ctrl-C.
    interrupted_: KeyboardInterrupt | None = None
    #: Progress of the training that is going on, where it is shown as one.
    phase_: Phase | None = None

    def __init__(
        self,
        module: Any,
        *args: Any,
        criterion: Any = CrossEntropyLoss,
        train_split: Any = None,
        predict_nonlinearity: Any = softmax,
        verbose: int = 0,
        warmup_epochs: int = 0,
        layer_decay: float | None = None,
        phase: str | None = None,
        **kwargs: Any,
    ):
        for side in ("train", "valid"):
            if f"iterator_{side}" not in kwargs:
                kwargs.setdefault(f"iterator_{side}__collate_fn", already_a_batch)
        super().__init__(
            module,
            *args,
            criterion=criterion,
            train_split=train_split,
            predict_nonlinearity=predict_nonlinearity,
            verbose=verbose,
            **kwargs,
        )
        self.warmup_epochs = warmup_epochs
        self.layer_decay = layer_decay
        self.phase = phase

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss")),
            ("valid_acc", PassthroughScoring("valid_acc", lower_is_better=False)),
        ]

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        if isinstance(x, (Tensor, Ragged)):
            return self.module_(moved(x, self.device))
        return super().infer(x, **fit_params)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        batch = Batch.of(batch)
        self._set_training(True)
        logits = self.infer(batch.x)
        if self.targets_ is not None:
            index = moved(batch.index, self.targets_.device)
            batch = batch._replace(target=self.targets_[index])
        loss = self.training_loss(logits, batch)
        loss.backward()
        return {"loss": loss, "y_pred": logits}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        batch = Batch.of(batch)
        self._set_training(False)
        with torch.no_grad():
            logits = self.infer(batch.x)
            # By one loss in all epochs, so that they can be compared.
            loss = self.batch_loss(logits, batch, warms_up=False)
            one = logits.ndim == 1 or logits.shape[1] == 1  # of two classes
            predicted = logits.reshape(-1) > 0 if one else logits.argmax(dim=1)
            hits = predicted == moved(batch.y, logits.device).reshape(-1)
            self.history.record_batch("valid_acc", hits.float().mean().item())
            return {"loss": loss, "y_pred": logits}

    def evaluation_step(self, batch: Any, training: bool = False) -> Tensor:
        self.check_is_fitted()
        x = Batch.of(batch).x
        with torch.set_grad_enabled(training):
            self._set_training(training)
            return self.infer(x)

    def training_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """What is differentiated in a step."""
        return self.batch_loss(logits, batch)

    def batch_loss(
        self, logits: Tensor, batch: Batch, *, warms_up: bool = True
    ) -> Tensor:
        """Mean loss of a batch; the first epochs have another one, to warm up."""
        target = batch.y if batch.target is None else batch.target
        y = moved(target, logits.device)
        if warms_up and len(self.history) <= self.warmup_epochs:
            losses = cross_entropy(logits, y, reduction="none")
        elif isinstance(self.criterion_, SampleLoss):
            losses = self.criterion_(logits, y, batch.index)
        else:
            losses = self.criterion_(logits, y)
        return losses.mean()

    def _set_training(self, training: bool = True) -> None:
        # Asking every layer is quicker than setting its mode, and steps on features
        # are short.
        for part in (self.module_, self.criterion_):
            if any(m.training != training for m in part.modules()):
                part.train(training)

    def notify(self, method_name: str, **kwargs: Any) -> None:
        if not method_name.startswith(("on_batch", "on_grad")):
            super().notify(method_name, **kwargs)
            return
        # Callbacks of skorch and of users unpack a batch into samples and labels.
        if isinstance(kwargs.get("batch"), Batch):
            kwargs["batch"] = kwargs["batch"][:2]
        # Several times a step: only those that listen.
        getattr(self, method_name)(self, **kwargs)
        nothing = getattr(Callback, method_name)
        for _, callback in self.callbacks_:
            if getattr(type(callback), method_name) is not nothing:
                getattr(callback, method_name)(self, **kwargs)

    def get_params_for_optimizer(
        self, prefix: str, named_parameters: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = list(named_parameters)
        args, kwargs = super().get_params_for_optimizer(prefix, named)
        groups = refine_groups(
            args[0],
            {id(p): name for name, p in named},
            self.module_,
            lr=kwargs.get("lr", self.lr),
            decays=kwargs.get("weight_decay") != 0,
            layer_decay=self.layer_decay,
        )
        return (groups, *args[1:]), kwargs

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **params: Any
    ) -> None:
        if iterator is None:
            return
        # Cleansing changes the number of batches from epoch to epoch.
        self.n_batches_ = len(iterator)
        sampler = getattr(iterator, "batch_sampler", iterator)
        if training and not self.n_batches_ and getattr(sampler, "drop_last", False):
            raise ValueError(
                "There are fewer samples than one batch holds, and drop_last=True "
                "leaves out what does not fill one, so that nothing is trained on. "
                "Remove drop_last, or lower the batch size."
            )
        if self.phase_ is None:
            name = f"epoch {len(self.history)} of {self.max_epochs}"
            name = name if training else f"{name}, validation"
            iterator = progress(iterator, name, self.verbose, count=n_samples_of)
        super().run_single_epoch(iterator, training, prefix, step_fn, **params)
        if self.phase_ is not None and training:
            sizes = self.history[-1, "batches", :, "train_batch_size"]
            self.phase_.advance(sum(sizes))

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        if self.split_ is None:
            split = super().get_split_datasets(X, y, **fit_params)
            _warn_of_lost_classes(*split)
            return split
        # Drawn anew, it would hold validation samples that were trained on.
        dataset = self.get_dataset(X, y)
        return tuple(torch.utils.data.Subset(dataset, rows) for rows in self.split_)

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any
    ) -> Any:
        if epochs is None:
            epochs = self.max_epochs - self.n_epochs_done_
        whole = Phase(self.phase, epochs, self.verbose) if self.phase else nullcontext()
        try:
            with whole as self.phase_:
                return super().fit_loop(X, y, epochs, **kwargs)
        except KeyboardInterrupt as interrupt:
            self.interrupted_ = None if _is_early_stop(interrupt) else interrupt
            if self.interrupted_ is None:
                for _, callback in self.callbacks_:
                    if hasattr(callback, "on_early_stop"):
                        callback.on_early_stop(self)
            raise
        finally:
            self.phase_ = None

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> Net:
        self.interrupted_ = None
        super().partial_fit(X, y, classes, **fit_params)
        if self.interrupted_ is not None:
            # The same one: of a net that is trained within a callback of another, it
            # tells that one where it came from.
            interrupt, self.interrupted_ = self.interrupted_, None
            raise interrupt
        return self

    def forget_optimizer(self) -> None:
        """Drop the optimiser's state, two thirds of the memory of a trained net."""
        self.optimizer_.state.clear()
        self.module_.zero_grad(set_to_none=True)


def _warn_of_lost_classes(train: Any, valid: Any) -> None:
    """Warn of a split that leaves nothing of a class to train on."""
    root, rows = root_and_rows(train)
    if valid is None or not isinstance(root, Labelled):
        return
    codes = root.y.cpu().numpy()
    lost = np.setdiff1d(codes, codes[rows])
    if len(lost):
        warnings.warn(
            f"train_split sets aside all samples of {len(lost)} of "
            f"{len(np.unique(codes))} classes, which are not trained on. Use "
            "skorch.dataset.ValidSplit(5, stratified=True).",
            UserWarning,
            stacklevel=4,
        )


def _is_early_stop(interrupt: KeyboardInterrupt) -> bool:
    """Whether a callback raised it to end training, as skorch's do; not Ctrl-C.

    What a statement raised was meant; a signal comes at any other instruction.
    """
    in_callback = False
    raised = False
    traceback = interrupt.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        in_callback |= isinstance(frame.f_locals.get("self"), Callback)
        raised = frame.f_code.co_code[traceback.tb_lasti] == _RAISE
        traceback = traceback.tb_next
    return in_callback and raised


_RAISE = dis.opmap["RAISE_VARARGS"]


def history(nets: Mapping[str, Net | None]) -> list[dict[str, Any]]:
    """Per-epoch records of skorch nets, in order, without the per-batch ones.

    Parameters
    ----------
    nets : mapping of str to skorch net or None
        Phase -> net that was trained in it.

    Returns
    -------
    list of dict
    """
    return [
        {
            "phase": phase,
            **{
                _RENAMED.get(name, name): value
                for name, value in row.items()
                if not _is_internal(name, row)
            },
        }
        for phase, net in nets.items()
        if net is not None
        for row in net.history
    ]


_RENAMED = {"dur": "seconds"}
_INTERNAL = ("batches", "train_batch_count", "valid_batch_count")


def _is_internal(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a record is of skorch itself: batches, and whether a score is best."""
    return name in _INTERNAL or (
        name.endswith("_best") and name.removesuffix("_best") in row
    )
