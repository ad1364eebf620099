"""Fine-tune pre-trained image models on labels you do not trust."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

# Quiet unless the program sets up logging, or verbose is set.
logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from . import baselines, datasets, exceptions, inspection, metrics, noise, search
    from .features import FeatureExtractor, FeatureMemory
    from .filtered_classifier import NoiseFilteredClassifier
    from .selection import GMMNoiseFilter, NoiseChannelFilter
    from .training.cleansing import Cleansing
    from .turn import TURNClassifier

__all__ = [
    "Cleansing",
    "FeatureExtractor",
    "FeatureMemory",
    "GMMNoiseFilter",
    "NoiseChannelFilter",
    "NoiseFilteredClassifier",
    "TURNClassifier",
    "baselines",
    "datasets",
    "exceptions",
    "inspection",
    "metrics",
    "noise",
    "search",
]

# Name -> module. Resolved on first use, so that importing the package stays light:
# torch and timm are loaded by what needs them.
_EXPORTS = {
    "Cleansing": "training.cleansing",
    "FeatureExtractor": "features",
    "FeatureMemory": "features.memory",
    "GMMNoiseFilter": "selection",
    "NoiseChannelFilter": "selection",
    "NoiseFilteredClassifier": "filtered_classifier",
    "TURNClassifier": "turn",
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
