"""An audit of labels, beside cleanlab on the same features: seconds, memory, precision.

Two sets of frozen features: of images with human label noise (CIFAR-10N, ViT-Ti at 224
px), and rows drawn to the geometry of their classes, of which there are many. Each
audit is a process of its own, which has imported all it needs when its time starts;
clean labels are used to score only.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import peak_memory_mb, save, table
from benchmarks.detectors import Keep
from benchmarks.label_sets import Cifar, ManyClasses
from sklearn_turn import noise

FIRST = (100, 300)
KINDS = ("aggre", "random1", "worse")


def _turn(X: Any, y: Any, seed: int) -> Any:
    from sklearn_turn import TURNClassifier
    from sklearn_turn.inspection import label_issues

    model = TURNClassifier(fft_epochs=0, random_state=seed)
    return label_issues(model.fit(X, y))["rank"]


def _filtered(X: Any, y: Any, seed: int) -> Any:
    from sklearn_turn import NoiseFilteredClassifier
    from sklearn_turn.inspection import label_issues

    model = NoiseFilteredClassifier(
        _regression(), noise_filter="channel", cv=_folds(seed)
    )
    return label_issues(model.fit(X, y))["rank"]


def _cleanlab(X: Any, y: Any, seed: int) -> Any:
    from sklearn.model_selection import cross_val_predict

    proba = cross_val_predict(
        _regression(), X, y, cv=_folds(seed), method="predict_proba"
    )
    return _by_cleanlab(y, proba)


def _cleanlab_of_probes(X: Any, y: Any, seed: int) -> Any:
    from sklearn_turn import TURNClassifier

    model = TURNClassifier(
        fft_epochs=0, noise_filter=Keep(), cleansing_folds=5, random_state=seed
    )
    return _by_cleanlab(y, np.exp(model.fit(X, y).noise_filter_.log_proba_))


def _by_cleanlab(y: Any, proba: Any) -> Any:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    find_label_issues(y, proba, n_jobs=1)
    return get_label_quality_scores(y, proba)


def _neighbors(X: Any, y: Any, seed: int) -> Any:
    from sklearn_turn.inspection import neighbor_issues

    return -neighbor_issues(X, y)["outlier_score"]


AUDITS: dict[str, Callable[[Any, Any, int], Any]] = {
    "sklearn-turn": _turn,
    "sklearn-turn, logistic regression": _filtered,
    "cleanlab, logistic regression": _cleanlab,
    "cleanlab, probes": _cleanlab_of_probes,
    "sklearn-turn, copies and outliers": _neighbors,
}


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _folds(seed: int) -> Any:
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(5, shuffle=True, random_state=seed)


def run_here(name: str, file: Path, seed: int, threads: int) -> dict[str, Any]:
    """Audit in this process, and measure."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    for module in ("sklearn_turn.turn", "sklearn_turn.inspection", "pandas"):
        importlib.import_module(module)
    importlib.import_module("cleanlab.filter")
    stored = np.load(file)
    X, y = stored["X"], stored["y"]
    before = peak_memory_mb()
    start, start_cpu = time.perf_counter(), time.process_time()
    ranks = np.asarray(AUDITS[name](X, y, seed))
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "more_mb": peak_memory_mb() - before,
        "first": np.argsort(ranks, kind="stable")[: max(FIRST)].tolist(),
    }


def measure(
    name: str, X: Any, y: NDArray[Any], y_true: NDArray[Any], seeds: int, threads: int
) -> dict[str, Any]:
    """Audit in fresh processes; means over seeds."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "set.npz"
        np.savez(file, X=X, y=y)
        for seed in range(seeds):
            command = [sys.executable, "-m", "benchmarks.audit", "--run", name]
            command += [str(file), str(seed), str(threads)]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(out.stdout.splitlines()[-1]))
    wrong = y != y_true
    for run in runs:
        first = run.pop("first")
        run |= {f"first_{n}": float(wrong[first[:n]].mean()) for n in FIRST}
    means = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    return {
        "audit": name,
        "n": len(y),
        "wrong": float(wrong.mean()),
        **means,
        "runs": runs,
    }


def report(records: list[dict[str, Any]], args: argparse.Namespace) -> str:
    header = ["labels (wrong)", "rows", "audit", "seconds", "of a core", "MB more"]
    header += [f"precision, first {n}" for n in FIRST]
    body = []
    for r in records:
        cells = [f"{r[key]:.1f}" for key in ("seconds", "cpu_seconds")]
        cells += [f"{r['more_mb']:.0f}"]
        of_labels = r["audit"] != "sklearn-turn, copies and outliers"
        cells += [f"{r[f'first_{n}']:.2f}" if of_labels else "–" for n in FIRST]
        body.append([f"{r['noise']} ({r['wrong']:.3f})", r["n"], r["audit"], *cells])
    return (
        "# Audit of labels on frozen features\n\n"
        f"Means over {args.seeds} seeds of folds and probes (one for synthetic rows); "
        f"threads: {args.threads}. The time is from features to ranked labels, with a "
        "pass of the backbone for none of them; memory is that beyond libraries and "
        "features. Five folds everywhere. sklearn-turn is "
        "`TURNClassifier(fft_epochs=0)`, and its probes give cleanlab the same "
        "out-of-fold probabilities; standardised logistic regression gives both the "
        "probabilities of the other two rows. "
        "Precision is the share of wrong labels among the first suspects.\n\n"
        + table(header, body)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="data and weights")
    parser.add_argument("--n", type=int, default=3000, help="images")
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--run", nargs=4, help="internal: audit, file, seed, threads")
    args = parser.parse_args()
    if args.run:
        name, file, seed, threads = args.run
        print(json.dumps(run_here(name, Path(file), int(seed), int(threads))))
        return
    if args.folder is None:
        parser.error("the folder with data and weights is missing")
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(args.folder / "cifar10n.zip") as zipped:
            zipped.extractall(folder)
        root = next(Path(folder).rglob("labels.csv")).parent
        cifar = Cifar(args.folder, root, args.n, 1)
    sets = [(f"human, {k}", cifar.X, cifar.human[k], cifar.y) for k in KINDS]
    for n in args.rows:
        drawn = ManyClasses(cifar, n_classes=10, per_class=n // 10)
        y = noise.symmetric(drawn.y, 0.1, random_state=0)
        sets.append(("synthetic, symmetric", drawn.X, y, drawn.y))
    records = []
    for label, X, y, y_true in sets:
        for name in AUDITS:
            seeds = args.seeds if label.startswith("human") else 1
            record = measure(name, X, y, y_true, seeds, args.threads)
            records.append({"noise": label, **record})
            print(label, len(y), name, f"{record['seconds']:.1f} s", flush=True)
    settings = {"n": args.n, "seeds": args.seeds, "threads": args.threads}
    payload = {"settings": settings, "records": records}
    save("audit", payload, report(records, args))


if __name__ == "__main__":
    main()
