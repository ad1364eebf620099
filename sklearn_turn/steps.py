"""The steps methods are made of: linear probe and fine-tuning of a task."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbones.recipes import converted_rate
from .exceptions import CollapsedProbeWarning
from .inputs import FeatureRows
from .losses import CrossEntropyLoss, SampleLoss
from .nets import Options, Start, copied_start, fit_net, make_net
from .parameters import FineTuneParameters, ProbeParameters
from .task import Task
from .training.batches import RandomOrder
from .training.evidence import Evidence
from .training.inference import batches_of, join, steps
from .training.modules import Standardize, linear_head
from .training.net import Net
from .training.schedules import CosineSchedule

# Steps of a probe that are few, and very few: less than this times that power of the
# number of classes, which is 1 + q with the published q.
_FEW_STEPS, _VERY_FEW_STEPS, _OF_CLASSES = 3.0, 1.75, 1.7
#: Options of a skorch net that is trained by cross-entropy.
CROSS_ENTROPY: Options = {"criterion": CrossEntropyLoss}


def fresh_start(task: Task) -> Start:
    """A head that has not been trained, for which all classes are equally likely."""
    scale: nn.Module = nn.Identity()
    if isinstance(task.source, FeatureRows):
        rows = task.source.rows
        scale = Standardize(rows, of_backbone=task.backbone is not None)
        width = rows.shape[1]
    else:
        assert task.backbone is not None, "images have a backbone"
        width = task.backbone.width
    return Start(scale, linear_head(width, task.n_classes))


def start_of(probe: Net) -> Start:
    """A copy of a probe's scale and head."""
    module: Any = probe.module_
    return copied_start(module.scale, module.head)


def undecided(task: Task, wanted: Iterable[str]) -> Evidence:
    """What noise filters ask for, before anything was trained."""
    n, level = len(task.y), np.log(task.n_classes)
    evidence: Evidence = {"losses": np.full((n, 1), level), "predicted": task.y}
    if "log_proba" in wanted:
        evidence["log_proba"] = np.full((n, task.n_classes), -level)
    if "features" in wanted:
        evidence["features"] = features_of(task).numpy()
    return evidence


def features_of(task: Task) -> Tensor:
    """Features of every sample, of shape (n_samples, width)."""
    source = task.frozen.source
    assert isinstance(source, FeatureRows), "that is what frozen means"
    return source.rows


def linear_probe(task: Task, parameters: ProbeParameters, loss: Options) -> Net:
    """Train a linear head on the features of the frozen backbone.

    A probe that collapsed onto few classes is trained again by cross-entropy, and that
    one kept unless it did so too: then the features hardly tell the classes apart.

    Parameters
    ----------
    task : Task
    parameters : ProbeParameters
        The estimator.
    loss : dict
        Options of the skorch net: ``criterion`` and ``criterion__*``.

    Returns
    -------
    Net
        Its module takes features.

    Warns
    -----
    CollapsedProbeWarning
    """
    task = task.frozen
    probe = _fit_probe(task, parameters, loss)
    at_risk = getattr(probe.criterion_, "may_collapse", False)
    if not at_risk or not parameters.lp_epochs or not _collapsed(probe, task):
        return probe
    by_entropy = _fit_probe(task, _without_criterion(parameters), CROSS_ENTROPY)
    if _collapsed(by_entropy, task):
        return probe
    warnings.warn(
        f"The linear probe trained by {probe.criterion_} predicts far fewer classes "
        "than are labelled; it was trained again by cross-entropy. Raise "
        "lp_warmup_epochs, or choose a less robust loss (lower q), to avoid this.",
        CollapsedProbeWarning,
        stacklevel=5,
    )
    return by_entropy


def _fit_probe(task: Task, parameters: ProbeParameters, loss: Options) -> Net:
    return fit_net(probe_net(task, parameters, loss), task, rate="lp_lr")


def probe_net(
    task: Task,
    parameters: ProbeParameters,
    loss: Options,
    callbacks: Sequence[tuple[str, Any]] = (),
) -> Net:
    """The net of :func:`linear_probe`, not trained; its task is frozen.

    Where classes are of very unequal size, the few steps there are would not lead from
    equal chances to the classes' frequencies, and right labels of a frequent class
    would look wrong: the head starts from them.
    """
    start = fresh_start(task)
    if task.log_frequencies is not None:
        with torch.no_grad():
            start.head.bias.copy_(torch.from_numpy(task.log_frequencies))
    callbacks = callbacks or [("order", RandomOrder(task.random_state))]
    given = (parameters.lp_params or {}).get("optimizer")
    return make_net(
        task,
        start,
        parameters.lp_params,
        callbacks=[("cosine", CosineSchedule(warmup=0.0)), *callbacks],
        max_epochs=parameters.lp_epochs,
        warmup_epochs=warmup_of_probe(task, parameters),
        batch_size=_probe_batch_size(task, parameters),
        lr=parameters.lp_lr
        or converted_rate(
            _head_lr(start.head.in_features), "adamw", _kind_of(given or "adamw")
        ),
        optimizer__name="adamw",
        optimizer__weight_decay=0.0,
        phase="probe",
        verbose=task.runtime.verbose,
        **loss,
    )


def warmup_of_probe(task: Task, parameters: ProbeParameters) -> int:
    """First epochs of a probe, which use cross-entropy.

    A robust loss gives up rare classes: its gradient is tiny for a sample that is found
    unlikely, as theirs are until the probe has learned them. And it does not get to
    many classes in few steps: each class has one in C of a batch, C^-q as steep.
    """
    epochs = parameters.lp_epochs
    if parameters.lp_warmup_epochs is not None:
        return parameters.lp_warmup_epochs
    steps = epochs * ceil(len(task.y) / _probe_batch_size(task, parameters))
    for_classes = steps / task.n_classes**_OF_CLASSES
    is_unequal = task.log_frequencies is not None
    if is_unequal or for_classes < _VERY_FEW_STEPS:
        return max(2, epochs // 2)
    return max(2, epochs // 4) if for_classes < _FEW_STEPS else 2


def _probe_batch_size(task: Task, parameters: ProbeParameters) -> int:
    given = parameters.lp_batch_size
    return int(given or _batch_size(len(task.y), steps=24, most=128, least=8))


def fine_tune(
    task: Task,
    parameters: FineTuneParameters,
    start: Start,
    *,
    loss: Options = CROSS_ENTROPY,
    warmup_epochs: int = 0,
    callbacks: Sequence[tuple[str, Any]] = (),
) -> Net:
    """Train all parameters, on what callbacks select.

    Parameters
    ----------
    task : Task
        Of a frozen task, only the head is trained.
    parameters : FineTuneParameters
        The estimator.
    start : Start
    loss : dict
        Options of the skorch net: ``criterion`` and ``criterion__*``.
    warmup_epochs : int
        First epochs that use cross-entropy.
    callbacks : sequence of (str, Callback)
        Without any, all samples are visited in random order.

    Returns
    -------
    Net
    """
    return fit_net(
        fine_tuning_net(
            task, parameters, start, loss, warmup_epochs, callbacks=callbacks
        ),
        task,
    )


def fine_tuning_net(
    task: Task,
    parameters: FineTuneParameters,
    start: Start,
    loss: Options = CROSS_ENTROPY,
    warmup_epochs: int = 0,
    callbacks: Sequence[tuple[str, Any]] = (),
) -> Net:
    """The net of :func:`fine_tune`, not trained."""
    if task.is_frozen:
        # Only a head on features: train it as a probe is.
        optimizer, decay, momentum = "adamw", 0.0, 0.0
        lr = _head_lr(start.head.in_features)
    else:
        assert task.backbone is not None, "images have a backbone"
        recipe = task.backbone.recipe
        optimizer, lr, decay = recipe.optimizer, recipe.lr, recipe.weight_decay
        momentum = recipe.momentum
    wanted = parameters.fft_optimizer or optimizer
    given = (parameters.fft_params or {}).get("optimizer")
    lr = converted_rate(lr, optimizer, wanted if given is None else _kind_of(given))
    options: Options = {
        "max_epochs": parameters.fft_epochs,
        "warmup_epochs": warmup_epochs,
        "batch_size": int(
            parameters.fft_batch_size
            or _batch_size(len(task.y), steps=48, most=64, least=16)
        ),
        "lr": lr if parameters.fft_lr is None else parameters.fft_lr,
        "layer_decay": None if task.is_frozen else parameters.fft_layer_decay,
        "optimizer__name": wanted,
        "optimizer__weight_decay": (
            decay
            if parameters.fft_weight_decay is None
            else parameters.fft_weight_decay
        ),
        "verbose": task.runtime.verbose,
    }
    if wanted == "sgd":
        options["optimizer__momentum"] = momentum
    schedule = ("cosine", CosineSchedule(parameters.fft_lr_warmup))
    callbacks = callbacks or [("order", RandomOrder(task.random_state))]
    last: list[tuple[str, Any]] = []
    if task.checkpoint is not None:
        kept = task.checkpoint.of_epochs(task.random_state, task.runtime.processes)
        last = [("checkpoint", kept)]
    return make_net(
        task,
        start,
        parameters.fft_params,
        callbacks=[schedule, *callbacks],
        last=last,
        **options,
        **loss,
    )


def _kind_of(optimizer: Any) -> str:
    """Which of the backbone's optimisers another one's learning rate is like."""
    is_sgd = isinstance(optimizer, type) and issubclass(optimizer, torch.optim.SGD)
    return "sgd" if is_sgd else "adamw"


def check_fine_tune(
    task: Task, parameters: FineTuneParameters, *, soft_labels: bool = False
) -> None:
    """Raise for options that fine-tuning would fail on, before other work is done.

    Parameters
    ----------
    task : Task
    parameters : FineTuneParameters
        The estimator.
    soft_labels : bool, default=False
        Whether it will train towards probabilities.

    Raises
    ------
    ValueError, TypeError
        Of torch, skorch or the backbone, for options they do not take; or for a
        criterion that takes no soft labels.
    """
    if not parameters.fft_epochs:
        return
    with torch.random.fork_rng(devices=[]):  # fits are the same with and without
        net = fine_tuning_net(task, parameters, fresh_start(task)).initialize()
    if not soft_labels or isinstance(net.criterion_, SampleLoss):
        return
    equal = torch.full((2, task.n_classes), 1 / task.n_classes, device=net.device)
    try:
        net.criterion_(equal, equal)
    except Exception as error:
        raise ValueError(
            f"{type(net.criterion_).__name__}, the criterion of fft_params, takes no "
            f"soft labels: {error}. Set label_correction to 'hard' or None."
        ) from error


def assemble(task: Task, start: Start) -> Net:
    """A net of the backbone as it is and a head, not trained any further."""
    return fit_net(make_net(task, start, None, callbacks=[], max_epochs=0), task)


def _collapsed(probe: Net, task: Task) -> bool:
    """Whether predictions use one class, or less than half as many as the labels do.

    Classes are counted in effect, by the perplexity of their shares: 1 when one class
    takes all, the number of classes when all are equal.
    """
    module = probe.module_.eval()

    def step(batch: Any) -> dict[str, Tensor]:
        # Not the logits: with many classes they would outgrow the features.
        return {"code": module(batch.to(task.runtime.device)).argmax(dim=1)}

    batches = batches_of(task.source, task.runtime)
    codes = join(steps(batches, step), len(task.y))["code"]
    predicted = torch.bincount(codes, minlength=task.n_classes).numpy()
    labelled = np.bincount(task.y, minlength=task.n_classes)
    if np.count_nonzero(predicted) == 1:
        return True  # of two unequal classes, half as many would be less than one
    return 2 * _perplexity(predicted) <= _perplexity(labelled)


def _perplexity(counts: NDArray[np.integer]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _without_criterion(parameters: ProbeParameters) -> ProbeParameters:
    extra = dict(parameters.lp_params or {})
    kept = {k: v for k, v in extra.items() if not k.startswith("criterion")}
    return parameters.probe_only(lp_params=kept)


def _batch_size(n_samples: int, *, steps: int, most: int, least: int) -> int:
    """Largest batch with which all samples make that many steps, within bounds."""
    return max(least, min(most, n_samples // steps))


def _head_lr(width: int) -> float:
    """Learning rate of a head on standardised features.

    With more features every step changes the outputs more, and wrong labels are
    learned by heart sooner; with few, training would not get far.
    """
    return min(1e-2, 1e-3 * (192 / width) ** 0.5)
