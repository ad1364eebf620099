"""Features and labels on which ways to find wrong labels are compared."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import unpacked
from benchmarks.detectors import Observed
from benchmarks.methods import FEATURES
from sklearn_turn import FeatureExtractor, TURNClassifier, noise

BACKBONE, WEIGHTS = "vit_tiny_patch16_224", "vit_tiny_patch16_224.safetensors"


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
        paths = [str(root / row["path"]) for row in train + test]
        features = extract.fit_transform(paths)
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
        yield "none", self.y
        yield from ((f"human, {kind}", labels) for kind, labels in self.human.items())
        codes = {name: i for i, name in enumerate(self.classes)}
        pairs = noise.CIFAR10_ASYMMETRIC.items()
        confused = {codes[a]: codes[b] for a, b in pairs}
        yield from simulated(self.X, self.y, confused, seed)


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
        yield from simulated(self.X, self.y, self.nearest, seed)


def simulated(
    X: Any, y: Any, class_map: Mapping[Any, Any], seed: int
) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Noise of all kinds; asymmetric noise goes by the map of the classes."""
    for rate in (0.02, 0.05, 0.1, 0.4, 0.6, 0.8):
        yield (
            f"symmetric {rate:g}",
            noise.symmetric(y, rate, include_true=True, random_state=seed),
        )
    for rate in (0.2, 0.4):
        yield (
            f"asymmetric {rate:g}",
            noise.asymmetric(y, rate, class_map=class_map, random_state=seed),
        )
    yield "instance (Cheng) 0.3", noise.instance_cheng2021(X, y, 0.3, random_state=seed)
    yield "instance (Xia) 0.3", noise.instance_xia2020(X, y, 0.3, random_state=seed)


def of_frozen(data: Cifar | ManyClasses, y: Any, seed: int) -> Observed:
    """With the losses of the probe that TURN starts from."""
    probe = TURNClassifier(noise_filter="gmm", fft_epochs=0, random_state=seed)
    losses = probe.fit(data.X, y).losses_
    return Observed(data.X, y, losses, data.y, data.X_test, data.y_test)
