"""What a net says of every training sample: the evidence noise filters ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..losses import SampleLoss
from ..processes import Processes
from .batches import Batch, batch_size_of, processes_of
from .inference import join, steps

Evidence = dict[str, NDArray[Any]]


def collect_evidence(
    net: Any, dataset: Any, wanted: Collection[str], phase: str = "losses"
) -> tuple[Evidence, NDArray[np.intp]]:
    """Run every sample through a skorch classifier once, in index order.

    The processes that train a net together share the samples; all get all evidence.

    Parameters
    ----------
    net : skorch.NeuralNetClassifier
        In evaluation mode, without augmentation.
    dataset : torch Dataset
        With its labels.
    wanted : collection of {"losses", "log_proba", "features"}
        Features need a module with ``embed``, from a batch to features, and
        ``classify``, from these to its output.
    phase : str, default="losses"
        Name under which progress is shown.

    Returns
    -------
    evidence : dict of str to ndarray
        What is wanted, and always "losses" of shape (n_samples, 1), float64: the
        cross-entropy of each given label, and "predicted" of shape (n_samples,): the
        code of the most probable class. "log_proba" has shape
        (n_samples, n_classes), float64; "features" (n_samples, width), float32.
    y : ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If the net's outputs are not probabilities, or it gives no features.
    """
    if "features" in wanted:
        check_gives_features(net.module_)

    def step(batch: Any) -> dict[str, Tensor]:
        x, y = Batch.of(batch)[:2]
        outputs: dict[str, Tensor] = {}
        if "features" in wanted:
            net._set_training(False)
            outputs["features"] = net.module_.embed(x.to(net.device)).float()
            raw = net.module_.classify(outputs["features"])
        else:
            raw = net.evaluation_step(batch, training=False)
        raw = raw[0] if isinstance(raw, tuple) else raw
        y = torch.as_tensor(y).to(raw.device).long()
        # Two columns, also where a binary classifier's output has one.
        log_proba = _log_proba(net, raw)
        outputs["losses"] = -log_proba.gather(1, y[:, None])
        outputs["predicted"] = log_proba.argmax(dim=1)
        if "log_proba" in wanted:
            outputs["log_proba"] = log_proba
        return {**outputs, "y": y}

    processes: Processes = processes_of(net)
    n = len(dataset)
    with processes.together():
        if processes.are_several:
            share = processes.share(n, batch_size_of(net, n, training=False))
            dataset = torch.utils.data.Subset(dataset, share)
        batches = net.get_iterator(dataset, training=False) if len(dataset) else ()
        outputs = steps(batches, step, description=phase, verbose=net.verbose)
        own = join(outputs, len(dataset))
    results = processes.join(f"losses of {n} samples", own)
    y, predicted = (results.pop(k).numpy().astype(np.intp) for k in ("y", "predicted"))
    evidence: Evidence = {
        name: tensor.numpy() if name == "features" else tensor.double().numpy()
        for name, tensor in results.items()
    }
    evidence["predicted"] = predicted
    return evidence, y


def check_gives_features(module: Any) -> None:
    """Raise if a module cannot be asked for features."""
    if not (hasattr(module, "embed") and hasattr(module, "classify")):
        raise ValueError(
            f"The noise filter wants features, but {type(module).__name__} has no "
            "embed(x) and classify(features). Define them, or use a filter of losses "
            "or log-probabilities."
        )


def check_in_order(options: Mapping[str, Any], place: str) -> None:
    """Raise if options of a net leave out samples of a pass or change their order.

    Parameters
    ----------
    options : mapping
        As a skorch net takes them.
    place : str
        Where they are from, for the message.

    Raises
    ------
    ValueError
        Naming the option.
    """
    for option in ("shuffle", "sampler", "batch_sampler", "drop_last"):
        key = f"iterator_valid__{option}"
        if options.get(key) not in (None, False):
            raise ValueError(
                f"{place} holds {key!r}, but every sample has to be asked once, in "
                "order. Remove it."
            )


def _log_proba(net: Any, raw: Tensor) -> Tensor:
    """Log-probabilities by what a net's criterion, or skorch, takes its outputs for."""
    if isinstance(net.criterion_, SampleLoss | torch.nn.CrossEntropyLoss):
        return torch.log_softmax(raw.float(), dim=1)
    is_logit = isinstance(net.criterion_, torch.nn.BCEWithLogitsLoss)
    if is_logit and raw.ndim == 1 and net.predict_nonlinearity == "auto":
        # Of a probability near 1, the rest is 0 in single precision.
        return logsigmoid(torch.stack([-raw, raw], dim=1).float())
    proba = net._get_predict_nonlinearity()(raw).float()
    total = proba.sum(dim=1)
    if (proba < 0).any() or not torch.allclose(
        total, torch.ones_like(total), atol=1e-3
    ):
        raise ValueError(
            f"The outputs of {type(net.module_).__name__} are no probabilities: their "
            f"rows sum to {total.min():.3g} to {total.max():.3g}. Tell skorch how to "
            "turn them into probabilities with predict_nonlinearity, or derive the "
            "criterion from sklearn_turn.losses.SampleLoss if they are logits."
        )
    return proba.clamp_min(torch.finfo(torch.float32).tiny).log()


def labels_of(dataset: Any) -> NDArray[np.intp]:
    """Labels of a dataset without reading its samples, where it can tell them."""
    y = getattr(dataset, "y", None)
    if y is None:
        y = [dataset[i][1] for i in range(len(dataset))]
    # As floats, binary classifiers take them.
    return np.asarray(y.cpu() if isinstance(y, Tensor) else y).astype(np.intp)


def completed(evidence: Mapping[str, NDArray[Any]], y: NDArray[np.intp]) -> Evidence:
    """Evidence with the losses and predictions that its log-probabilities imply."""
    if "log_proba" not in evidence:
        return dict(evidence)
    log_proba = evidence["log_proba"]
    implied = {
        "losses": -log_proba[np.arange(len(y)), y][:, None],
        "predicted": log_proba.argmax(axis=1),
    }
    return {**implied, **evidence}
