"""One fit, measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback
from torch.nn.functional import cross_entropy

from benchmarks.common import Passes, counted_passes, machine, peak_memory_mb
from benchmarks.data import Data, load
from benchmarks.methods import FEATURES, make
from sklearn_turn import FeatureExtractor
from sklearn_turn.input_checks import check_new_data
from sklearn_turn.inputs import FeatureRows, Source, as_source
from sklearn_turn.metrics import label_issue_ranking_scores
from sklearn_turn.training.device import Runtime
from sklearn_turn.training.inference import batches_of, forward_all

if TYPE_CHECKING:
    from benchmarks.cells import Cell

#: Test images of the curve over epochs, where all would take too long.
_CURVE = {"few": 300, "small": 500}
#: On the map of an embedding; the paper draws ten classes as well.
_MAP_CLASSES, _MAP_IMAGES = 10, 600


def measure(cell: Cell, folder: Path) -> dict[str, Any]:
    """Fit once; test on clean labels, and on noisy ones to choose settings by.

    Parameters
    ----------
    cell : Cell
    folder : Path
        Holds data and weights.

    Returns
    -------
    dict
        Ready for JSON, but for numbers of NumPy.
    """
    data = load(folder, cell.size, cell.noise, cell.seed, cell.data)
    model = make(cell.method, cell.backbone, folder, cell.data)
    model.set_params(random_state=cell.seed, **dict(cell.options))
    if cell.rate is not None:
        model.set_params(fft_lr=cell.rate)
    n, n_test = len(data.y), len(data.y_test)
    n_curve = min(n_test, _CURVE.get(cell.size, n_test))
    with counted_passes() as passes:
        curves = _add_curves(model, data, n_curve, passes)
        passes.forward = 0
        start = _now()
        model.fit(data.X, data.y)
        seconds, of_cpu = _now() - start - sum(curve.seconds for curve in curves)
    valid = None
    if len(data.y_valid):
        valid = float(model.score(data.X_valid, data.y_valid))
    return {
        **cell.settings(),
        "n_train": n,
        "n_test": n_test,
        "n_curve": n_curve,
        "noise_rate": _noise_rate(data),
        "accuracy": float(model.score(data.X_test, data.y_test)),
        "noisy_validation": valid,
        "seconds": float(seconds),
        "cpu_seconds": float(of_cpu),
        "forward_passes": passes.forward / n,
        "training_passes": passes.training / n,
        **_peak_memory(),
        **_detection(model, data),
        **(_OBSERVED[cell.observed](model, data, cell.seed) if cell.observed else {}),
        "history": model.history_,
        "parameters": _parameters(model),
        "probe_criterion": _probe_criterion(model),
        "dtype": _dtype(model),
        "machine": machine(),
    }


class AccuracyCurve(Callback):
    """Notes the accuracy on clean test labels after every epoch.

    It is no part of a method: its time and passes are kept out of what is measured.

    Parameters
    ----------
    source : Source
        Test images, or their features for a probe.
    y : ndarray of int
        Codes of their labels.
    runtime : Runtime
    passes : Passes
        Is left as it was.
    """

    def __init__(
        self, source: Source, y: NDArray[np.intp], runtime: Runtime, passes: Passes
    ):
        self.source = source
        self.y = y
        self.runtime = runtime
        self.passes = passes
        self.seconds = np.zeros(2)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        start, forward = _now(), self.passes.forward
        codes = [
            net.evaluation_step((batch, None)).argmax(dim=1).cpu().numpy()
            for batch in batches_of(self.source, self.runtime)
        ]
        accuracy = float((np.concatenate(codes) == self.y).mean())
        net.history.record("test_accuracy", accuracy)
        self.passes.forward = forward
        self.seconds += _now() - start


def _now() -> NDArray[np.float64]:
    """Seconds of the clock, and of the cores that this process was given."""
    return np.array([time.perf_counter(), time.process_time()])


def _add_curves(model: Any, data: Data, n: int, passes: Passes) -> list[AccuracyCurve]:
    """Have the accuracy of both phases noted, of those the model has."""
    code = {label: i for i, label in enumerate(np.unique(data.y).tolist())}
    y = np.array([code.get(label, -1) for label in data.y_test[:n].tolist()])
    runtime, known = Runtime.of(model), model.get_params(deep=False)
    curves = []
    if "lp_params" in known:
        shared = {name: known[name] for name in FeatureExtractor._get_param_names()}
        extract = FeatureExtractor(**{**shared, "memory": FEATURES})
        features = torch.from_numpy(extract.fit_transform(data.X_test[:n]))
        curves.append(AccuracyCurve(FeatureRows(features), y, runtime, passes))
        model.set_params(lp_params={"callbacks": [("curve", curves[-1])]})
    if "fft_params" in known:
        curves.append(AccuracyCurve(as_source(data.X_test[:n]), y, runtime, passes))
        model.set_params(fft_params={"callbacks": [("curve", curves[-1])]})
    return curves


def _parameters(model: Any) -> dict[str, Any]:
    left_out = ("backbone", "pretrained", "memory", "lp_params", "fft_params")
    known = model.get_params(deep=False)
    return {name: value for name, value in known.items() if name not in left_out}


def _probe_criterion(model: Any) -> str | None:
    """By what the probe was trained; after a collapse that is cross-entropy."""
    probe = getattr(model, "probe_", None)
    return None if probe is None else type(probe.criterion_).__name__


def _dtype(model: Any) -> str:
    """Of the backbone's matrix products; what "auto" is depends on the machine."""
    return str(Runtime.of(model).dtype or torch.float32).removeprefix("torch.")


def _peak_memory() -> dict[str, float]:
    """Of this process, and on the GPU where there is one."""
    found = {"peak_memory_mb": peak_memory_mb()}
    if torch.cuda.is_available():
        found["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def _noise_rate(data: Data) -> float | None:
    return None if data.y_clean is None else float((data.y != data.y_clean).mean())


def _detection(model: Any, data: Data) -> dict[str, float]:
    """How well the method found the wrong labels, if it looked for them."""
    if not hasattr(model, "clean_mask_") or not getattr(model, "cleansing", True):
        return {}
    flagged = ~model.clean_mask_
    found = {"flagged": float(flagged.mean())}
    if data.y_clean is None:
        return found
    wrong = data.y != data.y_clean
    if wrong.any():
        if flagged.any():
            found["precision"] = float(wrong[flagged].mean())
        found["recall"] = float(flagged[wrong].mean())
        found |= label_issue_ranking_scores(wrong, model.clean_proba_)
    rate = getattr(getattr(model, "noise_filter_", None), "noise_rate_", None)
    if rate is not None:
        found["estimated_rate"] = float(rate)
    if hasattr(model, "suggested_labels_"):
        right = model.suggested_labels_ == data.y_clean
        found["suggested_right"] = float(right.mean())
    return found


def _embedding(model: Any, data: Data, seed: int) -> dict[str, Any]:
    """Test images on a plane, by the features before and after fine-tuning."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from sklearn_turn.inspection import EmbeddingDisplay

    rng = np.random.RandomState(seed)
    classes = rng.permutation(np.unique(data.y_test))[:_MAP_CLASSES]
    rows = np.flatnonzero(np.isin(data.y_test, classes))
    rows = np.sort(rng.permutation(rows)[:_MAP_IMAGES])
    X = data.X_test
    X = X[rows] if isinstance(X, np.ndarray) else [X[i] for i in rows]
    shown = EmbeddingDisplay.from_estimator(model, X, data.y_test[rows])
    pyplot.close(shown.figure_)
    return {
        "embedding": {
            "labels": " ".join(map(str, np.unique(shown.y, return_inverse=True)[1])),
            "agreement": dict(shown.agreement),
            # In one line each: indented JSON has a line for every number.
            "points": {
                title: " ".join(f"{value:.1f}" for value in np.ravel(points))
                for title, points in shown.points.items()
            },
        }
    }


def _detectors(model: Any, data: Data, seed: int) -> dict[str, Any]:
    """Ways to find wrong labels, on features and losses of the fine-tuned network."""
    from benchmarks.detectors import Observed, detect, said_by  # cleanlab when asked

    module, runtime = model.net_.module_, Runtime.of(model)
    X, X_test = (
        forward_all(module.embed, check_new_data(model, images), runtime)
        for images in (data.X, data.X_test)
    )
    y, y_true, y_test = (
        np.searchsorted(model.classes_, labels)
        for labels in (data.y, data.y_clean, data.y_test)
    )
    with torch.inference_mode():
        logits = module.eval().classify(X.to(runtime.device)).double().cpu()
    seen = Observed(
        X=X.numpy(),
        y=y,
        losses=cross_entropy(logits, torch.from_numpy(y), reduction="none").numpy(),
        y_true=y_true,
        X_test=X_test.numpy(),
        y_test=y_test,
        found={"TURNClassifier()": said_by(model.noise_filter_, model.losses_)},
    )
    return {"detection": detect(seen, seed)}


_OBSERVED = {"embedding": _embedding, "detection": _detectors}
