"""Images and labels of the comparisons."""

from __future__ import annotations

import contextlib
import csv
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.datasets import load_digits

from benchmarks.methods import CACHE, FEATURES, weights
from benchmarks.noises import HUMAN, depends_on_images, simulate
from sklearn_turn import FeatureExtractor, datasets
from sklearn_turn.noise import CIFAR10_ASYMMETRIC

#: CIFAR-10N: images for training, held-out noisy validation and clean test.
SIZES = {
    "smoke": (300, 150, 300),
    "few": (600, 600, 1500),
    "small": (3000, 3000, 3000),
}
DIGITS = (600, 300, 800)


@dataclass(frozen=True)
class Data:
    """Images and labels of one seed; training, validation and test are disjoint."""

    X: Any
    y: NDArray[Any]
    y_clean: NDArray[Any] | None  # not known of labels from the web
    X_valid: Any
    y_valid: NDArray[Any]  # noisy: settings are chosen by these; may be empty
    X_test: Any
    y_test: NDArray[Any]


def load(folder: Path, size: str, kind: str, seed: int, data: str = "cifar10n") -> Data:
    """Draw images and labels.

    Parameters
    ----------
    folder : Path
        Holds the data; see the README.
    size : str
        How many images, where that is a choice.
    kind : str
        Noise: "own" for labels that come with the data, of CIFAR-10N one of the label
        sets by people ("aggre", "random1", "worse"), or a name that
        :func:`benchmarks.noises.simulate` knows.
    seed : int
        Of the draw of images and of the noise.
    data : {"cifar10n", "digits", "cifar100", "clothing1m", "webvision"}
    """
    if data == "cifar10n":
        return _cifar10n(folder, size, kind, seed)
    if data == "digits":
        return _digits(kind, seed)
    if data == "cifar100":
        return _cifar100(folder, kind, seed)
    return _from_the_web(folder, data)


def unpacked(folder: Path) -> Path:
    """The folder of the images of CIFAR-10N, unpacked once."""
    root = CACHE / "cifar10n"
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as started:
            with zipfile.ZipFile(folder / "cifar10n.zip") as zipped:
                zipped.extractall(Path(started) / "all")
            # Another process may have been faster.
            with contextlib.suppress(OSError):
                (Path(started) / "all").rename(root)
    return next(root.rglob("labels.csv")).parent


def _cifar10n(folder: Path, size: str, kind: str, seed: int) -> Data:
    root = unpacked(folder)
    with open(root / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.RandomState(seed)
    n_train, n_valid, n_test = SIZES[size]
    pool = [row for row in rows if row["split"] == "train"]
    order = rng.permutation(len(pool))[: n_train + n_valid]
    drawn = [pool[i] for i in order]
    tested = [row for row in rows if row["split"] == "test"]
    test = [tested[i] for i in rng.permutation(len(tested))[:n_test]]

    def paths(rows: list[dict[str, str]]) -> list[str]:
        return [str(root / row["path"]) for row in rows]

    def column(rows: list[dict[str, str]], name: str) -> NDArray[Any]:
        return np.array([row[name] for row in rows])

    def features() -> ArrayLike:
        # The same backbone whatever is compared, so that the noise is the same too.
        name = "vit_tiny_patch16_224"
        extract = FeatureExtractor(
            name, pretrained=weights(name, folder), crop_pct=1.0, memory=FEATURES
        )
        return extract.fit_transform(paths(drawn))

    clean = column(drawn, "clean")
    if kind in HUMAN:
        y = column(drawn, kind)
    else:
        y = _with_noise(
            kind, clean, n_train, seed, class_map=CIFAR10_ASYMMETRIC, inputs=features
        )
    return Data(
        X=paths(drawn[:n_train]),
        y=y[:n_train],
        y_clean=clean[:n_train],
        X_valid=paths(drawn[n_train:]),
        y_valid=y[n_train:],
        X_test=paths(test),
        y_test=column(test, "clean"),
    )


def _with_noise(
    kind: str, clean: NDArray[Any], n_train: int, seed: int, **options: Any
) -> NDArray[Any]:
    """Noisy labels of training and validation images."""
    if depends_on_images(kind):
        return simulate(kind, clean, seed, **options)
    train, valid = clean[:n_train], clean[n_train:]
    return np.concatenate(
        [
            simulate(kind, train, seed, **options),
            simulate(kind, valid, seed + 1000, **options),
        ]
    )


def _digits(kind: str, seed: int) -> Data:
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)
    n_train, n_valid, n_test = DIGITS
    order = np.random.RandomState(seed).permutation(len(images))
    drawn, test = order[: n_train + n_valid], order[n_train + n_valid :][:n_test]
    clean = digits.target[drawn]
    y = _with_noise(kind, clean, n_train, seed, inputs=lambda: images[drawn])
    return Data(
        X=images[drawn[:n_train]],
        y=y[:n_train],
        y_clean=clean[:n_train],
        X_valid=images[drawn[n_train:]],
        y_valid=y[n_train:],
        X_test=images[test],
        y_test=digits.target[test],
    )


def _cifar100(folder: Path, kind: str, seed: int) -> Data:
    home = _home(folder, "cifar100")
    train, test = (datasets.fetch_cifar100(home, subset=s) for s in ("train", "test"))
    # As published: pixels in 0..255, and blocks of five classes by number.
    y = simulate(kind, train.target, seed, inputs=lambda: train.data)
    return _official(train, y, train.target, test)


def _from_the_web(folder: Path, data: str) -> Data:
    load, test_set = {
        "clothing1m": (datasets.load_clothing1m, "test"),
        "webvision": (datasets.load_webvision, "val"),
    }[data]
    home = _home(folder, data)
    train, test = (load(home, subset=subset) for subset in ("train", test_set))
    return _official(train, train.target, None, test)


def _home(folder: Path, name: str) -> Path | None:
    """Where the data is: there, or in scikit-learn's data folder."""
    return folder / name if (folder / name).is_dir() else None


def _official(
    train: Any, y: NDArray[Any], y_clean: NDArray[Any] | None, test: Any
) -> Data:
    """The published split; nothing is held out, and nothing chosen."""
    none = slice(0, 0)
    return Data(
        X=train.data,
        y=y,
        y_clean=y_clean,
        X_valid=train.data[none],
        y_valid=y[none],
        X_test=test.data,
        y_test=test.target,
    )
