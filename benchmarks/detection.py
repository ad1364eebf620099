"""Which labels are wrong: filters compared on frozen features, at many noise levels.

Two sets: CIFAR-10 images with human label noise (CIFAR-10N) through a ViT-Ti at 224 px,
and features of 100 classes with 40 samples each, drawn with the class geometry measured
on the first. Every filter is given what it asks for and never the noise rate; clean
labels are used to score only.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import save, table
from benchmarks.data import unpacked
from benchmarks.methods import FEATURES
from sklearn_turn import FeatureExtractor, TURNClassifier, noise
from sklearn_turn.baselines import LinearProbing
from sklearn_turn.metrics import label_issue_ranking_scores, label_issue_scores

BACKBONE, WEIGHTS = "vit_tiny_patch16_224", "vit_tiny_patch16_224.safetensors"
COLUMNS = {
    "flagged": "flagged (%)",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "best_f1": "best F1",
    "average_precision": "AP",
    "auroc": "AUROC",
    "noise_rate": "estimated rate",
    "accuracy": "test accuracy (%)",
}


class Cifar:
    """Features of images with human label noise."""

    name = "CIFAR-10N, 10 classes"

    def __init__(self, folder: Path, root: Path, n_train: int, n_test: int):
        with open(root / "labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        train = [row for row in rows if row["split"] == "train"][:n_train]
        test = [row for row in rows if row["split"] == "test"][:n_test]
        extract = FeatureExtractor(
            BACKBONE, pretrained=folder / WEIGHTS, memory=FEATURES
        )
        start = time.perf_counter()
        paths = [str(root / row["path"]) for row in train + test]
        features = extract.fit_transform(paths)
        self.seconds = time.perf_counter() - start
        self.X, self.X_test = features[:n_train], features[n_train:]
        self.classes, y = np.unique(
            [row["clean"] for row in train + test], return_inverse=True
        )
        self.y, self.y_test = y[:n_train], y[n_train:]
        self.human = {
            kind: np.searchsorted(self.classes, [row[kind] for row in train])
            for kind in ("aggre", "random1", "worse")
        }

    def noises(self, seed: int) -> Iterator[tuple[str, NDArray[np.intp]]]:
        y, X = self.y, self.X
        yield "none", y
        yield from ((f"human, {kind}", labels) for kind, labels in self.human.items())
        for rate in (0.02, 0.05, 0.4, 0.6, 0.8):
            yield (
                f"symmetric {rate:g}",
                noise.symmetric(y, rate, include_true=True, random_state=seed),
            )
        names = {name: i for i, name in enumerate(self.classes)}
        confused = {names[a]: names[b] for a, b in noise.CIFAR10_ASYMMETRIC.items()}
        for rate in (0.2, 0.4):
            yield (
                f"asymmetric {rate:g}",
                noise.asymmetric(y, rate, class_map=confused, random_state=seed),
            )
        yield (
            "instance (Cheng) 0.3",
            noise.instance_cheng2021(X, y, 0.3, random_state=seed),
        )
        yield "instance (Xia) 0.3", noise.instance_xia2020(X, y, 0.3, random_state=seed)


def cifar_of(folder: Path, n_train: int) -> Cifar:
    """Features of so many training images and of 1,500 test images."""
    return Cifar(folder, unpacked(folder), n_train, 1500)


class ManyClasses:
    """Features of many classes, drawn to the geometry of another set's classes."""

    name = "100 classes of 40 samples, drawn"

    def __init__(self, like: Cifar, n_classes: int = 100, per_class: int = 40):
        codes = np.unique(like.y)
        means = np.stack([like.X[like.y == c].mean(axis=0) for c in codes])
        within = np.cov((like.X - means[like.y]).T)
        between = np.cov(means.T) + 1e-6 * np.eye(len(within))
        # The class means of ten classes span nine dimensions; a hundred need more.
        rng = np.random.RandomState(0)
        spread = np.sqrt(np.trace(between) / np.trace(within))
        root = np.linalg.cholesky(within + 1e-6 * np.eye(len(within)))
        centres = spread * rng.randn(n_classes, len(within)) @ root.T
        self.y = np.repeat(np.arange(n_classes), per_class)
        self.y_test = np.repeat(np.arange(n_classes), 20)
        self.X, self.X_test = (
            (centres[y] + rng.randn(len(y), len(within)) @ root.T).astype(np.float32)
            for y in (self.y, self.y_test)
        )
        distances = ((centres[:, None] - centres[None]) ** 2).sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        self.nearest = dict(enumerate(distances.argmin(axis=1)))

    def noises(self, seed: int) -> Iterator[tuple[str, NDArray[np.intp]]]:
        yield "none", self.y
        for rate in (0.05, 0.1, 0.4):
            yield (
                f"symmetric {rate:g}",
                noise.symmetric(self.y, rate, include_true=True, random_state=seed),
            )
        yield (
            "to the nearest class 0.2",
            noise.asymmetric(self.y, 0.2, class_map=self.nearest, random_state=seed),
        )


def detect(X: Any, y: Any, seed: int) -> dict[str, dict[str, Any]]:
    """Each method's flags, label quality and estimated noise rate."""
    options = {"fft_epochs": 0, "random_state": seed}
    found = {}
    gmm = TURNClassifier(noise_filter="gmm", **options).fit(X, y)
    found["small loss, rate known"] = {"quality": -gmm.losses_}
    folds = TURNClassifier(noise_filter="gmm", cleansing_folds=5, **options).fit(X, y)
    channel = TURNClassifier(noise_filter="channel", **options).fit(X, y)
    for name, model in (
        ("mixture (TURN)", gmm),
        ("mixture, out of fold", folds),
        ("channel", channel),
    ):
        found[name] = {
            "flags": ~model.clean_mask_,
            "quality": model.clean_proba_ - 1e-9 * model.losses_,  # ties by loss
            "noise_rate": model.noise_filter_.noise_rate_,
        }
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores = cross_val_predict(model, X, y, cv=5, method="decision_function")
    found["cleanlab"] = _cleanlab(np.exp(log_softmax(scores, axis=1)), y)
    kept = TURNClassifier(noise_filter=Keep(), cleansing_folds=5, **options).fit(X, y)
    found["cleanlab, probes"] = _cleanlab(np.exp(kept.noise_filter_.log_proba_), y)
    return found


class Keep(BaseEstimator):
    """A filter that keeps what it is given, and finds all labels clean."""

    evidence = "log_proba"

    def fit(self, X: Any, y: Any) -> Any:
        self.log_proba_ = X
        self.clean_mask_ = np.ones(len(y), dtype=bool)
        self.clean_proba_ = np.ones(len(y))
        return self


def _cleanlab(proba: Any, y: Any) -> dict[str, Any]:
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    joint = estimate_joint(y, proba)
    return {
        "flags": find_label_issues(y, proba, n_jobs=1),
        "quality": get_label_quality_scores(y, proba),
        "noise_rate": float(1 - np.trace(joint)),
    }


def score(data: Any, y: Any, found: dict[str, Any], seed: int) -> dict[str, float]:
    wrong = y != data.y
    flags = found.get("flags")
    if flags is None:  # as many as there are
        flags = np.zeros(len(y), dtype=bool)
        flags[np.argsort(found["quality"])[: wrong.sum()]] = True
    accuracy = float("nan")
    if len(np.unique(y[~flags])) > 1:
        probe = LinearProbing(loss="gce", random_state=seed)
        probe.fit(data.X[~flags], y[~flags])
        accuracy = 100 * probe.score(data.X_test, data.y_test)
    row = {
        **label_issue_scores(wrong, flags),
        **label_issue_ranking_scores(wrong, found["quality"]),
        "accuracy": accuracy,
        "noise_rate": found.get("noise_rate", float("nan")),
    }
    row["flagged"] *= 100
    return row


def measure(data: Any, seeds: int) -> list[dict[str, Any]]:
    records: dict[tuple[str, str], dict[str, Any]] = {}
    for seed in range(seeds):
        for label, y in data.noises(seed):
            for method, found in detect(data.X, y, seed).items():
                record = records.setdefault(
                    (label, method),
                    {"set": data.name, "noise": label, "method": method, "runs": []},
                )
                row = {"seed": seed, "wrong": float(np.mean(y != data.y))}
                record["runs"].append({**row, **score(data, y, found, seed)})
        print(f"{data.name}: seed {seed} done", flush=True)
    return list(records.values())


def report(records: list[dict[str, Any]], args: argparse.Namespace) -> str:
    text = [
        "# Detection of wrong labels on frozen features\n",
        f"Mean over {args.seeds} seeds (draw of the noise, folds, probe; human labels "
        "do not change). No method is told the noise rate, but for the first. Best F1 "
        "is what any threshold on the method's score could reach. Test accuracy is "
        "that of a probe trained again on what is not flagged, on 1,500 images. "
        "Symmetric noise has the true class among its draws. cleanlab has out-of-fold "
        "probabilities of a logistic regression (C = 1, not tuned; with the same human "
        "labels the same in every seed), or those of the probes that the channel has. "
        "The channel was designed on such images with their clean labels at hand.",
    ]
    for name in dict.fromkeys(r["set"] for r in records):
        text.append(f"\n## {name}\n")
        body = []
        for r in [r for r in records if r["set"] == name]:
            mean = {
                # None is no number, as JSON has it.
                key: np.array([run[key] for run in r["runs"]], dtype=float).mean()
                for key in (*COLUMNS, "wrong")
            }
            cells = [
                "–"
                if np.isnan(mean[key])
                else f"{mean[key]:.{1 if '%' in head else 3}f}"
                for key, head in COLUMNS.items()
            ]
            body.append([f"{r['noise']} ({mean['wrong']:.3f})", r["method"], *cells])
        text.append(table(["noise (true rate)", "method", *COLUMNS.values()], body))
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with data and weights")
    parser.add_argument("--n", type=int, default=3000, help="training images")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", UserWarning)  # of small classes
    cifar = cifar_of(args.folder, args.n)
    records: list[dict[str, Any]] = []
    for data in (cifar, ManyClasses(cifar)):
        records += measure(data, args.seeds)
        payload = {
            "settings": {"n": args.n, "seeds": args.seeds},
            "feature_seconds": cifar.seconds,
            "records": records,
        }
        save("detection", payload, report(records, args), show=False)
    print(report(records, args))


if __name__ == "__main__":
    main()
