"""Images and labels on disk or in a dataset, as scikit-learn bunches."""

from ._animal10n import load_animal10n
from ._cifar import fetch_cifar10, fetch_cifar100
from ._cifar_n import load_cifar_n
from ._clothing1m import load_clothing1m
from ._food101n import load_food101n
from ._loaders import load_dataset, load_image_folder
from ._webvision import load_webvision

__all__ = [
    "fetch_cifar10",
    "fetch_cifar100",
    "load_animal10n",
    "load_cifar_n",
    "load_clothing1m",
    "load_dataset",
    "load_food101n",
    "load_image_folder",
    "load_webvision",
]
