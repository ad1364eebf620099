"""Random pictures, as arrays and as files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sklearn_turn.backbones import BatchTransform
from sklearn_turn.inputs import as_source

UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def random_rgb(n=5, height=12, width=10, seed=0):
    shape = (n, height, width, 3)
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def load_all(X):
    source = as_source(X)
    return source.load(list(range(len(source))))


def transformed(X, size, **options):
    """Evaluation batch in 0..1, without normalisation."""
    return BatchTransform(size, **{**UNIT, **options}).eval()(load_all(X))


def write_pngs(folder, images):
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def read_hwc(path):
    (image,) = load_all([path])
    return image.permute(1, 2, 0).numpy()
