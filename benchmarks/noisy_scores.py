"""Which score on noisy validation labels ranks candidates as clean test labels do?

Candidates of a search, from careful to memorising ones, are fitted on noisy training
labels of CIFAR-10N's images (ViT-Ti features at 224 px). Scores see their predictions
for validation images and the noisy labels of these, and no clean label; their ranking
is compared with that by clean test labels.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import kendalltau
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import save, table
from benchmarks.noisy_candidates import NOISES, Pool, drawn, fit
from sklearn_turn.selection import NoiseChannelFilter

SIZES = (500, 1000)
PLAIN = "noisy accuracy"
#: Title, factor and digits.
MEASURES = {
    "tau": ("Kendall's tau (x 100)", 100, 1),
    "regret": ("Regret (points)", 1, 2),
}
#: Which candidates are ranked.
GROUPS = {
    "all": lambda name: True,
    "settings of one probe": lambda name: name[0].islower(),
    "methods": lambda name: name[0].isupper(),
}
INTRODUCTION = """# Scores on noisy validation labels

36 candidates, fitted on 3,000 images: 24 settings of a linear head (loss, rate, epochs)
and 12 methods. Each is scored on noisy labels of other images; the table says how well
the score ranks them as 3,000 clean test labels do (Kendall's tau), and how many points
of test accuracy its first choice lacks (regret). Means over parts of 2,000 validation
images and {seeds} seeds, ± standard error over the seeds, which draw from the same
8,000 images. The row of plain accuracy has the values, all others differences from it:
above zero is better for tau, below for regret. "Ahead" counts noises.

T, a transition matrix, comes from the channel filter on the training labels.
"Inverse of T" is the unbiased estimate of clean accuracy, the mean of T^-1[label,
predicted]; "likelihood of T" takes the most likely joint distribution of predictions
and true classes; "P(true given label)" knows no image; a "posterior" is the
probability that the prediction is right by image, label and channel: with a GCE
probe or a logistic regression that was fitted on the training labels, or ("audit")
with predictions out of fold and a channel from the validation part alone. Corrected
labels are its most probable classes, believed labels those it gives more than 0.8.
Rows in brackets use clean labels."""


def scores(
    found: dict[str, NDArray[Any]], rows: NDArray[np.intp], audit: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Each score of every candidate on some validation images; greater is better.

    Parameters
    ----------
    found : dict
        From :func:`fit`.
    rows : ndarray of int
        The images.
    audit : ndarray of shape (n_rows, n_classes)
        Probability of each true class, by a channel fitted on these images alone.
    """
    y, T, T_true = found["y"][rows], found["T"], found["T_true"]
    log_proba, every = found["log_proba"][:, rows], np.arange(len(rows))
    predicted = log_proba.argmax(axis=2)
    given = (slice(None), every, y)
    right = predicted == y
    probe, logistic = found["label_proba"][rows], found["label_proba_2"][rows]
    shares = np.bincount(y, minlength=len(T)) / len(y)
    prior, *_ = np.linalg.lstsq(T.T, shares, rcond=None)
    joint = np.maximum(prior, 0)[:, None] * T
    of_label = (joint / joint.sum(axis=0))[:, y].T
    by_class = [right[:, y == c].mean(axis=1) for c in np.unique(y)]
    return {
        PLAIN: right.mean(axis=1),
        "noisy balanced accuracy": np.mean(by_class, axis=0),
        "noisy log loss": log_proba[given].mean(axis=1),
        "log loss through T": np.log((np.exp(log_proba) @ T)[given]).mean(axis=1),
        "inverse of T": np.linalg.inv(T)[y, predicted].mean(axis=1),
        "likelihood of T": by_likelihood(predicted, y, T),
        "P(true given label)": of_label[every, predicted].mean(axis=1),
        "posterior, probe": probe[every, predicted].mean(axis=1),
        "posterior, logistic": logistic[every, predicted].mean(axis=1),
        "corrected labels, probe": (predicted == probe.argmax(axis=1)).mean(axis=1),
        "believed labels, probe": right[:, probe[every, y] > 0.8].mean(axis=1),
        "posterior, audit": audit[every, predicted].mean(axis=1),
        "corrected labels, audit": (predicted == audit.argmax(axis=1)).mean(axis=1),
        # Not to be had without clean labels.
        "(inverse of the true T)": np.linalg.inv(T_true)[y, predicted].mean(axis=1),
        "(clean labels)": (predicted == found["y_clean"][rows]).mean(axis=1),
    }


def audited(X: NDArray[np.float32], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """Probability of each true class, by predictions out of fold and a channel."""
    values = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)),
        *(X, y),
        cv=5,
        method="decision_function",
    )
    return NoiseChannelFilter().fit(log_softmax(values, axis=1), y).label_proba_


def by_likelihood(
    predicted: NDArray[Any], y: NDArray[Any], T: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Accuracy of the most likely joint distribution of prediction and true class.

    Labels are taken for independent of predictions, given the true class: the joint
    distribution M of predictions and true classes makes M @ T of predictions and
    labels.
    """
    n, n_classes = len(predicted), len(T)
    seen = np.zeros((n, n_classes, n_classes))
    for counts, codes in zip(seen, predicted, strict=True):
        np.add.at(counts, (codes, y), 1 / len(y))
    M = np.full_like(seen, 1 / n_classes**2)
    for _ in range(100):
        expected = M @ T
        ratio = np.divide(seen, expected, out=np.zeros_like(seen), where=expected > 0)
        M = M * (ratio @ T.T)
    return np.trace(M, axis1=1, axis2=2)


def ranked(score: NDArray[np.float64], accuracy: NDArray[np.float64]) -> list[float]:
    """Kendall's tau, and points of accuracy that the best score's candidate lacks."""
    best = accuracy[score == score.max()].mean()
    return [float(kendalltau(score, accuracy)[0]), 100 * float(accuracy.max() - best)]


def measure(pool: Pool, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Kendall's tau and regret by noise, size, group and score; one number a seed."""
    records: dict[tuple[Any, ...], dict[str, Any]] = {}
    for seed, noise in product(seeds, NOISES):
        found = fit(pool, noise, seed)
        X = pool.X[drawn(seed)[1]]
        for key, (tau, regret) in _of_one_seed(found, X):
            names = ("noise", "size", "group", "score")
            about = dict(zip(names, (noise, *key), strict=True))
            record = records.setdefault(
                (noise, *key), {**about, "tau": [], "regret": []}
            )
            record["tau"].append(round(tau, 4))
            record["regret"].append(round(regret, 3))
        print(f"seed {seed}, {noise}: done", flush=True)
    return list(records.values())


def _of_one_seed(
    found: dict[str, NDArray[Any]], X: NDArray[np.float32]
) -> Iterator[tuple[tuple[int, str, str], list[float]]]:
    """Means over the parts of the validation images."""
    accuracy, y = found["accuracy"], found["y"]
    for size in SIZES:
        parts = [
            scores(found, rows, audited(X[rows], y[rows]))
            for rows in np.split(np.arange(len(y)), len(y) // size)
        ]
        for group, belongs in GROUPS.items():
            used = np.array([belongs(name) for name in found["names"]])
            for name in parts[0]:
                pairs = [ranked(part[name][used], accuracy[used]) for part in parts]
                yield (size, group, name), np.mean(pairs, axis=0).tolist()


def report(records: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """Tables by noise for the larger size; means for sizes and groups."""
    of = {(r["noise"], r["size"], r["group"], r["score"]): r for r in records}
    names = list(dict.fromkeys(r["score"] for r in records))

    def shown(name: str, measure: str, size: int, group: str) -> NDArray[np.float64]:
        """By noise and seed."""
        values, plain = (
            np.array([of[noise, size, group, n][measure] for noise in NOISES])
            for n in (name, PLAIN)
        )
        return MEASURES[measure][1] * (values if name == PLAIN else values - plain)

    text = [INTRODUCTION.format(seeds=len(args.seeds))]
    for measure, (title, _, digits) in MEASURES.items():
        text.append(f"\n## {title}, {SIZES[-1]:,} labels, all candidates\n")
        body = []
        for name in names:
            rows = shown(name, measure, SIZES[-1], "all")
            better = rows.mean(axis=1) * (-1 if measure == "regret" else 1)
            ahead = "–" if name == PLAIN else f"{(better > 0).sum()} of {len(NOISES)}"
            cells = [_cell(row, digits) for row in (*rows, rows.mean(axis=0))]
            body.append([name, *cells, ahead])
        text.append(table(["score", *NOISES, "mean", "ahead"], body))
    for measure, (title, _, digits) in MEASURES.items():
        text.append(f"\n## {title}, means over all noises\n")
        columns = list(product(GROUPS, SIZES))
        body = [
            [name]
            + [
                _cell(shown(name, measure, size, group).mean(axis=0), digits)
                for group, size in columns
            ]
            for name in names
        ]
        text.append(
            table(["score", *(f"{group}, {size:,}" for group, size in columns)], body)
        )
    return "\n".join(text)


def _cell(values: NDArray[np.float64], digits: int) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with data and weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # of small classes, and of classes never selected
    records = measure(Pool.of(args.folder), args.seeds)
    payload = {"settings": {"seeds": args.seeds}, "records": records}
    save("noisy_scores", payload, report(records, args))


if __name__ == "__main__":
    main()
