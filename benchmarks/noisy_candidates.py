"""Candidates of a search under label noise, and what they predict; kept on disk."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from benchmarks.data import unpacked
from benchmarks.methods import CACHE, FEATURES, weights
from benchmarks.noises import HUMAN, simulate
from sklearn_turn import FeatureExtractor, NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.noise import CIFAR10_ASYMMETRIC
from sklearn_turn.selection import NoiseChannelFilter

BACKBONE = "vit_tiny_patch16_224"
NOISES = (
    *("aggre", "random1", "worse"),
    *("symmetric 0.2", "symmetric 0.6", "asymmetric 0.2", "asymmetric 0.4"),
    *("instance cheng 0.3", "instance xia 0.3"),
)
N_POOL, N_TRAIN, N_VALID = 8000, 3000, 2000
#: Its channel and its predictions are what scores may use.
REFERENCE = "TURN, probe"
FITS = CACHE / "noisy_scores"
#: Linear heads: exponent of GCE (0 is cross-entropy), learning rate, epochs.
EXPONENTS, RATES, EPOCHS = (0.0, 0.4, 0.7), (1e-3, 1e-2), (3, 10, 30, 100)


def linear_heads(
    X: NDArray[np.float32], y: NDArray[np.intp], seed: int
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weights and biases of heads at all settings, trained side by side with Adam."""
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    shape = (len(EXPONENTS), X.shape[1], int(y.max()) + 1)
    weights = [torch.zeros(shape, requires_grad=True) for _ in RATES]
    biases = [torch.zeros(shape[0], 1, shape[2], requires_grad=True) for _ in RATES]
    optimizer = torch.optim.Adam(
        [
            {"params": [W, b], "lr": rate}
            for W, b, rate in zip(weights, biases, RATES, strict=True)
        ]
    )
    found = {}
    for epoch in range(1, max(EPOCHS) + 1):
        for rows in torch.randperm(len(y), generator=generator).split(256):
            loss = sum(
                _gce(inputs[rows] @ W + b, labels[rows])
                for W, b in zip(weights, biases, strict=True)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch not in EPOCHS:
            continue
        for (r, rate), (i, q) in product(enumerate(RATES), enumerate(EXPONENTS)):
            name = f"{f'gce {q:g}' if q else 'ce'}, {rate:g}, {epoch} epochs"
            head = (weights[r][i], biases[r][i])
            found[name] = tuple(t.detach().numpy().copy() for t in head)
    return found


def _gce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over the heads of their losses, (1 - p^q) / q."""
    log_p = logits.log_softmax(dim=2)[:, torch.arange(len(labels)), labels]
    losses = [
        -torch.expm1(q * x) / q if q else -x
        for q, x in zip(EXPONENTS, log_p, strict=True)
    ]
    return torch.stack(losses).mean(dim=1).sum()


def methods(seed: int) -> dict[str, Any]:
    """Other candidates; their names begin with a capital."""

    def logistic(C: float) -> Any:
        return LogisticRegression(C=C, max_iter=300)

    probe = {"lp_batch_size": 256, "random_state": seed}
    paper = {"tau": 0.6, "balance": "min", "label_correction": None}
    return {
        **{f"Logistic, C={C:g}": logistic(C) for C in (1e-3, 1e-2, 1e-1, 1.0)},
        **{f"Neighbours, {k}": KNeighborsClassifier(k) for k in (5, 50)},
        "LDA": LinearDiscriminantAnalysis(),
        "Naive Bayes": GaussianNB(),
        "Filtered, gmm": NoiseFilteredClassifier(logistic(0.01)),
        "Filtered, channel": NoiseFilteredClassifier(logistic(0.01), "channel", cv=3),
        "TURN, paper": TURNClassifier(noise_filter="gmm", **paper, **probe),
        # The channel asks probes that never saw the label.
        REFERENCE: TURNClassifier(fft_epochs=0, **probe),
    }


@dataclass(frozen=True)
class Pool:
    """Features and labels of the images that every seed draws from."""

    classes: list[str]
    X: NDArray[np.float32]
    y: NDArray[np.intp]
    human: dict[str, NDArray[np.intp]]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.intp]

    @classmethod
    def of(cls, folder: Path) -> Pool:
        """Read labels and features, which are computed once."""
        root = unpacked(folder)
        with open(root / "labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        train = [row for row in rows if row["split"] == "train"][:N_POOL]
        test = [row for row in rows if row["split"] == "test"]
        extract = FeatureExtractor(
            BACKBONE,
            pretrained=weights(BACKBONE, folder),
            crop_pct=1.0,
            memory=FEATURES,
        )
        X, X_test = (
            extract.fit_transform([str(root / row["path"]) for row in part])
            for part in (train, test)
        )
        classes = np.unique([row["clean"] for row in train])

        def codes(rows: list[dict[str, str]], column: str) -> NDArray[np.intp]:
            return np.searchsorted(classes, [row[column] for row in rows])

        human = {kind: codes(train, kind) for kind in HUMAN}
        return cls(
            classes.tolist(),
            *(X, codes(train, "clean"), human),
            *(X_test, codes(test, "clean")),
        )

    def noisy(self, kind: str, seed: int) -> NDArray[np.intp]:
        """Labels with noise."""
        if kind in HUMAN:
            return self.human[kind]
        class_map = {
            self.classes.index(a): self.classes.index(b)
            for a, b in CIFAR10_ASYMMETRIC.items()
        }
        return simulate(kind, self.y, seed, class_map=class_map, inputs=lambda: self.X)


def drawn(seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Images for training and validation."""
    order = np.random.RandomState(seed).permutation(N_POOL)
    return order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_VALID]


def fit(pool: Pool, noise: str, seed: int) -> dict[str, NDArray[Any]]:
    """What all candidates predict, and two channels; kept on disk."""
    path = FITS / f"{noise}-{seed}.npz".replace(" ", "-")
    if path.exists():
        return dict(np.load(path))
    labels = pool.noisy(noise, seed)
    train, valid = drawn(seed)
    scaler = StandardScaler().fit(pool.X[train])
    X, X_valid, X_test = map(
        scaler.transform, (pool.X[train], pool.X[valid], pool.X_test)
    )
    y, y_valid = labels[train], labels[valid]
    log_proba, accuracy = {}, {}
    for name, (W, b) in linear_heads(X, y, seed).items():
        log_proba[name] = log_softmax(X_valid @ W + b, axis=1)
        accuracy[name] = np.mean((X_test @ W + b).argmax(axis=1) == pool.y_test)
    for name, model in methods(seed).items():
        proba = model.fit(X, y).predict_proba(X_valid)
        log_proba[name] = np.log(np.maximum(proba, np.finfo(np.float32).eps))
        accuracy[name] = model.score(X_test, pool.y_test)
    channel = model.noise_filter_  # of the last one, the reference
    second = LogisticRegression(C=0.01, max_iter=300)
    values = cross_val_predict(second, X, y, cv=5, method="decision_function")
    channel_2 = NoiseChannelFilter().fit(log_softmax(values, axis=1), y)
    log_proba_2 = log_softmax(second.fit(X, y).decision_function(X_valid), axis=1)
    found = {
        "names": np.array(list(accuracy)),
        "log_proba": np.array(list(log_proba.values()), dtype=np.float32),
        "accuracy": np.array(list(accuracy.values())),
        "y": y_valid,
        "y_clean": pool.y[valid],
        "T_true": counted(pool.y[train], y, pool.y.max() + 1),
        "T": channel.transition_matrix_,
        "T_2": channel_2.transition_matrix_,
        "label_proba": channel.label_proba(log_proba[REFERENCE], y_valid),
        "label_proba_2": channel_2.label_proba(log_proba_2, y_valid),
    }
    FITS.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_suffix(".part.npz"), **found)
    path.with_suffix(".part.npz").rename(path)
    return found


def counted(rows: Any, columns: Any, n_classes: int) -> NDArray[np.float64]:
    """Share of each column within each row."""
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (rows, columns), 1)
    return counts / counts.sum(axis=1, keepdims=True)
