"""Wrong labels by any classifier: what surrounds it in NoiseFilteredClassifier.

On the features of :mod:`benchmarks.label_sets`: three classifiers, three ways to judge
labels by them, and the classifier as it is beside those that were fitted again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.common import save, table
from benchmarks.label_sets import BACKBONE, Cifar, cifar_of
from sklearn_turn import NoiseFilteredClassifier
from sklearn_turn.metrics import label_issue_scores

NOISES = (
    "none",
    "human, aggre",
    "human, random1",
    "human, worse",
    "symmetric 0.02",
    "symmetric 0.4",
    "asymmetric 0.4",
)
#: Name -> the classifier in the filter, and the same alone.
CLASSIFIERS: dict[str, tuple[Any, Any]] = {
    "default": (
        None,
        make_pipeline(StandardScaler(), LogisticRegression(C=1 / 192, max_iter=1000)),
    ),
    "logistic regression, C=1": 2
    * (make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),),
    "20 nearest neighbours": 2 * (KNeighborsClassifier(20),),
}
#: Default first.
FILTERS: dict[str, dict[str, Any]] = {
    "channel, five folds": {"noise_filter": "channel", "cv": 5},
    "mixture, five folds": {"noise_filter": "gmm", "cv": 5},
    "mixture, own samples": {"noise_filter": "gmm", "cv": None},
}


def measure(data: Cifar, seeds: int) -> list[dict[str, Any]]:
    records: dict[tuple[str, ...], dict[str, Any]] = {}
    for seed in range(seeds):
        for noise, y in data.noises(seed):
            # Nothing is drawn but the noise.
            drawn = noise.startswith(("sym", "asym"))
            if noise not in NOISES or (seed and not drawn):
                continue
            for name, (inner, alone) in CLASSIFIERS.items():
                plain = clone(alone).fit(data.X, y)
                accuracy = 100 * plain.score(data.X_test, data.y_test)
                for rule, options in FILTERS.items():
                    start = time.perf_counter()
                    model = NoiseFilteredClassifier(inner, **options).fit(data.X, y)
                    run = {
                        "seconds": time.perf_counter() - start,
                        "plain": accuracy,
                        "accuracy": 100 * model.score(data.X_test, data.y_test),
                        **label_issue_scores(y != data.y, ~model.clean_mask_),
                    }
                    key = (noise, name, rule)
                    record = {"noise": noise, "classifier": name, "rule": rule}
                    records.setdefault(key, {**record, "runs": []})["runs"].append(run)
    return list(records.values())


def report(records: list[dict[str, Any]], args: argparse.Namespace) -> str:
    def mean(record: dict[str, Any], key: str) -> float:
        # None is no number, as JSON has it.
        runs = np.array([run[key] for run in record["runs"]], dtype=float)
        return float(runs.mean())

    body = [
        [
            r["noise"],
            r["classifier"],
            r["rule"],
            f"{100 * mean(r, 'flagged'):.1f}",
            f"{mean(r, 'precision'):.2f}",
            f"{mean(r, 'recall'):.2f}",
            f"{mean(r, 'plain'):.1f}",
            f"{mean(r, 'accuracy'):.1f}",
        ]
        for r in records
    ]
    head = ["noise", "classifier", "judged by", "flagged (%)", "precision", "recall"]
    head += ["test accuracy as it is (%)", "filtered (%)"]
    return (
        "# Any classifier, filtered\n\n"
        f"`NoiseFilteredClassifier` on frozen features ({BACKBONE}, 224 px) of "
        f"{args.n} CIFAR-10 photos; test accuracy on 1,500 photos with right labels. "
        f"Noise that is drawn: mean of {args.seeds} draws. The default is channel, "
        "five folds, around a logistic regression whose C is one over the number of "
        "features, alone or with balanced classes; how was chosen on these photos and "
        "on small tables, with clean labels at hand. As it is, it is not balanced."
        "\n\n" + table(head, body)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with data and weights")
    parser.add_argument("--n", type=int, default=3000, help="training images")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    # Of tiny classes, of too few samples, of neighbours that are certain.
    warnings.simplefilter("ignore", UserWarning)
    data = cifar_of(args.folder, args.n)
    with threadpool_limits(1):
        records = measure(data, args.seeds)
    payload = {"settings": {"n": args.n, "seeds": args.seeds}, "records": records}
    save("any_classifier", payload, report(records, args))


if __name__ == "__main__":
    main()
